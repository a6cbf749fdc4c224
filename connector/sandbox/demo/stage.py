"""The stage of the demo: both sandboxes with people at work, the connector between them, and how it is judged."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from connector.app import App, Plug, held_lease
from connector.model import Kind, Ref, State
from connector.sandbox.demo.deeds import Deed, People
from connector.sandbox.demo.people import Agent, CrmUser, Networks
from connector.sandbox.serve import Sandboxes, running
from connector.sync.engine import Report

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
ACTIVITY = 2  # Chatwoot's message_type of the lines it writes itself ("Sam assigned ..."): no messages
HOLDER = "demo"
"""Who holds the connection's lease."""


@dataclass(frozen=True)
class Run:
    """One run of the connector; API calls and records written in the CRM meanwhile, as the org itself counts them."""

    report: Report
    crm_calls: int
    crm_records: int


@dataclass
class Stage:
    sandboxes: Sandboxes
    people: People
    plug: Plug
    runs: list[Run] = field(default_factory=list)

    def sync(self) -> Run:
        """What `connector sync` does: until both sides are quiet."""
        counters = self.people.crm_user.counters
        calls, records = counters()
        with held_lease(self.plug.ledger, HOLDER), self.plug.join() as joined:
            report = joined.engine().sync()
        calls_after, records_after = counters()
        self.runs.append(Run(report, calls_after - calls, records_after - records))
        return self.runs[-1]


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Both sandboxes with the sample shop, and a fresh store, in an empty directory.

    Raises SandboxError when a sandbox does not come up, and ConfigError.
    """
    with running(directory / ".sandbox", samples=True) as sandboxes:
        people = People(CrmUser(sandboxes), Agent(sandboxes), Networks(sandboxes))
        with App.open(write_config(directory, sandboxes)) as app:
            (plug,) = app.chosen(None)
            yield Stage(sandboxes, people, plug)


def write_config(directory: Path, sandboxes: Sandboxes) -> Path:
    """config.example.yaml with the addresses of these sandboxes."""
    yaml = YAML()
    config: Any = yaml.load(EXAMPLE)
    (connection,) = config["connections"].values()
    connection["platform"] |= {"url": sandboxes.chatwoot_url, "account": sandboxes.account_id}
    connection["crm"]["url"] = sandboxes.salesforce_url
    connection["mapping"] = str(EXAMPLE.parent / connection["mapping"])
    path = directory / "config.yaml"
    yaml.dump(config, path)
    return path


def sync_idle(on: Stage) -> Deed:
    """Sync though nothing has happened; what that wrote is judged by both systems' own tables."""
    before = on.people.networks.tables()
    run = on.sync()
    after = on.people.networks.tables()
    changed = [name for name, rows in after.items() if rows != before[name]]
    lack = f"a sync without news wrote {run.crm_records} CRM records and changed {changed} in Chatwoot"
    return Deed(
        "a sync without news writes nothing, on neither side", lambda: lack if changed or run.crm_records else None
    )


def judge(on: Stage, deeds: Sequence[Deed]) -> tuple[list[str], list[str]]:
    """What has arrived, and what is missing."""
    balance = Deed("the account balances: every message is in exactly one state", lambda: unbalanced(on))
    arrived: list[str] = []
    missing: list[str] = []
    for deed in (balance, *deeds):
        lack = deed.arrived()
        if lack is None:
            arrived.append(deed.told)
        else:
            missing.append(lack)
    return arrived, missing


def unbalanced(on: Stage) -> str | None:
    """Why `seen = synced + filtered + held + erased` does not hold, counted against the tables of both systems."""
    ledger = on.plug.ledger
    states = ledger.account().states
    stored = sum(message["message_type"] != ACTIVITY for message in on.people.networks.tables()["message"])
    seen, settled = ledger.seen(), sum(count for state, count in states.items() if state is not State.OPEN)
    if not stored == seen == settled:
        return f"Chatwoot stores {stored} messages, the connector has seen {seen} and accounts for {settled}"
    tasks = len(on.people.crm_user.query("SELECT Id FROM Task WHERE SMM_Message_Key__c != null"))
    if tasks != states[State.SYNCED]:
        return f"{states[State.SYNCED]} messages are synced, but the CRM has {tasks} tasks"
    return None


def account_by_network(on: Stage) -> dict[str, Counter[State]]:
    ledger = on.plug.ledger
    system = on.plug.config.platform.type
    refs = [Ref(system, Kind.CONVERSATION, str(row["id"])) for row in on.people.networks.tables()["conversation"]]
    conversations = ledger.facts(refs)
    found: dict[str, Counter[State]] = {}
    for message in ledger.facts(ledger.children(refs, Kind.MESSAGE)).values():
        if message.parent and message.state:
            found.setdefault(conversations[message.parent].fields["network"], Counter())[message.state] += 1
    return found
