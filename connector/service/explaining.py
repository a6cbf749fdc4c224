"""Why is this record as it is? Everything the store knows of one record, with the mapping's lines. No network."""

from collections.abc import Iterator
from dataclasses import dataclass

from connector.app import Plug
from connector.errors import ConnectorError
from connector.mapping.compiled import Compiled, FieldRule
from connector.model import Fact, Hold, Intent, Kind, Link, Ref
from connector.store.entries import Decided

PARENTS = 3
"""A message's conversation and person, and one more should a system nest deeper."""


@dataclass(frozen=True)
class Because:
    """A stored decision and the line of the mapping that it followed ("" where the line is gone)."""

    decided: Decided
    where: str


@dataclass(frozen=True)
class Explanation:
    """Of one record: what was read, what it is linked with, what was decided and written. `above` are its parents."""

    ref: Ref
    fact: Fact | None
    links: tuple[Link, ...]
    decisions: tuple[Because, ...]
    intents: tuple[Intent, ...]
    holds: tuple[Hold, ...]
    above: tuple["Explanation", ...] = ()


def explain(plug: Plug, ref: Ref) -> Explanation:
    """Of a record that is known; see `find`."""
    above: list[Explanation] = []
    fact = plug.ledger.facts([ref]).get(ref)
    parent = _parent(plug, ref, fact)
    while parent and len(above) < PARENTS:
        one = _one(plug, parent)
        above.append(one)
        parent = _parent(plug, parent, one.fact)
    found = _one(plug, ref)
    return Explanation(found.ref, found.fact, found.links, found.decisions, found.intents, found.holds, tuple(above))


def find(plugs: list[Plug], text: str) -> tuple[Plug, Ref]:
    """The one known record that the text names, over all connections. Raises ConnectorError when there is none or more."""
    found: list[tuple[Plug, Ref]] = []
    for plug in plugs:
        try:
            candidates = dict.fromkeys(plug.candidates(text))
        except ValueError as error:
            raise ConnectorError(str(error)) from None
        known = plug.ledger.known(candidates)
        known |= {ref for ref in candidates if plug.ledger.intents_for(ref) or plug.ledger.decisions_for(ref)}
        found += [(plug, ref) for ref in candidates if ref in known]
    if not found:
        raise ConnectorError(
            f"Nothing is known of {text!r}.",
            "Write it as system:object:id, for example chatwoot:message:118-90412 or salesforce:Contact:0035g00000AbCdEAAV.",
        )
    if len(found) > 1:
        names = ", ".join(f"{ref} (connection {plug.name})" for plug, ref in found)
        raise ConnectorError(f"{text!r} may be {names}.", "Write the whole reference, and --connection where needed.")
    return found[0]


def line_of(mapping: Compiled, kind: Kind, name: str) -> FieldRule | None:
    """The line of the mapping that a decision's field names. Pure."""
    return next((rule for rule in _rules(mapping, kind) if rule.name == name), None)


def _rules(mapping: Compiled, kind: Kind) -> Iterator[FieldRule]:
    if kind is Kind.REPLY:
        yield from mapping.replies.fields if mapping.replies else ()
        return
    section = mapping.kind(kind)
    yield from section.fields if section else ()
    if kind is Kind.PERSON and mapping.persons.lead:
        yield from mapping.persons.lead.fields


def _one(plug: Plug, ref: Ref) -> Explanation:
    ledger = plug.ledger
    decisions = []
    for decided in ledger.decisions_for(ref):
        rule = line_of(plug.mapping, decided.row.kind, decided.row.decision.field)
        decisions.append(Because(decided, rule.where if rule else ""))
    holds = sorted([*ledger.open_holds([ref]), *ledger.settled_holds([ref])], key=lambda hold: hold.id)
    return Explanation(
        ref,
        ledger.facts([ref]).get(ref),
        tuple(ledger.links_of([ref])),
        tuple(decisions),
        tuple(ledger.intents_for(ref)),
        tuple(holds),
    )


def _parent(plug: Plug, ref: Ref, fact: Fact | None) -> Ref | None:
    """The record above: as it was read, and for a CRM record without one that of its counterpart on the platform."""
    if fact and fact.parent:
        return fact.parent
    for link in plug.ledger.links_of([ref]):
        if link.crm == ref and (other := plug.ledger.facts([link.platform]).get(link.platform)):
            return other.parent
    return None
