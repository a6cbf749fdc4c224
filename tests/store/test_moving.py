"""A store is copied to the other database and back: everything arrives, and what cannot be copied well is refused, leaving nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect, text

from connector.errors import StoreError
from connector.model import Cursor, Decision, HoldType, Kind, Outcome, Side
from connector.store import moving
from connector.store.database import connect, transaction
from connector.store.entries import DecisionRow, Entries, NewHold
from connector.store.schema import metadata
from connector.store.store import Store

TTL = timedelta(seconds=60)
KEY = "a long random text for tests"
OTHER = {"sqlite": "postgresql", "postgresql": "sqlite"}
VALUES = {
    "TEXT": ["plain", "", "Zoë 😀 żółw", 'O\'Hara "quoted" \\ %s :name'],
    "BOOLEAN": [True, False],
    "BIGINT": [3, 2**40],
    "INTEGER": [0, 7],
    "JSON": [{"b": [1, 2.5, None, "é\x00\ud800"], "a": {"": True}}, [], "text", 12345678901234567890],
}


@pytest.fixture
def target(url, new_url):
    """The URL of an empty database of the other kind."""
    return new_url(OTHER[url.partition(":")[0]])


def fill_every_table(store: Store) -> None:
    """Two rows in each table, whichever there are: every type with values that are easily spoilt. Numbers are those of the row."""
    with transaction(store._engine, writes=True) as db:
        for table in metadata.sorted_tables:
            db.execute(table.insert(), [{column.name: a_value(column, n) for column in table.columns} for n in (0, 1)])


def a_value(column, n: int):
    if column.name in ("id", "link", "intent"):
        return n + 1
    if column.primary_key or column.name in ("connection", "unique", "token", "subject", "platform", "crm", "result"):
        return f"{column.name} {n}"
    if column.name.endswith(("_at", "_seen")) or column.name in ("watermark", "since", "not_before"):
        return datetime(2026, 1, 2, 3, 4, 5, n, tzinfo=UTC)
    kind = column.type.compile().split()[0].split("(")[0]
    return VALUES[kind][n] if kind in VALUES else VALUES["TEXT"][2 + n]


def rows(url: str) -> dict[str, list[dict]]:
    engine = connect(url)
    with transaction(engine, writes=False) as db:
        found = {
            table.name: [dict(row) for row in db.execute(table.select().order_by(*table.primary_key)).mappings()]
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return found


def test_every_table_there_is_is_copied_there_and_back(url, target, store, new_url, clock):
    fill_every_table(store)
    before = rows(url)
    assert all(before.values()), "a table without rows proves nothing"
    there = store.copy_to(target)
    other = Store.open(target, key=KEY, clock=clock)
    back = new_url(url.partition(":")[0])
    assert other.copy_to(back) == there
    other.close()
    stays = {table.name for table in moving.STAYS}
    assert stays == {"leases"}
    assert rows(target) == rows(back) == before | {name: [] for name in stays}
    assert {name: one.rows for name, one in there.items()} == dict.fromkeys(set(metadata.tables) - stays, 2)


def a_life(store: Store, make) -> None:
    """Rows with numbers that the database gave, one of them gone again, and a secret."""
    ledger = store.at("main")
    ledger.ingest(Side.PLATFORM, "messages", [make.message(n) for n in range(5)], Cursor(resume="x"), {"1": "2"})
    person = make.platform(Kind.PERSON, 1)
    decision = Decision("email", Outcome.KEEP, "crm", "reason", conflict=True)
    ledger.journal(
        Entries(
            intents=[make.action("a"), make.action("b")],
            links=[make.link(1, "a", snapshots=(make.shown(Side.CRM, a=1),))],
            holds=[NewHold(HoldType.IDENTITY, person, "Who?", {})],
            decisions=[DecisionRow(Kind.PERSON, person, None, decision, person)],
        )
    )
    ledger.begin_run("tick")
    gone = ledger.begin_run("tick")
    with transaction(store._engine, writes=True) as db:
        db.execute(text("DELETE FROM runs WHERE id = :id"), {"id": gone})
    store.vault_put("token", "a refresh token")


def test_the_copy_goes_on_where_the_store_was(target, store, clock, make):
    a_life(store, make)
    store.at("main").lease("a:1", TTL)
    store.copy_to(target)
    copied = Store.open(target, key=KEY, clock=clock)
    assert copied.vault_get("token") == "a refresh token"
    ledger, origin = copied.at("main"), store.at("main")
    assert ledger.lease("b:2", TTL), "who works on the old one does not work on the new one"
    more = Entries(
        intents=[make.action("c")],
        links=[make.link(2, "b")],
        holds=[NewHold(HoldType.IDENTITY, make.platform(Kind.PERSON, 2), "Who?", {})],
    )
    ledger.journal(more)
    origin.journal(more)
    assert [one.id for one in ledger.open_holds()] == [one.id for one in origin.open_holds()] == [1, 2]
    assert [one.id for page in ledger.all_links() for one in page] == [1, 2]
    assert [one.id for page in ledger.all_intents() for one, _ in page] == [1, 2, 3]
    assert ledger.begin_run("tick") == origin.begin_run("tick") == 3, (
        "the number of a row that is gone is not given again"
    )
    copied.close()


@pytest.mark.parametrize("made", ["by this program", "by another one"])
def test_a_database_that_holds_anything_is_refused_and_left_as_it_is(made, url, target, store, clock, make):
    a_life(store, make)
    engine = connect(target)
    if made == "by this program":
        other = Store.open(target, clock=clock)
        other.at("main").remember("key", 1)
        other.close()
    else:
        with transaction(engine, writes=True) as db:
            db.execute(text("CREATE TABLE orders (id INTEGER)"))
            db.execute(text("INSERT INTO orders VALUES (1)"))
    with pytest.raises(StoreError, match=r"already holds something: its table (memory|orders) has rows") as refused:
        store.copy_to(target)
    assert "empty database" in refused.value.way_out
    if made == "by this program":
        assert {name for name, found in rows(target).items() if found} == {"memory"}
    else:
        assert inspect(engine).get_table_names() == ["orders"]
    engine.dispose()


def test_a_store_is_not_copied_to_itself(url, store, make):
    a_life(store, make)
    with pytest.raises(StoreError, match="cannot be copied to itself"):
        store.copy_to(url)


def test_a_store_that_holds_nothing_is_refused(target, store, clock):
    """Leases say who works on a store; they are nothing to copy."""
    store.at("main").lease("a:1", TTL)
    with pytest.raises(StoreError, match="holds nothing"):
        store.copy_to(target)


def test_a_store_in_memory_is_no_place_to_copy_to(store, make):
    a_life(store, make)
    for name in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="in memory"):
            store.copy_to(name)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_interrupted_copy_leaves_nothing_and_can_be_repeated(share, target, store, make):
    a_life(store, make)

    def interrupt(_table: str, done: int, of: int) -> None:
        if done >= share * of:
            raise Interrupted

    with pytest.raises(Interrupted):
        store.copy_to(target, interrupt)
    assert not any(rows(target).values())
    store.copy_to(target)


def test_what_is_written_during_the_copy_makes_it_fail_and_leaves_nothing(target, store, make):
    """A person settles a hold: she needs no lease for that."""
    a_life(store, make)
    ledger, settled = store.at("main"), []

    def settle(table: str, _done: int, _of: int) -> None:
        if table == "snapshots" and not settled:
            settled.append(1)
            ledger.journal(Entries(closed_holds=[(1, "skip", "kim", "asked")]))

    with pytest.raises(StoreError, match="in holds: somebody wrote into it") as refused:
        store.copy_to(target, settle)
    assert refused.value.way_out.startswith("Nothing was copied.")
    assert not any(rows(target).values())
    assert ledger.open_holds() == []


def test_progress_counts_every_row_three_times_and_holds_a_page_at_a_time(target, store, make):
    store.at("main").record([make.message(n) for n in range(2 * moving.PAGE + 1)])
    told = []
    store.copy_to(target, lambda *what: told.append(what))
    of = 3 * (2 * moving.PAGE + 1)
    done = [one for _, one, _ in told]
    assert {of for _, _, of in told} == {of}
    assert (done, done[-1]) == (sorted(done), of)
    assert max(b - a for a, b in zip([0, *done], done, strict=False)) == moving.PAGE
