"""One engine per connection at a time, over processes and machines: a row with an expiry and a fence number."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from connector.errors import StoreError
from connector.store.bulk import insert
from connector.store.database import Scoped, time_of, transaction
from connector.store.schema import leases

EVER = datetime.min.replace(tzinfo=UTC)
"""When the lease ended of a connection that nobody has worked on."""
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When the lease ends of a connection that has moved to another store."""


class Leasing(Scoped):
    left_alone = timedelta(0)
    """How long nobody had held the lease when it was taken. Whoever held it before did nothing in that time."""

    def lease(self, holder: str, ttl: timedelta) -> bool:
        """Takes the lease; False while somebody else has it, this ledger included.

        From then on every write of this ledger fails (StoreError) once another has taken over. Renew well before `ttl`
        is over. `holder` names the process for people, such as `host:pid`.
        """
        row = leases.c.connection == self.connection
        with transaction(self._engine, writes=True) as db:
            # Engines A and B both find the lease free. The row exists before either looks, and each looks under its
            # lock: the second sees what the first wrote. The fence only ever grows, so that A, should it be paused
            # until its lease is over and B has taken it, is recognised by its old number whatever its clock says.
            free = {"connection": self.connection, "holder": holder, "fence": 0, "expires_at": EVER}
            db.execute(insert(db, leases).on_conflict_do_nothing(index_elements=["connection"]), free)
            fence, expires_at = db.execute(
                select(leases.c.fence, leases.c.expires_at).where(row).with_for_update()
            ).one()
            now = time_of(db, self._clock)
            if expires_at > now:
                return False
            db.execute(update(leases).where(row).values(holder=holder, fence=fence + 1, expires_at=now + ttl))
        self.fence = fence + 1
        self.left_alone = timedelta(0) if expires_at == EVER else now - expires_at
        return True

    def renew(self, ttl: timedelta) -> bool:
        """Whether the lease that this ledger took is still its own; then it lasts `ttl` from now.

        Two actors: engine A is paused in mid-turn, B takes the lease, does the work and gives it back, and A wakes. The lease is
        free, and yet A must not have it again: its plan is of the time before B.
        """
        return self._expire(ttl)

    def release(self) -> None:
        """Frees the lease for the next one at once; without effect when it is not ours (any more)."""
        self._expire(timedelta(0))
        self.fence = None

    def hand_over(self, successor: str, *others: "Leasing") -> None:
        """Ends all work on this connection in this store, and on the `others` with it, whose leases are ours; `successor` names the
        store that goes on. Raises StoreError, ending nothing, where one of the leases is not ours any more.

        Two actors: a daemon rests because its CRM is down, and the admin, who has forgotten it, copies the store. Nobody has the
        lease then. When the CRM is back the daemon would go on with the old store, and send what has left from the new one.

        And: the copy is paused until its lease is over, the daemon takes it and goes on, and the copy wakes. Both stores would
        be at work.
        """
        with transaction(self._engine, writes=True) as db:
            for one in (self, *others):
                mine = (leases.c.connection == one.connection, leases.c.fence == one.fence)
                # A fence of its own: `release` must not free it.
                handed = (
                    update(leases).where(*mine).values(holder=successor, fence=leases.c.fence + 1, expires_at=NEVER)
                )
                if db.execute(handed).rowcount != 1:
                    raise StoreError(
                        f"Another process has taken over the connection {one.connection} during the copy; this store is still "
                        "the one that works.",
                        f"Do not use the copy. Stop the other process, empty {successor}, then give the same command again.",
                    )

    def successor(self) -> str | None:
        """The store that this connection has moved to."""
        row = (leases.c.connection == self.connection, leases.c.expires_at >= NEVER)
        with transaction(self._engine, writes=False) as db:
            return db.scalar(select(leases.c.holder).where(*row))

    def _expire(self, after: timedelta) -> bool:
        mine = (leases.c.connection == self.connection, leases.c.fence == self.fence)
        with transaction(self._engine, writes=True) as db:
            ends = time_of(db, self._clock) + after
            return db.execute(update(leases).where(*mine).values(expires_at=ends)).rowcount == 1
