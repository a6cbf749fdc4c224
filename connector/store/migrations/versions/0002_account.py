"""The account by inbox, and the webhooks that are waited for."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PAGE = 1000


def upgrade() -> None:
    op.add_column("facts", sa.Column("inbox", sa.Text(), nullable=True))
    op.create_table(
        "awaited",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("ref", WORD, nullable=False),
        sa.Column("since", WORD, nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "ref"),
    )
    _fill_inboxes(op.get_bind())


def _fill_inboxes(db: sa.Connection) -> None:
    """Out of the fields by hand: PostgreSQL itself cannot read JSON in which a text holds a NUL or half a character."""
    facts = sa.table(
        "facts",
        *(sa.column(name, sa.Text()) for name in ("connection", "ref", "kind", "inbox")),
        sa.column("fields", sa.JSON()),
    )
    key = sa.tuple_(facts.c.connection, facts.c.ref)
    after = ("", "")
    while True:
        query = (
            sa.select(facts.c.connection, facts.c.ref, sa.cast(facts.c.fields, sa.Text()).label("fields"))
            .where(facts.c.kind == "conversation", key > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
            .order_by(facts.c.connection, facts.c.ref)
            .limit(PAGE)
        )
        page = db.execute(query).all()
        if not page:
            return
        named = [(row.connection, row.ref, json.loads(row.fields).get("inbox")) for row in page]
        change = (
            sa.update(facts)
            .where(facts.c.connection == sa.bindparam("of"), facts.c.ref == sa.bindparam("at"))
            .values(inbox=sa.bindparam("name"))
        )
        rows = [
            {"of": of, "at": at, "name": _storable(name)} for of, at, name in named if isinstance(name, str) and name
        ]
        if rows:
            db.execute(change, rows)
        after = (page[-1].connection, page[-1].ref)


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
