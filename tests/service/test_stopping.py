"""A signal asks, and the run ends at the next safe point."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from connector.service.crew import Member
from connector.service.stopping import Stopped, stop_signals, stoppable


def test_progress_is_passed_on_and_the_run_ends_once_somebody_asked():
    stop, seen = threading.Event(), []
    report = stoppable(stop, lambda what, count: seen.append((what, count)))
    report("read chatwoot", 3)
    stop.set()
    with pytest.raises(Stopped):
        report("written", 2)
    assert seen == [("read chatwoot", 3), ("written", 2)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_once_and_the_handlers_come_back(number):
    before, stop = signal.getsignal(number), threading.Event()
    with stop_signals(stop.set):
        os.kill(os.getpid(), number)
        assert stop.wait(30)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once():
    stop = threading.Event()

    def impatient() -> None:
        with stop_signals(stop.set):
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(30)
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(30)

    with pytest.raises(KeyboardInterrupt):
        impatient()


def test_a_worker_that_is_told_to_stop_before_it_runs_ends_at_once():
    database = SimpleNamespace(queue=lambda: "postgresql://nobody@127.0.0.1:9/nothing")
    config = SimpleNamespace(schedule={}, place=None)
    member = Member(SimpleNamespace(config=config, store=database), [], "tests", serves=False)
    member.stop()
    member.run(lambda _url: pytest.fail("it began to work"))
