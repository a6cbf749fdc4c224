"""A backfill whose process dies at every single effect, one run per effect: it goes on and ends where an unbroken one ends."""

import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from memory_world import Clock, Worlds
from promises import check

from connector.adapters.memory import Fault
from connector.model import Side, stamp
from connector.service import backfilling
from connector.service.backfilling import RETRY, Spare
from connector.store.store import Store
from connector.sync.engine import Engine
from connector.sync.history import HISTORY

RUNS = itertools.count()
STRIDE = max(1, round(13 / float(os.environ.get("CONNECTOR_FUZZ", "1"))))
"""Every thirteenth effect in an ordinary run, every one with CONNECTOR_FUZZ=13."""
MONTHS = 3


def begin(store: Store, clock: Clock) -> Worlds:
    """Two customers who wrote once a month, and a connection that took nothing of it; one of them has written since."""
    worlds = Worlds(store, f"past{next(RUNS)}", clock)
    worlds.ledger.remember(HISTORY, clock().isoformat())
    for number in (1, 2):
        person = worlds.platform.add("person", {"name": f"Ann {number}", "identity_keys": [f"instagram:{number}"]})
        thread = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
        for month in range(MONTHS):
            at = clock() - timedelta(days=30 * month + 3 * number)
            fields = {"direction": "inbound", "text": f"{number} in month {month}", "sent_at": stamp(at)}
            worlds.platform.add("message", fields, parent=thread)
    clock.sleep(7200)
    fields = {"direction": "inbound", "text": "today", "sent_at": stamp(clock())}
    worlds.platform.add("message", fields, parent=thread)
    worlds.quiet()
    return worlds


def texts(worlds: Worlds) -> list[str]:
    return sorted(str(task["Description"]) for task in worlds.live(Side.CRM, "Task").values())


def dig(oldest_first: bool, since: datetime) -> Callable[[Engine], Any]:
    def work(engine: Engine) -> None:
        backfilling.ask(engine.ledger, since, None, oldest_first=oldest_first)
        while backfilling.is_due(engine.ledger):
            backfilling.piece(engine, engine._clock)

    return work


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_backfill_that_dies_anywhere_ends_like_one_that_does_not(
    store: Store, clock: Clock, oldest_first: bool
) -> None:
    for at in itertools.count(1, STRIDE):
        worlds = begin(store, clock)
        assert texts(worlds) == ["today"]
        work = dig(oldest_first, clock() - timedelta(days=100))
        killed = worlds.sync_killed(at, work)
        clock.sleep(7200)
        work(worlds.engine)
        worlds.quiet()
        wanted = [f"{number} in month {month}" for number in (1, 2) for month in range(MONTHS)]
        assert texts(worlds) == sorted(["today", *wanted])
        check(worlds)
        worlds.close()
        if not killed:
            break
    assert at > STRIDE


def test_a_piece_that_fails_in_a_running_connector_is_told_and_tried_again_later(store: Store, clock: Clock) -> None:
    worlds = begin(store, clock)
    backfilling.ask(worlds.ledger, clock() - timedelta(days=100), None, oldest_first=False)
    spare = Spare(worlds.ledger, SimpleNamespace(backfill=lambda: None), clock)  # type: ignore[arg-type]
    assert spare.is_due()
    worlds.platform.fail("pull", Fault.UNREACHABLE)
    spare.piece(worlds.engine)
    assert [one.scope for one in worlds.ledger.problems()] == ["backfill"]
    assert not spare.is_due()
    clock.sleep(RETRY.total_seconds())
    while spare.is_due():
        spare.piece(worlds.engine)
    assert worlds.ledger.problems() == []
    assert len(texts(worlds)) == 1 + 2 * MONTHS


def test_what_comes_late_in_a_period_that_is_in_still_arrives(store: Store, clock: Clock) -> None:
    worlds = begin(store, clock)
    dig(False, clock() - timedelta(days=100))(worlds.engine)
    thread = max(worlds.live(Side.PLATFORM, "conversation"))
    sent_at = stamp(clock() - timedelta(days=40))
    worlds.platform.add("message", {"direction": "inbound", "text": "stuck", "sent_at": sent_at}, parent=thread)
    too_old = stamp(datetime(2020, 1, 1, tzinfo=UTC))
    worlds.platform.add("message", {"direction": "inbound", "text": "ancient", "sent_at": too_old}, parent=thread)
    worlds.quiet()
    assert "stuck" in texts(worlds)
    assert "ancient" not in texts(worlds)


def test_what_is_edited_while_its_period_is_brought_in_arrives(store: Store, clock: Clock) -> None:
    """A message that nobody has read yet is edited between two pages: it moves out of the slice, and is too old for the live read."""
    worlds = begin(store, clock)
    worlds.page_size = 1
    worlds.restart()
    backfilling.ask(worlds.ledger, clock() - timedelta(days=100), None, oldest_first=False)
    backfilling.piece(worlds.engine, clock)
    clock.sleep(3600)
    for ref in worlds.live(Side.PLATFORM, "message").keys() - worlds.facts().keys():
        worlds.platform.person_edits(ref, {"text": f"edited {ref.id}"})
    clock.sleep(3600)
    while backfilling.is_due(worlds.ledger):
        worlds.engine.sync()
        clock.sleep(3600)
        backfilling.piece(worlds.engine, clock)
    worlds.quiet()
    check(worlds)
    assert len(texts(worlds)) == 1 + 2 * MONTHS
