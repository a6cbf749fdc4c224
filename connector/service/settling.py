"""Carrying out what a person decided about a hold. Store only: the engine does the rest in its next round."""

from collections.abc import Sequence

from connector.app import Plug
from connector.errors import ConnectorError
from connector.model import Hold, HoldType, Intent, Kind, Receipt, Ref, State
from connector.sync.holds import Around, decide, read_choice, sent_as
from connector.sync.settling import Landed, settlement

UNSYNCED = (State.HELD, State.OPEN, State.FILTERED)


def settle(plug: Plug, id: int, choice: str, by: str, why: str, message: Ref | None = None) -> Hold:
    """Answers the hold as it is stored now. `message` names the message that an in-doubt reply became.

    Raises StoreError when there is no such hold or somebody else has settled it, ConnectorError for a choice that its type
    does not allow.
    """
    ledger = plug.ledger
    hold = ledger.hold(id)
    if hold.choice is not None:
        raise ConnectorError(f"Hold {id} was settled by {hold.by}: {hold.choice} ({hold.why}).", "Nothing was changed.")
    chosen = read_choice(hold, choice, *_nameable(plug, hold))
    around = _around(plug, hold)
    if hold.type is HoldType.IN_DOUBT and chosen == "sent" and around.intent:
        _sent(plug, around.intent, message)
        # Settled by its message, the intent is over; a crash before the next line leaves the hold open, to be asked again.
        around = _around(plug, hold)
    ledger.journal(decide(hold, chosen, by, why, around, plug.mapping))
    return ledger.hold(id)


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


def _sent(plug: Plug, intent: Intent, named: Ref | None) -> None:
    """The reply was sent after all: settle its intent as if the answer had come."""
    ledger = plug.ledger
    conversation = intent.action.target
    messages = ledger.facts(ledger.children([conversation] if conversation else [], Kind.MESSAGE))
    taken = {link.platform for link in ledger.links_of(messages, kinds=[Kind.REPLY], active=True)}
    found = messages[sent_as(intent, list(messages.values()), taken, named)]
    landed = Landed(intent, Receipt(found.ref, True, found.fields), intent.action.fields)
    facts = {**messages, **ledger.facts([intent.action.subject])}
    ledger.settle([settlement(landed, plug.mapping, facts, (), lambda _kind, _ref: None)])
