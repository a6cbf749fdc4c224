"""The audit's comparisons: what counts as kept, and what is told of a broken promise. Pure."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.compiled import KeyRule
from connector.mapping.template import parse_template
from connector.model import (
    Action,
    Fact,
    Hold,
    HoldType,
    Intent,
    IntentState,
    Kind,
    Life,
    Link,
    Observed,
    Op,
    Ref,
    Side,
    State,
)
from connector.sync import audit
from connector.sync.audit import FIRST, Adopt, Finding, Look, Move, Redo

MESSAGE = Ref("chatwoot", "message", "3-41")
TASK = Ref("salesforce", "Task", "00T5g0000000001EAA")
OTHER = Ref("salesforce", "Task", "00T5g0000000002EAA")


def message(state: State | None, dirty: bool = False) -> Fact:
    return Fact(MESSAGE, Side.PLATFORM, Kind.MESSAGE, {}, "1", dirty=dirty, state=state)


def intent(state: IntentState, op: Op = Op.UPSERT, token: str = "t") -> Intent:
    action = Action("u", op, Side.CRM, Kind.MESSAGE, "Task", {}, MESSAGE, MESSAGE)
    return Intent(1, action, state, token)


def seen(ref: Ref = TASK, life: Life = Life.LIVE, **fields) -> Observed:
    return Observed(ref, Kind.MESSAGE, fields, life=life)


@pytest.mark.parametrize(
    ("fact", "linked", "busy", "told"),
    [
        (message(State.SYNCED), {MESSAGE}, set(), ""),
        (message(State.SYNCED), set(), set(), "no CRM record is linked"),
        (message(State.ERASED), {MESSAGE}, set(), "is erased, but"),
        (message(State.ERASED), set(), set(), ""),
        (message(State.FILTERED), set(), set(), ""),
        (message(State.HELD), set(), set(), ""),
        (message(State.OPEN), set(), {MESSAGE}, ""),
        (message(State.OPEN, dirty=True), set(), set(), ""),
        (message(State.OPEN), set(), set(), "nothing is planned"),
        (message(None), set(), set(), "nothing is planned"),
    ],
)
def test_a_message_in_the_wrong_state_is_told(fact, linked, busy, told):
    found = audit.accounts([fact], linked, busy)
    assert [told in one.text for one in found] == ([True] if told else [])
    assert all(one.mend == Redo(MESSAGE) for one in found)


def link(id_: int, platform: str, crm: str, kind: Kind = Kind.MESSAGE) -> Link:
    return Link(id_, kind, Ref("chatwoot", kind, platform), Ref("salesforce", "Task", crm))


@pytest.mark.parametrize(
    ("links", "count"),
    [
        ([], 0),
        ([link(1, "1", "a"), link(2, "2", "b")], 0),
        ([link(1, "1", "a"), link(2, "1", "b")], 1),
        ([link(1, "1", "a"), link(2, "2", "a")], 1),
        ([link(1, "1", "a", Kind.PERSON), link(2, "2", "a", Kind.PERSON)], 0),
        ([link(1, "1", "a"), link(2, "1", "b", Kind.REPLY)], 0),
    ],
)
def test_two_active_links_of_one_record_are_told(links, count):
    assert len(audit.doubles(links)) == count


HOLD = Hold(1, HoldType.REFUSED, MESSAGE, "?", {}, intent=1)


@pytest.mark.parametrize(
    ("state", "known", "holds", "count"),
    [
        (IntentState.READY, {MESSAGE}, {}, 0),
        (IntentState.READY, set(), {}, 1),
        (IntentState.DONE, set(), {}, 0),
        (IntentState.HELD, {MESSAGE}, {1: HOLD}, 0),
        (IntentState.HELD, {MESSAGE}, {}, 1),
    ],
)
def test_a_write_that_nobody_asks_for_is_told(state, known, holds, count):
    assert len(audit.orphans([intent(state)], known, holds)) == count


LINK = link(1, "3-41", TASK.id)
LOOK = Look(Side.CRM, TASK, missing=True)


@pytest.mark.parametrize(
    ("found", "taken", "mends"),
    [
        ([seen()], {TASK}, []),
        ([], {TASK}, [LOOK]),
        ([seen(life=Life.GONE)], {TASK}, [LOOK]),
        ([seen(OTHER)], {TASK}, [Move(LINK, OTHER)]),
        ([seen(OTHER)], {TASK, OTHER}, [None]),
        ([seen(), seen(OTHER)], {TASK}, [None]),
    ],
)
def test_a_record_that_is_not_there_exactly_once_is_told_and_only_one_of_two_may_take_over(found, taken, mends):
    told = audit.records({TASK: ("Key__c", "main:3-41")}, {TASK: found}, {TASK: LINK}, taken)
    assert [one.mend for one in told] == mends


KEPT_OUT = Ref("chatwoot", "message", "3-42")
PERSON = Observed(TASK, Kind.PERSON, {"Key__c": "main:1"})


@pytest.mark.parametrize(
    ("one", "linked", "busy", "owners", "mends"),
    [
        (seen(Key__c="main:1"), {TASK}, set(), {}, []),
        (seen(Key__c="main:1"), set(), set(), {}, [None]),
        (seen(Key__c="main:1"), set(), set(), {TASK: KEPT_OUT}, [None]),
        (seen(Key__c="main:1"), set(), set(), {TASK: MESSAGE}, [Adopt(Kind.MESSAGE, MESSAGE, TASK)]),
        (PERSON, set(), set(), {TASK: MESSAGE}, [None]),
        (seen(Key__c="main:1"), set(), {"main:1"}, {}, []),
        (seen(Key__c=None), set(), set(), {}, []),
        (seen(Key__c="main:1", life=Life.GONE), set(), set(), {}, []),
    ],
)
def test_a_record_of_ours_without_a_link_is_told_and_adopted_by_its_owner_unless_it_is_a_person(
    one, linked, busy, owners, mends
):
    told = audit.strays([one], linked, busy, {"Key__c"}, owners, {KEPT_OUT: "sam decided: never"})
    assert [each.mend for each in told] == mends
    assert any("sam decided: never" in each.text for each in told) == (KEPT_OUT in owners.values())


CONVERSATION = Ref("chatwoot", "conversation", "3")
ANN, BEA = Ref("chatwoot", "person", "7"), Ref("chatwoot", "person", "8")


def below(kind: Kind, parent: Ref | None, **fields) -> Fact:
    return Fact(Ref("chatwoot", kind, "1"), Side.PLATFORM, kind, fields, "1", parent=parent)


@pytest.mark.parametrize(
    ("one", "person"),
    [
        (below(Kind.MESSAGE, CONVERSATION, person=str(BEA)), BEA),
        (below(Kind.MESSAGE, CONVERSATION), ANN),
        (below(Kind.CONVERSATION, ANN), ANN),
        (below(Kind.IDENTITY, ANN), ANN),
        (below(Kind.IDENTITY, None), None),
    ],
)
def test_whose_a_record_is(one, person):
    known = {
        CONVERSATION: Fact(CONVERSATION, Side.PLATFORM, Kind.CONVERSATION, {}, "1", parent=ANN),
        ANN: Fact(ANN, Side.PLATFORM, Kind.PERSON, {}, "1"),
    }
    assert audit.person_of(one, known) == person


@pytest.mark.parametrize(
    ("template", "value", "id_"),
    [
        ("{connection}:{id}", "main:3-41", "3-41"),
        ("{connection}:{id}", "mainly:3-41", None),
        ("{connection}:{id}", "main:", None),
        ("{connection}:conversation:{id}", "main:conversation:3", "3"),
        ("{connection}:conversation:{id}", "main:3", None),
        ("<{connection}.{id}@connector>", "<main.3-41@connector>", "3-41"),
        ("<{connection}.{id}@connector>", "<main.3-41@elsewhere>", None),
        ("{id}", "instagram:17", None),
        ("{connection}", "main", None),
        ("{id}{connection}{id}", "3main3", None),
    ],
)
def test_the_platform_s_id_is_read_out_of_a_key_that_names_the_connection(template, value, id_):
    assert audit.id_in(KeyRule("Key__c", parse_template(template, ZoneInfo("UTC"))), "main", value) == id_


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("known", "before", "at", "life", "missed", "young"),
    [
        ({MESSAGE}, NOON, NOON - timedelta(hours=1), Life.LIVE, 0, 0),
        (set(), NOON, NOON - timedelta(seconds=1), Life.LIVE, 1, 0),
        (set(), NOON, NOON, Life.LIVE, 0, 1),
        (set(), None, NOON, Life.LIVE, 0, 1),
        (set(), NOON, None, Life.LIVE, 1, 0),
        (set(), NOON, NOON - timedelta(hours=1), Life.GONE, 0, 0),
    ],
)
def test_a_message_that_should_have_been_read_and_was_not_is_told(known, before, at, life, missed, young):
    shown = [Observed(MESSAGE, Kind.MESSAGE, {}, changed_at=at, life=life), Observed(OTHER, Kind.CONVERSATION, {})]
    found, waiting = audit.unseen(shown, known, before)
    assert [one.mend for one in found] == [Look(Side.PLATFORM, MESSAGE, missing=False)] * missed
    assert waiting == young


@pytest.mark.parametrize(("now", "count"), [({TASK: seen()}, 0), ({TASK: seen(life=Life.MERGED)}, 1), ({}, 1)])
def test_a_linked_record_that_is_gone_is_told(now, count):
    assert len(audit.living([link(1, "1", TASK.id)], Side.CRM, now)) == count


@pytest.mark.parametrize(
    ("ref", "shown", "marked", "count"),
    [
        (MESSAGE, {MESSAGE: seen(MESSAGE)}, {"t": 1}, 0),
        (MESSAGE, {MESSAGE: seen(MESSAGE)}, {}, 0),
        (MESSAGE, {MESSAGE: seen(MESSAGE)}, {"t": 2}, 1),
        (MESSAGE, {}, {"t": 1}, 1),
        (None, {}, {}, 1),
    ],
)
def test_a_reply_that_was_not_sent_exactly_once_is_told(ref, shown, marked, count):
    assert len(audit.sends([(intent(IntentState.DONE, Op.SEND), ref)], shown, marked)) == count


@given(st.lists(st.text(), max_size=30))
def test_all_offenders_are_counted_and_the_first_are_shown(offenders):
    found = Finding("a promise")
    found.add(len(offenders), offenders)
    assert found.violations == len(offenders)
    assert found.first == offenders[:FIRST]


@given(st.lists(st.tuples(st.integers(0, 4), st.lists(st.text(), max_size=4)), max_size=8))
def test_what_was_handed_back_and_what_remains_for_a_person_are_all_that_was_found(pages):
    found = Finding("a promise")
    for handed_back, left in pages:
        found.add(0, [*left, *["mended"] * handed_back])
        found.mended(handed_back, left)
    remaining = [one for _, left in pages for one in left]
    assert found.remaining == len(remaining)
    assert found.left == remaining[:FIRST]
