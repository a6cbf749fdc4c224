"""Stopping between two calls: the engine reports its progress only where everything done so far is stored."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from connector.sync.engine import Progress


class Stopped(Exception):
    """Raised out of the engine at a safe point, after somebody asked it to stop."""


def stoppable(stop: threading.Event, progress: Progress = lambda _what, _count: None) -> Progress:
    """A progress callback that ends the run once `stop` is set. The call under way has been settled by then, what is
    journaled is carried out by the next run."""

    def report(what: str, count: int) -> None:
        progress(what, count)
        if stop.is_set():
            raise Stopped

    return report


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` once; a second SIGINT interrupts at once. Main thread only."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # The handler interrupts the main thread wherever it is, maybe inside the very event that `stop` sets, whose lock
        # it then holds: setting it here would wait for itself for ever.
        threading.Thread(target=stop, name="stop").start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
