"""Makes `memory_world` importable; CONNECTOR_FUZZ is the budget of the random runs, about 20 seconds at 1. The stores are SQLite
files, with CONNECTOR_STORE=postgresql databases on a real server; a few runs are made on both in any case."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("memory_world")

from databases import KINDS, Databases, Files  # noqa: E402
from memory_world import START, Clock  # noqa: E402

from connector.store.store import Store  # noqa: E402

FUZZ = float(os.environ.get("CONNECTOR_FUZZ", "1"))
PHASES = (Phase.explicit, Phase.generate) + ((Phase.shrink,) if os.environ.get("CONNECTOR_FUZZ_SHRINK") else ())
SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
settings.register_profile("sync", deadline=None, suppress_health_check=SLOW, print_blob=True)


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock(START)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    kind = os.environ.get("CONNECTOR_STORE", KINDS[0])
    if kind not in KINDS:
        pytest.exit(f"CONNECTOR_STORE is {' or '.join(KINDS)}, not {kind!r}")
    if kind == "sqlite":
        return Files(tmp_path_factory.mktemp("stores"))
    return request.getfixturevalue("postgresql_server")


@pytest.fixture(scope="session")
def store(databases: Databases, clock: Clock) -> Iterator[Store]:
    """A real store; every run takes a connection of its own in it, which is as good as an empty store."""
    store = Store.open(databases.create(), clock=clock)
    yield store
    store.close()


@pytest.fixture(scope="session")
def budget() -> settings:
    """How long the state machine looks for trouble: always the same runs in CI, new ones with CONNECTOR_FUZZ above 1."""
    return settings(
        settings.get_profile("sync"),
        max_examples=max(5, int(12 * FUZZ)),
        derandomize=FUZZ <= 1,
        stateful_step_count=30,
        phases=PHASES,
    )
