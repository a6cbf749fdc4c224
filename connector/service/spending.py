"""What the CRM's daily calls allow now: one budget for all connections and processes of a CRM account, kept in the store."""

from dataclasses import replace
from datetime import datetime, timedelta

from connector.app import Joined, Plug, now
from connector.errors import SoftStop
from connector.service.budget import BACKFILL, DAY, LIVE, LOOK_AGAIN, Budget, Ceiling, Pause, pause
from connector.sync.engine import Progress
from connector.sync.patience import SPENT

REREAD = timedelta(minutes=1)
"""How long a sum from the store is good for while a run goes on: what other processes of the account spend in between is less
than the reserves of `Ceiling`."""


class Spending:
    """Of one process at work on a connection. Begin every turn with `begin`."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined

    def begin(self) -> None:
        """Counts what was called since the last time, and reads what everybody of the account has used by now. Where only the
        CRM's own count is in the way and that is old, the CRM is asked for a new one. Raises RemoteError."""
        self._reread()
        if self._is_old and self._pause(self._known) and not self._known.ours_is_spent(LIVE):
            self._joined.crm.allowance()
            self._reread()

    def _reread(self) -> None:
        self._joined.count()
        self._read_at = now()
        self._known, self._is_old = budget_of(self._joined.plug, self._read_at)
        self._calls = self._joined.crm_usage().calls

    @property
    def budget(self) -> Budget:
        """As of now: what `begin` read, and what this process called since."""
        usage = self._joined.crm_usage()
        if usage.calls == self._calls:
            return self._known
        used, allowance = usage.used, usage.allowance
        return replace(
            self._known,
            ours=self._known.ours + usage.calls - self._calls,
            used=self._known.used if used is None else used,
            allowance=self._known.allowance if allowance is None else allowance,
        )

    def check(self) -> None:
        """Raises SoftStop when the connector's share, or everybody's allowance, is used up."""
        if found := self._pause(self.budget):
            raise spent(self._joined.crm.system, found)

    def admit(self) -> None:
        """`begin` and `check` for work that the connector owes; `status` tells why it rests until it is admitted again."""
        ledger = self._joined.plug.ledger
        self.begin()
        try:
            self.check()
        except SoftStop as error:
            ledger.problem(SPENT, error.code, error.message, error.way_out)
            raise
        ledger.solved(SPENT)

    def _pause(self, budget: Budget, ceiling: Ceiling = LIVE) -> Pause | None:
        return pause(budget, ceiling, now())

    def backfill(self) -> Pause | None:
        """Why nothing of the past may be read now; None while it may."""
        return self._pause(self.budget, BACKFILL)

    def limited(self, progress: Progress) -> Progress:
        """A progress callback that stops the writing at the next safe point; what is journaled goes out later."""

        def report(what: str, count: int) -> None:
            progress(what, count)
            if now() - self._read_at >= REREAD:
                self.begin()
            self.check()

        return report


def started(joined: Joined) -> Progress:
    """For a command that only reads: the progress callback that stops it between two pages. Raises SoftStop where nothing may be
    read at all."""
    spending = Spending(joined)
    spending.begin()
    spending.check()
    return spending.limited(lambda _what, _count: None)


def budget_of(plug: Plug, at: datetime) -> tuple[Budget, bool]:
    """The budget as the store knows it, without asking anybody, and whether the CRM's own count in it is old."""
    told = plug.ledger.allowance()
    hours = plug.ledger.account_calls(at - DAY, plug.config.crm.type)
    ours, share, told_hours = sum(hours.values()), plug.config.crm_daily_share, tuple(hours.items())
    if told is None:
        return Budget(ours, None, None, share, told_hours), False
    return Budget(ours, told.used, told.allowance, share, told_hours), at - told.at >= LOOK_AGAIN


def spent(system: str, found: Pause) -> SoftStop:
    """What `status` shows while nothing new is begun."""
    raise_it = "Raise crm_daily_share, or wait" if found.code == "share_spent" else "Wait"
    way_out = f"{raise_it} until {found.until:%Y-%m-%d %H:%M} UTC; a running connector goes on by itself."
    return SoftStop(system, found.code, f"{found.why}.", way_out)
