"""How long a customer's message takes from the platform to the timeline in the CRM, with webhooks: from the moment in which
the platform has stored it until its task stands in the CRM.

Real processes: `connector run` with its store on disk, the two sandboxes, a webhook for each message. Customers of whom the
CRM knows already write one after the other, each as soon as the message before has arrived.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles

from benchmarks.measure import Measure
from benchmarks.sandboxes import Pair, pair, text

GOAL = 2.0
PEOPLE = 20
LOOK = 0.01
"""Seconds between two looks at the CRM; the figures are too high by no more than this and the time of a look."""
PATIENCE = 60.0
"""Seconds after which what has not arrived fails the run."""
QUIET = "{conversations: 1d, recheck: 1d, changes: 1d}"
"""Every stream is read once, at the start: what arrives later came by its webhook."""


def measure(full: bool) -> list[Measure]:
    messages = 500 if full else 100
    with pair(QUIET, webhooks=True) as town:
        town.customers(PEOPLE, messages=1)
        conversations = sorted(row["id"] for row in town.platform("GET", "__control/dump")["conversation"])
        took = []
        with daemon(town):
            wait(town, PEOPLE)
            for number in range(messages):
                customer = number % PEOPLE
                town.write(customer, conversations[customer], text(number))
                started = time.perf_counter()
                wait(town, PEOPLE + number + 1)
                took.append(time.perf_counter() - started)
    return [
        Measure("webhook to timeline, 95 of 100", "s", quantiles(took, n=20)[-1], goal=GOAL),
        Measure("webhook to timeline, half of them", "s", median(took)),
        Measure("webhook to timeline, the slowest", "s", max(took)),
    ]


@contextmanager
def daemon(town: Pair) -> Iterator[None]:
    """`connector run` until the block ends."""
    command = [sys.executable, "-c", "from connector.cli import main; main()", "--config", str(town.config), "run"]
    with (town.config.parent / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait(town: Pair, tasks: int) -> None:
    """Until so many tasks stand in the CRM. Raises TimeoutError with the end of the daemon's log."""
    until = time.monotonic() + PATIENCE
    while (there := town.crm("GET", "__control/stats")["writes"].get("Task", {}).get("inserted", 0)) < tasks:
        if time.monotonic() > until:
            log = (town.config.parent / "daemon.log").read_text(encoding="utf-8", errors="replace")
            raise TimeoutError(f"{there} of {tasks} tasks have arrived. The end of the daemon's log:\n{log[-2000:]}")
        time.sleep(LOOK)
