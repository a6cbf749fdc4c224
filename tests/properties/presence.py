"""Judges whether what people wrote stands on the other side, from the two systems alone and from what people did and decided. The
connector's own account of its messages is not asked: one that lost a message would account for that as well."""

from datetime import datetime

from history import US
from memory_world import Worlds
from told import Told

from connector.adapters.memory_system import Record
from connector.model import HoldType, Life, Ref, Value

DIGITS = 9
"""By so many, the last of them, two phone numbers are the same however they are written."""


def check_presence(worlds: Worlds, told: Told) -> None:
    """Both sides are at rest. Raises AssertionError naming the first thing that is missing or too many."""
    every_message_stands_once(worlds, told)
    every_reply_left_or_was_told_not_to(worlds, told)


def every_message_stands_once(worlds: Worlds, told: Told) -> None:
    tasks = keyed(worlds, "Task")
    for ref, message in worlds.platform.records.items():
        if ref.object != "message":
            continue
        made = tasks.pop(f"{worlds.connection}:{ref.id}", [])
        if message.latest.fields.get("private"):
            assert not made, f"{ref} is private, and came in: {made}"
            continue
        standing = [task for task in made if task.latest.life is Life.LIVE]
        assert len(standing) <= 1, f"{ref} stands twice: {standing}"
        if standing:
            it_shows_its_message(worlds, told, message, standing[0])
        else:
            assert may_be_absent(worlds, told, message, made), f"{ref} is lost: {message.history}"
    assert not tasks, f"nobody wrote these: {tasks}"


def keyed(worlds: Worlds, object_: str) -> dict[str, list[Record]]:
    """The CRM's records of an object, also those that are gone, by the key that names what they were made for."""
    found: dict[str, list[Record]] = {}
    for ref, record in worlds.crm.records.items():
        if ref.object == object_ and (key := record.history[0].fields.get("Key")):
            found.setdefault(str(key), []).append(record)
    return found


def it_shows_its_message(worlds: Worlds, told: Told, message: Record, task: Record) -> None:
    """Its words as they are now; of a deleted one any it ever had; of a reply of ours also those that were sent."""
    thread = worlds.crm.records.get(Ref(task.ref.system, "Thread", str(task.latest.fields.get("Thread"))))
    home = f"{worlds.connection}:{message.latest.parent.id}" if message.latest.parent else None
    assert thread is None or thread.history[0].fields["Key"] == home, f"{task.ref} stands in another conversation"
    if worlds.restored or not told.wants(sent_at(message)):
        # An older store does not know of an edit that was synced and has been taken back since; and what is older than the
        # history, left behind by a backfill that was given up or is under way, is not read again.
        return
    deleted = is_deleted(message)
    versions = message.history if deleted else [message.latest]
    sent = message.history[:1] if message.latest.by == US or message.history[0].by == US else []
    words = {str(one.fields.get("text") or "").strip() for one in [*versions, *sent]}
    assert str(task.latest.fields.get("Description") or "") in words, f"{task.ref} shows other words than {message.ref}"
    assert (task.latest.fields.get("State") == "[deleted]") == deleted, f"{task.ref}: {message.ref} is deleted, or not"


def sent_at(message: Record) -> datetime:
    return datetime.fromisoformat(message.latest.fields["sent_at"])


def is_deleted(message: Record) -> bool:
    return message.latest.life is not Life.LIVE or bool(message.latest.fields.get("deleted"))


def may_be_absent(worlds: Worlds, told: Told, message: Record, made: list[Record]) -> bool:
    """Whether somebody saw to it that a message does not stand in the CRM. `made` are its records that are gone."""
    if any(one.latest.by != US for one in made):
        return True
    assert not made, f"{message.ref} was removed by us: {made}"
    conversation, person = above(worlds, message)
    return (
        is_deleted(message)
        or not told.wants(sent_at(message))
        or any(message.history[0].changed_at <= told.given_up[ref] for ref in (message.ref, conversation, person) if ref in told.given_up)
        or any(told.identities.get(one) == "never" for one in once_of(worlds, conversation))
        or is_asked_for_a_reason(worlds, person)
    )  # fmt: skip


def above(worlds: Worlds, message: Record) -> tuple[Ref, Ref]:
    conversation = message.latest.parent
    assert conversation
    person = worlds.platform.records[conversation].latest.parent
    assert person
    return conversation, person


def once_of(worlds: Worlds, conversation: Ref) -> set[Ref]:
    """The persons it ever belonged to: what was not to come in does not come in because she was merged into another."""
    return {one.parent for one in worlds.platform.records[conversation].history if one.parent}


def is_asked_for_a_reason(worlds: Worlds, person: Ref) -> bool:
    """Whether people are asked who this is, and there is something to ask: somebody deleted a contact that may have been hers, or
    the CRM has one that was not made for her and showed an address of hers. A store that is restored asks about persons who have
    been merged since: records of hers hang on contacts of both."""
    if not worlds.ledger.open_holds([person], type=HoldType.IDENTITY):
        return False
    own = f"{worlds.connection}:{person.id}"
    hers, addresses = contacts_of(worlds, person), addresses_of(worlds.platform.records[person], "email", "phone")
    for ref, contact in worlds.crm.records.items():
        if ref.object != "Contact":
            continue
        alike = bool(addresses & addresses_of(contact, "Email", "Phone")) or (worlds.restored and ref.id in hers)
        made_for_her = contact.history[0].fields.get("Key") == own
        if (alike and not made_for_her) or (
            (alike or made_for_her or ref.id in hers) and contact.latest.life is Life.GONE
        ):
            return True
    return False


def contacts_of(worlds: Worlds, person: Ref) -> set[str]:
    """The contacts, by id, that records made for her ever hung on."""
    below = {ref for ref, record in worlds.platform.records.items() if record.latest.parent == person}
    below |= {ref for ref, record in worlds.platform.records.items() if record.latest.parent in below}
    keys = {f"{worlds.connection}:{ref.id}" for ref in below} | {ref.id for ref in below}
    return {
        str(version.fields.get("Contact"))
        for record in worlds.crm.records.values()
        if record.history[0].fields.get("Key") in keys
        for version in record.history
    }


def addresses_of(record: Record, email: str, phone: str) -> set[Value]:
    """All it ever showed."""
    emails = {str(one.fields[email]).strip().casefold() for one in record.history if one.fields.get(email)}
    phones = {
        "".join(filter(str.isdigit, str(one.fields[phone])))[-DIGITS:]
        for one in record.history
        if one.fields.get(phone)
    }
    return {*emails, *phones}


def every_reply_left_or_was_told_not_to(worlds: Worlds, told: Told) -> None:
    """A reply that still stands in the CRM says that it was sent, or somebody saw to it that it was not. Whether what says so
    left is judged in `history`."""
    doubtful = {hold.subject for hold in worlds.ledger.open_holds(type=HoldType.IN_DOUBT)}
    waiting = {worlds.fields(ref)["Thread"] for ref in doubtful}
    for ref, reply in worlds.crm.records.items():
        if ref.object != "Outbound" or reply.latest.life is not Life.LIVE:
            continue
        fields = reply.latest.fields
        match fields["Status"]:
            case "Queued":
                assert fields["Thread"] in waiting, f"{ref} was forgotten"
            case "Held":
                assert ref in doubtful, f"{ref} is held, and nobody is asked"
            case "Failed":
                assert may_fail(worlds, told, reply), f"{ref} failed, and nobody saw to that: {reply.history}"


def may_fail(worlds: Worlds, told: Told, reply: Record) -> bool:
    fields = reply.latest.fields
    thread = worlds.crm.records[Ref(reply.ref.system, "Thread", fields["Thread"])]
    conversation = Ref("platform", "conversation", str(thread.history[0].fields["Key"]).partition(":")[2])
    return (
        not str(fields.get("Body") or "").strip()
        or worlds.platform.records[conversation].latest.life is not Life.LIVE
        or reply.ref in told.given_up
        or thread.latest.life is not Life.LIVE
        or worlds.restored
    )
