"""`connector migrate-store`: a store that was used goes to PostgreSQL and on from there; what is refused names the way out."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgresql import Server

from connector.store.database import connect, transaction
from connector.store.schema import facts
from connector.store.store import Store


def known(site) -> tuple:
    (told,) = site.json("status", code=None)
    return told["account"], told["reasons"], told["intents"], site.json("holds", "list")


def said(result) -> str:
    assert "Traceback" not in result.output
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture
def filled(site):
    """A site whose store knows something, without a sync."""
    store = Store.open(f"sqlite:///{site.folder}/connector.db", clock=lambda: datetime.now(UTC))
    store.at("main").remember("key", 1)
    yield site, store
    store.close()


def test_a_used_store_moves_to_postgresql_and_the_next_sync_has_nothing_to_do(
    used, postgresql_server: Server, tmp_path
):
    config = (used.folder / "config.yaml").read_text()
    url, password = postgresql_server.create(), tmp_path / "password"
    password.write_text("not-asked-for")
    used.run("sync")
    before = known(used)
    result = used.run("migrate-store", "--to", url, "--to-password", f"file:{password}")
    assert result.exit_code == 0, result.output
    assert f"store:\n  url: {url}\n  password: file:{password}\n  key: file:store-key\n" in result.stdout
    assert "not-asked-for" not in result.output
    assert (used.folder / "config.yaml").read_text() == config, "the config is the admin's"
    try:
        used.edit("config.yaml", "url: sqlite:///connector.db", f"url: {url}\n  password: file:{password}")
        assert known(used) == before
        (told,) = used.json("sync", code=None)
        assert (told["news"], told["planned"]) == (0, 0)
        assert known(used) == before
        # A daemon that nobody stopped, or a config that nobody changed.
        (used.folder / "config.yaml").write_text(config)
        forgotten = used.run("sync")
        assert forgotten.exit_code == 3
        assert f"The store of the connection main has moved to {url}" in said(forgotten)
        assert "Let the config name the new one" in said(forgotten)
    finally:
        (used.folder / "config.yaml").write_text(config)
        with sqlite3.connect(used.folder / "connector.db") as old:
            old.execute("DELETE FROM leases")
    # The way back that docs/operations.md names.
    (told,) = used.json("sync", code=None)
    assert (told["planned"], told["errors"]) == (0, [])


def test_another_process_that_works_on_a_connection_is_not_disturbed(filled):
    """Of a connection too that this config does not have."""
    site, store = filled
    assert store.at("other").lease("somebody:1", timedelta(minutes=5))
    result = site.run("migrate-store", "--to", "sqlite:///new.db")
    assert result.exit_code == 3
    assert "Another process is working on the connection other." in said(result)
    assert not (site.folder / "new.db").exists()
    assert store.at("main").lease("me:1", timedelta(minutes=5)), "nothing stays locked"


def test_a_store_is_copied_beside_the_config(filled, monkeypatch, tmp_path: Path):
    site, _ = filled
    monkeypatch.chdir(tmp_path)
    result = site.run("migrate-store", "--to", "sqlite:///new.db")
    assert result.exit_code == 0, result.output
    engine = connect(f"sqlite:///{site.folder}/new.db")
    with transaction(engine, writes=False) as db:
        assert db.execute(facts.select()).all() == []
    engine.dispose()
    again = site.run("migrate-store", "--to", "sqlite:///new.db")
    assert again.exit_code == 3
    assert "has moved to sqlite:///new.db" in said(again)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--to", "mysql://host/x"], 2, "--to: the store's url starts with sqlite:/// or postgresql://"),
        (["--to", "postgresql://me:hunter2@host/x"], 2, "--to: the url holds a password"),
        (["--to", "postgresql://me@host/x", "--to-password", "hunter2"], 2, "--to-password: a secret never stands"),
        (["--to", "postgresql://me@host/x", "--to-password", "env:NOT_SET_HERE"], 2, "NOT_SET_HERE is not set"),
        (["--to", "postgresql://me@127.0.0.1:1/x"], 3, "cannot be used now"),
        (["--to", "sqlite:///nowhere/new.db"], 3, "does not exist"),
        (["--to", "sqlite:///connector.db"], 3, "cannot be copied to itself"),
        (["--to", "sqlite:///:memory:"], 3, "in memory"),
    ],
)
def test_a_place_that_cannot_be_is_explained_without_its_secret(filled, args, code, says):
    site, store = filled
    result = site.run("migrate-store", *args)
    assert result.exit_code == code, result.output
    assert says in said(result)
    assert "hunter2" not in result.output
    assert store.at("main").lease("me:1", timedelta(minutes=5)), "nothing stays locked"


def test_one_connection_alone_cannot_move(filled):
    site, _ = filled
    result = site.run("--connection", "main", "migrate-store", "--to", "sqlite:///new.db")
    assert result.exit_code == 2
    assert "moves as a whole" in said(result)
