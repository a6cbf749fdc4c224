"""Hypothesis profiles: on a build machine every run draws the same examples, so that a change is judged and not the dice;
elsewhere every run draws new ones. The database of failing examples is kept by hypothesis itself.

And the real servers: prepared once outside the repository, a fresh database for each module that asks for one; where none
can be had its tests are skipped with the reason, and the last line of the run says how many ran.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "servers"))
from odoo_install import Unavailable
from odoo_server import Odoo, Servers

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

REAL = "real_server"
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
        _reasons.add(str(error))
        pytest.skip(f"no real Odoo: {error}")
    yield servers
    servers.close()


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


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.option.collectonly or not _outcomes:
        return
    ran = _outcomes["passed"] + _outcomes["failed"]
    why = f" ({'; '.join(sorted(_reasons))})" if _reasons else ""
    print(f"Tests against a real Odoo server: {ran} ran, {_outcomes['skipped']} skipped{why}")
