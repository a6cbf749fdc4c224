"""The copy of a connection for a rehearsal: what a plan may look at is in it, and nothing that is done to it comes back."""

import pytest

from connector.model import Cursor, HoldType, Kind, Side, Snapshot
from connector.store.entries import Entries, NewHold


@pytest.fixture
def filled(ledger, make, clock):
    """A person who is linked, a message that is planned and linked, one that is new, an open write, a hold, and another
    connection's rows."""
    person = make.fact(Kind.PERSON, 1)
    old, new = make.message(1), make.message(2, dirty=True)
    ledger.pin("chatwoot/1", "00D1", "abc")
    ledger.ingest(Side.PLATFORM, "messages", [person, old, new], Cursor(clock()), {"1": "2"})
    snapshot = make.shown(Side.CRM, a=1)
    ledger.journal(
        Entries(
            intents=[make.action("a")],
            links=[
                make.link(1, "a", snapshots=(snapshot,)),
                make.link(1, "p", kind=Kind.PERSON, snapshots=(snapshot,)),
            ],
            holds=[NewHold(HoldType.IDENTITY, person.ref, "Who?", {})],
            clean={old.ref: (old.version, 0), person.ref: (person.version, 0)},
        )
    )
    ledger.remember("key", 1)
    return ledger, person, old, new


def test_a_copy_holds_what_a_plan_may_look_at(store, filled, clock):
    ledger, person, old, new = filled
    with store.rehearsal("main", clock) as copy:
        assert copy.pins() == ledger.pins()
        assert copy.cursor(Side.PLATFORM, "messages") == ledger.cursor(Side.PLATFORM, "messages")
        assert copy.position(Side.PLATFORM, "messages", "1") == "2"
        assert copy.recall("key") == 1
        assert copy.facts([person.ref, old.ref, new.ref]).keys() == {person.ref, new.ref}
        assert [one.ref for one in copy.dirty(list(Kind), 9)] == [new.ref]
        assert copy.open_holds() == ledger.open_holds()
        assert copy.counts().intents == ledger.counts().intents
        persons = [link for links in copy.all_links() for link in links]
        assert [link.kind for link in persons] == [Kind.PERSON]
        (link,) = persons
        assert copy.snapshots([link.id]) == ledger.snapshots([link.id])


def test_what_is_done_to_a_copy_stays_there(store, filled, clock, make):
    ledger = filled[0]
    with store.rehearsal("main", clock) as copy:
        copy.record([make.message(3, dirty=True)])
        (link,) = [link for links in copy.all_links() for link in links]
        copy.journal(Entries(snapshots=[Snapshot(link.id, Side.CRM, {"a": 2})], ended=[(link.id, "over")]))
        assert copy.count_dirty() == 2
    assert ledger.count_dirty() == 1
    assert ledger.active_links(Kind.PERSON) == 1


def test_another_connection_is_not_copied(store, filled, clock):
    with store.rehearsal("other", clock) as copy:
        assert copy.pins() is None
        assert copy.count_dirty() == 0
