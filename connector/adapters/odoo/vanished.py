"""The stream `gone`: which linked records do not exist any more. Odoo leaves no trace of a deleted one, so the ids that we
are linked with are looked up, a slice at a time.

Position key: `walk` where the next slice begins.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

from connector.adapters.base import Page, Window
from connector.adapters.odoo.reads import UNSEEN, Reads
from connector.adapters.odoo.records import ref
from connector.adapters.odoo.values import is_number
from connector.model import Life, Observed, Ref

LOOK: Final = 5000
"""Ids in one look: a search of so many takes milliseconds (odoo.md, section 7)."""
SLICE: Final = 4
"""Looks in one run, so that a run stays short however many records are linked. A thorough window takes all."""


def pull_gone(reads: Reads, window: Window) -> Iterator[Page]:
    started = reads.server_time()
    after = window.resume or ("" if window.thorough else window.position("walk") or "")
    for turn in count(1):
        refs = window.linked(after, LOOK)
        gone = _gone(reads, refs)
        after = str(refs[-1]) if len(refs) >= LOOK else ""
        if not after or (turn >= SLICE and not window.thorough):
            yield Page(gone, watermark=started, positions={"walk": after})
            return
        yield Page(gone, resume=after, positions={"walk": after})


def _gone(reads: Reads, refs: Sequence[Ref]) -> tuple[Observed, ...]:
    found: list[Observed] = []
    for model in dict.fromkeys(one.object for one in refs if reads.knows(one.object)):
        ids = [int(one.id) for one in refs if one.object == model and is_number(one.id)]
        alive = reads.surviving(model, ids)
        kind = reads.read_of(model).kind
        found += [
            Observed(ref(model, id_), kind, {}, version=UNSEEN, life=Life.GONE) for id_ in ids if id_ not in alive
        ]
    return tuple(found)
