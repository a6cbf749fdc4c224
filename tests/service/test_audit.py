"""The audit's comparisons: what counts as kept, and what is told of a broken promise. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from connector.sync.audit import FIRST, Finding

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
    assert [told in one for one in found] == ([True] if told else [])


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


@pytest.mark.parametrize(
    ("found", "count"),
    [
        ([seen()], 0),
        ([], 1),
        ([seen(), seen(OTHER)], 1),
        ([seen(OTHER)], 1),
        ([seen(life=Life.GONE)], 1),
    ],
)
def test_a_record_that_is_not_there_exactly_once_is_told(found, count):
    assert len(audit.records({TASK: ("Key__c", "main:3-41")}, {TASK: found})) == count


@pytest.mark.parametrize(
    ("one", "linked", "busy", "count"),
    [
        (seen(Key__c="main:1"), {TASK}, set(), 0),
        (seen(Key__c="main:1"), set(), set(), 1),
        (seen(Key__c="main:1"), set(), {"main:1"}, 0),
        (seen(Key__c=None), set(), set(), 0),
        (seen(Key__c="main:1", life=Life.GONE), set(), set(), 0),
    ],
)
def test_a_record_of_ours_without_a_link_is_told(one, linked, busy, count):
    assert len(audit.strays([one], linked, busy, {"Key__c"})) == count


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
