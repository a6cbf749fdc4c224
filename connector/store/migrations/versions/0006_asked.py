"""How often a decision about a record was asked for, so that one is not taken for made that a plan knew nothing of."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("facts", sa.Column("asked", sa.Integer, nullable=False, server_default="0"))
