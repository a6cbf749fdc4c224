"""Counting the CRM calls of a run against the day's share, while it runs."""

from datetime import date

from connector.adapters.base import Adapter
from connector.app import Plug, now
from connector.errors import AllowanceSpent
from connector.service.budget import Budget, over
from connector.sync.engine import Progress


class Spending:
    """The calls of today: those the store has counted, and those of this adapter which it has not counted yet."""

    def __init__(self, plug: Plug, crm: Adapter) -> None:
        self._ledger = plug.ledger
        self._share = plug.config.crm_daily_share
        self._crm = crm
        self._begin(now().date())

    def _begin(self, day: date) -> None:
        self._day = day
        self._before = self._ledger.usage(day).get(self._crm.system, 0) - self._crm.usage().calls

    def check(self) -> None:
        """Raises AllowanceSpent when the connector's share, or everybody's allowance, is used up."""
        if (today := now().date()) != self._day:
            self._begin(today)
        usage = self._crm.usage()
        if over(Budget(self._before + usage.calls, usage.used, usage.allowance, self._share)):
            raise AllowanceSpent(
                self._crm.system,
                "share_spent",
                f"the connector's part ({self._share:.0%}) of the {usage.allowance} daily API calls is used up, "
                "or the whole allowance nearly is.",
                "It goes on by itself tomorrow; or raise crm_daily_share.",
            )

    def limited(self, progress: Progress) -> Progress:
        """A progress callback that stops the writing at the next safe point; what is journaled goes out later."""

        def report(what: str, count: int) -> None:
            progress(what, count)
            self.check()

        return report
