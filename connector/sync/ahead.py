"""What is got ready while something else is waited for: the page after the one that is being stored, and the plan of the batch
after the one that is being sent. Pure.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

from connector.adapters.base import Page
from connector.model import Fact, Op, Side
from connector.store.entries import Entries


def read_ahead(pages: Iterator[Page], hands: Executor) -> Iterator[Page]:
    """The same pages, each of them read by `hands` while the one before it is stored. Raises what reading raises, after the
    pages before.

    Two actors: we store a page and die; the next page, read meanwhile, is lost with us. Its cursor was not stored either, so it
    is read again.
    """
    coming = hands.submit(next, pages, None)
    while page := coming.result():
        coming = hands.submit(next, pages, None)
        yield page


def simple(entries: Entries) -> bool:
    """Whether all that a plan sends are writes to the CRM: a reply or a removal that lands is news of its own."""
    return all(one.op is Op.UPSERT and one.side is Side.CRM for one in entries.intents)


class Coming:
    """The batch after the one that is being sent, read and planned while the other side works. The plan stands only where
    everything under way simply landed.

    Two actors: we plan the next batch while a write is out; the write is refused, because a person deleted its record, and
    what hangs on it is to be decided anew. The plan does not know of that, so it is made again.
    """

    def __init__(self, works: Iterator[list[Fact]], plan: Callable[[Sequence[Fact]], Entries | None]) -> None:
        self._works = works
        self._plan = plan
        self._looked = False
        self._work: list[Fact] | None = None
        self._entries: Entries | None = None

    def look(self) -> None:
        """Once; further calls do nothing."""
        if not self._looked:
            self._looked = True
            self._work = next(self._works, None)
            self._entries = self._plan(self._work) if self._work else None

    def taken(self, *, all_landed: bool) -> tuple[list[Fact] | None, Entries | None]:
        """The batch, None where there is none, and its plan, None where it is still to be made."""
        if not self._looked:
            return next(self._works, None), None
        return self._work, self._entries if all_landed else None
