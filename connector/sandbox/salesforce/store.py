"""The org's rows: a working copy in memory with indexes, written through to one SQLite file.

A stored row is never changed in place: a write puts a new dict. So a query that keeps row objects for its later pages
has a snapshot for free, and an undone write is only the old object put back.
"""

import json
import sqlite3
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.sandbox.salesforce import ids
from connector.sandbox.salesforce.schema import Field, Schema, SObject

Row = dict[str, Any]  # field name -> value; a field without a value has no key


_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS record (id TEXT PRIMARY KEY, object TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


def index_key(indexed: Field, value: Any) -> Any:
    """Texts match without regard to case unless the field is case-sensitive; ids and numbers match exactly."""
    if isinstance(value, str) and not indexed.case_sensitive and indexed.type not in ("reference", "id"):
        return value.casefold()
    return value


@dataclass(slots=True)
class Table:
    """The rows of one object, deleted ones included."""

    sobject: SObject
    rows: dict[str, Row] = field(default_factory=dict)
    indexed: dict[str, Field] = field(default_factory=dict)
    index: dict[str, dict[Any, dict[str, None]]] = field(default_factory=dict)
    stamps: list[tuple[str, str]] = field(default_factory=list)
    # Rows of transactions that have not committed yet: id -> (second they become visible, row readers see until then).
    uncommitted: dict[str, tuple[float, Row | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.indexed = {f.name: f for f in self.sobject.fields.values() if f.indexed}
        self.index = {name: {} for name in self.indexed}

    def put(self, key: str, row: Row | None) -> None:
        """Replace the row with this id, or remove it."""
        old = self.rows.get(key)
        for name, indexed in self.indexed.items():
            before, after = (old or {}).get(name), (row or {}).get(name)
            if before == after:
                continue
            if before is not None:
                bucket = self.index[name][index_key(indexed, before)]
                del bucket[key]
                if not bucket:
                    del self.index[name][index_key(indexed, before)]
            if after is not None:
                self.index[name].setdefault(index_key(indexed, after), {})[key] = None
        if old is not None and (row is None or old["SystemModstamp"] != row["SystemModstamp"]):
            del self.stamps[bisect_left(self.stamps, (old["SystemModstamp"], key))]
            old = None
        if row is None:
            self.rows.pop(key, None)
            return
        if old is None:
            insort(self.stamps, (row["SystemModstamp"], key))
        self.rows[key] = row

    def find(self, name: str, value: Any) -> list[Row]:
        """Rows whose indexed field has this value, oldest first, deleted ones included."""
        bucket = self.index[name].get(index_key(self.indexed[name], value), {})
        return [self.rows[key] for key in sorted(bucket)]

    def live(self, name: str, value: Any) -> list[Row]:
        """Like `find`, without the recycle bin."""
        return [row for row in self.find(name, value) if not row.get("IsDeleted")]

    def seen(self, key: str, now: float) -> Row | None:
        """The row as readers see it at this second."""
        if key in self.uncommitted:
            visible_at, before = self.uncommitted[key]
            if now < visible_at:
                return before
            del self.uncommitted[key]
        return self.rows.get(key)

    def scan(self, now: float) -> Iterator[Row]:
        """Every row as readers see it at this second."""
        if not self.uncommitted:
            yield from self.rows.values()
            return
        for key in list(self.rows):
            row = self.seen(key, now)
            if row is not None:
                yield row


class StateError(Exception):
    """The state in the file cannot be used; the text says why and what to do."""


class Store:
    """All tables. Writes are collected and reach the file with `flush`, or are taken back with `rollback`.

    The file belongs to one process: a second one would not see what the first has in memory. Raises StateError.
    """

    def __init__(self, schema: Schema, path: Path) -> None:
        self.tables = {o.name: Table(o) for o in schema}
        self._prefixes = {o.prefix: o.name for o in schema}
        self._undo: list[tuple[Table, str, Row | None, tuple[float, Row | None] | None]] = []
        self._dirty: dict[str, str] = {}
        self._state: dict[str, Any] = {}
        self._dirty_state: set[str] = set()
        path.touch(mode=0o600)  # it holds access tokens
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=2)
        self._load(path)

    def _load(self, path: Path) -> None:
        try:
            self._db.executescript(_SCHEMA)
            for key, name, body in self._db.execute("SELECT id, object, body FROM record ORDER BY id"):
                if name not in self.tables:
                    raise StateError(f"{path} holds {name} records, which the schema does not have: use another --dir")
                self.tables[name].put(key, json.loads(body))
            self._state = {name: json.loads(body) for name, body in self._db.execute("SELECT name, body FROM state")}
        except sqlite3.OperationalError as error:
            raise StateError(f"{path}: {error}: does another sandbox run in this folder?") from error

    def table_of(self, key: str) -> Table | None:
        """The table a record id belongs to by its prefix."""
        name = self._prefixes.get(key[:3])
        return self.tables[name] if name else None

    def new_id(self, sobject: SObject) -> tuple[str, int]:
        """The next id of the object and its number; numbers are never used twice."""
        number = self.state(f"number:{sobject.prefix}", 0) + 1
        self.set_state(f"number:{sobject.prefix}", number)
        return ids.make(sobject.prefix, number), number

    def put(self, table: Table, key: str, row: Row | None, *, visible_at: float | None = None) -> None:
        """Write one row. With `visible_at`, readers keep seeing the former row until that second."""
        hidden = table.uncommitted.get(key)
        before = table.rows.get(key)
        self._undo.append((table, key, before, hidden))
        if visible_at is not None:
            table.uncommitted[key] = (visible_at, hidden[1] if hidden else before)
        table.put(key, row)
        self._dirty[key] = table.sobject.name

    def mark(self) -> int:
        """A point that `rollback` can return to."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        while len(self._undo) > mark:
            table, key, row, hidden = self._undo.pop()
            table.put(key, row)
            if hidden is None:
                table.uncommitted.pop(key, None)
            else:
                table.uncommitted[key] = hidden

    def state(self, name: str, default: Any) -> Any:
        return self._state.get(name, default)

    def set_state(self, name: str, value: Any) -> None:
        self._state[name] = value
        self._dirty_state.add(name)

    def flush(self) -> None:
        """Commit everything written since the last flush to the file."""
        self._undo.clear()
        if not self._dirty and not self._dirty_state:
            return
        kept, gone = [], []
        for key, name in self._dirty.items():
            row = self.tables[name].rows.get(key)
            if row is None:
                gone.append((key,))
            else:
                kept.append((key, name, json.dumps(row, ensure_ascii=False, separators=(",", ":"))))
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", kept)
            self._db.executemany("DELETE FROM record WHERE id = ?", gone)
            self._db.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?)",
                [(name, json.dumps(self._state[name])) for name in sorted(self._dirty_state)],
            )
        self._dirty.clear()
        self._dirty_state.clear()

    def close(self) -> None:
        self._db.close()
