"""Looks of a worker: what is due stands in the store, and nothing that goes wrong comes out of a look."""

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import requests
from sqlalchemy import select

from connector.app import App
from connector.model import Ref, Side
from connector.service import backfilling
from connector.service.looking import Looker
from connector.service.turns import LONGEST_REST, RETRY, RUNNING, rest
from connector.store.database import connect, transaction
from connector.store.entries import Trouble
from connector.store.schema import turns
from connector.store.store import Store


def due_in(app: App, name: str) -> tuple[float, bool]:
    """Seconds until the connection is looked at again, and whether it rests."""
    engine = connect(str(app.store._engine.url))
    with transaction(engine, writes=False) as db:
        row = db.execute(select(turns).where(turns.c.connection == name)).one()
    engine.dispose()
    return (row.due_at - datetime.now(UTC)).total_seconds(), row.resting


@pytest.fixture
def opened(folder):
    with App.open(folder / "config.yaml") as app:
        yield app


@pytest.fixture
def looker(opened):
    made = []

    def make(name: str) -> Looker:
        plug = opened.plugs[name]
        made.append(Looker(plug, threading.Event(), "here:1", plug.intervals({}), lambda _name: None))
        return made[-1]

    yield make
    for one in made:
        one.close()


def calls(looker: Looker) -> int:
    assert looker._turns
    return sum(adapter.usage().calls for adapter in looker._turns.joined.adapters)


def test_a_look_reads_what_is_due_and_the_next_one_calls_nobody(opened, looker):
    main = looker("main")
    main.look()
    assert len(opened.plugs["main"].ledger.reads()) == 3
    before = calls(main)
    assert due_in(opened, "main")[1] is False
    main.look()
    assert calls(main) == before


def test_another_worker_goes_on_where_this_one_stopped(opened, looker):
    looker("main").look()
    reads = opened.plugs["main"].ledger.reads()
    looker("main").look()
    seconds, resting = due_in(opened, "main")
    assert (0 < seconds <= 30, resting) == (True, False)
    again = {stream: at for stream, at in opened.plugs["main"].ledger.reads().items() if reads[stream] != at}
    assert again.keys() == {(Side.PLATFORM, "conversations")}, "nothing was due; what we sent is looked for at a start"


def test_a_connection_whose_lease_another_process_has_is_left_alone_for_seconds(opened, looker):
    elsewhere = opened.store.at("main")
    assert elsewhere.lease("there:2", timedelta(minutes=5))
    looker("main").look()
    seconds, resting = due_in(opened, "main")
    assert (0 < seconds <= 5, resting) == (True, True)
    assert opened.plugs["main"].ledger.reads() == {}


def test_a_connection_that_fails_says_so_and_rests(opened, looker):
    looker("broken").look()
    seconds, resting = due_in(opened, "broken")
    assert (20 < seconds <= 30, resting) == (True, True)
    assert [one.scope for one in opened.plugs["broken"].ledger.problems()] == ["running"]
    assert opened.store.due(["broken"]) == []


def test_trouble_that_lasts_is_not_tried_again_until_a_person_has_done_something(opened, folder, looker):
    ledger = opened.plugs["broken"].ledger
    store = Store.open(f"sqlite:///{folder}/connector.db", clock=lambda: datetime.now(UTC) - timedelta(hours=1))
    with closing(store) as then:
        then.at("broken").problem(RUNNING, "401", "The token is wrong.", "Give the right one.")
    broken = looker("broken")
    broken.look()
    tried = calls(broken)
    assert tried > 0, "a new process tries at once"
    broken.look()
    assert calls(broken) == tried
    seconds, resting = due_in(opened, "broken")
    assert (20 < seconds <= 30, resting) == (True, True), "the store is looked at all the same"
    ledger.solved(RUNNING)
    broken.look()
    assert calls(broken) > tried


@pytest.mark.parametrize(
    ("lasted", "pause"),
    [
        (timedelta(0), RETRY),
        (timedelta(minutes=2), RETRY),
        (timedelta(minutes=20), timedelta(minutes=5)),
        (timedelta(days=3), LONGEST_REST),
    ],
)
def test_a_try_waits_the_longer_the_longer_the_trouble_has_lasted(lasted, pause):
    last = datetime(2026, 3, 1, tzinfo=UTC)
    assert rest(Trouble(RUNNING, "401", "", "", 9, last - lasted, last)) == pause


def test_what_a_webhook_named_is_looked_at_once(opened, looker):
    main, ledger = looker("main"), opened.plugs["main"].ledger
    main.look()
    ledger.hint([Ref("chatwoot", "conversation", "999999")])
    assert opened.store.due(["main"]) == ["main"]
    before = calls(main)
    main.look()
    assert calls(main) > before
    assert ledger.hints() == {}
    assert opened.store.due(["main"]) == []


def test_a_look_whose_hint_stays_is_not_repeated_at_once(opened, looker, sandboxes):
    main, ledger = looker("main"), opened.plugs["main"].ledger
    main.look()
    ledger.hint([Ref("chatwoot", "conversation", "999999")])
    url = f"{sandboxes.chatwoot_url}/__control/faults"
    fault = {"kind": "html", "status": 403, "path": "/conversations/999999$", "times": None}
    requests.post(url, json=fault, timeout=30).raise_for_status()
    try:
        main.look()
    finally:
        requests.delete(url, timeout=30).raise_for_status()
    assert list(ledger.hints()) == [Ref("chatwoot", "conversation", "999999")]
    assert opened.store.due(["main"]) == []


def test_a_backfill_that_was_asked_for_is_done_when_nothing_else_is_due(folder, looker):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("    mapping:", "    history: none\n    mapping:"))
    with App.open(config) as app:
        plug = app.plugs["main"]
        main = Looker(plug, threading.Event(), "here:1", plug.intervals({}), lambda _name: None)
        main.look()
        asked = backfilling.ask(plug.ledger, datetime.now(UTC) - timedelta(days=90), None, oldest_first=False)
        assert asked
        for _ in range(20):
            main.look()
            if backfilling.standing(plug.ledger).done:
                break
            assert due_in(app, "main")[0] <= 0, "there is more to do"
        assert backfilling.standing(plug.ledger).done
        main.close()
