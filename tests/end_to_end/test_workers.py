"""Four workers on one PostgreSQL share two connections; two of them are killed in the middle of their work, and one comes in.
Both worlds end as they do with one worker that nobody kills."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from faulty import Call, Fault
from postgresql import Server
from ruamel.yaml import YAML
from sqlalchemy import or_, select, update
from switched import Story, Switched, is_send, is_write, opened

from connector.model import OPEN_INTENTS, IntentState
from connector.store.database import connect, transaction
from connector.store.queueing import SCHEMA
from connector.store.schema import intents, leases
from connector.store.store import Ledger, Store

PATIENCE = 240
"""Seconds after which a test that waits for workers gives up. One that was killed is missed for half a minute."""


class Workers:
    """Processes of `connector worker` with one config."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.all: list[subprocess.Popen[str]] = []

    def start(self, *more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from connector.cli import main; main()",
                "--config",
                str(self._config),
                "worker",
                *more,
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self._config.parent / f"worker-{len(self.all)}.log").open("w"),
            text=True,
        )
        self.all.append(process)
        return process

    def stop(self) -> None:
        """Cleanly, those that live."""
        living = [one for one in self.all if one.poll() is None]
        for one in living:
            one.send_signal(signal.SIGTERM)
        assert [one.wait(60) for one in living] == [0] * len(living), self.logs()
        self.all = []

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._config.parent.glob("worker-*.log")))

    def close(self) -> None:
        for one in self.all:
            if one.poll() is None:
                one.kill()
                one.wait()


class Company:
    """Two offices whose connections stand in one config, with one store."""

    def __init__(self, offices: list[Switched], url: str, folder: Path) -> None:
        self.offices = offices
        self.url = url
        self.killed: set[int] = set()
        self.store = Store.open(url, clock=lambda: datetime.now(UTC))
        (folder / "store-key").write_text("a key for tests only")
        settings = {
            "store": {"url": url, "key": "file:store-key"},
            "service": {"port": 0},
            "schedule": {"conversations": "2s", "recheck": "1d", "changes": "2s"},
            "log": {"format": "json"},
            "connections": {office.name: office.connection for office in offices},
        }
        YAML().dump(settings, folder / "config.yaml")
        self.workers = Workers(folder / "config.yaml")

    def ledger(self, office: Switched) -> Ledger:
        return self.store.at(office.name)

    def at_work(self, office: Switched) -> int:
        """The process that holds the connection's lease."""
        engine = connect(self.url)
        with transaction(engine, writes=False) as db:
            holder = db.scalar(select(leases.c.holder).where(leases.c.connection == office.name))
        engine.dispose()
        return int(str(holder).rpartition(":")[2])

    def a_while_passes(self) -> None:
        """What the killed workers were sending may be looked at: nobody has held their leases for three minutes, which nobody
        waits for here, or a colleague has taken one over already and waits for the rest of that time."""
        engine, while_ = connect(self.url), timedelta(minutes=3)
        theirs = or_(*(leases.c.holder.endswith(f":{process}") for process in self.killed))
        with transaction(engine, writes=True) as db:
            db.execute(update(leases).where(theirs).values(expires_at=datetime.now(UTC) - while_))
            doubtful = intents.c.state == IntentState.IN_DOUBT.value
            for id_, due in db.execute(select(intents.c.id, intents.c.not_before).where(doubtful)).all():
                db.execute(update(intents).where(intents.c.id == id_).values(not_before=due - while_))
        engine.dispose()

    def until_quiet(self) -> None:
        """Until both sides of every connection were read after the last write, and nothing is left to do."""
        told = datetime.now(UTC)
        for office in self.offices:
            eventually(lambda office=office: quiet(self.ledger(office), told), self.workers.logs)
            office.settle()

    def close(self) -> None:
        self.workers.close()
        self.store.close()


def drop_connections(url: str) -> None:
    """What a restart of the database does to everybody who is connected."""
    with psycopg.connect(url, autocommit=True) as db:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        db.execute(others)


def quiet(ledger: Ledger, since: datetime) -> bool:
    journal = [intent for page in ledger.all_intents() for intent, _ in page]
    last = max([since, *(one.ended_at for one in journal if one.ended_at)])
    reads = {place: at for place, at in ledger.reads().items() if place[1] != "recheck"}
    done = len(reads) == 2 and min(reads.values()) > last
    return done and not ledger.count_dirty() and not any(one.state in OPEN_INTENTS for one in journal)


def eventually(check: Callable[[], object], story: Callable[[], str]) -> None:
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while not check():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not happen: {story()}")
        pause.wait(0.2)


@pytest.fixture
def company(tmp_path: Path, postgresql_server: Server) -> Iterator[Company]:
    url = postgresql_server.create()
    with ExitStack() as stack:
        offices = [stack.enter_context(opened(make(tmp_path / name), url, name)) for name in ("shop", "salon")]
        company = Company(offices, url, tmp_path)
        stack.callback(company.close)
        yield company


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def killing(company: Company, office: Switched, side: int, of: Callable[[Call], bool]) -> Iterator[list[int]]:
    """Inside, the worker that makes the first such call is killed once the system has done it, before it learns so. One that
    was killed at the other office's call has no more to lose here; then it is the next."""
    killed: list[int] = []

    def kill() -> None:
        worker = company.at_work(office)
        if worker not in company.killed:
            company.killed.add(worker)
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)

    with office.switches[side].meeting(
        lambda call: Fault(answer="none", then=kill) if of(call) and not killed else None
    ):
        yield killed


def test_workers_that_are_killed_and_added_end_where_one_worker_ends(company: Company) -> None:
    shop, salon = company.offices
    stories = {office.name: [Story(office, f"Story{n:03}") for n in range(2)] for office in company.offices}
    for story in (one for some in stories.values() for one in some):
        story.said |= {"Delivered": "Sent", "delivered": "sent"}
        story.begin()
    company.workers.start()
    company.until_quiet()
    company.workers.stop()
    for some in stories.values():
        some[0].go_on()
    company.workers.start()
    company.until_quiet()
    company.workers.stop()
    ends = {name: some[0].world() for name, some in stories.items()}

    for some in stories.values():
        some[1].go_on()
    with killing(company, shop, 1, is_write) as first, killing(company, salon, 0, is_send) as second:
        for _ in range(4):
            company.workers.start()
        eventually(lambda: first and second, company.workers.logs)
        company.a_while_passes()
        company.workers.start()
        company.until_quiet()
    dead = [one for one in company.workers.all if one.poll() is not None]
    assert [one.returncode for one in dead] == [-signal.SIGKILL] * 2
    assert {name: some[1].world() for name, some in stories.items()} == ends
    assert [office.doubles() for office in company.offices] == [[], []]
    company.workers.stop()
    for office in company.offices:
        assert office.broken_promises() == []


def test_a_worker_goes_on_after_its_database_was_gone(company: Company) -> None:
    shop, _ = company.offices
    company.workers.start()
    company.until_quiet()
    drop_connections(company.url)
    conversation = shop.customer("Noa Visser", shop.phone(), "Is anybody there?")
    eventually(lambda: shop.timeline(conversation), company.workers.logs)
    company.until_quiet()
    company.workers.stop()


def test_a_task_whose_end_could_not_be_noted_holds_nobody_up(company: Company) -> None:
    """The queue believes that a worker, which lives, is still at it."""
    shop, _ = company.offices
    company.workers.start()
    company.until_quiet()
    eventually(lambda: leave_a_task_behind(company.url, "shop"), company.workers.logs)
    conversation = shop.customer("Noa Visser", shop.phone(), "Is anybody there?")
    eventually(lambda: shop.timeline(conversation), company.workers.logs)
    company.workers.stop()


def leave_a_task_behind(url: str, connection: str) -> bool:
    """False while another task of the connection is under way: the queue allows one."""
    with psycopg.connect(url, options=f"-c search_path={SCHEMA}") as db:
        try:
            (job,) = db.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, status, worker_id)"
                " SELECT %s, 'look', %s, 'doing', max(id) FROM procrastinate_workers RETURNING id",
                [connection, connection],
            ).fetchone() or (None,)
        except psycopg.errors.UniqueViolation:
            return False
        begun = (
            "INSERT INTO procrastinate_events (job_id, type, at) VALUES (%s, 'started', now() - interval '1 minute')"
        )
        db.execute(begun, [job])
    return True
