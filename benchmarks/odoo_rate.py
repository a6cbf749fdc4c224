"""How fast messages get into a real Odoo: a whole sync (read, match, plan, journal, write, settle, read back) against plain
batched `mail.message.create` by a script that keeps no books, on the same server in the same run.

The platform lives in memory, so that a stand-in's own speed is not measured; store, engine and adapter are those of
production, the store is SQLite on disk. Both start on a warm server and make the same messages for the same contacts, the
script one half before the sync and one after it, because a machine's speed drifts within minutes.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "servers"))
import requests
from odoo_install import Unavailable
from odoo_server import Odoo as Server
from odoo_server import Servers

from benchmarks.measure import Measure, NotMeasured
from connector.adapters.memory import PLATFORM_OBJECTS, MemoryAdapter, MemorySystem
from connector.adapters.odoo import Odoo
from connector.app import spare_the_collector
from connector.mapping.compiled import Context, compile_mapping, reads
from connector.mapping.load import load_mapping
from connector.model import Ref, Side
from connector.store.store import Store
from connector.sync.engine import Engine

PERSONS = 200
BATCH = 500
"""Rows in one call, for both: the largest that odoo.md, section 7, advises."""
GOAL = 0.8


def text(number: int) -> str:
    return f"Hello, this is message {number}. Is my bike ready? Best, somebody & co 🚲"


class Platform:
    """A platform in memory whose customers write in blocks."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) - timedelta(days=1)
        self.system = MemorySystem("chatwoot", lambda: datetime.now(UTC), dict(PLATFORM_OBJECTS))
        self.threads: list[Ref] = []
        for number in range(PERSONS):
            person = self.system.add("person", {"name": f"Customer {number}", "email": f"c{number}@mail.example"})
            fields = {"network": "whatsapp", "inbox": "WhatsApp", "status": "open"}
            self.threads.append(self.system.add("conversation", fields, parent=person))
        self.count = 0

    def write(self, messages: int) -> None:
        for _ in range(messages):
            thread = self.threads[self.count % PERSONS]
            at = (self.now + timedelta(seconds=self.count)).strftime("%Y-%m-%dT%H:%M:%SZ")
            fields = {"direction": "inbound", "author": "Customer", "text": text(self.count), "sent_at": at}
            self.system.add("message", fields, parent=thread)
            self.count += 1


def engine(server: Server, platform: Platform, store: Store) -> Engine:
    mapping = load_mapping(ROOT / "mappings" / "chatwoot-odoo.yaml")
    context = Context({}, "bench")
    clock = lambda: datetime.now(UTC)  # noqa: E731
    crm = Odoo(
        server.url,
        server.database,
        server.bot,
        server.bot_key,
        reads(compile_mapping(mapping, context)),
        clock=clock,
        sleep=time.sleep,
    )
    reader = MemoryAdapter(platform.system, Side.PLATFORM, page_size=1000, batch=1000)
    return Engine("bench", store.at("bench"), reader, crm, compile_mapping(mapping, context), clock=clock)


def plain(server: Server, partners: list[int], subtype: int, messages: int) -> float:
    """Seconds that a script without any memory takes, over the connection that it keeps open."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"bearer {server.bot_key}"
        started = time.perf_counter()
        for start in range(0, messages, BATCH):
            rows: list[dict[str, Any]] = [
                {
                    "model": "res.partner",
                    "res_id": partners[number % len(partners)],
                    "body": text(number).replace("&", "&amp;"),
                    "message_type": "comment",
                    "subtype_id": subtype,
                    "author_id": partners[number % len(partners)],
                    "email_from": "Customer",
                    "subject": "whatsapp: WhatsApp",
                    "date": "2026-01-02 03:04:05",
                    "message_id": f"<plain.{time.time_ns()}.{number}@bench>",
                }
                for number in range(start, min(start + BATCH, messages))
            ]
            session.post(
                f"{server.url}/json/2/mail.message/create", json={"vals_list": rows}, timeout=300
            ).raise_for_status()
        return time.perf_counter() - started


def measure(full: bool) -> list[Measure]:
    """Raises NotMeasured where no real Odoo can be had."""
    spare_the_collector()
    try:
        servers = Servers()
    except Unavailable as error:
        raise NotMeasured(f"no real Odoo can be had. {error}") from None
    try:
        with servers.running() as server:
            return measured(server, messages=20_000 if full else 6_000)
    finally:
        servers.close()


def measured(server: Server, messages: int) -> list[Measure]:
    platform = Platform()
    admin = server.admin()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/connector.db", clock=lambda: datetime.now(UTC))
        # Known people and a warm server: one message each.
        platform.write(PERSONS)
        engine(server, platform, store).sync()
        partners = admin("res.partner", "search", [["email", "like", "@mail.example"]])
        subtype = admin("ir.model.data", "check_object_reference", "mail", "mt_note")[1]
        assert len(partners) == PERSONS
        plain(server, partners, subtype, BATCH)
        half = messages // 2
        script = plain(server, partners, subtype, half)
        platform.write(messages)
        worker = engine(server, platform, store)
        started, used = time.perf_counter(), time.process_time()
        report = worker.sync()
        ours, cpu = time.perf_counter() - started, time.process_time() - used
        script += plain(server, partners, subtype, messages - half)
        assert report.written >= messages, report
        quiet = engine(server, platform, store).sync()
        assert quiet.written == 0, quiet
        store.close()
    kept = admin("mail.message", "search_count", [["message_id", "like", "<bench.%"]])
    assert kept == messages + PERSONS, kept
    return [
        Measure(
            f"{messages:,} messages into Odoo",
            "per s",
            messages / ours,
            "plain batched create",
            messages / script,
            goal=GOAL,
            wants="at least",
        ),
        Measure("own CPU time", "ms per message", 1_000 * cpu / messages),
        Measure(
            "Odoo calls", "per 1,000", 1_000 * report.calls["odoo"] / messages, "plain batched create", 1_000 / BATCH
        ),
    ]
