"""May we call the CRM at all? Its daily allowance is shared with the company's other programs. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

DAY, HOUR = timedelta(hours=24), timedelta(hours=1)
"""The allowance is one of a rolling day (Salesforce: "API Request Limits and Allocations"), our calls are counted by the hour. An
hour counts until the last call in it is a day old, so never too little."""
LOOK_AGAIN = timedelta(minutes=15)
"""How long the CRM's own count is believed while we call nobody. A day then costs 96 calls at most to learn that others still
use it up."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How far one kind of work may go: `share` of our own part, `everybody` of the whole allowance; both 0 to 1."""

    share: float
    everybody: float


LIVE = Ceiling(1.0, 0.95)
"""A twentieth is left to others, whatever our own share: Salesforce refuses everybody's calls once an org has used its
allowance up ("API Request Limits and Allocations")."""
BACKFILL = Ceiling(0.5, 0.8)
"""Half of our share is kept for live traffic. Two actors: a backfill begins in the morning and is through its part within the
hour; customers write until the evening. An idle day costs 1,440 calls (a read a minute), a busy one a call per thousand
messages more, so half of any share that can carry live traffic at all carries it for the whole day. The fifth of everybody's
is the margin that an administrator expects of work nobody waits for."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Calls of the last 24 hours: `ours` by all connections of the account; `used` by everybody as the CRM counts (None: it did
    not tell lately), out of `allowance` (None: it has told none, so nothing limits us). `share` is the part of the allowance that
    may be ours, between 0 and 1. `hours` are our calls by the hour in which they were made; what it lacks of `ours` was made
    just now."""

    ours: int
    used: int | None
    allowance: int | None
    share: float
    hours: tuple[tuple[datetime, int], ...] = ()

    @property
    def limit(self) -> int | None:
        """Our part of the allowance in calls."""
        return None if self.allowance is None else int(self.allowance * self.share)

    @property
    def others(self) -> int | None:
        """Calls of the company's other programs, to the hour."""
        return None if self.used is None else max(0, self.used - self.ours)

    def left(self, ceiling: Ceiling) -> int | None:
        """Calls that this kind of work may still make."""
        if self.allowance is None:
            return None
        left = self.allowance * self.share * ceiling.share - self.ours
        if self.used is not None:
            left = min(left, self.allowance * ceiling.everybody - self.used)
        return max(0, int(left))

    def ours_is_spent(self, ceiling: Ceiling) -> bool:
        """Whether our own part is used up; otherwise, when nothing is left, others have used up theirs and ours."""
        return self.allowance is not None and self.allowance * self.share * ceiling.share - self.ours < 1

    def freed(self, ceiling: Ceiling, now: datetime) -> datetime:
        """When so many of our calls are a day old that one more may be made. `now` is the time of the question."""
        ours = self.ours
        for hour, calls in self.hours:
            ours -= calls
            if not replace(self, ours=ours).ours_is_spent(ceiling):
                return hour + HOUR + DAY
        return now + DAY


def budget_data(budget: Budget) -> dict[str, int | None]:
    """The figures as `plan`, `status` and the metrics show them; None where the CRM does not tell."""
    return {
        "allowance": budget.allowance,
        "others": budget.others,
        "ours": budget.ours,
        "share": budget.limit,
        "left": budget.left(LIVE),
    }


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing new is begun, and when (UTC) it goes on: at the latest then it is looked at again."""

    code: str
    why: str
    until: datetime


def pause(budget: Budget, ceiling: Ceiling, now: datetime) -> Pause | None:
    """None while there is something left. `now` is the time of the question."""
    if budget.left(ceiling) != 0:
        return None
    if budget.ours_is_spent(ceiling):
        part = int((budget.allowance or 0) * budget.share * ceiling.share)
        why = f"{budget.ours} calls were made in the last 24 hours, and {part} of the {budget.allowance} daily API calls may be"
        return Pause("share_spent", why, budget.freed(ceiling, now))
    why = (
        f"all programs together have made {budget.used} of the {budget.allowance} daily API calls, and "
        f"the last {1 - ceiling.everybody:.0%} are left to others"
    )
    return Pause("allowance_spent", why, now + LOOK_AGAIN)
