"""Slices of the past: they cover what was asked for exactly, in order, and can be stopped anywhere."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.base import Page
from connector.model import Cursor, Kind, Observed, Period, Ref
from connector.sync.history import SLICE, Backfill, lowered, was_sent_in

DAY = datetime(2026, 3, 1, tzinfo=UTC)
moments = st.integers(0, 4000 * 24).map(lambda hours: datetime(2016, 1, 1, tzinfo=UTC) + timedelta(hours=hours))


@st.composite
def backfills(draw) -> Backfill:
    since, until = sorted(draw(st.tuples(moments, moments).filter(lambda pair: pair[0] != pair[1])))
    return Backfill(since, until, draw(st.booleans()))


def run(asked: Backfill, pages: list[int]) -> list[tuple[Period, Cursor]]:
    """Every page that is read, with the cursor that is stored with it; a slice has as many pages as told, in turn."""
    cursor, read = Cursor(), []
    while sent := asked.slice(cursor):
        for number in range(count := pages[len(read) % len(pages)]):
            assert asked.slice(cursor) == sent, "a slice under way stays the same"
            last = number == count - 1
            cursor = asked.advance(cursor, sent, Page((), resume=None if last else f"page {number}"))
            read.append((sent, cursor))
    return read


@given(backfills(), st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_the_slices_cover_what_was_asked_for_exactly_and_in_order(asked, pages):
    slices = list(dict.fromkeys(sent for sent, _ in run(asked, pages)))
    in_time = slices if asked.oldest_first else slices[::-1]
    assert (in_time[0].start, in_time[-1].end) == (asked.since, asked.until)
    assert all(one.end == next_.start for one, next_ in itertools.pairwise(in_time))
    assert all(timedelta(0) < one.end - one.start <= SLICE for one in slices)


@given(backfills(), st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_what_is_in_only_grows_and_ends_with_all_of_it(asked, pages):
    read = run(asked, pages)
    parts = [asked.part(cursor) for _, cursor in read]
    assert parts == sorted(parts)
    assert parts[-1] == 1
    last = read[-1][1]
    assert asked.covered(last) == Period(asked.since, asked.until)
    assert asked.slice(last) is None
    assert asked.part(Cursor()) == 0


@given(backfills(), st.lists(st.integers(1, 3), min_size=1, max_size=5), st.floats(0, 1))
def test_the_part_of_a_slice_counts_for_its_time(asked, pages, of_slice):
    for sent, cursor in run(asked, pages):
        whole = (asked.until - asked.since) / (sent.end - sent.start)
        more = asked.part(cursor, of_slice) - asked.part(cursor)
        if asked.slice(cursor) == sent:
            assert more == pytest.approx(of_slice / whole, abs=1e-9)
        assert 0 <= asked.part(cursor, of_slice) <= 1


@given(backfills(), st.lists(st.integers(1, 3), min_size=1, max_size=5), moments)
def test_the_time_before_the_platform_s_oldest_message_does_not_count(asked, pages, oldest):
    shorter = Backfill(max(asked.since, oldest), asked.until) if oldest < asked.until else asked
    shorter = replace(shorter, oldest_first=asked.oldest_first)
    for _, cursor in run(asked, pages):
        covered = asked.covered(cursor)
        edge = covered.end if asked.oldest_first else covered.start
        as_if = shorter.part(Cursor(watermark=max(edge, shorter.since)))
        assert asked.part(cursor, oldest=oldest) == pytest.approx(as_if)


def test_newest_first_ends_with_the_slice_before_which_the_platform_has_nothing():
    asked = Backfill(DAY - 100 * SLICE, DAY)
    first = asked.slice(Cursor())
    under_way = asked.advance(Cursor(), first, Page((), resume="page 1"))
    done = asked.advance(under_way, first, Page((), earliest=True))
    assert (asked.slice(done), asked.part(done)) == (None, 1)
    assert asked.covered(done) == Period(asked.since, asked.until)
    oldest_first = Backfill(asked.since, asked.until, oldest_first=True)
    begun = oldest_first.advance(Cursor(), oldest_first.slice(Cursor()), Page((), earliest=True))
    assert oldest_first.slice(begun).start == asked.since + SLICE


@pytest.mark.parametrize("oldest_first", [False, True])
def test_no_slice_leaves_the_calendar(oldest_first):
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for asked in (Backfill(first, first + SLICE / 2, oldest_first), Backfill(last - SLICE / 2, last, oldest_first)):
        assert asked.slice(Cursor()) == Period(asked.since, asked.until)


@given(backfills())
def test_what_was_asked_for_survives_the_store(asked):
    assert Backfill.of(asked.data()) == asked


@given(backfills(), moments, st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_the_history_begins_earlier_only_where_nothing_is_left_out_between(asked, begins, pages):
    for _, cursor in run(asked, pages):
        covered = asked.covered(cursor)
        earlier = lowered(begins, covered)
        assert earlier <= begins
        assert earlier == begins or (earlier == covered.start and covered.end >= begins)


@pytest.mark.parametrize(
    ("begins", "start", "end", "expected"),
    [
        (10, 5, 10, 5),
        (10, 5, 12, 5),
        (10, 5, 9, 10),
        (10, 11, 12, 10),
        (None, 5, 10, None),
    ],
)
def test_the_history_begins_where_the_covered_time_reaches_up_to_it(begins, start, end, expected):
    def at(day):
        return None if day is None else DAY + timedelta(days=day)

    assert lowered(at(begins), Period(at(start), at(end))) == at(expected)


def seen(kind: Kind, **fields) -> Observed:
    return Observed(Ref("chatwoot", kind.value, "1"), kind, fields)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        pytest.param(seen(Kind.MESSAGE, sent_at="2026-03-01T00:00:00Z"), True, id="a message of the first second"),
        pytest.param(seen(Kind.MESSAGE, sent_at="2026-02-28T23:59:59Z"), False, id="a second too old"),
        pytest.param(seen(Kind.MESSAGE, sent_at="2026-03-02T00:00:00Z"), False, id="the end is not in it"),
        pytest.param(seen(Kind.MESSAGE), True, id="a message that is gone shows no time"),
        pytest.param(seen(Kind.PERSON, sent_at="2020-01-01T00:00:00Z"), True, id="only messages have a time"),
    ],
)
def test_of_the_platform_s_records_only_messages_are_too_old(one, wanted):
    assert was_sent_in(Period(DAY, DAY + timedelta(days=1)), one) is wanted
