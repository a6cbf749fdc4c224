"""A page is read while the one before it is stored, a batch decided while another is written: nothing else changes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.base import Page
from connector.errors import Transient
from connector.sync.ahead import Coming, read_ahead


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


@given(
    batches=st.lists(st.lists(st.integers(), min_size=1, max_size=3), max_size=8),
    answers=st.lists(st.sampled_from([True, False, None]), max_size=20),
    looks=st.lists(st.integers(0, 3), max_size=10),
)
def test_whatever_is_decided_in_passing_all_of_it_is_decided_once_and_in_order(
    batches: list[list[int]], answers: list[bool | None], looks: list[int]
) -> None:
    """None: what is decided in passing ends with an error, and that batch is left to the next round."""
    decided, refused, left, answer, more = [], [], [], iter(answers), iter(looks)

    def journal(batch: list[int]) -> bool:
        assert not refused, "what is not to be done in passing waits until it is taken"
        done = next(answer, False)
        (left if done is None else decided if done else refused).append(batch)
        if done is None:
            raise Transient("memory", "503", "away")
        return done

    coming = Coming(iter(batches), journal)  # type: ignore[arg-type]
    while taken := coming.taken():
        refused.clear()
        decided.append(taken)
        for _ in range(next(more, 0)):
            with suppress(Transient):
                coming.look()
    assert [batch for batch in batches if batch not in left] == [batch for batch in decided if batch not in left]
    assert len(decided) + len(left) == len(batches)
