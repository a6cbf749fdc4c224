"""One connection of the daemon: a thread that takes its turns, and what is due.

Due streams come in from the schedule; what webhooks name stands in the store until a turn has looked at it.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from starlette.concurrency import run_in_threadpool

from connector.app import LeaseTaken, Plug, held_lease, now
from connector.model import Hint, Ref, Side
from connector.service.stopping import Stopped
from connector.service.turns import RETRY, Turns, Work, failed

SHORT = timedelta(milliseconds=500)
"""At least so long between two turns that nobody asked for."""

log = structlog.get_logger("connector.worker")


class Worker:
    """Runs one connection until `stop` is set. `stop` is shared by all workers."""

    def __init__(self, plug: Plug, stop: threading.Event, holder: str) -> None:
        self.plug = plug
        self.turns = Turns(plug, stop)
        self._stop = stop
        self._holder = holder
        self._mouth = plug.store.at(plug.name)
        self._due: set[tuple[Side, str]] = set()
        self._named = True
        self._started = now()
        self._wake = threading.Condition()
        self.thread = threading.Thread(target=self._run, name=f"connection {plug.name}")

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    @property
    def rounds(self) -> int:
        """Of this process."""
        return self.turns.rounds

    def read(self, side: Side, stream: str) -> None:
        """The schedule says: read this stream."""
        with self._wake:
            self._due.add((side, stream))
            self._wake.notify()

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        """What a webhook names. Raises RemoteError."""
        return self.turns.joined.platform.hints(headers, body)

    async def look_at(self, refs: Sequence[Ref]) -> bool:
        """A webhook says: look at these. False when too many are waiting already."""
        taken = await run_in_threadpool(self._mouth.hint, refs)
        if taken:
            with self._wake:
                self._named = True
                self._wake.notify()
        return taken

    def wake(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        """A connection that fails is tried again and again; the others do not notice."""
        try:
            while not self._stop.is_set():
                try:
                    if self.turns.rests():
                        self._stop.wait(RETRY.total_seconds())
                        continue
                    with held_lease(self.plug.ledger, self._holder):
                        self._work()
                except Stopped:
                    return
                except LeaseTaken:
                    # A second daemon on the same store stands by; it goes on where the first one ends.
                    log.info("another process works on it", connection=self.plug.name)
                    self._stop.wait(RETRY.total_seconds())
                except Exception as error:
                    failed(self.plug, error)
                    self._stop.wait(RETRY.total_seconds())
        finally:
            self.turns.close()

    def _work(self) -> None:
        """From a good start to the stop, or to the first error that a turn does not handle itself."""
        self.turns.engine()
        self.plug.ledger.listen(self._started if self.plug.config.platform.webhook_secret else None)
        while not self._stop.is_set():
            streams = self._take()
            if self._stop.is_set():
                return
            if not self._turn(Work(streams, self.plug.ledger.hints())):
                self._stop.wait(RETRY.total_seconds())

    def _turn(self, work: Work) -> bool:
        """Whether it was taken; if not, the streams are still due.

        Two actors: the CRM's calls of the day are spent, and a customer edits an old message. Only its webhook tells of that; were
        it forgotten because nothing could be read now, nobody would ever look.
        """
        taken = False
        try:
            taken = self.turns.turn(work) is not None
        finally:
            if not taken:
                with self._wake:
                    self._due |= work.streams
        return taken

    def _take(self) -> set[tuple[Side, str]]:
        """Wait until something is due: a stream, a hint, an intent that waited for its time, or a piece of the past."""
        # Asked before `_wake` is taken: a webhook waits for that on the thread that answers all of them.
        past, until = self.turns.spare.is_due(), self._until(self.turns.next_due())
        with self._wake:
            if not (self._due or self._named or past):
                self._wake.wait(until)
            due, self._due, self._named = self._due, set(), False
        return due

    @staticmethod
    def _until(due: datetime | None) -> float:
        return RETRY.total_seconds() if due is None else min(RETRY, max(SHORT, due - now())).total_seconds()
