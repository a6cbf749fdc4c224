"""Counting the calls of a run against the budget of the account, which several processes share through the store."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from connector import app as wiring
from connector.adapters.memory import PLATFORM_OBJECTS, MemoryAdapter, MemorySystem, memory_object
from connector.app import Joined
from connector.errors import AllowanceSpent
from connector.model import Kind, Side
from connector.service import spending as module
from connector.service.budget import LOOK_AGAIN
from connector.service.spending import REREAD, Spending
from connector.store.store import Store

CONFIG = SimpleNamespace(crm=SimpleNamespace(type="org"), crm_daily_share=0.5)


class Machine:
    """A store, an org of 1,000 calls a day, and processes at work on connections of it."""

    def __init__(self, monkeypatch) -> None:
        self.now = wiring.now()
        monkeypatch.setattr(wiring, "now", lambda: self.now)
        monkeypatch.setattr(module, "now", lambda: self.now)
        self.store = Store.open("sqlite://", clock=lambda: self.now)
        self.org = MemorySystem(
            "org", lambda: self.now, {"Contact": memory_object("Contact", Kind.PERSON, ["LastName"])}, allowance=1000
        )
        self.chat = MemorySystem("chat", lambda: self.now, dict(PLATFORM_OBJECTS))

    def process(self, connection: str) -> tuple[Spending, MemoryAdapter]:
        ledger = self.store.at(connection)
        ledger.pin(f"chat/{connection}", "org/1", "abc")
        plug = SimpleNamespace(ledger=ledger, config=CONFIG)
        crm = MemoryAdapter(self.org, Side.CRM)
        return Spending(Joined(plug, MemoryAdapter(self.chat, Side.PLATFORM), crm)), crm


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(monkeypatch)
    yield machine
    machine.store.close()


def spend(crm: MemoryAdapter, calls: int) -> None:
    for _ in range(calls):
        crm.check()


def test_a_turn_begins_with_what_the_other_processes_of_the_account_have_spent(machine):
    (north, north_crm), (south, south_crm) = machine.process("north"), machine.process("south")
    south.begin()
    spend(north_crm, 500)
    north.begin()
    with pytest.raises(AllowanceSpent, match="500 calls were made in the last 24 hours"):
        north.check()
    south.check()
    south.begin()
    with pytest.raises(AllowanceSpent, match="500 of the 1000"):
        south.check()
    assert south_crm.calls == 0


def test_a_run_that_goes_on_rereads_what_others_spend(machine):
    (north, north_crm), (south, _) = machine.process("north"), machine.process("south")
    south.begin()
    report = south.limited(lambda _what, _count: None)
    spend(north_crm, 500)
    north.begin()
    report("written", 1)
    machine.now += REREAD
    with pytest.raises(AllowanceSpent):
        report("written", 1)


def test_the_calls_of_a_run_count_before_the_store_knows_them(machine):
    north, crm = machine.process("north")
    north.begin()
    spend(crm, 499)
    north.check()
    spend(crm, 1)
    with pytest.raises(AllowanceSpent):
        north.check()


def test_the_backfill_stops_at_half_of_the_share_and_live_traffic_goes_on(machine):
    north, crm = machine.process("north")
    north.begin()
    spend(crm, 249)
    assert north.backfill() is None
    spend(crm, 1)
    assert north.backfill().code == "share_spent"
    north.check()


def test_the_share_comes_back_a_day_after_it_was_used_and_not_at_midnight(machine):
    machine.now = machine.now.replace(hour=23, minute=50, second=0, microsecond=0)
    north, crm = machine.process("north")
    north.begin()
    spend(crm, 500)
    north.begin()
    machine.now += timedelta(minutes=20)
    north.begin()
    with pytest.raises(AllowanceSpent) as caught:
        north.check()
    assert north.budget.others == 0
    comes_back = machine.now.replace(hour=0, minute=0) + timedelta(days=1)
    assert f"{comes_back:%Y-%m-%d %H:%M}" in caught.value.way_out
    machine.org.used = 0
    machine.now = comes_back
    north.begin()
    north.check()
    assert north.budget.ours == 0


def test_when_others_used_the_allowance_up_the_crm_is_asked_again_now_and_then(machine):
    north, crm = machine.process("north")
    north.begin()
    machine.org.used = 960
    spend(crm, 1)
    north.begin()
    with pytest.raises(AllowanceSpent, match="all programs together"):
        north.check()
    machine.org.used = 400
    machine.now += timedelta(minutes=1)
    north.begin()
    with pytest.raises(AllowanceSpent):
        north.check()
    machine.now += LOOK_AGAIN
    north.begin()
    north.check()
    assert crm.calls == 2
