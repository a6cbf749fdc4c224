"""One engine per connection at a time."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from connector.app import LEASE
from connector.errors import StoreError
from connector.model import Cursor, IntentState, Side
from connector.store.database import transaction
from connector.store.entries import Entries
from connector.store.schema import leases
from connector.store.store import Store

TTL = timedelta(seconds=60)


def pass_(store, **time):
    """So much later, by whatever clock the leases are compared."""
    with transaction(store._engine, writes=True) as db:
        for row in db.execute(select(leases)).all():
            db.execute(
                update(leases)
                .where(leases.c.connection == row.connection)
                .values(expires_at=row.expires_at - timedelta(**time))
            )


def test_a_second_engine_does_not_get_the_lease(store):
    assert store.at("main").lease("a:1", TTL)
    assert not store.at("main").lease("b:2", TTL)


def test_the_same_holder_name_in_another_process_is_another_engine(store):
    assert store.at("main").lease("a:1", TTL)
    assert not store.at("main").lease("a:1", TTL)


def test_each_connection_has_a_lease_of_its_own(store):
    assert store.at("main").lease("a:1", TTL)
    assert store.at("other").lease("b:2", TTL)


def test_a_renewed_lease_lasts(store):
    first, second = store.at("main"), store.at("main")
    first.lease("a:1", TTL)
    for _ in range(3):
        pass_(store, seconds=50)
        assert first.renew(TTL)
    assert not second.lease("b:2", TTL)


def test_an_expired_lease_is_taken_over_and_the_fence_rises(store):
    first, second = store.at("main"), store.at("main")
    first.lease("a:1", TTL)
    pass_(store, seconds=60)
    assert second.lease("b:2", TTL)
    assert second.fence > first.fence
    assert not first.renew(TTL)


def test_a_lease_that_another_took_and_gave_back_is_not_renewed_and_nothing_is_written(store):
    """Two actors: engine A is stopped in mid-turn; B does the work and gives the lease back; A wakes with its stale plan."""
    first, second = store.at("main"), store.at("main")
    first.lease("a:1", TTL)
    pass_(store, seconds=60)
    second.lease("b:2", TTL)
    second.release()
    assert not first.renew(TTL)
    with pytest.raises(StoreError, match="taken over the connection main"):
        first.begin_run("tick")


def test_an_expired_lease_that_nobody_took_is_renewed_and_still_writes(store):
    ledger = store.at("main")
    ledger.lease("a:1", TTL)
    pass_(store, hours=1)
    ledger.begin_run("tick")
    fence = ledger.fence
    assert ledger.renew(TTL)
    assert ledger.fence == fence


def test_a_machine_whose_clock_is_ahead_takes_no_lease_from_another(new_url, clock):
    url = new_url("postgresql")
    here = Store.open(url, clock=clock)
    ahead = Store.open(url, clock=lambda: clock() + timedelta(minutes=10))
    here.at("main").lease("a:1", TTL)
    assert not ahead.at("main").lease("b:2", TTL)
    here.close()
    ahead.close()


def test_a_process_that_dies_in_a_transaction_keeps_the_connection_no_longer_than_a_lease(new_url, clock):
    """Its machine is gone without a word, so that PostgreSQL believes for hours that it is still there."""
    store = Store.open(new_url("postgresql"), clock=clock)
    with transaction(store._engine, writes=False) as db:
        limit = db.scalar(text("SHOW idle_in_transaction_session_timeout"))
    assert timedelta(seconds=int(limit.removesuffix("s"))) < LEASE
    store.close()


def test_a_released_lease_is_free_at_once(store):
    first, second = store.at("main"), store.at("main")
    first.lease("a:1", TTL)
    first.release()
    assert second.lease("b:2", TTL)


def test_releasing_what_was_taken_over_leaves_the_new_holder_alone(store):
    first, second, third = (store.at("main") for _ in range(3))
    first.lease("a:1", TTL)
    pass_(store, hours=1)
    second.lease("b:2", TTL)
    first.release()
    assert not third.lease("c:3", TTL)


@pytest.fixture
def overtaken(store, clock, make):
    """An engine that slept past its lease, with a write on its way, while another took over."""
    ledger = store.at("main")
    ledger.lease("a:1", TTL)
    (intent,) = ledger.journal(Entries(intents=[make.action("a")]))
    ledger.mark_sending([intent.id], clock())
    pass_(store, hours=1)
    store.at("main").lease("b:2", TTL)
    return ledger, intent


WRITES = {
    "settle": lambda ledger, intent, make: ledger.settle([make.settlement(intent, "1")]),
    "requeue": lambda ledger, intent, make: ledger.requeue([intent.id], None, None),
    "mark_sending": lambda ledger, intent, make: ledger.mark_sending([intent.id], ledger._clock()),
    "journal": lambda ledger, intent, make: ledger.journal(Entries(intents=[make.action("b")])),
    "ingest": lambda ledger, intent, make: ledger.ingest(Side.CRM, "Task", [make.message(1)], Cursor(resume="x"), {}),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_an_engine_that_was_overtaken_cannot_write(store, overtaken, make, write):
    ledger, intent = overtaken
    with pytest.raises(StoreError, match="taken over the connection main"):
        write(ledger, intent, make)
    after = store.at("main")
    assert after.intent(intent.id).state is IntentState.SENDING
    assert sum(after.counts().intents.values()) == 1
    assert after.seen() == 0
    assert after.cursor(Side.CRM, "Task") == Cursor()


def test_people_settle_holds_while_an_engine_runs(store):
    store.at("main").lease("a:1", TTL)
    store.at("main").remember("key", 1)
    assert store.at("main").recall("key") == 1


def test_of_many_engines_that_start_at_once_one_gets_the_lease(store):
    got: list[bool] = []
    gate = threading.Barrier(4)

    def start(n: int) -> None:
        gate.wait()
        got.append(store.at("main").lease(f"host:{n}", TTL))

    threads = [threading.Thread(target=start, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False, False, False, True]


def test_nobody_works_on_a_connection_that_has_moved_to_another_store(store):
    mover, forgotten = store.at("main"), store.at("main")
    mover.lease("mover:1", TTL)
    assert forgotten.successor() is None
    mover.hand_over("sqlite:///new.db")
    mover.release()
    assert not mover.renew(TTL)
    assert not forgotten.lease("daemon:2", TTL)
    assert forgotten.successor() == "sqlite:///new.db"
    assert store.at("other").successor() is None


def test_a_lease_that_was_lost_hands_nothing_over(store):
    mover, other = store.at("main"), store.at("main")
    mover.lease("mover:1", TTL)
    pass_(store, seconds=60)
    other.lease("daemon:2", TTL)
    with pytest.raises(StoreError, match="taken over the connection main during the copy") as refused:
        mover.hand_over("sqlite:///new.db")
    assert "empty sqlite:///new.db" in refused.value.way_out
    assert other.renew(TTL)
    assert other.successor() is None


def test_connections_move_together_or_not_at_all(store):
    mover, second, other = store.at("main"), store.at("second"), store.at("second")
    mover.lease("mover:1", TTL)
    second.lease("mover:1", TTL)
    pass_(store, seconds=60)
    other.lease("daemon:2", TTL)
    with pytest.raises(StoreError, match="taken over the connection second"):
        mover.hand_over("sqlite:///new.db", second)
    assert (mover.successor(), second.successor()) == (None, None)
    other.release()
    assert second.lease("mover:1", TTL)
    mover.hand_over("sqlite:///new.db", second)
    assert (mover.successor(), second.successor()) == ("sqlite:///new.db", "sqlite:///new.db")
