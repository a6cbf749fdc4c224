"""Two sandboxes with customers in them, and a connector between them that is set up as an operator sets it up: by a config
file. What the benchmarks that go over HTTP share.
"""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from connector.app import App, spare_the_collector
from connector.sandbox.serve import Sandboxes, running
from connector.sync.engine import Engine
from connector.sync.guards import GUARDS
from connector.sync.report import Report

ROOT = Path(__file__).parents[1]
CONNECTION = "bench"
CONFIG = """\
store: {{url: "sqlite:///connector.db", key: "file:store-key"}}
service: {{port: {port}}}
schedule: {schedule}
connections:
  {name}:
    platform:
      type: chatwoot
      url: {chatwoot}
      account: {account}
      token: file:chatwoot-token
      {webhooks}
    crm:
      type: salesforce
      url: {salesforce}
      auth: {{flow: client_credentials, client_id: connector, client_secret: "file:salesforce-client-secret"}}
      ca: ca.pem
    mapping: {mapping}
"""
CHUNK = 100
"""Conversations in one import."""


@dataclass(frozen=True)
class Calls:
    """API calls as the sandboxes count them."""

    crm: int
    platform: int

    def __sub__(self, other: "Calls") -> "Calls":
        return Calls(self.crm - other.crm, self.platform - other.platform)


class Pair:
    """The two systems. `config` is the connector's config file."""

    def __init__(self, sandboxes: Sandboxes, config: Path) -> None:
        self.sandboxes = sandboxes
        self.config = config
        self._platform, self._crm = requests.Session(), self.session()
        self._platform.trust_env = False
        self._platform.headers["Api-Access-Token"] = sandboxes.chatwoot_token.read_text().strip()

    def platform(self, method: str, path: str, body: object = None) -> Any:
        return _answer(self._platform.request(method, f"{self.sandboxes.chatwoot_url}/{path}", json=body, timeout=300))

    def crm(self, method: str, path: str, body: object = None) -> Any:
        return _answer(self._crm.request(method, f"{self.sandboxes.salesforce_url}/{path}", json=body, timeout=300))

    def api(self, method: str, path: str, body: object = None) -> Any:
        """A call of Chatwoot's own API, as an administrator."""
        return self.platform(method, f"api/v1/accounts/{self.sandboxes.account_id}/{path}", body)

    def session(self) -> requests.Session:
        """A plain session that trusts the CRM's certificate."""
        session = requests.Session()
        session.trust_env, session.verify = False, str(self.sandboxes.salesforce_ca)
        return session

    def calls(self) -> Calls:
        requests_ = self.platform("GET", "__control/stats")["requests"]
        return Calls(self.crm("GET", "__control/stats")["calls"], sum(requests_.values()))

    def work(self) -> float:
        """Seconds that the two sandboxes were at work on calls."""
        return float(sum(ask("GET", "__control/stats")["busy_s"] for ask in (self.platform, self.crm)))

    def delay(self, seconds: float) -> None:
        """From now on each answer of either side comes so much later."""
        self.platform("POST", "__control/faults", {"kind": "slow", "delay": seconds, "times": None})
        self.crm("POST", "__control/faults", {"kind": "slow", "seconds": seconds, "times": None})

    def settle(self) -> None:
        """Wait until the platform has sent every webhook and delivered every reply."""
        self.platform("GET", "__control/settle")

    def customers(self, count: int, messages: int, start: int = 0) -> None:
        """So many customers, each with a conversation of so many messages; the last was written an hour ago."""
        for begin in range(start, start + count, CHUNK):
            numbers = range(begin, min(begin + CHUNK, start + count))
            self.platform(
                "POST",
                "__control/import",
                {
                    "inboxes": [{"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}],
                    "contacts": [_contact(number) for number in numbers],
                    "conversations": [_conversation(number, messages) for number in numbers],
                },
            )

    def write(self, customer: int, conversation: int, text: str) -> None:
        """A customer writes one more message."""
        body = {"inbox": "WhatsApp", "source_id": phone(customer)[1:], "conversation": conversation, "text": text}
        self.platform("POST", "__control/customer", body)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine as the daemon holds one, ready for its first round. All guards are allowed: what people do here is
        more than they do in a day."""
        spare_the_collector()
        with App.open(self.config) as app, app.plugs[CONNECTION].join() as joined:
            engine = joined.engine(allowed=GUARDS)
            engine.prepare()
            yield engine


@contextmanager
def pair(schedule: str = "{}", *, webhooks: bool = False) -> Iterator[Pair]:
    """Fresh sandboxes until the block ends. `schedule` is the config's; with `webhooks` the platform sends them to a daemon on
    this config."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with running(directory) as sandboxes:
            port = free_port()
            (directory / "store-key").write_text("the store key of a benchmark")
            (directory / "config.yaml").write_text(
                CONFIG.format(
                    name=CONNECTION,
                    schedule=schedule,
                    port=port,
                    chatwoot=sandboxes.chatwoot_url,
                    account=sandboxes.account_id,
                    webhooks="webhook_secret: file:webhook-secret" if webhooks else "",
                    salesforce=sandboxes.salesforce_url,
                    mapping=ROOT / "mappings" / "chatwoot-salesforce.yaml",
                )
            )
            town = Pair(sandboxes, directory / "config.yaml")
            if webhooks:
                hook = {"url": f"http://127.0.0.1:{port}/webhooks/{CONNECTION}", "subscriptions": ["message_created"]}
                made = town.api("POST", "webhooks", hook)["payload"]["webhook"]
                (directory / "webhook-secret").write_text(made["secret"])
            yield town


def free_port() -> int:
    """Of the moment: the platform has to know the daemon's address before there is a daemon."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def turn(engine: Engine, *due: str) -> Report:
    """What the daemon does when these streams are due: read each, then write until nothing is left to write."""
    report = Report()
    engine.begin()
    moved = not due
    for side, stream in engine.streams():
        if stream.name in due:
            moved |= bool(engine.round([(side, stream.name)], report))
    while moved:
        moved = bool(engine.round([], report))
    assert not report.trouble, report.trouble
    assert not report.failed, report
    return report


def phone(number: int) -> str:
    return f"+31{600_000_000 + number}"


def text(number: int) -> str:
    return f"Hello, this is message {number}. Is my bike ready? Best, somebody & co 🚲"


def _contact(number: int) -> dict[str, Any]:
    return {
        "key": str(number),
        "name": f"Customer No. {number}",
        "email": f"customer{number}@mail.example",
        "phone_number": phone(number),
        "identities": [{"inbox": "whatsapp", "source_id": phone(number)[1:]}],
    }


def _conversation(number: int, messages: int) -> dict[str, Any]:
    last = datetime.now(UTC) - timedelta(hours=1)
    return {
        "key": str(number),
        "inbox": "whatsapp",
        "contact": str(number),
        "messages": [
            {
                "type": "incoming" if place % 3 else "outgoing",
                "text": text(number * messages + place),
                "at": (last - timedelta(minutes=messages - place)).timestamp(),
            }
            for place in range(messages)
        ],
    }


def _answer(response: requests.Response) -> Any:
    if not response.ok:
        raise RuntimeError(f"{response.request.method} {response.url}: {response.status_code} {response.text[:500]}")
    return response.json() if response.content else None
