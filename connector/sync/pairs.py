"""Merging one pair, field by field: the rules of the mapping applied to two facts and two snapshots. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from connector.mapping.compiled import ABSENT, FieldRule
from connector.mapping.lenses import is_blank
from connector.mapping.model import Blank
from connector.model import Decision, Fact, Fields, Outcome, Ref, Side, Snapshot, Value
from connector.sync.merge import Merged, Terms, Values, merge

LinkValue = Callable[[FieldRule], Value]
Settled = Callable[[str, Value, Value], str | None]
Reserved = Callable[[str, Value], str | None]

UNIQUE: Final = "unique"
"""Stands in the place of a rule where a value stays away because the platform allows it once."""


@dataclass(frozen=True)
class Pair:
    """One platform record and the CRM record it is, or will be. `crm` is None while the CRM record does not exist; `names`
    is the namespace of templates. `link_value` gives the CRM id, or a placeholder, for link lines."""

    subject: Ref
    platform: Fields
    names: Fields
    link_value: LinkValue
    crm: Fact | None = None
    exists: bool = True
    platform_snapshot: Snapshot | None = None
    crm_snapshot: Snapshot | None = None
    newer: Side | None = None
    settled: Settled = lambda _field, _platform, _crm: None
    reserved: Reserved = lambda _name, _value: None
    """Why this record may not take a value in a platform field (another persona has it), None where it may."""
    blanked: bool = False
    """Whether a deletion emptied the platform's values, which empties the CRM's whatever its lines say about blanks."""


@dataclass(frozen=True)
class Result:
    """What to write per side, the lines `written` there, the snapshots that stand afterwards, and every decision that is
    worth telling.

    `news` says whether the snapshots differ from the stored ones, so that an unchanged pair writes nothing at all.
    """

    to_crm: dict[str, Value]
    to_platform: dict[str, Value]
    written: dict[Side, tuple[str, ...]]
    after: dict[Side, dict[str, Value]]
    decisions: tuple[Decision, ...]
    held: tuple[tuple[Decision, Value, Value], ...]
    missing: tuple[str, ...]
    news: bool
    unread: tuple[str, ...] = ()


def merge_pair(rules: Sequence[FieldRule], pair: Pair) -> Result:
    """Decide every line of a kind for one pair."""
    to_crm: dict[str, Value] = {}
    to_platform: dict[str, Value] = {}
    written: dict[Side, list[str]] = {Side.PLATFORM: [], Side.CRM: []}
    after: dict[Side, dict[str, Value]] = {Side.PLATFORM: {}, Side.CRM: {}}
    decisions: list[Decision] = []
    held: list[tuple[Decision, Value, Value]] = []
    missing: list[str] = []
    crm_fields: Fields = pair.crm.fields if pair.crm else {}
    read_back = _read_back(pair)
    for rule in rules:
        if rule.on == "create" and pair.exists:
            continue
        values = _values(rule, pair, crm_fields, read_back)
        merged = _merge(rule, pair, values)
        decision = merged.decision
        if rule.platform and merged.to_platform is not ABSENT:
            why = pair.reserved(rule.platform, merged.to_platform)
            if why:
                decision = Decision(rule.name, Outcome.KEEP, UNIQUE, why, decision.value)
                merged = Merged(decision)
        if merged.to_crm is not ABSENT:
            to_crm[rule.crm] = rule.to_crm(merged.to_crm, crm_fields.get(rule.crm), pair.names)
            written[Side.CRM].append(rule.name)
        if merged.to_platform is not ABSENT and rule.platform:
            to_platform[rule.platform] = merged.to_platform
            written[Side.PLATFORM].append(rule.name)
        if rule.required and not pair.exists and is_blank(to_crm.get(rule.crm)):
            missing.append(rule.crm)
        if decision.outcome is Outcome.HOLD:
            held.append((decision, values.platform, values.crm))
            _set(after, rule.name, values.platform_base, values.crm_base)
            continue
        if decision.outcome is not Outcome.KEEP or decision.conflict or decision.rule == UNIQUE:
            decisions.append(decision)
        _set(
            after,
            rule.name,
            merged.to_platform if merged.to_platform is not ABSENT else values.platform,
            _as_kept(rule, merged.to_crm, to_crm) if merged.to_crm is not ABSENT else values.crm,
            values,
        )
    return Result(
        to_crm,
        to_platform,
        {side: tuple(lines) for side, lines in written.items()},
        after,
        tuple(decisions),
        tuple(held),
        tuple(missing),
        news=_news(pair, after),
        unread=_still_unread(pair, read_back),
    )


def _as_kept(rule: FieldRule, value: Value, to_crm: Fields) -> Value:
    """A written value as the CRM will show it, with the loss that the line declares.

    Two actors: we write a text that the line cuts at 80; before it is read back a person edits another field. Were the whole
    text remembered, the cut one would look like her edit and go back to the platform.
    """
    return value if rule.link else rule.lens.get(to_crm[rule.crm])


def canonical(rules: Sequence[FieldRule], side: Side, fields: Fields, names: Fields) -> dict[str, Value]:
    """What a side shows, canonical, by line name: for the snapshot of a record that has been read back."""
    shown: dict[str, Value] = {}
    for rule in rules:
        if rule.link:
            value = fields.get(rule.crm, ABSENT) if side is Side.CRM else ABSENT
        else:
            value = rule.from_crm(fields) if side is Side.CRM else rule.from_platform(fields, names)
        if value is not ABSENT:
            shown[rule.name] = value
    return shown


def _values(rule: FieldRule, pair: Pair, crm_fields: Fields, read_back: frozenset[str]) -> Values:
    if rule.link:
        platform = pair.link_value(rule)
        crm = crm_fields.get(rule.crm, ABSENT)
    else:
        platform = rule.from_platform(pair.platform, pair.names)
        crm = rule.from_crm(crm_fields) if pair.crm else ABSENT
        if rule.default is not None and crm is not ABSENT and not is_blank(crm):
            missing = platform == rule.default and is_blank(pair.platform.get(rule.platform or ""))
            told_first = pair.platform_snapshot is None and pair.crm_snapshot is not None
            if missing and not told_first:
                # A default stands in for a missing value; it never takes the place of a real one. Only the word that asked
                # for a reply (Queued) is replaced, once, when the fate of the reply is told for the first time.
                platform = None
    platform_base = _base(pair.platform_snapshot, rule.name)
    crm_base = _base(pair.crm_snapshot, rule.name)
    if rule.name in read_back and crm is not ABSENT:
        crm_base = crm
    return Values(platform, crm, platform_base, crm_base, pair.exists)


def _read_back(pair: Pair) -> frozenset[str]:
    """The fields that this observation confirms: those we wrote last, when the version on show is ours.

    Two actors: we write Phone, the CRM reformats it; a person edits Title. A version that is ours shows both. Phone is our
    own value as the CRM keeps it and becomes the snapshot; Title was not written by us and stays a change.
    """
    if pair.crm and pair.crm.ours and pair.crm_snapshot:
        return frozenset(pair.crm_snapshot.unread)
    return frozenset()


def _still_unread(pair: Pair, read_back: frozenset[str]) -> tuple[str, ...]:
    if pair.crm_snapshot is None:
        return ()
    return tuple(name for name in pair.crm_snapshot.unread if name not in read_back)


def _merge(rule: FieldRule, pair: Pair, values: Values) -> Merged:
    both = values.platform is not ABSENT and values.crm is not ABSENT
    settled = pair.settled(rule.name, values.platform, values.crm) if both else None
    return merge(_terms(rule, pair.blanked), values, pair.newer, settled)


@lru_cache(maxsize=1024)
def _terms(rule: FieldRule, blanked: bool) -> Terms:
    return Terms(rule.name, rule.direction, rule.rule, Blank.CLEAR if rule.link or blanked else rule.blank, rule.same)


def _base(snapshot: Snapshot | None, name: str) -> Value:
    return snapshot.fields.get(name, ABSENT) if snapshot else ABSENT


def _set(
    after: dict[Side, dict[str, Value]], name: str, platform: Value, crm: Value, bases: Values | None = None
) -> None:
    """Remember both sides' values; an absent one keeps its old base."""
    if platform is ABSENT and bases:
        platform = bases.platform_base
    if crm is ABSENT and bases:
        crm = bases.crm_base
    if platform is not ABSENT:
        after[Side.PLATFORM][name] = platform
    if crm is not ABSENT:
        after[Side.CRM][name] = crm


def _news(pair: Pair, after: dict[Side, dict[str, Value]]) -> bool:
    for side, snapshot in ((Side.PLATFORM, pair.platform_snapshot), (Side.CRM, pair.crm_snapshot)):
        if dict(snapshot.fields if snapshot else {}) != after[side]:
            return True
    return bool(pair.crm_snapshot and pair.crm_snapshot.unread)
