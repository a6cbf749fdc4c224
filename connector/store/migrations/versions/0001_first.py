"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("platform_account", WORD, nullable=False),
        sa.Column("crm_account", WORD, nullable=False),
        sa.Column("mapping_digest", WORD, nullable=False),
        sa.PrimaryKeyConstraint("connection"),
    )
    op.create_table(
        "cursors",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("side", WORD, nullable=False),
        sa.Column("stream", WORD, nullable=False),
        sa.Column("watermark", WORD, nullable=True),
        sa.Column("since", WORD, nullable=True),
        sa.Column("resume", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "side", "stream"),
    )
    op.create_table(
        "facts",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("ref", WORD, nullable=False),
        sa.Column("side", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("object", WORD, nullable=False),
        sa.Column("parent", WORD, nullable=True),
        sa.Column("version", WORD, nullable=False),
        sa.Column("changed_at", WORD, nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("ours", sa.Boolean(), nullable=True),
        sa.Column("life", WORD, nullable=False),
        sa.Column("merged_into", WORD, nullable=True),
        sa.Column("token", WORD, nullable=True),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("dirty", sa.Boolean(), nullable=False),
        sa.Column("state", WORD, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("order_key", WORD, nullable=False),
        sa.Column("at", WORD, nullable=True),
        sa.Column("direction", WORD, nullable=True),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "ref"),
    )
    op.create_index(
        "facts_dirty",
        "facts",
        ["connection", "order_key"],
        unique=False,
        sqlite_where=sa.text("dirty IS 1"),
        postgresql_where=sa.text("dirty IS true"),
    )
    op.create_index("facts_kind", "facts", ["connection", "kind", "side", "state"], unique=False)
    op.create_index("facts_parent", "facts", ["connection", "parent", "kind"], unique=False)
    op.create_table(
        "intents",
        sa.Column("id", ID, nullable=False),
        sa.Column("connection", WORD, nullable=False),
        sa.Column("unique", WORD, nullable=False),
        sa.Column("op", WORD, nullable=False),
        sa.Column("side", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("lane", WORD, nullable=True),
        sa.Column("source", WORD, nullable=False),
        sa.Column("subject", WORD, nullable=False),
        sa.Column("target", WORD, nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("token", WORD, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tried_at", WORD, nullable=True),
        sa.Column("not_before", WORD, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", WORD, nullable=True),
        sa.Column("planned_at", WORD, nullable=False),
        sa.Column("ended_at", WORD, nullable=True),
        sa.CheckConstraint("state <> 'done' OR result IS NOT NULL", name="intents_done_has_result"),
        sa.CheckConstraint("state <> 'sending' OR tried_at IS NOT NULL", name="intents_sending_has_time"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("connection", "id", name="intents_connection_id"),
        sa.UniqueConstraint("connection", "token", name="intents_token"),
        sa.UniqueConstraint("connection", "unique", name="intents_unique"),
        sqlite_autoincrement=True,
    )
    op.create_index("intents_lane", "intents", ["connection", "lane", "id"], unique=False)
    op.create_index("intents_result", "intents", ["connection", "result"], unique=False)
    op.create_index("intents_source", "intents", ["connection", "source"], unique=False)
    op.create_index("intents_state", "intents", ["connection", "state", "rank", "id"], unique=False)
    op.create_index("intents_subject", "intents", ["connection", "subject"], unique=False)
    op.create_index("intents_target", "intents", ["connection", "target"], unique=False)
    op.create_table(
        "leases",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("holder", WORD, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("expires_at", WORD, nullable=False),
        sa.PrimaryKeyConstraint("connection"),
    )
    op.create_table(
        "links",
        sa.Column("id", ID, nullable=False),
        sa.Column("connection", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("platform", WORD, nullable=False),
        sa.Column("crm", WORD, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("why", sa.JSON(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("made_at", WORD, nullable=False),
        sa.Column("ended_at", WORD, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("connection", "id", name="links_connection_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("links_crm", "links", ["connection", "crm"], unique=False)
    op.create_index(
        "links_one_per_crm_ref",
        "links",
        ["connection", "kind", "crm"],
        unique=True,
        sqlite_where=sa.text("active IS 1 AND kind != 'person'"),
        postgresql_where=sa.text("active IS true AND kind != 'person'"),
    )
    op.create_index(
        "links_one_per_platform_ref",
        "links",
        ["connection", "kind", "platform"],
        unique=True,
        sqlite_where=sa.text("active IS 1"),
        postgresql_where=sa.text("active IS true"),
    )
    op.create_index("links_platform", "links", ["connection", "platform"], unique=False)
    op.create_table(
        "memory",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("key", WORD, nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "key"),
    )
    op.create_table(
        "positions",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("side", WORD, nullable=False),
        sa.Column("stream", WORD, nullable=False),
        sa.Column("key", WORD, nullable=False),
        sa.Column("value", WORD, nullable=False),
        sa.PrimaryKeyConstraint("connection", "side", "stream", "key"),
    )
    op.create_table(
        "problems",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("scope", WORD, nullable=False),
        sa.Column("code", WORD, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("way_out", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_seen", WORD, nullable=False),
        sa.Column("last_seen", WORD, nullable=False),
        sa.PrimaryKeyConstraint("connection", "scope", "code"),
    )
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("connection", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("started_at", WORD, nullable=False),
        sa.Column("ended_at", WORD, nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_connection", "runs", ["connection", "id"], unique=False)
    op.create_table(
        "usage",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("day", WORD, nullable=False),
        sa.Column("system", WORD, nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "day", "system"),
    )
    op.create_table(
        "vault",
        sa.Column("name", WORD, nullable=False),
        sa.Column("salt", WORD, nullable=False),
        sa.Column("secret", WORD, nullable=False),
        sa.Column("stored_at", WORD, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", ID, nullable=False),
        sa.Column("connection", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("platform", WORD, nullable=False),
        sa.Column("crm", WORD, nullable=True),
        sa.Column("source", WORD, nullable=False),
        sa.Column("field", WORD, nullable=False),
        sa.Column("outcome", WORD, nullable=False),
        sa.Column("rule", WORD, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.Column("lost", sa.JSON(), nullable=True),
        sa.Column("conflict", sa.Boolean(), nullable=False),
        sa.Column("intent", ID, nullable=True),
        sa.Column("decided_at", WORD, nullable=False),
        sa.ForeignKeyConstraint(
            ["connection", "intent"], ["intents.connection", "intents.id"], name="decisions_intent"
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "decisions_conflict",
        "decisions",
        ["connection", "id"],
        unique=False,
        sqlite_where=sa.text("conflict IS 1"),
        postgresql_where=sa.text("conflict IS true"),
    )
    op.create_index("decisions_crm", "decisions", ["connection", "crm"], unique=False)
    op.create_index("decisions_platform", "decisions", ["connection", "platform"], unique=False)
    op.create_index("decisions_source", "decisions", ["connection", "source"], unique=False)
    op.create_table(
        "holds",
        sa.Column("id", ID, nullable=False),
        sa.Column("connection", WORD, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.Column("subject", WORD, nullable=False),
        sa.Column("field", WORD, nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("intent", ID, nullable=True),
        sa.Column("choice", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("opened_at", WORD, nullable=False),
        sa.Column("settled_at", WORD, nullable=True),
        sa.CheckConstraint("(choice IS NULL) = (settled_at IS NULL)", name="holds_settled_has_choice"),
        sa.ForeignKeyConstraint(["connection", "intent"], ["intents.connection", "intents.id"], name="holds_intent"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "holds_one_open",
        "holds",
        ["connection", "type", "subject", "field"],
        unique=True,
        sqlite_where=sa.text("settled_at IS NULL"),
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index("holds_subject", "holds", ["connection", "subject"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("connection", WORD, nullable=False),
        sa.Column("link", ID, nullable=False),
        sa.Column("side", WORD, nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("unread", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["connection", "link"], ["links.connection", "links.id"], name="snapshots_link"),
        sa.PrimaryKeyConstraint("connection", "link", "side"),
    )
