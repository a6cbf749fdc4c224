"""What connections of one CRM account share: the sum of their calls, and what the CRM last told."""

from datetime import UTC, date, datetime, timedelta

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import connector.store.migrations
from connector.model import Side
from connector.store.database import connect, transaction
from connector.store.entries import Told
from connector.store.store import Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def three(store):
    """Two connections of one org, and one of another."""
    found = [store.at(name) for name in ("north", "south", "elsewhere")]
    for ledger, org in zip(found, ("00D1", "00D1", "00D2"), strict=True):
        ledger.pin(f"chatwoot/{ledger.connection}", org, "abc")
    return found


def test_the_calls_of_an_account_are_those_of_all_its_connections(three):
    north, south, _ = three
    for ledger, calls in zip(three, (5, 7, 100), strict=True):
        ledger.usage_add(NOON, "salesforce", calls)
    south.usage_add(NOON, "chatwoot", 1000)
    assert [one.account_calls(NOON, "salesforce") for one in three] == [{NOON: 12}, {NOON: 12}, {NOON: 100}]
    assert north.account_calls(NOON, "odoo") == {}


def test_the_calls_of_an_account_are_told_by_the_hour_from_an_hour_on(three):
    north, south, _ = three
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    for ledger, at in ((north, NOON - minute), (north, NOON), (south, NOON + 59 * minute), (south, NOON + hour)):
        ledger.usage_add(at, "salesforce", 1)
    assert north.account_calls(NOON + 30 * minute, "salesforce") == {NOON: 2, NOON + hour: 1}


def test_before_its_first_use_a_connection_counts_its_own_calls(store, three):
    new = store.at("new")
    three[0].usage_add(NOON, "salesforce", 5)
    assert new.account_calls(NOON, "salesforce") == {}
    new.usage_add(NOON, "salesforce", 2)
    assert new.account_calls(NOON, "salesforce") == {NOON: 2}
    new.pin("chatwoot/new", "00D1", "abc")
    assert new.account_calls(NOON, "salesforce") == {NOON: 7}


def test_the_newest_that_the_crm_told_counts_for_all_connections_of_the_account(three, clock):
    north, south, elsewhere = three
    assert north.allowance() is None
    north.told_allowance(10, 1000)
    first = clock()
    clock.now += timedelta(minutes=1)
    south.told_allowance(20, 1000)
    assert north.allowance() == south.allowance() == Told(20, 1000, clock())
    assert elsewhere.allowance() is None
    assert north.allowance().at > first


def test_a_system_that_asked_one_connection_for_time_is_left_alone_by_all_of_its_account(three, clock):
    north, south, elsewhere = three
    assert [one.waits_until() for one in three] == [None, None, None]
    until = clock() + timedelta(minutes=10)
    north.told_to_wait(Side.CRM, until)
    assert [one.waits_until() for one in three] == [until, until, None]
    north.told_to_wait(Side.PLATFORM, until + timedelta(minutes=1))
    assert [one.waits_until() for one in three] == [until + timedelta(minutes=1), until, None]
    assert elsewhere.waits_until() is None
    assert south.waits_until() == until


def test_what_an_older_store_counted_by_the_day_counts_to_the_end_of_that_day(empty_url, clock):
    engine, config = connect(empty_url), Config()
    config.set_main_option("script_location", next(iter(connector.store.migrations.__path__)))
    with transaction(engine, writes=True) as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0004")
        row = "INSERT INTO usage (connection, day, system, calls) VALUES ('main', '2026-01-01', 'salesforce', 5)"
        db.execute(text(row))
    engine.dispose()
    store = Store.open(empty_url, clock=clock)
    assert store.at("main").usage(date(2026, 1, 1)) == {"salesforce": 5}
    day = datetime(2026, 1, 1, tzinfo=UTC)
    assert store.at("main").account_calls(day, "salesforce") == {day: 5}
    store.close()
