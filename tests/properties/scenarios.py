"""What happens while the connector is at work, in short stories, and what both sides show in the end."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory_world import CRM_OBJECTS, MAPPING_FILE, Clock, Worlds

from connector.adapters.memory import Fault
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import Side
from connector.store.store import Store
from connector.sync.engine import Engine

RUNS = itertools.count()
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


def customer(worlds: Worlds) -> Callable[[int], None]:
    """A customer with a conversation. What is answered writes so many messages in it."""
    person = worlds.platform.add("person", {"name": "Ann", "phone": "+31612345678"})
    conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)

    def write(messages: int) -> None:
        for number in range(messages):
            fields = {"direction": "inbound", "text": f"No. {number}", "sent_at": SENT_AT}
            worlds.platform.add("message", fields, parent=conversation)

    return write


def known(worlds: Worlds) -> Callable[[int], None]:
    """The same with one message, and both systems know them."""
    write = customer(worlds)
    write(1)
    worlds.engine.sync()
    return write


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
    worlds.platform.delete(sorted(worlds.live(Side.PLATFORM, "conversation"))[1])
    worlds.crm.person_edits(sorted(worlds.live(Side.CRM, "Thread"))[1], {"Status": "resolved"})


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
