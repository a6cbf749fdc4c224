"""Opens the database, brings its schema up to date, and runs transactions. One code path for SQLite and PostgreSQL."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Executable,
    RowMapping,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from connector.errors import StoreError
from connector.model import Ref
from connector.store.bulk import Among, listed
from connector.store.schema import leases
from connector.store.statistics import tell_sqlite

T = TypeVar("T")
WAY_OUT_URL = "Use sqlite:////folder/connector.db or postgresql://user@host/database."

BUSY_SECONDS = 30
"""How long SQLite waits for another writer. Our longest transaction (one plan) takes a second or two."""

STALLED_SECONDS = 20
"""A transaction of ours in which nothing happens for so long has lost its process. Less than a lease lasts (30 s), which it may
hold; between two statements we do no more than make the next one ready."""

ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""A database that is gone without a word is noticed after 25 seconds (libpq, "Parameter Key Words": seconds, and milliseconds for
the last); the address of the store may say otherwise."""

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
