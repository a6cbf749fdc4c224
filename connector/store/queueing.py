"""The tables of the task queue (Procrastinate) in a schema of their own, beside ours on the same PostgreSQL."""

from datetime import timedelta
from importlib.metadata import version

from procrastinate.schema import SchemaManager
from sqlalchemy import Engine, String, cast, column, exists, func, select, table, text

from connector.errors import StoreError
from connector.store.database import MIGRATION_LOCK, server_time, transaction
from connector.store.schema import leases

SCHEMA = "connector_queue"
jobs = table("procrastinate_jobs", *map(column, ("id", "lock", "status")), schema=SCHEMA)
events = table("procrastinate_events", *map(column, ("job_id", "type", "at")), schema=SCHEMA)
BEGUN = timedelta(seconds=30)
"""A task that began so long ago should hold its connection's lease; that of a dead process ends about as fast."""


def prepare_queue(engine: Engine) -> str:
    """Makes the queue where there is none. Answers how to connect to it. Raises StoreError where the store is no PostgreSQL.

    Nothing in the queue counts, a task only says "look", so one that another version of Procrastinate has made is thrown away.
    """
    if engine.dialect.name != "postgresql":
        raise StoreError(
            "Many workers need a store that all of them can reach, and this one is an SQLite file.",
            "Keep the store in PostgreSQL (`connector migrate-store`), or run the one daemon: connector run.",
        )
    made_by = f"procrastinate {version('procrastinate')}"
    with transaction(engine, writes=True) as db:
        # Two workers start on an empty database at once: the second waits here, then finds the work done.
        db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        found = db.scalar(text("SELECT obj_description(to_regnamespace(:name), 'pg_namespace')"), {"name": SCHEMA})
        if found != made_by:
            db.exec_driver_sql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            db.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
            db.exec_driver_sql(f"SET LOCAL search_path TO {SCHEMA}")
            cursor = db.connection.cursor()
            cursor.execute(SchemaManager.get_schema())
            db.exec_driver_sql(f"COMMENT ON SCHEMA {SCHEMA} IS '{made_by}'")
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def dead_tasks(engine: Engine) -> dict[int, str | None]:
    """Tasks that began a while ago though nobody holds the lease of their connection, with that connection: their worker died,
    or its database was gone when it wanted to note their end, or just when it took them."""
    begun = select(events.c.job_id).where(cast(events.c.type, String) == "started").group_by(events.c.job_id)
    long_ago = begun.having(func.max(events.c.at) < func.now() - BEGUN)
    doing = select(jobs.c.id, jobs.c.lock).where(cast(jobs.c.status, String) == "doing", jobs.c.id.in_(long_ago))
    with transaction(engine, writes=False) as db:
        led = exists().where(leases.c.connection == jobs.c.lock, leases.c.expires_at > server_time(db))
        return {row.id: row.lock for row in db.execute(doing.where(~led))}
