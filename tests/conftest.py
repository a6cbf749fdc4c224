"""Hypothesis profiles: on a build machine every run draws the same examples, so that a change is judged and not the dice;
elsewhere every run draws new ones. The database of failing examples is kept by hypothesis itself.

And the real servers: prepared once outside the repository, a fresh database for each module that asks for one; where none
can be had its tests are skipped with the reason, and the last line of the run says how many ran.

And the workers: all tests together run in three of them, each with servers of its own, and a file's tests in one.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "servers"))
from odoo_install import Unavailable
from odoo_server import Odoo, Servers
from postgresql import Server, running

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Where bytecode is not kept, every process that a test starts compiles the program, or all of Odoo, again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

REAL = "real_server"
NONE = "no real Odoo: "
_outcomes: Counter[str] = Counter()
_reasons: set[str] = set()


@pytest.fixture(scope="session")
def odoo_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    yield from _servers(request, None)


@pytest.fixture(scope="session")
def old_odoo_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Odoo 14, which speaks the older transport alone."""
    yield from _servers(request, 14)


def _servers(request: pytest.FixtureRequest, version: int | None) -> Iterator[Servers]:
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            servers = Servers(version)
    except Unavailable as error:
        pytest.skip(f"{NONE}{error}")
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A real PostgreSQL that lives as long as the tests."""
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def odoo(odoo_servers: Servers) -> Iterator[Odoo]:
    """A real Odoo with a fresh database for the tests of one module."""
    with odoo_servers.running() as running:
        yield running


@pytest.fixture(scope="module")
def old_odoo(old_odoo_servers: Servers) -> Iterator[Odoo]:
    with old_odoo_servers.running() as running:
        yield running


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{REAL}: runs against a server that nobody here wrote")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"odoo_servers", "old_odoo_servers"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(REAL)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if REAL in report.keywords and (report.when == "call" or report.outcome != "passed"):
        _outcomes[report.outcome] += 1
        if isinstance(report.longrepr, tuple) and NONE in report.longrepr[2]:
            _reasons.add(report.longrepr[2].partition(NONE)[2])


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.option.collectonly or not _outcomes or hasattr(config, "workerinput"):
        return
    ran = _outcomes["passed"] + _outcomes["failed"]
    why = f" ({'; '.join(sorted(_reasons))})" if _reasons else ""
    print(f"Tests against a real Odoo server: {ran} ran, {_outcomes['skipped']} skipped{why}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three: each has an Odoo and a PostgreSQL beside it, and some tests wait more than they work, so that two leave two cores
    idle at times. None for a part that is named, which runs in this process."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else 3


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker that died could not stop its servers. All that it started has these two in its environment."""
    if not error:
        return
    run, worker = node.workerinput["testrunuid"], node.workerinput["workerid"]
    marks = {f"PYTEST_XDIST_TESTRUNUID={run}".encode(), f"PYTEST_XDIST_WORKER={worker}".encode()}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if marks <= set((process / "environ").read_bytes().split(b"\0")):
                os.kill(int(process.name), signal.SIGTERM)
