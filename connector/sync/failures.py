"""What a write that did not go through becomes: again later, looked into, held for a person, or refused."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from connector.adapters.base import Adapter
from connector.errors import RecordGone, Rejected, RemoteError, SchemaDrift
from connector.mapping.compiled import Compiled
from connector.model import Action, Fields, HoldType, Intent, Kind, Life, Observed, Op, Ref, Side, State
from connector.store.entries import Entries, NewHold
from connector.store.store import Ledger
from connector.sync.landing import Landing
from connector.sync.observe import fold
from connector.sync.patience import advice, pause
from connector.sync.replies import outcome


class Failures:
    def __init__(
        self,
        ledger: Ledger,
        adapters: Mapping[Side, Adapter],
        landing: Landing,
        mapping: Compiled,
        clock: Callable[[], datetime],
        fetch: Callable[[Side, Sequence[Ref]], list[Observed]],
    ) -> None:
        self._ledger = ledger
        self._adapters = adapters
        self._landing = landing
        self._mapping = mapping
        self._clock = clock
        self._fetch = fetch
        self._troubled: set[Side] = set()

    def failed(self, intents: Sequence[Intent], error: RemoteError) -> None:
        """These did not go through, for one reason: again later, looked into, held for a person, or refused."""
        if not error.certain:
            # From now on, not from the start of the attempt. Two actors: a batch is under way for minutes, one change after the
            # other; the platform is slow, and we give up the last one. It may still be at that one for as long as at any other.
            look = self._clock() + self._adapters[intents[0].action.side].capabilities.lag
            self._ledger.doubt([intent.id for intent in intents], look, str(error))
        elif isinstance(error, RecordGone | Rejected):
            for intent in intents:
                try:
                    self._refused(intent, error)
                except RemoteError as unanswered:
                    # What it hangs on could not be looked at. It was certainly not written, so it asks once more.
                    self._again([intent], unanswered)
        else:
            if isinstance(error, SchemaDrift):
                self._problem(intents[0].action.object, error)
            self._again(intents, error)

    def _again(self, intents: Sequence[Intent], error: RemoteError) -> None:
        wait = pause(error, max(intent.attempts for intent in intents))
        self._ledger.requeue([intent.id for intent in intents], self._clock() + wait, str(error))

    def _refused(self, intent: Intent, error: RemoteError) -> None:
        if isinstance(error, RecordGone):
            self._gone(intent, error)
        else:
            self._rejected(intent, error)

    def trouble(self, side: Side, error: RemoteError) -> None:
        """A side that cannot be written to."""
        self._troubled.add(side)
        self._problem(side, error)

    def over(self, sides: Collection[Side]) -> None:
        """These sides were written to, and nothing went wrong with them meanwhile."""
        for side in set(sides) - self._troubled:
            self._ledger.solved(f"writing {side}")
        self._troubled.clear()

    def _problem(self, what: str, error: RemoteError) -> None:
        """`what` is the side that cannot be written to, or the object whose mapping does not fit any more."""
        self._ledger.problem(f"writing {what}", error.code, str(error), advice(error))

    def told(self, intent: Intent, fate: str, error: str) -> list[Action]:
        """The write that tells the fate of a reply that did not leave, on the CRM record that asked for it."""
        rules, source = self._mapping.replies, intent.action.source
        reply = self._ledger.facts([source]).get(source)
        return [outcome(rules, reply, fate, error)] if rules and reply else []

    def _gone(self, intent: Intent, error: RemoteError) -> None:
        """The target was deleted or merged while we wrote: look at it, and decide anew with what it shows now."""
        action = intent.action
        if action.op is Op.SEND or action.target is None:
            self._rejected(intent, error)
            return
        seen = self._fetch(action.side, [action.target])
        known = self._ledger.facts([action.target])
        facts = [fold(known.get(one.ref), one, action.side) for one in seen]
        self._landing.anew([intent], str(error), [fact for fact in facts if fact], [action.target])

    def _rejected(self, intent: Intent, error: RemoteError) -> None:
        """A no that stays a no. A reply is told to be failed where it was written; anything else is held for a person."""
        action = intent.action
        if action.op is Op.SEND:
            told = self.told(intent, "failed", error.detail)
            self._ledger.journal(Entries(intents=told, refused=[(intent.id, str(error))]))
            return
        if action.target is None and self._lost_parents(intent):
            return
        if action.kind is Kind.PERSON and action.target is None and error.others:
            self._doubtful(intent, error)
            return
        details: Fields = {
            "error": str(error),
            "fields": list(error.fields),
            "others": list(error.others),
            "target": str(action.target) if action.target else action.object,
        }
        hold = NewHold(
            HoldType.REFUSED, action.subject, f"{action.kind} was refused: {error}", details, action.side.value
        )
        states = {}
        if action.kind is Kind.MESSAGE:
            states[action.subject] = (State.HELD, f"refused: {error.code}")
        self._ledger.hold_intent(intent.id, str(error), hold, states)
        if action.kind in (Kind.PERSON, Kind.CONVERSATION) and action.target is None:
            self._hold_children(action.subject, action.kind, f"its {action.kind} was refused: {error.code}")

    def _doubtful(self, intent: Intent, error: RemoteError) -> None:
        """The CRM knows records that may be this person (a duplicate rule): who it is becomes a question for a person."""
        subject = intent.action.subject
        reason = f"named by the CRM: {error.code}"
        details: Fields = {
            "error": str(error),
            "ended": None,
            "candidates": [{"ref": other, "points": 0, "reasons": [reason]} for other in error.others],
        }
        question = f"The CRM refused a new record: {error.detail} Which CRM record is {subject}?"
        hold = NewHold(HoldType.IDENTITY, subject, question, details)
        self._ledger.hold_intent(intent.id, str(error), hold)
        self._hold_children(subject, Kind.PERSON, f"identity of {subject}")

    def _hold_children(self, parent: Ref, kind: Kind, why: str) -> None:
        """Messages below a record that could not be made are held with it; they go out by themselves once it exists."""
        threads = [parent] if kind is Kind.CONVERSATION else self._ledger.children([parent], Kind.CONVERSATION)
        messages = self._ledger.children(threads, Kind.MESSAGE, [State.OPEN])
        self._ledger.journal(Entries(states=dict.fromkeys(messages, (State.HELD, why))))

    def _lost_parents(self, intent: Intent) -> bool:
        """Whether a new record was refused because what it hangs on was merged or deleted; then it is decided anew.

        Two actors: a CRM user merges two contacts; a message's record, decided a moment before, still names the loser.
        """
        action = intent.action
        facts = self._ledger.facts([action.subject])
        above = {Ref.parse(fact.fields["person"]) for fact in facts.values() if fact.fields.get("person")}
        above |= {fact.parent for fact in facts.values() if fact.parent}
        above |= {fact.parent for fact in self._ledger.facts(above).values() if fact.parent}
        records = sorted({link.crm for link in self._ledger.links_of(above, active=True) if link.platform in above})
        seen = self._fetch(action.side, records) if records else []
        if all(one.life is Life.LIVE for one in seen):
            return False
        known = self._ledger.facts([one.ref for one in seen])
        news = [fact for one in seen if (fact := fold(known.get(one.ref), one, action.side))]
        self._landing.anew([intent], "what it hangs on is gone; decided anew", news, sorted(above))
        return True
