"""What every benchmark answers: measures, each beside its rival or floor from the same run, and the goal for their ratio."""

from dataclasses import dataclass
from importlib import import_module
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """`ours` and `theirs` in `unit`; `theirs` is None where the goal is a plain number. `goal` bounds the ratio (or `ours`
    itself), from above or from below as `wants` says; None where a measure only informs."""

    name: str
    unit: str
    ours: float
    against: str = ""
    theirs: float | None = None
    goal: float | None = None
    wants: Literal["at most", "at least"] = "at most"

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else self.ours

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.wants == "at most" else self.ratio >= self.goal


class NotMeasured(Exception):
    """What a benchmark measures against cannot be had on this machine; the text says why, and what would help."""


def measured(name: str, full: bool) -> list[Measure]:
    """What the benchmark of this name answers. The runner calls it in a process of its own. Raises NotMeasured."""
    found: list[Measure] = import_module(f"benchmarks.{name}").measure(full)
    return found
