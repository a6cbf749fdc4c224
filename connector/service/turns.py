"""Turns of one connection: look at what is due, then write until nothing is left to write.

Taken under the connection's lease and by one thread at a time, be it the daemon's or one of many workers'.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from traceback import extract_tb

import structlog

from connector.app import Joined, Plug, now
from connector.errors import AuthError, ConnectorError, Rejected, RemoteError, SoftStop
from connector.model import Ref, Side
from connector.service.backfilling import Spare
from connector.service.spending import Spending
from connector.service.stopping import Stopped, stoppable
from connector.store.announcing import PATIENCE
from connector.store.entries import Trouble
from connector.sync.engine import Engine
from connector.sync.report import Report

RETRY = timedelta(seconds=30)
"""Until a connection that could not start, is out of its allowance, or met trouble is looked at again."""
LONGEST_REST = timedelta(minutes=10)
"""Between two tries where trouble lasts: four calls each are under 600 a day, and a connection runs again soon after it was mended."""
RUNNING = "running"
"""The scope of the problem that a connection cannot run at all."""
WEBHOOKS = "webhooks"
"""The scope of the problem that a record which a webhook named cannot be looked at."""
TOGETHER = 50
"""Records that webhooks named and that are looked at between two points at which a turn can be stopped."""
USERS = timedelta(hours=24)
"""How long the CRM's users are trusted: a new colleague can be assigned a day later at the latest."""

log = structlog.get_logger("connector.turns")


@dataclass
class Work:
    """What is due now: streams, and what webhooks named, with when they last did."""

    streams: set[tuple[Side, str]] = field(default_factory=set)
    refs: Mapping[Ref, datetime] = field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        return not self.streams and not self.refs


class Turns:
    """Of the connection of `plug`. `stop` ends a turn at the next safe point."""

    def __init__(self, plug: Plug, stop: threading.Event) -> None:
        self.plug = plug
        self.joined: Joined = plug.join(sleep=self._nap)
        self.rounds = 0
        self._stop = stop
        self._spending = Spending(self.joined)
        self.spare = Spare(plug.ledger, self._spending, now)
        self._progress = self._spending.limited(stoppable(stop))
        self._named: dict[Ref, datetime] = {}
        self._put_off: dict[Ref, datetime] = {}
        self._engine: Engine | None = None
        self._made = now()
        self._tried = False

    def close(self) -> None:
        self.joined.close()

    def engine(self) -> Engine:
        """Both sides are there and are who they should be. Made anew once a day. Raises ConnectorError."""
        if self._engine is None or now() - self._made > USERS:
            self._engine, self._tried = None, True
            self._spending.begin()
            engine = self.joined.engine(progress=self._progress, sleep=self._nap)
            accounts = engine.prepare()
            ids = {side.value: account.id for side, account in accounts.items()}
            log.info("connected", connection=self.plug.name, **ids)
            self._engine, self._made = engine, now()
        return self._engine

    def next_due(self) -> datetime | None:
        """When a write that waits becomes due; None also before there is an engine. Calls nobody. Raises StoreError."""
        return self._engine.next_due() if self._engine else None

    @property
    def puts_off(self) -> bool:
        """Whether hints stay in the store that are not to be tried again at once."""
        return bool(self._put_off)

    def rests(self) -> bool:
        """Whether the connection could not run and it is too soon to try again. A new process tries at once. Raises StoreError.

        Two actors: a guard refuses on Friday evening, and the admin is back on Monday. Tried twice a minute, the connection would
        take ten thousand calls a day from the CRM's allowance. When she has allowed it, the problem is gone from the store, and it
        runs within half a minute.
        """
        if self._engine is not None or not self._tried:
            return False
        trouble = next((one for one in self.plug.ledger.problems() if one.scope == RUNNING), None)
        return trouble is not None and now() < trouble.last_seen + rest(trouble)

    def turn(self, due: Work) -> Report | None:
        """One turn, and a piece of the past where nothing else is to do; None where none was taken, because the CRM's allowance
        is spent or a system has asked for time. Raises ConnectorError and Stopped.

        Two actors: one worker is told to come back in ten minutes; another one has a connection to the same account. It would be
        refused as well, and some systems then ask for longer.
        """
        until = self.plug.ledger.waits_until()
        if until and until > now():
            return None
        due = Work(due.streams, self._ripe(due.refs))
        try:
            engine = self.engine()
            report = self._turn(engine, due)
            if report is not None and due.is_nothing and self.spare.is_due():
                self.spare.piece(engine)
        except BaseException as error:
            # Whatever it was, the next turn looks first whether both sides are still who they should be.
            self._engine = None
            if isinstance(error, RemoteError):
                self._told(error)
            raise
        self.plug.ledger.solved(RUNNING)
        return report

    def _turn(self, engine: Engine, due: Work) -> Report | None:
        self._hear(due.refs)
        if self._over_budget():
            return None
        engine.begin()
        report = Report()
        try:
            if due.refs:
                self._look(engine, due.refs)
            moved = not due.streams
            for stream in sorted(due.streams):
                moved |= bool(engine.round([stream], report))
            if moved:
                engine.write_on(report)
        finally:
            self.rounds += report.rounds
            note(self.plug, self.joined.count)
        for error in report.trouble:
            self._cut_short(error)
        for error in report.unwritten:
            self._told(error)
        if report.news or report.planned:
            log.info("round", connection=self.plug.name, news=report.news, planned=report.planned, failed=report.failed)
        return report

    def _cut_short(self, error: RemoteError) -> None:
        self._told(error)
        log.warning("round cut short", connection=self.plug.name, error=type(error).__name__, code=error.code)

    def _told(self, error: RemoteError) -> None:
        """Tell all workers of a system that asked for time."""
        if error.retry_after:
            (side,) = [side for side, system in self.plug.systems.items() if system == error.system]
            until = now() + timedelta(seconds=error.retry_after)
            note(self.plug, lambda: self.plug.ledger.told_to_wait(side, until))

    def _nap(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def _hear(self, refs: Collection[Ref]) -> None:
        """Webhooks named these. They are remembered for a while: where a record cannot be looked at now, a later read brings
        it, and its webhook was not lost."""
        at = now()
        lately = {ref: when for ref, when in self._named.items() if when > at - PATIENCE}
        self._named = lately | dict.fromkeys(refs, at)
        self.plug.ledger.announced(self._named)
        self.plug.ledger.give_up_waiting()

    def _ripe(self, refs: Mapping[Ref, datetime]) -> dict[Ref, datetime]:
        """Those that are not put off; what failed last comes last, so that one record that always fails stands in no other's
        way."""
        at, known = now(), {ref: until for ref, until in self._put_off.items() if ref in refs}
        self._put_off = {ref: until for ref, until in known.items() if until > at}
        again = [ref for ref in known if ref not in self._put_off]
        return {ref: refs[ref] for ref in (*(ref for ref in refs if ref not in known), *again)}

    def _look(self, engine: Engine, named: Mapping[Ref, datetime]) -> None:
        """Look at what webhooks named; a hint goes when its record was looked at, or is refused to us.

        Two actors: a customer edits an old message, and the platform fails for seconds. Only the webhook tells of the edit; were
        its hint dropped, the CRM would keep the old text for ever.
        """
        left, refs, refused = dict(named), list(named), 0
        try:
            for start in range(0, len(refs), TOGETHER):
                refused += self._look_at(engine, refs[start : start + TOGETHER], left)
        except SoftStop:
            # The round that follows is stopped as well, and tells of it.
            return
        except RemoteError as error:
            self._cut_short(error)
            self._problem(error)
            lasts = next(one for one in self.plug.ledger.problems() if one.scope == WEBHOOKS)
            first, *others = left
            self._put_off |= dict.fromkeys(others, now() + RETRY) | {first: now() + rest(lasts)}
            return
        if not refused and not self._put_off:
            self.plug.ledger.solved(WEBHOOKS)

    def _look_at(self, engine: Engine, refs: Sequence[Ref], left: dict[Ref, datetime]) -> int:
        """How many of them are refused; those that are done with are taken out of `left`. Raises RemoteError for the first that
        is left.

        Two actors: the token may not see one inbox, and customers write in two; what is named in the other one is looked at all
        the same.
        """
        self._progress("named by webhooks", len(refs))
        refused = 0
        try:
            engine.look_at(refs, Side.PLATFORM)
        except RemoteError as error:
            if len(refs) > 1 and not error.retry_after:
                return sum(self._look_at(engine, [ref], left) for ref in refs)
            if len(refs) > 1 or not isinstance(error, AuthError | Rejected):
                raise
            # A token that was taken back is refused everything until there is a new one; then it is not the record.
            engine.adapters[Side.PLATFORM].check()
            refused = 1
            self._problem(error)
        self.plug.ledger.looked_at({ref: left.pop(ref) for ref in refs})
        return refused

    def _problem(self, error: RemoteError) -> None:
        self.plug.ledger.problem(WEBHOOKS, error.code, error.message, error.way_out)

    def _over_budget(self) -> bool:
        """Whether the day's share of CRM calls is spent; then nothing is read or written for a while."""
        try:
            self._spending.admit()
        except SoftStop:
            return True
        return False


def rest(trouble: Trouble) -> timedelta:
    """Until the next try: a quarter of the time that the trouble has lasted, within bounds."""
    return min(LONGEST_REST, max(RETRY, (trouble.last_seen - trouble.first_seen) / 4))


def failed(plug: Plug, error: Exception) -> None:
    """Tell people why a turn ended, in `status` and in the log."""
    if not isinstance(error, ConnectorError):
        # A fault of ours in one connection must not end the others. Its message may quote a record, so the log gets the type
        # and the places only.
        places = [f"{one.filename}:{one.lineno} {one.name}" for one in extract_tb(error.__traceback__)]
        log.error("fault", connection=plug.name, error=type(error).__name__, at=places)
        error = ConnectorError(f"A fault in the program: {type(error).__name__}.", "Report it with the log.")
    code = getattr(error, "code", type(error).__name__)
    message, way_out = error.message, error.way_out
    log.warning("connection failed", connection=plug.name, error=type(error).__name__, code=code)
    note(plug, lambda: plug.ledger.problem(RUNNING, code, message, way_out))


def note(plug: Plug, write: Callable[[], None]) -> None:
    """Notes for people, which must not hide the error that led here when the store is what is broken."""
    try:
        write()
    except ConnectorError as error:
        log.error("the store takes no notes", connection=plug.name, error=type(error).__name__)
