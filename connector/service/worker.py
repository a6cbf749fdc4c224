"""One connection at work: a thread that owns the engine, and the queue of what is due.

due streams and hinted refs come in from the schedule and from webhooks; the thread takes all of them and does a round.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from traceback import extract_tb

import structlog

from connector.adapters.base import Stream
from connector.app import Joined, LeaseTaken, Plug, held_lease, now
from connector.errors import AllowanceSpent, ConnectorError, RemoteError
from connector.model import Ref, Side
from connector.service.backfilling import Spare
from connector.service.spending import Spending
from connector.service.stopping import Stopped, stoppable
from connector.store.announcing import PATIENCE
from connector.sync.engine import Engine
from connector.sync.report import Report

RETRY = 30.0
"""Seconds until a connection that could not start, or lost its lease, is tried again."""
USERS = timedelta(hours=24)
"""How long the CRM's users are trusted: a new colleague can be assigned a day later at the latest."""
QUEUE = 10_000
"""Hinted refs kept at most. Hints are never data: what is turned away is found by the next poll."""
ROUNDS = 20
"""Rounds in a row without a read, for records that wait for one another; the schedule goes on after that."""

log = structlog.get_logger("connector.worker")


@dataclass
class Work:
    """What is due now."""

    streams: set[tuple[Side, str]] = field(default_factory=set)
    refs: dict[Ref, None] = field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        return not self.streams and not self.refs


class Worker:
    """Runs one connection until `stop` is set. `stop` is shared by all workers."""

    def __init__(self, plug: Plug, stop: threading.Event, holder: str) -> None:
        self.plug = plug
        self.name = plug.name
        self.joined: Joined = plug.join(sleep=self._nap)
        self.rounds = 0
        self.succeeded: dict[tuple[Side, str], datetime] = {}
        self._stop = stop
        self._spending = Spending(self.joined)
        self._spare = Spare(plug.ledger, self._spending, now)
        self._holder = holder
        self._due = Work()
        self._started = now()
        self._named: dict[Ref, datetime] = {}
        self._wake = threading.Condition()
        self.thread = threading.Thread(target=self._run, name=f"connection {plug.name}")

    def streams(self) -> list[tuple[Side, Stream]]:
        return [(side, stream) for side, can in self.plug.capabilities.items() for stream in can.streams]

    def ages(self, at: datetime) -> dict[tuple[Side, str], float | None]:
        """Seconds since the last successful read of each stream, None before the first."""
        done = dict(self.succeeded)
        return {
            (side, stream.name): (at - done[side, stream.name]).total_seconds() if (side, stream.name) in done else None
            for side, stream in self.streams()
        }

    def read(self, side: Side, stream: str) -> None:
        """The schedule says: read this stream."""
        with self._wake:
            self._due.streams.add((side, stream))
            self._wake.notify()

    def look_at(self, refs: Sequence[Ref]) -> bool:
        """A webhook says: look at these. False when too many are waiting already."""
        with self._wake:
            if len(self._due.refs) + len(refs) > QUEUE:
                return False
            self._due.refs.update(dict.fromkeys(refs))
            self._wake.notify()
            return True

    def wake(self) -> None:
        with self._wake:
            self._wake.notify()

    def _nap(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _run(self) -> None:
        """A connection that fails is tried again and again; the others do not notice."""
        try:
            while not self._stop.is_set():
                try:
                    with held_lease(self.plug.ledger, self._holder):
                        self._work()
                except Stopped:
                    return
                except LeaseTaken:
                    # A second daemon on the same store stands by; it goes on where the first one ends.
                    log.info("another process works on it", connection=self.name)
                    self._stop.wait(RETRY)
                except ConnectorError as error:
                    self._failed(error)
                except Exception as error:
                    # A fault of ours in one connection must not end the others. Its message may quote a record, so the
                    # log gets the type and the places only.
                    places = [f"{one.filename}:{one.lineno} {one.name}" for one in extract_tb(error.__traceback__)]
                    log.error("fault", connection=self.name, error=type(error).__name__, at=places)
                    self._failed(
                        ConnectorError(f"A fault in the program: {type(error).__name__}.", "Report it with the log.")
                    )
        finally:
            self.joined.close()

    def _failed(self, error: ConnectorError) -> None:
        code = getattr(error, "code", type(error).__name__)
        log.warning("connection failed", connection=self.name, error=type(error).__name__, code=code)
        self._note(lambda: self.plug.ledger.problem("running", code, error.message, error.way_out))
        self._stop.wait(RETRY)

    def _work(self) -> None:
        """From a good start to the stop, or to the first error that a round does not handle itself."""
        self._spending.begin()
        engine = self.joined.engine(progress=self._spending.limited(stoppable(self._stop)), sleep=self._nap)
        accounts = engine.prepare()
        log.info("connected", connection=self.name, **{side.value: account.id for side, account in accounts.items()})
        self.plug.ledger.listen(self._started if self.plug.config.platform.webhook_secret else None)
        started = now()
        while not self._stop.is_set() and now() - started < USERS:
            due = self._take(engine)
            if self._stop.is_set():
                return
            self._turn(engine, due)
            if due.is_nothing and self._spare.is_due():
                self._spare.piece(engine)
            self.plug.ledger.solved("running")

    def _take(self, engine: Engine) -> Work:
        """Wait until something is due: a stream, a hint, an intent that waited for its time, or a piece of the past."""
        past = self._spare.is_due()
        with self._wake:
            if self._due.is_nothing and not past:
                self._wake.wait(self._until_due(engine.next_due()))
            due, self._due = self._due, Work()
        return due

    @staticmethod
    def _until_due(due: datetime | None) -> float:
        return RETRY if due is None else min(RETRY, max(0.5, (due - now()).total_seconds()))

    def _turn(self, engine: Engine, due: Work) -> None:
        """Look at what is due, then write until nothing is left to write."""
        self._hear(due.refs)
        if self._over_budget():
            return
        engine.begin()
        report = Report()
        try:
            if due.refs:
                self._look(engine, list(due.refs))
            moved = not due.streams
            for stream in sorted(due.streams):
                trouble = len(report.trouble)
                moved |= bool(engine.round([stream], report))
                if len(report.trouble) == trouble:
                    self.succeeded[stream] = now()
            while moved and report.rounds < ROUNDS and not report.trouble:
                moved = bool(engine.round([], report))
        finally:
            self.rounds += report.rounds
            self._note(self.joined.count)
        for error in report.trouble:
            log.warning("round cut short", connection=self.name, error=type(error).__name__, code=error.code)
        if report.news or report.planned:
            log.info("round", connection=self.name, news=report.news, planned=report.planned, failed=report.failed)

    def _hear(self, refs: Collection[Ref]) -> None:
        """Webhooks named these. They are remembered for a while: where a record cannot be looked at now, a later read brings
        it, and its webhook was not lost."""
        at = now()
        lately = {ref: when for ref, when in self._named.items() if when > at - PATIENCE}
        self._named = lately | dict.fromkeys(refs, at)
        self.plug.ledger.announced(self._named)
        self.plug.ledger.give_up_waiting()

    def _look(self, engine: Engine, refs: Sequence[Ref]) -> None:
        try:
            engine.look_at(refs, Side.PLATFORM)
            self.plug.ledger.solved("webhooks")
        except RemoteError as error:
            # Nothing is lost: the next poll of the stream finds what the hint spoke of.
            self.plug.ledger.problem("webhooks", error.code, error.message, error.way_out)

    def _over_budget(self) -> bool:
        """Whether the day's share of CRM calls is spent; then nothing is read or written for a while."""
        try:
            self._spending.begin()
            self._spending.check()
        except AllowanceSpent as error:
            self.plug.ledger.problem("allowance", error.code, error.message, error.way_out)
            self._stop.wait(RETRY)
            return True
        self.plug.ledger.solved("allowance")
        return False

    def _note(self, write: Callable[[], None]) -> None:
        """Notes for people, which must not hide the error that led here when the store is what is broken."""
        try:
            write()
        except ConnectorError as error:
            log.error("the store takes no notes", connection=self.name, error=type(error).__name__)
