"""What goes into the store comes out the same: every type of row, on both databases."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.model import (
    Action,
    Cursor,
    Decision,
    Fact,
    HoldType,
    Kind,
    Life,
    Link,
    Op,
    Outcome,
    Receipt,
    Ref,
    Side,
    Snapshot,
    State,
)
from connector.store import rows
from connector.store.entries import DecisionRow, Entries, NewHold, NewLink, Settlement, Shown

SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
names = st.text("abcdefgXYZ09_-äß中", min_size=1, max_size=8)
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(words, values, max_size=4)
zones = st.builds(timezone, st.integers(-840, 840).map(lambda minutes: timedelta(minutes=minutes)))
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)
refs = st.builds(Ref, names, names, names | st.builds("{}:{}".format, names, names))
sides = st.sampled_from(Side)
kinds = st.sampled_from(Kind)

EXAMPLES = itertools.count()


def maybe(strategy):
    return st.none() | strategy


facts = st.builds(
    Fact,
    ref=refs,
    side=sides,
    kind=kinds,
    fields=fields,
    version=words,
    changed_at=maybe(times),
    by=maybe(words),
    ours=maybe(st.booleans()),
    parent=maybe(refs),
    life=st.sampled_from(Life),
    merged_into=maybe(refs),
    token=maybe(words),
    edited=st.booleans(),
    dirty=st.booleans(),
    state=st.sampled_from(State),
    reason=maybe(words),
    settled=st.just(0),
)
decisions = st.builds(
    Decision,
    field=words,
    outcome=st.sampled_from(Outcome),
    rule=words,
    reason=words,
    value=values,
    lost=values,
    conflict=st.booleans(),
)
actions = st.builds(
    Action,
    unique=words,
    op=st.sampled_from(Op),
    side=sides,
    kind=kinds,
    object=words,
    fields=fields,
    source=refs,
    subject=refs,
    target=maybe(refs),
    key=maybe(st.tuples(words, words)),
    lane=maybe(words),
    after=st.dictionaries(sides, fields),
    decisions=st.lists(decisions, max_size=2).map(tuple),
    why=st.lists(words, max_size=3).map(tuple),
)
receipts = st.builds(Receipt, refs, st.booleans(), maybe(fields))
shown = st.lists(
    st.builds(Shown, sides, fields, st.lists(words, max_size=2).map(tuple)),
    max_size=2,
    unique_by=lambda one: one.side,
).map(tuple)


def every_field_is_generated(strategy, type_) -> bool:
    return set(type_.__dataclass_fields__) == set(strategy.wrapped_strategy.kwargs)  # type: ignore[attr-defined]


def test_the_strategies_know_every_field_of_facts_actions_and_decisions():
    for strategy, type_ in [(facts, Fact), (actions, Action), (decisions, Decision)]:
        assert every_field_is_generated(strategy, type_), type_


@SLOW
@given(st.lists(facts, max_size=5, unique_by=lambda fact: fact.ref))
def test_facts_come_back(ledger, some):
    ledger.record(some)
    found = ledger.facts([fact.ref for fact in some])
    assert found == {fact.ref: fact for fact in some}
    assert all(fact.changed_at is None or fact.changed_at.tzinfo is not None for fact in found.values())


@SLOW
@given(maybe(times), maybe(times), maybe(words), st.dictionaries(words, words, max_size=3))
def test_cursors_and_positions_come_back(store, watermark, since, resume, positions):
    ledger = store.at("main")
    cursor = Cursor(watermark, since, resume)
    ledger.ingest(Side.CRM, "Task", [], cursor, positions)
    assert ledger.cursor(Side.CRM, "Task") == cursor
    assert {key: ledger.position(Side.CRM, "Task", key) for key in positions} == positions


@SLOW
@given(st.lists(actions, max_size=3, unique_by=lambda action: action.unique), receipts)
def test_intents_come_back_and_are_found_by_what_they_made(store, request, some, receipt):
    ledger = store.at(f"example {next(EXAMPLES)}")
    journaled = ledger.journal(Entries(intents=some))
    assert [intent.action for intent in journaled] == some
    assert [ledger.intent(intent.id) for intent in journaled] == journaled
    ledger.mark_sending([intent.id for intent in journaled], datetime(2026, 1, 1, tzinfo=UTC))
    ledger.settle([Settlement(intent.id, receipt) for intent in journaled])
    assert {intent.id for intent in journaled} <= {intent.id for intent in ledger.intents_for(receipt.ref)}


@SLOW
@given(st.sampled_from(Kind), refs, refs, st.lists(words, max_size=3).map(tuple), shown)
def test_links_and_snapshots_come_back(store, kind, platform, crm, why, snapshots):
    ledger = store.at(f"example {next(EXAMPLES)}")
    ledger.journal(Entries(links=[NewLink(kind, platform, crm, why, snapshots)]))
    (link,) = ledger.links_of([platform])
    assert link == Link(link.id, kind, platform, crm, True, why, made_at=ledger._clock())
    expected = {one.side: Snapshot(link.id, one.side, one.fields, one.unread) for one in snapshots}
    assert ledger.snapshots([link.id]).get(link.id, {}) == expected


@SLOW
@given(st.sampled_from(HoldType), refs, words, fields, words)
def test_holds_come_back(store, type_, subject, question, details, field):
    ledger = store.at(f"example {next(EXAMPLES)}")
    ledger.journal(Entries(holds=[NewHold(type_, subject, question, details, field)]))
    (hold,) = ledger.open_holds()
    assert (hold.type, hold.subject, hold.question, hold.details, hold.field) == (
        type_, subject, question, details, field,
    )  # fmt: skip


@SLOW
@given(st.lists(st.builds(DecisionRow, kinds, refs, maybe(refs), decisions, refs), min_size=1, max_size=3))
def test_decisions_come_back(store, some):
    ledger = store.at(f"example {next(EXAMPLES)}")
    ledger.journal(Entries(decisions=some))
    for row in some:
        assert row in [one.row for one in ledger.decisions_for(row.platform)]


@given(facts)
def test_a_fact_row_is_the_fact(fact):
    # The database alone counts how often people have settled something.
    assert rows.fact_of({**rows.fact_row("main", fact), "settled": 0}) == fact


@given(st.lists(st.tuples(refs, times), max_size=5))
def test_facts_sort_by_time_to_the_second_then_by_length_of_id(seen):
    some = [Fact(ref, Side.CRM, Kind.PERSON, {}, "v1", changed_at=time) for ref, time in seen]
    by_key = sorted(some, key=rows.order_key)
    assert by_key == sorted(
        some, key=lambda fact: (fact.changed_at.replace(microsecond=0), len(fact.ref.id), str(fact.ref))
    )
