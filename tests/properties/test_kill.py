"""The process dies at every single effect, one run per effect; a new one on the same store ends where the unbroken run ends."""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from databases import Databases
from memory_world import Clock
from promises import check
from scenarios import SCENARIOS, begin, edits_on_both_sides, end, replies

from connector.adapters.memory import Fault
from connector.model import Life, Side
from connector.store.store import Store

FUZZ = float(os.environ.get("CONNECTOR_FUZZ", "1"))
STRIDE = max(1, round(30 / FUZZ))
"""Every thirtieth effect in an ordinary run, every one with CONNECTOR_FUZZ=30."""
HANDFUL = max(2, round(2 * FUZZ))
"""Effects of a scenario that are tried on PostgreSQL in an ordinary run, which takes the scenarios ON_BOTH there."""
ON_BOTH = [*SCENARIOS] if FUZZ > 1 else ["first sync", "edits on both sides", "a reply in doubt", "a changed mapping"]

DENSE = {"replies": 7}
"""Scenarios of which more effects are tried, because only one in three of them is a moment of danger."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_effect_changes_nothing_in_the_end(
    name: str, store: Store, clock: Clock, databases: Databases
) -> None:
    stride = max(1, STRIDE // DENSE.get(name, 1))
    killed(name, store, clock, databases, lambda effects: range(1, effects + 1, stride))


@pytest.mark.parametrize("name", ON_BOTH)
def test_a_kill_changes_nothing_in_the_end_on_postgresql(name: str, clock: Clock, postgresql_server: Databases) -> None:
    """The same, at a handful of effects: what a transaction is must not depend on the database."""
    store = Store.open(postgresql_server.create(), clock=clock)
    spread = [(2 * n + 1) / (2 * HANDFUL) for n in range(HANDFUL)]
    killed(name, store, clock, postgresql_server, lambda effects: sorted({1 + int(effects * one) for one in spread}))
    store.close()


def killed(
    name: str, store: Store, clock: Clock, databases: Databases, moments: Callable[[int], Iterable[int]]
) -> None:
    """The scenario, and once more for each of the effects at which the process dies; `moments` picks them by their count."""
    happens, work = SCENARIOS[name]
    # What was sent shows only later: the next process cannot simply see it.
    begun = begin(store, clock, late_writes=name in DENSE).twin(databases)
    if name != "first sync":
        begun.quiet()
        begun.clock.sleep(60)
        happens(begun)
    unbroken = begun.twin(databases)
    work(unbroken.engine)
    effects = unbroken.effects.count
    unbroken.quiet()
    check(unbroken)
    expected = end(unbroken)
    assert effects > 10, "this scenario does something"
    for at in moments(effects):
        worlds = begun.twin(databases)
        assert worlds.sync_killed(at, work)
        work(worlds.engine)
        worlds.quiet()
        check(worlds)
        assert end(worlds) == expected, f"killed at effect {at}"
        worlds.store.close()


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.LOST_REQUEST, Fault.GARBLED, Fault.LIMITED])
@pytest.mark.parametrize("method", ["upsert", "send"])
def test_a_lost_call_changes_nothing_in_the_end(method: str, fault: Fault, store: Store, clock: Clock) -> None:
    unbroken, worlds = begin(store, clock), begin(store, clock)
    worlds.crm.fail(method, None, fault)
    for each in (unbroken, worlds):
        each.engine.sync()
        each.quiet()
        edits_on_both_sides(each)
        replies(each)
    unbroken.quiet()
    for system in (worlds.platform, worlds.crm):
        system.fail(method, fault, None, fault)
    worlds.engine.sync()
    worlds.quiet()
    check(worlds)
    assert end(worlds) == end(unbroken)
    assert all(record.latest.life is not Life.MERGED for record in worlds.crm.records.values())


def test_a_human_edit_made_after_ours_survives_the_repeat_of_ours(store: Store, clock: Clock) -> None:
    """Our update lands and its answer is lost; before we look again somebody edits the same field."""
    worlds = begin(store, clock)
    worlds.quiet()
    person, contact = sorted(worlds.live(Side.PLATFORM, "person"))[0], sorted(worlds.live(Side.CRM, "Contact"))[0]
    worlds.platform.person_edits(person, {"phone": "+31687654321"})
    worlds.crm.fail("upsert", Fault.LOST_ANSWER)
    worlds.engine.sync()
    assert worlds.fields(contact)["Phone"] == "+31687654321"
    worlds.clock.sleep(timedelta(seconds=5).total_seconds())
    worlds.crm.person_edits(contact, {"Phone": "+31201234567"})
    worlds.quiet()
    assert worlds.fields(contact)["Phone"] == "+31201234567"
    assert worlds.fields(person)["phone"] == "+31201234567"
