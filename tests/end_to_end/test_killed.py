"""`connector sync` is killed in the middle of its work, between two systems that live on. The next one ends where a run that
nobody killed ends."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from faulty import Call, Fault
from sqlalchemy import Table
from switched import Story, Switched, is_read, is_send, is_write, opened

from connector.cli.shared import REMOTE
from connector.model import OPEN_INTENTS, Op
from connector.store.database import connect, transaction
from connector.store.schema import intents, leases
from connector.store.store import Store

FUZZ = float(os.environ.get("CONNECTOR_FUZZ", "1"))
"""How many times as often as in an ordinary run the connector is killed."""
PATIENCE = 120
"""Seconds after which a command that does not end fails its test."""

PLATFORM, CRM = 0, 1
KINDS: dict[str, tuple[int, Callable[[Call], bool], float]] = {
    "a page read": (PLATFORM, lambda call: is_read(call) and "/conversations" in call.path, 1),
    "a query": (CRM, lambda call: is_read(call) and call.path.endswith("/composite"), 0.5),
    "a bulk write": (CRM, is_write, 1),
    "a change on the platform": (PLATFORM, lambda call: is_write(call) and not is_send(call), 1),
    "a reply": (PLATFORM, is_send, 2),
}
"""The calls at which the connector is killed: whom they go to, and how many kills an ordinary run makes of them."""

REFUSED = Fault(reaches=False, answer="page", status=400)
"""An answer that is not worth another attempt."""

NURSERY = """
import json, os, sys
from connector.cli import main

while line := sys.stdin.readline():
    given = json.loads(line)
    child = os.fork()
    if not child:
        out = os.open(given["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["connector", *given["args"]]
        main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Each line makes a process that is the command line, with everything imported already: to import it takes longer than to
sync."""


BARE = {name: os.environ[name] for name in ("HOME", "PATH", "PYTHONPATH") if name in os.environ}
"""The environment of the commands: nothing in it changes what they do."""


class Commands:
    """The command line, each time as a process of its own that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        self.child = 0
        self._nursery = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=BARE,
        )
        self._told: queue.Queue[int] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._nursery.stdout
        for line in self._nursery.stdout:
            self._told.put(int(line))

    def start(self, *args: str) -> None:
        assert self._nursery.stdin
        self._nursery.stdin.write(json.dumps({"args": args, "output": str(self.output)}) + "\n")
        self.child = self._told.get(timeout=PATIENCE)

    def kill(self) -> None:
        os.kill(self.child, signal.SIGKILL)

    def ended(self) -> int:
        """How the command ended: its exit code, or the number of the signal that ended it, negative."""
        try:
            return self._told.get(timeout=PATIENCE)
        except queue.Empty:
            self.kill()
            pytest.fail(f"the command did not end: {self.output.read_text()}")

    def run(self, *args: str) -> dict[str, Any]:
        """What a command that ends well tells of the one connection."""
        self.start(*args)
        code = self.ended()
        assert code == 0, self.output.read_text()
        (told,) = json.loads(self.output.read_text())
        return dict(told)

    def close(self) -> None:
        assert self._nursery.stdin
        assert self._nursery.stdout
        self._nursery.stdin.close()
        self._nursery.wait(PATIENCE)
        self._reader.join()
        self._nursery.stdout.close()


@dataclass
class Scene:
    """An office whose connector is a command, the stories that are told in it, and the end of one that nobody broke."""

    office: Switched
    commands: Commands
    stories: list[Story]
    calls: Counter[str]
    end: dict[str, Any]

    def killed(self, kind: str, at: int, *, reaches: bool) -> None:
        """A run that is killed at a call of this kind: when the system has done it, or before it gets it."""
        side, of, _ = KINDS[kind]
        fault = Fault(reaches=reaches, answer="none", then=self.commands.kill)
        with self.office.switches[side].meeting(nth(at, of, fault)):
            self.commands.start("--config", str(self.office.config), "sync", "--json")
            assert self.commands.ended() == -signal.SIGKILL, f"{kind}, call {at}, never came"

    def sync(self) -> dict[str, Any]:
        told = self.commands.run("--config", str(self.office.config), "sync", "--json")
        self.office.settle()
        return told


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    url = request.getfixturevalue("postgresql_server").create() if request.param == "postgresql" else None
    folder = tmp_path_factory.mktemp("killed")
    commands = Commands(folder)
    try:
        with opened(folder, url) as office:
            kills = sum(map(kills_of, KINDS))
            told = Scene(office, commands, [Story(office, f"Story{n:03}") for n in range(kills + 2)], Counter(), {})
            for story in told.stories:
                # Whether the network has told of the delivery yet is not the connector's doing.
                story.said |= {"Delivered": "Sent", "delivered": "sent"}
                story.begin()
            told.sync()
            model = told.stories.pop()
            model.go_on()
            first = [len(switch.calls) for switch in office.switches]
            told.sync()
            told.end = model.world()
            for kind, (side, of, _) in KINDS.items():
                told.calls[kind] = sum(of(call) for call, _ in office.switches[side].calls[first[side] :])
            yield told
    finally:
        commands.close()


def kills_of(kind: str) -> int:
    """How often the connector is killed at a call of this kind."""
    return round(KINDS[kind][2] * FUZZ)


def test_killed_at_any_call_the_next_run_ends_where_an_unbroken_one_ends(scene: Scene) -> None:
    office = scene.office
    for kind in KINDS:
        for turn in range(kills_of(kind)):
            at, reaches = moment(turn, kills_of(kind), scene.calls[kind])
            story = scene.stories.pop()
            story.go_on()
            scene.killed(kind, at, reaches=reaches)
            time_passes(office.store_url, timedelta(minutes=5))
            scene.sync()
            where = f"killed at {kind}, {at} of {scene.calls[kind]}, {'done' if reaches else 'not done'}"
            assert story.world() == scene.end, where
            assert left_over(office) == [], where
            assert office.doubles() == [], where
    scene.sync()
    quiet = scene.sync()
    assert (quiet["planned"], quiet["news"], quiet["waiting"], quiet["holds"]) == (0, 0, {}, {})
    assert office.broken_promises() == []


def test_a_reply_that_was_sent_at_the_kill_is_not_sent_again_by_a_run_that_cannot_list_the_conversations(
    scene: Scene,
) -> None:
    """What was sent is usually seen in a page before it could be sent again. Here the look for it is all there is."""
    office, story = scene.office, scene.stories.pop()
    story.go_on()
    scene.killed("a reply", 2, reaches=True)
    time_passes(office.store_url, timedelta(minutes=5))
    with office.platform_switch.meeting(lambda call: REFUSED if "/conversations?" in call.path else None):
        scene.commands.start("--config", str(office.config), "sync")
        assert scene.commands.ended() == REMOTE, scene.commands.output.read_text()
    office.settle()
    left = office.received(story.threads[0])
    assert len(set(left)) == len(left) == len(scene.end["conversation 0"]["network"]) - 1, "the last waits for a read"
    scene.sync()
    assert story.world() == scene.end
    assert left_over(office) == []


def moment(turn: int, kills: int, calls: int) -> tuple[int, bool]:
    """The call of the turn's kill, and whether it is carried out: spread over the calls of an unbroken run, each first after
    the system has done it, then before it gets it."""
    places = (kills + 1) // 2
    return 1 + (2 * (turn // 2) + 1) * calls // (2 * places), turn % 2 == 0


def nth(at: int, of: Callable[[Call], bool], fault: Fault) -> Callable[[Call], Fault | None]:
    seen = Counter[str]()

    def meets(call: Call) -> Fault | None:
        seen["calls"] += of(call)
        return fault if of(call) and seen["calls"] == at else None

    return meets


def left_over(office: Switched) -> list[str]:
    """What a quiet connector has none of; and every reply of the journal is one message."""
    store = Store.open(office.store_url, clock=office.time)
    try:
        ledger = store.at("shop")
        journal = [one for page in ledger.all_intents() for one in page]
        sends = [made for intent, made in journal if intent.action.op is Op.SEND]
        assert len(set(sends)) == len(sends)
        left = [f"{intent.action.unique} is {intent.state}" for intent, _ in journal if intent.state in OPEN_INTENTS]
        return left + [f"{ledger.count_dirty()} facts that no plan has seen"] * bool(ledger.count_dirty())
    finally:
        store.close()


def time_passes(url: str, passed: timedelta) -> None:
    """The next run comes so much later: what the store knows of leases and attempts is so much longer ago. Nothing else in
    it depends on the time of day, and both systems stand still meanwhile, so this is what waiting would come to."""
    engine = connect(url)
    with transaction(engine, writes=True) as db:
        for table, names in ((leases, ("expires_at",)), (intents, ("tried_at", "not_before"))):
            shift(db, table, names, passed)
    engine.dispose()


def shift(db: Any, table: Table, names: tuple[str, ...], passed: timedelta) -> None:
    keys = list(table.primary_key)
    for row in db.execute(table.select()).mappings().all():
        values = {name: row[name] - passed for name in names if row[name]}
        if values:
            db.execute(table.update().where(*(key == row[key.name] for key in keys)).values(values))
