"""What the planner may look at: rows loaded beforehand, with the few questions it asks of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from connector.model import Fact, Hold, HoldType, Kind, Life, Link, Ref, Side, Snapshot, Value
from connector.store.entries import ConversationStats
from connector.sync.identity import Candidate

SETTLED_ITSELF = "settled itself"
"""The choice of a hold that nobody had to settle, because its question went away."""


@dataclass(frozen=True)
class View:
    """Rows around one batch of work.

    `busy` are refs with an open intent: nothing is planned on them until it is settled, so that a plan never builds on a
    value that is just being written. `coming` are those whose CRM record is being made. `candidates` are the CRM records found for persons without a link; a person that is
    missing there was not looked up. `found` are the CRM records among `facts` that the ledger does not know yet, `creating`
    the persons with a CRM record under way from an earlier plan. `unique` are the platform's person fields that no two persons may share.
    """

    facts: Mapping[Ref, Fact]
    links: Iterable[Link] = ()
    snapshots: Mapping[int, Mapping[Side, Snapshot]] = field(default_factory=dict)
    busy: frozenset[Ref] = frozenset()
    coming: frozenset[Ref] = frozenset()
    holds: Iterable[Hold] = ()
    settled: Iterable[Hold] = ()
    stats: Mapping[Ref, ConversationStats] = field(default_factory=dict)
    candidates: Mapping[Ref, list[Candidate]] = field(default_factory=dict)
    found: frozenset[Ref] = frozenset()
    creating: Iterable[Fact] = ()
    unique: frozenset[str] = frozenset()
    trusted_times: frozenset[Kind] = frozenset()
    doubtful: bool = False
    """Whether a conversation or a message may stand in the CRM that we do not know of yet."""

    @cached_property
    def _by_platform(self) -> dict[tuple[Kind, Ref], list[Link]]:
        table: dict[tuple[Kind, Ref], list[Link]] = {}
        for link in self.links:
            table.setdefault((link.kind, link.platform), []).append(link)
        return table

    @cached_property
    def _by_crm(self) -> dict[Ref, list[Link]]:
        table: dict[Ref, list[Link]] = {}
        for link in self.links:
            table.setdefault(link.crm, []).append(link)
        return table

    @cached_property
    def conflict_holds(self) -> dict[Ref, list[Hold]]:
        """Open conflicts by subject."""
        table: dict[Ref, list[Hold]] = {}
        for hold in self.holds:
            if hold.type is HoldType.CONFLICT:
                table.setdefault(hold.subject, []).append(hold)
        return table

    @cached_property
    def _holds(self) -> dict[tuple[HoldType, Ref, str], Hold]:
        return {(hold.type, hold.subject, hold.field): hold for hold in self.holds}

    @cached_property
    def _settled(self) -> dict[tuple[HoldType, Ref, str], Hold]:
        newest: dict[tuple[HoldType, Ref, str], Hold] = {}
        for hold in sorted(self.settled, key=lambda one: one.id):
            if hold.choice == SETTLED_ITSELF:
                continue
            newest[hold.type, hold.subject, hold.field] = hold
        return newest

    @cached_property
    def _identities(self) -> dict[Ref, list[Fact]]:
        table: dict[Ref, list[Fact]] = {}
        for fact in self.facts.values():
            if fact.kind is Kind.IDENTITY and fact.side is Side.PLATFORM and fact.parent:
                table.setdefault(fact.parent, []).append(fact)
        return table

    @cached_property
    def _shown(self) -> dict[tuple[str, str], set[Ref]]:
        table: dict[tuple[str, str], set[Ref]] = {}
        for fact in self.facts.values():
            if fact.kind is Kind.PERSON and fact.side is Side.PLATFORM:
                for name in self.unique & fact.fields.keys():
                    table.setdefault((name, str(fact.fields[name])), set()).add(fact.ref)
        return table

    def shown_by(self, name: str, value: Value) -> set[Ref]:
        """The platform persons that show this value in a field that is unique there."""
        return self._shown.get((name, str(value)), set())

    def identities(self, person: Ref) -> list[Fact]:
        """The network identities of a platform person."""
        return self._identities.get(person, [])

    def link(self, kind: Kind, platform: Ref) -> Link | None:
        """The active link of a platform record."""
        for link in self._by_platform.get((kind, platform), ()):
            if link.active:
                return link
        return None

    def ended(self, kind: Kind, platform: Ref) -> Link | None:
        """The newest ended link of a platform record that has no active one: its tombstone."""
        links = self._by_platform.get((kind, platform), [])
        if any(link.active for link in links):
            return None
        return max(links, key=lambda link: link.id, default=None)

    def links_on(self, crm: Ref) -> list[Link]:
        """The active links of a CRM record, oldest first."""
        return sorted((link for link in self._by_crm.get(crm, ()) if link.active), key=lambda link: link.id)

    def snapshot(self, link: Link | None, side: Side) -> Snapshot | None:
        return self.snapshots.get(link.id, {}).get(side) if link else None

    def hold(self, type_: HoldType, subject: Ref, name: str = "") -> Hold | None:
        return self._holds.get((type_, subject, name))

    def settlement(self, type_: HoldType, subject: Ref, name: str = "") -> Hold | None:
        """The last hold of this kind that a person has settled."""
        return self._settled.get((type_, subject, name))


def chosen(view: View) -> list[Ref]:
    """CRM records that nobody has read yet: chosen by people for persons without a link, or moved to after a merge."""
    moved = {link.crm for link in view.links if link.active and link.kind in (Kind.PERSON, Kind.CONVERSATION)}
    refs = moved | {
        Ref.parse(hold.choice)
        for hold in view.settled
        if hold.type is HoldType.IDENTITY
        and hold.choice
        and ":" in hold.choice
        and view.link(Kind.PERSON, hold.subject) is None
    }
    return sorted(refs - view.facts.keys())


def missing_parents(view: View, work: Sequence[Fact]) -> set[Ref]:
    """Parents that the work names and nobody has observed yet: a webhook may show a message before its conversation."""
    named: set[Ref] = set()
    for fact in work:
        if fact.side is Side.PLATFORM and fact.life is Life.LIVE:
            if fact.parent:
                named.add(fact.parent)
            if fact.kind is Kind.MESSAGE and fact.fields.get("person"):
                named.add(Ref.parse(fact.fields["person"]))
    return {ref for ref in named if ref not in view.facts}
