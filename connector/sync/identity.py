"""Who is this? Evidence with weights decides whether a platform person and a CRM record are the same. Pure.

Strong enough and clear of the runner-up: link. In between: a person decides, with the candidates. Nobody: what the mapping
says. A name alone never links, because the mapping loader refuses weights that would let it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers

from connector.adapters.base import Lookup
from connector.mapping.model import Evidence, Match
from connector.model import Fields, Ref, Value

FULL = 100
"""Points are capped here, so that weights read as percent."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A CRM record that might be the person. `known_by` names the evidence found through a record of its own, such as an
    identity record that points at it."""

    ref: Ref
    fields: Fields
    known_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scored:
    ref: Ref
    points: int
    reasons: tuple[str, ...]


class Answer(StrEnum):
    LINK = "link"
    HOLD = "hold"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`scored` keeps every candidate, best first, so that a wrong link can be explained and undone."""

    answer: Answer
    scored: tuple[Scored, ...] = ()

    @property
    def best(self) -> Scored:
        return self.scored[0]


def lookups(person: Fields, match: Match, objects: Sequence[str]) -> list[tuple[Evidence, Lookup]]:
    """What to ask the CRM: one lookup per value, object and field of every evidence that is searched by."""
    asked: list[tuple[Evidence, Lookup]] = []
    for evidence in match.evidence:
        if not evidence.search:
            continue
        how = "phone" if evidence.compare == "phone" else "exact"
        for value in _texts(person.get(evidence.platform)):
            if evidence.through:
                asked.append((evidence, Lookup(evidence.through.object, evidence.through.field, value)))
            asked += [(evidence, Lookup(object_, field, value, how)) for object_ in objects for field in evidence.crm]
    return asked


def judge(person: Fields, candidates: Iterable[Candidate], match: Match, region: str) -> Verdict:
    """The verdict over all candidates. `region` is the country of phone numbers written without a prefix."""
    scored = sorted(
        (score(person, candidate, match.evidence, region) for candidate in candidates),
        key=lambda one: (-one.points, one.ref),
    )
    scored = [one for one in scored if one.points > 0]
    if not scored or scored[0].points < match.hold_at:
        return Verdict(Answer.NOBODY, tuple(scored))
    runner_up = scored[1].points if len(scored) > 1 else 0
    clear = scored[0].points - runner_up >= match.margin or len(scored) == 1
    if scored[0].points >= match.link_at and clear:
        return Verdict(Answer.LINK, tuple(scored))
    return Verdict(Answer.HOLD, tuple(scored))


def score(person: Fields, candidate: Candidate, evidence: Sequence[Evidence], region: str) -> Scored:
    """The candidate's points: weights of what agrees, minus what speaks against it, between 0 and 100."""
    points = 0
    reasons: list[str] = []
    for one in evidence:
        mine = {_normal(text, one.compare, region) for text in _texts(person.get(one.platform))} - {""}
        theirs = {
            _normal(text, one.compare, region) for field in one.crm for text in _texts(candidate.fields.get(field))
        } - {""}
        if one.name in candidate.known_by or mine & theirs:
            points += one.weight
            reasons.append(f"{one.name} agrees (+{one.weight})")
        elif mine and theirs and one.against:
            points -= one.against
            reasons.append(f"{one.name} differs (-{one.against})")
    return Scored(candidate.ref, max(0, min(FULL, points)), tuple(reasons))


def shared_evidence(person: Fields, match: Match, region: str) -> frozenset[tuple[str, str]]:
    """What would make two platform persons of one batch the same CRM record: the searched evidence that links by itself.

    Two actors: two chats of one customer arrive in one batch, both find nobody in the CRM, both would create her. The second
    waits for the first one's record and then finds it.
    """
    return frozenset(
        (one.name, _normal(text, one.compare, region))
        for one in match.evidence
        if one.search and one.weight >= match.link_at
        for text in _texts(person.get(one.platform))
    )


def _texts(value: Value) -> list[str]:
    if value is None or value == "":
        return []
    values = value if isinstance(value, list) else [value]
    return [str(item) for item in values if item not in (None, "")]


def _normal(text: str, compare: str, region: str) -> str:
    if compare == "phone":
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            return ""
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if compare == "handle":
        return text.strip().lstrip("@").casefold()
    if compare in ("email", "name"):
        return " ".join(text.split()).casefold()
    return text
