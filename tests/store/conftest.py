"""Every test of the store runs on SQLite and on a real PostgreSQL, each with a database of its own."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from postgresql import Server

from connector.model import Action, Fact, Intent, Kind, Link, Op, Receipt, Ref, Side
from connector.store.entries import Entries, NewLink, Settlement, Shown
from connector.store.schema import metadata
from connector.store.store import Ledger, Store

NAMES = itertools.count()


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes the URL of a new, empty database: `sqlite` or `postgresql`."""

    def make(database: str) -> str:
        if database == "sqlite":
            return f"sqlite:///{tmp_path}/test_{next(NAMES)}.db"
        return request.getfixturevalue("postgresql_server").create()

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(request.param)


@pytest.fixture(scope="session")
def postgresql_shared(postgresql_server: Server) -> str:
    """A database with our tables, which the tests use one after the other: emptying it takes less time than a new one."""
    url = postgresql_server.create()
    Store.open(url, clock=Clock()).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    """A database without rows."""
    if request.param == "sqlite":
        return new_url("sqlite")
    shared = request.getfixturevalue("postgresql_shared")
    with psycopg.connect(shared, autocommit=True) as db:
        db.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
    return shared


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    store = Store.open(url, key="a long random text for tests", clock=clock)
    yield store
    store.close()


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return store.at("main")


class Make:
    """Sample rows, short to write."""

    def platform(self, kind: Kind, id_: object) -> Ref:
        return Ref("chatwoot", kind.value, str(id_))

    def crm(self, id_: object, object_: str = "Task") -> Ref:
        return Ref("salesforce", object_, str(id_))

    def fact(self, kind: Kind, id_: object, /, **changed: object) -> Fact:
        values = {"side": Side.PLATFORM, "fields": {"name": f"{kind} {id_}"}, "version": "v1"} | changed
        return Fact(self.platform(kind, id_), kind=kind, **values)

    def message(self, id_: object, /, **changed: object) -> Fact:
        fields = {"direction": "inbound", "text": f"Message {id_}", "sent_at": "2026-01-01T00:00:00Z"}
        fields |= changed.pop("fields", {})
        return self.fact(
            Kind.MESSAGE, id_, **{"fields": fields, "parent": self.platform(Kind.CONVERSATION, 1)} | changed
        )

    def action(self, unique: object, /, **changed: object) -> Action:
        subject = self.platform(Kind.MESSAGE, unique)
        values = {
            "op": Op.UPSERT,
            "side": Side.CRM,
            "kind": Kind.MESSAGE,
            "object": "Task",
            "fields": {"Subject": f"Message {unique}"},
            "source": subject,
            "subject": subject,
        }
        return Action(str(unique), **values | changed)

    def send(self, unique: object, lane: str = "conversation 1", /, **changed: object) -> Action:
        values = {
            "op": Op.SEND,
            "side": Side.PLATFORM,
            "kind": Kind.REPLY,
            "source": self.crm(unique, "Reply__c"),
            "subject": self.platform(Kind.CONVERSATION, 1),
            "lane": lane,
        }
        return self.action(unique, **values | changed)

    def link(self, id_: object, crm: object, /, **changed: object) -> NewLink:
        kind = changed.pop("kind", Kind.MESSAGE)
        object_ = "Contact" if kind is Kind.PERSON else "Task"
        return NewLink(kind, self.platform(kind, id_), self.crm(crm, object_), **{"why": ("key",)} | changed)

    def shown(self, side: Side, /, **fields: object) -> Shown:
        return Shown(side, fields)

    def settlement(self, intent: Intent, crm: object, /, **changed: object) -> Settlement:
        return Settlement(intent.id, Receipt(self.crm(crm), created=True), **changed)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture
def planned(ledger: Ledger) -> Callable[..., list[Intent]]:
    """Journals actions."""

    def journal(*actions: Action) -> list[Intent]:
        return ledger.journal(Entries(intents=actions))

    return journal


@pytest.fixture
def linked(ledger: Ledger) -> Callable[..., list[Link]]:
    """Journals links and answers them, in the order in which they were made."""

    def journal(*pairs: NewLink, **more: object) -> list[Link]:
        ledger.journal(Entries(links=pairs, **more))
        return ledger.links_of([pair.platform for pair in pairs], active=True)

    return journal


@pytest.fixture
def sending(ledger: Ledger, planned: Callable[..., list[Intent]], clock: Clock) -> Callable[..., list[Intent]]:
    """Journals actions and marks them as being sent."""

    def mark(*actions: Action) -> list[Intent]:
        ids = [intent.id for intent in planned(*actions)]
        ledger.mark_sending(ids, clock())
        return [ledger.intent(id_) for id_ in ids]

    return mark
