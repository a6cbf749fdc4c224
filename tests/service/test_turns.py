"""Turns of one connection: what is shared with other processes through the store."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests

from connector.app import App
from connector.errors import RemoteError, Transient
from connector.model import Ref, Side
from connector.service.stopping import Stopped
from connector.service.turns import RETRY, TOGETHER, USERS, Turns, Work, failed
from connector.service.worker import Worker

STREAM = (Side.PLATFORM, "conversations")


class Hasty(threading.Event):
    """A stop that nobody waits for: pauses between two tries take no time."""

    def wait(self, timeout=None):
        return self.is_set()


@pytest.fixture
def main(folder):
    with App.open(folder / "config.yaml") as app:
        yield app.plugs["main"]


@pytest.fixture
def turns(main):
    turns = Turns(main, threading.Event())
    yield turns
    turns.close()


@pytest.fixture
def hasty(main):
    """Turns that have read the platform, so that only a hint makes them read more."""
    turns = Turns(main, Hasty())
    turns.turn(Work({STREAM}))
    yield turns
    turns.close()


@pytest.fixture
def fault(sandboxes):
    """Chatwoot answers this status to what `path` finds, until it is mended."""
    url = f"{sandboxes.chatwoot_url}/__control/faults"

    def mend():
        requests.delete(url, timeout=30).raise_for_status()

    def breaks(status, path):
        fault = {"kind": "status", "status": status, "path": path, "times": None}
        requests.post(url, json=fault, timeout=30).raise_for_status()
        return mend

    yield breaks
    mend()


@pytest.fixture
def later(monkeypatch):
    """As if so much time had passed for the turns."""

    def passes(time):
        monkeypatch.setattr("connector.service.turns.now", lambda: datetime.now(UTC) + time)

    return passes


def thread(ids) -> Ref:
    return Ref("chatwoot", "conversation", str(ids["conversation_id"]))


def message(ids) -> Ref:
    return Ref("chatwoot", "message", f"{ids['conversation_id']}-{ids['message_id']}")


def calls(turns) -> int:
    return sum(one.usage().calls for one in turns.joined.adapters)


def test_a_system_that_told_another_process_to_wait_is_not_called(main, turns):
    turns.turn(Work({STREAM}))
    before = calls(turns)
    main.ledger.told_to_wait(Side.CRM, datetime.now(UTC) + timedelta(minutes=10))
    assert turns.turn(Work({STREAM})) is None
    assert calls(turns) == before
    main.ledger.told_to_wait(Side.CRM, datetime.now(UTC) - timedelta(seconds=1))
    assert turns.turn(Work({STREAM})) is not None
    assert calls(turns) > before


def test_what_a_system_asks_for_is_told_to_the_other_processes(main, turns, sandboxes):
    turns.turn(Work({STREAM}))
    fault = {"kind": "status", "status": 429, "path": "/conversations", "retry_after": 600}
    requests.post(f"{sandboxes.chatwoot_url}/__control/faults", json=fault, timeout=30).raise_for_status()
    report = turns.turn(Work({STREAM}))
    assert [error.retry_after for error in report.trouble] == [600]
    left = main.ledger.waits_until() - datetime.now(UTC)
    assert timedelta(seconds=540) < left <= timedelta(seconds=600)


def test_what_a_system_asks_for_when_it_is_written_to_is_told_to_the_other_processes(main, hasty, customer, sandboxes):
    customer("Is it ready?")
    hasty.turn(Work({(side, stream.name) for side, stream in hasty.engine().streams()}))
    # The CRM knows her, so that all that it is called for is to be written to.
    ids = customer("Anybody there?")
    path = "/services/data/v67.0/composite"
    fault = {"kind": "status", "status": 429, "match": {"path": path, "method": "POST"}, "retry_after": 600}
    control = f"{sandboxes.salesforce_url}/__control/faults"
    requests.post(control, json=fault, timeout=30, verify=str(sandboxes.salesforce_ca)).raise_for_status()
    try:
        report = hasty.turn(Work(set(), {message(ids): datetime.now(UTC)}))
    finally:
        requests.delete(control, timeout=30, verify=str(sandboxes.salesforce_ca)).raise_for_status()
    assert (report.unwritten[0].retry_after, report.trouble) == (600, [])
    left = main.ledger.waits_until() - datetime.now(UTC)
    assert timedelta(seconds=540) < left <= timedelta(seconds=600)


def test_an_error_that_ends_a_turn_lets_the_next_one_look_anew_who_both_sides_are(folder):
    with App.open(folder / "config.yaml") as app:
        turns = Turns(app.plugs["broken"], threading.Event())
        for _ in range(2):
            with pytest.raises(RemoteError):
                turns.turn(Work({STREAM}))
        turns.close()


def test_what_a_webhook_named_and_the_schedule_asked_for_waits_until_a_turn_is_taken(main):
    """Only its webhook may tell of an edited old message; the daemon is told to wait in that moment."""
    worker = Worker(main, threading.Event(), "here:1")
    try:
        named = Ref("chatwoot", "conversation", "1")
        assert asyncio.run(worker.look_at([named]))
        worker.read(*STREAM)
        main.ledger.told_to_wait(Side.CRM, datetime.now(UTC) + timedelta(minutes=10))
        worker.turns.engine()
        assert not worker._turn(Work(worker._take(), main.ledger.hints()))
        assert (list(main.ledger.hints()), worker._take()) == ([named], {STREAM})
    finally:
        worker.turns.close()


def test_a_hint_stays_while_its_record_cannot_be_fetched_and_is_looked_at_afterwards(
    main, hasty, customer, fault, later
):
    named = message(customer("Is it ready?"))
    main.ledger.hint([named])
    mend = fault(502, "/messages")
    assert hasty.turn(Work(set(), main.ledger.hints())) is not None
    assert (list(main.ledger.hints()), list(main.ledger.facts([named]))) == ([named], [])
    assert [one.scope for one in main.ledger.problems()] == ["webhooks"]
    mend()
    before = calls(hasty)
    hasty.turn(Work(set(), main.ledger.hints()))
    assert (calls(hasty), list(main.ledger.hints())) == (before, [named]), "it is not tried again at once"
    later(RETRY)
    hasty.turn(Work(set(), main.ledger.hints()))
    assert (list(main.ledger.hints()), list(main.ledger.facts([named]))) == ([], [named])
    assert main.ledger.problems() == []


def test_a_hint_whose_record_always_fails_stands_in_no_other_ones_way(main, hasty, customer, fault, later):
    bad, good, newer = (thread(customer("Hello?", source_id=f"6149157020{n}", name=f"Ann {n}")) for n in range(3))
    fault(500, f"/conversations/{bad.id}$")
    hints = dict.fromkeys([bad, good], datetime.now(UTC))
    hasty.turn(Work(set(), hints))
    hasty.turn(Work(set(), hints | {newer: datetime.now(UTC)}))
    assert list(main.ledger.facts([bad, newer])) == [newer], "what is named anew is looked at at once"
    later(RETRY)
    hasty.turn(Work(set(), hints))
    assert set(main.ledger.facts([bad, good])) == {good}


def test_what_is_refused_to_us_takes_no_other_hint_along(main, hasty, customer, fault):
    hidden, seen = (thread(customer("Hello?", source_id=f"6149157030{n}", name=f"Eve {n}")) for n in range(2))
    main.ledger.hint([hidden, seen])
    fault(401, f"/conversations/{hidden.id}$")
    hasty.turn(Work(set(), main.ledger.hints()))
    assert (main.ledger.hints(), list(main.ledger.facts([hidden, seen]))) == ({}, [seen])
    assert [(one.scope, one.code) for one in main.ledger.problems()] == [("webhooks", "401")]


def test_hints_outlive_a_token_that_was_taken_back(main, hasty, customer, fault):
    named = thread(customer("Hello?", source_id="61491570400", name="Ida"))
    main.ledger.hint([named])
    fault(401, "/api/v1/")
    hasty.turn(Work(set(), main.ledger.hints()))
    assert list(main.ledger.hints()) == [named]


def test_a_stop_between_many_hints_leaves_those_that_were_not_looked_at(main, hasty, monkeypatch):
    main.ledger.hint([Ref("chatwoot", "conversation", f"9000{n:03}") for n in range(3 * TOGETHER)])
    fetch = hasty.joined.platform.fetch

    def stopped_meanwhile(refs):
        hasty._stop.set()
        return fetch(refs)

    monkeypatch.setattr(hasty.joined.platform, "fetch", stopped_meanwhile)
    with pytest.raises(Stopped):
        hasty.turn(Work(set(), main.ledger.hints()))
    assert len(main.ledger.hints()) == 2 * TOGETHER


def test_a_connection_that_cannot_be_made_anew_after_a_day_rests(main, turns, monkeypatch):
    turns.engine()
    turns._made -= USERS + timedelta(hours=1)

    def down(**_given):
        raise Transient("salesforce", "503", "down.")

    monkeypatch.setattr(turns.joined, "engine", down)
    with pytest.raises(Transient) as error:
        turns.engine()
    failed(main, error.value)
    assert turns.rests()


def test_a_webhook_is_taken_while_a_crm_hangs_that_is_to_be_made_anew_after_a_day(main, monkeypatch):
    there, answers = threading.Event(), threading.Event()

    class Waited(threading.Condition):
        def wait(self, timeout=None):
            there.set()
            return super().wait(timeout)

    def hangs(**_given):
        there.set()
        answers.wait()
        raise Transient("salesforce", "503", "down.")

    worker = Worker(main, threading.Event(), "here:1")
    worker.turns.engine()
    worker.turns._made -= USERS + timedelta(hours=1)
    worker._named, worker._wake = False, Waited()
    monkeypatch.setattr(worker.turns.joined, "engine", hangs)
    taking = threading.Thread(target=worker._take, daemon=True)
    hearing = threading.Thread(target=lambda: asyncio.run(worker.look_at([Ref("chatwoot", "conversation", "1")])))
    try:
        taking.start()
        there.wait()
        hearing.start()
        hearing.join(30)
        assert not hearing.is_alive()
    finally:
        answers.set()
        hearing.join()
        taking.join()
        worker.turns.close()


def test_a_record_may_be_named_by_the_short_id_that_people_see(main):
    assert main.spelled("salesforce:Contact:0035g0000000003") == "salesforce:Contact:0035g0000000003AAA"
    assert main.spelled("create") == "create"
