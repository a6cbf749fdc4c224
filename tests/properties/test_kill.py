"""The process dies at every single effect, one run per effect; a new one on the same store ends where the unbroken run ends."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import Databases
from memory_world import CRM_OBJECTS, MAPPING_FILE, Clock, Worlds
from promises import check

from connector.adapters.memory import Fault
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import Life, Side
from connector.store.store import Store
from connector.sync.engine import Engine

RUNS = itertools.count()
FUZZ = float(os.environ.get("CONNECTOR_FUZZ", "1"))
STRIDE = max(1, round(20 / FUZZ))
"""Every twentieth effect in an ordinary run, every one with CONNECTOR_FUZZ=20."""
HANDFUL = max(2, round(3 * FUZZ))
"""Effects of a scenario that are tried on PostgreSQL in an ordinary run, which takes the scenarios ON_BOTH there."""
SENT_AT = "2026-03-02T09:00:00Z"


def begin(store: Store, clock: Clock, *, late_writes: bool = False) -> Worlds:
    """Two customers, who are not known to the CRM yet."""
    worlds = Worlds(store, f"kill{next(RUNS)}", clock, reads_back=False, late_writes=late_writes)
    for number, phone in ((1, "+31612345678"), (2, None)):
        person = worlds.platform.add(
            "person", {"name": f"Ann {number}", "phone": phone, "identity_keys": [f"instagram:{number}"]}
        )
        identity = {"network": "instagram", "user_id": str(number), "handle": f"ann{number}"}
        worlds.platform.add("identity", identity, id_=f"instagram:{number}", parent=person)
        conversation = worlds.platform.add(
            "conversation", {"network": "instagram", "status": "open", "tags": ["new"]}, parent=person
        )
        for text in ("hello", "is anybody there?"):
            fields = {"direction": "inbound", "text": text, "sent_at": SENT_AT}
            worlds.platform.add("message", fields, parent=conversation)
    # Older than any overlap: what a kill loses is not read once more by chance.
    clock.sleep(7200)
    return worlds


def edits_on_both_sides(worlds: Worlds) -> None:
    threads, contacts = sorted(worlds.live(Side.CRM, "Thread")), sorted(worlds.live(Side.CRM, "Contact"))
    people, messages = sorted(worlds.live(Side.PLATFORM, "person")), sorted(worlds.live(Side.PLATFORM, "message"))
    worlds.crm.person_edits(contacts[0], {"City": "Delft", "Labels": "vip"})
    worlds.platform.person_edits(people[0], {"tags": ["late"], "company": "Acme Holding International"})
    worlds.platform.person_edits(people[1], {"phone": "+31687654321"})
    worlds.platform.person_edits(messages[0], {"text": "hello again"})
    worlds.crm.person_edits(threads[0], {"Status": "resolved"})


def replies(worlds: Worlds) -> None:
    for thread in sorted(worlds.live(Side.CRM, "Thread")):
        for text in ("first", "second", "first"):
            worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"})


def a_delivery_that_fails(worlds: Worlds) -> None:
    replies(worlds)
    worlds.engine.sync()
    message = worlds.platform.network_receives[0].message
    failed = {"delivery": "failed", "delivery_error": "the number is blocked"}
    worlds.platform.person_edits(message, failed, by="the network")


def a_merge_in_the_crm(worlds: Worlds) -> None:
    loser, winner = sorted(worlds.live(Side.CRM, "Contact"))
    worlds.crm.merge(loser, winner)
    worlds.platform.person_edits(sorted(worlds.live(Side.PLATFORM, "person"))[0], {"company": "Acme"})
    replies(worlds)


def deletes_on_each_side(worlds: Worlds) -> None:
    messages = sorted(worlds.live(Side.PLATFORM, "message"))
    worlds.platform.person_edits(messages[1], {"deleted": True, "text": ""})
    worlds.platform.delete(messages[2])
    worlds.crm.delete(sorted(worlds.live(Side.CRM, "Task"))[-1])
    worlds.crm.delete(sorted(worlds.live(Side.CRM, "Contact"))[0])


def a_reply_in_doubt(worlds: Worlds) -> None:
    """The answers of the first two sends are lost; they are on the network all the same."""
    replies(worlds)
    worlds.platform.fail("send", Fault.LOST_ANSWER, Fault.LOST_ANSWER, Fault.LOST_REQUEST)


def a_changed_mapping(worlds: Worlds) -> None:
    """Names of companies are cut later, and labels are the platform's affair alone."""
    text = MAPPING_FILE.read_text()
    for old, new in (("{text: {limit: 8}}", "{text: {limit: 30}}"), ("tags, direction: both, rule: union", "tags")):
        assert old in text
        text = text.replace(old, new, 1)
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "mapping.yaml"
        changed.write_text(text)
        worlds.mapping = compile_mapping(load_mapping(changed), Context(connection=worlds.connection))
    edits_on_both_sides(worlds)
    worlds.restart()


def nothing(worlds: Worlds) -> None:
    """The first sync itself is the work."""


def sync(engine: Engine) -> None:
    engine.sync()


def approve_and_sync(engine: Engine) -> None:
    engine.approve()
    engine.sync()


SCENARIOS: dict[str, tuple[Callable[[Worlds], None], Callable[[Engine], Any]]] = {
    "first sync": (nothing, sync),
    "edits on both sides": (edits_on_both_sides, sync),
    "replies": (replies, sync),
    "a delivery that fails": (a_delivery_that_fails, sync),
    "a merge in the CRM": (a_merge_in_the_crm, sync),
    "deletes on each side": (deletes_on_each_side, sync),
    "a reply in doubt": (a_reply_in_doubt, sync),
    "a changed mapping": (a_changed_mapping, approve_and_sync),
}

ON_BOTH = [*SCENARIOS] if FUZZ > 1 else ["first sync", "edits on both sides", "a reply in doubt", "a changed mapping"]

DENSE = {"replies": 10}
"""Scenarios of which more effects are tried, because only one in three of them is a moment of danger."""


def end(worlds: Worlds) -> dict[str, list[object]]:
    """What both sides show in the end, without the names that depend on the order of the writes; and the account."""
    shown: dict[str, list[object]] = {}
    own = {"Key", "Message", "Contact", "Thread"}
    for side, objects in ((Side.CRM, CRM_OBJECTS), (Side.PLATFORM, ("person", "conversation", "message"))):
        for object_ in objects:
            rows = worlds.live(side, object_).values()
            shown[object_] = sorted(
                str(sorted((name, value) for name, value in row.items() if name not in own and name != "sent_at"))
                for row in rows
            )
    shown["received"] = [one.text for one in sorted(worlds.platform.network_receives, key=lambda one: one.conversation)]
    account = worlds.ledger.account()
    shown["account"] = sorted((str(state), reason, count) for (state, reason), count in account.reasons.items())
    return shown


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
