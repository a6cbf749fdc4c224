"""Which messages were announced by a webhook, and which were not: the count of webhooks that never came.

Two actors: a customer writes; the platform's webhook is lost on its way; a read a minute later brings the message all the same.
Nothing is lost but the webhook, and whoever runs the connector wants to know how often that happens.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from connector.model import Fact, Kind, Ref, Side, stamp
from connector.store import rows
from connector.store.bulk import insert, listed, upsert
from connector.store.database import Scoped
from connector.store.entries import Webhooks
from connector.store.schema import awaited, facts, memory

PATIENCE = timedelta(minutes=10)
"""How long after its message was read a webhook may still come; also how far the clocks of two machines may differ."""
SINCE = "webhooks since"
"""Where the store remembers when the first webhook came that named a message."""
LISTENING = "webhooks taken since"
"""Where the store remembers since when a process takes webhooks, for the processes that only read."""


class Announcing(Scoped):
    listening_since: datetime | None = None
    """Since when this process takes webhooks of the connection; None where it takes none."""

    def listen(self, since: datetime | None) -> None:
        """This process takes webhooks since then (None: it takes none). What another one was still waiting for cannot be told
        any more: nobody may have listened when it came."""
        self.listening_since = since
        with self._writing() as db:
            taken = {"connection": self.connection, "key": LISTENING, "value": {"value": since and since.isoformat()}}
            upsert(db, memory, [taken])
            db.execute(awaited.delete().where(awaited.c.connection == self.connection, awaited.c.lost.is_(False)))

    def listen_elsewhere(self) -> None:
        """Another process takes the webhooks of the connection, or did: what it loses is lost all the same."""
        with self._reading() as db:
            self.listening_since = _remembered(db, self.connection, LISTENING)

    def announced(self, refs: Collection[Ref]) -> None:
        """Webhooks named these records. One that comes late is not lost, one that comes twice is one."""
        messages = [str(ref) for ref in refs if ref.object == Kind.MESSAGE.value]
        if not messages:
            return
        with self._writing() as db:
            first = {"connection": self.connection, "key": SINCE, "value": {"value": self._clock().isoformat()}}
            db.execute(insert(db, memory).on_conflict_do_nothing(index_elements=["connection", "key"]), first)
            for some in listed(db, messages):
                db.execute(awaited.delete().where(awaited.c.connection == self.connection, some(awaited.c.ref)))

    def give_up_waiting(self) -> None:
        """The webhooks that this process has been waiting for too long are lost."""
        late = (
            awaited.c.connection == self.connection,
            awaited.c.lost.is_(False),
            awaited.c.since <= self._clock() - PATIENCE,
        )
        with self._writing() as db:
            db.execute(update(awaited).where(*late).values(lost=True))

    def webhooks(self) -> Webhooks | None:
        """None where no webhook has ever named a message."""
        with self._reading() as db:
            since = _remembered(db, self.connection, SINCE)
            lost = select(func.count()).where(awaited.c.connection == self.connection, awaited.c.lost.is_(True))
            return Webhooks(since, db.scalar(lost) or 0) if since else None

    def _await(self, db: Connection, side: Side, seen: Sequence[Fact]) -> None:
        """A read brings messages. Those that are new, and written while webhooks came in and somebody listened, should have
        been named by one, or will be."""
        if self.listening_since is None or side is not Side.PLATFORM:
            return
        since = _remembered(db, self.connection, SINCE)
        if since is None:
            return
        floor = stamp(max(since, self.listening_since) + PATIENCE)
        young = [str(one.ref) for one in seen if one.kind is Kind.MESSAGE and (rows.at(one) or "") > floor]
        if not young:
            return
        known = {
            ref
            for some in listed(db, young)
            for ref in db.scalars(select(facts.c.ref).where(facts.c.connection == self.connection, some(facts.c.ref)))
        }
        new = [
            {"connection": self.connection, "ref": ref, "since": self._clock(), "lost": False}
            for ref in young
            if ref not in known
        ]
        if new:
            db.execute(insert(db, awaited).on_conflict_do_nothing(index_elements=["connection", "ref"]), new)


def _remembered(db: Connection, connection: str, key: str) -> datetime | None:
    found = db.scalar(select(memory.c.value).where(memory.c.connection == connection, memory.c.key == key))
    return datetime.fromisoformat(found["value"]) if found and found["value"] else None
