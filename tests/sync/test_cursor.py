"""Windows overlap, the watermark never goes back, an unfinished window goes on where it stopped."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.base import Page, Stream, Window
from connector.model import Cursor
from connector.sync.cursor import FUTURE, advance, skewed, window

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
STREAM = Stream("changes", timedelta(minutes=1), timedelta(minutes=15))
moments = st.one_of(st.none(), st.integers(-600, 600).map(lambda minutes: NOON + timedelta(minutes=minutes)))


def position(key: str) -> str | None:
    return {"conversation 7": "message 9"}.get(key)


def test_a_first_window_begins_at_the_beginning():
    assert window(Cursor(), STREAM, position) == Window(None, None, position)


def test_a_window_begins_before_the_watermark_by_the_overlap():
    assert window(Cursor(NOON), STREAM, position).since == NOON - timedelta(minutes=15)


def test_an_unfinished_window_goes_on_under_its_own_floor_not_under_a_new_one():
    floor = NOON - timedelta(hours=3)
    assert window(Cursor(NOON, floor, "page 2"), STREAM, position) == Window(floor, "page 2", position)


def test_a_page_in_the_middle_keeps_the_watermark_and_remembers_the_floor():
    reading = Window(NOON - timedelta(minutes=15), None, position)
    after = advance(Cursor(NOON), reading, Page((), resume="page 2", watermark=NOON + timedelta(hours=1)))
    assert after == Cursor(NOON, reading.since, "page 2")


def test_the_last_page_moves_the_watermark_and_forgets_the_page():
    reading = Window(NOON, "page 2", position)
    assert advance(Cursor(NOON, NOON, "page 2"), reading, Page((), watermark=NOON + FUTURE)) == Cursor(NOON + FUTURE)


def test_a_last_page_without_a_watermark_keeps_the_old_one():
    assert advance(Cursor(NOON), Window(), Page(())) == Cursor(NOON)


@given(moments, st.lists(st.tuples(moments, st.booleans()), max_size=6))
def test_the_watermark_never_goes_back(start, pages):
    cursor = Cursor(start)
    for mark, last in pages:
        reading = window(cursor, STREAM, position)
        after = advance(cursor, reading, Page((), resume=None if last else "more", watermark=mark))
        assert cursor.watermark is None or (after.watermark is not None and after.watermark >= cursor.watermark)
        assert last or after.watermark == cursor.watermark
        cursor = after


@given(moments.filter(bool), st.integers(0, 15), st.integers(0, 10))
def test_a_row_that_commits_within_the_overlap_is_in_the_next_window(mark, late, stamped_before):
    """Stamped before the watermark of the reading that missed it, readable `late` minutes after its stamp."""
    stamp = mark - timedelta(minutes=min(late, stamped_before))
    assert window(Cursor(mark), STREAM, position).since <= stamp


@pytest.mark.parametrize(
    ("ahead", "skew"), [(timedelta(0), False), (FUTURE, False), (FUTURE + timedelta(seconds=1), True)]
)
def test_a_watermark_far_in_the_future_is_a_clock_fault(ahead, skew):
    assert skewed(Page((), watermark=NOON + ahead), NOON) is skew


def test_a_page_without_a_watermark_is_no_clock_fault():
    assert not skewed(Page(()), NOON)
