"""Planning persons and their network identities: who gets linked, created, held or skipped, and what is merged. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from connector.mapping.compiled import FieldRule
from connector.mapping.filters import passes
from connector.mapping.lenses import is_blank
from connector.mapping.names import names
from connector.model import Fact, Fields, Hold, HoldType, Kind, Life, Link, Ref, Side, Snapshot, State, Value
from connector.sync.draft import Draft, Linker, Standing
from connector.sync.identity import Answer, Verdict, judge, shared_evidence
from connector.sync.pairs import Pair, Reserved, Settled
from connector.sync.replies import DROP
from connector.sync.view import View

NEVER = "never"
PARTED = {life: f"{life} on the platform" for life in (Life.GONE, Life.MERGED)}
"""Why a person's link ended whose contact stays as she is."""
PRIMARY = "the platform allows this value once; it stays with {}"


def place_person(draft: Draft, person: Ref) -> Standing:
    """Where a person stands; a person without a link is matched here, once per draft."""
    if person not in draft.standings:
        draft.standings[person] = _place(draft, person)
    return draft.standings[person]


def not_found(person: Ref) -> str:
    """Why the messages of a person are held whom the platform does not show. They are news again when it does."""
    return f"{person} is not to be found on the platform"


def plan_person(draft: Draft, fact: Fact) -> None:
    """Merge a linked person. A person without a link is planned when a message needs it."""
    link = draft.view.link(Kind.PERSON, fact.ref)
    if link is None:
        hold = draft.view.hold(HoldType.IDENTITY, fact.ref)
        if fact.life is not Life.LIVE:
            if draft.first_visit(Kind.PERSON, fact.ref):
                draft.close(hold, f"{fact.life} on the platform")
        elif hold or binding(draft.view, fact.ref):
            place_person(draft, fact.ref)
        return
    if not draft.first_visit(Kind.PERSON, fact.ref):
        return
    # Before the busy check: a refused write can be held for days, and a deletion or merge in the CRM must not wait for it.
    if fact.life is not Life.LIVE:
        draft.end(link, PARTED[fact.life])
        _free_values(draft, link)
        return
    crm = draft.view.facts.get(link.crm)
    if crm and crm.life is Life.MERGED and crm.merged_into:
        follow(draft, link, crm.merged_into, draft.mapping.persons.fields)
        return
    if crm and crm.life is Life.GONE:
        draft.end(link, "deleted in the CRM")
        return
    if draft.busy(fact.ref, link.crm):
        return
    _merge(draft, fact, crm, link=link)
    plan_identities(draft, fact)


def _free_values(draft: Draft, ended: Link) -> None:
    """What the platform allows once is decided anew for the other persons who are the same contact.

    Two actors: a customer's WhatsApp person brings a new number to her contact, and her Instagram person keeps the old one, for
    the platform allows a number once; then an agent merges the first into the second. The number is free, and nobody would give
    it to the one who is left. Only what she could not be given is forgotten: a number that an agent types for her in the same
    moment is an edit of one that both sides agreed on.
    """
    for link in draft.view.links_on(ended.crm):
        shown, fact = draft.view.snapshot(link, Side.CRM), draft.view.facts.get(link.platform)
        if link.id == ended.id or shown is None or fact is None or fact.life is not Life.LIVE:
            continue
        once = _not_given(draft, link, fact, shown)
        if not once or not draft.first_visit(Kind.PERSON, link.platform):
            # Two who are gone leave one behind: she is decided anew once, and not merged in this plan on what is forgotten here.
            continue
        kept = {name: value for name, value in shown.fields.items() if name not in once}
        draft.snapshots.append(replace(shown, fields=kept, unread=tuple(name for name in shown.unread if name in kept)))
        draft.redo.append(link.platform)


def _not_given(draft: Draft, link: Link, fact: Fact, shown: Snapshot) -> set[str]:
    """The lines whose value the platform allows once, where the contact shows another one than this person ever did."""
    theirs = draft.view.snapshot(link, Side.PLATFORM)
    given = theirs.fields if theirs else {}
    once = [rule for rule in draft.mapping.persons.fields if rule.platform in draft.view.unique]
    return {
        rule.name
        for rule in once
        if rule.name in shown.fields
        and not rule.lens.same(given.get(rule.name), shown.fields[rule.name])
        and rule.lens.same(given.get(rule.name), fact.fields.get(rule.platform or ""))
    }


def follow(draft: Draft, link: Link, winner: Ref, lines: Sequence[FieldRule]) -> None:
    """Two actors: a CRM user merges two contacts (or converts a lead); a message arrives for the loser. The link moves to
    the winner, so the message lands there and the loser is never made again. The pair is merged anew once the winner has
    been read: what the loser showed says nothing about the winner, whose empty labels would look like removed ones. Only of
    one-way lines it is remembered, because what they gave to the platform is ours to replace."""
    draft.moved[link.id] = (winner, f"{link.crm} became {winner}")
    given = {rule.name for rule in lines if not rule.to_crm_allowed}
    shown = draft.view.snapshot(link, Side.CRM)
    kept = {name: value for name, value in (shown.fields if shown else {}).items() if name in given}
    draft.snapshots.append(Snapshot(link.id, Side.CRM, kept))
    draft.redo.append(link.platform)
    draft.wait(link.platform)


def plan_identities(draft: Draft, person: Fact) -> None:
    """Create or update the identity records of a person that has, or is getting, a CRM record."""
    rules = draft.mapping.identities
    if rules is None:
        return
    for fact in draft.view.identities(person.ref):
        link = draft.view.link(Kind.IDENTITY, fact.ref)
        if link is None and draft.view.ended(Kind.IDENTITY, fact.ref):
            continue
        if not draft.first_visit(Kind.IDENTITY, fact.ref) or draft.busy(fact.ref, link.crm if link else None):
            continue
        crm = draft.view.facts.get(link.crm) if link else None
        if link and crm and crm.life is not Life.LIVE:
            draft.end(link, f"{crm.life} in the CRM")
            continue
        space = names(fact, [person], connection=draft.connection)
        pair = draft.pair(fact, link, space, Linker(draft, None, person.ref))
        key = (rules.key.field, rules.key.value(space))
        draft.merge_into_plan(Kind.IDENTITY, rules.fields, pair, fact, link=link, object_=rules.object, key=key)


def persons_to_find(draft: Draft, wanted: Sequence[Ref]) -> list[Fact]:
    """The persons of this batch that have to be looked up in the CRM before they can be planned."""
    found: dict[Ref, Fact] = {}
    for ref in wanted:
        fact = draft.view.facts.get(ref)
        if fact is None or fact.life is not Life.LIVE or ref in found or ref in draft.view.coming:
            continue
        if draft.view.link(Kind.PERSON, ref) or draft.view.ended(Kind.PERSON, ref) or binding(draft.view, ref):
            continue
        if given_up(draft, ref):
            continue
        found[ref] = fact
    return list(found.values())


def _place(draft: Draft, person: Ref) -> Standing:
    view = draft.view
    link = view.link(Kind.PERSON, person)
    if link:
        fact = view.facts.get(person)
        if fact:
            plan_person(draft, fact)
        return _linked_place(draft, link, person)
    fact = view.facts.get(person)
    if fact is None or fact.life is not Life.LIVE:
        return Standing(blocked=(State.HELD, not_found(person)), waits=fact is None)
    if person in view.coming:
        hold = view.hold(HoldType.REFUSED, person, Side.CRM.value) or view.hold(HoldType.IDENTITY, person)
        return Standing(planned=True) if hold is None else Standing(planned=True, blocked=(State.HELD, _held(hold)))
    takes, rule = passes(draft.mapping.persons.filters, names(fact, connection=draft.connection))
    if not takes:
        return Standing(blocked=(State.FILTERED, rule))
    return _settle_or_match(draft, fact)


def _linked_place(draft: Draft, link: Link, person: Ref) -> Standing:
    if link.id in draft.ended:
        return _deleted(draft, person, link)
    return Standing(planned=True)


def _settle_or_match(draft: Draft, fact: Fact) -> Standing:
    settled = binding(draft.view, fact.ref)
    if settled:
        return _follow_choice(draft, fact, settled)
    ended = draft.view.ended(Kind.PERSON, fact.ref)
    if ended:
        return _deleted(draft, fact.ref, ended)
    dropped = given_up(draft, fact.ref)
    if dropped:
        return Standing(blocked=(State.FILTERED, f"{fact.ref} was given up. {dropped}"))
    created_by = draft.created_by.union(*(_evidence(draft, one) for one in draft.view.creating if one.ref != fact.ref))
    if _evidence(draft, fact) & created_by:
        draft.wait(fact.ref)
        return Standing(waits=True)
    candidates = draft.view.candidates.get(fact.ref)
    if candidates is None:
        draft.wait(fact.ref)
        return Standing(waits=True)
    verdict = judge(fact.fields, candidates, draft.mapping.persons.match, draft.mapping.region)
    if verdict.answer is Answer.LINK:
        return _link(draft, fact, verdict.best.ref, verdict.best.reasons)
    if verdict.answer is Answer.HOLD:
        return _ask(draft, fact, verdict, f"Which CRM record is {_name(fact)}?")
    if draft.mapping.persons.nobody == "hold":
        return _ask(draft, fact, verdict, f"Nobody in the CRM matches {_name(fact)}. Who is it?")
    if draft.mapping.persons.nobody == "skip":
        draft.close(draft.view.hold(HoldType.IDENTITY, fact.ref), "nobody matches; the mapping skips such persons")
        return Standing(blocked=(State.FILTERED, "persons.nobody: skip"))
    return _create(draft, fact, ("nobody in the CRM matched",))


def _evidence(draft: Draft, fact: Fact) -> frozenset[tuple[str, str]]:
    return shared_evidence(fact.fields, draft.mapping.persons.match, draft.mapping.region)


def _follow_choice(draft: Draft, fact: Fact, settled: Hold) -> Standing:
    by = f"{settled.by} decided" + (f": {settled.why}" if settled.why else "")
    if settled.choice == NEVER:
        return Standing(blocked=(State.FILTERED, "a person decided: never"))
    if settled.choice == "create":
        return _create(draft, fact, (by,))
    chosen = draft.view.facts.get(Ref.parse(str(settled.choice)))
    if chosen and chosen.life is Life.MERGED and chosen.merged_into:
        chosen = draft.view.facts.get(chosen.merged_into)
    if chosen is None or chosen.life is not Life.LIVE:
        return _ask(draft, fact, Verdict(Answer.NOBODY), f"{settled.choice} is not in the CRM any more. Who is it?")
    return _link(draft, fact, chosen.ref, (by,))


def _link(draft: Draft, fact: Fact, crm: Ref, why: tuple[str, ...]) -> Standing:
    draft.first_visit(Kind.PERSON, fact.ref)
    draft.close(draft.view.hold(HoldType.IDENTITY, fact.ref), f"linked to {crm}")
    _merge(draft, fact, draft.view.facts.get(crm), link=None, target=crm, why=why)
    plan_identities(draft, fact)
    return Standing(planned=True)


def _create(draft: Draft, fact: Fact, why: tuple[str, ...]) -> Standing:
    draft.first_visit(Kind.PERSON, fact.ref)
    persons = draft.mapping.persons
    lead = persons.lead if persons.nobody == "lead" else None
    home = lead or persons
    space = names(fact, connection=draft.connection)
    pair = Pair(fact.ref, fact.fields, space, Linker(draft, None, fact.ref), exists=False)
    result = draft.merge_into_plan(
        Kind.PERSON,
        persons.on(home.object),
        pair,
        fact,
        link=None,
        object_=home.object,
        key=(home.key.field, home.key.value(space)),
        why=why,
    )
    if result.missing:
        return _ask(draft, fact, Verdict(Answer.NOBODY), f"{_name(fact)} has no value for {', '.join(result.missing)}.")
    draft.created_by |= _evidence(draft, fact)
    draft.close(draft.view.hold(HoldType.IDENTITY, fact.ref), "nobody matches any more")
    plan_identities(draft, fact)
    return Standing(planned=True)


def _merge(
    draft: Draft,
    fact: Fact,
    crm: Fact | None,
    *,
    link: Link | None,
    target: Ref | None = None,
    why: tuple[str, ...] = (),
) -> None:
    persons = draft.mapping.persons
    crm_ref = link.crm if link else target
    pair = draft.pair(
        fact,
        link,
        names(fact, connection=draft.connection),
        Linker(draft, None, fact.ref),
        crm=crm,
        exists=True,
        newer=newer(draft, fact, crm),
        settled=choice(draft, fact.ref),
        reserved=_reserved(draft, fact, crm_ref, link),
    )
    rules = persons.on(crm_ref.object if crm_ref else persons.object)
    draft.merge_into_plan(Kind.PERSON, rules, pair, fact, link=link, object_=persons.object, target=target, why=why)


def _reserved(draft: Draft, fact: Fact, crm: Ref | None, link: Link | None) -> Reserved:
    """Values that the platform allows once and that another person has, or is first to get.

    Two actors: a customer writes on Instagram and on WhatsApp, so two persons are one contact. Giving both the contact's
    phone number would be refused; the one that shows it keeps it, and otherwise the older one gets it.
    """
    unique = draft.view.unique
    mates = [one for one in draft.view.links_on(crm) if link is None or one.id != link.id] if crm else []
    planned = [new.platform for new in draft.new_links.values() if new.kind is Kind.PERSON and new.crm == crm]
    older = [one.platform for one in mates if link is None or one.id < link.id]
    older += [ref for ref in planned if link is None and ref != fact.ref]

    def reserved(name: str, value: Value) -> str | None:
        if name not in unique or is_blank(value):
            return None
        shown = draft.view.shown_by(name, value) - {fact.ref}
        if not is_blank(fact.fields.get(name)):
            return PRIMARY.format(min(shown)) if shown else None
        having = {
            one.platform for one in mates if (mate := draft.view.facts.get(one.platform)) and mate.fields.get(name)
        }
        holder = min(shown | having, default=None) or next(iter(older), None)
        return PRIMARY.format(holder) if holder else None

    return reserved


def _ask(draft: Draft, fact: Fact, verdict: Verdict, question: str, ended: Link | None = None) -> Standing:
    found = {one.ref: one.fields for one in draft.view.candidates.get(fact.ref) or ()}
    details: dict[str, Value] = {
        "person": {name: fact.fields.get(name) for name in ("name", "email", "phone", "handle", "identity_keys")},
        "ended": ended.id if ended else None,
        "candidates": [
            {
                "ref": str(one.ref),
                "points": one.points,
                "reasons": list(one.reasons),
                "shows": _shown(draft, one.ref, found[one.ref]),
            }
            for one in verdict.scored
        ],
    }
    draft.hold(HoldType.IDENTITY, fact.ref, question, details)
    return Standing(blocked=(State.HELD, f"identity of {fact.ref}"))


def _shown(draft: Draft, candidate: Ref, fields: Fields) -> dict[str, Value]:
    """What tells a person which record this is: the values that the mapping reads of it, as they were looked up."""
    persons = draft.mapping.persons
    read = [rule.crm for rule in persons.on(candidate.object) if rule.to_platform_allowed]
    read += [name for one in persons.match.evidence if one.through is None for name in one.crm]
    values = {name: fields.get(name) for name in dict.fromkeys(read)}
    return {name: value for name, value in values.items() if not is_blank(value) and value != candidate.id}


def _deleted(draft: Draft, person: Ref, link: Link) -> Standing:
    """Deleted in the CRM: unlinked and not made again. Only a person can bring the record back."""
    fact = draft.view.facts.get(person)
    if fact and not draft.view.hold(HoldType.IDENTITY, person):
        question = f"{link.crm} ({_name(fact)}) was unlinked: {link.ended or 'deleted in the CRM'}."
        _ask(draft, fact, Verdict(Answer.NOBODY), question, link)
    return Standing(blocked=(State.HELD, f"identity of {person}"))


def binding(view: View, person: Ref) -> Hold | None:
    """A person's decision about this identity. One that was made before the link ended does not bind any more."""
    settled = view.settlement(HoldType.IDENTITY, person)
    ended = view.ended(Kind.PERSON, person)
    if settled is None or settled.details.get("ended") != (ended.id if ended else None):
        return None
    return settled


def unwanted(view: View, person: Ref) -> Hold | None:
    """The decision by which this person shall never come into the CRM, as long as it binds."""
    settled = None if view.link(Kind.PERSON, person) else binding(view, person)
    return settled if settled and settled.choice == NEVER else None


def given_up(draft: Draft, subject: Ref) -> str | None:
    """Who decided that a record which the CRM refused shall not be made, and why."""
    settled = draft.view.settlement(HoldType.REFUSED, subject, Side.CRM.value)
    return f"{settled.by} decided: {settled.why}" if settled and settled.choice == DROP else None


def choice(draft: Draft, subject: Ref) -> Settled:
    """A person's settled choice for a field, as long as both sides still show the values it was made for."""

    def settled(name: str, platform: Value, crm: Value) -> str | None:
        hold = draft.view.settlement(HoldType.CONFLICT, subject, name)
        if hold is None or (hold.details.get("platform"), hold.details.get("crm")) != (platform, crm):
            return None
        return hold.choice

    return settled


def newer(draft: Draft, platform: Fact, crm: Fact | None) -> Side | None:
    """The side that changed last, None where the times of one cannot be trusted or are equal."""
    if platform.kind not in draft.view.trusted_times or crm is None:
        return None
    if platform.changed_at is None or crm.changed_at is None or platform.changed_at == crm.changed_at:
        return None
    return Side.PLATFORM if platform.changed_at > crm.changed_at else Side.CRM


def _name(fact: Fact) -> str:
    return str(fact.fields.get("name") or fact.fields.get("handle") or fact.ref)


def _held(hold: Hold) -> str:
    return f"hold {hold.id}: {hold.question}"
