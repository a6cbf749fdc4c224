"""The process dies at every single effect, one run per effect; a new one on the same store ends where the unbroken run ends."""

import itertools
import os
from datetime import timedelta

import pytest
from memory_world import CRM_OBJECTS, Clock, Worlds
from promises import check

from connector.adapters.memory import Fault
from connector.model import Life, Side
from connector.store.store import Store

RUNS = itertools.count()
STRIDE = max(1, round(12 / float(os.environ.get("CONNECTOR_FUZZ", "1"))))
"""Every twelfth effect in an ordinary run, every one with CONNECTOR_FUZZ=12."""
SENT_AT = "2026-03-02T09:00:00Z"


def begin(store: Store, clock: Clock) -> Worlds:
    """Two conversations known to both sides, then work on both: everything an engine can write is under way at once."""
    worlds = Worlds(store, f"kill{next(RUNS)}", clock, reads_back=False)
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
    return worlds


def work_on_both_sides(worlds: Worlds) -> None:
    worlds.clock.sleep(60)
    threads, contacts = sorted(worlds.live(Side.CRM, "Thread")), sorted(worlds.live(Side.CRM, "Contact"))
    people, messages = sorted(worlds.live(Side.PLATFORM, "person")), sorted(worlds.live(Side.PLATFORM, "message"))
    for thread in threads:
        for text in ("first", "second"):
            worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"})
    worlds.crm.person_edits(contacts[0], {"City": "Delft", "Labels": "vip"})
    worlds.platform.person_edits(people[0], {"tags": ["late"], "company": "Acme Holding International"})
    worlds.platform.person_edits(people[1], {"phone": "+31687654321"})
    worlds.platform.person_edits(messages[0], {"text": "hello again"})
    worlds.platform.person_edits(messages[1], {"deleted": True, "text": ""})
    worlds.crm.person_edits(threads[0], {"Status": "resolved"})
    worlds.crm.delete(sorted(worlds.live(Side.CRM, "Task"))[-1])


def end(worlds: Worlds) -> dict[str, list[object]]:
    """What both sides show in the end, without the names that depend on the order of the writes."""
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
    return shown


def unbroken(store: Store, clock: Clock) -> tuple[dict[str, list[object]], int, int]:
    worlds = begin(store, clock)
    worlds.restart()
    worlds.engine.sync()
    first = worlds.effects.count
    work_on_both_sides(worlds)
    worlds.restart()
    worlds.engine.sync()
    second = worlds.effects.count
    worlds.quiet()
    check(worlds)
    return end(worlds), first, second


@pytest.mark.parametrize("phase", ["first sync", "sync of news on both sides"])
def test_a_kill_at_any_effect_changes_nothing_in_the_end(phase: str, store: Store, clock: Clock) -> None:
    expected, first, second = unbroken(store, clock)
    for at in range(1, (first if phase == "first sync" else second) + 1, STRIDE):
        worlds = begin(store, clock)
        if phase == "first sync":
            assert worlds.sync_killed(at)
            worlds.quiet()
        else:
            worlds.engine.sync()
        work_on_both_sides(worlds)
        if phase != "first sync":
            assert worlds.sync_killed(at)
        worlds.quiet()
        check(worlds)
        assert end(worlds) == expected, f"killed at effect {at}"


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.LOST_REQUEST, Fault.GARBLED, Fault.LIMITED])
@pytest.mark.parametrize("method", ["upsert", "send"])
def test_a_lost_call_changes_nothing_in_the_end(method: str, fault: Fault, store: Store, clock: Clock) -> None:
    expected, _, _ = unbroken(store, clock)
    worlds = begin(store, clock)
    worlds.crm.fail(method, None, fault)
    worlds.engine.sync()
    worlds.quiet()
    work_on_both_sides(worlds)
    for system in (worlds.platform, worlds.crm):
        system.fail(method, fault, None, fault)
    worlds.engine.sync()
    worlds.quiet()
    check(worlds)
    assert end(worlds) == expected
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
