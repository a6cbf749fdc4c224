"""Both sandboxes, the engine between them, and the people who work in the two systems (by plain requests, not through the
connector's adapters)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from connector.adapters.chatwoot import Chatwoot
from connector.adapters.salesforce import Salesforce
from connector.adapters.salesforce.tokens import ClientCredentials
from connector.mapping.compiled import Context, compile_mapping, reads
from connector.mapping.load import load_mapping
from connector.model import Hold
from connector.sandbox.serve import Sandboxes, running
from connector.service.settling import settle
from connector.store.store import Store
from connector.sync.engine import Engine, Report

ROOT = Path(__file__).parents[2]


class Clock:
    """Real time, except that sleeping takes none: what waits for later sees the time pass at once."""

    def __init__(self, off: timedelta = timedelta(0)) -> None:
        self._slept = off

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._slept

    def sleep(self, seconds: float) -> None:
        self._slept += timedelta(seconds=seconds)


class Office:
    """The two systems with people in them, and a connector that can be thrown away and made anew."""

    def __init__(self, sandboxes: Sandboxes, mapping: str = "chatwoot-salesforce.yaml") -> None:
        self.sandboxes = sandboxes
        self.directory = sandboxes.directory
        self.ca = str(self.directory / "ca.pem")
        self.mapping_file = ROOT / "mappings" / mapping
        self._agent = {"Api-Access-Token": self._secret("chatwoot-agent-token")}
        self._crm_token: str | None = None
        self._store: Store | None = None
        self._phones = count(31_600_000_001)
        self.clock_off = timedelta(0)
        """How wrong the clock of the connector's machine is."""

    def _secret(self, name: str) -> str:
        return (self.directory / name).read_text().strip()

    # -- the connector

    def engine(self, **options: Any) -> Engine:
        """A connector as after a restart: nothing but the store is left of the one before."""
        self.close()
        mapping, clock = load_mapping(self.mapping_file), Clock(self.clock_off)
        chatwoot = Chatwoot(
            self.sandboxes.chatwoot_url,
            self.sandboxes.account_id,
            self._secret("chatwoot-token"),
            clock=clock,
            sleep=clock.sleep,
        )
        crm = Salesforce(
            self.sandboxes.salesforce_url,
            ClientCredentials("connector", self._secret("salesforce-client-secret")),
            reads(compile_mapping(mapping, Context({}, "shop"))),
            clock=clock,
            sleep=clock.sleep,
            ca=self.ca,
        )
        users = {user.email: user.id for user in crm.users() if user.active}
        self._store = Store.open(f"sqlite:///{self.directory}/connector.db", clock=clock)
        compiled = compile_mapping(mapping, Context(users, "shop"))
        return Engine(
            "shop", self._store.at("shop"), chatwoot, crm, compiled, clock=clock, sleep=clock.sleep, **options
        )

    def sync(self, **options: Any) -> Report:
        report = self.engine(**options).sync()
        self.settle()
        return report

    def close(self) -> None:
        if self._store:
            self._store.close()
            self._store = None

    @property
    def ledger(self) -> Any:
        assert self._store is not None
        return self._store.at("shop")

    def account(self) -> dict[str, int]:
        return {state.value: count for state, count in self.ledger.account().states.items() if count}

    # -- the platform, as its agents and customers see it

    def control(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.sandboxes.chatwoot_url}/__control/{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def settle(self) -> None:
        requests.get(f"{self.sandboxes.chatwoot_url}/__control/settle", timeout=30).raise_for_status()

    def agent(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.sandboxes.chatwoot_url}/api/v1/accounts/{self.sandboxes.account_id}/{path}"
        answer = requests.request(method, url, json=body or None, headers=self._agent, timeout=30)
        assert answer.ok, answer.text
        return answer.json() if answer.text else None

    def conversation(self, id_: int) -> Any:
        return self.agent("GET", f"conversations/{id_}")

    def person(self, id_: int) -> Any:
        return self.agent("GET", f"contacts/{id_}")["payload"]

    def received(self, conversation: int) -> list[str]:
        """What the network really got, as its reader sees it."""
        url = f"{self.sandboxes.chatwoot_url}/__control/network?conversation={conversation}"
        answer = requests.get(url, timeout=30).json()
        return [one["text"] for one in (answer if isinstance(answer, list) else answer["payload"])]

    def dump(self) -> Any:
        return requests.get(f"{self.sandboxes.chatwoot_url}/__control/dump", timeout=30).json()

    # -- the CRM, as its users see it

    def crm_control(self, path: str, **body: Any) -> Any:
        answer = requests.post(
            f"{self.sandboxes.salesforce_url}/__control/{path}", json=body, verify=self.ca, timeout=30
        )
        assert answer.ok, answer.text
        return answer.json() if answer.text else None

    def crm_stats(self) -> Any:
        return requests.get(f"{self.sandboxes.salesforce_url}/__control/stats", verify=self.ca, timeout=30).json()

    def crm(self, method: str, path: str, **body: Any) -> Any:
        """One call of a CRM user (not the connector's) on the REST API."""
        if self._crm_token is None:
            answer = requests.post(
                f"{self.sandboxes.salesforce_url}/services/oauth2/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": "crm-user",
                    "client_secret": self._secret("salesforce-user-secret"),
                },
                verify=self.ca,
                timeout=30,
            )
            self._crm_token = answer.json()["access_token"]
        answer = requests.request(
            method,
            f"{self.sandboxes.salesforce_url}/services/data/v67.0/{path}",
            json=body or None,
            headers={"Authorization": f"Bearer {self._crm_token}"},
            verify=self.ca,
            timeout=30,
        )
        assert answer.ok, answer.text
        return answer.json() if answer.text else None

    def records(self, object_: str) -> list[dict[str, Any]]:
        """Every live row, as an administrator sees it."""
        url = f"{self.sandboxes.salesforce_url}/__control/records/{object_}"
        rows = requests.get(url, verify=self.ca, timeout=30).json()
        return rows if isinstance(rows, list) else rows["records"]

    def record(self, object_: str, **wanted: Any) -> dict[str, Any]:
        found = [row for row in self.records(object_) if all(row.get(n) == v for n, v in wanted.items())]
        assert len(found) == 1, f"{len(found)} rows of {object_} with {wanted}"
        return found[0]

    def timeline(self, conversation: int) -> list[dict[str, Any]]:
        """The tasks of a conversation in the order in which they were made."""
        key = f"shop:{conversation}"
        rows = [row for row in self.records("Task") if row.get("SMM_Conversation_Key__c") == key]
        return sorted(rows, key=lambda row: (row["SMM_Sent_At__c"], row["Id"]))

    def reply(self, conversation: int, text: str) -> str:
        thread = self.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{conversation}")
        made = self.crm(
            "POST", "sobjects/Social_Outbound__c", Conversation__c=thread["Id"], Body__c=text, Status__c="Queued"
        )
        return str(made["id"])

    def outbound(self, id_: str) -> dict[str, Any]:
        return self.record("Social_Outbound__c", Id=id_)

    # -- a customer of one's own, apart from the samples

    def customer(self, name: str, source_id: str, text: str, inbox: str = "WhatsApp", **more: Any) -> int:
        """A customer writes; answers the conversation's id."""
        return int(
            self.control("customer", inbox=inbox, source_id=source_id, name=name, text=text, **more)["conversation_id"]
        )

    # -- what the tests of trouble look at, and how it ends

    def phone(self) -> str:
        """A number that nobody had before, as WhatsApp writes it."""
        return str(next(self._phones))

    def person_of(self, conversation: int) -> int:
        return int(self.conversation(conversation)["meta"]["sender"]["id"])

    def texts(self, conversation: int) -> list[str | None]:
        return [row.get("Description") for row in self.timeline(conversation)]

    def problems(self) -> dict[str, tuple[str, str]]:
        """What is wrong now, by scope: the code and the way out."""
        return {one.scope: (one.code, one.way_out) for one in self.ledger.problems()}

    def keys_are_unique(self) -> bool:
        keys = [row["SMM_Message_Key__c"] for row in self.records("Task")]
        keys += [row["SMM_Person_Key__c"] for row in self.records("Contact") if row.get("SMM_Person_Key__c")]
        return len(keys) == len(set(keys))

    def decide(self, hold: Hold, choice: str) -> None:
        """A person settles a hold, as the command `holds settle` does."""
        engine = self.engine()
        config = SimpleNamespace(crm=SimpleNamespace(type="salesforce"))
        plug: Any = SimpleNamespace(ledger=self.ledger, mapping=engine.mapping, config=config)
        settle(plug, hold.id, choice, "dana", "looked at both")

    def as_administrator(self, method: str, path: str) -> None:
        url = f"{self.sandboxes.chatwoot_url}/api/v1/accounts/{self.sandboxes.account_id}/{path}"
        headers = {"Api-Access-Token": self._secret("chatwoot-token")}
        requests.request(method, url, headers=headers, timeout=30).raise_for_status()

    def clear(self) -> None:
        """No faults any more on either side, and the CRM's settings of an ordinary day."""
        control = f"{self.sandboxes.salesforce_url}/__control"
        requests.delete(f"{self.sandboxes.chatwoot_url}/__control/faults", timeout=30).raise_for_status()
        for path in ("faults", "settings"):
            requests.delete(f"{control}/{path}", verify=self.ca, timeout=30).raise_for_status()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Both systems with inboxes and agents, and nobody in them yet."""
    with running(tmp_path) as sandboxes:
        office = Office(sandboxes)
        office.control(
            "import",
            inboxes=[
                {"key": "instagram", "name": "Instagram", "channel_type": "Channel::Instagram"},
                {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"},
            ],
            labels=[{"key": name, "title": name} for name in ("vip", "repair")],
        )
        yield office
        office.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Office]:
    """Both systems with the sample shop in them."""
    with running(tmp_path, samples=True) as sandboxes:
        office = Office(sandboxes)
        yield office
        office.close()


@pytest.fixture(scope="module")
def open_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Office]]:
    """Opens offices that the tests of a module share: `samples` loads the sample shop, `mapping` names the file, `sandboxes`
    are those that run already."""
    with ExitStack() as stack:

        def opened(
            *, samples: bool = False, mapping: str = "chatwoot-salesforce.yaml", sandboxes: Sandboxes | None = None
        ) -> Office:
            directory = tmp_path_factory.mktemp("office")
            office = Office(sandboxes or stack.enter_context(running(directory, samples=samples)), mapping)
            stack.callback(office.close)
            return office

        yield opened


@pytest.fixture(scope="module")
def building(open_office: Callable[..., Office]) -> Office:
    office = open_office()
    inbox = {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}
    office.control("import", inboxes=[inbox])
    office.sync()
    return office


@pytest.fixture
def desk(building: Office) -> Iterator[Office]:
    """An office that the tests of a module share: each has customers of its own, and takes back its faults and settings."""
    yield building
    building.clear()
