"""Calls are counted by the hour: an allowance of a rolling day cannot be kept with sums of calendar days.

What was counted before stands in the first hour of its day, so that it counts until that day is over, as it did.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE usage RENAME COLUMN day TO hour")
    op.execute("UPDATE usage SET hour = hour || 'T00'")
