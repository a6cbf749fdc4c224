"""Copies a whole store into another, empty database, SQLite or PostgreSQL, and proves that both hold the same."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Table, func, inspect, literal, select, text
from sqlalchemy import table as named

from connector.errors import StoreError
from connector.store.database import connect, migrate, transaction
from connector.store.schema import leases, metadata

STAYS = {leases}
"""Who works on a store now says nothing of its copy."""

PAGE = 1000
"""Rows held at a time."""

Tell = Callable[[str, int, int], None]
"""Told of the progress: the table that is under way, the rows read so far, and all that will be read. Each is read three
times: to copy it, from the copy, and in the source once more."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a table holds: its rows, the SHA-256 of them all in the order of their keys (hex), and the highest number that it
    ever gave to a row (0 where it numbers none)."""

    rows: int
    digest: str
    numbered: int


def tables() -> list[Table]:
    """The tables that are copied, each after those that it refers to."""
    return [one for one in metadata.sorted_tables if one not in STAYS]


def copy(source: Engine, url: str, tell: Tell = lambda _table, _done, _of: None) -> dict[str, Contents]:
    """Fills the database at `url` with everything that `source` holds; answers what each table holds now, on both sides.

    One transaction there: a copy that is interrupted leaves empty tables. Raises StoreError, copying nothing, when the
    database is no place to move to, when there is nothing to copy, and when somebody wrote into `source` meanwhile.
    """
    target = connect(url)
    try:
        _must_be_another(source, target)
        with transaction(source, writes=False) as db:
            of = 3 * _count(db)
        # Before our tables are made there: a database of another program is left as it is.
        with transaction(target, writes=False) as db:
            _must_be_empty(db)
        migrate(target)
        read = _Read(tell, of)
        with _alone(target) as db:
            _must_be_empty(db)
            with transaction(source, writes=False) as origin:
                for one in tables():
                    _copy_table(origin, db, one, read)
            copied = {one.name: _contents(db, one, read) for one in tables()}
            _prove(source, copied, read)
        return copied
    finally:
        target.dispose()


class _Read:
    """Adds up the rows that were read."""

    def __init__(self, tell: Tell, of: int) -> None:
        self._tell, self._of, self._done = tell, of, 0

    def pages(self, db: Connection, one: Table) -> Iterator[Sequence[Mapping[Any, Any]]]:
        """All rows in the order of their keys, which is the same on both databases (`schema.Word`)."""
        query = select(one).order_by(*one.primary_key.columns)
        with db.execute(query, execution_options={"yield_per": PAGE}) as found:
            for page in found.mappings().partitions():
                self._done += len(page)
                self._tell(one.name, self._done, self._of)
                yield page


# ---- where a store may be copied to


def _must_be_another(source: Engine, target: Engine) -> None:
    here, there = source.url, target.url
    if there.get_backend_name() == "sqlite":
        if there.database in (None, "", ":memory:"):
            raise StoreError("A store in memory ends with the command that made it.", "Name a file: sqlite:///FILE.")
        same = here.get_backend_name() == "sqlite" and _file(here) == _file(there)
    else:
        same = here.set(password=None) == there.set(password=None)
    if same:
        raise StoreError("The store cannot be copied to itself.", "Name another, empty database.")


def _file(url: URL) -> Path:
    return Path(url.database or "").resolve()


def _count(db: Connection) -> int:
    rows = sum(db.scalar(select(func.count()).select_from(one)) or 0 for one in tables())
    if not rows:
        raise StoreError(
            "The store holds nothing that could be copied.",
            "Is it the right one? A new connector needs no copy: write the other database into the config.",
        )
    return rows


@contextmanager
def _alone(target: Engine) -> Iterator[Connection]:
    """A transaction beside which nobody else writes. SQLite has one writer at a time by itself."""
    with transaction(target, writes=True) as db:
        if db.dialect.name == "postgresql":
            # Two copies, or a copy and a daemon, begin on the same empty database: the second waits here, and finds it
            # filled.
            names = ", ".join(f'"{name}"' for name in metadata.tables)
            db.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
            # It waits while all rows of the source are read once more.
            db.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield db


def _must_be_empty(db: Connection) -> None:
    """Any table with a row counts, whoever made it, but that of the schema's version."""
    for name in inspect(db).get_table_names():
        if name != "alembic_version" and db.scalar(select(literal(1)).select_from(named(name)).limit(1)):
            raise StoreError(
                f"The database to copy to already holds something: its table {name} has rows.",
                "Name a new, empty database. Nothing was copied.",
            )


# ---- copying and comparing


def _copy_table(origin: Connection, db: Connection, one: Table, read: _Read) -> None:
    for page in read.pages(origin, one):
        db.execute(one.insert(), [dict(row) for row in page])
    _go_on_after(db, one, _numbered(origin, one))


def _contents(db: Connection, one: Table, read: _Read) -> Contents:
    digest, rows = hashlib.sha256(), 0
    for page in read.pages(db, one):
        rows += len(page)
        for row in page:
            digest.update(json.dumps(dict(row), sort_keys=True, default=str).encode() + b"\n")
    return Contents(rows, digest.hexdigest(), _numbered(db, one))


def _prove(source: Engine, copied: Mapping[str, Contents], read: _Read) -> None:
    # A person settles a hold while the store is copied, which needs no lease: her answer would stand in the source alone. So
    # the source is read once more, as it is at the end.
    with transaction(source, writes=False) as db:
        other = [one.name for one in tables() if _contents(db, one, read) != copied[one.name]]
    if other:
        raise StoreError(
            f"The copy is not what the store holds now, in {', '.join(other)}: somebody wrote into it meanwhile.",
            "Nothing was copied. Leave the store alone until the copy is done, and try again.",
        )


# ---- the numbers that a database gives to new rows


def _numbered(db: Connection, one: Table) -> int:
    """The highest number so far, 0 where none was given. A row that is gone has had one too, and somebody may have noted it."""
    column = one.autoincrement_column
    if column is None:
        return 0
    if db.dialect.name == "postgresql":
        sequence = db.scalar(select(_sequence(column)))
        given = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608
    else:
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :name").bindparams(name=one.name)
    return max(db.scalar(given) or 0, db.scalar(select(func.max(column))) or 0)


def _go_on_after(db: Connection, one: Table, number: int) -> None:
    column = one.autoincrement_column
    if column is None or not number:
        return
    if db.dialect.name == "postgresql":
        db.execute(select(func.setval(_sequence(column), number)))
        return
    db.execute(text("DELETE FROM sqlite_sequence WHERE name = :name").bindparams(name=one.name))
    db.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :number)").bindparams(name=one.name, number=number))


def _sequence(column: Column[Any]) -> ColumnElement[str]:
    return func.pg_get_serial_sequence(column.table.name, column.name)
