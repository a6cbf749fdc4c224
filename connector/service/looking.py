"""One connection of a worker: a look does the turn that the store says is due, wherever the last one was done.

The task queue says "look at this connection" and nothing else. What there is to do, and when to look again, stands in the store.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from starlette.concurrency import run_in_threadpool

from connector.adapters.base import Adapter
from connector.app import LeaseTaken, Plug, held_lease, now
from connector.model import Hint, Ref, Side
from connector.service.scheduling import due
from connector.service.stopping import Stopped
from connector.service.turns import RETRY, Turns, Work, failed, note
from connector.sync.report import Report

TAKEN = timedelta(seconds=5)
"""Until a connection is looked at again that another process held: its lease ends soon after its death."""

log = structlog.get_logger("connector.looking")


class Looker:
    """`every` is the interval of each stream; `wake` puts the connection into the queue, from any thread."""

    def __init__(
        self,
        plug: Plug,
        stop: threading.Event,
        holder: str,
        every: Mapping[tuple[Side, str], timedelta],
        wake: Callable[[str], None],
    ) -> None:
        self.plug = plug
        self.alive = True
        self._stop = stop
        self._holder = holder
        self._every = every
        self._wake = wake
        self._mouth = plug.store.at(plug.name)
        self._ear: Adapter | None = None
        self._turns: Turns | None = None
        self._one = threading.Lock()

    @property
    def rounds(self) -> int:
        """Of this process."""
        return self._turns.rounds if self._turns else 0

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        """What a webhook names. Raises RemoteError."""
        assert self._ear, "a process that does not listen is asked about a webhook"
        return self._ear.hints(headers, body)

    async def look_at(self, refs: Sequence[Ref]) -> bool:
        """A webhook says: look at these. False when too many are waiting already."""
        taken = await run_in_threadpool(self._mouth.hint, refs)
        if taken:
            self._wake(self.plug.name)
        return taken

    def listen(self, since: datetime) -> None:
        """This process takes webhooks from now on."""
        self._ear = self.plug.platform()
        if self.plug.config.platform.webhook_secret:
            self._mouth.listen(since)

    def look(self) -> None:
        """The turn that is due, if nobody else is at it. Never raises: the queue can do nothing about an error.

        Two actors: a worker is paused until the queue believes it dead, and gives its task to another thread of the same
        process; the lease, which knows processes, would let both in.
        """
        if not self._one.acquire(blocking=False):
            return
        try:
            with held_lease(self.plug.ledger, self._holder):
                self._look()
        except Stopped:
            return
        except LeaseTaken:
            log.info("another process works on it", connection=self.plug.name)
            note(self.plug, lambda: self._mouth.come_back(now() + TAKEN, resting=True))
        except Exception as error:
            failed(self.plug, error)
            note(self.plug, lambda: self._mouth.come_back(now() + RETRY, resting=True))
        finally:
            self._one.release()

    def close(self) -> None:
        for one in (self._turns, self._ear):
            if one:
                one.close()

    def _ready(self) -> Turns:
        if self._turns is None:
            self._turns = Turns(self.plug, self._stop)
        return self._turns

    def _look(self) -> None:
        turns, ledger = self._ready(), self.plug.ledger
        if turns.rests():
            ledger.come_back(now() + RETRY, resting=True)
            return
        if self.plug.config.platform.webhook_secret:
            ledger.listen_elsewhere()
        self._come_back(turns, turns.turn(Work(self._due(), ledger.hints())))

    def _due(self) -> set[tuple[Side, str]]:
        return set(due(self._every, self.plug.ledger.reads(), now()))

    def _come_back(self, turns: Turns, report: Report | None) -> None:
        """When a stream is due again, or a write that waits; soon in any case, because a person may have asked for something
        (settled a hold, allowed a write, wants a backfill). After trouble a little later, so that it is not made worse;
        hints that are put off must not bring it back at once either."""
        if report is None or report.trouble:
            self.plug.ledger.come_back(now() + RETRY, resting=True)
            return
        if turns.spare.is_due():
            self.plug.ledger.come_back(now())
            return
        reads = self.plug.ledger.reads()
        times = [reads[stream] + every for stream, every in self._every.items() if stream in reads]
        waiting = turns.next_due()
        at = min([*times, *([waiting] if waiting else []), now() + RETRY])
        self.plug.ledger.come_back(at, resting=turns.puts_off)
