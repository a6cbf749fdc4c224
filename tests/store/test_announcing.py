"""Webhooks that never came: what is waited for, what counts as lost, and what nobody can tell."""

import pytest

from connector.model import Cursor, Kind, Side
from connector.store.entries import Webhooks


@pytest.fixture
def read(ledger, make, clock):
    """A read of a stream brings a message, written just now unless told otherwise."""

    def bring(id_, at=None, side=Side.PLATFORM):
        fields = {"sent_at": (at or clock()).strftime("%Y-%m-%dT%H:%M:%SZ")}
        one = make.message(id_, fields=fields, side=side)
        ledger.ingest(side, "conversations", [one], Cursor(), {})
        return one.ref

    return bring


@pytest.fixture
def listening(ledger, make, clock):
    """Webhooks have come in for a while, and this process takes them."""
    ledger.listen(clock())
    ledger.announced([make.platform(Kind.MESSAGE, "first")])
    since = clock()
    clock.pass_(hours=1)
    return since


def lost(ledger):
    ledger.give_up_waiting()
    return ledger.webhooks().lost


def test_where_no_webhook_ever_named_a_message_there_are_none(ledger, make, read, clock):
    ledger.listen(clock())
    ledger.announced([make.platform(Kind.CONVERSATION, 1)])
    clock.pass_(hours=1)
    read(1)
    clock.pass_(hours=1)
    ledger.give_up_waiting()
    assert ledger.webhooks() is None


def test_they_are_counted_since_the_first_that_came(ledger, make, listening, clock):
    ledger.announced([make.platform(Kind.MESSAGE, "again")])
    assert ledger.webhooks() == Webhooks(listening, 0)


def test_a_message_that_only_a_read_brought_lost_its_webhook_after_ten_minutes(ledger, read, listening, clock):
    read(1)
    read(1)
    clock.pass_(minutes=9)
    assert lost(ledger) == 0
    clock.pass_(minutes=1)
    assert lost(ledger) == 1


@pytest.mark.parametrize("minutes", [1, 30])
@pytest.mark.parametrize("times", [1, 2])
def test_a_webhook_that_comes_after_the_read_is_not_lost_however_often_it_comes(
    ledger, read, listening, clock, minutes, times
):
    ref = read(1)
    clock.pass_(minutes=minutes)
    ledger.give_up_waiting()
    ledger.announced([ref] * times)
    clock.pass_(hours=1)
    assert lost(ledger) == 0


def test_a_message_that_a_webhook_brought_is_not_waited_for_when_it_is_read_again(ledger, make, read, listening, clock):
    fields = {"sent_at": clock().strftime("%Y-%m-%dT%H:%M:%SZ")}
    ledger.record([make.message(1, fields=fields)])
    read(1)
    clock.pass_(hours=1)
    assert lost(ledger) == 0


def test_what_was_written_before_webhooks_came_in_or_anybody_listened_is_not_waited_for(ledger, make, read, clock):
    early = clock()
    clock.pass_(hours=1)
    ledger.listen(clock())
    clock.pass_(hours=1)
    before = clock()
    ledger.announced([make.platform(Kind.MESSAGE, "first")])
    clock.pass_(hours=1)
    read(1, early)
    read(2, before)
    read(3, side=Side.CRM)
    clock.pass_(hours=1)
    assert lost(ledger) == 0


def test_a_process_that_takes_no_webhooks_waits_for_none(ledger, read, listening, clock):
    ledger.listen(None)
    read(1)
    clock.pass_(hours=1)
    assert lost(ledger) == 0


def test_what_a_process_that_ended_was_waiting_for_cannot_be_told_and_what_it_found_lost_stays(
    store, ledger, read, listening, clock
):
    read(1)
    clock.pass_(minutes=10)
    assert lost(ledger) == 1
    read(2)
    clock.pass_(minutes=5)
    after = store.at("main")
    after.listen(clock())
    clock.pass_(hours=1)
    assert lost(after) == 1


def test_another_connection_s_webhooks_are_its_own(store, ledger, read, listening, clock):
    ref = read(1)
    store.at("other").announced([ref])
    clock.pass_(minutes=10)
    assert lost(ledger) == 1
    assert store.at("other").webhooks().lost == 0
