"""One running Chatwoot sandbox per test module, and a client that speaks to it over HTTP."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from connector.sandbox import serve

COUNTER = itertools.count(1)


@dataclass
class Client:
    url: str
    directory: Path
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, body: Any = None, *, token: str = "chatwoot-token", **kw: Any) -> Any:
        """The raw answer of an account call, as the administrator unless told otherwise."""
        headers = {"api_access_token": (self.directory / token).read_text()}
        return self.session.request(method, f"{self.url}/api/v1/accounts/1{path}", json=body, headers=headers, **kw)

    def ok(self, method: str, path: str, body: Any = None, **kw: Any) -> Any:
        answer = self.call(method, path, body, **kw)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.content else None

    def control(self, method: str, path: str, body: Any = None, **kw: Any) -> Any:
        answer = self.session.request(method, f"{self.url}/__control/{path}", json=body, **kw)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def conversation(self, channel: str = "Channel::Telegram", count: int = 1, **fields: Any) -> int:
        """A new conversation with a new contact and `count` customer messages a minute apart."""
        n = next(COUNTER)
        messages = [{"type": "incoming", "at": 1767225600 + 60 * i, "text": f"m{i}"} for i in range(count)]
        given = {
            "inboxes": [{"key": "i", "name": channel, "channel_type": channel}],
            "contacts": [{"key": "c", "name": f"Person {n}", "identities": [{"inbox": "i", "source_id": f"u{n}"}]}],
            "conversations": [{"key": "v", "inbox": "i", "contact": "c", "messages": messages, **fields}],
        }
        return int(self.control("POST", "import", given)["conversations"]["v"])

    def show(self, id: int) -> Any:
        return self.ok("GET", f"/conversations/{id}")


@pytest.fixture(scope="module")
def chatwoot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("chatwoot")
    with serve.one("chatwoot", directory) as running:
        yield Client(running.told["url"], directory)
