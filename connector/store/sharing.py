"""What connections have in common: the accounts, and with them the daily allowance of API calls and the time a system asks for.

The only reads over several connections. They answer sums and counts, never a row of another connection.
"""

from datetime import datetime

from sqlalchemy import CompoundSelect, and_, func, literal, or_, select

from connector.model import Side
from connector.store import rows
from connector.store.bulk import upsert
from connector.store.database import Scoped
from connector.store.entries import Told
from connector.store.schema import connections, memory, usage

ALLOWANCE = "allowance"
"""Where the store remembers what the CRM last told of its own daily count."""
WAIT = "asked to wait"
"""Where the store remembers, by side, until when a system wants to be left alone."""


class Sharing(Scoped):
    def told_allowance(self, used: int, allowance: int) -> None:
        """The CRM counts `used` calls of everybody, out of `allowance` a day."""
        value = {"used": used, "allowance": allowance, "at": self._clock().isoformat()}
        with self._writing() as db:
            upsert(db, memory, [{"connection": self.connection, "key": ALLOWANCE, "value": {"value": value}}])

    def allowance(self) -> Told | None:
        """What the CRM last told any connection of this account; None where it never told."""
        query = select(memory.c.value).where(memory.c.key == ALLOWANCE, memory.c.connection.in_(self._sharers()))
        told = [row["value"]["value"] for row in self._rows(query)]
        found = [Told(one["used"], one["allowance"], datetime.fromisoformat(one["at"])) for one in told if "at" in one]
        return max(found, key=lambda one: one.at, default=None)

    def account_calls(self, since: datetime, system: str) -> dict[datetime, int]:
        """API calls to a system by all connections of this CRM account together, by the hour (UTC) in which they were made, from
        the hour of `since` on."""
        query = (
            select(usage.c.hour, func.sum(usage.c.calls).label("calls"))
            .where(
                usage.c.hour >= rows.hour_of(since), usage.c.system == system, usage.c.connection.in_(self._sharers())
            )
            .group_by(usage.c.hour)
            .order_by(usage.c.hour)
        )
        return {datetime.fromisoformat(f"{row['hour']}:00Z"): int(row["calls"]) for row in self._rows(query)}

    def told_to_wait(self, side: Side, until: datetime) -> None:
        """The system of this side asked for time."""
        value = {"value": until.isoformat()}
        with self._writing() as db:
            upsert(db, memory, [{"connection": self.connection, "key": f"{WAIT} {side}", "value": value}])

    def waits_until(self) -> datetime | None:
        """Until when one of our two systems wants to be left alone, whichever connection of its account it told."""
        told = or_(
            *(and_(memory.c.key == f"{WAIT} {side}", memory.c.connection.in_(self._sharers(side))) for side in Side)
        )
        found = [
            datetime.fromisoformat(row["value"]["value"]) for row in self._rows(select(memory.c.value).where(told))
        ]
        return max(found, default=None)

    def _sharers(self, side: Side = Side.CRM) -> CompoundSelect[str]:
        """The connections pinned to our account of this side; before the first use only we ourselves."""
        account = connections.c.crm_account if side is Side.CRM else connections.c.platform_account
        ours = select(account).where(connections.c.connection == self.connection).scalar_subquery()
        return select(literal(self.connection)).union(select(connections.c.connection).where(account == ours))
