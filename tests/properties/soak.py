"""`make soak STEPS=100000 SEED=1`: many worlds one after the other, each drawn from the seed; prints what happened and what must
never be. Ends with 1 on a violation; the same seed finds it again."""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from simulation import EPISODE, Outcome, simulate

SEEDS = 1_000_000
"""Worlds of one soak seed, so that two seeds share none."""


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--steps", type=int, default=10_000, help="things that happen, over all worlds")
    given.add_argument("--seed", type=int, default=1)
    options = given.parse_args()
    steps, trace = 0, hashlib.sha256()
    faults: Counter[str] = Counter()
    deeds: Counter[str] = Counter()
    violations: list[str] = []
    worlds = 0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"seed {options.seed}", total=options.steps)
        while steps < options.steps:
            outcome = one(options.seed * SEEDS + worlds, min(EPISODE, options.steps - steps))
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


def one(seed: int, steps: int) -> Outcome:
    """One world in a folder of its own, in memory where the machine has such a place: a soak need not survive a power cut."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=memory if memory.is_dir() else None))
    try:
        return simulate(seed, steps, folder)
    finally:
        shutil.rmtree(folder)


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
