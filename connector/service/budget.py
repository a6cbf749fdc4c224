"""May we call the CRM at all? Its daily allowance is shared with the company's other programs. Pure."""

from dataclasses import dataclass

RESERVE = 0.05
"""Part of the whole allowance that is left to others, whatever our own share: Salesforce refuses everybody's calls once an
org has used it up ("API Request Limits and Allocations")."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Calls: `ours` of today, `used` by everybody as the CRM counts, out of `allowance` (None: the CRM does not tell).
    `share` is the part of the allowance that may be ours, between 0 and 1."""

    ours: int
    used: int | None
    allowance: int | None
    share: float


def over(budget: Budget) -> bool:
    """Whether our share is spent, or everybody's calls are about to be."""
    if budget.allowance is None:
        return False
    if budget.ours >= budget.allowance * budget.share:
        return True
    return budget.used is not None and budget.used >= budget.allowance * (1 - RESERVE)
