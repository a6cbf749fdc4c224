"""A person decides about writes while the engine sends them: one of the two is first, and the other is told."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from connector.errors import StoreError
from connector.model import HoldType, IntentState, Kind, Op
from connector.store.entries import Entries, NewHold


@pytest.fixture
def asked(ledger, make):
    """Opens a hold about a subject; answers what a person who settles it with `drop` lets the journal write."""

    def about(*intents, subject=None):
        subject = subject or make.platform(Kind.PERSON, 1)
        ledger.journal(Entries(holds=[NewHold(HoldType.REFUSED, subject, "?", {})]))
        hold = next(one for one in ledger.open_holds() if one.subject == subject)
        return Entries(
            closed_holds=[(hold.id, "drop", "sam", "spam")],
            dropped=[(one.id, "sam decided: spam") for one in intents],
            seen={one.id: one.state for one in intents},
        )

    return about


def test_a_write_that_leaves_while_a_person_gives_it_up_stays_and_its_whole_batch_is_settled(
    store, ledger, make, planned, asked, clock
):
    first, second = planned(make.action("a"), make.action("b"))
    drop = asked(second)
    engine = store.at("main")
    engine.mark_sending([first.id, second.id], clock())
    with pytest.raises(StoreError, match="under way") as error:
        ledger.journal(drop)
    assert "Try again in a moment" in error.value.way_out
    assert len(ledger.open_holds()) == 1, "the decision was half written"
    engine.settle([make.settlement(first, "1"), make.settlement(second, "2")])
    assert [ledger.intent(one.id).state for one in (first, second)] == [IntentState.DONE] * 2


def test_a_write_that_a_person_has_given_up_does_not_leave_and_the_others_of_its_batch_do(
    store, ledger, make, planned, asked, clock
):
    first, second = planned(make.action("a"), make.action("b"))
    engine = store.at("main")
    due = engine.ready(clock(), 9)
    ledger.journal(asked(second))
    assert engine.mark_sending([one.id for one in due], clock()) == {first.id}
    engine.settle([make.settlement(first, "1")])
    assert [ledger.intent(one.id).state for one in (first, second)] == [IntentState.DONE, IntentState.DROPPED]


@pytest.mark.parametrize("again", range(5))
def test_of_a_person_and_the_engine_at_the_same_moment_one_is_first(store, make, planned, asked, clock, again):
    (intent,) = planned(make.action("a"))
    drop, together = asked(intent), Barrier(2)

    def person():
        together.wait()
        try:
            store.at("main").journal(drop)
        except StoreError:
            return set()
        return {"given up"}

    def engine():
        together.wait()
        return {"leaves"} if store.at("main").mark_sending([intent.id], clock()) else set()

    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(one) for one in (person, engine)]
        assert len(set.union(*(one.result() for one in done))) == 1


WENT_ON = {
    IntentState.SENDING: lambda ledger, intent, make, clock: None,
    IntentState.IN_DOUBT: lambda ledger, intent, make, clock: ledger.doubt([intent.id], None, "timeout"),
    IntentState.DONE: lambda ledger, intent, make, clock: ledger.settle([make.settlement(intent, "1")]),
    IntentState.HELD: lambda ledger, intent, make, clock: ledger.hold_intent(
        intent.id, "?", NewHold(HoldType.REFUSED, intent.action.subject, "?", {})
    ),
    IntentState.DROPPED: lambda ledger, intent, make, clock: ledger.drop(intent.id, "another person"),
}


@pytest.mark.parametrize("state", WENT_ON)
@pytest.mark.parametrize("choice", ["dropped", "requeued"])
def test_nothing_of_a_decision_is_written_when_a_write_is_not_as_the_person_saw_it(
    ledger, make, planned, asked, clock, state, choice
):
    (intent,) = planned(make.action("a"))
    drop = asked(intent)
    if choice == "requeued":
        drop = Entries(closed_holds=drop.closed_holds, requeued=[intent.id], seen=drop.seen)
    ledger.mark_sending([intent.id], clock())
    WENT_ON[state](ledger, intent, make, clock)
    with pytest.raises(StoreError) as error:
        ledger.journal(drop)
    assert error.value.way_out.startswith("Nothing was changed.")
    assert ledger.intent(intent.id).state is state
    assert any(one.subject == make.platform(Kind.PERSON, 1) for one in ledger.open_holds())


def test_a_write_that_was_under_way_when_the_person_looked_is_not_hers_to_decide(ledger, make, sending, asked):
    (intent,) = sending(make.action("a"))
    with pytest.raises(StoreError, match="under way"):
        ledger.journal(asked(intent))


@pytest.mark.parametrize("first", ["sent", "again"])
def test_of_two_persons_who_tell_what_became_of_a_reply_the_first_one_is_believed(
    store, ledger, make, planned, clock, first
):
    (intent,) = planned(make.send("r1"))
    ledger.mark_sending([intent.id], clock())
    reply = intent.action.source
    ledger.hold_intent(intent.id, "in doubt", NewHold(HoldType.IN_DOUBT, reply, "Was it sent?", {}))
    (hold,) = ledger.open_holds()
    seen = {intent.id: IntentState.HELD}
    again = Entries(closed_holds=[(hold.id, "again", "sam", "not there")], requeued=[intent.id], seen=seen)
    sent = Entries(closed_holds=[(hold.id, "sent", "noor", "I saw it")])
    ways = {
        "again": lambda: store.at("main").journal(again),
        "sent": lambda: store.at("main").settle([make.settlement(intent, "1")], sent),
    }
    ways.pop(first)()
    ((_, second),) = ways.items()
    with pytest.raises(StoreError, match="not open"):
        second()
    assert ledger.hold(hold.id).choice == first
    assert ledger.intent(intent.id).state is (IntentState.DONE if first == "sent" else IntentState.READY)


def test_the_messages_that_replies_became_are_known_by_what_their_sends_made(ledger, make, sending):
    sent, brought_in = sending(make.send("r1"), make.action("a", op=Op.UPSERT))
    ledger.settle([make.settlement(sent, "1"), make.settlement(brought_in, "2")])
    assert ledger.replies_sent_as([make.crm("1"), make.crm("2"), make.crm("3")]) == {make.crm("1"): sent.action.subject}
