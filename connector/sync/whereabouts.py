"""Looking at records again, and where a merged one went in a CRM that does not tell.

Two actors: a CRM user merges two contacts; some CRMs then show the loser as deleted and say nothing of the winner. Taken for a
deletion it would end the link, and the next message would make the person anew. But what hung on the loser hangs on the
winner now, and those records are known to us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connector.adapters.base import Adapter
from connector.model import Kind, Life, Observed, Ref, Side
from connector.store.store import Ledger
from connector.sync.observe import moved_to

WITNESSES = 20
"""Records below a vanished person that are asked where they are; one would do, some may have been deleted with it."""


class Whereabouts:
    def __init__(self, ledger: Ledger, adapters: Mapping[Side, Adapter]) -> None:
        self._ledger = ledger
        self._adapters = adapters

    def fetch(self, side: Side, refs: Sequence[Ref]) -> list[Observed]:
        """The present state of each ref, as `Adapter.fetch` answers it, with merged records followed."""
        return self.followed(side, self._adapters[side].fetch(refs))

    def followed(self, side: Side, seen: Sequence[Observed]) -> list[Observed]:
        """The same observations, in which a person that is gone but whose records moved is merged, not gone."""
        if self._adapters[side].capabilities.names_winners:
            return list(seen)
        gone = {one.ref for one in seen if one.kind is Kind.PERSON and one.life is Life.GONE}
        winners = {ref: winner for ref in gone if (winner := self._winner(side, ref))}
        return [
            replace(one, life=Life.MERGED, merged_into=winners[one.ref]) if one.ref in winners else one for one in seen
        ]

    def _winner(self, side: Side, loser: Ref) -> Ref | None:
        persons = [link.platform for link in self._ledger.links_of([loser], kinds=[Kind.PERSON], active=True)]
        threads = self._ledger.children(persons, Kind.CONVERSATION)
        messages = self._ledger.children(threads, Kind.MESSAGE)
        below = self._ledger.links_of([*threads, *messages[-WITNESSES:]], active=True)
        witnesses = sorted({link.crm for link in below if link.kind in (Kind.CONVERSATION, Kind.MESSAGE)})
        return moved_to(loser, self._adapters[side].fetch(witnesses)) if witnesses else None
