"""Judges the histories of both systems after the fact. Knows who wrote which version and when, and nothing of how the connector
works; only the mapping's promise that a record's key names the message it shows."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from memory_world import Worlds

from connector.adapters.memory_system import Record, Version
from connector.mapping.compiled import FieldRule
from connector.mapping.lenses import is_blank
from connector.mapping.model import Rule
from connector.model import Life, Ref, Side, Value

US = "connector"


def check_history(worlds: Worlds) -> None:
    """Raises AssertionError naming the first thing that must never be."""
    no_message_ever_stood_twice(worlds)
    every_reply_left_once(worlds)
    replies_left_in_the_order_they_were_written(worlds)
    every_value_of_a_conversation_was_typed(worlds)
    if not worlds.restored:
        # What was decided since the backup is decided once more by the rules.
        no_edit_of_a_person_was_taken_back(worlds)


def no_message_ever_stood_twice(worlds: Worlds) -> None:
    """Not only in the end: at no time did two live records carry the key of one message."""
    for object_ in ("Task", "Thread", "Identity"):
        born: dict[str, list[Ref]] = {}
        for ref, record in worlds.crm.records.items():
            key = record.history[0].fields.get("Key")
            if ref.object == object_ and key:
                born.setdefault(str(key), []).append(ref)
        for key, refs in born.items():
            ended = [(worlds.crm.records[ref].history[0].changed_at, _end(worlds, ref)) for ref in refs]
            for (_, over), (begun, _) in itertools.pairwise(ended):
                assert over is not None, f"{object_} {key} stands twice: {refs}"
                assert over <= begun, f"{object_} {key} stood twice: {refs}"


def _end(worlds: Worlds, ref: Ref) -> object:
    latest = worlds.crm.records[ref].latest
    return None if latest.life is Life.LIVE else latest.changed_at


def every_reply_left_once(worlds: Worlds) -> None:
    """In each conversation each text left as often as somebody asked for it: not more often than it was ever typed, and not more
    seldom than the CRM says."""
    asked: Counter[tuple[str, str]] = Counter()
    said: Counter[tuple[str, str]] = Counter()
    for ref, record in worlds.crm.records.items():
        if ref.object != "Outbound":
            continue
        fields = record.latest.fields
        conversation = conversation_of(worlds, record)
        for text in texts_of(record):
            asked[conversation, text] += len(asks(record))
        if fields["Status"] in ("Sent", "Delivered"):
            said[conversation, str(fields["Body"]).strip()] += 1
    left = Counter((one.conversation.id, one.text.strip()) for one in worlds.platform.network_receives)
    assert left <= asked, f"left twice, or never asked for: {left - asked}"
    assert said <= left, f"shown as sent, and never left: {said - left}"


class Asked(NamedTuple):
    """A reply that left: when its author asked for it, since when that can be read, and its place among all that left."""

    reply: Ref
    at: datetime
    readable: datetime
    place: int


def replies_left_in_the_order_they_were_written(worlds: Worlds) -> None:
    """Of two replies in one conversation, where the first could be read before the second was written. Nobody can tell the order
    of two that were written at one time, nor wait for one that nobody can read yet."""
    for conversation, asked in replies_that_left(worlds).items():
        for first, second in itertools.permutations(asked, 2):
            if first.at < second.at and first.readable <= second.at:
                assert first.place < second.place, f"{conversation}: {second.reply} overtook {first.reply}"


def replies_that_left(worlds: Worlds) -> dict[Ref, list[Asked]]:
    """By conversation. Which reply a message is says the reply's own record; where it does not, the words say it, unless there
    are several with those words."""
    received = {one.message: (place, one) for place, one in enumerate(worlds.platform.network_receives)}
    left: dict[Ref, list[Asked]] = defaultdict(list)
    silent: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in worlds.crm.records.values():
        if record.ref.object == "Outbound":
            message = next((one.fields["Message"] for one in record.history if one.fields.get("Message")), None)
            ref = Ref("platform", "message", str(message).partition(":")[2])
            if ref in received:
                place, one = received.pop(ref)
                assert one.text.strip() in texts_of(record), (
                    f"{record.ref} says that it was sent as {ref}, which it was not"
                )
                left[one.conversation].append(_asked(worlds, record, place))
            elif message is None:
                silent[conversation_of(worlds, record), str(record.latest.fields["Body"]).strip()].append(record)
    unnamed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, one in received.values():
        unnamed[one.conversation.id, one.text.strip()].append(place)
    for words, places in unnamed.items():
        if len(places) == len(silent[words]) == 1:
            place = places[0]
            left[worlds.platform.network_receives[place].conversation].append(_asked(worlds, silent[words][0], place))
    return left


def _asked(worlds: Worlds, reply: Record, place: int) -> Asked:
    """An author who asks once more asks from then on, unless it has left already."""
    left = worlds.platform.records[worlds.platform.network_receives[place].message].history[0].changed_at
    version = [one for one in asks(reply) if one.changed_at <= left][-1]
    return Asked(reply.ref, version.changed_at, version.visible_at, place)


def asks(reply: Record) -> list[Version]:
    """The versions in which its author asks for it to be sent. What was sent is not asked for by asking once more."""
    return [
        version
        for before, version in zip([None, *reply.history], reply.history, strict=False)
        if version.by != US
        and version.fields.get("Status") == "Queued"
        and (before is None or before.fields.get("Status") not in ("Queued", "Sent", "Delivered"))
    ]


def texts_of(reply: Record) -> set[str]:
    return {str(one.fields["Body"]).strip() for one in reply.history}


def conversation_of(worlds: Worlds, reply: Record) -> str:
    """The id of the platform's conversation."""
    thread = worlds.crm.records[Ref(reply.ref.system, "Thread", reply.latest.fields["Thread"])]
    return str(thread.history[0].fields["Key"]).partition(":")[2]


def every_value_of_a_conversation_was_typed(worlds: Worlds) -> None:
    """What we wrote into the record of a conversation somebody had typed before, on either side of this very conversation. What
    is counted is never more than there was."""
    rules = worlds.mapping.conversations.fields if worlds.mapping.conversations else ()
    threads: dict[str, list[Record]] = defaultdict(list)
    for ref, record in worlds.crm.records.items():
        if ref.object == "Thread":
            threads[str(record.history[0].fields["Key"])].append(record)
    for ref, record in worlds.platform.records.items():
        if ref.object != "conversation":
            continue
        pair = {Side.PLATFORM: [record], Side.CRM: threads[f"{worlds.connection}:{ref.id}"]}
        for rule in rules:
            if rule.platform == "message_count":
                _was_counted(worlds, ref, rule, pair[Side.CRM])
            elif rule.platform:
                _was_typed(rule, pair)


def _was_typed(rule: FieldRule, pair: dict[Side, list[Record]]) -> None:
    written, typed = list[tuple[Ref, datetime, Value]](), list[tuple[datetime, Value]]()
    for side, records in pair.items():
        for record in records:
            for version, value in changes(record, rule.crm if side is Side.CRM else rule.platform or ""):
                canonical = rule.lens.get(value) if side is Side.CRM else value
                if version.by == US:
                    written.append((record.ref, version.changed_at, canonical))
                else:
                    typed.append((version.changed_at, canonical))
    for ref, at, value in written:
        before = [one for when, one in typed if when <= at]
        if rule.rule is Rule.UNION:
            members = {member for one in before if isinstance(one, list) for member in one}
            strange = set(value or ()) - members  # type: ignore[arg-type]
            assert not strange, f"{ref}.{rule.crm}: nobody typed {strange}"
        else:
            assert is_blank(value) or any(rule.same(one, value) for one in before), (
                f"{ref}.{rule.crm}: nobody typed {value}"
            )


def _was_counted(worlds: Worlds, conversation: Ref, rule: FieldRule, threads: list[Record]) -> None:
    """Of a message that vanished nobody can tell any more whether it was private; at rest such a one is not counted, unless the
    conversation went with it: then its record stays as it was."""
    messages = [one for one in worlds.platform.records.values() if one.latest.parent == conversation]
    public = [one for one in messages if not one.latest.fields.get("private")]
    vanished = [one for one in messages if one.latest.life is not Life.LIVE]
    sent = [one.history[0].changed_at for one in {one.ref: one for one in [*public, *vanished]}.values()]
    for thread in threads:
        for version, value in changes(thread, rule.crm):
            if version.by == US and value is not None:
                there = sum(at <= version.changed_at for at in sent)
                assert 1 <= int(str(value)) <= there, f"{thread.ref}.{rule.crm} is {value}, there were {there}"
        if thread.latest.life is Life.LIVE and worlds.platform.records[conversation].latest.life is Life.LIVE:
            count = int(str(thread.latest.fields.get(rule.crm, 0)))
            assert count <= len(public), f"{thread.ref}.{rule.crm} is {count} in the end, there were {len(public)}"


def changes(record: Record, name: str) -> Iterator[tuple[Version, Value]]:
    """The versions that changed a field, with what it showed then."""
    for before, version in zip([None, *record.history], record.history, strict=False):
        if (before.fields.get(name) if before else None) != version.fields.get(name):
            yield version, version.fields.get(name)


def no_edit_of_a_person_was_taken_back(worlds: Worlds) -> None:
    """We wrote A, a person made it B, and we wrote A again though nobody on the other side had touched it since. Of a write whose
    answer never came nobody can tell afterwards whether it had landed before she changed the record."""
    for side, object_ in ((Side.CRM, "Contact"), (Side.PLATFORM, "person")):
        fields = {rule.crm: rule.platform for rule in worlds.mapping.persons.fields}
        fields = fields if side is Side.CRM else {platform: crm for crm, platform in fields.items() if platform}
        for ref, record in worlds.system(side).records.items():
            if ref.object == object_ and record.latest.life is Life.LIVE and not _merged_into(worlds, ref):
                for name, other in fields.items():
                    _judge(worlds, side, ref, name, other)


def _merged_into(worlds: Worlds, ref: Ref) -> bool:
    return any(record.latest.merged_into == ref for record in worlds.crm.records.values())


def _judge(worlds: Worlds, side: Side, ref: Ref, name: str, other: str | None) -> None:
    history = worlds.system(side).records[ref].history
    changes = [
        (version.by == US, version, version.fields.get(name))
        for before, version in zip([None, *history], history, strict=False)
        if before is None or before.fields.get(name) != version.fields.get(name)
    ]
    for (first, ours, value), (second, _, typed), (third, again, once_more) in zip(
        changes, changes[1:], changes[2:], strict=False
    ):
        answered = (ref, ours.number) not in worlds.made.unanswered
        if first and third and not second and value == once_more and typed != value and answered:
            touched = any(
                ours.changed_at <= version.changed_at <= again.changed_at and version.by != US
                for record in worlds.system(Side.PLATFORM if side is Side.CRM else Side.CRM).records.values()
                if record.ref.object == ("person" if side is Side.CRM else "Contact")
                for before, version in zip([None, *record.history], record.history, strict=False)
                if other and (before is None or before.fields.get(other) != version.fields.get(other))
            )
            assert touched, f"{ref}.{name}: {typed!r} was typed over our {value!r}, and taken back"
