"""Turns of one connection: what is shared with other processes through the store."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests

from connector.app import App
from connector.errors import RemoteError
from connector.model import Ref, Side
from connector.service.turns import Turns, Work
from connector.service.worker import Worker

STREAM = (Side.PLATFORM, "conversations")


@pytest.fixture
def main(folder):
    with App.open(folder / "config.yaml") as app:
        yield app.plugs["main"]


@pytest.fixture
def turns(main):
    turns = Turns(main, threading.Event())
    yield turns
    turns.close()


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
        assert not worker._turn(Work(worker._take(), dict.fromkeys(main.ledger.hints())))
        assert (list(main.ledger.hints()), worker._take()) == ([named], {STREAM})
    finally:
        worker.turns.close()


def test_a_record_may_be_named_by_the_short_id_that_people_see(main):
    assert main.spelled("salesforce:Contact:0035g0000000003") == "salesforce:Contact:0035g0000000003AAA"
    assert main.spelled("create") == "create"
