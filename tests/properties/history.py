"""Judges the histories of both systems after the fact. Knows who wrote which version and when, and nothing of how the connector
works; only the mapping's promise that a record's key names the message it shows."""

import itertools
from collections import Counter

from memory_world import Worlds

from connector.model import Life, Ref, Side

US = "connector"


def check_history(worlds: Worlds) -> None:
    """Raises AssertionError naming the first thing that must never be."""
    no_message_ever_stood_twice(worlds)
    every_reply_left_once(worlds)
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
        thread = worlds.crm.records[Ref(ref.system, "Thread", fields["Thread"])]
        conversation = str(thread.history[0].fields["Key"]).partition(":")[2]
        asked.update((conversation, text) for text in {str(one.fields["Body"]).strip() for one in record.history})
        if fields["Status"] in ("Sent", "Delivered"):
            said[conversation, str(fields["Body"]).strip()] += 1
    left = Counter((one.conversation.id, one.text.strip()) for one in worlds.platform.network_receives)
    assert left <= asked, f"left twice, or never asked for: {left - asked}"
    assert said <= left, f"shown as sent, and never left: {said - left}"


def no_edit_of_a_person_was_taken_back(worlds: Worlds) -> None:
    """We wrote A, a person made it B, and we wrote A again though nobody on the other side had touched it since."""
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
        (version.by == US, version.changed_at, version.fields.get(name))
        for before, version in zip([None, *history], history, strict=False)
        if before is None or before.fields.get(name) != version.fields.get(name)
    ]
    for (first, at, value), (second, _, typed), (third, again, once_more) in zip(
        changes, changes[1:], changes[2:], strict=False
    ):
        if first and third and not second and value == once_more and typed != value:
            touched = any(
                at <= version.changed_at <= again and version.by != US
                for record in worlds.system(Side.PLATFORM if side is Side.CRM else Side.CRM).records.values()
                if record.ref.object == ("person" if side is Side.CRM else "Contact")
                for before, version in zip([None, *record.history], record.history, strict=False)
                if other and (before is None or before.fields.get(other) != version.fields.get(other))
            )
            assert touched, f"{ref}.{name}: {typed!r} was typed over our {value!r}, and taken back"
