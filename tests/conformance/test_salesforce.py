"""The Salesforce adapter keeps the contract, over HTTPS against the sandbox process."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from suite import Conformance
from suite_world import Names, World, unique

from connector.adapters.base import Lookup, ObjectRead
from connector.adapters.salesforce import ClientCredentials, Salesforce
from connector.model import Kind, Ref

READS = {
    "Contact": ObjectRead(
        Kind.PERSON, ("LastName", "Email", "Phone", "Owner.Name", "OpenCaseCount"), "SMM_Person_Key__c", initial=True
    ),
    "Task": ObjectRead(Kind.MESSAGE, ("Subject",), parent="WhoId", initial=True),
}


@dataclass
class Sandbox:
    """A running sandbox. `control` acts as the org's admin and its people."""

    directory: Path

    def __post_init__(self) -> None:
        self.url: str = json.loads((self.directory / "salesforce.json").read_text())["url"]
        self.secret = (self.directory / "salesforce-client-secret").read_text().strip()
        self.ca = str(self.directory / "ca.pem")

    def control(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        with requests.Session() as session:
            session.trust_env = False
            response = session.request(method, f"{self.url}/__control/{path}", json=body, timeout=30, verify=self.ca)
        assert response.ok, response.text
        return response.json() if response.content else None

    def adapter(self, secret: str | None = None) -> Salesforce:
        return Salesforce(
            self.url,
            ClientCredentials("connector", secret or self.secret),
            READS,
            clock=lambda: datetime.now(UTC),
            sleep=lambda _seconds: None,
            ca=self.ca,
        )


class SalesforceWorld(World):
    names = Names("Contact", "LastName", "Email", "Phone", "SMM_Person_Key__c")

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.secret = sandbox.secret
        self.adapter = sandbox.adapter()
        self.stranger = sandbox.adapter("guessed-secret")

    def tick(self) -> None:
        """The sandbox has committed when it answers."""

    def seed(self, object_: str, **fields: Any) -> Ref:
        (id_,) = self.sandbox.control("seed", {"object": object_, "records": [fields]})["ids"]
        return Ref("salesforce", object_, id_)

    def add_person(self, name: str, **fields: Any) -> Ref:
        return self.seed("Contact", LastName=name, SMM_Person_Key__c=unique("key"), **fields)

    def edit_person(self, ref: Ref, **fields: Any) -> None:
        """Somebody else than the connector would do the same call."""
        self.human("PATCH", f"sobjects/{ref.object}/{ref.id}", fields)

    def delete_person(self, ref: Ref) -> None:
        self.human("DELETE", f"sobjects/{ref.object}/{ref.id}")

    def merge_persons(self, loser: Ref, winner: Ref) -> None:
        self.sandbox.control("merge", {"object": "Contact", "winner": winner.id, "losers": [loser.id]})

    def add_child(self, person: Ref, text: str) -> Ref:
        return self.seed("Task", Subject=text, WhoId=person.id)

    def twins(self) -> tuple[Lookup, set[Ref]]:
        email = f"{unique('twin')}@mail.example"
        pair = {self.add_person(unique("Twin"), Email=email) for _ in range(2)}
        return Lookup("Contact", "Email", email), pair

    def human(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        secret = (self.sandbox.directory / "salesforce-user-secret").read_text().strip()
        form = {"grant_type": "client_credentials", "client_id": "crm-user", "client_secret": secret}
        with requests.Session() as session:
            session.trust_env = False
            session.verify = self.sandbox.ca
            token = session.post(f"{self.sandbox.url}/services/oauth2/token", data=form, timeout=30).json()
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            url = f"{token['instance_url']}/services/data/v67.0/{path}"
            response = session.request(method, url, json=body, headers=headers, timeout=30)
        assert response.ok, response.text

    def commit_late(self, name: str) -> Callable[[], Ref]:
        self.sandbox.control("settings", {"commit_delay_s": 240})
        ref = self.add_person(name)
        self.sandbox.control("settings", method="DELETE")

        def commit() -> Ref:
            self.sandbox.control("time", {"advance_s": 241})
            return ref

        return commit

    @contextmanager
    def failing(self, fault: str, call: str) -> Iterator[None]:
        kind = {"lost_request": "drop_before", "lost_answer": "drop_after"}.get(fault, fault)
        body = {"read": "queryAll", "write": "composite/sobjects"}[call]
        match = {"path": "/services/data/v67.0/composite", "body": body}
        self.sandbox.control("faults", {"kind": kind, "match": match, "times": None, "status": 200})
        yield
        self.sandbox.control("faults", method="DELETE")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("salesforce")
    command = [sys.executable, "-m", "connector.sandbox.salesforce", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield Sandbox(directory)
    finally:
        process.terminate()
        process.communicate(timeout=30)


class TestSalesforce(Conformance):
    @pytest.fixture
    def world(self, sandbox: Sandbox) -> Iterator[World]:
        world = SalesforceWorld(sandbox)
        yield world
        world.adapter.close()
        world.stranger.close()
