"""A Chatwoot sandbox process, and a world in it: customers, agents and the network act through its control calls and its
own API, as people would."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from suite_world import Names, World, unique
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from connector.adapters.base import Lookup
from connector.adapters.chatwoot import Chatwoot
from connector.model import Ref

SECRET = "webhook-secret-of-the-tests"
API_NAMES = {"phone": "phone_number"}
INBOXES = [
    {"key": "line", "name": "Line", "channel_type": "Channel::Line"},
    {"key": "line2", "name": "Line Sport", "channel_type": "Channel::Line"},
    {"key": "ig", "name": "Instagram NL", "channel_type": "Channel::Instagram"},
    {"key": "wa", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"},
]


@dataclass
class Sandbox:
    """A running sandbox. `api` acts as the administrator, `control` as the world outside."""

    url: str
    token: str

    def control(self, path: str, method: str = "POST", **body: Any) -> Any:
        return self._json(requests.request(method, f"{self.url}/__control/{path}", json=body, timeout=30))

    def api(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.url}/api/v1/accounts/1{path}"
        headers = {"api_access_token": self.token}
        return self._json(requests.request(method, url, json=body or None, headers=headers, timeout=30))

    def _json(self, response: requests.Response) -> Any:
        assert response.ok, response.text
        return response.json() if response.content else None

    def adapter(self, **options: Any) -> Chatwoot:
        given: dict[str, Any] = {
            "url": self.url,
            "account": 1,
            "token": self.token,
            "webhook_secret": SECRET,
            "clock": lambda: datetime.now(UTC),
            "sleep": lambda _seconds: None,
            "page_rows": 4,
        }
        return Chatwoot(**given | options)


@contextmanager
def running(directory: Path) -> Iterator[Sandbox]:
    """Starts a sandbox process with its state in the directory and ends it."""
    command = [sys.executable, "-m", "connector.sandbox.chatwoot", "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen([*command, "--dir", str(directory)])
    try:
        place = _announced(directory / "chatwoot.json", process)
        sandbox = Sandbox(place["url"], (directory / "chatwoot-token").read_text().strip())
        sandbox.control("import", inboxes=INBOXES)
        yield sandbox
    finally:
        process.terminate()
        process.wait(timeout=20)


@retry(retry=retry_if_exception_type(FileNotFoundError), stop=stop_after_delay(60), wait=wait_fixed(0.05), reraise=True)
def _announced(file: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.poll() is None, "the sandbox ended before it was ready"
    return dict(json.loads(file.read_text()))


def signed(body: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Chatwoot-Timestamp": timestamp, "X-Chatwoot-Signature": f"sha256={digest}"}


class ChatwootWorld(World):
    names = Names("person", "name", "email", "phone", "identifier")
    formats_phones = False
    merges_in_fetch = False

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.secret = sandbox.token
        self.adapter = sandbox.adapter()
        self.stranger = sandbox.adapter(token="guessed-token")
        self.nowhere = sandbox.adapter(url="http://127.0.0.1:9")
        self.writers: dict[str, str] = {}

    def tick(self) -> None:
        """The sandbox has committed when it answers."""

    def write(self, text: str, *, inbox: str = "Line", source_id: str | None = None, **fields: Any) -> dict[str, Any]:
        """A customer writes; answers the ids of message, conversation and contact."""
        return dict(
            self.sandbox.control("customer", inbox=inbox, source_id=source_id or unique("U"), text=text, **fields)
        )

    def add_person(self, name: str, **fields: Any) -> Ref:
        contact = {API_NAMES.get(k, k): v for k, v in fields.items()}
        ids = self.write("Hello", name=name, contact=contact)
        return Ref("chatwoot", "person", str(ids["contact_id"]))

    def edit_person(self, ref: Ref, **fields: Any) -> None:
        self.sandbox.api("PUT", f"/contacts/{ref.id}", **{API_NAMES.get(k, k): v for k, v in fields.items()})

    def delete_person(self, ref: Ref) -> None:
        self.sandbox.api("DELETE", f"/contacts/{ref.id}")

    def merge_persons(self, loser: Ref, winner: Ref) -> None:
        body = {"base_contact_id": int(winner.id), "mergee_contact_id": int(loser.id)}
        self.sandbox.api("POST", "/actions/contact_merge", **body)

    def add_child(self, person: Ref, text: str) -> Ref:
        source_id = self.sandbox.api("GET", f"/contacts/{person.id}")["payload"]["contact_inboxes"][0]["source_id"]
        ids = self.write(text, source_id=source_id)
        return Ref("chatwoot", "message", f"{ids['conversation_id']}-{ids['message_id']}")

    def say(self, sent_at: datetime, *, among: Ref | None = None) -> Ref:
        """The customer writes while the sandbox's clock shows that time."""
        thread = among.id.partition("-")[0] if among else None
        source_id = self.writers[thread] if thread else unique("U")
        # Half a second more: the time is cut to whole seconds.
        self.sandbox.control("time", offset=sent_at.timestamp() + 0.5 - datetime.now(UTC).timestamp())
        ids = self.write("Hello", source_id=source_id, **({"conversation": int(thread)} if thread else {}))
        self.sandbox.control("time", offset=0)
        self.writers[str(ids["conversation_id"])] = source_id
        return Ref("chatwoot", "message", f"{ids['conversation_id']}-{ids['message_id']}")

    def twins(self) -> tuple[Lookup, set[Ref]]:
        user = unique("U")
        ids = [self.write("Hello", inbox=inbox, source_id=user)["contact_id"] for inbox in ("Line", "Line Sport")]
        return Lookup("person", "identity_keys", f"line:{user}"), {Ref("chatwoot", "person", str(i)) for i in ids}

    @contextmanager
    def failing(self, fault: str, call: str) -> Iterator[None]:
        where = {
            "read": {"path": "^/api/v1/accounts"},
            "write": {"path": "/(contacts|conversations)"},
            "send": {"method": "POST", "path": "/messages$"},
        }[call]
        what: dict[str, Any] = {"kind": {"lost_request": "drop_before", "lost_answer": "drop_after"}.get(fault, "html")}
        if fault == "html":
            what |= {"status": 200, "after": True}
        self.sandbox.control("faults", match=where, times=None, **what)
        yield
        self.sandbox.control("faults", "DELETE")

    def conversation(self) -> Ref:
        return Ref("chatwoot", "conversation", str(self.write("Hello", name=unique("Customer"))["conversation_id"]))

    @retry(
        retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(20), wait=wait_fixed(0.02), reraise=True
    )
    def received(self, conversation: Ref) -> list[str]:
        """Waits until the network's worker has nothing left to deliver in this conversation."""
        rows = self.sandbox.api("GET", f"/conversations/{conversation.id}/messages")["payload"]
        waiting = [r for r in rows if r["message_type"] == 1 and not r["private"] and r["status"] == "sent"]
        assert waiting == []
        received = requests.get(
            f"{self.sandbox.url}/__control/network", params={"conversation": conversation.id}, timeout=30
        ).json()
        return [row["text"] for row in received]

    def webhook(self) -> tuple[dict[str, str], bytes, Ref]:
        ids = self.write("Hello", name=unique("Hinted"))
        data = {
            "event": "message_created",
            "id": ids["message_id"],
            "account": {"id": 1},
            "conversation": {"id": ids["conversation_id"]},
        }
        body = json.dumps(data).encode()
        ref = Ref("chatwoot", "message", f"{ids['conversation_id']}-{ids['message_id']}")
        return signed(body, datetime.now(UTC)), body, ref
