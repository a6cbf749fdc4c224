"""Three-way merge of one field: each side against its own snapshot. Pure.

| platform changed | crm changed | both show the same | outcome |
|---|---|---|---|
| no | no | - | keep |
| yes | no | - | to the CRM, if the direction allows |
| no | yes | - | to the platform, if the direction allows |
| yes | yes | yes | same: both snapshots advance, nothing is written |
| yes | yes | no | conflict: the field's rule decides |

Without snapshots (first contact) a blank side takes the other's value and two different values are a conflict.
Absent (not returned by the API) never counts as a change; null and empty are both blank.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from connector.mapping.compiled import ABSENT
from connector.mapping.lenses import is_blank
from connector.mapping.model import Blank, Direction, Rule
from connector.model import Decision, Outcome, Side, Value

ONE_WAY: Final = "one_way"
FIRST: Final = "first_contact"
"""Names in the place of a rule: a one-way line that follows its source, and a blank filled when two records first meet."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the mapping says about one field."""

    field: str
    direction: Direction
    rule: Rule | None
    blank: Blank
    same: Callable[[Value, Value], bool]

    @property
    def to_crm(self) -> bool:
        return self.direction is not Direction.TO_PLATFORM

    @property
    def to_platform(self) -> bool:
        return self.direction is not Direction.TO_CRM


class Values(NamedTuple):
    """Canonical values: what each side shows now and what its snapshot shows, ABSENT where unknown."""

    platform: Value
    crm: Value
    platform_base: Value = ABSENT
    crm_base: Value = ABSENT
    exists: bool = True
    """Whether the CRM record stands already; where it does, a field it was not asked for is unknown, not blank."""


class Merged(NamedTuple):
    """The decision, and the value to write per side (ABSENT: do not write)."""

    decision: Decision
    to_crm: Value = ABSENT
    to_platform: Value = ABSENT


def merge(terms: Terms, values: Values, newer: Side | None = None, settled: str | None = None) -> Merged:
    """Decide one field. `newer` is the side with the later trustworthy time (rule `newest`), None where unknown.
    `settled` is a person's choice for exactly these values: `platform`, `crm` or `keep`."""
    p, c = values.platform, values.crm
    if p is ABSENT and c is ABSENT:
        return _keep(terms, "neither side shows it")
    first = values.platform_base is ABSENT and values.crm_base is ABSENT
    if p is not ABSENT and c is not ABSENT and terms.same(p, c):
        changed = first or not _unchanged(terms, p, values.platform_base) or not _unchanged(terms, c, values.crm_base)
        return (
            Merged(Decision(terms.field, Outcome.SAME, "same", "both sides show the same", p))
            if changed
            else _keep(terms, "unchanged")
        )
    if terms.rule is Rule.UNION and p is not ABSENT and c is not ABSENT:
        return _union(terms, values)
    if first:
        return _first_contact(terms, values, newer, settled)
    p_changed = p is not ABSENT and not _unchanged(terms, p, values.platform_base)
    c_changed = c is not ABSENT and not _unchanged(terms, c, values.crm_base)
    if not p_changed and not c_changed:
        if values.crm_base is ABSENT and c is not ABSENT and is_blank(c) and not is_blank(p):
            # Two contacts were merged, and the winner has never had what the platform shows.
            return _copy(terms, Side.PLATFORM, values, "first contact with this record; it is blank there", FIRST)
        return _keep(terms, "unchanged")
    if p_changed and c_changed:
        return _conflict(terms, values, newer, settled)
    source = Side.PLATFORM if p_changed else Side.CRM
    if terms.rule is Rule.FILL_BLANK and not _may_fill(terms, source, values):
        return _keep(terms, f"changed on the {source} side; only blanks are filled")
    return _copy(terms, source, values, "changed on one side only")


def _may_fill(terms: Terms, source: Side, values: Values) -> bool:
    """Whether the receiving side is blank, or holds just what a one-way source gave it before."""
    to_crm = source is Side.PLATFORM
    there, given = (values.crm, values.platform_base) if to_crm else (values.platform, values.crm_base)
    if there is ABSENT or is_blank(there):
        return True
    return terms.direction is not Direction.BOTH and given is not ABSENT and terms.same(there, given)


def _unchanged(terms: Terms, now: Value, base: Value) -> bool:
    if base is ABSENT:
        return is_blank(now)
    return (is_blank(now) and is_blank(base)) or terms.same(now, base)


def _keep(terms: Terms, reason: str) -> Merged:
    return Merged(Decision(terms.field, Outcome.KEEP, "none", reason))


def _copy(
    terms: Terms,
    source: Side,
    values: Values,
    reason: str,
    rule: str = "changed",
    lost: Value = None,
    *,
    conflict: bool = False,
) -> Merged:
    """Copy the source side's value to the other side, as far as direction and blank handling allow."""
    value = values.platform if source is Side.PLATFORM else values.crm
    if value is ABSENT:
        return _keep(terms, f"the {source} side does not show it")
    if not (terms.to_crm if source is Side.PLATFORM else terms.to_platform):
        return _keep(terms, f"changed on the {source} side; the line does not go that way")
    if is_blank(value) and terms.blank is Blank.IGNORE:
        return _keep(terms, f"emptied on the {source} side; blank: ignore leaves the other side as it is")
    outcome = Outcome.TO_CRM if source is Side.PLATFORM else Outcome.TO_PLATFORM
    decision = Decision(terms.field, outcome, rule, reason, value, lost, conflict=conflict)
    if source is Side.PLATFORM:
        return Merged(decision, to_crm=value)
    return Merged(decision, to_platform=value)


def _first_contact(terms: Terms, values: Values, newer: Side | None, settled: str | None) -> Merged:
    p, c = values.platform, values.crm
    if (p is ABSENT or is_blank(p)) and (c is ABSENT or is_blank(c)):
        return _keep(terms, "first contact; neither side has a value")
    if p is ABSENT or is_blank(p):
        return _copy(terms, Side.CRM, values, "first contact; the platform side is blank", FIRST)
    if c is ABSENT and values.exists and terms.to_platform:
        return _keep(terms, "first contact; the CRM's value has not been read yet")
    if c is ABSENT or is_blank(c):
        return _copy(terms, Side.PLATFORM, values, "first contact; the CRM side is blank", FIRST)
    return _conflict(terms, values, newer, settled, "first contact; both sides have a value")


def _conflict(
    terms: Terms, values: Values, newer: Side | None, settled: str | None, story: str = "both sides changed"
) -> Merged:
    def wins(side: Side, rule: str, why: str) -> Merged:
        lost = values.crm if side is Side.PLATFORM else values.platform
        return _copy(terms, side, values, f"{story}; {why}", rule, lost, conflict=True)

    if settled in (Side.PLATFORM, Side.CRM):
        # She chose the empty value, if it is empty, whatever the line says about blanks.
        terms = replace(terms, blank=Blank.CLEAR)
        return wins(Side(settled), "hold", f"a person chose the {settled} value")
    if settled == "keep":
        return _keep(terms, f"{story}; a person chose to keep both as they are")
    if terms.direction is not Direction.BOTH and terms.rule is None:
        leads = Side.PLATFORM if terms.direction is Direction.TO_CRM else Side.CRM
        return wins(leads, ONE_WAY, f"a one-way line follows its source, the {leads} side")
    if terms.rule is Rule.CRM or terms.rule is Rule.PLATFORM:
        side = Side(terms.rule.value)
        return wins(side, terms.rule.value, f"the rule says the {side} side wins")
    if terms.rule is Rule.NEWEST and newer is not None:
        return wins(newer, "newest", f"the {newer} side changed last")
    if terms.rule is Rule.FILL_BLANK:
        if is_blank(values.platform) or is_blank(values.crm):
            return wins(
                Side.CRM if is_blank(values.platform) else Side.PLATFORM, "fill_blank", "the other side is blank"
            )
        return Merged(
            Decision(
                terms.field,
                Outcome.KEEP,
                "fill_blank",
                f"{story}; only blanks are filled, both values stay",
                values.crm,
                values.platform,
                conflict=True,
            )
        )
    why = "no trustworthy times" if terms.rule is Rule.NEWEST else "the rule asks a person"
    return Merged(Decision(terms.field, Outcome.HOLD, str(terms.rule or Rule.HOLD), f"{story}; {why}", conflict=True))


def _union(terms: Terms, values: Values) -> Merged:
    """Base plus added minus removed, each side against its own base; nothing a side added is lost."""
    p, c = _set(values.platform), _set(values.crm)
    bp, bc = _set(values.platform_base), _set(values.crm_base)
    result = sorted(((bp & bc) | p | c) - (bp - p) - (bc - c))
    to_crm = result if terms.to_crm and not terms.same(result, sorted(c)) else ABSENT
    to_platform = result if terms.to_platform and not terms.same(result, sorted(p)) else ABSENT
    if to_crm is ABSENT and to_platform is ABSENT:
        return _keep(terms, "unchanged")
    outcome = Outcome.TO_CRM if to_crm is not ABSENT else Outcome.TO_PLATFORM
    decision = Decision(terms.field, outcome, "union", "sets are joined: base plus added minus removed", result)
    return Merged(decision, to_crm, to_platform)


def _set(value: Value) -> set[str]:
    return set() if value is ABSENT or is_blank(value) else {str(item) for item in value}
