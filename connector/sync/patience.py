"""How long until a write is tried again, and what a person is told meanwhile. Pure."""

from datetime import timedelta

from connector.errors import AllowanceSpent, RemoteError, SchemaDrift, Transient

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=15)
"""Exponential waits between two attempts of one intent, when the system names none itself."""
DRIFT_WAIT = timedelta(minutes=15)
"""Until a write is tried again that the schema did not take: a person has to change the CRM or the mapping first."""
ALLOWANCE_WAIT = timedelta(hours=1)
"""A daily allowance is a rolling window (Salesforce: 24 hours), so it comes back bit by bit."""
SPENT = "allowance"
"""The scope of the problem that the connector rests because its share of the daily calls, or all of them, is used up."""
BY_ITSELF = "Nothing is lost: it is tried again by itself."


def advice(error: RemoteError) -> str:
    """The way out that a problem of a running connection shows."""
    return error.way_out or (BY_ITSELF if isinstance(error, Transient) else "")


def pause(error: RemoteError, attempts: int) -> timedelta:
    """Until the next attempt after `attempts` failed ones."""
    if isinstance(error, SchemaDrift):
        return DRIFT_WAIT
    if isinstance(error, AllowanceSpent):
        return ALLOWANCE_WAIT
    doubled: int = 2 ** min(attempts, 10)
    wait = min(LONGEST_WAIT, FIRST_WAIT * doubled)
    return max(wait, timedelta(seconds=error.retry_after or 0))
