"""Handing back to the engine what an audit found broken: records to look at again, to plan again, to link again.

Nothing is written to either side from here. The next sync, or a running daemon, plans, guards and journals it like all else.
"""

from collections.abc import Sequence

from connector.model import Fact, Life, Ref, Side, Snapshot
from connector.store.entries import Entries, NewLink
from connector.sync.audit import Adopt, Anew, Look, Move, Offender, Redo
from connector.sync.drift import without
from connector.sync.engine import Engine

FETCH = 100
"""Records looked at together: a platform may take one call for each."""


class Mender:
    """Hands back to `engine`, whose connection's lease has to be held."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ledger = engine.ledger
        self.mapping = engine.mapping

    def hand_back(self, offenders: Sequence[Offender]) -> list[Offender]:
        """Answers what remains for a person. Raises RemoteError."""
        looks = {one.mend for one in offenders if isinstance(one.mend, Look)}
        seen = self._look(sorted(looks, key=lambda one: (one.side, one.ref)))
        self._ledger.journal(Entries(redo=[one.mend.ref for one in offenders if isinstance(one.mend, Redo)]))
        return [one for one in offenders if not self._mended(one, seen)]

    def _mended(self, offender: Offender, seen: dict[Ref, Fact]) -> bool:
        match offender.mend:
            case None:
                return False
            case Redo():
                return True
            case Look(ref=ref, missing=missing):
                return ref in seen and (seen[ref].life is not Life.LIVE or not missing)
            case Move() as move:
                return self._move(move)
            case Adopt() as adopt:
                self._adopt(adopt)
                return True
            case Anew() as anew:
                self._decide_anew(anew)
                return True

    def _look(self, looks: Sequence[Look]) -> dict[Ref, Fact]:
        """What is known of the records after they were looked at. One that was known to be gone is no news when it is seen
        again, so it is planned again by name."""
        for side in Side:
            refs = [one.ref for one in looks if one.side is side]
            for start in range(0, len(refs), FETCH):
                self._engine.look_at(refs[start : start + FETCH], side)
        seen = self._ledger.facts([one.ref for one in looks])
        self._ledger.journal(Entries(redo=[ref for ref, fact in seen.items() if fact.life is not Life.LIVE]))
        return seen

    def _move(self, move: Move) -> bool:
        """Only where the linked record is gone: two records that both stand are for a person to tell apart."""
        old = move.link.crm
        self._engine.look_at([old], Side.CRM)
        known = self._ledger.facts([old])
        if old not in known or known[old].life is Life.LIVE:
            return False
        link = move.link
        why = f"{link.crm} is gone, and {move.crm} carries its key"
        self._ledger.journal(
            Entries(
                moved=[(link.id, move.crm, why)],
                # What the old record showed says nothing about this one.
                snapshots=[Snapshot(link.id, side, {}) for side in Side],
                redo=[link.platform],
            )
        )
        self._engine.look_at([move.crm], Side.CRM)
        return True

    def _adopt(self, adopt: Adopt) -> None:
        why = ("it carries the key of this record",)
        self._ledger.journal(
            Entries(links=[NewLink(adopt.kind, adopt.platform, adopt.crm, why)], redo=[adopt.platform])
        )
        self._engine.look_at([adopt.crm], Side.CRM)

    def _decide_anew(self, anew: Anew) -> None:
        link = anew.link
        for side in Side:
            self._engine.look_at([link.on(side)], side)
        known = self._ledger.snapshots([link.id]).get(link.id, {})
        snapshots = [without(snapshot, anew.lines) for snapshot in known.values()]
        self._ledger.journal(Entries(snapshots=snapshots, redo=[link.platform]))
