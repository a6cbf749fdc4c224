"""Drift: two linked records that nobody has changed since they agreed, and that differ all the same. Pure.

Two actors: we write `Acme Ltd`; an automation of the CRM makes `ACME` of it in the same transaction. Read back, that version is
ours, and what it shows becomes the snapshot. Neither side looks changed from then on, so nothing would ever be written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from connector.mapping.compiled import ABSENT, FieldRule
from connector.mapping.lenses import is_blank
from connector.mapping.model import Blank, Direction, Rule
from connector.model import Fact, Fields, Hold, HoldType, Life, Link, Observed, Ref, Side, Snapshot, Value

KEEP = "keep"
LONGEST = 60
"""Letters of a value that are told."""

Kept = Collection[tuple[str, Value, Value]]
"""Line, platform's and CRM's value: what people have decided to leave as it is."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A line whose two sides differ, with what they show."""

    line: str
    platform: Value
    crm: Value


@dataclass(frozen=True, slots=True)
class Resting:
    """A pair for which nothing is under way, with the lines in which its records have to agree."""

    link: Link
    rules: Sequence[FieldRule]
    snapshots: Mapping[Side, Snapshot]
    kept: Kept

    def drifted(self, shown: Mapping[Ref, Fact] | Mapping[Ref, Observed]) -> list[Drift]:
        """`shown` holds both records; a record that is gone has not drifted."""
        platform, crm = shown[self.link.platform], shown[self.link.crm]
        if platform.life is not Life.LIVE or crm.life is not Life.LIVE:
            return []
        return drifted(self.rules, platform.fields, crm.fields, self.snapshots, self.kept)


def compared(
    rules: Sequence[FieldRule], *, shared: bool, unique: Collection[str], asked: Collection[str]
) -> list[FieldRule]:
    """The lines of a pair in which both sides have to agree. `shared`: several persons of the platform are this CRM record, and
    of fields that are `unique` there only one of them can have the value. `asked` are lines that a person is asked about."""
    return [
        rule
        for rule in rules
        if rule.direction is Direction.BOTH
        and rule.on != "create"
        and rule.name not in asked
        and not (shared and rule.platform in unique)
    ]


def drifted(
    rules: Sequence[FieldRule],
    platform: Fields,
    crm: Fields,
    snapshots: Mapping[Side, Snapshot],
    kept: Kept = (),
) -> list[Drift]:
    """The lines (those of `compared`) in which both sides show what their snapshots say and yet differ."""
    found = []
    for rule in rules:
        p, c = _shown(rule, platform, crm)
        if p is ABSENT or c is ABSENT or agree(rule, p, c) or (rule.name, p, c) in kept:
            continue
        if all(_stands(rule, now, snapshots.get(side)) for side, now in ((Side.PLATFORM, p), (Side.CRM, c))):
            found.append(Drift(rule.name, p, c))
    return found


def agree(rule: FieldRule, platform: Value, crm: Value) -> bool:
    """Whether two values are what the line wants: the same up to its declared loss, or a difference that it allows."""
    if is_blank(platform) or is_blank(crm):
        return rule.blank is Blank.IGNORE or is_blank(platform) == is_blank(crm)
    if rule.rule is Rule.FILL_BLANK:
        return True
    return rule.same(platform, crm) or rule.same(rule.lens.get(rule.to_crm(platform)), crm)


def without(snapshot: Snapshot, lines: Collection[str]) -> Snapshot:
    """A snapshot that does not know these lines: they are decided as if the two records met for the first time."""
    return Snapshot(
        snapshot.link,
        snapshot.side,
        {name: value for name, value in snapshot.fields.items() if name not in lines},
        tuple(name for name in snapshot.unread if name not in lines),
    )


def decided_to_keep(settled: Sequence[Hold], subject: Ref) -> list[tuple[str, Value, Value]]:
    """What people chose to leave as it is, for one record of the platform."""
    return [
        (hold.field, hold.details.get("platform"), hold.details.get("crm"))
        for hold in settled
        if hold.type is HoldType.CONFLICT and hold.subject == subject and hold.choice == KEEP
    ]


def told(link: Link, drifts: Sequence[Drift]) -> str:
    """For people, with both values cut to a readable length."""
    lines = [f"{one.line}: {_short(one.platform)} and {_short(one.crm)}" for one in drifts]
    return f"{link.platform} and {link.crm} differ, though neither changed: {'; '.join(lines)}"


def _short(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _shown(rule: FieldRule, platform: Fields, crm: Fields) -> tuple[Value, Value]:
    """What both sides show, as the merge sees it: a default never stands against a real value."""
    p, c = rule.from_platform(platform), rule.from_crm(crm)
    if rule.default is not None and is_blank(platform.get(rule.platform or "")) and c is not ABSENT and not is_blank(c):
        p = None
    return p, c


def _stands(rule: FieldRule, now: Value, snapshot: Snapshot | None) -> bool:
    base = snapshot.fields.get(rule.name, ABSENT) if snapshot else ABSENT
    if is_blank(now):
        return base is ABSENT or is_blank(base)
    return base is not ABSENT and rule.same(now, base)
