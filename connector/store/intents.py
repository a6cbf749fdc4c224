"""The journal's intents on their way out: which are due, and every change of state. Each call is one transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, func, or_, select, update

from connector.errors import StoreError
from connector.model import OPEN_INTENTS, Fields, Intent, IntentState, Op, Ref, Side, Snapshot
from connector.store import rows
from connector.store.bulk import Among, change, listed
from connector.store.entries import Entries, NewHold, Settlement, States, Trouble
from connector.store.journaling import Journaling
from connector.store.observing import record_facts
from connector.store.schema import intents, snapshots
from connector.store.showing import add_problem

CALLED = (IntentState.SENDING, IntentState.IN_DOUBT, IntentState.HELD)
"""States of an intent whose write may have landed."""

THIS = intents.c.id == bindparam("intent_id")


class Intents(Journaling):
    def ready(self, now: datetime, limit: int, side: Side | None = None) -> list[Intent]:
        """Intents that are due, parents before children, then in journal order; of each lane only its first open send."""
        before = intents.alias()
        # Two replies of one conversation: while the first is not certainly over, the second must not overtake it.
        waits = exists().where(
            before.c.connection == self.connection,
            before.c.lane == intents.c.lane,
            before.c.state.in_(rows.OPEN),
            before.c.op == Op.SEND.value,
            before.c.id < intents.c.id,
        )
        query = (
            select(*(column for column in intents.c if column is not intents.c.body))
            .where(
                intents.c.connection == self.connection,
                intents.c.state == IntentState.READY.value,
                or_(intents.c.not_before.is_(None), intents.c.not_before <= now),
                or_(intents.c.op != Op.SEND.value, intents.c.lane.is_(None), ~waits),
            )
            .order_by(intents.c.rank, intents.c.id)
            .limit(limit)
        )
        if side is not None:
            query = query.where(intents.c.side == side.value)
        latest, found = self.latest, self._rows(query)
        bodies = self._bodies([row["id"] for row in found if row["id"] not in latest])
        return [
            rows.intent_of(row, latest.get(row["id"]) or rows.action_of({**row, "body": bodies[row["id"]]}))
            for row in found
        ]

    def _bodies(self, ids: list[int]) -> dict[int, Fields]:
        if not ids:
            return {}
        with self._reading() as db:
            query = select(intents.c.id, intents.c.body)
            return {row.id: row.body for some in listed(db, ids) for row in db.execute(query.where(self._are(some)))}

    def mark_sending(self, ids: Collection[int], now: datetime) -> set[int]:
        """Committed before the call: after a crash the row says that the write may have landed. Answers those that may go out:
        one that is not ready any more was given up by a person meanwhile, and the others go without it."""
        change = (
            update(intents)
            .where(intents.c.state == IntentState.READY.value)
            .values(state=IntentState.SENDING.value, attempts=intents.c.attempts + 1, tried_at=now)
            .returning(intents.c.id)
        )
        with self._writing() as db:
            return {id_ for some in listed(db, set(ids)) for id_ in db.scalars(change.where(self._are(some)))}

    def settle(self, settlements: Sequence[Settlement], decided: Entries | None = None) -> None:
        """The writes landed: intents done with the records they made, links, snapshots and accounts, all in one transaction,
        together with what was `decided` by the person who told that they did.

        The snapshots are laid over the stored ones, field by field: a write brings only its own lines.
        A link that clashes with another active one is not made; the write has happened all the same, so it is settled and
        the clash is stored as a problem. Raises StoreError when an intent was never sent or is over already.
        """
        now = self._clock()
        with self._writing() as db:
            if decided is not None:
                # Two actors: one person says that a reply was sent, another one lets it go out again. The hold is closed by one
                # of them only; were the reply settled on its own, it might be on its way once more by then.
                self._journal(db, decided)
            self._change(
                db,
                [settlement.intent for settlement in settlements],
                CALLED,
                [
                    {
                        "state": IntentState.DONE.value,
                        "result": str(settlement.receipt.ref),
                        "error": None,
                        "ended_at": now,
                    }
                    for settlement in settlements
                ],
            )
            shown, clashes = self._link(db, [link for settlement in settlements for link in settlement.links])
            for clash in clashes:
                scope, _, _ = clash.partition(" ")
                way_out = "Compare the two records and end the wrong link."
                add_problem(db, self.connection, Trouble(scope, "link_clash", clash, way_out, 1, now, now))
            known = [snapshot for settlement in settlements for snapshot in settlement.snapshots]
            self._lay_over(db, [*shown, *known])
            record_facts(db, self.connection, [fact for settlement in settlements for fact in settlement.facts])
            self._set_states(db, {ref: state for settlement in settlements for ref, state in settlement.states.items()})

    def _lay_over(self, db: Connection, patches: Sequence[Snapshot]) -> None:
        # One plan writes field A of a pair to the CRM and field B to the platform, in two batches that may land in
        # either order. Each batch knows only its own lines: were whole rows stored, the second would take the first's
        # lines back to what they were.
        merged: dict[tuple[int, Side], Snapshot] = {}
        for some in listed(db, {patch.link for patch in patches}):
            query = select(snapshots).where(snapshots.c.connection == self.connection, some(snapshots.c.link))
            for old in map(rows.snapshot_of, db.execute(query.with_for_update()).mappings()):
                merged[old.link, old.side] = old
        for patch in patches:
            base = merged.get((patch.link, patch.side))
            merged[patch.link, patch.side] = patch if base is None else laid_over(base, patch)
        self._snap(db, list(merged.values()))

    def requeue(self, ids: Collection[int], not_before: datetime | None, error: str | None) -> None:
        """Certainly not written: ready again, not before this time (None: at once). Takes all of a failed call together."""
        values = {"state": IntentState.READY.value, "not_before": not_before, "error": error}
        with self._writing() as db:
            self._change(db, list(ids), OPEN_INTENTS, [values] * len(ids))

    def doubt(self, ids: Collection[int], not_before: datetime | None, error: str) -> None:
        """They may have been written: only a look, not before this time, or a person may say so. Takes all of a failed call
        together."""
        values = {"state": IntentState.IN_DOUBT.value, "not_before": not_before, "error": error}
        with self._writing() as db:
            self._change(db, list(ids), (IntentState.SENDING, IntentState.IN_DOUBT), [values] * len(ids))

    def hold_intent(self, id: int, error: str, hold: NewHold, states: States | None = None) -> None:
        """A person has to settle it; `states` is the new account of its message."""
        self._end(id, {"state": IntentState.HELD.value, "error": error}, states, hold)

    def drop(self, id: int, why: str, states: States | None = None) -> None:
        """Not needed any more. Its key stays taken."""
        self._end(id, {"state": IntentState.DROPPED.value, "error": why, "ended_at": self._clock()}, states)

    def _end(self, id_: int, values: dict[str, Any], states: States | None, hold: NewHold | None = None) -> None:
        with self._writing() as db:
            self._change(db, [id_], OPEN_INTENTS, [values])
            self._set_states(db, states or {})
            if hold is not None:
                self._open_holds(db, [replace(hold, intent=id_)])

    def _change(
        self,
        db: Connection,
        ids: Sequence[int],
        allowed: Sequence[IntentState],
        values: Sequence[Mapping[str, Any]],
    ) -> None:
        """Sets `values[i]` on `ids[i]`. Raises StoreError when an id is unknown or in another state than those allowed."""
        if not ids:
            return
        states: dict[int, str] = {}
        for some in listed(db, set(ids)):
            query = select(intents.c.id, intents.c.state).where(self._are(some)).with_for_update()
            states.update({row.id: row.state for row in db.execute(query)})
        names = [state.value for state in allowed]
        for id_ in ids:
            if states.get(id_) not in names:
                found = f"is {states[id_]}" if id_ in states else "does not exist"
                raise StoreError(
                    f"Intent {id_} of {self.connection} {found}; only {', '.join(names)} can be changed so.",
                    "Nothing was stored. Another process may have settled it; look at it again.",
                )
        change(db, intents, THIS, [{"intent_id": id_, **value} for id_, value in zip(ids, values, strict=True)])

    def _are(self, ids: Among) -> ColumnElement[bool]:
        return and_(intents.c.connection == self.connection, ids(intents.c.id))

    def by_token(self, tokens: Iterable[str]) -> dict[str, Intent]:
        """Our own intents by the marker that their write carries on the other side."""
        query = select(intents).where(intents.c.connection == self.connection)
        found = {}
        with self._reading() as db:
            for some in listed(db, sorted(set(tokens))):
                for row in db.execute(query.where(some(intents.c.token))).mappings():
                    found[row["token"]] = rows.intent_of(row)
        return found

    def sends_in(self, lanes: Collection[str], since: datetime) -> list[Intent]:
        """Sends of these lanes, planned since then, that have left or still may."""
        over = [IntentState.DROPPED.value, IntentState.REFUSED.value]
        query = select(intents).where(
            intents.c.connection == self.connection,
            intents.c.op == Op.SEND.value,
            intents.c.planned_at >= since,
            intents.c.state.not_in(over),
        )
        found = self._in_chunks(lanes, lambda some: query.where(some(intents.c.lane)))
        return [rows.intent_of(row) for row in found]

    def written_since(self, targets: Iterable[Ref], since: datetime) -> dict[Ref, list[Fields]]:
        """What has been written into these records since then, each write's values on their own."""
        query = select(intents.c.target, intents.c.body).where(
            intents.c.connection == self.connection,
            intents.c.op == Op.UPSERT.value,
            intents.c.state == IntentState.DONE.value,
            intents.c.ended_at >= since,
        )
        written: dict[Ref, list[Fields]] = {}
        for row in self._in_chunks(targets, lambda some: query.where(some(intents.c.target))):
            written.setdefault(Ref.parse(row["target"]), []).append(row["body"]["fields"])
        return written

    def in_flight(self) -> list[Intent]:
        """Sending or in doubt, in journal order: after a crash, what has to be looked at first."""
        states = [IntentState.SENDING.value, IntentState.IN_DOUBT.value]
        query = select(intents).where(intents.c.connection == self.connection, intents.c.state.in_(states))
        return [rows.intent_of(row) for row in self._rows(query.order_by(intents.c.id))]

    def next_due(self) -> datetime | None:
        """When the earliest write becomes due that is ready, but not before a time that was set when its last attempt failed."""
        query = select(func.min(intents.c.not_before)).where(
            intents.c.connection == self.connection, intents.c.state == IntentState.READY.value
        )
        with self._reading() as db:
            earliest: datetime | None = db.scalar(query)
        return earliest

    def wake(self) -> None:
        """Every ready intent is due at once: what it waited for has come."""
        with self._writing() as db:
            db.execute(
                update(intents)
                .where(intents.c.connection == self.connection, intents.c.state == IntentState.READY.value)
                .values(not_before=None)
            )

    def intent(self, id: int) -> Intent:
        """Raises StoreError when the connection has no such intent."""
        found = self._rows(select(intents).where(intents.c.connection == self.connection, intents.c.id == id))
        if not found:
            raise StoreError(f"The connection {self.connection} has no intent {id}.", "List its intents to find it.")
        return rows.intent_of(found[0])


def laid_over(base: Snapshot, patch: Snapshot) -> Snapshot:
    """The fields of `patch` replace those of `base`; the rest stands.

    Two actors: we write Status, a person resolves it, we write a count. The next version on show is ours and shows both. It
    confirms the lines of our last write only, so lines of an earlier one stop waiting to be read: from now on another value
    in them is somebody's edit.
    """
    unread = patch.unread or tuple(name for name in base.unread if name not in patch.fields)
    return replace(base, fields={**base.fields, **patch.fields}, unread=tuple(sorted(unread)))
