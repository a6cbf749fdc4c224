"""The benchmarks run and answer measures. What they measure is judged by `make bench`, never here."""

import ast
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks import calls, ticks
from benchmarks.measure import Measure, NotMeasured
from benchmarks.world import NAME, mapping, opened
from connector.model import Kind

ROOT = Path(__file__).parents[1]

SPENT = Measure("calls", "per 1,000", 4, goal=3)
SHARE = Measure("speed", "per s", 80, "a script", 100, goal=0.8, wants="at least")
NOTE = Measure("memory", "MB", 100)


def test_the_runner_lists_every_benchmark() -> None:
    written = {
        path.stem
        for path in (ROOT / "benchmarks").glob("[a-z]*.py")
        if path.stem != "measure"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "measure"
    }
    assert written <= set(runner.NAMES)


def test_the_calls_of_a_few_messages_are_measured() -> None:
    found = calls.measured(messages=10, people=5)
    assert all(isinstance(one, Measure) for one in found)
    assert len({one.name for one in found}) == len(found)


def test_a_tick_in_a_store_that_was_grown_is_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/connector.db"
    with opened(url) as store:
        stand = ticks.grown(store, url, 400, mapping())
        assert store.at(NAME).active_links(Kind.MESSAGE) == 400
        assert ticks.fastest({400: stand}, 5, 1).keys() == {400}


@pytest.mark.parametrize(
    ("measure", "reached"),
    [(SPENT, False), (SHARE, True), (NOTE, None)],
    ids=["above what is allowed", "exactly what is asked for", "no goal"],
)
def test_a_goal_is(measure: Measure, reached: bool | None) -> None:
    assert measure.reached is reached


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The runner on one benchmark that answers this; its exit code, and the results it wrote."""

    def run(*outcomes: runner.Outcome) -> tuple[int, str]:
        left = list(outcomes)
        monkeypatch.setattr(runner, "run", lambda _name, _full: left.pop(0))
        results = tmp_path / "results.json"
        code = runner.main([*["calls"] * len(outcomes), "--results", str(results)])
        return code, results.read_text(encoding="utf-8")

    return run


@pytest.mark.parametrize(
    ("outcome", "code", "written"),
    [
        (runner.Outcome([SHARE, NOTE]), 0, '"ratio": 0.8'),
        (runner.Outcome([SHARE, SPENT]), 1, '"reached": false'),
        (runner.Outcome(failed="it broke"), 1, '"failed": "it broke"'),
        (runner.Outcome(not_measured="no real Odoo"), 0, '"not_measured": "no real Odoo"'),
    ],
    ids=["every goal reached", "a goal missed", "a benchmark failed", "nothing to measure against"],
)
def test_the_exit_code_tells(ran, outcome: runner.Outcome, code: int, written: str) -> None:
    found, results = ran(outcome)
    assert found == code
    assert written in results
    assert '"cpus"' in results


def test_an_unknown_benchmark_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runner.main(["nonsense"])
    assert "nonsense; there are calls" in capsys.readouterr().err


def test_a_benchmark_that_cannot_be_measured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def child(*_: object, **__: object) -> None:
        raise NotMeasured("no real Odoo can be had")

    monkeypatch.setattr(runner, "ProcessPoolExecutor", child)
    assert runner.run("odoo_rate", False).not_measured == "no real Odoo can be had"
