"""Which connections are due, and what webhooks have named: what many workers know of one another."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import event

from connector.model import Cursor, Kind, Side
from connector.store.turning import HINTS

NAMES = ["north", "south", "west"]


@pytest.fixture
def ledgers(store):
    return {name: store.at(name) for name in NAMES}


def test_a_connection_that_nobody_has_looked_at_is_due(store):
    assert store.due(["north", "main"]) == ["main", "north"]


def test_the_connection_that_waits_longest_is_first(store, ledgers, clock):
    for name, minutes in zip(NAMES, (3, 1, 2), strict=True):
        ledgers[name].come_back(clock() + timedelta(minutes=minutes))
    assert store.due(NAMES) == []
    clock.pass_(minutes=2)
    assert store.due(NAMES) == ["south", "west"]
    clock.pass_(minutes=1)
    assert store.due(NAMES) == ["south", "west", "north"]
    assert store.due(["north"]) == ["north"]


def test_what_a_webhook_names_makes_its_connection_due(store, ledgers, make, clock):
    for ledger in ledgers.values():
        ledger.come_back(clock() + timedelta(hours=1))
    assert ledgers["south"].hint([make.platform(Kind.MESSAGE, 1)])
    assert store.due(NAMES) == ["south"]


def test_a_connection_that_rests_is_left_alone_whatever_webhooks_name(store, ledgers, make, clock):
    for ledger in ledgers.values():
        ledger.come_back(clock() + timedelta(seconds=30), resting=True)
    ledgers["south"].hint([make.platform(Kind.MESSAGE, 1)])
    assert store.due(NAMES) == []
    clock.pass_(seconds=30)
    assert store.due(NAMES) == NAMES


def test_a_hint_that_was_looked_at_is_done_with(store, ledgers, make, clock):
    north = ledgers["north"]
    north.hint([make.platform(Kind.MESSAGE, 1), make.platform(Kind.MESSAGE, 2)])
    seen = north.hints()
    assert set(seen) == {make.platform(Kind.MESSAGE, 1), make.platform(Kind.MESSAGE, 2)}
    assert ledgers["south"].hints() == {}
    north.looked_at(seen)
    assert north.hints() == {}


def test_many_hints_are_done_with_in_few_statements(store, ledgers, make):
    north, deleted = ledgers["north"], []

    @event.listens_for(store._engine, "after_cursor_execute")
    def note(db, cursor, statement, parameters, context, executemany):
        if statement.startswith("DELETE"):
            deleted.append(len(parameters))

    assert north.hint([make.platform(Kind.MESSAGE, n) for n in range(2500)])
    north.looked_at(north.hints())
    assert north.hints() == {}
    assert len(deleted) == 2


def test_a_record_that_is_named_again_while_it_is_looked_at_is_looked_at_again(ledgers, make, clock):
    north, one = ledgers["north"], make.platform(Kind.MESSAGE, 1)
    north.hint([one])
    seen = north.hints()
    clock.pass_(seconds=1)
    north.hint([one])
    north.looked_at(seen)
    assert north.hints() == {one: clock()}


def test_more_hints_than_can_be_looked_at_are_turned_away(ledgers, make):
    north = ledgers["north"]
    assert north.hint([make.platform(Kind.MESSAGE, number) for number in range(HINTS)])
    assert not north.hint([make.platform(Kind.MESSAGE, "more")])
    assert ledgers["south"].hint([make.platform(Kind.MESSAGE, "more")])


def test_a_stream_was_read_when_it_was_read_to_its_end(ledger, clock):
    ledger.ingest(Side.CRM, "changes", [], Cursor(resume="page 2"), {})
    assert ledger.reads() == {}
    ledger.ingest(Side.CRM, "changes", [], Cursor(watermark=clock()), {})
    read: datetime = clock()
    clock.pass_(minutes=1)
    ledger.ingest(Side.CRM, "changes", [], Cursor(watermark=read, resume="page 2"), {})
    assert ledger.reads() == {(Side.CRM, "changes"): read}
