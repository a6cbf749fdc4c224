"""A local Salesforce org in a process of its own, reached over HTTPS, and what people and the org's admin do there."""

import itertools
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import requests

from connector.adapters.base import ObjectRead, Write
from connector.adapters.salesforce import ClientCredentials, JwtBearer, RefreshToken, Salesforce
from connector.model import Kind

READS = {
    "Contact": ObjectRead(
        Kind.PERSON, ("FirstName", "LastName", "Email", "Phone", "Owner.Name", "Account.Rating", "OpenCaseCount")
    ),
    "Lead": ObjectRead(Kind.PERSON, ("LastName", "Company", "Email", "Phone")),
    "Social_Conversation__c": ObjectRead(
        Kind.CONVERSATION, ("Contact__c", "Status__c"), "SMM_Conversation_Key__c", "Contact__c", initial=True
    ),
    "Task": ObjectRead(Kind.MESSAGE, ("Subject", "WhoId"), "SMM_Message_Key__c", "WhatId"),
    "Social_Outbound__c": ObjectRead(
        Kind.REPLY, ("Conversation__c", "Body__c", "Status__c"), parent="Conversation__c", initial=True
    ),
}


class Clock:
    """A clock that stands still until it is moved. It starts at the real time, since the org judges our assertions."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


class Org:
    """The process, its control endpoint, and adapters that are connected to it."""

    _numbers = itertools.count(1)

    def __init__(self, directory) -> None:
        self.directory = directory
        command = [sys.executable, "-m", "connector.sandbox.salesforce", "--dir", str(directory)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._child.stdout.readline()
        self.url = json.loads((directory / "salesforce.json").read_text())["url"]
        self.ca = str(directory / "ca.pem")
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = self.ca
        self.clock = Clock()
        self.naps: list[float] = []

    def nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.clock.now += timedelta(seconds=seconds)

    def stop(self) -> None:
        self._child.terminate()
        self._child.communicate(timeout=30)
        self.http.close()

    def secret(self, name: str) -> str:
        return (self.directory / name).read_text().strip()

    def control(self, path: str, body=None, method: str = "POST"):
        response = self.http.request(method, f"{self.url}/__control/{path}", json=body, timeout=30)
        response.raise_for_status()
        return response.json() if response.content else None

    def fault(self, kind: str, path: str = "", **options) -> None:
        match = {"path": f"/services/data/v67.0/{path}"} if path else {}
        self.control("faults", {"kind": kind, "match": options.pop("match", match), **options})

    def seed(self, object_: str, *records: dict) -> list[str]:
        """Records that the org's admin, not the connector, makes."""
        return self.control("seed", {"object": object_, "records": list(records)})["ids"]

    def stats(self) -> dict:
        return self.control("stats", method="GET")

    def calls(self) -> int:
        return self.stats()["calls"]

    def rows(self, object_: str, **wanted) -> list[dict]:
        rows = self.control(f"records/{object_}", method="GET")["records"]
        return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]

    def unique(self, stem: str = "k") -> str:
        return f"{stem}{next(self._numbers)}"

    @property
    def credentials(self) -> ClientCredentials:
        return ClientCredentials("connector", self.secret("salesforce-client-secret"))

    @property
    def person(self) -> ClientCredentials:
        return ClientCredentials("crm-user", self.secret("salesforce-user-secret"))

    @property
    def jwt(self) -> JwtBearer:
        return JwtBearer("connector", "integration@acme.example", self.secret("salesforce-jwt-key.pem"))

    @property
    def refresh(self) -> RefreshToken:
        return RefreshToken(
            "connector", self.secret("salesforce-refresh-token"), self.secret("salesforce-client-secret")
        )

    def adapter(self, auth=None, reads=None, **options) -> Salesforce:
        options.setdefault("ca", self.ca)
        return Salesforce(
            self.url, auth or self.credentials, reads or READS, clock=self.clock, sleep=self.nap, **options
        )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    org = Org(tmp_path_factory.mktemp("salesforce"))
    yield org
    org.stop()


@pytest.fixture
def org(running):
    """The org without faults and with its settings as delivered; records of earlier tests stay."""
    running.control("faults", method="DELETE")
    running.control("settings", method="DELETE")
    running.control("stats/reset", {})
    running.naps.clear()
    running.clock = Clock()
    return running


@pytest.fixture
def sf(org):
    """A connected adapter: the login and our own user are known, so that calls can be counted."""
    adapter = org.adapter()
    adapter.check()
    org.control("stats/reset", {})
    yield adapter
    adapter.close()


@pytest.fixture
def human(org):
    """Somebody who works in the CRM."""
    adapter = org.adapter(org.person)
    yield adapter
    adapter.close()


@pytest.fixture
def contact():
    def write(**fields) -> Write:
        return Write(Kind.PERSON, "Contact", {"LastName": "Lind", **fields})

    return write
