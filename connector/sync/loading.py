"""Reading from the store the rows around a batch of work. Reads only; what they mean is decided by `plan`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from connector.mapping.compiled import Compiled
from connector.model import Action, Fact, HoldType, Intent, Kind, Op, Period, Ref, Side, State
from connector.store.entries import Entries
from connector.store.store import Ledger
from connector.sync.history import HISTORY
from connector.sync.identity import Candidate
from connector.sync.sent import coming
from connector.sync.view import View
from connector.sync.withheld import FLIP_TIME, TWICE, Lately, Said, text_of


def load_view(
    ledger: Ledger,
    work: Sequence[Fact],
    *,
    candidates: Mapping[Ref, list[Candidate]],
    unique: frozenset[str],
    trusted_times: frozenset[Kind],
    mapping: Compiled,
) -> View:
    """Everything a plan of this batch may look at: parents, identities, counterparts, siblings, snapshots, open work.

    Three steps, because each finds the refs of the next: the work with its links and counterparts on the platform, then
    their parents, then the links and CRM records of all of them.
    """
    facts = {fact.ref: fact for fact in work}
    replied = _answered(work, mapping)
    partners = ledger.links_of([*facts, *replied], active=True)
    facts |= ledger.facts({link.platform for link in partners} - facts.keys())
    writers = {link.platform for link in partners if link.kind is Kind.PERSON and link.crm in replied}
    facts |= ledger.facts(set(ledger.children(writers, Kind.CONVERSATION)) - facts.keys())
    for _ in range(2):
        facts |= ledger.facts(_parents(facts.values()) - facts.keys())
    persons = [ref for ref, fact in facts.items() if fact.kind is Kind.PERSON and fact.side is Side.PLATFORM]
    facts |= ledger.facts(set(ledger.children(persons, Kind.IDENTITY)) - facts.keys())
    links = ledger.links_of([*facts, *replied])
    crm_persons = {link.crm for link in links if link.kind is Kind.PERSON and link.active}
    found = {one.ref for some in candidates.values() for one in some}
    siblings = ledger.links_of(crm_persons | found, kinds=[Kind.PERSON], active=True)
    links = list({link.id: link for link in [*links, *siblings]}.values())
    refs = facts.keys() | {ref for link in links for ref in (link.platform, link.crm)}
    under_way = ledger.open_intents(refs)
    facts |= ledger.facts(refs - facts.keys())
    winners = {fact.merged_into for fact in facts.values() if fact.merged_into} - refs
    taken = ledger.links_of(winners, kinds=[Kind.CONVERSATION], active=True)
    return View(
        facts=facts,
        links=[*links, *taken],
        snapshots=ledger.snapshots(link.id for link in links if link.active),
        busy=busy(under_way),
        coming=coming(under_way),
        holds=ledger.open_holds(refs),
        settled=ledger.settled_holds(refs),
        stats=ledger.stats(ref for ref, fact in facts.items() if fact.kind is Kind.CONVERSATION),
        candidates=candidates,
        creating=list(ledger.facts(ledger.being_created(Kind.PERSON)).values()),
        unique=unique,
        trusted_times=trusted_times,
        doubtful=bool(replied) and ledger.creating([Kind.CONVERSATION, Kind.MESSAGE]),
    )


def load_history(ledger: Ledger) -> Period:
    """When the messages were sent that this connection takes: from the beginning, or from where its history begins."""
    begins = ledger.recall(HISTORY)
    return Period(datetime.fromisoformat(begins) if begins else None)


def busy(intents: Iterable[Intent]) -> frozenset[Ref]:
    """The records that a write under way changes. A send changes nothing that a merge looks at but its own reply."""
    refs: set[Ref] = set()
    for intent in intents:
        refs.add(intent.action.subject)
        if intent.action.op is not Op.SEND and intent.action.target:
            refs.add(intent.action.target)
    return frozenset(refs)


def load_lately(ledger: Ledger, entries: Entries, now: datetime) -> Lately:
    """What the persons of a plan were told, and what was written into its records, in the time before it."""
    sends = [action for action in entries.intents if action.op is Op.SEND]
    targets = {action.target for action in entries.intents if action.op is Op.UPSERT and action.target}
    facts = ledger.facts({ref for action in sends for ref in (action.source, action.target) if ref})
    written = ledger.written_since(targets, now - FLIP_TIME)
    return Lately(now, facts, _said(ledger, sends, facts, now), written)


def _said(ledger: Ledger, sends: Sequence[Action], facts: Mapping[Ref, Fact], now: datetime) -> list[Said]:
    """What the persons that these replies go to were told around the time when the replies were asked for."""
    asked = [(facts[one.source].changed_at if one.source in facts else None) or now for one in sends]
    persons = {facts[one.target].parent for one in sends if one.target and one.target in facts} - {None}
    owners = {thread: person for person in persons if person for thread in ledger.children([person], Kind.CONVERSATION)}
    earlier = ledger.sends_in({str(thread) for thread in owners}, min(asked) - TWICE) if asked else []
    return [
        Said(owners[one.action.target], text_of(one.action), one.planned_at or now)
        for one in earlier
        if one.action.target in owners
    ]


def with_followers(ledger: Ledger, entries: Entries) -> Entries:
    """The plan with what has to be planned anew because of it, so that both are journaled together: the identities and
    conversations of a person whose CRM record became another one, and the messages that waited for an identity which has
    settled itself."""
    moved = [ref for ref in entries.redo if ref.object == Kind.PERSON.value] if entries.moved else []
    settled = [
        hold.subject
        for hold in (ledger.hold(id_) for id_, *_ in entries.closed_holds)
        if hold.type is HoldType.IDENTITY
    ]
    threads = ledger.children([*moved, *settled], Kind.CONVERSATION)
    own = set(ledger.children(settled, Kind.CONVERSATION))
    messages = ledger.children(own, Kind.MESSAGE, [State.HELD, State.OPEN, State.FILTERED])
    identities = ledger.children(moved, Kind.IDENTITY)
    return replace(entries, redo=[*entries.redo, *settled, *identities, *threads, *messages])


def _parents(facts: Iterable[Fact]) -> set[Ref]:
    found: set[Ref] = set()
    for fact in facts:
        if fact.side is Side.PLATFORM:
            found |= {ref for ref in (fact.parent, fact.merged_into) if ref}
        if fact.kind is Kind.MESSAGE and fact.fields.get("person"):
            found.add(Ref.parse(fact.fields["person"]))
    return found


def _answered(work: Sequence[Fact], mapping: Compiled) -> set[Ref]:
    """The CRM records that tell where replies belong: the conversation they name, the message they answer, or the contact
    they are written on."""
    rules, conversations = mapping.replies, mapping.conversations
    if rules is None:
        return set()
    way, found = rules.conversation, set[Ref]()
    object_ = rules.object if not isinstance(way, str) else conversations.object if conversations else None
    field = way if isinstance(way, str) else way.answered
    for fact in work:
        if fact.kind is not Kind.REPLY:
            continue
        if object_ and field and fact.fields.get(field):
            found.add(Ref(fact.ref.system, object_, str(fact.fields[field])))
        if not isinstance(way, str) and fact.parent:
            found.add(fact.parent)
    return found
