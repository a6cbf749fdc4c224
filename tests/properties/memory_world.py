"""Two systems in memory, the people who work in them, the real engine between them, and what must hold once it is quiet."""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, nullcontext
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from databases import Databases
from sqlalchemy import Connection, event

from connector.adapters.base import FieldInfo, Write
from connector.adapters.memory import PLATFORM_OBJECTS, MemoryAdapter, MemorySystem, memory_object
from connector.adapters.memory_system import Record, Version
from connector.mapping.compiled import Compiled, Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import Fact, Fields, Intent, IntentState, Kind, Life, Link, Observed, Ref, Side
from connector.store.store import Ledger, Store
from connector.sync.engine import Engine

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MAPPING_FILE = Path(__file__).parent / "mapping.yaml"
MAPPING = load_mapping(MAPPING_FILE)
KEY = FieldInfo("Key", "text", unique=True, external_id=True)
CRM_OBJECTS = {
    "Contact": memory_object(
        "Contact", Kind.PERSON, ["Name", "Email", "Phone", "City", "Company", "Language", "Labels", "Rating", KEY]
    ),
    "Identity": memory_object("Identity", Kind.IDENTITY, ["Contact", "Handle", KEY], parent="Contact"),
    "Thread": memory_object(
        "Thread", Kind.CONVERSATION, ["Contact", "Status", "Labels", "Count", KEY], parent="Contact"
    ),
    "Task": memory_object(
        "Task", Kind.MESSAGE, ["Subject", "Description", "Contact", "Thread", "State", KEY], parent="Contact"
    ),
    "Outbound": memory_object(
        "Outbound", Kind.REPLY, ["Thread", "Body", "Status", "Error", "Message"], parent="Thread"
    ),
}
LATE = timedelta(seconds=20)
"""The longest time between a stamp and its becoming readable."""


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Inline(Executor):
    """Runs a call at once in this thread, so that the same seed takes the same steps."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Killed(BaseException):
    """The process ends here. Not an Exception, so that nothing in between can pretend to handle it."""


@dataclass
class Effects:
    """Numbers what the engine does to the outside: every commit of the store, every call of an adapter. At number `fatal` the
    process dies before the effect."""

    count: int = 0
    fatal: int | None = None
    commits: Callable[[], None] = lambda: None
    """Told of each commit."""

    def happen(self) -> None:
        self.count += 1
        if self.fatal is not None and self.count >= self.fatal:
            raise Killed(f"at effect {self.count}")


class Gateway:
    """Stands at those commits of the store that change something. One per store; the world that is at work says whose effects they are."""

    def __init__(self, store: Store) -> None:
        self.effects = Effects()
        event.listen(store._engine, "begin", self._begins)
        event.listen(store._engine, "after_cursor_execute", self._executed)
        event.listen(store._engine, "commit", self._commits)

    def _begins(self, connection: Connection) -> None:
        connection.info["changed"] = False

    def _executed(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        # SQLite counts the rows of a statement that returns them only when they are fetched, which is later.
        changed = cursor.rowcount or "RETURNING" in statement
        if changed and not statement.startswith(("SELECT", "BEGIN", "PRAGMA")):
            connection.info["changed"] = True

    def _commits(self, connection: Connection) -> None:
        if connection.info["changed"]:
            self.effects.happen()
            self.effects.commits()

    @staticmethod
    def of(store: Store) -> "Gateway":
        found = GATEWAYS.get(store)
        if found is None:
            found = GATEWAYS[store] = Gateway(store)
        return found


GATEWAYS: WeakKeyDictionary[Store, Gateway] = WeakKeyDictionary()


class Watched:
    """An adapter whose calls are counted as effects before they are made, and whose writes are looked up in the journal: none
    leaves without an intent that is committed as being sent. Of each reply it is noted which message it became, whatever the
    connector is told, and of each other write which versions it made."""

    def __init__(self, adapter: Any, effects: Effects, ledger: Ledger, became: dict[str, Ref], made: "Made") -> None:
        self._adapter, self._effects, self._ledger, self._became, self._made = adapter, effects, ledger, became, made

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        if name not in ADAPTER_CALLS:
            return found

        def effect(*args: Any, **named: Any) -> Any:
            self._effects.happen()
            received = self._adapter.world.network_receives
            before = len(received)
            if name in ("upsert", "remove", "send"):
                flying = [one for one in self._ledger.in_flight() if one.state is IntentState.SENDING]
                if name == "send":
                    assert args[1] in {one.token for one in flying}, "a reply leaves without an intent"
                else:
                    assert len(flying) >= len(args[0]), "writes leave without an intent"
            watch = self._made.by_call(self._adapter.world, flying, args[0]) if name == "upsert" else nullcontext()
            try:
                with watch:
                    return found(*args, **named)
            finally:
                if name == "send" and len(received) > before:
                    self._became[args[1]] = received[-1].message

        return effect


@dataclass
class Made:
    """Versions that our calls made of records, by ref and number."""

    unanswered: set[tuple[Ref, int]] = field(default_factory=set)
    """What nobody can tell afterwards: the answer never came, or the process died before it could note it."""
    _calls: list[tuple[set[str], set[tuple[Ref, int]]]] = field(default_factory=list)
    """Tokens of what was under way, and what came of it."""

    @contextmanager
    def by_call(self, world: MemorySystem, flying: Sequence[Intent], writes: Sequence[Write]) -> Iterator[None]:
        there = len(world.records)
        before = {one.target: len(world.records[one.target].history) for one in writes if one.target in world.records}
        made: set[tuple[Ref, int]] = set()
        self._calls.append(({one.token for one in flying}, made))
        answered = False
        try:
            yield
            answered = True
        finally:
            for ref in [*before, *islice(world.records, there, None)]:
                late = world.records[ref].history[before.get(ref, 0) :]
                made.update((ref, version.number) for version in late if version.by == "connector")
            if not answered:
                self.unanswered |= made

    def process_died(self, ledger: Ledger) -> None:
        flying = {one.token for one in ledger.in_flight() if one.state is IntentState.SENDING}
        for tokens, made in self._calls:
            if tokens & flying:
                self.unanswered |= made
        self._calls.clear()


ADAPTER_CALLS = ("check", "describe", "users", "pull", "fetch", "find", "upsert", "send", "probe", "remove")


class CompleteAdapter(MemoryAdapter):
    """A CRM that shows every field of a record, null where it is empty."""

    def _observed(self, record: Record, version: Version) -> Observed:
        seen = super()._observed(record, version)
        if self.side is Side.PLATFORM or version.life is not Life.LIVE:
            return seen
        return replace(
            seen, fields=dict.fromkeys(self.world.objects[record.ref.object].info.fields) | dict(seen.fields)
        )


def crm_reformats(_object: str, fields: Fields) -> Fields:
    """What a CRM does to texts: outer white space goes."""
    return {name: value.strip() if isinstance(value, str) else value for name, value in fields.items()}


MAKERS = itertools.count()


def token_maker() -> Callable[[], str]:
    """Markers that the same run makes again, and no other maker."""
    numbers, maker = itertools.count(1), next(MAKERS)
    return lambda: f"{maker:010d}{next(numbers):010d}"


def url_of(store: Store) -> str:
    return store._engine.url.render_as_string(hide_password=False)


def copy_store(store: Store, databases: Databases) -> str:
    """The URL of a copy, as it stands between two transactions."""
    store.close()
    return databases.create(url_of(store))


@dataclass
class Worlds:
    """Both systems with the connector's own store. `engine` is a process: `restart` makes a new one, which remembers nothing."""

    store: Store
    connection: str
    clock: Clock
    reads_back: bool = True
    marks_sends: bool = True
    late_writes: bool = False
    page_size: int = 3
    batch: int = 3
    allowed: Collection[str] = ("double_replies",)
    """The probe's hard case is wanted: several replies with one text."""
    skew: timedelta = timedelta(0)
    """How wrong the clock of the connector's machine is."""
    restored: bool = False
    """The store is an older copy: what people decided since is not known to it, nor what was sent."""
    wired: Callable[[Any], Any] = lambda adapter: adapter
    """Puts something between the engine and an adapter."""
    commits: Callable[[], None] = lambda: None
    effects: Effects = field(default_factory=Effects)
    became: dict[str, Ref] = field(default_factory=dict)
    """The message that each reply became, by the token it was sent with. What a person sees who looks at the network."""
    made: Made = field(default_factory=Made)
    earlier: list[Store] = field(default_factory=list)
    """Opened by processes before this one; other workers may use them still."""

    def __post_init__(self) -> None:
        self.platform = MemorySystem("platform", self.clock, dict(PLATFORM_OBJECTS))
        self.crm = MemorySystem("crm", self.clock, CRM_OBJECTS, reformat=crm_reformats)
        if self.late_writes:
            self.platform.commits_late_by = self.crm.commits_late_by = LATE
        self.mapping: Compiled = compile_mapping(MAPPING, Context(connection=self.connection))
        self.ledger: Ledger = self.store.at(self.connection)
        self.engine = self.new_engine()

    def system(self, side: Side) -> MemorySystem:
        return self.platform if side is Side.PLATFORM else self.crm

    def new_engine(self) -> Engine:
        def adapter(side: Side) -> Any:
            made = CompleteAdapter(
                self.system(side),
                side,
                page_size=self.page_size,
                batch=self.batch,
                lag=LATE,
                reads_back=self.reads_back,
                marks_sends=self.marks_sends,
            )
            return Watched(self.wired(made), self.effects, self.store.at(self.connection), self.became, self.made)

        Gateway.of(self.store).effects = self.effects
        return Engine(
            self.connection,
            self.store.at(self.connection),
            adapter(Side.PLATFORM),
            adapter(Side.CRM),
            self.mapping,
            clock=lambda: self.clock() + self.skew,
            sleep=self.clock.sleep,
            allowed=self.allowed,
            hands=Inline,
        )

    def restart(self, url: str | None = None) -> None:
        """A new process. It opens the store anew, or the one that lies at the URL, so that nothing survives in memory."""
        before = self.store
        before.close()
        self.earlier.append(before)
        self._begin(Store.open(url or url_of(before), clock=before._clock, token=before._token))

    def _begin(self, store: Store) -> None:
        self.store, self.ledger = store, store.at(self.connection)
        self.effects = Effects(commits=self.commits)
        self.engine = self.new_engine()

    def close(self) -> None:
        """Nobody holds the store open any more; who still uses it opens it by that."""
        for store in [*self.earlier, self.store]:
            store.close()

    def sync_killed(self, at: int, work: Callable[[Engine], Any] = Engine.sync) -> bool:
        """Sync (or other work) with a process that dies at its `at`-th effect; a new one stands ready. False: it was done
        before."""
        self.effects = Effects(fatal=at, commits=self.commits)
        self.engine = self.new_engine()
        try:
            work(self.engine)
        except Killed:
            self.made.process_died(self.ledger)
            return True
        finally:
            # Other workers on the same store live on.
            self.effects.fatal = None
            self.restart()
        return False

    def twin(self, databases: Databases) -> "Worlds":
        """The same worlds once more, with a copy of the store: what happens in one does not show in the other."""
        self.close()
        url = copy_store(self.store, databases)
        other = copy(self)
        other.clock, other.platform, other.crm = deepcopy((self.clock, self.platform, self.crm))
        other.became, other.made, other.earlier = dict(self.became), deepcopy(self.made), []
        other.open(url)
        return other

    def open(self, url: str) -> None:
        """Go on with the store that lies there."""
        self._begin(Store.open(url, clock=self.clock, token=token_maker()))

    def quiet(self) -> None:
        """Faults are over; sync until nothing moves any more. Fails when it never becomes quiet, and when a further sync
        writes anything."""
        for system in (self.platform, self.crm):
            system._faults.clear()
        for _ in range(12):
            self.clock.sleep(3700)
            report = self.engine.sync()
            assert not report.trouble, report.trouble
            if not (report.written or report.planned) and not self.under_way():
                break
        else:
            raise AssertionError(f"never quiet: {self.under_way()} {report}")
        before = self.written_by_us()
        for _ in range(2):
            self.clock.sleep(3700)
            report = self.engine.sync()
            assert (report.planned, report.written, report.trouble) == (0, 0, []), report
        assert self.written_by_us() == before, "a sync without news wrote something"

    def under_way(self) -> list[str]:
        open_ = [str(one) for one in self.ledger.in_flight()]
        return open_ + [str(one) for one in self.ledger.ready(self.clock() + timedelta(days=1), 100)]

    def written_by_us(self) -> Counter[Ref]:
        return Counter(
            record.ref
            for system in (self.platform, self.crm)
            for record in system.records.values()
            for version in record.history
            if version.by == "connector"
        )

    # ---- what stands in the systems

    def live(self, side: Side, object_: str) -> dict[Ref, Fields]:
        return {
            ref: record.latest.fields
            for ref, record in self.system(side).records.items()
            if ref.object == object_ and record.latest.life is Life.LIVE
        }

    def links(self, kind: Kind, *, active: bool = True) -> list[Link]:
        refs = [*self.platform.records, *self.crm.records]
        return [one for one in self.ledger.links_of(refs) if one.kind is kind and one.active in (True, active)]

    def fields(self, ref: Ref) -> Fields:
        side = Side.PLATFORM if ref.system == "platform" else Side.CRM
        return self.system(side).records[ref].latest.fields

    def facts(self) -> dict[Ref, Fact]:
        return self.ledger.facts([*self.platform.records, *self.crm.records])
