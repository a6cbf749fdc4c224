"""From facts to a plan: the order in which the kinds are planned, parents before children. Pure.

The same rows give the same plan: no clock, no network, no database.
"""

from collections.abc import Sequence

from connector.mapping.compiled import Compiled
from connector.model import Fact, Kind, Life, Ref, Side
from connector.store.entries import Entries
from connector.sync.draft import Draft
from connector.sync.persons import persons_to_find, plan_person
from connector.sync.replies import plan_reply
from connector.sync.threads import admits, persons_of, plan_conversation, plan_message, setting
from connector.sync.view import View


def make_plan(view: View, work: Sequence[Fact], mapping: Compiled, connection: str) -> Entries:
    """What should happen because of `work`, a batch of dirty facts, given the rows around it."""
    draft = Draft(view, mapping, connection)
    # Who is gone comes first: what only she could show is free then for the others who are the same contact.
    ordered = sorted(work, key=lambda fact: (fact.kind.rank, fact.life is Life.LIVE))
    for fact in ordered:
        if fact.side is Side.PLATFORM and fact.kind is Kind.PERSON:
            plan_person(draft, fact)
    for fact in ordered:
        if fact.side is Side.PLATFORM and fact.kind is Kind.IDENTITY:
            _plan_owner(draft, fact)
        elif fact.side is Side.CRM:
            _plan_crm(draft, fact)
    for fact in work:
        if fact.side is Side.PLATFORM and fact.kind is Kind.MESSAGE:
            plan_message(draft, fact)
            _recount(draft, fact)
    for fact in ordered:
        if fact.side is Side.PLATFORM and fact.kind is Kind.CONVERSATION:
            plan_conversation(draft, fact)
    return draft.entries(work)


def lookups_needed(view: View, work: Sequence[Fact], mapping: Compiled, connection: str) -> list[Fact]:
    """The persons of this batch that must be looked up in the CRM first: those that a message needs, and held ones."""
    draft = Draft(view, mapping, connection)
    wanted: list[Ref] = []
    for fact in work:
        if fact.side is Side.PLATFORM and fact.kind is Kind.MESSAGE:
            persons = persons_to_find(draft, persons_of(draft, fact))
            if persons and admits(draft, setting(draft, fact))[0]:
                wanted += [person.ref for person in persons]
        elif fact.kind is Kind.CONVERSATION:
            threads = [fact.ref, *(link.platform for link in view.links_on(fact.ref))]
            linked = [view.facts[ref] for ref in threads if ref in view.facts and view.link(Kind.CONVERSATION, ref)]
            wanted += [thread.parent for thread in linked if thread.parent]
        elif (
            fact.side is Side.PLATFORM
            and fact.kind is Kind.PERSON
            and any(hold.subject == fact.ref for hold in view.holds)
        ):
            wanted.append(fact.ref)
    return persons_to_find(draft, wanted)


def _plan_owner(draft: Draft, identity: Fact) -> None:
    """A changed identity is planned with its person. Where the person has no CRM record (any more), a link to a deleted
    identity record would outlive it, so that link is ended here."""
    person = draft.view.facts.get(identity.parent) if identity.parent else None
    if person:
        plan_person(draft, person)
    link = draft.view.link(Kind.IDENTITY, identity.ref)
    crm = draft.view.facts.get(link.crm) if link else None
    if link and crm and crm.life is not Life.LIVE and draft.first_visit(Kind.IDENTITY, identity.ref):
        draft.end(link, f"{crm.life} in the CRM")


def _plan_crm(draft: Draft, fact: Fact) -> None:
    """A change in the CRM is planned through the platform records it is linked to."""
    if fact.kind is Kind.REPLY:
        plan_reply(draft, fact)
        return
    for link in draft.view.links_on(fact.ref):
        platform = draft.view.facts.get(link.platform)
        if platform is None:
            continue
        if link.kind is Kind.PERSON:
            plan_person(draft, platform)
        elif link.kind is Kind.IDENTITY:
            _plan_owner(draft, platform)
        elif link.kind is Kind.CONVERSATION:
            plan_conversation(draft, platform)
        elif link.kind is Kind.MESSAGE:
            plan_message(draft, platform)


def _recount(draft: Draft, message: Fact) -> None:
    """A new message changes the counts that its conversation's record shows."""
    conversation = draft.view.facts.get(message.parent) if message.parent else None
    if conversation:
        plan_conversation(draft, conversation)
