"""Intents on their way out: order, states, settling."""

import itertools
from dataclasses import replace

import pytest

from connector.errors import StoreError
from connector.model import HoldType, IntentState, Kind, Op, Receipt, Side, Snapshot, State
from connector.store.entries import Entries, NewHold, NewLink, Settlement
from connector.store.intents import laid_over
from connector.store.rows import marker


def uniques(intents):
    return [intent.action.unique for intent in intents]


def test_parents_are_written_before_children_then_in_journal_order(ledger, make, planned, clock):
    planned(*(make.action(f"{kind} {n}", kind=kind) for n in (1, 2) for kind in reversed(Kind)))
    assert uniques(ledger.ready(clock(), 100)) == [f"{kind} {n}" for kind in Kind for n in (1, 2)]


def test_the_journal_keeps_the_order_of_a_long_plan(ledger, make, planned, clock):
    made = planned(*(make.action(str(number * 7919 % 3000)) for number in range(3000)))
    assert [intent.action.unique for intent in made] == [str(number * 7919 % 3000) for number in range(3000)]
    assert [intent.id for intent in ledger.ready(clock(), 3000)] == [intent.id for intent in made]


def test_ready_keeps_to_limit_and_side(ledger, make, planned, clock):
    planned(
        make.action("a"),
        make.action("b", side=Side.PLATFORM),
        make.action("c", op=Op.REMOVE),
        make.send("d", kind=Kind.MESSAGE),
    )
    assert uniques(ledger.ready(clock(), 2)) == ["a", "b"]
    assert uniques(ledger.ready(clock(), 9, side=Side.PLATFORM)) == ["b", "d"]
    assert uniques(ledger.ready(clock(), 1, side=Side.CRM)) == ["a"]


def test_an_intent_is_not_ready_before_its_time(ledger, make, planned, clock):
    (intent,) = planned(make.action("a"))
    clock.pass_(minutes=5)
    ledger.requeue([intent.id], clock(), "429 too many requests")
    clock.pass_(seconds=-1)
    assert ledger.ready(clock(), 9) == []
    clock.pass_(seconds=1)
    (later,) = ledger.ready(clock(), 9)
    assert (later.not_before, later.error) == (clock(), "429 too many requests")


def test_of_each_lane_only_the_first_send_leaves(ledger, make, planned, clock):
    planned(make.send("a", "x"), make.send("b", "x"), make.send("c", "y"), make.send("d", "y"), make.send("e", None))
    assert uniques(ledger.ready(clock(), 9)) == ["a", "c", "e"]


HOLD = {"type": HoldType.IN_DOUBT, "question": "Was it sent?", "details": {}}

WAYS = {
    "sending": lambda ledger, intent, make: None,
    "in doubt": lambda ledger, intent, make: ledger.doubt([intent.id], None, "timeout"),
    "not yet due": lambda ledger, intent, make: ledger.requeue([intent.id], ledger._clock().replace(year=2099), "429"),
    "held": lambda ledger, intent, make: ledger.hold_intent(
        intent.id, "?", NewHold(subject=intent.action.subject, **HOLD)
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_while_the_first_reply_is_not_over_the_second_waits(ledger, make, planned, clock, way):
    first, _ = planned(make.send("a"), make.send("b"))
    ledger.mark_sending([first.id], clock())
    way(ledger, first, make)
    assert ledger.ready(clock(), 9) == []


ENDS = {
    "done": lambda ledger, intent, make: ledger.settle([make.settlement(intent, "x")]),
    "refused": lambda ledger, intent, make: ledger.journal(Entries(refused=[(intent.id, "blocked")])),
    "dropped": lambda ledger, intent, make: ledger.drop(intent.id, "withdrawn"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_when_the_first_reply_is_over_the_second_leaves(ledger, make, planned, clock, end):
    first, second = planned(make.send("a"), make.send("b"))
    ledger.mark_sending([first.id], clock())
    end(ledger, first, make)
    assert ledger.ready(clock(), 9) == [second]


def test_marking_counts_attempts_and_keeps_the_time_of_the_last(ledger, make, planned, clock):
    (intent,) = planned(make.action("a"))
    ledger.mark_sending([intent.id], clock())
    ledger.requeue([intent.id], None, "503")
    clock.pass_(minutes=1)
    ledger.mark_sending([intent.id], clock())
    again = ledger.intent(intent.id)
    assert (again.state, again.attempts, again.tried_at) == (IntentState.SENDING, 2, clock())


def test_what_is_being_sent_cannot_be_taken_again_by_anybody(ledger, make, planned, clock):
    first, second = planned(make.action("a"), make.action("b"))
    ledger.mark_sending([first.id], clock())
    assert ledger.mark_sending([first.id, second.id], clock()) == {second.id}
    assert ledger.intent(second.id).state is IntentState.SENDING
    assert ledger.intent(first.id).attempts == 1


def test_settling_stores_result_link_snapshots_and_account_at_once(ledger, make, sending):
    ledger.record([make.message("a")])
    (intent,) = sending(make.action("a"))
    receipt = Receipt(make.crm("00T1"), True, {"Subject": "Message a"})
    link = make.link("a", "00T1", snapshots=(make.shown(Side.PLATFORM, text="a"), make.shown(Side.CRM, text="A")))
    ledger.settle([Settlement(intent.id, receipt, (link,), states={make.message("a").ref: (State.SYNCED, "")})])
    settled = ledger.intent(intent.id)
    assert (settled.state, settled.error, settled.ended_at) == (IntentState.DONE, None, ledger._clock())
    (made,) = ledger.links_of([receipt.ref])
    assert (made.platform, made.active) == (make.message("a").ref, True)
    assert {side: one.fields for side, one in ledger.snapshots([made.id])[made.id].items()} == {
        Side.PLATFORM: {"text": "a"},
        Side.CRM: {"text": "A"},
    }
    assert ledger.account().states[State.SYNCED] == 1
    assert ledger.intents_for(receipt.ref) == [settled]


def test_a_sent_reply_is_linked_as_message_and_as_reply(ledger, make, sending):
    (intent,) = sending(make.send("r1"))
    sent = make.platform(Kind.MESSAGE, 900)
    pairs = tuple(NewLink(kind, sent, intent.action.source) for kind in (Kind.MESSAGE, Kind.REPLY))
    ledger.settle([Settlement(intent.id, Receipt(sent, created=True), pairs)])
    assert {link.kind for link in ledger.links_of([sent])} == {Kind.MESSAGE, Kind.REPLY}


def test_settling_an_update_keeps_the_link_that_is_there(ledger, make, sending, linked):
    (link,) = linked(make.link("a", "00T1"))
    (intent,) = sending(make.action("a", target=link.crm))
    ledger.settle([make.settlement(intent, "00T1", links=(make.link("a", "00T1"),))])
    assert ledger.links_of([link.crm]) == [link]


def test_two_writes_of_one_pair_keep_each_others_lines_in_either_order(ledger, make, sending, linked):
    shown = tuple(make.shown(side, a="old", b="old", c="old") for side in Side)
    for turn, order in enumerate(itertools.permutations((0, 1))):
        (link,) = linked(make.link(turn, turn, snapshots=shown))
        intents = sending(make.action(f"crm {turn}"), make.action(f"platform {turn}", side=Side.PLATFORM))
        for n in order:
            lines = {"a": "new"} if n == 0 else {"b": "new"}
            patches = tuple(Snapshot(link.id, side, lines) for side in Side)
            ledger.settle([make.settlement(intents[n], turn, snapshots=patches)])
        for snapshot in ledger.snapshots([link.id])[link.id].values():
            assert snapshot.fields == {"a": "new", "b": "new", "c": "old"}


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        (Snapshot(1, Side.CRM, {}), Snapshot(1, Side.CRM, {"a": 1, "b": 2}, ("a", "b"))),
        (Snapshot(1, Side.CRM, {"a": 9}), Snapshot(1, Side.CRM, {"a": 9, "b": 2}, ("b",))),
        (Snapshot(1, Side.CRM, {"c": None}, ("c",)), Snapshot(1, Side.CRM, {"a": 1, "b": 2, "c": None}, ("c",))),
        (Snapshot(1, Side.CRM, {"a": 9}, ("a",)), Snapshot(1, Side.CRM, {"a": 9, "b": 2}, ("a",))),
    ],
    ids=["nothing new", "read back: no longer unread", "a new write: only its lines wait", "written again: unread"],
)  # fmt: skip
def test_a_snapshot_laid_over_another_changes_its_own_lines_only(patch, result):
    assert laid_over(Snapshot(1, Side.CRM, {"a": 1, "b": 2}, ("a", "b")), patch) == result


def test_a_link_that_clashes_is_told_and_the_write_is_settled_all_the_same(ledger, make, sending, linked):
    ledger.record([make.message("a")])
    (old,) = linked(make.link("a", "00T1"))
    (intent,) = sending(make.action("a"))
    ledger.settle([make.settlement(intent, "00T2", links=(make.link("a", "00T2"),))])
    assert ledger.intent(intent.id).state is IntentState.DONE
    assert ledger.links_of([old.platform]) == [old]
    (problem,) = ledger.problems()
    assert (problem.code, problem.scope) == ("link_clash", "chatwoot:message:a")
    assert "salesforce:Task:00T2" in problem.message
    assert problem.way_out


def test_a_batch_in_which_one_cannot_be_settled_settles_none(ledger, make, sending, planned):
    ledger.record([make.message("a")])
    (first,) = sending(make.action("a"))
    (never_sent,) = planned(make.action("b"))
    settlements = [
        make.settlement(first, "1", links=(make.link("a", "1"),), states={make.message("a").ref: (State.SYNCED, "")}),
        make.settlement(never_sent, "2"),
    ]
    with pytest.raises(StoreError, match="is ready"):
        ledger.settle(settlements)
    assert ledger.intent(first.id).state is IntentState.SENDING
    assert ledger.links_of([make.crm("1")]) == []
    assert ledger.account().states[State.SYNCED] == 0


def test_an_account_of_an_unknown_message_undoes_the_settling(ledger, make, sending):
    (intent,) = sending(make.action("a"))
    with pytest.raises(StoreError, match="1 of 1 messages"):
        ledger.settle([make.settlement(intent, "1", states={make.message("never seen").ref: (State.SYNCED, "")})])
    assert ledger.intent(intent.id).state is IntentState.SENDING
    assert ledger.intents_for(make.crm("1")) == []


def test_a_write_is_settled_once(ledger, make, sending):
    (intent,) = sending(make.action("a"))
    ledger.settle([make.settlement(intent, "1")])
    with pytest.raises(StoreError, match="is done"):
        ledger.settle([make.settlement(intent, "2")])
    assert [one.id for one in ledger.intents_for(make.crm("1"))] == [intent.id]
    assert ledger.intents_for(make.crm("2")) == []


def test_after_a_doubt_the_probe_may_settle_or_requeue(ledger, make, sending, clock):
    found, absent = sending(make.send("a", "x"), make.send("b", "y"))
    ledger.doubt([found.id, absent.id], None, "timeout after the request was sent")
    assert [intent.state for intent in ledger.in_flight()] == [IntentState.IN_DOUBT] * 2
    ledger.settle([make.settlement(found, "1")])
    ledger.requeue([absent.id], None, "certainly not sent")
    assert ledger.in_flight() == []
    assert uniques(ledger.ready(clock(), 9)) == ["b"]


def test_a_failed_call_gives_its_whole_batch_back_at_once(ledger, make, sending, clock):
    intents = sending(*(make.action(n) for n in range(5)))
    ledger.requeue([intent.id for intent in intents], None, "connection refused")
    assert uniques(ledger.ready(clock(), 9)) == [str(n) for n in range(5)]


def test_a_held_intent_opens_a_hold_about_it(ledger, make, sending):
    ledger.record([make.message("a")])
    (intent,) = sending(make.action("a"))
    new = NewHold(HoldType.REFUSED, intent.action.subject, "Duplicate?", {"others": ["salesforce:Contact:003"]})
    ledger.hold_intent(intent.id, "DUPLICATES_DETECTED", new, {make.message("a").ref: (State.HELD, "refused")})
    assert ledger.intent(intent.id).state is IntentState.HELD
    (hold,) = ledger.open_holds(type=HoldType.REFUSED)
    assert (hold.intent, hold.question) == (intent.id, "Duplicate?")
    assert ledger.account().reasons == {(State.HELD, "refused"): 1}


@pytest.mark.parametrize("end", ["refused", "dropped"])
def test_refused_and_dropped_intents_keep_their_reason_and_may_be_asked_for_again(ledger, make, sending, end):
    ledger.record([make.message("a")])
    (intent,) = sending(make.action("a"))
    states = {make.message("a").ref: (State.HELD, "because")}
    ledger.journal(Entries(states=states, **{end: [(intent.id, "because")]}))
    over = ledger.intent(intent.id)
    assert (over.state.value, over.error) == (end, "because")
    (again,) = ledger.journal(Entries(intents=[make.action("a")]))
    assert (again.state, again.id == intent.id) == (IntentState.READY, False)
    assert ledger.account().states[State.HELD] == 1


def test_what_is_asked_for_again_has_the_same_token_and_may_be_withdrawn_again(ledger, make):
    tokens = []
    for _ in range(3):
        (asked,) = ledger.journal(Entries(intents=[make.action("s", op=Op.SEND, lane="thread")]))
        tokens.append(asked.token)
        ledger.drop(asked.id, "its author took it back")
    assert tokens == [marker("s")] * 3
    assert ledger.by_token(tokens)[marker("s")].id == asked.id


def test_what_was_given_up_in_doubt_keeps_its_token(ledger, make, sending):
    tokens = []
    for _ in range(3):
        (asked,) = sending(make.action("s", op=Op.SEND, lane="thread"))
        tokens.append(asked.token)
        if len(tokens) > 1:
            ledger.drop(asked.id, "its author took it back")
            continue
        ledger.hold_intent(asked.id, "in doubt", NewHold(HoldType.IN_DOUBT, asked.action.source, "Was it sent?", {}))
        (hold,) = ledger.open_holds(type=HoldType.IN_DOUBT)
        ledger.journal(Entries(closed_holds=[(hold.id, "drop", "ann", "")], dropped=[(asked.id, "given up")]))
        first = asked.id
    assert tokens[0] == marker("s")
    assert len(set(tokens)) == 3
    assert ledger.by_token([marker("s")])[marker("s")].id == first


CHANGES = {
    "requeue": lambda ledger, id_, subject: ledger.requeue([id_], None, None),
    "doubt": lambda ledger, id_, subject: ledger.doubt([id_], None, "x"),
    "hold": lambda ledger, id_, subject: ledger.hold_intent(id_, "x", NewHold(subject=subject, **HOLD)),
    "drop": lambda ledger, id_, subject: ledger.drop(id_, "x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_done_stays_done(ledger, make, sending, change):
    (intent,) = sending(make.action("a"))
    ledger.settle([make.settlement(intent, "1")])
    done = ledger.intent(intent.id)
    with pytest.raises(StoreError, match="is done"):
        change(ledger, intent.id, intent.action.subject)
    assert ledger.intent(intent.id) == done
    assert ledger.open_holds() == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_unknown_intent_is_explained(ledger, make, change):
    with pytest.raises(StoreError, match="Intent 7 of main does not exist"):
        change(ledger, 7, make.crm("x"))


def test_doubt_needs_an_attempt(ledger, make, planned):
    (intent,) = planned(make.action("a"))
    with pytest.raises(StoreError, match="is ready"):
        ledger.doubt([intent.id], None, "x")


def test_intents_are_found_by_their_tokens(ledger, make, planned):
    one, two = planned(make.send("a"), make.send("b"))
    assert ledger.by_token([one.token, two.token, "unknown"]) == {one.token: one, two.token: two}
    assert ledger.by_token([]) == {}


def test_an_unknown_intent_cannot_be_read(ledger):
    with pytest.raises(StoreError, match="main has no intent 7"):
        ledger.intent(7)


def test_nothing_to_settle_is_fine(ledger):
    ledger.settle([])
    ledger.requeue([], None, None)
    ledger.doubt([], None, "x")


def test_settling_stores_the_target_as_it_stands_after_the_write(ledger, make, sending):
    old = make.fact(Kind.PERSON, 1, fields={"name": "Jo"}, version="v1", dirty=False)
    ledger.record([old])
    (intent,) = sending(make.action("a", side=Side.PLATFORM, kind=Kind.PERSON, target=old.ref))
    new = replace(old, fields={"name": "Joe"})
    ledger.settle([Settlement(intent.id, Receipt(old.ref), facts=(new,))])
    assert ledger.facts([old.ref]) == {old.ref: new}


def test_what_was_put_back_is_due_at_its_time_and_waking_makes_it_due_at_once(ledger, make, planned, clock):
    later, sent, now, last = planned(*(make.action(name) for name in ("later", "sent", "now", "last")))
    assert ledger.next_due() is None
    ledger.mark_sending([sent.id], clock())
    ledger.requeue([later.id], clock().replace(year=2027), "429")
    ledger.requeue([last.id], clock().replace(year=2028), "429")
    assert ledger.next_due() == clock().replace(year=2027)
    assert uniques(ledger.ready(clock(), 9)) == ["now"]
    ledger.wake()
    assert ledger.next_due() is None
    assert uniques(ledger.ready(clock(), 9)) == ["later", "now", "last"]
    assert ledger.intent(sent.id).state is IntentState.SENDING
    assert now.not_before is None
