"""While a call is under way the next one is made ready, and no more than that."""

from contextlib import suppress
from typing import Any

import pytest
from memory_world import Clock, Worlds

from connector.errors import Transient
from connector.model import IntentState
from connector.service.stopping import Stopped
from connector.store.store import Store
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
    person = worlds.platform.add("person", {"name": "Ann", "phone": "+31612345678"})
    conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
    for number in range(MESSAGES):
        fields = {"direction": "inbound", "text": f"No. {number}", "sent_at": "2026-03-02T09:00:00Z"}
        worlds.platform.add("message", fields, parent=conversation)
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
    person = worlds.platform.add("person", {"name": "Ann", "phone": "+31612345678"})
    conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
    fields = {"direction": "inbound", "text": "The first", "sent_at": "2026-03-02T09:00:00Z"}
    worlds.platform.add("message", fields, parent=conversation)
    worlds.engine.sync()
    for number in range(MESSAGES):
        worlds.platform.add("message", {**fields, "text": f"No. {number}"}, parent=conversation)
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
