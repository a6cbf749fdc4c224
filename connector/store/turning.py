"""Which connections are due: what many workers share, so that any of them can do the next turn."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Engine, func, select, tuple_

from connector.model import Ref
from connector.store.bulk import chunks, listed, upsert
from connector.store.database import Scoped, transaction
from connector.store.schema import hints, turns

HINTS = 10_000
"""Of one connection that are kept at most. Hints are never data: what is turned away is found by the next read."""


class Turning(Scoped):
    def come_back(self, at: datetime, *, resting: bool = False) -> None:
        """Look at the connection again at this time, or when a webhook names something; `resting`: not before it in any case."""
        with self._writing() as db:
            upsert(db, turns, [{"connection": self.connection, "due_at": at, "resting": resting}])

    def hint(self, refs: Collection[Ref]) -> bool:
        """Webhooks have named these; whoever does the next turn looks at them. False when too many are waiting already."""
        with self._writing() as db:
            waiting = db.scalar(select(func.count()).where(hints.c.connection == self.connection)) or 0
            if waiting + len(refs) > HINTS:
                return False
            now = self._clock()
            # In one order: two webhooks that name the same two records would each wait for what the other one has.
            named = sorted({str(ref) for ref in refs})
            upsert(db, hints, [{"connection": self.connection, "ref": ref, "named_at": now} for ref in named])
        return True

    def hints(self) -> dict[Ref, datetime]:
        """What webhooks have named, and when last."""
        query = select(hints.c.ref, hints.c.named_at).where(hints.c.connection == self.connection)
        return {Ref.parse(row["ref"]): row["named_at"] for row in self._rows(query)}

    def looked_at(self, seen: Mapping[Ref, datetime]) -> None:
        """These hints are done with, as they were when they were asked for.

        Two actors: a worker reads a message because a webhook named it; the customer changes it, and a second webhook names it
        once more. The second one is news.
        """
        with self._writing() as db:
            for some in chunks(seen.items()):
                named = tuple_(hints.c.ref, hints.c.named_at).in_([(str(ref), at) for ref, at in some])
                db.execute(hints.delete().where(hints.c.connection == self.connection, named))


def due(engine: Engine, connections: Sequence[str], now: datetime) -> list[str]:
    """Those of the connections that somebody should look at now, the one that waits longest first. One that was never looked at
    is due."""
    with transaction(engine, writes=False) as db:
        known = {
            row.connection: row
            for some in listed(db, connections)
            for row in db.execute(select(turns).where(some(turns.c.connection)))
        }
        named = {
            name
            for some in listed(db, connections)
            for name in db.scalars(select(hints.c.connection).distinct().where(some(hints.c.connection)))
        }
    waiting = [
        (known[name].due_at if name in known else datetime.min.replace(tzinfo=now.tzinfo), name)
        for name in connections
        if name not in known or known[name].due_at <= now or (name in named and not known[name].resting)
    ]
    return [name for _, name in sorted(waiting)]
