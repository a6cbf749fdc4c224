"""The sandbox's state: tables in memory, written through to one SQLite file, with the look-ups the API needs.

Everything that reads or changes the world holds `lock`: a request thread and the network's thread may otherwise both
give the next message the same id, or an answer may show a conversation whose message is only half there.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from connector.sandbox.chatwoot import records as r

ACCOUNT_ID = 1
ACCOUNT_NAME = "Noordzee Fietsen"

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """A webhook waiting to be sent: its name, what it is about, and the changed attributes (None: none listed)."""

    name: str
    kind: str
    id: int
    changed: list[dict[str, Any]] | None = None


class Table(Generic[T]):
    """The rows of one kind by id. Ids rise and are never used twice."""

    def __init__(self, world: World, row_type: Callable[..., T], name: str) -> None:
        self.world, self.row_type, self.name = world, row_type, name
        self.rows: dict[int, T] = {}
        self.last_id = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows.values())

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, id: int | None) -> T | None:
        return None if id is None else self.rows.get(id)

    def new(self, **fields: Any) -> T:
        row = self.row_type(id=self.last_id + 1, **fields)
        self.save(row)
        return row

    def save(self, row: T) -> None:
        id: int = row.id  # type: ignore[attr-defined]
        if id not in self.rows:
            self.rows[id] = row
            self.last_id = max(self.last_id, id)
            self.world.index(row)
        self.world.dirty[(self.name, id)] = row

    def delete(self, row: T) -> None:
        id: int = row.id  # type: ignore[attr-defined]
        del self.rows[id]
        self.world.unindex(row)
        self.world.dirty[(self.name, id)] = None


class World:
    """All state of one sandbox account.

    `file` is the SQLite file (made when absent). Raises sqlite3.Error when it cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self.lock = threading.RLock()
        self.dirty: dict[tuple[str, int], Any] = {}
        self.events: list[Event] = []
        self.outbound: list[int] = []
        self.on_commit: Callable[[list[Event], list[int]], None] = lambda events, outbound: None
        self.conversation_messages: dict[int, list[int]] = defaultdict(list)
        self.contact_conversations: dict[int, list[int]] = defaultdict(list)
        self.contact_inboxes_of: dict[int, list[int]] = defaultdict(list)
        self.by_source: dict[tuple[int, str], int] = {}

        self.settings = Table(self, r.Setting, "setting")
        self.inboxes = Table(self, r.Inbox, "inbox")
        self.agents = Table(self, r.Agent, "agent")
        self.teams = Table(self, r.Team, "team")
        self.labels = Table(self, r.Label, "label")
        self.contacts = Table(self, r.Contact, "contact")
        self.contact_inboxes = Table(self, r.ContactInbox, "contact_inbox")
        self.conversations = Table(self, r.Conversation, "conversation")
        self.messages = Table(self, r.Message, "message")
        self.notes = Table(self, r.Note, "note")
        self.webhooks = Table(self, r.Webhook, "webhook")
        self.definitions = Table(self, r.Definition, "definition")
        self.network = Table(self, r.Delivered, "delivered")
        self.tables: dict[str, Table[Any]] = {t.name: t for t in vars(self).values() if isinstance(t, Table)}

        self.db = sqlite3.connect(file, check_same_thread=False, timeout=1)
        # Two processes on one file would each go on from their own memory and hand out the same ids.
        self.db.execute("PRAGMA locking_mode=EXCLUSIVE")
        # A crash of the process loses nothing with NORMAL; only a power cut may, and a sandbox can bear that.
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS rows (kind TEXT, id INTEGER, data TEXT, PRIMARY KEY (kind, id))")
        self.db.execute("CREATE TABLE IF NOT EXISTS last_ids (kind TEXT PRIMARY KEY, id INTEGER)")
        self.db.commit()
        self._load()

    def _load(self) -> None:
        for kind, data in self.db.execute("SELECT kind, data FROM rows ORDER BY kind, id").fetchall():
            table = self.tables[kind]
            table.save(table.row_type(**json.loads(data)))
        for kind, last_id in self.db.execute("SELECT kind, id FROM last_ids"):
            self.tables[kind].last_id = last_id
        self.dirty.clear()

    def commit(self) -> None:
        """Write the changed rows in one transaction, then hand out the webhooks and deliveries they caused."""
        if self.dirty:
            kept = [(k, i, json.dumps(vars(row))) for (k, i), row in self.dirty.items() if row is not None]
            gone = [key for key, row in self.dirty.items() if row is None]
            with self.db:
                self.db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", kept)
                self.db.executemany("DELETE FROM rows WHERE kind = ? AND id = ?", gone)
                self.db.executemany(
                    "INSERT OR REPLACE INTO last_ids VALUES (?, ?)",
                    [(kind, self.tables[kind].last_id) for kind in {kind for kind, _ in self.dirty}],
                )
            self.dirty.clear()
        events, outbound = self.events, self.outbound
        self.events, self.outbound = [], []
        if events or outbound:
            self.on_commit(events, outbound)

    def rollback(self) -> None:
        """Forget what a refused request changed: a refusal has no side effects."""
        if self.dirty:
            for table in self.tables.values():
                table.rows.clear()
                table.last_id = 0
            for found in (self.conversation_messages, self.contact_conversations, self.contact_inboxes_of):
                found.clear()
            self.by_source.clear()
            self._load()
        self.events, self.outbound = [], []

    def close(self) -> None:
        with self.lock:
            self.db.close()

    def index(self, row: Any) -> None:
        if isinstance(row, r.Message):
            self.conversation_messages[row.conversation_id].append(row.id)
        elif isinstance(row, r.Conversation):
            self.contact_conversations[row.contact_id].append(row.id)
        elif isinstance(row, r.ContactInbox):
            self.contact_inboxes_of[row.contact_id].append(row.id)
            self.by_source[(row.inbox_id, row.source_id)] = row.id

    def unindex(self, row: Any) -> None:
        if isinstance(row, r.Message):
            self.conversation_messages[row.conversation_id].remove(row.id)
        elif isinstance(row, r.Conversation):
            self.contact_conversations[row.contact_id].remove(row.id)
        elif isinstance(row, r.ContactInbox):
            self.contact_inboxes_of[row.contact_id].remove(row.id)
            self.by_source.pop((row.inbox_id, row.source_id), None)

    def move(self, row: r.Conversation | r.ContactInbox, contact_id: int) -> None:
        """Give a conversation or network identity to another contact."""
        owned = self.contact_conversations if isinstance(row, r.Conversation) else self.contact_inboxes_of
        owned[row.contact_id].remove(row.id)
        row.contact_id = contact_id
        owned[contact_id].append(row.id)
        self.tables["conversation" if isinstance(row, r.Conversation) else "contact_inbox"].save(row)

    def setting(self, name: str, default: Any = None) -> Any:
        return next((s.value for s in self.settings if s.name == name), default)

    def set(self, name: str, value: Any) -> None:
        row = next((s for s in self.settings if s.name == name), None)
        if row is None:
            self.settings.new(name=name, value=value)
        else:
            row.value = value
            self.settings.save(row)

    def now(self) -> float:
        """Unix seconds: the real clock plus the offset set through the control endpoint."""
        return time.time() + float(self.setting("clock_offset", 0.0))

    def emit(self, name: str, kind: str, id: int, changed: list[dict[str, Any]] | None = None) -> None:
        self.events.append(Event(name, kind, id, changed))

    def messages_of(self, conversation_id: int) -> list[r.Message]:
        return [self.messages.rows[i] for i in self.conversation_messages[conversation_id]]

    def identities_of(self, contact_id: int) -> list[r.ContactInbox]:
        return [self.contact_inboxes.rows[i] for i in self.contact_inboxes_of[contact_id]]

    def identity(self, inbox_id: int, source_id: str) -> r.ContactInbox | None:
        return self.contact_inboxes.get(self.by_source.get((inbox_id, source_id)))
