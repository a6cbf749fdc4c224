"""The hands: claims intents, calls the write methods, settles each intent with its receipt. The only caller of writes.

ready → sending → done; sending → ready (certainly not sent) | in_doubt (unclear, or the process died: `doubts`) | refused or
held (`failures`).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TypeAlias

from connector.adapters.base import Adapter
from connector.errors import AllowanceSpent, AuthError, RemoteError, Transient, Unreadable
from connector.mapping.compiled import Compiled
from connector.model import Action, Fact, Fields, Intent, IntentState, Kind, Life, Op, Receipt, Ref, Side
from connector.store.store import Ledger
from connector.sync.failures import Failures
from connector.sync.landing import Landing, parents_of
from connector.sync.placeholders import Waiting, resolve
from connector.sync.sent import Answered, Drained, alike, as_write, coming
from connector.sync.settling import Landed
from connector.sync.withheld import OLD

PARENT_WAIT = timedelta(minutes=5)
"""Until a child is tried again whose parent is not written yet; the parent's arrival wakes it at once, so this only covers
one that never comes."""
HEARING_WAIT = timedelta(seconds=30)
"""Until a reply is tried again because the platform could not be read; a connector in trouble looks again as often."""

Rows: TypeAlias = list[tuple[Intent, Fields]]
"""What one call carries: intents with the ids of their parents filled in."""


def nothing() -> bool:
    """No more can be made ready."""
    return False


class Outbox:
    """`heard`: the platform was read to its end since this process began; until then no reply leaves."""

    def __init__(
        self,
        ledger: Ledger,
        adapters: Mapping[Side, Adapter],
        mapping: Compiled,
        landing: Landing,
        failures: Failures,
        clock: Callable[[], datetime],
        progress: Callable[[str, int], None],
        hands: Callable[[], Executor],
    ) -> None:
        self._ledger = ledger
        self._adapters = adapters
        self._mapping = mapping
        self._landing = landing
        self._failures = failures
        self._clock = clock
        self._progress = progress
        self._hands = hands
        self.heard = False

    def drain(self, more: Callable[[], bool] = nothing) -> Drained:
        """Send everything that is due, parents before children, in batches across conversations.

        While a batch is under way the one before it is settled, and the one after it is made ready; where that would not be a full
        call, `more` is asked to journal more, and answers whether it has. The other side's time is not waited out idly, and ours is
        not waited for. Only the call itself runs in a thread of its own, so that the store sees one writer, step by step.
        """
        report = Drained()
        answered: Answered | None = None
        following: Rows = []
        with self._hands() as hands:
            while True:
                rows, following = following, []
                batch = [intent for intent, _ in rows] or self._next(report.stopped)
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
                    elif rows := rows or self._resolve(self._current(batch)):
                        answered, following = self._write(rows, report, hands, answered, more)
                except RemoteError as error:
                    answered = None
                    self._failures.trouble(first.side, error)
                    report.stopped.add(first.side)
                    report.errors.append(error)
        self._failures.over(report.done.keys())
        return report

    def next_due(self) -> datetime | None:
        """When the earliest write that waits becomes due."""
        return self._ledger.next_due()

    def _next(self, stopped: set[Side], more: Callable[[], bool] = nothing) -> list[Intent]:
        """The next group of intents that one call can carry: same operation, side and kind, in journal order."""
        ready, full = self._ready(stopped)
        if not full and more():
            ready, _ = self._ready(stopped)
        return [one for one in ready if alike(one.action, ready[0].action)]

    def _ready(self, stopped: set[Side]) -> tuple[list[Intent], bool]:
        """What may be sent to the first side that waits for something, and whether it is as much as a call can carry."""
        for side in Side:
            if side not in stopped:
                limit = self._adapters[side].capabilities.batch
                ready = self._ledger.ready(self._clock(), limit, side=side)
                if ready:
                    return ready, len(ready) == limit
        return [], False

    def _write(
        self,
        rows: Rows,
        report: Drained,
        hands: Executor,
        before: Answered | None,
        more: Callable[[], bool],
    ) -> tuple[Answered | None, Rows]:
        """One call. `before` is the call before it, which is settled while this one is under way. Answers the call, and the rows
        of the one that may follow at once."""
        action = rows[0][0].action
        marked = self._ledger.mark_sending([intent.id for intent, _ in rows], self._clock())
        rows = [(intent, fields) for intent, fields in rows if intent.id in marked]
        if not rows:
            self._finish(before, report)
            return None, []
        intents = [intent for intent, _ in rows]
        writes = [as_write(intent, fields) for intent, fields in rows]
        adapter = self._adapters[action.side]
        call = hands.submit(adapter.upsert if action.op is Op.UPSERT else adapter.remove, writes)
        try:
            self._finish(before, report)
            # Made ready and no more: it is marked as being sent when it is, because what became of it after a crash is looked
            # into so long after that time as a write may still be under way.
            batch = self._next(report.stopped, more)
            following = self._resolve(self._current(batch)) if batch and alike(batch[0].action, action) else []
        except BaseException:
            # Two actors: somebody stops the connector; a call is under way. What became of it is written down all the same, so
            # that nobody has to look for it after the next start, or takes it for that of a process that died long ago.
            error = call.exception()
            if error is None:
                self._finish(Answered(rows, call.result()), report)
            elif isinstance(error, RemoteError):
                self._failed(intents, error, report)
            raise
        try:
            return Answered(rows, call.result()), following
        except RemoteError as error:
            self._failed(intents, error, report)
            if isinstance(error, AuthError | AllowanceSpent | Transient):
                raise
            return None, []

    def _finish(self, answered: Answered | None, report: Drained) -> None:
        """Write down what became of each row of a call."""
        if answered is None:
            return
        side = answered.sent[0][0].action.side
        rows = list(zip(answered.sent, answered.results, strict=True))
        landed = [Landed(intent, one, fields) for (intent, fields), one in rows if isinstance(one, Receipt)]
        self._landing.settle(landed)
        if landed:
            report.done[side] += len(landed)
        if len(landed) == len(rows):
            for object_ in {intent.action.object for intent, _ in answered.sent}:
                self._ledger.solved(f"writing {object_}")
        errors = [(intent, one) for (intent, _), one in rows if isinstance(one, RemoteError)]
        for intent, error in errors:
            self._failed([intent], error, report)
        # What only a person can mend is told though it met single rows. Two actors: an admin takes one inbox from our user; what
        # people change in its conversations waits, and all else goes on.
        told = next((error for _, error in errors if isinstance(error, AuthError | AllowanceSpent | Unreadable)), None)
        if told:
            self._failures.trouble(side, told)
        if isinstance(told, AllowanceSpent):
            report.stopped.add(side)
        self._progress("written", len(landed))

    def _failed(self, intents: Sequence[Intent], error: RemoteError, report: Drained) -> None:
        self._failures.failed(intents, error)
        report.failed += len(intents)

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
        overtaken = {one.id for one in batch if self._is_overtaken(one)}
        for intent in batch:
            if intent.id in stale:
                self._landing.anew([intent], "newer values were seen; decided anew")
            elif intent.id in overtaken:
                self._ledger.drop(intent.id, "something newer was told of this reply")
        return [one for one in batch if one.id not in stale | overtaken]

    def _is_overtaken(self, intent: Intent) -> bool:
        """Two actors: we tell the CRM that a reply is held, and its row is locked; a person gives the reply up, which is told at
        once. Told afterwards, that it is held would stand there for ever, and nobody would be asked."""
        action = intent.action
        if action.kind is not Kind.REPLY or action.op is not Op.UPSERT or action.target != action.source:
            return False
        told = [one for one in self._ledger.intents_for(action.source) if one.id > intent.id]
        return any(one.action.target == action.target and one.action.op is Op.UPSERT for one in told)

    def _send(self, intent: Intent, report: Drained) -> None:
        """Two actors: the platform stores our message and its answer is lost; we would send it again. So the row says
        `sending` before the call, and an unclear answer is looked into before anything is repeated."""
        action, again = intent.action, self._is_wanted_again(intent)
        reply = self._ledger.facts([action.source]).get(action.source)
        if reply and reply.dirty and not again:
            # Two actors: the platform is down; its author corrects the reply, puts it into another conversation or takes it
            # back. What leaves is what it says now, if it still asks for it, and where it belongs now.
            self._landing.anew([intent], "it was changed before it was sent; decided anew")
            return
        fields = self._as_asked(action, reply)
        if fields is None:
            self._ledger.drop(intent.id, "its author took it back before it was sent")
            return
        if not str(fields["text"]).strip():
            self._landing.anew([intent], "it has no text any more; decided anew")
            return
        planned = intent.planned_at or self._clock()
        if self._clock() - planned > OLD and not again:
            # Two actors: the platform cannot be reached for days; a colleague has long called the customer. Whether this still
            # goes out is asked like of any old reply. What waits behind it is decided with it: left alone, it would overtake.
            lane = self._ledger.sends_in([action.lane], planned) if action.lane else []
            behind = [one for one in lane if one.state is IntentState.READY and one.id != intent.id]
            self._landing.anew([intent, *behind], "it has waited too long to be sent unasked; decided anew")
            return
        if not self.heard:
            # Two actors: we send it, and the store is lost; restored from a backup it knows neither of the reply nor of its
            # message, until the platform shows that.
            self._ledger.requeue([intent.id], self._clock() + HEARING_WAIT, "waits until the platform is read")
            return
        if not self._ledger.mark_sending([intent.id], self._clock()):
            return
        there = self._ledger.carrier(action.target, intent.token) if action.target else None
        if there:
            # Two actors: we send it, and the store is lost; restored from a backup, it asks for the same reply once more.
            self._landing.settle([Landed(intent, Receipt(there), fields)])
            return
        try:
            receipt = self._adapters[action.side].send(as_write(intent, fields), intent.token)
        except RemoteError as error:
            self._failed([intent], error, report)
            if isinstance(error, AuthError | AllowanceSpent):
                raise
            return
        self._landing.settle([Landed(intent, receipt, fields)])
        report.done[action.side] += 1

    def _is_wanted_again(self, intent: Intent) -> bool:
        """Whether a person was asked about this reply and said that it shall be sent again."""
        holds = self._ledger.settled_holds([intent.action.source])
        return any(hold.intent == intent.id and hold.choice == "again" for hold in holds)

    def _as_asked(self, action: Action, reply: Fact | None) -> Fields | None:
        """What the reply says now, None where its author has withdrawn it."""
        rules = self._mapping.replies
        if rules is None or reply is None:
            return action.fields
        # The record of one that a person wants sent again does not ask any more: we told there that it is held.
        told = rules.outcome and reply.fields.get(rules.outcome.status) == rules.outcome.held
        asks = reply.life is Life.LIVE and (told or rules.wanted(reply.fields))
        return {**action.fields, "text": rules.body(reply.fields)} if asks else None

    def _resolve(self, batch: Sequence[Intent]) -> Rows:
        """Each intent with the ids of its parents; those whose parent is not written yet are put back to wait."""
        linked = parents_of(self._ledger, batch)
        resolved: Rows = []
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
        made = coming(self._ledger.open_intents({parent for _, parent in waiting}))
        later = [intent.id for intent, parent in waiting if parent in made]
        self._ledger.requeue(later, self._clock() + PARENT_WAIT, "waits for its person or conversation")
        lost = [intent for intent, parent in waiting if parent not in made]
        self._landing.anew(lost, "what it hangs on will not be written any more; decided anew")
