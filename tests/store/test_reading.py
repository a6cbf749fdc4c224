"""What the planner reads."""

import pytest

from connector.errors import StoreError
from connector.model import HoldType, Kind, Side, Snapshot, State
from connector.store.bulk import CHUNK
from connector.store.entries import ConversationStats, Entries, NewHold, NewLink
from connector.store.rows import order_key
from connector.store.store import Store


def test_facts_answers_those_that_are_known(ledger, make):
    ledger.record([make.message(1), make.message(2)])
    wanted = [make.message(id_).ref for id_ in (1, 2, 3)]
    assert set(ledger.facts(wanted)) == set(wanted[:2])
    assert ledger.facts([]) == {}


def test_more_refs_than_a_statement_takes_are_read_in_pieces(ledger, make):
    facts = [make.message(n) for n in range(CHUNK + 5)]
    ledger.record(facts)
    refs = [fact.ref for fact in facts] * 20
    assert len(ledger.facts(refs)) == CHUNK + 5
    assert len(ledger.known(refs)) == CHUNK + 5
    assert ledger.open_intents(refs) == ledger.links_of(refs) == ledger.open_holds(refs) == []


@pytest.mark.parametrize("id_", ["1'2", '1"2', "1,2", "1\\u00002", "ключ", "🚲", "1:2", "null", "[]"])
def test_a_ref_is_found_whatever_signs_its_id_is_made_of(ledger, make, id_):
    fact = make.message(id_)
    ledger.record([fact, make.message("2")])
    assert list(ledger.facts([fact.ref])) == [fact.ref]


def test_a_ref_with_a_nul_is_found_where_the_database_can_hold_it(new_url, make, clock):
    store = Store.open(new_url("sqlite"), clock=clock)
    ledger = store.at("main")
    one, other = make.message("1\x002"), make.message("1")
    ledger.record([one, other])
    assert list(ledger.facts([one.ref])) == [one.ref]
    assert ledger.known([one.ref, other.ref]) == {one.ref, other.ref}
    store.close()


def test_dirty_facts_come_oldest_first_whatever_their_ids(ledger, make, clock):
    facts = [
        make.message(1, fields={"sent_at": "2026-01-03T00:00:00Z"}),
        make.message(2, fields={"sent_at": "2026-01-01T00:00:00Z"}),
        make.fact(Kind.PERSON, 3, changed_at=clock()),
        make.fact(Kind.PERSON, 4),
    ]
    ledger.record(facts)
    assert [fact.ref.id for fact in ledger.dirty(Kind, 10)] == ["4", "2", "3", "1"]


def test_messages_of_one_second_come_in_the_order_of_their_numbers(ledger, make):
    ledger.record([make.message(n) for n in (100, 9, 10, 99)])
    assert [fact.ref.id for fact in ledger.dirty([Kind.MESSAGE], 10)] == ["9", "10", "99", "100"]


def test_dirty_pages_join_without_gap_or_overlap(ledger, make):
    ledger.record([make.message(n) for n in range(25)])
    pages, after = [], None
    while page := ledger.dirty([Kind.MESSAGE], 7, after):
        pages.append([fact.ref.id for fact in page])
        after = order_key(page[-1])
    assert [len(page) for page in pages] == [7, 7, 7, 4]
    assert [id_ for page in pages for id_ in page] == [str(n) for n in range(25)]


def test_dirty_keeps_to_the_kinds_asked_for_and_to_dirty_facts(ledger, make):
    ledger.record([make.message(1), make.message(2, dirty=False), make.fact(Kind.PERSON, 3)])
    assert [fact.ref.id for fact in ledger.dirty([Kind.MESSAGE], 10)] == ["1"]
    assert ledger.count_dirty() == 2


def test_linked_records_of_a_side_are_walked_in_order_without_the_ended_ones(ledger, make, linked):
    pairs = [NewLink(Kind.MESSAGE, make.message(n).ref, make.crm(str(n))) for n in (9, 10, 100, 11, 12)]
    links = linked(*pairs)
    ledger.journal(Entries(ended=[(links[0].id, "deleted")]))
    walked, after = [], ""
    while some := ledger.linked_after(Side.CRM, after, 2):
        walked += some
        after = str(some[-1])
    assert walked == sorted((pair.crm for pair in pairs[1:]), key=str)


def test_links_are_found_by_either_side_active_or_ended(ledger, make, linked):
    first, second, third = linked(make.link(1, "a"), make.link(2, "b"), make.link(3, "c", kind=Kind.PERSON))
    ledger.journal(Entries(ended=[(second.id, "deleted in the CRM")]))
    found = ledger.links_of([first.platform, second.crm, third.crm])
    assert [link.id for link in found] == [first.id, second.id, third.id]
    assert [(link.active, link.ended) for link in found] == [(True, None), (False, "deleted in the CRM"), (True, None)]
    assert ledger.links_of([first.platform, third.platform], kinds=[Kind.PERSON]) == [third]


def test_a_link_asked_for_by_both_its_refs_is_answered_once(ledger, make, linked):
    (link,) = linked(make.link(1, "a"))
    assert ledger.links_of([link.platform, link.crm]) == [link]


def test_active_leaves_out_the_links_that_have_ended(ledger, make, linked):
    one, two, gone = linked(*(make.link(n, "contact", kind=Kind.PERSON) for n in (1, 2, 3)))
    ledger.journal(Entries(ended=[(gone.id, "wrong")], links=[make.link(4, "contact")]))
    assert ledger.links_of([one.crm], active=True) == [one, two]
    assert ledger.links_of([make.crm("other")], active=True) == []
    assert ledger.active_links() == 3


def test_snapshots_come_by_link_and_side(ledger, make, linked):
    shown = (make.shown(Side.PLATFORM, name="Jo"), make.shown(Side.CRM, name="Joe"))
    full, empty = linked(make.link(1, "a", snapshots=shown), make.link(2, "b"))
    assert ledger.snapshots([full.id, empty.id]) == {
        full.id: {
            Side.PLATFORM: Snapshot(full.id, Side.PLATFORM, {"name": "Jo"}),
            Side.CRM: Snapshot(full.id, Side.CRM, {"name": "Joe"}),
        }
    }


def test_open_intents_are_found_by_source_subject_and_target(ledger, make, planned):
    source, subject, target = make.crm("s"), make.platform(Kind.PERSON, 1), make.crm("t")
    (intent,) = planned(make.action("a", source=source, subject=subject, target=target))
    planned(make.action("b"))
    for ref in (source, subject, target):
        assert ledger.open_intents([ref]) == [intent]
    assert ledger.open_intents([source, subject, target]) == [intent]


def test_intents_that_are_over_are_not_open(ledger, make, planned, sending):
    done, refused = sending(make.action("a"), make.action("b"))
    (dropped,) = planned(make.action("c"))
    ledger.settle([make.settlement(done, "a")])
    ledger.journal(Entries(refused=[(refused.id, "no")]))
    ledger.drop(dropped.id, "not needed")
    assert ledger.open_intents(intent.action.subject for intent in (done, refused, dropped)) == []


def test_known_are_refs_with_a_fact_a_link_or_a_write_under_way(ledger, make, planned, linked):
    fact, pair, target, source = make.message(1), make.link(2, "b"), make.crm("t"), make.crm("s")
    ledger.record([fact])
    (link,) = linked(pair)
    ledger.journal(Entries(ended=[(link.id, "gone")]))
    (intent,) = planned(make.action("a", target=target, source=source))
    refs = [fact.ref, pair.platform, pair.crm, target, source, make.crm("never seen")]
    assert ledger.known(refs) == {fact.ref, pair.platform, pair.crm, target}
    ledger.drop(intent.id, "not needed")
    assert target not in ledger.known([target])


def test_children_are_listed_oldest_first_and_by_state(ledger, make):
    parent = make.platform(Kind.CONVERSATION, 1)
    ledger.record(
        [
            make.message(10),
            make.message(9, state=State.HELD, reason="person"),
            make.message(8, parent=make.platform(Kind.CONVERSATION, 2)),
            make.fact(Kind.IDENTITY, 7, parent=parent),
        ]
    )
    assert [ref.id for ref in ledger.children([parent], Kind.MESSAGE)] == ["9", "10"]
    assert [ref.id for ref in ledger.children([parent], Kind.MESSAGE, [State.HELD, State.FILTERED])] == ["9"]


def test_stats_count_public_messages_with_their_first_and_last(ledger, make):
    def message(id_, day, direction, **changed):
        return make.message(
            id_,
            fields={"sent_at": f"2026-01-{day:02}T00:00:00Z", "direction": direction} | changed.pop("fields", {}),
            **changed,
        )

    ledger.record(
        [
            message(1, 2, "inbound"),
            message(2, 4, "outbound"),
            message(3, 3, "inbound"),
            message(4, 1, "outbound", fields={"private": True}),
            message(5, 9, "inbound", state=State.ERASED, reason="asked"),
            message(6, 9, "inbound", parent=make.platform(Kind.CONVERSATION, 2)),
        ]
    )
    one, two, none = (make.platform(Kind.CONVERSATION, n) for n in (1, 2, 3))
    assert ledger.stats([one, two, none]) == {
        one: ConversationStats(3, "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z", "outbound"),
        two: ConversationStats(1, "2026-01-09T00:00:00Z", "2026-01-09T00:00:00Z", "inbound"),
    }


def test_of_two_messages_in_one_second_the_higher_number_is_the_last(ledger, make):
    ledger.record([make.message(10, fields={"direction": "outbound"}), make.message(9)])
    (stats,) = ledger.stats([make.platform(Kind.CONVERSATION, 1)]).values()
    assert (stats.count, stats.last_direction) == (2, "outbound")


def test_holds_are_read_by_subject_type_and_whether_they_are_settled(ledger, make):
    person, other = make.platform(Kind.PERSON, 1), make.platform(Kind.PERSON, 2)
    ledger.journal(
        Entries(
            holds=[
                NewHold(HoldType.IDENTITY, person, "Who?", {"candidates": []}),
                NewHold(HoldType.CONFLICT, person, "Which?", {"crm": "a"}, "email"),
                NewHold(HoldType.CONFLICT, other, "Which?", {}, "email"),
            ]
        )
    )
    who, which, others = ledger.open_holds()
    assert (which.type, which.subject, which.question, which.details, which.field) == (
        HoldType.CONFLICT, person, "Which?", {"crm": "a"}, "email",
    )  # fmt: skip
    assert ledger.open_holds([person]) == [who, which]
    assert ledger.open_holds(type=HoldType.CONFLICT) == [which, others]
    assert ledger.open_holds([other], HoldType.IDENTITY) == []
    ledger.journal(Entries(closed_holds=[(which.id, "crm", "jo", "newer")]))
    assert ledger.open_holds([person]) == [who]
    assert ledger.settled_holds([person, other]) == [ledger.hold(which.id)]


def test_an_unknown_hold_is_explained(ledger):
    with pytest.raises(StoreError, match="main has no hold 7"):
        ledger.hold(7)
