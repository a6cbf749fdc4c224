"""The hands: claims intents, calls the write methods, settles each intent with its receipt. The only caller of writes.

ready → sending → done; sending → ready (certainly not sent); sending → in_doubt (unclear, or the process died);
in_doubt → done | ready | held; ready → refused (a no that stays a no); any → held (a person decides).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime, timedelta

from connector.adapters.base import Adapter, Lookup, Probe, Write
from connector.errors import AllowanceSpent, AuthError, RecordGone, Rejected, RemoteError, SchemaDrift, Transient
from connector.mapping.compiled import Compiled
from connector.model import (
    Action,
    Fact,
    Fields,
    HoldType,
    Intent,
    IntentState,
    Kind,
    Life,
    Observed,
    Op,
    Receipt,
    Ref,
    Side,
    State,
)
from connector.store.entries import Entries, NewHold
from connector.store.store import Ledger
from connector.sync.observe import fold
from connector.sync.patience import advice, pause
from connector.sync.placeholders import Linked, Waiting, parents, resolve
from connector.sync.recovery import Fate, fate_of_update
from connector.sync.replies import outcome
from connector.sync.sent import Answered, Drained
from connector.sync.settling import Landed, settlement
from connector.sync.view import SETTLED_ITSELF

LOOK_WAIT = timedelta(seconds=30)
"""Between two looks at a doubtful write, while the system does not answer them."""
PARENT_WAIT = timedelta(minutes=5)
"""Until a child is tried again whose parent is not written yet; the parent's arrival wakes it at once, so this only covers
one that never comes."""


class Outbox:
    def __init__(
        self,
        ledger: Ledger,
        adapters: Mapping[Side, Adapter],
        mapping: Compiled,
        clock: Callable[[], datetime],
        progress: Callable[[str, int], None],
        fetch: Callable[[Side, Sequence[Ref]], list[Observed]],
    ) -> None:
        self._ledger = ledger
        self._fetch = fetch
        self._adapters = adapters
        self._mapping = mapping
        self._clock = clock
        self._progress = progress
        self._resting: dict[Side, datetime] = {}
        self.redone = False
        """Whether something was handed back to be decided anew; whoever asks sets it to false again."""
        self._troubled: set[Side] = set()

    def drain(self, meanwhile: Callable[[], None] = lambda: None) -> Drained:
        """Send everything that is due, parents before children, in batches across conversations.

        While a batch is under way the one before it is settled, and `meanwhile` is called: the other side's time is not
        waited out idly. Only the call itself runs in a thread of its own, so that the store sees one writer, step by step.
        """
        report = Drained()
        answered: Answered | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="call") as hands:
            while True:
                batch = self._next(report.stopped)
                if answered and not (batch and answered.fits(batch[0].action)):
                    # What comes next may hang on what has just been written.
                    self._finish(answered, report)
                    answered = None
                    continue
                if not batch:
                    break
                first = batch[0].action
                try:
                    if first.op is Op.SEND:
                        for intent in batch:
                            self._send(intent, report)
                    else:
                        answered = self._write(batch, report, hands, answered, meanwhile)
                except RemoteError as error:
                    answered = None
                    self._trouble(first.side, error)
                    report.stopped.add(first.side)
        for side in report.done.keys() - self._troubled:
            self._ledger.solved(f"writing {side}")
        self._troubled.clear()
        return report

    def recover(self) -> None:
        """Look at every intent that was being sent: after a crash, or after an answer that never came."""
        flying = self._ledger.in_flight()
        sending = [one.id for one in flying if one.state is IntentState.SENDING]
        self._ledger.doubt(sending, "the connector stopped while it was being sent")
        self._ledger.requeue([one.id for one in flying if one.action.op is Op.REMOVE], None, None)
        for side in Side:
            mine = [one for one in flying if one.action.side is side]
            if side in self._resting and self._clock() < self._resting[side]:
                continue
            try:
                self._look_again([one for one in mine if one.action.op is Op.UPSERT and self._is_over(one)])
                for intent in mine:
                    if intent.action.op is Op.SEND:
                        self._probe(intent)
                if mine:
                    self._ledger.solved(f"writing {side}")
            except RemoteError as error:
                self._resting[side] = self._clock() + LOOK_WAIT
                self._trouble(side, error)

    def recognise(self, seen: Iterable[Observed]) -> None:
        """Settle sends by their marker: the message that we were unsure of has been observed."""
        marked = {one.token: one for one in seen if one.token}
        if not marked:
            return
        for token, intent in self._ledger.by_token(marked).items():
            if intent.state in (IntentState.DONE, IntentState.DROPPED, IntentState.REFUSED):
                continue
            if intent.state is IntentState.READY:
                self._ledger.mark_sending([intent.id], self._clock())
            one = marked[token]
            self._settle([Landed(intent, Receipt(one.ref, True, one.fields), intent.action.fields)])
            asked = self._ledger.open_holds([intent.action.source], HoldType.IN_DOUBT)
            why = f"{one.ref} carries its marker: it was sent"
            self._ledger.journal(Entries(closed_holds=[(hold.id, SETTLED_ITSELF, "connector", why) for hold in asked]))

    def next_due(self) -> datetime | None:
        """When the earliest intent that waits becomes due, or an in-doubt one can be probed."""
        times = [intent.not_before for intent in self._ledger.waiting() if intent.not_before]
        for intent in self._ledger.in_flight():
            if intent.tried_at:
                side = intent.action.side
                due = intent.tried_at + self._adapters[side].capabilities.lag
                times.append(max(due, self._resting.get(side, due)))
        return min(times, default=None)

    def _next(self, stopped: set[Side]) -> list[Intent]:
        """The next group of intents that one call can carry: same operation, side and kind, in journal order."""
        for side in Side:
            if side in stopped:
                continue
            limit = self._adapters[side].capabilities.batch
            ready = self._ledger.ready(self._clock(), limit, side=side)
            if ready:
                first = ready[0].action
                return [one for one in ready if (one.action.op, one.action.kind) == (first.op, first.kind)]
        return []

    def _write(
        self,
        batch: list[Intent],
        report: Drained,
        hands: Executor,
        before: Answered | None,
        meanwhile: Callable[[], None],
    ) -> Answered | None:
        """One call. `before` is the call before it, which is settled while this one is under way."""
        resolved = self._resolve(self._current(batch))
        if not resolved:
            self._finish(before, report)
            return None
        intents = [intent for intent, _ in resolved]
        side, op = intents[0].action.side, intents[0].action.op
        self._ledger.mark_sending([intent.id for intent in intents], self._clock())
        writes = [_as_write(intent, fields) for intent, fields in resolved]
        adapter = self._adapters[side]
        call = hands.submit(adapter.upsert if op is Op.UPSERT else adapter.remove, writes)
        try:
            self._finish(before, report)
            meanwhile()
        except BaseException:
            # Two actors: somebody stops the connector; a call is under way. What it answers is written down all the same, so
            # that nobody has to look for it after the next start.
            if call.exception() is None:
                self._finish(Answered(resolved, call.result()), report)
            raise
        try:
            return Answered(resolved, call.result())
        except RemoteError as error:
            self._failed(intents, error)
            report.failed += len(intents)
            if isinstance(error, AuthError | AllowanceSpent | Transient):
                raise
            return None

    def _finish(self, answered: Answered | None, report: Drained) -> None:
        """Write down what became of each row of a call."""
        if answered is None:
            return
        landed: list[Landed] = []
        for (intent, fields), result in zip(answered.sent, answered.results, strict=True):
            if isinstance(result, Receipt):
                landed.append(Landed(intent, result, fields))
            else:
                self._failed([intent], result)
                report.failed += 1
        self._settle(landed)
        report.done[answered.sent[0][0].action.side] += len(landed)
        if len(landed) == len(answered.sent):
            for object_ in {intent.action.object for intent, _ in answered.sent}:
                self._ledger.solved(f"writing {object_}")
        self._progress("written", len(landed))

    def _current(self, batch: Sequence[Intent]) -> list[Intent]:
        """Those of the batch that were decided with what both sides show now; the others are decided anew.

        Two actors: a write waits because the CRM had the row locked; a person edits the same field, and we read that edit.
        The write was decided without it, and sending it now would overwrite her.
        """
        updates = [one for one in batch if one.action.op is Op.UPSERT and one.action.kind is not Kind.REPLY]
        updates = [one for one in updates if one.action.target]
        facts = self._ledger.facts(ref for one in updates for ref in (one.action.target, one.action.subject) if ref)
        stale = {
            one.id
            for one in updates
            if any(ref in facts and facts[ref].dirty for ref in (one.action.target, one.action.subject) if ref)
        }
        for intent in batch:
            if intent.id in stale:
                self._anew([intent], "newer values were seen; decided anew")
        return [one for one in batch if one.id not in stale]

    def _send(self, intent: Intent, report: Drained) -> None:
        """Two actors: the platform stores our message and its answer is lost; we would send it again. So the row says
        `sending` before the call, and an unclear answer is looked into before anything is repeated."""
        action, fields = intent.action, self._as_asked(intent)
        if fields is None:
            self._ledger.drop(intent.id, "its author took it back before it was sent")
            return
        self._ledger.mark_sending([intent.id], self._clock())
        try:
            receipt = self._adapters[action.side].send(_as_write(intent, fields), intent.token)
        except RemoteError as error:
            report.failed += 1
            self._failed([intent], error)
            if isinstance(error, AuthError | AllowanceSpent):
                raise
            return
        self._settle([Landed(intent, receipt, fields)])
        report.done[action.side] += 1

    def _as_asked(self, intent: Intent) -> Fields | None:
        """What the reply says now: its author may have corrected it while it waited, or withdrawn it (None)."""
        rules, reply = self._mapping.replies, self._ledger.facts([intent.action.source]).get(intent.action.source)
        if rules is None or reply is None:
            return intent.action.fields
        if reply.life is not Life.LIVE or not rules.wanted(reply.fields):
            return None
        return {**intent.action.fields, "text": rules.body(reply.fields)}

    def _probe(self, intent: Intent) -> None:
        """After the longest time a sent message may stay invisible, look for our marker in the conversation."""
        if not self._is_over(intent):
            return
        tried = intent.tried_at or self._clock()
        found = self._adapters[intent.action.side].probe(_as_write(intent, intent.action.fields), intent.token, tried)
        if isinstance(found, Receipt):
            self._settle([Landed(intent, found, intent.action.fields)])
        elif found is Probe.ABSENT:
            self._ledger.requeue([intent.id], None, "looked for on the platform and not found: it was never sent")
        else:
            question = "It cannot be told whether this reply was sent. Look at the conversation, then decide."
            details = {"text": intent.action.fields.get("text"), "conversation": str(intent.action.target)}
            # Told first: were the hold first and the process to die, the record in the CRM would say "queued" for ever.
            self._ledger.journal(Entries(intents=self._told(intent, "held", question)))
            self._ledger.hold_intent(
                intent.id, "in doubt", NewHold(HoldType.IN_DOUBT, intent.action.source, question, details)
            )

    def _is_over(self, intent: Intent) -> bool:
        """Whether a write whose answer was lost has certainly come to its end.

        Two actors: our call is cut off while the CRM still works on it; we look, find nothing, and send it again; then the
        first one commits as well.
        """
        lag = self._adapters[intent.action.side].capabilities.lag
        return intent.tried_at is None or self._clock() >= intent.tried_at + lag

    def _look_again(self, intents: Sequence[Intent]) -> None:
        """What became of updates and creations whose answer never came: all of them looked up in as few calls as it takes."""
        if not intents:
            return
        adapter = self._adapters[intents[0].action.side]
        known = [one for one in intents if one.action.target]
        keyed = [one for one in intents if one.action.key and not one.action.target]
        shown: dict[int, Observed | None] = {}
        if known:
            targets = self._fetch(adapter.side, [one.action.target for one in known if one.action.target])
            shown |= {one.id: seen for one, seen in zip(known, targets, strict=True)}
        if keyed:
            found = adapter.find([Lookup(one.action.object, *one.action.key) for one in keyed if one.action.key])
            shown |= {one.id: seen[0] if seen else None for one, seen in zip(keyed, found, strict=True)}
        linked = self._linked(intents)
        facts = self._ledger.facts([seen.ref for seen in shown.values() if seen])
        landed: list[Landed] = []
        absent: list[int] = []
        for intent in intents:
            now, fields = shown.get(intent.id), resolve(intent.action.fields, linked)
            if now is None or isinstance(fields, Waiting):
                absent.append(intent.id)
                continue
            before = facts.get(now.ref)
            fate = Fate.LANDED if intent.action.target is None else fate_of_update(fields, before, now)
            if fate is Fate.LANDED:
                # A record made by us and edited since shows a person's values: those are no read-back of ours.
                shows = now.fields if intent.action.target or now.ours else None
                landed.append(Landed(intent, Receipt(now.ref, False, shows), fields))
            elif fate is Fate.NEVER_SENT:
                absent.append(intent.id)
            else:
                self._overtaken(intent, fold(before, now, intent.action.side))
        self._ledger.requeue(absent, None, "looked at again: it was never written")
        self._settle(landed)

    def _overtaken(self, intent: Intent, fact: Fact | None) -> None:
        self._anew([intent], "somebody wrote after us; decided anew", [fact] if fact else [])

    def _resolve(self, batch: Sequence[Intent]) -> list[tuple[Intent, dict[str, object]]]:
        """Each intent with the ids of its parents; those whose parent is not written yet are put back to wait."""
        linked = self._linked(batch)
        resolved: list[tuple[Intent, dict[str, object]]] = []
        waiting: list[tuple[Intent, Ref]] = []
        for intent in batch:
            fields = resolve(intent.action.fields, linked)
            if isinstance(fields, Waiting):
                waiting.append((intent, fields.parent))
            else:
                resolved.append((intent, fields))
        if waiting:
            self._wait_for_parents(waiting)
        return resolved

    def _wait_for_parents(self, waiting: Sequence[tuple[Intent, Ref]]) -> None:
        """Put back until the parent is written. Where none is coming any more it is decided anew.

        Two actors: we make a contact and stop before her messages are written; a CRM user deletes the contact. Nobody will
        ever write the parent that the messages wait for.
        """
        open_ = self._ledger.open_intents({parent for _, parent in waiting})
        coming = {one.action.subject for one in open_ if one.action.side is Side.CRM and not one.action.target}
        later = [intent.id for intent, parent in waiting if parent in coming]
        self._ledger.requeue(later, self._clock() + PARENT_WAIT, "waits for its person or conversation")
        lost = [intent for intent, parent in waiting if parent not in coming]
        self._anew(lost, "what it hangs on will not be written any more; decided anew")

    def _anew(self, intents: Sequence[Intent], why: str, seen: Sequence[Fact] = (), others: Sequence[Ref] = ()) -> None:
        """Give these writes up and decide them anew, with what was `seen` meanwhile; in one transaction."""
        if not intents:
            return
        redo = [ref for one in intents for ref in (one.action.source, one.action.subject)]
        dropped = [(intent.id, why) for intent in intents]
        self._ledger.journal(Entries(facts=seen, dropped=dropped, redo=[*redo, *others]))
        self.redone = True

    def _linked(self, batch: Sequence[Intent]) -> Linked:
        wanted = {ref for intent in batch for _, ref in parents(intent.action.fields)}
        links = self._ledger.links_of(wanted, active=True) if wanted else []
        table = {(link.kind, link.platform): link.crm for link in links}
        return lambda kind, ref: table.get((kind, ref))

    def _settle(self, landed: Sequence[Landed]) -> None:
        """Receipt, link, both snapshots, the target's fact and the message's account: one transaction."""
        if not landed:
            return
        subjects = [one.intent.action.subject for one in landed]
        links = self._ledger.links_of(subjects, active=True)
        refs = {one.receipt.ref for one in landed} | set(subjects)
        facts = self._ledger.facts(refs)
        linked = self._linked([one.intent for one in landed])
        self._ledger.settle([settlement(one, self._mapping, facts, links, linked) for one in landed])
        if any(one.intent.attempts and one.intent.action.target is None for one in landed):
            # A record that was late has come: what waited for it need not wait its time out.
            self._ledger.wake()

    def _failed(self, intents: Sequence[Intent], error: RemoteError) -> None:
        """These did not go through, for one reason: again later, looked into, held for a person, or refused."""
        if not error.certain:
            self._ledger.doubt([intent.id for intent in intents], str(error))
        elif isinstance(error, RecordGone | Rejected):
            for intent in intents:
                if isinstance(error, RecordGone):
                    self._gone(intent, error)
                else:
                    self._rejected(intent, error)
        else:
            if isinstance(error, SchemaDrift):
                self._trouble(intents[0].action.object, error)
            wait = pause(error, max(intent.attempts for intent in intents))
            self._ledger.requeue([intent.id for intent in intents], self._clock() + wait, str(error))

    def _gone(self, intent: Intent, error: RemoteError) -> None:
        """The target was deleted or merged while we wrote: look at it, and decide anew with what it shows now."""
        action = intent.action
        if action.op is Op.SEND or action.target is None:
            self._rejected(intent, error)
            return
        seen = self._fetch(action.side, [action.target])
        known = self._ledger.facts([action.target])
        facts = [fold(known.get(one.ref), one, action.side) for one in seen]
        self._anew([intent], str(error), [fact for fact in facts if fact], [action.target])

    def _rejected(self, intent: Intent, error: RemoteError) -> None:
        """A no that stays a no. A reply is told to be failed where it was written; anything else is held for a person."""
        action = intent.action
        if action.op is Op.SEND:
            told = self._told(intent, "failed", error.detail)
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

    def _told(self, intent: Intent, fate: str, error: str) -> list[Action]:
        """The write that tells the fate of a reply that did not leave, on the CRM record that asked for it."""
        rules, source = self._mapping.replies, intent.action.source
        reply = self._ledger.facts([source]).get(source)
        return [outcome(rules, reply, fate, error)] if rules and reply else []

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
        self._anew([intent], "what it hangs on is gone; decided anew", news, sorted(above))
        return True

    def _trouble(self, what: str, error: RemoteError) -> None:
        """`what` is the side that cannot be written to, or the object whose mapping does not fit any more."""
        self._ledger.problem(f"writing {what}", error.code, str(error), advice(error))


def _as_write(intent: Intent, fields: Fields) -> Write:
    action = intent.action
    return Write(action.kind, action.object, fields, action.target, action.key)
