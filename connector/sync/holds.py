"""Which choices a hold allows, and what a choice means for the journal and the outbox. Pure.

| hold | choice | what follows |
|---|---|---|
| identity | a CRM record | the person is linked with it, the messages that waited come in |
| identity | create | a new CRM record is made |
| identity | never | the person and the messages stay out |
| conflict | platform, crm | that side's value is written to the other |
| conflict | keep | both values stay as they are |
| refused | retry | the write is tried once more |
| refused | drop | the write is given up, with the messages that hang on it |
| in_doubt | sent | the reply is the message that was found on the platform |
| in_doubt | again | the reply is sent again |
| in_doubt | drop | the reply is given up, and its record in the CRM says so |
| conversation | a conversation of the platform | the reply is sent into it |
| conversation | drop | the reply is not sent, and the CRM is told so |
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from connector.errors import ConnectorError
from connector.mapping.compiled import Compiled
from connector.model import OPEN_INTENTS, Action, Fact, Hold, HoldType, Intent, IntentState, Kind, Ref, State, stamp
from connector.store.entries import Entries
from connector.sync.cursor import FUTURE
from connector.sync.placeholders import parents
from connector.sync.replies import DROP, outcome

CHOICES: Mapping[HoldType, tuple[str, ...]] = {
    HoldType.IDENTITY: ("create", "never"),
    HoldType.CONFLICT: ("platform", "crm", "keep"),
    HoldType.REFUSED: ("retry", "drop"),
    HoldType.IN_DOUBT: ("sent", "again", "drop"),
    HoldType.CONVERSATION: ("drop",),
}
ASKS_WHICH = (HoldType.IDENTITY, HoldType.CONVERSATION)
"""Holds that are settled by naming a record."""
SHOWN = 5
LETTERS = 40
"""Of the messages that a reply may have become: how many are shown, and how much of their text."""


@dataclass(frozen=True, slots=True)
class Around:
    """The rows around a hold: its intent, the open intents of the records below its subject, and the messages of a held
    person (or of a subject that could not be made) which are not synced; of a reply, what its record shows."""

    intent: Intent | None = None
    below: Sequence[Intent] = ()
    messages: Sequence[Ref] = ()
    reply: Fact | None = None


def choices(hold: Hold) -> tuple[str, ...]:
    """What may be chosen, for people: the candidates first."""
    candidates = hold.details.get("candidates") or [] if hold.type in ASKS_WHICH else []
    return (*(str(one["ref"]) for one in candidates), *CHOICES[hold.type])


def read_choice(hold: Hold, text: str, system: str, objects: Collection[str]) -> str:
    """The choice as it is stored. A record may be written as a reference or, among the candidates, as its id alone.

    `system` and `objects` say which records may be named beside the candidates. Raises ConnectorError naming what is allowed.
    """
    if text in CHOICES[hold.type]:
        return text
    if hold.type in ASKS_WHICH:
        named = [one for one in choices(hold) if one == text or one.endswith(f":{text}")]
        if len(named) == 1:
            return named[0]
        try:
            ref = Ref.parse(text)
        except ValueError:
            ref = None
        if ref and ref.system == system and ref.object in objects:
            return str(ref)
    raise ConnectorError(
        f"Hold {hold.id} ({hold.type}) cannot be settled with {text!r}.",
        f"Choose one of: {', '.join(choices(hold))}"
        + (f", or any {system}:{'|'.join(objects)}:<id>." if hold.type in ASKS_WHICH else "."),
    )


def decide(hold: Hold, choice: str, by: str, why: str, around: Around, mapping: Compiled) -> Entries:
    """What follows from a choice that `read_choice` accepted (for `sent` see `sent_as`), as long as the writes that it changes
    are as `around` shows them."""
    entries = _what_follows(hold, choice, by, why, around, mapping)
    changed = {*entries.requeued, *(id_ for id_, _ in entries.dropped)}
    writes = [*around.below, *([around.intent] if around.intent else [])]
    return replace(entries, seen={one.id: one.state for one in writes if one.id in changed})


def _what_follows(hold: Hold, choice: str, by: str, why: str, around: Around, mapping: Compiled) -> Entries:
    closed = [(hold.id, choice, by, why)]
    match hold.type:
        case HoldType.IDENTITY:
            return _identity(hold, choice, f"{by} decided: {why}", around, closed)
        case HoldType.CONFLICT:
            return Entries(closed_holds=closed, redo=[hold.subject])
        case HoldType.REFUSED:
            return _refused(hold, choice, f"{by} decided: {why}", around, closed)
        case HoldType.IN_DOUBT:
            return _in_doubt(choice, f"{by} decided: {why}", around, mapping, closed)
        case HoldType.CONVERSATION:
            told = _not_sent(f"{by} decided: {why}", around, mapping) if choice == DROP else []
            return Entries(intents=told, closed_holds=closed, redo=[hold.subject])


def _identity(hold: Hold, choice: str, why: str, around: Around, closed: list[tuple[int, str, str, str]]) -> Entries:
    """Where the CRM refused the new record (a duplicate rule), its intent is still there: tried again, or given up."""
    mine = _open(around.intent)
    if choice == "create" and mine:
        return Entries(closed_holds=closed, requeued=mine)
    given_up = (*mine, *_waiting(hold, around)) if choice == "never" else mine
    redo = [hold.subject, *around.messages]
    return Entries(closed_holds=closed, redo=redo, dropped=tuple((id_, why) for id_ in given_up))


def _waiting(hold: Hold, around: Around) -> list[int]:
    """What was to be written below a record that will never be made would wait for it for ever.

    Two actors: a message is written below the contact, and the answer is lost; a person deletes the contact, and decides that
    there shall be none. The record of the message stands there, so what became of that write is found out first.
    """
    still = [one for one in around.below if one.state not in (IntentState.SENDING, IntentState.IN_DOUBT)]
    return [one.id for one in still if any(ref == hold.subject for _, ref in parents(one.action.fields))]


def _refused(hold: Hold, choice: str, why: str, around: Around, closed: list[tuple[int, str, str, str]]) -> Entries:
    mine = _open(around.intent)
    if choice == "retry":
        states = _accounts(hold, State.OPEN, why) if mine else {}
        if mine and around.intent and _is_parent(around.intent):
            return Entries(closed_holds=closed, states=states, requeued=mine)
        # Decided anew with what both sides show now: what was refused may name a record that is gone.
        given_up = [(id_, f"{why} (tried anew)") for id_ in mine]
        return Entries(closed_holds=closed, states=states, redo=[hold.subject], dropped=given_up)
    states, waiting = _accounts(hold, State.FILTERED, why), list[int]()
    if mine and around.intent and around.intent.action.target is None:
        # Not so with an update: the record is there, or is being made once more by another write.
        states |= dict.fromkeys(around.messages, (State.FILTERED, f"{hold.subject} was given up. {why}"))
        waiting = _waiting(hold, around)
    return Entries(closed_holds=closed, states=states, dropped=[(id_, why) for id_ in (*mine, *waiting)])


def _is_parent(intent: Intent) -> bool:
    """Whether other writes wait for the record that this one makes."""
    return intent.action.target is None and intent.action.kind in (Kind.PERSON, Kind.CONVERSATION)


def _in_doubt(
    choice: str, why: str, around: Around, mapping: Compiled, closed: list[tuple[int, str, str, str]]
) -> Entries:
    if choice == "again":
        return Entries(closed_holds=closed, requeued=_open(around.intent))
    told = _not_sent(why, around, mapping) if choice == DROP else []
    dropped = [(id_, why) for id_ in _open(around.intent)] if choice == DROP else []
    return Entries(intents=told, closed_holds=closed, dropped=dropped)


def _not_sent(why: str, around: Around, mapping: Compiled) -> list[Action]:
    """The write that tells on the reply's record that it was given up."""
    rules, reply = mapping.replies, around.reply
    return [outcome(rules, reply, "failed", why)] if rules and reply else []


def sent_as(intent: Intent, messages: Sequence[Fact], taken: Mapping[Ref, Ref], named: Ref | None) -> Ref:
    """The message that an in-doubt reply became: the one a person named, else the only one with its text that came at or after
    the attempt. `messages` are those of its conversation, `taken` those that other replies became, with these.

    Raises ConnectorError when that is not exactly one, or the named one cannot be it.
    """
    candidates = [one for one in messages if not _unfit(intent, one, taken)]
    if named is not None:
        known = next((one for one in messages if one.ref == named), None)
        wrong = _unfit(intent, known, taken) if known else f"it is no message that is known of {intent.action.target}"
        if wrong:
            raise ConnectorError(f"{named} cannot be this reply: {wrong}.", _name_one_of(candidates))
        return named
    text, since = intent.action.fields.get("text"), stamp(intent.tried_at) if intent.tried_at else ""
    fitting = [one for one in candidates if one.fields.get("text") == text and _sent_at(one) >= since]
    if len(fitting) == 1:
        return fitting[0].ref
    found = "More than one fits" if fitting else "None that is known has its text and came since it was tried"
    raise ConnectorError(f"Which message is this reply? {found}.", _name_one_of(fitting or candidates))


def _unfit(intent: Intent, message: Fact, taken: Mapping[Ref, Ref]) -> str:
    """Why a message of the conversation cannot be the reply; empty where it may be. A message that is taken for a reply is
    brought into the CRM with the words of that reply."""
    if message.fields.get("direction") != "outbound":
        return "it came in, and a reply goes out"
    if message.fields.get("private"):
        return "it is a private note"
    if message.ref in taken:
        return f"it is what became of {taken[message.ref]}"
    # The two clocks may differ by as much as a clock is ever believed to be wrong.
    if intent.planned_at and "" < _sent_at(message) < stamp(intent.planned_at - FUTURE):
        return f"it was sent at {_sent_at(message)}, before the reply was asked for"
    return ""


def _sent_at(message: Fact) -> str:
    return str(message.fields.get("sent_at") or "")


def _name_one_of(messages: Sequence[Fact]) -> str:
    if not messages:
        return (
            "No message that it may be is known. If it stands on the platform, run `connector sync` first, so that it is read; "
            "if it does not, choose again or drop."
        )
    newest = sorted(messages, key=lambda one: (_sent_at(one), one.ref), reverse=True)[:SHOWN]
    shown = [f"{one.ref} ({_sent_at(one)}, {str(one.fields.get('text') or '')[:LETTERS]!r})" for one in newest]
    more = f"; and {len(messages) - SHOWN} older ones" if len(messages) > SHOWN else ""
    return f"Name it with --message: {'; '.join(shown)}{more}."


def _open(intent: Intent | None) -> tuple[int, ...]:
    """An intent that has gone on in the meantime (its message was recognised) needs nothing any more."""
    return (intent.id,) if intent and intent.state in OPEN_INTENTS else ()


def _accounts(hold: Hold, state: State, why: str) -> dict[Ref, tuple[State, str]]:
    return {hold.subject: (state, why)} if hold.subject.object == Kind.MESSAGE.value else {}
