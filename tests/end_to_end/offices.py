"""Offices: two systems with people in them, and a connector between that can be thrown away and made anew. The people act
by plain requests, not through the connector's adapters."""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests
from odoo_server import Odoo as OdooServer
from odoo_server import Person

from connector.adapters.base import Adapter, ObjectRead
from connector.adapters.chatwoot import Chatwoot
from connector.adapters.odoo import Odoo
from connector.adapters.salesforce import Salesforce
from connector.adapters.salesforce.tokens import ClientCredentials
from connector.app import contacts_by_email, users_by_email
from connector.mapping.compiled import Context, compile_mapping, reads
from connector.mapping.load import parse_mapping
from connector.model import Hold
from connector.sandbox.serve import Sandboxes
from connector.service.settling import settle
from connector.store.store import Store
from connector.sync.engine import Engine
from connector.sync.report import Report

ROOT = Path(__file__).parents[2]
read_once = functools.lru_cache(parse_mapping)
"""To read a mapping takes as long as a small sync."""


class Clock:
    """Real time, except that sleeping takes none: what waits for later sees the time pass at once."""

    def __init__(self, off: timedelta = timedelta(0)) -> None:
        self._slept = off

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._slept

    def sleep(self, seconds: float) -> None:
        self._slept += timedelta(seconds=seconds)


class Chatwooted:
    """An office whose platform is the Chatwoot sandbox at `url`; a subclass brings the CRM."""

    crm_type: str
    name = "shop"
    """The connection's."""

    def __init__(self, url: str, account_id: int, directory: Path, mapping: str) -> None:
        self.chatwoot_url = url
        self.account_id = account_id
        self.directory = directory
        self.mapping_file = mapping if isinstance(mapping, Path) else ROOT / "mappings" / mapping
        self._agent = {"Api-Access-Token": self._secret("chatwoot-agent-token")}
        self._store: Store | None = None
        self._phones = count(31_600_000_001)
        self._writers: dict[int, tuple[str, str, str]] = {}
        self.clock_off = timedelta(0)
        """How wrong the clock of the connector's machine is."""

    def _secret(self, name: str) -> str:
        return (self.directory / name).read_text().strip()

    def crm_adapter(self, wanted: Mapping[str, ObjectRead], clock: Clock) -> Adapter:
        raise NotImplementedError

    # -- the connector

    def engine(self, **options: Any) -> Engine:
        """A connector as after a restart: nothing but the store is left of the one before."""
        self.close()
        mapping, clock = read_once(self.mapping_file.read_text()), Clock(self.clock_off)
        chatwoot = Chatwoot(
            self.chatwoot_url, self.account_id, self._secret("chatwoot-token"), clock=clock, sleep=clock.sleep
        )
        crm = self.crm_adapter(reads(compile_mapping(mapping, Context({}, self.name))), clock)
        users = crm.users()
        self._store = Store.open(f"sqlite:///{self.directory}/connector.db", clock=clock)
        compiled = compile_mapping(mapping, Context(users_by_email(users), self.name, contacts_by_email(users)))
        return Engine(
            self.name, self._store.at(self.name), chatwoot, crm, compiled, clock=clock, sleep=clock.sleep, **options
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
        return self._store.at(self.name)

    def account(self) -> dict[str, int]:
        return {state.value: count for state, count in self.ledger.account().states.items() if count}

    def problems(self) -> dict[str, tuple[str, str]]:
        """What is wrong now, by scope: the code and the way out."""
        return {one.scope: (one.code, one.way_out) for one in self.ledger.problems()}

    def decide(self, hold: Hold, choice: str) -> None:
        """A person settles a hold, as the command `holds settle` does."""
        engine = self.engine()
        config = SimpleNamespace(crm=SimpleNamespace(type=self.crm_type), platform=SimpleNamespace(type="chatwoot"))
        plug: Any = SimpleNamespace(ledger=self.ledger, mapping=engine.mapping, config=config)
        settle(plug, hold.id, choice, "dana", "looked at both")

    # -- the platform, as its agents and customers see it

    def control(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.chatwoot_url}/__control/{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def settle(self) -> None:
        requests.get(f"{self.chatwoot_url}/__control/settle", timeout=30).raise_for_status()

    def agent(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.chatwoot_url}/api/v1/accounts/{self.account_id}/{path}"
        answer = requests.request(method, url, json=body or None, headers=self._agent, timeout=30)
        assert answer.ok, answer.text
        return answer.json() if answer.text else None

    def conversation(self, id_: int) -> Any:
        return self.agent("GET", f"conversations/{id_}")

    def person(self, id_: int) -> Any:
        return self.agent("GET", f"contacts/{id_}")["payload"]

    def received(self, conversation: int) -> list[str]:
        """What the network really got, as its reader sees it."""
        url = f"{self.chatwoot_url}/__control/network?conversation={conversation}"
        answer = requests.get(url, timeout=30).json()
        return [one["text"] for one in (answer if isinstance(answer, list) else answer["payload"])]

    def dump(self) -> Any:
        return requests.get(f"{self.chatwoot_url}/__control/dump", timeout=30).json()

    # -- a customer of one's own, apart from the samples

    def customer(self, name: str, source_id: str, text: str, inbox: str = "WhatsApp", **more: Any) -> int:
        """A customer writes; answers the conversation's id."""
        told = self.control("customer", inbox=inbox, source_id=source_id, name=name, text=text, **more)
        self._writers[int(told["conversation_id"])] = name, source_id, inbox
        return int(told["conversation_id"])

    def write_again(self, conversation: int, text: str) -> None:
        """The customer of a conversation writes once more."""
        name, source_id, inbox = self._writers[conversation]
        self.customer(name, source_id, text, inbox, conversation=conversation)

    def phone(self) -> str:
        """A number that nobody had before, as WhatsApp writes it."""
        return str(next(self._phones))

    def person_of(self, conversation: int) -> int:
        return int(self.conversation(conversation)["meta"]["sender"]["id"])

    def as_administrator(self, method: str, path: str) -> None:
        url = f"{self.chatwoot_url}/api/v1/accounts/{self.account_id}/{path}"
        headers = {"Api-Access-Token": self._secret("chatwoot-token")}
        requests.request(method, url, headers=headers, timeout=30).raise_for_status()

    def clear(self) -> None:
        """No faults any more."""
        requests.delete(f"{self.chatwoot_url}/__control/faults", timeout=30).raise_for_status()


class Office(Chatwooted):
    """Chatwoot and Salesforce."""

    crm_type = "salesforce"

    def __init__(self, sandboxes: Sandboxes, mapping: str = "chatwoot-salesforce.yaml") -> None:
        super().__init__(sandboxes.chatwoot_url, sandboxes.account_id, sandboxes.directory, mapping)
        self.sandboxes = sandboxes
        self.ca = str(self.directory / "ca.pem")
        self._crm_token: str | None = None

    def crm_adapter(self, wanted: Mapping[str, ObjectRead], clock: Clock) -> Salesforce:
        return Salesforce(
            self.sandboxes.salesforce_url,
            ClientCredentials("connector", self._secret("salesforce-client-secret")),
            wanted,
            clock=clock,
            sleep=clock.sleep,
            ca=self.ca,
        )

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
        key = f"{self.name}:{conversation}"
        rows = [row for row in self.records("Task") if row.get("SMM_Conversation_Key__c") == key]
        return sorted(rows, key=lambda row: (row["SMM_Sent_At__c"], row["Id"]))

    def reply(self, conversation: int, text: str) -> str:
        thread = self.record("Social_Conversation__c", SMM_Conversation_Key__c=f"{self.name}:{conversation}")
        made = self.crm(
            "POST", "sobjects/Social_Outbound__c", Conversation__c=thread["Id"], Body__c=text, Status__c="Queued"
        )
        return str(made["id"])

    def outbound(self, id_: str) -> dict[str, Any]:
        return self.record("Social_Outbound__c", Id=id_)

    # -- what the tests of trouble look at, and how it ends

    def texts(self, conversation: int) -> list[str | None]:
        return [row.get("Description") for row in self.timeline(conversation)]

    def keys_are_unique(self) -> bool:
        keys = [row["SMM_Message_Key__c"] for row in self.records("Task")]
        keys += [row["SMM_Person_Key__c"] for row in self.records("Contact") if row.get("SMM_Person_Key__c")]
        return len(keys) == len(set(keys))

    def clear(self) -> None:
        """No faults any more on either side, and the CRM's settings of an ordinary day."""
        super().clear()
        for path in ("faults", "settings"):
            answer = requests.delete(f"{self.sandboxes.salesforce_url}/__control/{path}", verify=self.ca, timeout=30)
            answer.raise_for_status()


class OdooOffice(Chatwooted):
    """Chatwoot and a real Odoo. `crm` acts as its administrator and reads what really stands there."""

    crm_type = "odoo"

    def __init__(
        self, chatwoot: Any, directory: Path, server: OdooServer, mapping: str = "chatwoot-odoo.yaml", url: str = ""
    ) -> None:
        super().__init__(chatwoot["url"], chatwoot["account_id"], directory, mapping)
        self.server = server
        self.crm: Person = server.admin()
        self.crm_url = url or server.url

    def crm_adapter(self, wanted: Mapping[str, ObjectRead], clock: Clock) -> Odoo:
        server = self.server
        return Odoo(self.crm_url, server.database, server.bot, server.bot_key, wanted, clock=clock, sleep=clock.sleep)

    def partner_of(self, conversation: int) -> int:
        """The contact that the conversation's person is linked with, told by Chatwoot: we write Odoo's id there."""
        return int(self.person(self.person_of(conversation))["identifier"])

    def partner(self, id_: int, *fields: str) -> dict[str, Any]:
        (row,) = self.crm("res.partner", "read", [id_], list(fields))
        return dict(row)

    def chatter(self, partner: int, model: str = "res.partner") -> list[dict[str, Any]]:
        """What people read on the record, oldest first; notifications of the system left out."""
        fields = ["body", "author_id", "email_from", "date", "subtype_id", "parent_id", "message_id", "create_uid"]
        domain = [["model", "=", model], ["res_id", "=", partner], ["message_type", "=", "comment"]]
        return list(self.crm("mail.message", "search_read", domain, fields, order="date, id"))

    def comment(self, partner: int, text: str, who: Person | None = None, **more: Any) -> int:
        """Somebody writes with "Send message" on the contact."""
        made = (who or self.crm)(
            "res.partner",
            "message_post",
            [partner],
            body=text,
            **{"message_type": "comment", "subtype_xmlid": "mail.mt_comment", **more},
        )
        return int(made[0] if isinstance(made, list) else made)
