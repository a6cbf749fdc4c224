"""A conversation's messages are counted, and the last of them is found, in an index alone."""

from alembic import op

revision = "0007"
down_revision = "0006"

COLUMNS = ["connection", "parent", "kind", "order_key", "at", "private", "state"]


def upgrade() -> None:
    op.drop_index("facts_parent", "facts")
    op.create_index("facts_parent", "facts", COLUMNS)
