"""Two connections in one store never see or change each other's rows."""

from datetime import UTC, date, datetime

import pytest

from connector.errors import StoreError
from connector.model import Cursor, Decision, HoldType, Kind, Outcome, Side, Snapshot, State
from connector.store.entries import DecisionRow, Entries, NewHold


@pytest.fixture
def filled(store, make, clock):
    """A connection with a row of everything, and its ids."""
    ledger = store.at("main")
    person = make.platform(Kind.PERSON, 1)
    ledger.pin("chatwoot/1", "00D1", "abc")
    ledger.ingest(Side.PLATFORM, "messages", [make.message(1)], Cursor(clock()), {"1": "2"})
    decision = Decision("email", Outcome.KEEP, "crm", "reason", conflict=True)
    (intent,) = ledger.journal(
        Entries(
            intents=[make.action("a")],
            links=[make.link(1, "a", snapshots=(make.shown(Side.CRM, a=1),))],
            holds=[NewHold(HoldType.IDENTITY, person, "Who?", {})],
            decisions=[DecisionRow(Kind.PERSON, person, None, decision, person)],
        )
    )
    (link,) = ledger.links_of([make.crm("a")])
    ledger.problem("scope", "code", "message", "way out")
    ledger.begin_run("tick")
    ledger.usage_add(datetime(2026, 1, 1, tzinfo=UTC), "crm", 1)
    ledger.remember("key", 1)
    return ledger, intent, link, ledger.open_holds()[0]


def test_another_connection_sees_nothing(store, filled, make, clock):
    _, intent, link, hold = filled
    other = store.at("other")
    message, person = make.message(1).ref, make.platform(Kind.PERSON, 1)
    assert other.pins() is None
    assert other.cursor(Side.PLATFORM, "messages") == Cursor()
    assert other.position(Side.PLATFORM, "messages", "1") is None
    assert other.facts([message]) == other.stats([make.message(1).parent]) == {}
    assert other.dirty(Kind, 9) == other.children([make.message(1).parent], Kind.MESSAGE) == []
    assert (other.links_of([link.platform, link.crm]), other.active_links()) == ([], 0)
    assert other.snapshots([link.id]) == {}
    assert other.known([message, link.crm, person]) == set()
    assert other.open_intents([message]) == other.intents_for(message) == other.ready(clock(), 9) == []
    assert other.by_token([intent.token]) == {}
    assert other.mark_sending([intent.id], clock()) == set()
    assert other.open_holds() == other.open_holds([person]) == []
    assert other.decisions_for(person) == other.conflicts(9) == other.problems() == other.last_runs(9) == []
    assert other.usage(date(2026, 1, 1)) == {}
    assert other.recall("key") is None
    assert (other.seen(), other.count_dirty()) == (0, 0)
    for read in (lambda: other.intent(intent.id), lambda: other.hold(hold.id)):
        with pytest.raises(StoreError, match="other has no"):
            read()


FOREIGN = {
    "settle": lambda other, make, intent, link, hold: other.settle([make.settlement(intent, "1")]),
    "drop": lambda other, make, intent, link, hold: other.drop(intent.id, "x"),
    "end a link": lambda other, make, intent, link, hold: other.journal(Entries(ended=[(link.id, "x")])),
    "move a link": lambda other, make, intent, link, hold: other.journal(
        Entries(moved=[(link.id, make.crm("z"), "x")])
    ),
    "snapshot": lambda other, make, intent, link, hold: other.journal(
        Entries(snapshots=[Snapshot(link.id, Side.CRM, {})])
    ),
    "settle a hold": lambda other, make, intent, link, hold: other.journal(
        Entries(closed_holds=[(hold.id, "a", "b", "c")])
    ),
    "hold about an intent": lambda other, make, intent, link, hold: other.journal(
        Entries(holds=[NewHold(HoldType.REFUSED, make.crm("x"), "?", {}, intent=intent.id)])
    ),
    "account": lambda other, make, intent, link, hold: other.journal(
        Entries(states={make.message(1).ref: (State.SYNCED, "")})
    ),
    "end a run": lambda other, make, intent, link, hold: other.end_run(1, {}),
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN.keys())
def test_another_connection_cannot_change_these_rows(store, filled, make, write):
    ledger, *rows = filled
    refs = [make.message(1).ref]
    before = (
        ledger.counts(),
        ledger.facts(refs),
        ledger.links_of(refs),
        ledger.open_intents(refs),
        ledger.open_holds(),
    )
    with pytest.raises(StoreError):
        write(store.at("other"), make, *rows)
    after = (ledger.counts(), ledger.facts(refs), ledger.links_of(refs), ledger.open_intents(refs), ledger.open_holds())
    assert after == before


def test_the_same_records_and_keys_may_live_in_both(store, filled, make):
    other = store.at("other")
    other.record([make.message(1, version="other")])
    assert len(other.journal(Entries(intents=[make.action("a")], links=[make.link(1, "other")]))) == 1
    other.journal(Entries(clean={make.message(1).ref: ("other", 0)}))
    other.solved("scope")
    ledger = filled[0]
    assert ledger.facts([make.message(1).ref])[make.message(1).ref].version == "v1"
    assert ledger.count_dirty() == 1
    assert len(ledger.problems()) == 1
    assert [link.crm.id for link in ledger.links_of([make.message(1).ref])] == ["a"]
