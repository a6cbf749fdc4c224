"""Looking at records again, and where a merged one went in a CRM that does not tell.

Two actors: a CRM user merges two contacts, or two opportunities; some CRMs then show the loser as deleted and say nothing of the
winner. Taken for a deletion it would end the link, and the next message would make the person anew, or have no record to stand
on. But what hung on the loser hangs on the winner now, and those records are known to us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connector.adapters.base import Adapter
from connector.model import Kind, Life, Observed, Ref, Side
from connector.store.store import Ledger
from connector.sync.observe import moved_to

WITNESSES = 20
"""Records below a vanished one that are asked where they are; one would do, some may have been deleted with it."""
FOLLOWED = (Kind.PERSON, Kind.CONVERSATION)


class Whereabouts:
    def __init__(self, ledger: Ledger, adapters: Mapping[Side, Adapter]) -> None:
        self._ledger = ledger
        self._adapters = adapters

    def fetch(self, side: Side, refs: Sequence[Ref]) -> list[Observed]:
        """The present state of each ref, as `Adapter.fetch` answers it, with merged records followed."""
        return self.followed(side, self._adapters[side].fetch(refs))

    def followed(self, side: Side, seen: Sequence[Observed]) -> list[Observed]:
        """The same observations, in which a person or conversation that is gone but whose records moved is merged, not gone."""
        if self._adapters[side].capabilities.names_winners:
            return list(seen)
        gone = [one for one in seen if one.kind in FOLLOWED and one.life is Life.GONE]
        winners = {one.ref: winner for one in gone if (winner := self._winner(side, one.ref, one.kind))}
        return [
            replace(one, life=Life.MERGED, merged_into=winners[one.ref]) if one.ref in winners else one for one in seen
        ]

    def _winner(self, side: Side, loser: Ref, kind: Kind) -> Ref | None:
        own = [link.platform for link in self._ledger.links_of([loser], kinds=[kind], active=True)]
        threads = own if kind is Kind.CONVERSATION else self._ledger.children(own, Kind.CONVERSATION)
        messages = self._ledger.children(threads, Kind.MESSAGE)
        below = self._ledger.links_of([*threads, *messages[-WITNESSES:]], active=True)
        witnesses = sorted(
            {link.crm for link in below if link.kind in (Kind.CONVERSATION, Kind.MESSAGE) and link.crm != loser}
        )
        return moved_to(loser, self._adapters[side].fetch(witnesses)) if witnesses else None
