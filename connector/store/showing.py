"""What people ask: where every message is, why a value was written, what is wrong, what ran, what it cost."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, case, delete, func, or_, select, text, update

from connector.errors import StoreError
from connector.model import Fields, HoldType, Intent, IntentState, Kind, Ref, Side, State
from connector.store import rows
from connector.store.bulk import upsert
from connector.store.database import Scoped
from connector.store.entries import Balance, Counts, Decided, Run, Share, Trouble
from connector.store.schema import decisions, facts, holds, intents, memory, problems, runs, usage

DAY = 10
"""Letters of the day in a time: `2026-01-02`."""
PIECE = 500
"""Rows of an answer held at a time."""


class Showing(Scoped):
    def account(self) -> Balance:
        """The account of every message seen on the platform."""
        query = (
            select(facts.c.state, facts.c.reason, func.count().label("count"))
            .where(*self._messages())
            .group_by(facts.c.state, facts.c.reason)
        )
        reasons = {(State(row["state"]), row["reason"]): row["count"] for row in self._rows(query)}
        states = dict.fromkeys(State, 0)
        for (state, _), count in reasons.items():
            states[state] += count
        return Balance(states, reasons)

    def states(self) -> dict[State, int]:
        """The account without its reasons: an index alone answers it."""
        query = select(facts.c.state, func.count().label("count")).where(*self._messages()).group_by(facts.c.state)
        return dict.fromkeys(State, 0) | {State(row["state"]): row["count"] for row in self._rows(query)}

    def shares(self) -> Iterator[Share]:
        """The account by inbox, day and reason, piece by piece: the database adds up, so that neither it nor we hold a million
        messages. Iterate to the end; a transaction is open until then."""
        counts = [func.sum(case((facts.c.state == state.value, 1), else_=0)).label(state.value) for state in State]
        # Written out, not bound: PostgreSQL would take two bound values for two expressions.
        day = func.substr(facts.c.at, text("1"), text(str(DAY)))
        threads = (
            select(facts.c.parent, day.label("day"), facts.c.reason, func.count().label("seen"), *counts)
            .where(*self._messages())
            .group_by(facts.c.parent, day, facts.c.reason)
            .subquery()
        )
        thread = facts.alias()
        totals = [func.sum(threads.c[name]).label(name) for name in ("seen", *State)]
        groups = (thread.c.inbox, threads.c.day, threads.c.reason)
        here = and_(thread.c.connection == self.connection, thread.c.ref == threads.c.parent)
        query = select(*groups, *totals).select_from(threads.outerjoin(thread, here)).group_by(*groups)
        with self._reading() as db:
            for row in db.execution_options(yield_per=PIECE).execute(query).mappings():
                states = {state: int(row[state.value]) for state in State}
                yield Share(row["inbox"], row["day"] or None, row["reason"], int(row["seen"]), states)

    def seen(self) -> int:
        """Messages seen on the platform, counted without a look at their states."""
        with self._reading() as db:
            return db.scalar(select(func.count()).select_from(facts).where(*self._messages())) or 0

    def _messages(self) -> tuple[Any, ...]:
        return (
            facts.c.connection == self.connection,
            facts.c.kind == Kind.MESSAGE.value,
            facts.c.side == Side.PLATFORM.value,
        )

    def decisions_for(self, ref: Ref) -> list[Decided]:
        """All decisions about this record, on either side or as the news that caused them; oldest first. Those that led to a
        write stand in its intent."""
        value = str(ref)
        about = or_(decisions.c.platform == value, decisions.c.crm == value, decisions.c.source == value)
        query = select(decisions).where(decisions.c.connection == self.connection, about).order_by(decisions.c.id)
        told = [rows.decided_of(row) for row in self._rows(query)]
        known = {(one.intent, one.row.decision.field) for one in told}
        carried = [one for row in self._intents_about(ref) for one in rows.carried_decisions(row)]
        told += [one for one in carried if (one.intent, one.row.decision.field) not in known]
        return sorted(told, key=lambda one: one.decided_at)

    def conflicts(self, limit: int) -> list[Decided]:
        """The latest decisions in which both sides had changed, newest first."""
        query = (
            select(decisions)
            .where(decisions.c.connection == self.connection, decisions.c.conflict.is_(True))
            .order_by(decisions.c.id.desc())
            .limit(limit)
        )
        return [rows.decided_of(row) for row in self._rows(query)]

    def intents_for(self, ref: Ref) -> list[Intent]:
        """All intents, open or over, that came from this record, were about it, aimed at it or made it; oldest first."""
        return [rows.intent_of(row) for row in self._intents_about(ref)]

    def _intents_about(self, ref: Ref) -> list[RowMapping]:
        value = str(ref)
        about = or_(
            intents.c.source == value,
            intents.c.subject == value,
            intents.c.target == value,
            intents.c.result == value,
        )
        query = select(intents).where(intents.c.connection == self.connection, about).order_by(intents.c.id)
        return list(self._rows(query))

    def problem(self, scope: str, code: str, message: str, way_out: str) -> None:
        """Something is wrong (again) with `scope`. One row per scope and code: seen again, it counts up."""
        now = self._clock()
        with self._writing() as db:
            add_problem(db, self.connection, Trouble(scope, code, message, way_out, 1, now, now))

    def solved(self, scope: str) -> None:
        """All problems of this scope are over."""
        with self._writing() as db:
            db.execute(problems.delete().where(problems.c.connection == self.connection, problems.c.scope == scope))

    def problems(self) -> list[Trouble]:
        """What is wrong now, the latest seen first."""
        query = (
            select(problems)
            .where(problems.c.connection == self.connection)
            .order_by(problems.c.last_seen.desc(), problems.c.scope, problems.c.code)
        )
        found = [dict(row) for row in self._rows(query)]
        return [Trouble(**{name: value for name, value in row.items() if name != "connection"}) for row in found]

    def begin_run(self, kind: str) -> int:
        """The id of the run, for `end_run`."""
        with self._writing() as db:
            row = {"connection": self.connection, "kind": kind, "started_at": self._clock()}
            return int(db.execute(runs.insert().returning(runs.c.id), row).scalar_one())

    def end_run(self, id: int, summary: Fields) -> None:
        """Raises StoreError when there is no such run under way."""
        with self._writing() as db:
            change = (
                update(runs)
                .where(runs.c.connection == self.connection, runs.c.id == id, runs.c.ended_at.is_(None))
                .values(ended_at=self._clock(), summary=dict(summary))
            )
            if db.execute(change).rowcount != 1:
                raise StoreError(f"Run {id} of {self.connection} is not under way.", "Begin a run first.")

    def last_runs(self, n: int) -> list[Run]:
        """Newest first; `ended_at` is None for a run under way or killed."""
        query = select(runs).where(runs.c.connection == self.connection).order_by(runs.c.id.desc()).limit(n)
        return [
            Run(row["id"], row["kind"], row["started_at"], row["ended_at"], row["summary"]) for row in self._rows(query)
        ]

    def counts(self) -> Counts:
        def grouped(table: Any, *columns: Any, where: Any = True) -> list[Any]:
            query = select(*columns, func.count()).where(table.c.connection == self.connection, where)
            return list(db.execute(query.group_by(*columns)))

        with self._reading() as db:
            return Counts(
                intents={IntentState(state): n for state, n in grouped(intents, intents.c.state)},
                holds={HoldType(t): n for t, n in grouped(holds, holds.c.type, where=holds.c.settled_at.is_(None))},
            )

    def usage_add(self, at: datetime, system: str, calls: int) -> None:
        """Adds to the API calls made in this hour; hours of long ago are forgotten."""
        ours = usage.c.connection == self.connection
        with self._writing() as db:
            row = {"connection": self.connection, "hour": rows.hour_of(at), "system": system, "calls": calls}
            upsert(db, usage, [row], calls=usage.c.calls + calls)
            db.execute(delete(usage).where(ours, usage.c.hour < rows.hour_of(at - rows.COUNTED)))

    def usage(self, day: date) -> dict[str, int]:
        """API calls of this day (UTC) by system."""
        query = select(usage.c.system, func.sum(usage.c.calls).label("calls")).where(
            usage.c.connection == self.connection, usage.c.hour.startswith(day.isoformat())
        )
        return {row["system"]: row["calls"] for row in self._rows(query.group_by(usage.c.system))}

    def remember(self, key: str, value: object) -> None:
        """Keeps a small JSON-able value, replacing the one before."""
        with self._writing() as db:
            upsert(db, memory, [{"connection": self.connection, "key": key, "value": {"value": value}}])

    def recall(self, key: str) -> Any:
        """None where nothing was remembered."""
        query = select(memory.c.value).where(memory.c.connection == self.connection, memory.c.key == key)
        with self._reading() as db:
            found = db.scalar(query)
        return None if found is None else found["value"]


def add_problem(db: Connection, connection: str, trouble: Trouble) -> None:
    row = {"connection": connection, **asdict(trouble)}
    upsert(db, problems, [row], count=problems.c.count + 1, first_seen=problems.c.first_seen)
