"""How long a backfill takes: the time of the clock, live traffic between its pieces included."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from connector.adapters.memory import PLATFORM_OBJECTS, MemoryAdapter, MemorySystem, memory_object
from connector.app import Joined
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import Kind, Side
from connector.service import backfilling
from connector.service.spending import Spending
from connector.store.store import Store
from connector.sync.engine import Engine
from connector.sync.history import HISTORY

MAPPING = Path(__file__).parents[1] / "properties" / "mapping.yaml"
LIVE, PAST = timedelta(seconds=20), timedelta(seconds=50)
"""What a read of a live stream takes, and one of a slice of the past."""
MINUTE = timedelta(minutes=1)


class Machine:
    """A store and two systems that take their time, with nothing in them."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.reads = {"org": 0, "chat": 0}
        self.oldest: datetime | None = None
        self.store = Store.open("sqlite://", clock=self.clock)
        chat = MemorySystem("chat", self.clock, dict(PLATFORM_OBJECTS))
        org = MemorySystem("org", self.clock, {"Contact": memory_object("Contact", Kind.PERSON, ["Name"])})
        platform, crm = Slow(self, chat, Side.PLATFORM), Slow(self, org, Side.CRM)
        ledger = self.store.at("main")
        plug = SimpleNamespace(
            ledger=ledger, config=SimpleNamespace(crm=SimpleNamespace(type="org"), crm_daily_share=0.5)
        )
        mapping = compile_mapping(load_mapping(MAPPING), Context(connection="main"))
        self.engine = Engine("main", ledger, platform, crm, mapping, clock=self.clock)
        self.spending = Spending(Joined(plug, platform, crm))

    def clock(self) -> datetime:
        return self.now


class Slow(MemoryAdapter):
    def __init__(self, machine: Machine, system: MemorySystem, side: Side) -> None:
        super().__init__(system, side)
        self.machine = machine

    def pull(self, stream, window):
        if window.sent.end is None:
            self.machine.reads[self.system] += 1
            self.machine.now += LIVE
        else:
            self.machine.now += PAST
        for page in super().pull(stream, window):
            yield replace(page, oldest=self.machine.oldest if window.sent.end else None)


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.store.close()


def dig(machine: Machine, months: int, every: timedelta) -> list[backfilling.Standing]:
    ledger, told = machine.engine.ledger, []
    ledger.remember(HISTORY, machine.now.isoformat())
    machine.engine.prepare()
    backfilling.ask(ledger, machine.now - months * timedelta(days=30), None, oldest_first=False)
    intervals = {(side, stream.name): every for side, stream in machine.engine.streams()}
    backfilling.bring_in(machine.engine, machine.spending, intervals, machine.clock, told.append)
    return told


def test_the_pace_of_a_backfill_is_that_of_the_clock_from_its_first_piece_on(machine):
    begun = machine.now
    told = dig(machine, 6, MINUTE)
    catching_up = 2 * LIVE
    assert told[-1].seconds == (machine.now - begun - catching_up).total_seconds()
    assert told[-1].seconds > 6 * PAST.total_seconds()
    assert told[2].seconds_left == told[2].seconds


def test_time_before_the_platform_s_oldest_message_is_not_reckoned_with(machine):
    machine.oldest = machine.now - timedelta(days=180)
    told = dig(machine, 60, MINUTE)
    assert told[2].part == 0.5
    assert told[2].seconds_left == told[2].seconds
    assert [one.seconds_left for one in told[5:-1]] == [None] * 54, "there is no telling: all that was expected is in"
    assert told[-1].seconds_left == 0


def test_live_streams_are_read_as_often_as_the_schedule_says(machine):
    dig(machine, 6, timedelta(days=1))
    assert machine.reads == {"org": 1, "chat": 1}


def test_a_stream_that_is_due_is_read_before_the_next_piece(machine):
    dig(machine, 6, MINUTE)
    assert machine.reads["org"] > 1
