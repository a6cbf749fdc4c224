"""The daemon as a process of its own, between two empty sandboxes."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from connector.sandbox.serve import running

MAPPINGS = Path(__file__).parents[2] / "mappings"
PATIENCE = 60
"""Seconds after which a test that waits for another process gives up."""

CONNECTION = """\
  {name}:
    platform:
      type: chatwoot
      url: {chatwoot}
      account: 1
      token: file:{token}
      webhook_secret: file:webhook-secret
    crm:
      type: salesforce
      url: {salesforce}
      auth: {{flow: client_credentials, client_id: connector, client_secret: "file:{secret}"}}
      ca: {ca}
    mapping: {mapping}
"""

# Every stream is read once, at the start; what comes later comes by webhook.
REST = """\
store: {{url: "{store}", key: "file:store-key"}}
service: {{port: 0}}
schedule: {{conversations: 1d, recheck: 1d, changes: 1d}}
log: {{format: json}}
connections:
"""


def eventually(check):
    """What `check` answers once that is true."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        pause.wait(0.05)
    pytest.fail("it did not happen")


class Daemon:
    """`connector run` in a folder, or `connector worker --serve`; its address and its log."""

    def __init__(self, folder: Path, command: tuple[str, ...] = ("run",)) -> None:
        self.folder = folder
        program = "from connector.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "--config", str(folder / "config.yaml"), *command],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.log: list[str] = []
        for line in self.process.stderr:
            self.log.append(line)
            if line.startswith(("The connector runs", "A worker runs")):
                break
        else:
            pytest.fail("".join(self.log))
        self.url = self.log[-1].split()[-1]
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self._reader.start()

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=30)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join()
        self.process.stderr.close()
        return code

    def webhook(self, body: bytes, *, secret: str | None = None, at: float | None = None, to: str = "main"):
        stamp = str(int(at if at is not None else time.time()))
        key = secret if secret is not None else (self.folder / "webhook-secret").read_text()
        signed = "sha256=" + hmac.new(key.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"X-Chatwoot-Timestamp": stamp, "X-Chatwoot-Signature": signed, "Content-Type": "application/json"}
        return requests.post(f"{self.url}/webhooks/{to}", data=body, headers=headers, timeout=30)


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory):
    with running(tmp_path_factory.mktemp("sandboxes")) as both:
        inboxes = [{"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp", "extra": {}}]
        answer = requests.post(f"{both.chatwoot_url}/__control/import", json={"inboxes": inboxes}, timeout=30)
        answer.raise_for_status()
        yield both


@pytest.fixture
def folder(tmp_path, sandboxes):
    """A config with the good connection `main` and the connection `broken`, whose token is wrong."""
    return make_folder(tmp_path, sandboxes)


def make_folder(folder: Path, sandboxes, store: str = "sqlite:///connector.db") -> Path:
    (folder / "store-key").write_text("a key for tests only")
    (folder / "webhook-secret").write_text("a-webhook-secret")
    (folder / "bad-token").write_text("not-the-token")
    given = {
        "chatwoot": sandboxes.chatwoot_url,
        "salesforce": sandboxes.salesforce_url,
        "secret": sandboxes.salesforce_client_secret,
        "ca": sandboxes.salesforce_ca,
        "mapping": MAPPINGS / "chatwoot-salesforce.yaml",
    }
    (folder / "config.yaml").write_text(
        REST.format(store=store)
        + CONNECTION.format(name="main", token=sandboxes.chatwoot_token, **given)
        + CONNECTION.format(name="broken", token="bad-token", **given)
    )
    return folder


@contextmanager
def started(folder: Path, *command: str):
    daemon = Daemon(folder, command or ("run",))
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module", params=["run", "worker"])
def daemon(request, tmp_path_factory, sandboxes):
    """What serves the connections: the one daemon, or one of many workers."""
    folder = tmp_path_factory.mktemp("daemon")
    if request.param == "run":
        with started(make_folder(folder, sandboxes)) as running_:
            yield running_
    else:
        store = request.getfixturevalue("postgresql_server").create()
        with started(make_folder(folder, sandboxes, store), "worker", "--serve") as running_:
            yield running_


@pytest.fixture
def start():
    """Starts a daemon in a folder."""
    return started


@pytest.fixture
def wait():
    return eventually


@pytest.fixture(scope="session")
def customer(sandboxes):
    """A customer writes on WhatsApp; answers the ids."""

    def write(text: str, source_id: str = "61491570156", name: str = "Oliver Hughes") -> dict:
        body = {"inbox": "WhatsApp", "source_id": source_id, "name": name, "text": text}
        answer = requests.post(f"{sandboxes.chatwoot_url}/__control/customer", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    return write


@pytest.fixture(scope="session")
def tasks(sandboxes):
    """The tasks that stand in the CRM."""

    def read() -> list[dict]:
        url = f"{sandboxes.salesforce_url}/__control/records/Task"
        return requests.get(url, timeout=30, verify=str(sandboxes.salesforce_ca)).json()["records"]

    return read


@pytest.fixture
def event():
    """The webhook body of a new message."""

    def body(ids: dict) -> bytes:
        message = {"event": "message_created", "id": ids["message_id"], "conversation": {"id": ids["conversation_id"]}}
        return json.dumps(message | {"account": {"id": 1}}).encode()

    return body
