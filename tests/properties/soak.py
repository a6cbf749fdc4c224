"""`make soak STEPS=100000 SEED=1`: many worlds one after the other, each drawn from the seed; prints what happened and what must
never be. Ends with 1 on a violation; the same seed finds it again."""

import argparse
import hashlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "servers")]

from databases import KINDS, Databases, Files
from postgresql import running
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from simulation import EPISODE, simulate

SEEDS = 1_000_000
"""Worlds of one soak seed, so that two seeds share none."""


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--steps", type=int, default=10_000, help="things that happen, over all worlds")
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--store", choices=KINDS, default=KINDS[0])
    options = given.parse_args()
    steps, trace = 0, hashlib.sha256()
    faults: Counter[str] = Counter()
    deeds: Counter[str] = Counter()
    violations: list[str] = []
    worlds = 0
    with opened(options.store) as databases, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"seed {options.seed}", total=options.steps)
        while steps < options.steps:
            outcome = simulate(options.seed * SEEDS + worlds, min(EPISODE, options.steps - steps), databases)
            databases.clear()
            worlds += 1
            steps += outcome.steps
            faults += outcome.faults
            deeds += outcome.deeds
            trace.update(outcome.trace.encode())
            if outcome.violation:
                violations.append(outcome.violation)
            progress.update(task, completed=steps)
    show(Console(), steps, worlds, faults, deeds, violations, trace.hexdigest())
    return 1 if violations else 0


@contextmanager
def opened(kind: str) -> Iterator[Databases]:
    """Files are kept in memory where the machine has such a place: a soak need not survive a power cut."""
    if kind == "postgresql":
        with running() as server:
            yield server
        return
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="soak-", dir=memory if memory.is_dir() else None) as folder:
        yield Files(Path(folder))


def show(
    screen: Console,
    steps: int,
    worlds: int,
    faults: Counter[str],
    deeds: Counter[str],
    violations: list[str],
    trace: str,
) -> None:
    table = Table(title=f"{steps} steps in {worlds} worlds")
    table.add_column("what happened")
    table.add_column("times", justify="right")
    for name, count in faults.most_common():
        table.add_row(name, str(count))
    table.add_section()
    for name, count in deeds.most_common():
        table.add_row(name.replace("_", " "), str(count))
    screen.print(table)
    for violation in violations:
        screen.print(violation, soft_wrap=True)
    screen.print(f"violations: {len(violations)}")
    screen.print(f"trace: {trace}")


if __name__ == "__main__":
    sys.exit(main())
