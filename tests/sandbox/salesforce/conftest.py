"""One sandbox process for the folder, reached over real HTTPS, and a small client for it."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

DATA = "/services/data/v67.0"


class Process:
    """A sandbox process on a free port; `stop` and `kill` end it and report how."""

    def __init__(self, directory: Path, *options: str) -> None:
        command = [sys.executable, "-m", "connector.sandbox.salesforce", "--dir", str(directory), *options]
        self.directory = directory
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self.announcement = self._child.stdout.readline().strip()
        self.url: str = json.loads((directory / "salesforce.json").read_text())["url"]

    def kill(self) -> int:
        self._child.kill()
        self._child.communicate(timeout=30)
        return self._child.returncode

    def stop(self) -> int:
        self._child.terminate()
        self._child.communicate(timeout=30)
        return self._child.returncode


class Client:
    """Speaks to the sandbox as one client; a call names method and path, the answer is requests' own."""

    _numbers = itertools.count(1)

    def __init__(self, process: Process, client: str = "connector") -> None:
        self.url, self.directory = process.url, process.directory
        self.http = requests.Session()
        # The environment may name another certificate bundle, which requests would prefer to ours.
        self.http.trust_env = False
        self.http.verify = str(process.directory / "ca.pem")
        self.client = client
        self.login()

    def secret(self, name: str) -> str:
        return (self.directory / name).read_text().strip()

    def token(self, **form: str) -> requests.Response:
        return self.http.post(f"{self.url}/services/oauth2/token", data=form)

    def login(self) -> None:
        name = "salesforce-client-secret" if self.client == "connector" else "salesforce-user-secret"
        answer = self.token(grant_type="client_credentials", client_id=self.client, client_secret=self.secret(name))
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        full = path if path.startswith("/") else f"{DATA}/{path}"
        return self.http.request(method, self.url + full, **options)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"{self.url}/__control/{path}", json=body)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def seed(self, name: str, *records: dict[str, Any]) -> list[str]:
        return list(self.control("POST", "seed", {"object": name, "records": list(records)})["ids"])

    def contact(self, **values: Any) -> str:
        return self.seed("Contact", {"LastName": self.unique("Person"), **values})[0]

    def lead(self, **values: Any) -> str:
        return self.seed("Lead", {"LastName": self.unique("Lead"), "Company": "Acme", **values})[0]

    def raw(self, name: str, key: str) -> dict[str, Any]:
        return dict(self.control("GET", f"records/{name}?all=1&id={key}")["records"][0])

    def count(self, name: str) -> int:
        """Rows of an object, the recycle bin included."""
        return int(self.call("GET", "queryAll", params={"q": f"SELECT COUNT() FROM {name}"}).json()["totalSize"])

    def query(self, soql: str, resource: str = "query") -> list[dict[str, Any]]:
        answer = self.call("GET", resource, params={"q": soql})
        assert answer.ok, answer.text
        return list(answer.json()["records"])

    def create(self, name: str, body: Any, **options: Any) -> requests.Response:
        return self.call("POST", f"sobjects/{name}", json=body, **options)

    def upsert_rows(self, name: str, field: str, rows: list[dict[str, Any]], **body: Any) -> requests.Response:
        records = [{"attributes": {"type": name}, **row} for row in rows]
        return self.call("PATCH", f"composite/sobjects/{name}/{field}", json={"records": records, **body})

    def unique(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"


def codes(answer: requests.Response) -> list[str]:
    """Error codes of an answer to a single call."""
    return [problem["errorCode"] for problem in answer.json()]


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(tmp_path_factory.mktemp("salesforce"))
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def _clients(process: Process) -> dict[str, Client]:
    return {name: Client(process, name) for name in ("connector", "crm-user")}


@pytest.fixture
def org(_clients: dict[str, Client]) -> Iterator[Client]:
    """The integration user's client; faults, settings, clock and counters are back to normal afterwards."""
    client = _clients["connector"]
    yield client
    client.control("DELETE", "faults")
    client.control("DELETE", "settings")
    client.control("POST", "time", {"offset_s": 0})
    client.control("POST", "stats/reset")
    for one in _clients.values():
        if one.call("GET", "limits").status_code == 401:
            one.login()


@pytest.fixture
def human(_clients: dict[str, Client], org: Client) -> Client:
    """A person who works in the CRM."""
    return _clients["crm-user"]


@pytest.fixture(scope="session")
def error_codes() -> Any:
    return codes
