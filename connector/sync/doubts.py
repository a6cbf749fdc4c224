"""Writes whose answer never came: looked into before anything is repeated.

in_doubt → done (it landed), ready (certainly not), held (cannot be told), or given up and decided anew (overtaken).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from connector.adapters.base import Adapter, Lookup, Probe
from connector.errors import RemoteError
from connector.model import Fact, Fields, HoldType, Intent, IntentState, Observed, Op, Receipt, Ref, Side
from connector.store.entries import Entries, NewHold
from connector.store.store import Ledger
from connector.sync.failures import Failures
from connector.sync.landing import Landing, parents_of
from connector.sync.observe import fold
from connector.sync.placeholders import Waiting, resolve
from connector.sync.recovery import Fate, fate_of_update
from connector.sync.sent import as_write
from connector.sync.settling import Landed
from connector.sync.view import SETTLED_ITSELF

LOOK_WAIT = timedelta(seconds=30)
"""Between two looks at a doubtful write, while the system does not answer them."""


class Doubts:
    def __init__(
        self,
        ledger: Ledger,
        adapters: Mapping[Side, Adapter],
        landing: Landing,
        failures: Failures,
        clock: Callable[[], datetime],
        fetch: Callable[[Side, Sequence[Ref]], list[Observed]],
    ) -> None:
        self._ledger = ledger
        self._adapters = adapters
        self._landing = landing
        self._failures = failures
        self._clock = clock
        self._fetch = fetch
        self._resting: dict[Side, datetime] = {}

    def recover(self) -> None:
        """Look at every intent that was being sent: after a crash, or after an answer that never came."""
        flying = self._ledger.in_flight()
        if any(one.state is IntentState.SENDING for one in flying):
            self._stopped(flying)
            flying = self._ledger.in_flight()
        self._ledger.requeue([one.id for one in flying if one.action.op is Op.REMOVE], None, None)
        for side in Side:
            if side in self._resting and self._clock() < self._resting[side]:
                continue
            over = [one for one in flying if one.action.side is side and self._is_over(one)]
            asked = [one for one in over if one.action.op is not Op.REMOVE]
            try:
                self._look_again([one for one in asked if one.action.op is Op.UPSERT])
                for intent in asked:
                    if intent.action.op is Op.SEND:
                        self._probe(intent)
                if asked:
                    self._ledger.solved(f"writing {side}")
            except RemoteError as error:
                self._resting[side] = self._clock() + LOOK_WAIT
                self._failures.trouble(side, error)

    def _stopped(self, flying: Sequence[Intent]) -> None:
        """Two actors: the connector dies in a call, and the platform works on it all the same, as long after our end as it may. When
        the call began tells little: a batch may have taken minutes by then, and another machine's clock may have told the time. What
        is known is since when nobody has held the lease.
        """
        for side in Side:
            lag = self._adapters[side].capabilities.lag
            look = self._clock() + lag - min(lag, self._ledger.left_alone)
            ids = [one.id for one in flying if one.state is IntentState.SENDING and one.action.side is side]
            self._ledger.doubt(ids, look, "the connector stopped while it was being sent")

    def recognise(self, seen: Iterable[Observed]) -> None:
        """Settle sends by their marker: the message that we were unsure of has been observed."""
        marked = {one.token: one for one in seen if one.token}
        if not marked:
            return
        for token, intent in self._ledger.by_token(marked).items():
            if intent.state in (IntentState.DONE, IntentState.DROPPED, IntentState.REFUSED):
                continue
            if intent.state is IntentState.READY and not self._ledger.mark_sending([intent.id], self._clock()):
                continue
            one = marked[token]
            self._landing.settle([Landed(intent, Receipt(one.ref, True, one.fields), intent.action.fields)])
            asked = self._ledger.open_holds([intent.action.source], HoldType.IN_DOUBT)
            why = f"{one.ref} carries its marker: it was sent"
            self._ledger.journal(Entries(closed_holds=[(hold.id, SETTLED_ITSELF, "connector", why) for hold in asked]))

    def next_due(self) -> datetime | None:
        """When the earliest of them can be looked at."""
        flying = [(one.action.side, due) for one in self._ledger.in_flight() if (due := one.not_before)]
        return min((max(due, self._resting.get(side, due)) for side, due in flying), default=None)

    def _probe(self, intent: Intent) -> None:
        """After the longest time a sent message may stay invisible, look for our marker in the conversation."""
        tried = intent.tried_at or self._clock()
        found = self._adapters[intent.action.side].probe(as_write(intent, intent.action.fields), intent.token, tried)
        if isinstance(found, Receipt):
            self._landing.settle([Landed(intent, found, intent.action.fields)])
        elif found is Probe.ABSENT:
            self._ledger.requeue([intent.id], None, "looked for on the platform and not found: it was never sent")
        else:
            question = "It cannot be told whether this reply was sent. Look at the conversation, then decide."
            details = {"text": intent.action.fields.get("text"), "conversation": str(intent.action.target)}
            # Told first: were the hold first and the process to die, the record in the CRM would say "queued" for ever.
            self._ledger.journal(Entries(intents=self._failures.told(intent, "held", question)))
            self._ledger.hold_intent(
                intent.id, "in doubt", NewHold(HoldType.IN_DOUBT, intent.action.source, question, details)
            )

    def _is_over(self, intent: Intent) -> bool:
        """Whether a write whose answer was lost has certainly come to its end.

        Two actors: our call is cut off while the CRM still works on it; we look, find nothing, and send it again; then the
        first one commits as well.
        """
        return intent.not_before is None or self._clock() >= intent.not_before

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
        linked = parents_of(self._ledger, intents)
        facts = self._ledger.facts([seen.ref for seen in shown.values() if seen])
        landed: list[Landed] = []
        absent: list[int] = []
        for intent in intents:
            now, fields = shown.get(intent.id), resolve(intent.action.fields, linked)
            if now and intent.action.target is None and isinstance(fields, Waiting):
                # Two actors: the answer to our creation is lost; a person deletes the contact that it hangs on, so that the
                # contact's link ends. The record is there all the same, as it shows itself.
                fields = dict(now.fields)
            if now is None or isinstance(fields, Waiting):
                absent.append(intent.id)
                continue
            before = facts.get(now.ref)
            fate = Fate.LANDED if intent.action.target is None else fate_of_update(fields, before, now)
            if fate is Fate.LANDED:
                landed.append(_landed(intent, fields, before, now))
            elif fate is Fate.NEVER_SENT:
                absent.append(intent.id)
            else:
                self._overtaken(intent, fold(before, now, intent.action.side))
        self._ledger.requeue(absent, None, "looked at again: it was never written")
        self._landing.settle(landed)

    def _overtaken(self, intent: Intent, fact: Fact | None) -> None:
        self._landing.anew([intent], "somebody wrote after us; decided anew", [fact] if fact else [])


def _landed(intent: Intent, fields: Fields, before: Fact | None, now: Observed) -> Landed:
    """Two actors: the answer to our creation is lost and a person edits the new record; or merges another contact into it,
    so that we write to it for that one, and its last author is us again. What it shows then is no read-back of ours."""
    if intent.action.target or (now.ours and before is None):
        return Landed(intent, Receipt(now.ref, False, now.fields), fields)
    found = fold(before, now, intent.action.side) or before
    return Landed(intent, Receipt(now.ref, False, None), fields, replace(found, dirty=True) if found else None)
