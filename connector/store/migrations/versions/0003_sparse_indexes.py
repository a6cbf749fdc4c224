"""Indexes leave out the intents that have no target, no lane or no result: nobody looks for these by what they lack."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = {"lane": ["connection", "lane", "id"], "target": ["connection", "target"], "result": ["connection", "result"]}


def upgrade() -> None:
    for name, columns in COLUMNS.items():
        there = sa.text(f"{name} IS NOT NULL")
        op.drop_index(f"intents_{name}", "intents")
        op.create_index(f"intents_{name}", "intents", columns, sqlite_where=there, postgresql_where=there)
