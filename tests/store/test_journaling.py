"""A plan is written down as a whole or not at all."""

import re

import pytest

from connector.errors import StoreError
from connector.model import Decision, HoldType, IntentState, Kind, Op, Outcome, Side, Snapshot, State
from connector.store.entries import DecisionRow, Entries, NewHold


def test_intents_are_ready_in_the_order_of_the_plan(ledger, make):
    actions = [make.action(f"key {n}", fields={"n": n}) for n in (3, 1, 2)]
    journaled = ledger.journal(Entries(intents=actions))
    assert [intent.action for intent in journaled] == actions
    assert {intent.state for intent in journaled} == {IntentState.READY}
    ids = [intent.id for intent in journaled]
    assert ids == sorted(ids)


def test_tokens_are_twenty_hex_digits_and_differ(ledger, make):
    intents = ledger.journal(Entries(intents=[make.action(n) for n in range(50)]))
    tokens = {intent.token for intent in intents}
    assert len(tokens) == 50
    assert all(re.fullmatch("[0-9a-f]{20}", token) for token in tokens)


def test_a_key_that_is_under_way_is_skipped(ledger, make):
    ledger.journal(Entries(intents=[make.action("a")]))
    journaled = ledger.journal(Entries(intents=[make.action("a", fields={"other": 1}), make.action("b")]))
    assert [intent.action.unique for intent in journaled] == ["b"]


def test_an_update_that_was_done_may_be_asked_for_again_and_a_send_never(ledger, make, sending):
    update, send = sending(make.action("a"), make.action("s", op=Op.SEND, lane="thread"))
    ledger.settle([make.settlement(update, "x"), make.settlement(send, "y")])
    journaled = ledger.journal(Entries(intents=[make.action("a"), make.action("s", op=Op.SEND, lane="thread")]))
    assert [intent.action.unique for intent in journaled] == ["a"]
    assert ledger.intent(update.id).state is IntentState.DONE


def test_a_key_twice_in_one_plan_makes_one_intent(ledger, make):
    journaled = ledger.journal(Entries(intents=[make.action("a"), make.action("a", fields={"other": 1})]))
    assert [intent.action.fields for intent in journaled] == [{"Subject": "Message a"}]


def test_links_come_back_in_order_with_their_snapshots_stored(ledger, make, linked):
    new = [make.link(2, "b", snapshots=(make.shown(Side.CRM, name="B"),)), make.link(1, "a")]
    links = linked(*new)
    assert [(link.platform.id, link.crm.id, link.active, link.why) for link in links] == [
        ("2", "b", True, ("key",)),
        ("1", "a", True, ("key",)),
    ]
    assert ledger.snapshots([links[0].id])[links[0].id][Side.CRM].fields == {"name": "B"}


def test_a_pair_that_is_linked_already_keeps_its_link(ledger, make, linked):
    (first,) = linked(make.link(1, "a"))
    assert linked(make.link(1, "a", snapshots=(make.shown(Side.CRM, name="new"),))) == [first]
    assert ledger.snapshots([first.id])[first.id][Side.CRM].fields == {"name": "new"}


@pytest.mark.parametrize("second", [(1, "b"), (2, "a")], ids=["platform ref is taken", "CRM ref is taken"])
def test_a_ref_that_is_linked_to_something_else_stops_the_plan(ledger, make, second):
    ledger.journal(Entries(links=[make.link(1, "a")]))
    with pytest.raises(StoreError, match="cannot be linked"):
        ledger.journal(Entries(links=[make.link(3, "c"), make.link(*second)]))
    assert ledger.active_links() == 1


def test_two_links_of_one_plan_must_not_clash_either(ledger, make):
    with pytest.raises(StoreError, match="cannot be linked"):
        ledger.journal(Entries(links=[make.link(1, "a"), make.link(2, "a")]))


def test_several_persons_of_the_platform_may_be_one_contact(ledger, make, linked):
    links = linked(*(make.link(n, "contact", kind=Kind.PERSON) for n in (1, 2)))
    assert len({link.id for link in links}) == 2


def test_an_ended_link_is_a_tombstone_and_frees_its_refs(ledger, make, linked):
    (old,) = linked(make.link(1, "a"))
    (new,) = linked(make.link(1, "b"), ended=[(old.id, "wrong person")])
    found = ledger.links_of([old.platform])
    assert [(link.id, link.active, link.ended) for link in found] == [
        (old.id, False, "wrong person"),
        (new.id, True, None),
    ]


def test_a_moved_link_points_elsewhere_and_tells_why(ledger, make, linked):
    (link,) = linked(make.link(1, "lead", kind=Kind.PERSON))
    contact = make.crm("contact", "Contact")
    ledger.journal(Entries(moved=[(link.id, contact, "converted")]))
    (moved,) = ledger.links_of([contact])
    assert (moved.id, moved.crm, moved.why) == (link.id, contact, ("converted", "key"))


def test_a_link_cannot_move_onto_a_record_that_is_taken(ledger, make, linked):
    one, two = linked(make.link(1, "a"), make.link(2, "b"))
    with pytest.raises(StoreError, match="would break one of its rules"):
        ledger.journal(Entries(moved=[(one.id, two.crm, "merged")]))
    assert ledger.links_of([one.platform]) == [one]


def test_snapshots_replace_the_whole_row(ledger, make, linked):
    (link,) = linked(make.link(1, "a", snapshots=(make.shown(Side.CRM, a=1, b=2),)))
    new = Snapshot(link.id, Side.CRM, {"a": 3}, ("a",))
    ledger.journal(Entries(snapshots=[new]))
    assert ledger.snapshots([link.id]) == {link.id: {Side.CRM: new}}


def test_messages_are_accounted_for(ledger, make):
    ledger.record([make.message(n) for n in range(4)])
    refs = [make.message(n).ref for n in range(4)]
    ledger.journal(
        Entries(
            states={
                refs[0]: (State.SYNCED, ""),
                refs[1]: (State.FILTERED, "rule spam"),
                refs[2]: (State.FILTERED, "rule spam"),
            }
        )
    )
    assert [(fact.state, fact.reason) for _, fact in sorted(ledger.facts(refs).items())] == [
        (State.SYNCED, ""),
        (State.FILTERED, "rule spam"),
        (State.FILTERED, "rule spam"),
        (State.OPEN, None),
    ]


def test_one_open_hold_per_subject_type_and_field_is_brought_up_to_date(ledger, make, clock):
    person = make.platform(Kind.PERSON, 1)
    ledger.journal(Entries(holds=[NewHold(HoldType.CONFLICT, person, "Old?", {"n": 1}, "email")]))
    (first,) = ledger.open_holds()
    clock.pass_(hours=1)
    ledger.journal(Entries(holds=[NewHold(HoldType.CONFLICT, person, "New?", {"n": 2}, "email")]))
    (second,) = ledger.open_holds()
    assert (second.id, second.question, second.details) == (first.id, "New?", {"n": 2})
    assert second.opened_at == first.opened_at


def test_after_a_settled_hold_a_new_one_can_open(ledger, make, clock):
    new = NewHold(HoldType.IDENTITY, make.platform(Kind.PERSON, 1), "Who?", {})
    ledger.journal(Entries(holds=[new]))
    (first,) = ledger.open_holds()
    ledger.journal(Entries(closed_holds=[(first.id, "link 003", "jo", "she said so")], holds=[new]))
    (second,) = ledger.open_holds()
    assert second.id != first.id
    settled = ledger.hold(first.id)
    assert (settled.choice, settled.by, settled.why, settled.settled_at) == ("link 003", "jo", "she said so", clock())


def test_the_second_answer_to_a_hold_is_refused_and_the_first_stands(ledger, make):
    ledger.journal(Entries(holds=[NewHold(HoldType.IDENTITY, make.platform(Kind.PERSON, 1), "Who?", {})]))
    (hold,) = ledger.open_holds()
    ledger.journal(Entries(closed_holds=[(hold.id, "skip", "jo", "")]))
    with pytest.raises(StoreError, match="not open"):
        ledger.journal(Entries(closed_holds=[(hold.id, "create", "ann", "")]))
    assert ledger.hold(hold.id).choice == "skip"


def decision(outcome: Outcome, field: str = "email") -> Decision:
    return Decision(field, outcome, "crm", "only the CRM changed", "new@shop.example", "old@shop.example", True)


def test_decisions_are_kept_with_the_intent_that_carries_them_out(ledger, make):
    source, person = make.crm("003", "Contact"), make.platform(Kind.PERSON, 1)
    actions = [
        make.action("to platform", side=Side.PLATFORM, source=source, subject=person),
        make.action("to crm", side=Side.CRM, source=source, subject=person),
        make.action("other news", side=Side.CRM, source=person, subject=person),
    ]
    outcomes = [Outcome.TO_PLATFORM, Outcome.TO_CRM, Outcome.KEEP]
    made = [DecisionRow(Kind.PERSON, person, source, decision(outcome), source) for outcome in outcomes]
    intents = ledger.journal(Entries(intents=actions, decisions=made))
    found = ledger.decisions_for(person)
    assert [one.row for one in found] == made
    assert [one.intent for one in found] == [intents[0].id, intents[1].id, None]


def test_clean_takes_the_mark_from_the_version_that_was_planned_only(ledger, make):
    ledger.record([make.message(1, version="v1"), make.message(2, version="v2")])
    ledger.journal(Entries(clean={make.message(n).ref: ("v1", 0) for n in (1, 2, 3)}))
    assert [fact.ref.id for fact in ledger.dirty([Kind.MESSAGE], 10)] == ["2"]


def test_clean_leaves_what_a_person_has_decided_about_since_it_was_planned(ledger, make):
    ledger.record([make.message(1, version="v1")])
    (planned,) = ledger.dirty([Kind.MESSAGE], 10)
    ledger.journal(Entries(holds=[NewHold(HoldType.IDENTITY, planned.ref, "Who?", {})]))
    (hold,) = ledger.open_holds()
    ledger.journal(Entries(closed_holds=[(hold.id, "create", "kim", "asked her")], redo=[planned.ref]))
    ledger.journal(Entries(clean={planned.ref: (planned.version, planned.settled)}))
    (again,) = ledger.dirty([Kind.MESSAGE], 10)
    ledger.journal(Entries(clean={again.ref: (again.version, again.settled)}))
    assert ledger.dirty([Kind.MESSAGE], 10) == []


def test_redo_puts_the_mark_back(ledger, make):
    ledger.record([make.message(1, dirty=False), make.message(2, dirty=False)])
    ledger.journal(Entries(redo=[make.message(1).ref]))
    assert [fact.ref.id for fact in ledger.dirty([Kind.MESSAGE], 10)] == ["1"]


BREAKERS = {
    "a hold that is not open": lambda make: {"closed_holds": [(99, "a", "b", "c")]},
    "ending a link that is not there": lambda make: {"ended": [(99, "gone")]},
    "moving a link that is not there": lambda make: {"moved": [(99, make.crm("x"), "merged")]},
    "a snapshot of a link that is not there": lambda make: {"snapshots": [Snapshot(99, Side.CRM, {})]},
    "an account of a message that is not there": lambda make: {"states": {make.message(99).ref: (State.SYNCED, "")}},
    "a hold about an intent that is not there": lambda make: {
        "holds": [NewHold(HoldType.REFUSED, make.crm("x"), "?", {}, intent=99)]
    },
    "a value that is no text": lambda make: {"redo": [], "clean": {make.message(1).ref: (object(), 0)}},
}


@pytest.mark.parametrize("breaker", BREAKERS.values(), ids=BREAKERS.keys())
def test_a_plan_that_breaks_anywhere_leaves_nothing(ledger, make, breaker, linked):
    ledger.record([make.message(1), make.message(2, dirty=False)])
    (link,) = linked(make.link(1, "a"))
    ledger.journal(Entries(holds=[NewHold(HoldType.IDENTITY, make.platform(Kind.PERSON, 1), "Who?", {})]))
    (hold,) = ledger.open_holds()
    person = make.platform(Kind.PERSON, 1)
    whole = {
        "intents": [make.action("a")],
        "links": [make.link(2, "b", snapshots=(make.shown(Side.CRM, a=1),))],
        "ended": [(link.id, "gone")],
        "states": {make.message(1).ref: (State.SYNCED, "")},
        "holds": [NewHold(HoldType.CONFLICT, person, "Which?", {}, "email")],
        "closed_holds": [(hold.id, "skip", "jo", "")],
        "decisions": [DecisionRow(Kind.PERSON, person, None, decision(Outcome.KEEP), person)],
        "clean": {make.message(1).ref: "v1"},
        "redo": [make.message(2).ref],
    }
    extra = breaker(make)
    for name, value in extra.items():
        whole[name] = {**whole[name], **value} if isinstance(value, dict) else [*whole.get(name, []), *value]
    before = state_of(ledger, make)
    with pytest.raises(StoreError):
        ledger.journal(Entries(**whole))
    assert state_of(ledger, make) == before


def state_of(ledger, make):
    refs = [make.platform(kind, n) for kind in Kind for n in range(1, 4)]
    links = ledger.links_of(refs)
    return (
        ledger.counts(),
        ledger.facts(refs),
        links,
        ledger.snapshots([link.id for link in links]),
        ledger.open_holds(),
        [ledger.decisions_for(ref) for ref in refs],
    )


def test_a_changed_mapping_looks_again_at_linked_and_filtered_records(ledger, make, store, linked):
    filtered = make.message(3, dirty=False, state=State.FILTERED, reason="rule spam")
    ledger.record([make.message(1, dirty=False), make.message(2, dirty=False), filtered, make.message(4, dirty=False)])
    links = linked(make.link(1, "a"), make.link(2, "b"))
    ledger.journal(Entries(ended=[(links[1].id, "gone")]))
    store.at("other").record([make.message(1, dirty=False)])
    ledger.redo_linked()
    assert [fact.ref.id for fact in ledger.dirty([Kind.MESSAGE], 10)] == ["1", "3"]
    assert store.at("other").count_dirty() == 0
