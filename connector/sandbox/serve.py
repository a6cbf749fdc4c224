"""Start both sandboxes as processes of their own, wait until they answer, load the samples, and end them again."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from connector.sandbox import samples as sample_shop

START_TIMEOUT = 60.0  # seconds until a sandbox must answer; making keys on a busy machine takes some
STOP_TIMEOUT = 15.0  # seconds between the polite and the hard end


class SandboxError(Exception):
    """A sandbox did not start, or ended by itself; the message holds the end of its output."""


@dataclass(frozen=True)
class Running:
    """One sandbox's process and what it says of itself: `url`, `pid` and, for Chatwoot, `account_id`."""

    process: subprocess.Popen[bytes]
    told: dict[str, Any]


@dataclass(frozen=True)
class Sandboxes:
    """The two running sandboxes: where they are and where their secrets lie (paths; mode 0600)."""

    directory: Path
    chatwoot_url: str
    salesforce_url: str
    account_id: int
    processes: tuple[subprocess.Popen[bytes], ...]

    @property
    def chatwoot_token(self) -> Path:
        """The administrator's token, the connector's own user."""
        return self.directory / "chatwoot-token"

    @property
    def chatwoot_agent_token(self) -> Path:
        return self.directory / "chatwoot-agent-token"

    @property
    def salesforce_ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def salesforce_client_secret(self) -> Path:
        """Of client id `connector`, the integration user."""
        return self.directory / "salesforce-client-secret"

    @property
    def salesforce_user_secret(self) -> Path:
        """Of client id `crm-user`, a human."""
        return self.directory / "salesforce-user-secret"

    def stop(self) -> None:
        """End both processes; safe to call twice."""
        _stop(self.processes)


def _stop(processes: tuple[subprocess.Popen[bytes], ...]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def one(name: str, directory: Path, port: int = 0) -> Iterator[Running]:
    """One sandbox, `chatwoot` or `salesforce`, with its state in `directory` until the block ends; port 0 takes a free
    one. Raises SandboxError when it does not come up."""
    directory.mkdir(parents=True, exist_ok=True)
    process = _start(name, port, directory)
    try:
        path, verify = ("/api", True) if name == "chatwoot" else ("/services/data/", str(directory / "ca.pem"))
        yield Running(process, _await(name, process, directory, path, verify))
    finally:
        _stop((process,))


@contextmanager
def running(
    directory: Path, *, chatwoot_port: int = 0, salesforce_port: int = 0, samples: bool = False
) -> Iterator[Sandboxes]:
    """Both sandboxes with their state in `directory`, until the block ends; port 0 takes a free one.

    `samples` loads the sample shop, each half only into a sandbox that is still empty.
    Raises SandboxError when one does not come up, and requests.RequestException when it refuses the samples.
    """
    with one("chatwoot", directory, chatwoot_port) as chatwoot, one("salesforce", directory, salesforce_port) as crm:
        sandboxes = Sandboxes(
            directory,
            chatwoot.told["url"],
            crm.told["url"],
            chatwoot.told["account_id"],
            (chatwoot.process, crm.process),
        )
        _store_key(directory / "store-key")
        if samples:
            load_samples(sandboxes)
        yield sandboxes


def _store_key(path: Path) -> None:
    """The key that config.example.yaml names for the connector's store, made once, readable by its owner only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")


def serve(
    directory: Path,
    *,
    chatwoot_port: int,
    salesforce_port: int,
    samples: bool,
    ready: Callable[[Sandboxes], None] = lambda sandboxes: None,
    stop: threading.Event | None = None,
) -> None:
    """Run both sandboxes until `stop` is set, KeyboardInterrupt, or one of them ends. `ready` is called once, when up.

    Raises what `running` raises; SandboxError also when a sandbox ends by itself.
    """
    stop = stop or threading.Event()
    with running(directory, chatwoot_port=chatwoot_port, salesforce_port=salesforce_port, samples=samples) as sandboxes:
        ready(sandboxes)
        while not stop.wait(0.5):
            for process, name in zip(sandboxes.processes, ("chatwoot", "salesforce"), strict=True):
                if process.poll() is not None:
                    raise SandboxError(_ended(name, process, directory))


def load_samples(sandboxes: Sandboxes) -> None:
    """Load the sample shop into whichever sandbox is empty. Raises requests.RequestException."""
    stats = requests.get(f"{sandboxes.chatwoot_url}/__control/stats", timeout=10)
    stats.raise_for_status()
    if stats.json()["messages"] == 0:
        sample_shop.load_conversations(sandboxes.chatwoot_url, sandboxes.directory)
    ca = sandboxes.salesforce_ca
    contacts = requests.get(
        f"{sandboxes.salesforce_url}/__control/records/Contact", params={"all": "1"}, timeout=10, verify=str(ca)
    )
    contacts.raise_for_status()
    if not contacts.json()["records"]:
        sample_shop.load_crm(sandboxes.salesforce_url, ca)


def _start(name: str, port: int, directory: Path) -> subprocess.Popen[bytes]:
    module = f"connector.sandbox.{name}"
    with (directory / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--dir", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _await(
    name: str, process: subprocess.Popen[bytes], directory: Path, path: str, verify: bool | str
) -> dict[str, Any]:
    """What the sandbox's JSON file says, once it exists and the sandbox answers on `path`."""
    announcement, deadline = directory / f"{name}.json", time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            told = _told(announcement)
            # An earlier run that was killed leaves its file behind.
            if told.get("pid") == process.pid:
                answer = requests.get(told["url"] + path, timeout=START_TIMEOUT, verify=verify)
                answer.raise_for_status()
                return told
        else:
            raise SandboxError(_ended(name, process, directory))
    raise SandboxError(f"sandbox {name} did not answer within {START_TIMEOUT:.0f} s; see {directory / f'{name}.log'}")


def _told(announcement: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(announcement.read_text())
    except (FileNotFoundError, ValueError):  # not there yet, or half of it
        return {}
    return told


def _ended(name: str, process: subprocess.Popen[bytes], directory: Path) -> str:
    output = (directory / f"{name}.log").read_text(errors="replace")[-2000:].strip()
    return f"sandbox {name} ended with code {process.returncode}: {output or 'no output'}"
