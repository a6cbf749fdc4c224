"""What is got ready while something else is waited for: the page after the one that is being stored, and what is to be sent
after what is being sent.
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
    """Whether all that a plan sends are writes to the CRM, which need not be asked anything because of it: a reply or a removal
    that lands is news of its own."""
    return not entries.moved and all(one.op is Op.UPSERT and one.side is Side.CRM for one in entries.intents)


class Coming:
    """What is still to be decided, a batch at a time. One for which nobody has to be asked is planned and journaled while the other
    side works.

    Two actors: we plan a batch while a write is out; the write is refused, because a person deleted its record. The batch was
    journaled with the write still open, as after any crash, so what hangs on the record is found and decided anew with the rest.
    """

    def __init__(self, batches: Iterator[Sequence[Fact]], journal: Callable[[Sequence[Fact]], bool]) -> None:
        """`journal` plans a batch and writes down what follows; False: that is not to be done in passing."""
        self._batches = batches
        self._journal = journal
        self._batch: Sequence[Fact] = ()

    def look(self) -> bool:
        """Whether the next batch is journaled now. False where there is none, or it waits to be `taken`. Where that raises, the batch
        is left to the next round."""
        if self._batch:
            return False
        batch = next(self._batches, ())
        if batch and self._journal(batch):
            return True
        self._batch = batch
        return False

    def taken(self) -> Sequence[Fact]:
        """The next batch; empty where there is none."""
        batch, self._batch = self._batch or next(self._batches, ()), ()
        return batch
