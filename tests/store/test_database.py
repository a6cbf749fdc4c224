"""Opening: migrations, wrong URLs, broken and newer databases, two programs at once."""

import stat
import threading
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from connector.errors import StoreError
from connector.store.database import connect, migrate, transaction
from connector.store.schema import Moment, metadata
from connector.store.store import Store


def test_migrations_lead_to_the_tables_that_the_code_uses(empty_url):
    engine = connect(empty_url)
    migrate(engine)
    with transaction(engine, writes=False) as db:
        assert compare_metadata(MigrationContext.configure(db), metadata) == []
    engine.dispose()


def test_constraints_and_partial_indexes_of_migrations_are_those_of_the_tables(empty_url, new_url):
    """What Alembic does not compare: the conditions of the indexes and the checks, as the database itself tells them."""
    migrated, created = (
        connect(empty_url),
        connect(new_url("sqlite" if empty_url.startswith("sqlite") else "postgresql")),
    )
    migrate(migrated)
    metadata.create_all(created)
    if empty_url.startswith("sqlite"):
        query = "SELECT name, replace(sql, char(34), '') FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            " UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('c', 'f', 'u')"
            " AND conrelid <> 0"
        )
    found = []
    for engine in (migrated, created):
        with transaction(engine, writes=False) as db:
            found.append(sorted((name, sql) for name, sql in db.execute(text(query)) if "alembic" not in name))
        engine.dispose()
    assert found[0] == found[1]
    assert found[0]


def test_opening_again_finds_what_was_stored(url, clock, make):
    first = Store.open(url, clock=clock)
    first.at("main").record([make.message(1)])
    first.close()
    second = Store.open(url, clock=clock)
    assert list(second.at("main").facts([make.message(1).ref])) == [make.message(1).ref]
    second.close()


def test_a_database_of_a_newer_version_is_left_alone(empty_url, clock):
    Store.open(empty_url, clock=clock).close()
    engine = connect(empty_url)
    with transaction(engine, writes=True) as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"version 9999.*newer version wrote it.*restore the backup"):
        Store.open(empty_url, clock=clock)
    with transaction(engine, writes=False) as db:
        assert db.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    engine.dispose()


def test_two_programs_that_open_an_empty_database_at_once_both_succeed(empty_url, clock):
    opened: list[Store] = []
    gate = threading.Barrier(3)

    def open_() -> None:
        gate.wait()
        opened.append(Store.open(empty_url, clock=clock))

    threads = [threading.Thread(target=open_) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 3
    for store in opened:
        store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "cannot be read"),
        ("mysql://user:hunter2@localhost/x", "cannot be kept in mysql"),
        ("sqlite:////no/such/folder/connector.db", "/no/such/folder, does not exist"),
        ("postgresql://user:hunter2@127.0.0.1:1/x", "cannot be used now"),
    ],
)
def test_a_url_that_cannot_work_is_explained_without_its_password(url, says, clock):
    with pytest.raises(StoreError, match=says) as error:
        Store.open(url, clock=clock)
    assert error.value.way_out
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, clock):
    (tmp_path / "notes.db").write_text("These are notes, not a database. " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(f"sqlite:///{tmp_path / 'notes.db'}", clock=clock)


def test_the_sqlite_file_is_readable_by_its_owner_only(tmp_path: Path, clock):
    path = tmp_path / "connector.db"
    store = Store.open(f"sqlite:///{path}", clock=clock)
    store.at("main").begin_run("tick")
    for file in tmp_path.glob("connector.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store.close()


def test_sqlite_waits_for_other_writers_and_survives_a_power_cut(tmp_path: Path):
    engine = connect(f"sqlite:///{tmp_path / 'connector.db'}")
    with transaction(engine, writes=False) as db:
        pragmas = {
            name: db.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}


def test_writers_in_many_threads_lose_nothing(store, make):
    def write(thread: int) -> None:
        for n in range(10):
            store.at("main").record([make.message(f"{thread}-{n}")])
            store.at("main").usage_add(store.at("main")._clock(), "crm", 1)

    threads = [threading.Thread(target=write, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = store.at("main")
    assert ledger.seen() == 40
    assert ledger.usage(ledger._clock().date()) == {"crm": 40}


def test_an_error_in_a_transaction_undoes_all_of_it(url):
    engine = connect(url)
    migrate(engine)
    row = text("INSERT INTO usage (connection, hour, system, calls) VALUES ('main', '2026-01-01T00', 'crm', 1)")

    def insert_twice() -> None:
        with transaction(engine, writes=True) as db:
            db.execute(row)
            db.execute(row)

    with pytest.raises(StoreError, match="would break one of its rules"):
        insert_twice()
    with transaction(engine, writes=False) as db:
        assert db.execute(text("SELECT count(*) FROM usage")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize(
    "broken",
    [
        "INSERT INTO usage (connection, nothing) VALUES (:private, 1)",
        "INSERT INTO usage (connection, hour, system) VALUES (:private, 'd', 's')",
        "INSERT INTO holds (connection, type, subject, field, question, details, opened_at, choice)"
        " VALUES ('main', 'identity', 's', '', :private, '{}', 'now', 'skip')",
    ],
    ids=["unknown column", "missing value", "broken rule"],
)
def test_errors_do_not_show_the_values_of_rows(url, broken):
    engine = connect(url)
    migrate(engine)
    with pytest.raises(StoreError) as error, transaction(engine, writes=True) as db:
        db.execute(text(broken), {"private": "Jane's diary"})
    assert "diary" not in str(error.value)
    engine.dispose()


def test_a_time_without_zone_is_refused(store, make):
    naive = store.at("main")._clock().replace(tzinfo=None)
    with pytest.raises(StoreError, match="no time zone"):
        store.at("main").record([make.message(1, changed_at=naive)])


def test_text_sorts_by_code_point_on_both_databases(url):
    engine = connect(url)
    migrate(engine)
    words = ["b", "a:2", "B", "a-1", "ä", "_", "a1"]
    with transaction(engine, writes=True) as db:
        for word in words:
            db.execute(
                text("INSERT INTO usage (connection, hour, system, calls) VALUES ('main', :word, 'crm', 1)"),
                {"word": word},
            )
        usage = metadata.tables["usage"]
        assert list(db.scalars(select(usage.c.hour).order_by(usage.c.hour))) == sorted(words)
    engine.dispose()


def test_moments_have_one_width():
    kept = [
        Moment().process_bind_param(datetime.fromisoformat(t), None)
        for t in ("0001-01-01T00:00Z", "2026-01-02T03:04+01:00")
    ]
    assert kept == ["0001-01-01T00:00:00.000000Z", "2026-01-02T02:04:00.000000Z"]
