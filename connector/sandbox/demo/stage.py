"""The stage of the demo: the platform's sandbox and a CRM with people at work, the connector between them, and how it is
judged."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from connector.app import App, Plug, held_lease
from connector.model import Kind, Ref, State
from connector.sandbox.demo.crm import Crm, Deed
from connector.sandbox.demo.deeds import People
from connector.sandbox.demo.people import ACTIVITY, Agent, Networks
from connector.sync.report import Report

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
HOLDER = "demo"
"""Who holds the connection's lease."""


@dataclass(frozen=True)
class Run:
    """One run of the connector; API calls and records written in the CRM meanwhile, as the CRM itself counts them. Where it
    counts no calls, the connector's own count of them."""

    report: Report
    crm_calls: int
    crm_records: int


@dataclass
class Stage:
    chatwoot_url: str
    directory: Path
    """The sandboxes' state."""
    people: People
    plug: Plug
    runs: list[Run] = field(default_factory=list)

    def sync(self) -> Run:
        """What `connector sync` does: until both sides are quiet."""
        crm = self.people.crm
        calls, records = crm.calls(), crm.written()
        with held_lease(self.plug.ledger, HOLDER), self.plug.join() as joined:
            report = joined.engine().sync()
            told = joined.crm.usage().calls
        calls_after, records_after = crm.calls(), crm.written()
        counted = told if calls is None or calls_after is None else calls_after - calls
        self.runs.append(Run(report, counted, records_after - records))
        return self.runs[-1]


@dataclass(frozen=True)
class Scene:
    """How the story begins with one CRM: what the reader is told, and the stage in an empty directory."""

    opening: str
    stage: Callable[[Path], AbstractContextManager[Stage]]


@contextmanager
def set_up(
    directory: Path, chatwoot_url: str, account: int, crm: Crm, own_crm: Callable[[dict[str, Any]], None]
) -> Iterator[Stage]:
    """The stage of a running Chatwoot sandbox whose state with the samples lies in `directory`/.sandbox, and of a CRM; the
    store is fresh. `own_crm` makes the CRM of the config that one. Raises ConfigError."""
    state = directory / ".sandbox"
    agent = Agent(chatwoot_url, account, (state / "chatwoot-agent-token").read_text().strip())
    people = People(crm, agent, Networks(chatwoot_url, state))
    with App.open(write_config(directory, chatwoot_url, account, own_crm)) as app:
        (plug,) = app.chosen(None)
        yield Stage(chatwoot_url, state, people, plug)


def write_config(directory: Path, chatwoot_url: str, account: int, own_crm: Callable[[dict[str, Any]], None]) -> Path:
    """config.example.yaml with the addresses of this stage."""
    yaml = YAML()
    config: Any = yaml.load(EXAMPLE)
    (connection,) = config["connections"].values()
    connection["platform"] |= {"url": chatwoot_url, "account": account}
    own_crm(connection)
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
    stored_in_crm = on.people.crm.stored()
    if stored_in_crm != states[State.SYNCED]:
        return f"{states[State.SYNCED]} messages are synced, but the CRM has {stored_in_crm} of them"
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
