"""The people of the demo on the platform's side: an agent, and whoever watches the networks. Plain HTTP with their own logins.

Nothing here goes through the connector: what it did is judged by what the two systems themselves say.
"""

import json
from pathlib import Path
from typing import Any

import requests

from connector.sandbox.samples import IDS_FILE

Record = dict[str, Any]
ACTIVITY = 2  # Chatwoot's message_type of the lines it writes itself ("Sam assigned ..."): no messages
TIMEOUT = 30  # seconds for one call to a sandbox on this machine


class Person:
    """Somebody with a browser and a login. Every answer that is not a success raises requests.HTTPError."""

    def __init__(self, url: str, ca: str | bool = True) -> None:
        self.url = url
        self._http = requests.Session()
        # The environment may name a proxy or another certificate bundle; this is this machine alone.
        self._http.trust_env = False
        self._http.verify = ca

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, self.url + path, timeout=TIMEOUT, **options)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text[:300]}", response=answer)
        return answer.json() if answer.content else None


class Agent(Person):
    """A person who works in Chatwoot."""

    def __init__(self, url: str, account: int, token: str) -> None:
        super().__init__(url)
        self._account = f"/api/v1/accounts/{account}"
        self._http.headers["Api-Access-Token"] = token

    def conversation(self, id_: int) -> Record:
        return dict(self._call("GET", f"{self._account}/conversations/{id_}"))

    def contact(self, id_: int) -> Record:
        return dict(self._call("GET", f"{self._account}/contacts/{id_}")["payload"])

    def person(self, conversation: int) -> int:
        """The id of the contact that it is with."""
        return int(self.conversation(conversation)["meta"]["sender"]["id"])

    def set_phone(self, contact: int, phone: str) -> None:
        self._call("PUT", f"{self._account}/contacts/{contact}", json={"phone_number": phone})

    def tags(self, contact: int) -> list[str]:
        return sorted(self._call("GET", f"{self._account}/contacts/{contact}/labels")["payload"])

    def tag(self, contact: int, *tags: str) -> None:
        self._call("POST", f"{self._account}/contacts/{contact}/labels", json={"labels": tags})

    def set_priority(self, conversation: int, priority: str) -> None:
        path = f"{self._account}/conversations/{conversation}/toggle_priority"
        self._call("POST", path, json={"priority": priority})


class Networks(Person):
    """What happens out on the networks, and what only they know; and the tables of Chatwoot, to count them."""

    def __init__(self, url: str, directory: Path) -> None:
        super().__init__(url)
        self._samples: Record = json.loads((directory / IDS_FILE).read_text())

    def conversation(self, sample: str) -> int:
        """The number of a conversation of the samples."""
        return int(self._samples["conversations"][sample])

    def settle(self) -> None:
        """Wait until everything that went out has been delivered."""
        self._call("GET", "/__control/settle")

    def received(self, conversation: int) -> list[Record]:
        """The replies that the customer's network got: `message_id`, and `text` as the customer reads it."""
        return list(self._call("GET", "/__control/network", params={"conversation": conversation}))

    def report_read(self, message: int) -> None:
        self._call("POST", "/__control/delivery", json={"message_id": message, "status": "read"})

    def refuse(self, message: int, why: str) -> None:
        self._call(
            "POST", "/__control/delivery", json={"message_id": message, "status": "failed", "external_error": why}
        )

    def take_back(self, sample: str) -> None:
        """The customer deletes a message of the samples."""
        self._call("POST", "/__control/network/delete", json={"message_id": self._samples["messages"][sample]})

    def stored(self, conversation: int) -> int:
        """Messages of a conversation that the network has seen."""
        rows = [row for row in self.tables()["message"] if row["conversation_id"] == conversation]
        return sum(row["message_type"] != ACTIVITY and not row["private"] for row in rows)

    def tables(self) -> dict[str, list[Record]]:
        return dict(self._call("GET", "/__control/dump"))


def read_reply(networks: Networks) -> None:
    """The customer reads the reply on her phone, and WhatsApp reports it."""
    (reply,) = networks.received(networks.conversation("jet_saddle"))
    networks.report_read(reply["message_id"])
