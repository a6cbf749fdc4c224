"""What many workers have to know of one another: when a stream was read, when a connection is due, what webhooks have named."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("cursors", sa.Column("read_at", WORD, nullable=True))
    op.create_table(
        "turns",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("due_at", WORD, nullable=False),
        sa.Column("resting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("connection"),
    )
    op.create_table(
        "hints",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("ref", WORD, nullable=False),
        sa.Column("named_at", WORD, nullable=False),
        sa.PrimaryKeyConstraint("connection", "ref"),
    )
