"""While a call is under way the next one is made ready, and no more than that."""

from typing import Any

from memory_world import Clock, Worlds

from connector.model import IntentState
from connector.store.store import Store

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
