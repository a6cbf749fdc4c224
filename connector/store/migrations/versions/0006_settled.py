"""How often people have settled something about a record, so that a plan which knew nothing of it does not count as its answer."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("facts", sa.Column("settled", sa.Integer, nullable=False, server_default="0"))
