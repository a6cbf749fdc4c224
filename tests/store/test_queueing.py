"""The task queue beside the store: made once, made anew by another version, refused where only one process can be."""

import psycopg
import pytest

from connector.errors import StoreError
from connector.store.queueing import SCHEMA
from connector.store.store import Store


def jobs(url: str) -> int:
    with psycopg.connect(url, options=f"-c search_path={SCHEMA}") as db:
        return int(db.execute("SELECT count(*) FROM procrastinate_jobs").fetchone()[0])


def defer(url: str) -> None:
    with psycopg.connect(url, options=f"-c search_path={SCHEMA}") as db:
        db.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")


def test_a_queue_is_made_once_and_kept(new_url, clock):
    store = Store.open(new_url("postgresql"), clock=clock)
    url = store.queue()
    defer(url)
    assert store.queue() == url
    assert jobs(url) == 1
    store.close()


def test_a_queue_that_another_version_made_is_made_anew(new_url, clock):
    store = Store.open(new_url("postgresql"), clock=clock)
    url = store.queue()
    defer(url)
    with psycopg.connect(url) as db:
        db.execute(f"COMMENT ON SCHEMA {SCHEMA} IS 'procrastinate 1.0'")
    store.queue()
    assert jobs(url) == 0
    store.close()


def test_the_tables_of_the_store_are_not_the_queues(new_url, clock):
    store = Store.open(new_url("postgresql"), clock=clock)
    with psycopg.connect(store.queue()) as db:
        names = db.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'procrastinate%'").fetchall()
    assert names == [(SCHEMA,)]
    store.close()


def test_a_store_in_a_file_has_no_queue_and_the_error_says_what_to_do(new_url, clock):
    store = Store.open(new_url("sqlite"), clock=clock)
    with pytest.raises(StoreError, match="migrate-store"):
        store.queue()
    store.close()
