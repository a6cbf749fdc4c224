"""Memory of a first load: the largest resident size of a process that takes so many messages through the whole engine, into a
store on disk (SQLite). The two sides (`world`) make their pages on the fly and forget what is written, so that only the
product's own memory is measured.
"""

import subprocess
import sys

from benchmarks.measure import Measure
from benchmarks.world import ROOT

SIZES = (5_000, 25_000)
FULL_SIZES = (100_000, 1_000_000)
MB = 1024
"""Kilobytes, the unit of /proc (proc(5))."""
CHILD = """
import sys, tempfile
from pathlib import Path
from benchmarks.world import Crm, Platform, engine, mapping, opened
from connector.app import spare_the_collector

messages = int(sys.argv[1])
spare_the_collector()
with tempfile.TemporaryDirectory() as folder, opened(f"sqlite:///{folder}/connector.db") as store:
    crm = Crm()
    engine(store, Platform(persons=200, messages=messages), crm, mapping()).sync()
    assert crm.messages == messages, crm.messages
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
"""`VmHWM` is the peak of this program alone; `ru_maxrss` would count the process that started it, too (getrusage(2))."""


def measure(full: bool) -> list[Measure]:
    """Megabytes."""
    few, many = FULL_SIZES if full else SIZES
    small, large = peak(few), peak(many)
    return [
        Measure(f"peak memory of {many:,} messages", "MB", large, f"{few:,} messages", small, 1.2),
        Measure(f"peak memory of {many:,} messages", "MB", large, goal=200),
    ]


def peak(messages: int) -> float:
    """Megabytes of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(messages)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout) / MB
