"""The database drops its connections in the middle of the work, as a server does that is restarted. Nobody is killed: the connector
gets an error, begins anew, and ends where a run ends whose database stayed."""

import itertools
import os
from typing import Any

import pytest
from memory_world import Clock, Worlds
from postgresql import Server
from promises import check
from scenarios import SCENARIOS, begin, end

from connector.errors import StoreError
from connector.store.store import Store

FUZZ = float(os.environ.get("CONNECTOR_FUZZ", "1"))
HANDFUL = max(2, round(2 * FUZZ))
"""Commits of a scenario before which the connections are cut."""


@pytest.mark.parametrize("name", SCENARIOS if FUZZ > 1 else ["replies"])
def test_a_database_that_drops_its_connections_changes_nothing_in_the_end(
    name: str, clock: Clock, postgresql_server: Server
) -> None:
    happens, work = SCENARIOS[name]
    store = Store.open(postgresql_server.create(), clock=clock)
    begun = begin(store, clock, late_writes=True)
    begun.quiet()
    begun.clock.sleep(60)
    happens(begun)
    unbroken = begun.twin(postgresql_server)
    commits = itertools.count()
    unbroken.commits = lambda: next(commits)
    unbroken.restart()
    work(unbroken.engine)
    count = next(commits)
    unbroken.quiet()
    expected = end(unbroken)
    for at in sorted({int(count * (2 * n + 1) / (2 * HANDFUL)) for n in range(HANDFUL)}):
        worlds = begun.twin(postgresql_server)
        with pytest.raises(StoreError):
            with_an_outage(worlds, postgresql_server, at, work)
        work(worlds.engine)
        worlds.quiet()
        check(worlds)
        assert end(worlds) == expected, f"cut at commit {at} of {count}"
        worlds.store.close()
    unbroken.store.close()
    store.close()


def with_an_outage(worlds: Worlds, server: Server, at: int, work: Any) -> None:
    """Does the work with connections that are cut before commit number `at`; a new engine stands ready."""
    url, commits = worlds.store._engine.url.render_as_string(hide_password=False), itertools.count()

    def cut() -> None:
        if next(commits) == at:
            server.cut(url)

    before, worlds.commits = worlds.commits, cut
    worlds.restart()
    try:
        work(worlds.engine)
    finally:
        worlds.commits = before
        worlds.restart()
