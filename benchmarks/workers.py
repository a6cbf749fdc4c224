"""Messages a second of 1, 2 and 4 workers (`connector worker`) on one PostgreSQL, which share connections whose two sides cost next
to nothing: so what is measured is the workers themselves, with their store and queue.

Eight connections, each with a first load; the time counts from the moment when all are due until the last one is in. The database
runs on the same machine, so with two cores a second worker shares them with it. `cores in use` counts all programs of the machine:
what one worker and its database leave is all that a second one can get.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "servers"))
from postgresql import running

from benchmarks.measure import Measure
from benchmarks.world import Crm, Platform, now
from connector.adapters.base import Adapter, Capabilities
from connector.app import App, Plug, spare_the_collector
from connector.cli.shared import holder
from connector.model import Side
from connector.service import logs
from connector.service.crew import Member
from connector.service.stopping import stop_signals

CONNECTIONS = 8
PERSONS = 20
SMALL, LARGE = 1_000, 10_000
"""Messages of each connection."""
PATIENCE = 180.0
"""Seconds until a run counts as stuck."""

CONNECTION = """\
  c{number}:
    platform: {{type: chatwoot, url: "http://127.0.0.1:9", account: {account}, token: "file:secret"}}
    crm: {{type: odoo, url: "http://127.0.0.1:9", database: db, login: bot, key: "file:secret"}}
    mapping: {mapping}
"""


@dataclass(frozen=True)
class Quiet(Plug):
    """A connection whose two sides are `benchmarks.world`'s."""

    messages: int = 0

    def platform(self, *_: object) -> Adapter:
        return Platform(persons=PERSONS, messages=self.messages)

    def crm(self, *_: object) -> Adapter:
        return Crm()

    @property
    def capabilities(self) -> dict[Side, Capabilities]:
        return {Side.PLATFORM: Platform().capabilities, Side.CRM: Crm().capabilities}


def work(config: Path, messages: int) -> None:
    """One worker, until it is told to stop."""
    spare_the_collector()
    with App.open(config) as app:
        logs.configure(app.config.log)
        plugs = [Quiet(**vars(plug), messages=messages) for plug in app.chosen(None)]
        member = Member(app, plugs, holder(), serves=False)
        with stop_signals(member.stop):
            member.run(lambda _url: print("ready", flush=True))


def measure(full: bool) -> list[Measure]:
    messages = LARGE if full else SMALL
    with tempfile.TemporaryDirectory() as folder, running() as server:
        found = {workers: rate(Path(folder), server.create(), workers, messages) for workers in (1, 2, 4)}
    one, used_by_one = found[1]
    cores = os.cpu_count() or 1
    room = one * min(2, cores / used_by_one)
    return [
        Measure("messages a second, 1 worker", "1/s", one),
        Measure("messages a second, 2 workers", "1/s", found[2][0], "1 worker", one, goal=1.7, wants="at least"),
        Measure("messages a second, 2 workers", "1/s", found[2][0], "what the cores have room for", room),
        Measure("messages a second, 4 workers", "1/s", found[4][0], "1 worker", one),
        *(
            Measure(f"cores in use with {workers} workers", "cores", used, "cores of this machine", cores)
            for workers, (_, used) in found.items()
        ),
    ]


def rate(folder: Path, url: str, workers: int, messages: int) -> tuple[float, float]:
    """Messages a second of so many workers, and how many cores were busy."""
    config = folder / f"config-{workers}.yaml"
    (folder / "secret").write_text("of the benchmark")
    mapping = ROOT / "mappings" / "chatwoot-odoo.yaml"
    connections = [CONNECTION.format(number=n, account=n + 1, mapping=mapping) for n in range(CONNECTIONS)]
    head = f'store: {{url: "{url}", key: "file:secret"}}\nschedule: {{changes: 1d}}\n'
    config.write_text(head + "connections:\n" + "".join(connections))
    with App.open(config) as app:
        ledgers = [plug.ledger for plug in app.plugs.values()]
        for ledger in ledgers:
            ledger.come_back(now() + timedelta(days=1), resting=True)
        program = "import sys; from pathlib import Path; from benchmarks.workers import work; work(Path(sys.argv[1]), int(sys.argv[2]))"
        children = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(config), str(messages)],
                stdout=subprocess.PIPE,
                stderr=(folder / f"worker-{workers}-{number}.log").open("w"),
                text=True,
                cwd=ROOT,
            )
            for number in range(workers)
        ]
        try:
            for child in children:
                assert child.stdout
                assert child.stdout.readline() == "ready\n", (folder / f"worker-{workers}-0.log").read_text()
            started, before = time.perf_counter(), busy()
            for ledger in ledgers:
                ledger.come_back(now())
            while not all(ledger.account().states.get("synced") == messages for ledger in ledgers):
                assert time.perf_counter() - started < PATIENCE, (folder / f"worker-{workers}-0.log").read_text()
                time.sleep(0.5)
            seconds, cpu = time.perf_counter() - started, busy() - before
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
    return CONNECTIONS * messages / seconds, cpu / seconds


def busy() -> float:
    """CPU seconds that all programs of this machine have used."""
    line = Path("/proc/stat").read_text().splitlines()[0]
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq.
    user, nice, system, _, _, irq, softirq = map(int, line.split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps([vars(one) for one in measure(full=False)], indent=1))
