"""A plan under construction: what the planners of the single kinds add to, and what they share. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from typing import Any, Literal

from connector.mapping.compiled import ABSENT, Compiled, FieldRule
from connector.model import (
    Action,
    Fact,
    Fields,
    Hold,
    HoldType,
    Kind,
    Link,
    Op,
    Ref,
    Side,
    Snapshot,
    State,
    Value,
    digest,
)
from connector.store.entries import DecisionRow, Entries, NewHold, NewLink, Shown
from connector.sync.pairs import Pair, Result, merge_pair
from connector.sync.placeholders import placeholder
from connector.sync.view import SETTLED_ITSELF, View


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands: has a CRM record or is getting one (`planned`), must wait for another plan (`waits`), or is
    `blocked` with the account its messages get."""

    planned: bool = False
    blocked: tuple[State, str] | None = None
    waits: bool = False


@dataclass
class Draft:
    """Collects one plan. The lists are those of `Entries`; `created_by` is the evidence of the persons being created,
    `written` the CRM records that this plan updates."""

    view: View
    mapping: Compiled
    connection: str
    intents: list[Action] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    creating: set[tuple[Kind, Ref]] = field(default_factory=set)
    created_by: set[tuple[str, str]] = field(default_factory=set)
    new_links: dict[tuple[Kind, Ref], NewLink] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    moved: dict[int, tuple[Ref, str]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    states: dict[Ref, tuple[State, str]] = field(default_factory=dict)
    holds: list[NewHold] = field(default_factory=list)
    closed_holds: list[tuple[int, str, str, str]] = field(default_factory=list)
    decisions: list[DecisionRow] = field(default_factory=list)
    redo: list[Ref] = field(default_factory=list)
    waiting: set[Ref] = field(default_factory=set)
    written: set[Ref] = field(default_factory=set)
    standings: dict[Ref, Standing] = field(default_factory=dict)
    done: set[tuple[Kind, Ref]] = field(default_factory=set)

    def entries(self, work: Sequence[Fact]) -> Entries:
        """The finished plan. Every record of the work is clean now, except those that wait for something."""
        return Entries(
            intents=self.intents,
            facts=self.facts,
            links=list(self.new_links.values()),
            ended=list(self.ended.items()),
            moved=[(link, crm, why) for link, (crm, why) in self.moved.items()],
            snapshots=self.snapshots,
            states=self.states,
            holds=self.holds,
            closed_holds=self.closed_holds,
            decisions=self.decisions,
            clean={
                fact.ref: (fact.version, fact.settled) for fact in self._looked_at(work) if fact.ref not in self.waiting
            },
            redo=self.redo,
            kept=sorted(self.waiting),
        )

    def _looked_at(self, work: Sequence[Fact]) -> Iterator[Fact]:
        """The work, and the platform's parents that were planned because of it."""
        yield from work
        for kind, ref in self.done:
            if kind in (Kind.PERSON, Kind.IDENTITY, Kind.CONVERSATION) and ref in self.view.facts:
                yield self.view.facts[ref]

    def first_visit(self, kind: Kind, subject: Ref) -> bool:
        """Whether the pair has not been planned in this draft; it counts as planned from now on."""
        if (kind, subject) in self.done:
            return False
        self.done.add((kind, subject))
        return True

    def wait(self, *refs: Ref | None) -> None:
        """Leave these dirty: a later plan looks at them again."""
        self.waiting.update(ref for ref in refs if ref)

    def busy(self, subject: Ref, crm: Ref | None = None) -> bool:
        """Whether a write on one of these is under way; then the pair waits for it.

        Two actors: a write for one persona of a contact is held for a person; the contact changes, which concerns her other
        persona as well. Only the first persona stays news: were the contact news too, nothing could be written to it any more.
        """
        if subject in self.view.busy or crm in self.view.busy:
            self.wait(subject)
            return True
        return False

    def pair(
        self, fact: Fact, link: Link | None, space: Fields, linker: "Linker", fields: Fields | None = None, **terms: Any
    ) -> Pair:
        """A platform record and what is linked to it. `fields` replaces the record's own, `terms` are those of `Pair`."""
        return Pair(
            fact.ref,
            fact.fields if fields is None else fields,
            space,
            linker,
            **{"crm": self.view.facts.get(link.crm) if link else None, "exists": link is not None} | terms,
            platform_snapshot=self.view.snapshot(link, Side.PLATFORM),
            crm_snapshot=self.view.snapshot(link, Side.CRM),
        )

    def hold(self, type_: HoldType, subject: Ref, question: str, details: Fields, name: str = "") -> None:
        self.holds.append(NewHold(type_, subject, question, details, name))

    def close(self, hold: Hold | None, why: str) -> None:
        """Close a hold that has settled itself."""
        if hold:
            self.closed_holds.append((hold.id, SETTLED_ITSELF, "connector", why))

    def end(self, link: Link, why: str) -> None:
        """The pair is no more, and nobody has to say any more which of its values stands."""
        self.ended[link.id] = why
        for hold in self.view.conflict_holds.get(link.platform, ()):
            if hold.details.get("kind") == link.kind.value:
                self.close(hold, why)

    def merge_into_plan(
        self,
        kind: Kind,
        rules: Sequence[FieldRule],
        pair: Pair,
        source: Fact,
        *,
        link: Link | None,
        object_: str,
        key: tuple[str, str] | None = None,
        why: tuple[str, ...] = (),
        target: Ref | None = None,
    ) -> Result:
        """Merge a pair and add what follows: writes, snapshots, decisions, conflict holds.

        `link` None and `target` None: the CRM record is to be created under `key`. `link` None with a `target`: the pair
        is to be linked (first contact). The result tells the caller which required fields were missing; then nothing was
        added.
        """
        result = merge_pair(rules, pair)
        if result.missing:
            return result
        crm_ref = link.crm if link else target
        if link and result.to_crm and link.crm in self.written:
            # Two personas of one contact: the second is decided when the first one's value stands in the CRM. The contact itself
            # counts as looked at: were it left as news, the first one's write would always find news that it was made without.
            self.redo.append(pair.subject)
            return result
        self.written.update([link.crm] if link and result.to_crm else [])
        self._conflicts(kind, pair, result)
        writes = self._writes(kind, pair, result, source, crm_ref, object_, key, why)
        if link is None and target is not None:
            # One that the ledger knows may have news that another person's merge is still to see.
            self.facts += [with_changes(pair.crm, dirty=False)] if pair.crm and target in self.view.found else []
            self.new_links[kind, pair.subject] = NewLink(kind, pair.subject, target, why, self._shown(pair, result))
        elif link is not None and result.news:
            self._advance(link, pair, result)
        self.intents += writes
        self.creating.update((kind, pair.subject) for action in writes if action.side is Side.CRM and not crm_ref)
        # What a write to the CRM was decided by stands in the write itself; conflicts are listed for people besides.
        to_crm = [action for action in writes if action.side is Side.CRM]
        carried = {one.field for action in to_crm for one in action.decisions if not one.conflict}
        self.decisions += [
            DecisionRow(kind, pair.subject, crm_ref, one, source.ref)
            for one in result.decisions
            if one.field not in carried
        ]
        return result

    def _writes(
        self,
        kind: Kind,
        pair: Pair,
        result: Result,
        source: Fact,
        crm_ref: Ref | None,
        object_: str,
        key: tuple[str, str] | None,
        why: tuple[str, ...],
    ) -> list[Action]:
        """At most one write per side. A record that does not exist in the CRM yet is written there first; what the platform
        gets of it (its CRM id) follows when it is read back.

        Two actors: a contact is deleted in the CRM, and a person decides that it shall be made again. That is another write
        than the first creation, though it says the same, so the tombstone is part of its key.
        """
        tombstone = self.view.ended(kind, pair.subject) if crm_ref is None else None
        seen = [pair.crm.version if pair.crm else "", digest(pair.platform), tombstone.id if tombstone else None]
        writes: list[Action] = []
        for side, fields in ((Side.CRM, result.to_crm), (Side.PLATFORM, result.to_platform)):
            creating = side is Side.CRM and crm_ref is None
            if not (fields or creating) or (side is Side.PLATFORM and crm_ref is None):
                continue
            target = crm_ref if side is Side.CRM else pair.subject
            if creating:
                fields = {name: value for name, value in fields.items() if value is not None}  # noqa: PLW2901
            writes.append(
                Action(
                    unique=f"{kind}:{pair.subject}:{side}:{digest([seen, fields, str(crm_ref)])}",
                    op=Op.UPSERT,
                    side=side,
                    kind=kind,
                    object=kind.value if side is Side.PLATFORM else target.object if target else object_,
                    fields=fields,
                    source=source.ref,
                    subject=pair.subject,
                    target=target,
                    key=key if creating else None,
                    after=result.after if creating else _after(result, side),
                    decisions=tuple(d for d in result.decisions if d.field in result.written[side]),
                    why=why,
                )
            )
        return writes

    def _shown(self, pair: Pair, result: Result) -> tuple[Shown, ...]:
        return tuple(Shown(side, _agreed(pair, result, side)) for side in Side)

    def _advance(self, link: Link, pair: Pair, result: Result) -> None:
        """Advance the snapshots of a linked pair for every line that nobody is about to write; a write brings the new
        values of its own lines when it has landed."""
        for side in Side:
            unread = result.unread if side is Side.CRM else ()
            self.snapshots.append(Snapshot(link.id, side, _agreed(pair, result, side), unread))

    def _conflicts(self, kind: Kind, pair: Pair, result: Result) -> None:
        asked = {decision.field for decision, _, _ in result.held}
        for decision, platform, crm in result.held:
            self.hold(
                HoldType.CONFLICT,
                pair.subject,
                f"{decision.field}: {decision.reason}. Which value stands?",
                {"kind": kind.value, "platform": platform, "crm": crm},
                decision.field,
            )
        for hold in self.view.conflict_holds.get(pair.subject, ()):
            if hold.field not in asked and hold.details.get("kind") == kind.value:
                self.close(hold, "both sides agree again")


@dataclass(frozen=True, slots=True)
class Linker:
    """Answers link lines: the CRM id of the parent, a placeholder while it is being created, null where the line is for
    records of another object, ABSENT where the parent has no CRM record: then the line is left as it stands. `message` is
    the record that the lines are for, where it is one."""

    draft: Draft
    conversation: Ref | None
    person: Ref | None
    message: Fact | None = None

    def __call__(self, rule: FieldRule) -> Value:
        if rule.link == "reply":
            link = self.draft.view.link(Kind.REPLY, self.message.ref) if self.message else None
            return link.crm.id if link else ABSENT
        if rule.link == "author" and self.message and self.message.fields.get("direction") != "inbound":
            return self.draft.mapping.contacts.get(str(self.message.fields.get("author_email") or "").lower())
        if rule.with_person:
            person = self._record(Kind.PERSON, self.person)
            if person is None:
                return ABSENT
            if isinstance(person, Ref) and person.object != rule.with_person:
                return None
        kind = Kind.CONVERSATION if rule.link == "conversation" else Kind.PERSON
        parent = self.person if kind is Kind.PERSON else self.conversation
        record = self._record(kind, parent)
        if record is None or parent is None:
            return ABSENT
        if isinstance(record, Ref):
            return None if rule.of and record.object != rule.of else record.id
        needs = (rule.with_person, self.person) if rule.with_person and self.person else None
        return placeholder(kind, parent, rule.of, needs)

    def _record(self, kind: Kind, parent: Ref | None) -> Ref | Literal["planned"] | None:
        """The parent's CRM record, "planned" while it is being created, None where there is none to come."""
        if parent is None:
            return None
        link = self.draft.view.link(kind, parent)
        if link and link.id not in self.draft.ended:
            moved = self.draft.moved.get(link.id)
            return moved[0] if moved else link.crm
        new = self.draft.new_links.get((kind, parent))
        if new:
            return new.crm
        return "planned" if (kind, parent) in self.draft.creating or parent in self.draft.view.coming else None


def _after(result: Result, side: Side) -> dict[Side, dict[str, Value]]:
    """The snapshot values that a write brings when it lands: its own lines on both sides, but not what another write of
    the same plan is still to bring to the other side (sets are written to both)."""
    lines = result.written[side]
    return {
        at: {
            name: result.after[at][name]
            for name in lines
            if name in result.after[at] and (at is side or name not in result.written[at])
        }
        for at in Side
    }


def _agreed(pair: Pair, result: Result, side: Side) -> dict[str, Value]:
    """The snapshot before any write has landed: old values for the lines being written, new ones for the rest."""
    snapshot = pair.platform_snapshot if side is Side.PLATFORM else pair.crm_snapshot
    old = snapshot.fields if snapshot else {}
    pending = {name for lines in result.written.values() for name in lines}
    agreed = {name: value for name, value in result.after[side].items() if name not in pending}
    return agreed | {name: old[name] for name in pending if name in old}
