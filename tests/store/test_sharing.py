"""What connections of one CRM account share: the sum of their calls, and what the CRM last told."""

from datetime import date, timedelta

import pytest

from connector.model import Side
from connector.store.entries import Told

DAY = date(2026, 1, 1)


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
        ledger.usage_add(DAY, "salesforce", calls)
    south.usage_add(DAY, "chatwoot", 1000)
    south.usage_add(DAY + timedelta(1), "salesforce", 1000)
    assert [one.account_calls(DAY, "salesforce") for one in three] == [12, 12, 100]
    assert north.account_calls(DAY, "odoo") == 0


def test_before_its_first_use_a_connection_counts_its_own_calls(store, three):
    new = store.at("new")
    three[0].usage_add(DAY, "salesforce", 5)
    assert new.account_calls(DAY, "salesforce") == 0
    new.usage_add(DAY, "salesforce", 2)
    assert new.account_calls(DAY, "salesforce") == 2
    new.pin("chatwoot/new", "00D1", "abc")
    assert new.account_calls(DAY, "salesforce") == 7


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
