"""Opens the database, brings its schema up to date, and runs transactions. One code path for SQLite and PostgreSQL."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import islice, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    URL,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Executable,
    Insert,
    RowMapping,
    Table,
    Update,
    any_,
    bindparam,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from connector.errors import StoreError
from connector.model import Ref
from connector.store.schema import leases
from connector.store.statistics import tell_sqlite

T = TypeVar("T")
Row: TypeAlias = Mapping[str, Any]
Among: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""What `listed` makes: of a column, that its value is one of these."""
Columns: TypeAlias = list[tuple[str | None, Callable[[Any], Any] | None, Any]]
"""In a statement's order: the name of a row's value, None where it is a constant; what makes the value ready for the driver, None
where it is; the constant."""

WAY_OUT_URL = "Use sqlite:////folder/connector.db or postgresql://user@host/database."

BUSY_SECONDS = 30
"""How long SQLite waits for another writer. Our longest transaction (one plan) takes a second or two."""

CHUNK = 2000
"""Values of one IN list. SQLite takes 32,766 parameters in one statement ("Implementation limits for SQLite"), PostgreSQL
65,535 (16-bit count in the Bind message); the largest query here repeats the list three times."""

STALLED_SECONDS = 20
"""A transaction of ours in which nothing happens for so long has lost its process. Less than a lease lasts (30 s), which it may
hold; between two statements we do no more than make the next one ready."""

ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""A database that is gone without a word is noticed after 25 seconds (libpq, "Parameter Key Words": seconds, and milliseconds for
the last); the address of the store may say otherwise."""

STATEMENTS = 64
"""Kept ready; there are fewer that many rows are written with."""

MIGRATION_LOCK = 0x636F6E6E
"""Number of the PostgreSQL advisory lock under which the schema is changed; any constant of our own will do."""


def connect(url: str) -> Engine:
    """Raises StoreError when the URL does not name a database that this program can use."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("The store's URL cannot be read.", WAY_OUT_URL) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend in ("postgresql", "postgres"):
        return _postgresql(parsed)
    raise StoreError(f"The store cannot be kept in {backend}.", WAY_OUT_URL)


def _postgresql(url: URL) -> Engine:
    alive = {name: value for name, value in ALIVE.items() if name not in url.query}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_pre_ping=True, connect_args=alive
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
        # Machine A loses its power in a transaction, which holds the row of its lease. PostgreSQL hears of it when TCP does,
        # after two hours, and machine B waits for that row as long.
        connection.execute(f"SET idle_in_transaction_session_timeout = '{STALLED_SECONDS}s'")
        # A plan that does not see the values looks a thousand refs up in a list, row by row: ten times slower in a young store.
        connection.execute("SET plan_cache_mode = force_custom_plan")
        connection.commit()

    return engine


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        if not path.parent.is_dir():
            raise StoreError(
                f"The folder of the store, {path.parent}, does not exist.", "Create it, or correct the URL."
            )
        if not path.exists():
            # The file holds customers' messages: nobody but its owner may read it, whatever the umask says.
            try:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            except OSError as error:
                raise StoreError(
                    f"The store {path} cannot be made: {error.strerror}.",
                    "Let the connector's user write into that folder, or correct the URL.",
                ) from None
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Two writers that both begin as readers each hold what the other waits for, and SQLite fails one of them at
        # once. A writer therefore takes the write lock at its beginning, where it can wait for it.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def migrate(engine: Engine) -> None:
    """Brings the schema to this program's version. Raises StoreError, changing nothing, when the database is newer."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with transaction(engine, writes=True) as db:
        if db.dialect.name == "postgresql":
            # Two daemons start on an empty database at once: the second waits here, then finds the work done.
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        current = MigrationContext.configure(db).get_current_revision()
        if current == script.get_current_head():
            return
        if current is not None and current not in {step.revision for step in script.walk_revisions()}:
            raise StoreError(
                f"The store has schema version {current}, which this program does not know: a newer version wrote it.",
                "Install that version again, or restore the backup taken before the upgrade.",
            )
        config.attributes["connection"] = db
        command.upgrade(config, "head")
        if db.dialect.name == "sqlite":
            tell_sqlite(db)


@contextmanager
def transaction(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    """Commits at the end, rolls back on any error. Database errors come out as StoreError, without the row's values."""
    try:
        with engine.connect().execution_options(**_options(engine, writes)) as db, db.begin():
            yield db
    except IntegrityError as error:
        raise StoreError(
            f"The store refused a row that would break one of its rules: {_said(error)}",
            "Nothing was stored. If it happens again, report it with this message.",
        ) from error
    except OperationalError as error:
        raise StoreError(
            f"The store cannot be used now: {_said(error)}",
            "Check that the database runs, has space, and is not locked by another program.",
        ) from error
    except SQLAlchemyError as error:
        raise StoreError(
            f"The store failed: {_said(error)}", "Nothing was stored. Report it with this message."
        ) from error


def time_of(db: Connection, clock: Callable[[], datetime]) -> datetime:
    """By which times are compared that several processes write: PostgreSQL's own clock, because the machines that share it have
    clocks of their own. The processes on an SQLite file are on one machine, which has `clock`."""
    return server_time(db) if db.dialect.name == "postgresql" else clock()


def server_time(db: Connection) -> datetime:
    """What PostgreSQL's clock shows now, in the middle of a transaction as well."""
    shown: datetime = db.execute(select(func.clock_timestamp())).scalar_one()
    return shown


def _said(error: SQLAlchemyError) -> str:
    """The first line of what the database said; PostgreSQL shows the whole failing row in the next."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def _options(engine: Engine, writes: bool) -> dict[str, Any]:
    """Several queries of one reading transaction show one moment; SQLite does so by itself."""
    if engine.dialect.name == "postgresql" and not writes:
        return {"isolation_level": "REPEATABLE READ"}
    return {"writes": writes}


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def listed(db: Connection, values: Iterable[object]) -> Iterator[Among]:
    """The values in pieces, each a condition of a statement. A piece is one parameter, so that a statement reads the same, and is
    compiled and planned once, however many there are."""
    among = _any_of if db.dialect.name == "postgresql" else _in_json
    return map(among, chunks(values))


def _any_of(values: list[Any]) -> Among:
    return lambda column: column == any_(bindparam(None, values, postgresql.ARRAY(column.type)))


def _in_json(values: list[Any]) -> Among:
    text = json.dumps(values)
    # SQLite ends a text of JSON at a NUL.
    listed = values if "\\u0000" in text else select(func.json_each(text).table_valued("value").c.value)
    return lambda column: column.in_(listed)


def insert(db: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that knows ON CONFLICT; both databases have the same words for it."""
    return _insert(db.dialect.name, table)


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def upsert(db: Connection, table: Table, rows: Sequence[Row], **changed: ColumnElement[Any]) -> None:
    """Inserts rows or, where the primary key is there already, replaces the other columns (`changed`: by this instead). Of rows with
    the same key the last one stands."""
    if rows:
        keys = [column.name for column in table.primary_key.columns]
        last = {tuple(row[key] for key in keys): row for row in rows}
        many(db, _upserting(db.dialect.name, table, tuple(rows[0]), tuple(changed.items())), list(last.values()))


@lru_cache(maxsize=STATEMENTS)
def _upserting(
    dialect: str, table: Table, names: tuple[str, ...], changed: tuple[tuple[str, ColumnElement[Any]], ...]
) -> Insert:
    keys = [column.name for column in table.primary_key.columns]
    statement = _insert(dialect, table)
    values = {name: statement.excluded[name] for name in names if name in table.c and name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_={**values, **dict(changed)})


def insert_new(db: Connection, table: Table, rows: Sequence[Row], *keys: str) -> None:
    """Inserts the rows whose keys are not there yet."""
    many(db, _inserting_new(db.dialect.name, table, keys), rows)


@lru_cache(maxsize=STATEMENTS)
def _inserting_new(dialect: str, table: Table, keys: tuple[str, ...]) -> Insert:
    return _insert(dialect, table).on_conflict_do_nothing(index_elements=keys)


def change(db: Connection, table: Table, where: ColumnElement[bool], rows: Sequence[Row]) -> None:
    """Looks for the rows of the table by those values that `where` names as parameters, and sets the others. `where` lives as long
    as the program; no two rows are to find the same one."""
    if rows and db.dialect.name == "postgresql":
        _at_once(db, _changing_all(table, where, tuple(rows[0])), rows)
    elif rows:
        _one_by_one(db, _changing(table, where), rows)


@lru_cache(maxsize=STATEMENTS)
def _changing(table: Table, where: ColumnElement[bool]) -> Update:
    return update(table).where(where)


@lru_cache(maxsize=STATEMENTS)
def _changing_all(table: Table, where: ColumnElement[bool], names: tuple[str, ...]) -> Update:
    asked = {one.key: one.type for one in iterate(where) if isinstance(one, BindParameter)}
    given = _given({name: asked[name] if name in asked else table.c[name].type for name in names})

    def its(element: Any, **_: object) -> Any:
        return given.c[element.key] if isinstance(element, BindParameter) else None

    found = replacement_traverse(where, {}, its)
    return update(table).where(found).values({name: given.c[name] for name in names if name not in asked})


def many(db: Connection, statement: Insert, rows: Sequence[Row]) -> None:
    """Inserts rows, in their order; all of them name the same values. SQLAlchemy's own way, row by row, takes longer than either
    database does: PostgreSQL gets all rows at once, SQLite rows that are made ready column by column. Statements that live as long
    as the program are compiled once."""
    if rows and db.dialect.name == "postgresql":
        _at_once(db, _inserting_all(statement, tuple(rows[0])), rows)
    elif rows:
        _one_by_one(db, statement, rows)


@lru_cache(maxsize=STATEMENTS)
def _inserting_all(statement: Insert, names: tuple[str, ...]) -> Insert:
    return statement.from_select(names, select(_given({name: statement.table.c[name].type for name in names})))


def _given(types: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """Rows whose values come as one list for each name."""
    return select(*(_each(name, type_).label(name) for name, type_ in types.items())).subquery()


def _each(name: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    if isinstance(type_, JSON):
        # One text for all: psycopg takes the texts of an array apart, sign by sign.
        return func.json_array_elements(bindparam(name, type_=type_))
    return func.unnest(bindparam(name, type_=postgresql.ARRAY(type_, dimensions=1)))


def _at_once(db: Connection, statement: Insert | Update, rows: Sequence[Row]) -> None:
    db.execute(statement, {name: [row[name] for row in rows] for name in rows[0]})


def _one_by_one(db: Connection, statement: Insert | Update, rows: Sequence[Row]) -> None:
    text, columns = _compiled(db.dialect, statement, tuple(rows[0]))
    made: list[Iterable[Any]] = []
    for name, ready, constant in columns:
        values = repeat(constant, len(rows)) if name is None else map(itemgetter(name), rows)
        made.append(map(ready, values) if ready else values)
    try:
        ready_rows = list(zip(*made, strict=True))
    except (TypeError, ValueError) as error:
        raise StatementError("a value cannot be stored", text, None, error, hide_parameters=True) from error
    db.exec_driver_sql(text, ready_rows)


@lru_cache(maxsize=STATEMENTS)
def _compiled(dialect: Dialect, statement: Insert | Update, names: tuple[str, ...]) -> tuple[str, Columns]:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup
    columns: Columns = []
    for name in compiled.positiontup:
        ready = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
        columns.append((name if name in names else None, ready, compiled.params[name]))
    return compiled.string, columns


class Scoped:
    """The tables of one connection: reads in a consistent view, writes under the lease's fence if one was taken."""

    def __init__(
        self, engine: Engine, connection: str, clock: Callable[[], datetime], token: Callable[[], str]
    ) -> None:
        self.connection = connection
        self.fence: int | None = None
        self._engine = engine
        self._clock = clock
        self._token = token

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with transaction(self._engine, writes=False) as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        # Engine A stalls (a suspended laptop, a long pause) past its lease; engine B takes the lease and goes on. When
        # A wakes it still believes it is the only one, so what it writes must fail: B raised the fence, and the row stays
        # locked until A's transaction ends, so that B cannot take over in the middle of it either.
        with transaction(self._engine, writes=True) as db:
            if self.fence is not None:
                query = select(leases.c.fence).where(leases.c.connection == self.connection).with_for_update(read=True)
                if db.scalar(query) != self.fence:
                    raise StoreError(
                        f"Another process has taken over the connection {self.connection}; nothing was written.",
                        "Run one engine per connection, or stop this one.",
                    )
            yield db

    def _rows(self, query: Executable) -> list[RowMapping]:
        with self._reading() as db:
            return list(db.execute(query).mappings())

    def _in_chunks(self, values: Iterable[Ref | str], query: Callable[[Among], Executable]) -> list[RowMapping]:
        """All pieces are read in one transaction, so that they show the same moment."""
        wanted = sorted({str(value) for value in values})
        if not wanted:
            return []
        with self._reading() as db:
            return [row for some in listed(db, wanted) for row in db.execute(query(some)).mappings()]
