"""Two sides that cost next to nothing, so that a benchmark measures the product: a platform that makes its pages on the fly,
and a CRM that forgets the messages written to it. Both obey the seam of `connector/adapters/base.py`.

They behave as Chatwoot's and Odoo's adapters do where it matters: persons are read back after they were written, messages are
not, and a receipt of a creation tells no values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

from connector.adapters.base import (
    Account,
    Capabilities,
    Lookup,
    ObjectInfo,
    Page,
    Probe,
    Stream,
    Usage,
    User,
    Window,
    Write,
)
from connector.adapters.memory import PLATFORM_OBJECTS
from connector.errors import Rejected, RemoteError, SchemaDrift
from connector.mapping.compiled import Compiled, Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import Fields, Hint, Kind, Observed, Receipt, Ref, Side, stamp
from connector.store.store import Store
from connector.sync.engine import Engine

ROOT = Path(__file__).parents[1]
NAME = "bench"
PAGE = 1000
BATCH = 500
"""Rows of one call, as in Odoo's adapter."""
START = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first message was written; one follows every second."""


def now() -> datetime:
    return datetime.now(UTC)


def mapping() -> Compiled:
    """The ready-made mapping of Chatwoot and Odoo."""
    return compile_mapping(load_mapping(ROOT / "mappings" / "chatwoot-odoo.yaml"), Context({}, NAME))


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store.open(url, clock=now)
    try:
        yield store
    finally:
        store.close()


def engine(store: Store, platform: "Platform", crm: "Crm", compiled: Compiled) -> Engine:
    return Engine(NAME, store.at(NAME), platform, crm, compiled, clock=now)


def message_fields(number: int) -> Fields:
    text = f"Hello, this is message {number}. Is my bike ready? Best, somebody & co 🚲"
    sent_at = stamp(START + timedelta(seconds=number))
    return {"direction": "inbound", "author": "Customer", "text": text, "sent_at": sent_at}


def person_fields(number: int) -> Fields:
    return {"name": f"Customer {number}", "email": f"c{number}@mail.example"}


@dataclass
class Quiet:
    """What both sides have in common: an account, one stream, persons, and nothing that ever goes wrong. `people` holds
    what was written of each person, with the time, in the order of writing."""

    system: str
    side: Side
    people: dict[str, tuple[Fields, datetime]] = field(default_factory=dict)
    calls: int = 0

    def keep(self, id_: str, fields: Fields, at: datetime) -> None:
        self.people.pop(id_, None)
        self.people[id_] = fields, at

    def written_since(self, at: datetime | None) -> list[str]:
        """The ids of the persons written since then, oldest first. No others are looked at: a tick without news must not cost more
        for there being more persons."""
        found = takewhile(lambda id_: at is not None and self.people[id_][1] >= at, reversed(self.people))
        return [*found][::-1]

    @property
    def capabilities(self) -> Capabilities:
        kinds = frozenset({Kind.PERSON, Kind.CONVERSATION, Kind.MESSAGE})
        return Capabilities(
            streams=(Stream("changes", timedelta(minutes=1), timedelta(0)),),
            readable=kinds,
            writable=kinds,
            batch=BATCH,
            upsert_by_key=True,
            can_reply=self.side is Side.PLATFORM,
            webhooks=False,
            lag=timedelta(0),
        )

    def check(self) -> Account:
        return Account(self.system, "1", "Benchmark", "connector")

    def users(self) -> Sequence[User]:
        return ()

    def send(self, write: Write, token: str) -> Receipt:
        raise Rejected(self.system, "NO_REPLY", "nobody answers in a benchmark")

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        return Probe.CANNOT_TELL

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        raise Rejected(self.system, "NO_REMOVE", "nothing is removed in a benchmark")

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        return []

    def usage(self) -> Usage:
        return Usage(self.calls)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Platform(Quiet):
    """So many persons with one conversation each, and `messages` in turn in these. Records are numbered; nothing is kept but
    what is written to persons."""

    system: str = "chatwoot"
    side: Side = Side.PLATFORM
    persons: int = 0
    messages: int = 0

    def describe(self, object_: str) -> ObjectInfo:
        return PLATFORM_OBJECTS[object_].info

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        """The first window shows persons, conversations and messages, a later one what is new. A place is the number of a
        record, counted through all three."""
        self.calls += 1
        first, end = 2 * self.persons, 2 * self.persons + self.messages
        if window.resume is not None:
            at = int(window.resume)
        else:
            at = first + int((window.since - START).total_seconds()) if window.since else 0
        written = [self._person(int(id_)) for id_ in self.written_since(window.since)]
        while True:
            observed = (*written, *(self._record(place) for place in range(at, min(at + PAGE, end))))
            at, written = at + PAGE, []
            if at >= end:
                yield Page(observed, watermark=START + timedelta(seconds=self.messages))
                return
            yield Page(observed, resume=str(at))

    def _record(self, place: int) -> Observed:
        if place < self.persons:
            return self._person(place)
        if place < 2 * self.persons:
            return self._conversation(place - self.persons)
        return self.message(place - 2 * self.persons)

    def _person(self, number: int) -> Observed:
        written, at = self.people.get(str(number), ({}, START))
        fields = {**person_fields(number), **written}
        return Observed(Ref(self.system, "person", str(number)), Kind.PERSON, fields, stamp(at), at, ours=bool(written))

    def _conversation(self, number: int) -> Observed:
        fields = {"network": "whatsapp", "inbox": "WhatsApp", "status": "open"}
        parent = Ref(self.system, "person", str(number))
        return Observed(
            Ref(self.system, "conversation", str(number)), Kind.CONVERSATION, fields, "1", START, parent=parent
        )

    def message(self, number: int) -> Observed:
        parent = Ref(self.system, "conversation", str(number % self.persons))
        at = START + timedelta(seconds=number)
        ref = Ref(self.system, "message", f"{parent.id}-{number}")
        return Observed(ref, Kind.MESSAGE, message_fields(number), "1", at, parent=parent)

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        self.calls += 1
        make: Mapping[str, Callable[[int], Observed]] = {
            "person": self._person,
            "conversation": self._conversation,
            "message": self.message,
        }
        return [make[ref.object](int(ref.id.rpartition("-")[2])) for ref in refs]

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        return [[] for _ in lookups]

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        self.calls += 1
        answers: list[Receipt | RemoteError] = []
        # Stamped after all messages that were read: a later window shows it.
        at = START + timedelta(seconds=self.messages)
        for write in writes:
            assert write.kind is Kind.PERSON
            assert write.target
            known, _ = self.people.get(write.target.id, ({}, at))
            self.keep(write.target.id, {**known, **write.fields}, at)
            answers.append(Receipt(write.target, False, self._person(int(write.target.id)).fields))
        return answers


@dataclass
class Crm(Quiet):
    """Keeps the persons; of messages only how many were written."""

    system: str = "odoo"
    side: Side = Side.CRM
    messages: int = 0

    def describe(self, object_: str) -> ObjectInfo:
        raise SchemaDrift(self.system, "NO_OBJECT", f"nobody asks for {object_} in a benchmark")

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        self.calls += 1
        until = now()
        changed = self.written_since(window.since)
        at = int(window.resume or 0)
        while True:
            observed = tuple(self._person(id_) for id_ in changed[at : at + PAGE])
            at += PAGE
            if at >= len(changed):
                yield Page(observed, watermark=until)
                return
            yield Page(observed, resume=str(at))

    def _person(self, id_: str) -> Observed:
        fields, at = self.people[id_]
        ref = Ref(self.system, "res.partner", id_)
        return Observed(ref, Kind.PERSON, fields, stamp(at), at, by="connector", ours=True)

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        self.calls += 1
        gone = [ref for ref in refs if ref.id not in self.people]
        assert not gone, gone
        return [self._person(ref.id) for ref in refs]

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        self.calls += 1
        return [[] for _ in lookups]

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        self.calls += 1
        return [self._person_written(write) if write.kind is Kind.PERSON else self._noted(write) for write in writes]

    def _person_written(self, write: Write) -> Receipt:
        if write.target:
            known, _ = self.people[write.target.id]
            self.keep(write.target.id, {**known, **write.fields}, now())
            return Receipt(write.target)
        id_ = str(len(self.people) + 1)
        self.keep(id_, {**write.fields, "id": id_}, now())
        return Receipt(Ref(self.system, "res.partner", id_), created=True)

    def _noted(self, write: Write) -> Receipt:
        assert write.fields["res_id"]
        self.messages += 1
        return Receipt(write.target or Ref(self.system, "mail.message", str(self.messages)), write.target is None)
