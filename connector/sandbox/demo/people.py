"""The people of the demo: a CRM user, an agent, and whoever watches the networks. Plain HTTP with their own logins.

Nothing here goes through the connector: what it did is judged by what the two systems themselves say.
"""

import json
from typing import Any

import requests

from connector.sandbox.samples import IDS_FILE
from connector.sandbox.serve import Sandboxes

Record = dict[str, Any]
API = "/services/data/v67.0"
TIMEOUT = 30  # seconds for one call to a sandbox on this machine


class Person:
    """Somebody with a browser and a login. Every answer that is not a success raises requests.HTTPError."""

    def __init__(self, url: str, ca: str | bool = True) -> None:
        self._url = url
        self._http = requests.Session()
        # The environment may name a proxy or another certificate bundle; this is this machine alone.
        self._http.trust_env = False
        self._http.verify = ca

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, self._url + path, timeout=TIMEOUT, **options)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text[:300]}", response=answer)
        return answer.json() if answer.content else None


class CrmUser(Person):
    """A person who works in Salesforce."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        super().__init__(sandboxes.salesforce_url, str(sandboxes.salesforce_ca))
        login = {
            "grant_type": "client_credentials",
            "client_id": "crm-user",
            "client_secret": sandboxes.salesforce_user_secret.read_text().strip(),
        }
        token = self._call("POST", "/services/oauth2/token", data=login)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def query(self, soql: str) -> list[Record]:
        return list(self._call("GET", f"{API}/query", params={"q": soql})["records"])

    def one(self, soql: str) -> Record:
        """The only record that fits. Raises LookupError."""
        found = self.query(soql)
        if len(found) != 1:
            raise LookupError(f"{len(found)} records instead of one: {soql}")
        return found[0]

    def create(self, object_: str, **fields: Any) -> str:
        return str(self._call("POST", f"{API}/sobjects/{object_}", json=fields)["id"])

    def change(self, object_: str, id_: str, **fields: Any) -> None:
        self._call("PATCH", f"{API}/sobjects/{object_}/{id_}", json=fields)

    def remove(self, object_: str, id_: str) -> None:
        self._call("DELETE", f"{API}/sobjects/{object_}/{id_}")

    def counters(self) -> tuple[int, int]:
        """API calls that the org has counted, and records written in it, by anybody."""
        stats = self._call("GET", "/__control/stats")
        return stats["calls"], sum(sum(kinds.values()) for kinds in stats["writes"].values())


class Agent(Person):
    """A person who works in Chatwoot."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        super().__init__(sandboxes.chatwoot_url)
        self._account = f"/api/v1/accounts/{sandboxes.account_id}"
        self._http.headers["Api-Access-Token"] = sandboxes.chatwoot_agent_token.read_text().strip()

    def conversation(self, id_: int) -> Record:
        return dict(self._call("GET", f"{self._account}/conversations/{id_}"))

    def contact(self, id_: int) -> Record:
        return dict(self._call("GET", f"{self._account}/contacts/{id_}")["payload"])

    def set_priority(self, conversation: int, priority: str) -> None:
        path = f"{self._account}/conversations/{conversation}/toggle_priority"
        self._call("POST", path, json={"priority": priority})


class Networks(Person):
    """What happens out on the networks, and what only they know; and the tables of Chatwoot, to count them."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        super().__init__(sandboxes.chatwoot_url)
        self._samples: Record = json.loads((sandboxes.directory / IDS_FILE).read_text())

    def settle(self) -> None:
        """Wait until everything that went out has been delivered."""
        self._call("GET", "/__control/settle")

    def received(self, conversation: int) -> list[Record]:
        """The replies that the customer's network got: `message_id`, and `text` as the customer reads it."""
        return list(self._call("GET", "/__control/network", params={"conversation": conversation}))

    def report_read(self, message: int) -> None:
        self._call("POST", "/__control/delivery", json={"message_id": message, "status": "read"})

    def take_back(self, sample: str) -> None:
        """The customer deletes a message of the samples."""
        self._call("POST", "/__control/network/delete", json={"message_id": self._samples["messages"][sample]})

    def tables(self) -> dict[str, list[Record]]:
        return dict(self._call("GET", "/__control/dump"))
