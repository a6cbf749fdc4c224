"""A page is read while the one before it is stored: nothing else changes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.base import Page
from connector.errors import Transient
from connector.sync.ahead import read_ahead


class Side:
    """A side with so many pages that fails at page `fails`, and notes what happened in which order."""

    def __init__(self, count: int, fails: int | None) -> None:
        self.count = count
        self.fails = fails
        self.read = 0

    def pages(self) -> Iterator[Page]:
        for number in range(self.count):
            if number == self.fails:
                raise Transient("memory", "503", "away")
            self.read += 1
            yield Page((), resume=str(number))


@given(count=st.integers(0, 6), fails=st.none() | st.integers(0, 6), stops=st.none() | st.integers(0, 6))
def test_the_same_pages_come_in_the_same_order_and_never_more_than_one_is_read_ahead(
    count: int, fails: int | None, stops: int | None
) -> None:
    side, stored, trouble = Side(count, fails), [], False
    with ThreadPoolExecutor(1) as hands:
        try:
            for number, page in enumerate(read_ahead(side.pages(), hands)):
                if number == stops:
                    break
                stored.append(page.resume)
                assert side.read <= len(stored) + 1
        except Transient:
            trouble = True
    there = min(count, count if fails is None else fails)
    wanted = min(there, there if stops is None else stops)
    assert stored == [str(number) for number in range(wanted)]
    assert trouble == (fails is not None and fails < count and (stops is None or stops >= there))
