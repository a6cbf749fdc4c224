"""One engine per connection at a time, over processes and machines: a row with an expiry and a fence number."""

from datetime import timedelta

from sqlalchemy import select, update

from connector.store.database import Scoped, insert, transaction
from connector.store.schema import leases


class Leasing(Scoped):
    def lease(self, holder: str, ttl: timedelta) -> bool:
        """Takes the lease, or renews the one that this ledger holds; False while somebody else has it.

        From then on every write of this ledger fails (StoreError) once another has taken over. Renew well before `ttl`
        is over. `holder` names the process for people, such as `host:pid`.
        """
        now = self._clock()
        row = leases.c.connection == self.connection
        with transaction(self._engine, writes=True) as db:
            # Engines A and B both find the lease free. The row exists before either looks, and each looks under its
            # lock: the second sees what the first wrote. The fence only ever grows, so that A, should it be paused
            # until its lease is over and B has taken it, is recognised by its old number whatever its clock says.
            free = {"connection": self.connection, "holder": holder, "fence": 0, "expires_at": now}
            db.execute(insert(db, leases).on_conflict_do_nothing(index_elements=["connection"]), free)
            fence, expires_at = db.execute(
                select(leases.c.fence, leases.c.expires_at).where(row).with_for_update()
            ).one()
            if fence != self.fence:
                if expires_at > now:
                    return False
                fence += 1
            db.execute(update(leases).where(row).values(holder=holder, fence=fence, expires_at=now + ttl))
        self.fence = fence
        return True

    def release(self) -> None:
        """Frees the lease for the next one at once; without effect when it is not ours (any more)."""
        with transaction(self._engine, writes=True) as db:
            db.execute(
                update(leases)
                .where(leases.c.connection == self.connection, leases.c.fence == self.fence)
                .values(expires_at=self._clock())
            )
        self.fence = None
