"""Two systems, their people and a bad network, drawn from a seed: nothing is lost, doubled, echoed or taken back; and the same
seed does the same, whatever the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from databases import Databases, Files
from simulation import EPISODE, simulate

SHORT = 250
"""Steps of a world that is lived through several times."""
WORLDS = max(2, round(3 * float(os.environ.get("CONNECTOR_FUZZ", "1"))))


@pytest.mark.parametrize("seed", range(1, WORLDS + 1))
def test_nothing_is_lost_doubled_or_taken_back(seed: int, databases: Databases) -> None:
    outcome = simulate(seed, EPISODE, databases)
    assert outcome.violation is None
    assert outcome.faults.total() > 20, "the days were bad"


def test_the_same_seed_leaves_the_same_trace_on_both_databases(tmp_path: Path, postgresql_server: Databases) -> None:
    """What the connector does may not depend on how a database numbers and orders its rows."""
    file, server = (simulate(45, SHORT, each) for each in (Files(tmp_path), postgresql_server))
    assert file.faults["process killed"]
    assert file.faults["another worker's turn"]
    assert file.faults["piece of the past"]
    assert (server.violation, server.trace) == (None, file.trace)


def test_the_same_seed_leaves_the_same_trace_in_any_process(tmp_path: Path) -> None:
    """Another hash seed orders sets in another way; nothing that is done may depend on it."""
    traces = set()
    for number in ("1", "2"):
        folder = tmp_path / number
        folder.mkdir()
        ran = subprocess.run(
            [sys.executable, Path(__file__).with_name("simulation.py"), "5", str(SHORT), folder],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(ran.stdout.strip())
    assert len(traces) == 1
    assert len(traces.pop()) == 64, "a trace, not a violation"
