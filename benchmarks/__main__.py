"""Runs the benchmarks, each in a process of its own so that one's memory and CPU time are not another's, and shows what they
answer. `python -m benchmarks calls latency` runs these two; without names all are run.

Ends with 1 when a goal is missed or a benchmark fails.
"""

import argparse
import ast
import json
import multiprocessing
import os
import platform
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.measure import Measure, NotMeasured, measured
from connector import __version__

NAMES = ("calls", "engine_cpu", "ticks", "first_load", "memory", "latency", "workers", "odoo_rate")
"""The modules of this folder with a `measure(full) -> list[Measure]`, in the order in which they run."""
RESULTS = Path(__file__).with_name("results.json")
LIBRARIES = ("psycopg", "pydantic", "requests", "simple-salesforce", "sqlalchemy")
"""What the figures depend on besides our own code; their versions stand in the results."""


@dataclass(frozen=True)
class Outcome:
    """What came of one benchmark: its measures, or why there are none. `seconds` is the time it took."""

    measures: Sequence[Measure] = ()
    seconds: float = 0.0
    not_measured: str = ""
    failed: str = ""

    @property
    def good(self) -> bool:
        return not self.failed and all(one.reached is not False for one in self.measures)

    def shown(self) -> dict[str, Any]:
        """JSON-able."""
        measures = [asdict(one) | {"ratio": one.ratio, "reached": one.reached} for one in self.measures]
        return {
            "seconds": round(self.seconds, 1),
            "measures": measures,
            "not_measured": self.not_measured,
            "failed": self.failed,
        }


def about(name: str) -> str:
    """The first paragraph of a benchmark's docstring, in one line. Raises FileNotFoundError."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return " ".join((ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0].split())


def run(name: str, full: bool) -> Outcome:
    started = time.perf_counter()
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
            measures = child.submit(measured, name, full).result()
    except NotMeasured as reason:
        return Outcome(seconds=time.perf_counter() - started, not_measured=str(reason))
    except Exception:
        # Whatever one benchmark dies of is shown, and the next one runs.
        return Outcome(seconds=time.perf_counter() - started, failed=traceback.format_exc())
    return Outcome(measures, time.perf_counter() - started)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "model": cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "connector": __version__,
        "commit": commit(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }


def cpu_model() -> str:
    """As Linux tells it; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def commit() -> str:
    """The commit that is checked out, `+` behind it where files differ from it; "" outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    found = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def show(out: Console, name: str, outcome: Outcome) -> None:
    if outcome.failed:
        out.print(f"[red]{name} failed[/red] after {outcome.seconds:.0f} s:")
        out.print(outcome.failed, markup=False, highlight=False)
    elif outcome.not_measured:
        out.print(f"[yellow]{name} was not measured[/yellow]: {outcome.not_measured}")
    else:
        out.print(as_table(outcome.measures))
        out.print(f"{outcome.seconds:.0f} s")
    out.print()


def as_table(measures: Sequence[Measure]) -> Table:
    table = Table("measure", "ours", "against", "theirs", "ratio", "goal", "reached")
    for one in measures:
        table.add_row(
            one.name,
            f"{number(one.ours)} {one.unit}",
            one.against,
            "" if one.theirs is None else f"{number(one.theirs)} {one.unit}",
            "" if one.theirs is None else number(one.ratio),
            "" if one.goal is None else f"{one.wants} {number(one.goal)}",
            {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[one.reached],
        )
    return table


def number(value: float) -> str:
    """Three figures where there are digits behind the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)}; all unless given")
    parser.add_argument("--full", action="store_true", help="large sizes, for the figures that are published")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that takes all results, as JSON")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    # A table that is written to a file need not fit a window.
    out, outcomes = Console(width=None if sys.stdout.isatty() else 160), dict[str, Outcome]()
    for name in given.names or NAMES:
        try:
            out.print(f"[bold]{name}[/bold]: {about(name)}")
        except FileNotFoundError:
            outcomes[name] = Outcome(failed=traceback.format_exc())
        else:
            columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            with Progress(*columns, console=out, transient=True) as progress:
                progress.add_task(name)
                outcomes[name] = run(name, given.full)
        show(out, name, outcomes[name])
        report = {
            "machine": machine(),
            "full": given.full,
            "benchmarks": {n: one.shown() for n, one in outcomes.items()},
        }
        given.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    out.print(f"All figures: {given.results}")
    return 0 if all(one.good for one in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
