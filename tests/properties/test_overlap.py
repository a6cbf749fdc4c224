"""While a call is under way the next one is made ready, and no more than that."""

from contextlib import suppress
from typing import Any

import pytest
from memory_world import Clock, Worlds
from scenarios import customer, known

from connector.errors import Transient
from connector.model import OPEN_INTENTS, IntentState
from connector.service.stopping import Stopped
from connector.store.store import Ledger, Store
from connector.sync.report import Report

MESSAGES = 10


class Noting:
    """An adapter that notes at each write how many intents are marked as being sent, and of how many rows the write is."""

    def __init__(self, adapter: Any, store: Store, notes: list[tuple[int, int]]) -> None:
        self._adapter, self._store, self._notes = adapter, store, notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def upsert(self, writes: Any) -> Any:
        flying = [one for one in self._store.at("overlap").in_flight() if one.state is IntentState.SENDING]
        self._notes.append((len(flying), len(writes)))
        return self._adapter.upsert(writes)


def test_only_what_is_sent_and_the_call_before_it_are_marked_as_being_sent(store: Store, clock: Clock) -> None:
    notes: list[tuple[int, int]] = []
    worlds = Worlds(store, "overlap", clock, wired=lambda adapter: Noting(adapter, store, notes))
    customer(worlds)(MESSAGES)
    worlds.engine.sync()
    assert sum(rows for _, rows in notes) >= MESSAGES
    before = 0
    for marked, rows in notes:
        assert marked in (rows, rows + before)
        before = rows
    # A batch of messages is ready before the one before it is settled, so that the CRM does not wait for us.
    assert any(marked > rows for marked, rows in notes)


class Losing:
    """An adapter that says nothing of the second write."""

    def __init__(self, adapter: Any) -> None:
        self._adapter, self.writes = adapter, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def upsert(self, writes: Any) -> Any:
        self.writes += 1
        if self.writes == 2:
            raise Transient("crm", "lost", "no answer", certain=False)
        return self._adapter.upsert(writes)


@pytest.mark.parametrize("error", [Stopped(), Transient("crm", "502", "its allowance cannot be asked for")])
def test_a_call_whose_answer_is_lost_while_something_else_goes_wrong_is_noted_as_doubtful(
    store: Store, clock: Clock, error: Exception
) -> None:
    """Left as being sent, it would be taken for that of a process which died long ago, and sent again at once."""
    losing: list[Losing] = []

    def wired(adapter: Any) -> Any:
        losing.append(Losing(adapter))
        return losing[-1]

    def told(what: str, _count: int) -> None:
        if what == "written" and any(one.writes == 2 for one in losing):
            raise error

    worlds = Worlds(store, f"overlap {type(error).__name__}", clock, wired=wired)
    write = known(worlds)
    write(MESSAGES)
    for one in losing:
        one.writes = 0
    worlds.engine._progress = worlds.engine._outbox._progress = told
    worlds.engine.begin()
    streams = [(side, stream.name) for side, stream in worlds.engine.streams()]
    with suppress(Stopped):
        worlds.engine.round(streams, Report())
    flying = worlds.ledger.in_flight()
    assert flying
    assert {one.state for one in flying} == {IntentState.IN_DOUBT}


class Waiting:
    """An adapter that notes at each write how many writes are decided and not done."""

    def __init__(self, adapter: Any, ledger: Ledger, waiting: list[int]) -> None:
        self._adapter, self._ledger, self._waiting = adapter, ledger, waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def upsert(self, writes: Any) -> Any:
        intents = [intent for page in self._ledger.all_intents() for intent, _ in page]
        self._waiting.append(sum(intent.state in OPEN_INTENTS for intent in intents))
        return self._adapter.upsert(writes)


@pytest.mark.parametrize(("allowance", "first"), [(None, 3), (15_000, MESSAGES)])
def test_a_crm_that_counts_no_calls_waits_only_for_the_plan_of_what_its_first_call_carries(
    store: Store, clock: Clock, allowance: int | None, first: int
) -> None:
    waiting: list[int] = []
    name = f"overlap, allowance {allowance}"
    worlds = Worlds(store, name, clock, wired=lambda adapter: Waiting(adapter, store.at(name), waiting))
    worlds.crm.allowance = allowance
    write = known(worlds)
    write(MESSAGES)
    waiting.clear()
    worlds.engine.sync()
    # With the write of the conversation, which shows how many messages there are.
    assert waiting[0] == first + 1
