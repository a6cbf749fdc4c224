"""Carrying out what a person decided about a hold. Store only: the engine does the rest in its next round."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connector.app import Plug
from connector.errors import ConnectorError
from connector.model import OPEN_INTENTS, Fact, Hold, HoldType, Intent, Kind, Receipt, Ref, Side, Snapshot, State
from connector.store.entries import Settlement
from connector.store.store import Ledger
from connector.sync.holds import Around, decide, read_choice, sent_as
from connector.sync.landing import parents_of
from connector.sync.placeholders import Waiting, resolve
from connector.sync.replies import DROP
from connector.sync.settling import Landed, settlement

UNSYNCED = (State.HELD, State.OPEN, State.FILTERED)


def settle(plug: Plug, id: int, choice: str, by: str, why: str, message: Ref | None = None) -> Hold:
    """Answers the hold as it is stored now. `message` names the message that an in-doubt reply became.

    Raises StoreError when there is no such hold, somebody else has settled it, or a write that it is about has gone on meanwhile;
    ConnectorError for a choice that its type does not allow. Nothing is changed then.
    """
    ledger = plug.ledger
    hold = ledger.hold(id)
    if hold.choice is not None:
        raise ConnectorError(f"Hold {id} was settled by {hold.by}: {hold.choice} ({hold.why}).", "Nothing was changed.")
    chosen = read_choice(hold, choice, *_nameable(plug, hold))
    around = _around(plug, hold)
    entries = decide(hold, chosen, by, why, around, plug.mapping)
    if hold.type is HoldType.REFUSED and chosen == DROP and around.intent:
        entries = replace(entries, snapshots=_known(ledger, around.intent))
    if chosen == "sent" and around.intent and around.intent.state in OPEN_INTENTS:
        sent = _sent(plug, around.intent, message)
        ledger.settle([sent], replace(entries, redo=[*entries.redo, *(fact.ref for fact in sent.facts)]))
    else:
        ledger.journal(entries)
    return ledger.hold(id)


def _known(ledger: Ledger, given_up: Intent) -> list[Snapshot]:
    """The source's values that were not written are no news any more: the same question would be asked with the next change of
    anything else in the record."""
    action = given_up.action
    source = Side.PLATFORM if action.side is Side.CRM else Side.CRM
    values = resolve(action.after.get(source, {}), parents_of(ledger, [given_up]))
    if action.target is None or isinstance(values, Waiting):
        return []
    links = ledger.links_of([action.subject], kinds=[action.kind], active=True)
    shown = [sides[source] for sides in ledger.snapshots(link.id for link in links).values() if source in sides]
    return [replace(one, fields={**one.fields, **values}) for one in shown]


def _nameable(plug: Plug, hold: Hold) -> tuple[str, Sequence[str]]:
    """The system and the objects of the records that a choice may name."""
    if hold.type is HoldType.CONVERSATION:
        return plug.config.platform.type, (Kind.CONVERSATION.value,)
    return plug.config.crm.type, plug.mapping.persons.objects


def _around(plug: Plug, hold: Hold) -> Around:
    ledger = plug.ledger
    intent = ledger.intent(hold.intent) if hold.intent is not None else None
    if hold.type not in (HoldType.IDENTITY, HoldType.REFUSED):
        return Around(intent, reply=ledger.facts([hold.subject]).get(hold.subject))
    kind = Kind(hold.subject.object) if hold.subject.object in list(Kind) else None
    threads: list[Ref] = []
    identities: list[Ref] = []
    if kind is Kind.PERSON:
        threads = ledger.children([hold.subject], Kind.CONVERSATION)
        identities = ledger.children([hold.subject], Kind.IDENTITY)
    elif kind is Kind.CONVERSATION:
        threads = [hold.subject]
    messages = ledger.children(threads, Kind.MESSAGE, UNSYNCED)
    return Around(intent, ledger.open_intents([*identities, *threads, *messages]), messages)


def _sent(plug: Plug, intent: Intent, named: Ref | None) -> Settlement:
    """The reply was sent after all: its intent is settled as if the answer had come."""
    ledger = plug.ledger
    conversation = intent.action.target
    messages = ledger.facts(ledger.children([conversation] if conversation else [], Kind.MESSAGE))
    found = messages[sent_as(intent, list(messages.values()), _taken(ledger, messages, intent), named)]
    landed = Landed(intent, Receipt(found.ref, True, found.fields), intent.action.fields)
    facts = {**messages, **ledger.facts([intent.action.subject])}
    return settlement(landed, plug.mapping, facts, (), lambda _kind, _ref: None)


def _taken(ledger: Ledger, messages: Mapping[Ref, Fact], intent: Intent) -> dict[Ref, Ref]:
    """The messages that other replies became: by their link (ended or not), by what their send made, or by their marker."""
    linked = {link.platform: link.crm for link in ledger.links_of(messages, kinds=[Kind.REPLY])}
    marked = ledger.by_token(one.token for one in messages.values() if one.token)
    carried = {one.ref: marked[one.token].action.subject for one in messages.values() if one.token in marked}
    found = linked | ledger.replies_sent_as(messages) | carried
    return {message: reply for message, reply in found.items() if reply != intent.action.subject}
