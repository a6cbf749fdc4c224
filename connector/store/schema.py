"""The tables, and how values are kept in them. The rules that must never break are constraints here, not only code.

References are kept as text (`system:object:id`), times as UTC text of fixed width (which sorts as time does, on every
database), structures as JSON.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.sql.elements import ColumnElement

Word = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared and sorted by code point on both databases."""

Json = JSON(none_as_null=True)

Id = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only where the type is called INTEGER (which holds 64 bits there)."""


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC text to the microsecond: `2026-01-02T03:04:05.000000Z`."""

    impl = Word
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Prose(TypeDecorator[str]):
    """Text that a person or a remote system wrote. What no database can hold (NUL, lone surrogates) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


metadata = MetaData()


def _index_where(
    name: str, where: ColumnElement[bool], columns: Sequence[ColumnElement[object]], *, unique: bool = False
) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


connections = Table(
    "connections",
    metadata,
    Column("connection", Word, primary_key=True),
    Column("platform_account", Word, nullable=False),
    Column("crm_account", Word, nullable=False),
    Column("mapping_digest", Word, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("connection", Word),
    Column("side", Word),
    Column("stream", Word),
    Column("watermark", Moment),
    Column("since", Moment),
    Column("resume", Prose),
    Column("read_at", Moment),
    PrimaryKeyConstraint("connection", "side", "stream"),
)

positions = Table(
    "positions",
    metadata,
    Column("connection", Word),
    Column("side", Word),
    Column("stream", Word),
    Column("key", Word),
    Column("value", Word, nullable=False),
    PrimaryKeyConstraint("connection", "side", "stream", "key"),
)

facts = Table(
    "facts",
    metadata,
    Column("connection", Word),
    Column("ref", Word),
    Column("side", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("object", Word, nullable=False),
    Column("parent", Word),
    Column("version", Word, nullable=False),
    Column("changed_at", Moment),
    Column("by", Prose),
    Column("ours", Boolean),
    Column("life", Word, nullable=False),
    Column("merged_into", Word),
    Column("token", Word),
    Column("edited", Boolean, nullable=False),
    Column("dirty", Boolean, nullable=False),
    Column("state", Word),
    Column("reason", Prose),
    Column("fields", Json, nullable=False),
    # Read out of the fields when a row is written, so that the database can sort and count by them.
    Column("order_key", Word, nullable=False),
    Column("at", Word),
    Column("direction", Word),
    Column("private", Boolean, nullable=False),
    Column("inbox", Prose),
    # How often people have settled something about the record.
    Column("settled", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("connection", "ref"),
)
_index_where("facts_dirty", facts.c.dirty.is_(True), (facts.c.connection, facts.c.order_key))
Index(
    "facts_parent",
    facts.c.connection,
    facts.c.parent,
    facts.c.kind,
    facts.c.order_key,
    # These are only counted: a message that comes must not have the whole conversation read, row by row.
    facts.c.at,
    facts.c.private,
    facts.c.state,
)
Index("facts_kind", facts.c.connection, facts.c.kind, facts.c.side, facts.c.state)

links = Table(
    "links",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("platform", Word, nullable=False),
    Column("crm", Word, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("why", Json, nullable=False),
    Column("ended", Prose),
    Column("made_at", Moment, nullable=False),
    Column("ended_at", Moment),
    UniqueConstraint("connection", "id", name="links_connection_id"),
    sqlite_autoincrement=True,
)
Index("links_platform", links.c.connection, links.c.platform)
Index("links_crm", links.c.connection, links.c.crm)
_index_where(
    "links_one_per_platform_ref",
    links.c.active.is_(True),
    (links.c.connection, links.c.kind, links.c.platform),
    unique=True,
)
# Several contacts of the platform may be one person of the CRM; every other record has exactly one counterpart.
_index_where(
    "links_one_per_crm_ref",
    links.c.active.is_(True) & (links.c.kind != "person"),
    (links.c.connection, links.c.kind, links.c.crm),
    unique=True,
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("connection", Word),
    Column("link", Id),
    Column("side", Word),
    Column("fields", Json, nullable=False),
    Column("unread", Json, nullable=False),
    PrimaryKeyConstraint("connection", "link", "side"),
    ForeignKeyConstraint(["connection", "link"], ["links.connection", "links.id"], name="snapshots_link"),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection", Word, nullable=False),
    Column("unique", Word, nullable=False),
    Column("op", Word, nullable=False),
    Column("side", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("lane", Word),
    Column("source", Word, nullable=False),
    Column("subject", Word, nullable=False),
    Column("target", Word),
    Column("body", Json, nullable=False),
    Column("state", Word, nullable=False),
    Column("token", Word, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("tried_at", Moment),
    Column("not_before", Moment),
    Column("error", Prose),
    Column("result", Word),
    Column("planned_at", Moment, nullable=False),
    Column("ended_at", Moment),
    UniqueConstraint("connection", "unique", name="intents_unique"),
    UniqueConstraint("connection", "token", name="intents_token"),
    UniqueConstraint("connection", "id", name="intents_connection_id"),
    CheckConstraint("state <> 'done' OR result IS NOT NULL", name="intents_done_has_result"),
    CheckConstraint("state <> 'sending' OR tried_at IS NOT NULL", name="intents_sending_has_time"),
    sqlite_autoincrement=True,
)
Index("intents_state", intents.c.connection, intents.c.state, intents.c.rank, intents.c.id)
_index_where("intents_lane", intents.c.lane.is_not(None), (intents.c.connection, intents.c.lane, intents.c.id))
Index("intents_source", intents.c.connection, intents.c.source)
Index("intents_subject", intents.c.connection, intents.c.subject)
_index_where("intents_target", intents.c.target.is_not(None), (intents.c.connection, intents.c.target))
_index_where("intents_result", intents.c.result.is_not(None), (intents.c.connection, intents.c.result))

holds = Table(
    "holds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection", Word, nullable=False),
    Column("type", Word, nullable=False),
    Column("subject", Word, nullable=False),
    Column("field", Word, nullable=False),
    Column("question", Prose, nullable=False),
    Column("details", Json, nullable=False),
    Column("intent", Id),
    Column("choice", Prose),
    Column("by", Prose),
    Column("why", Prose),
    Column("opened_at", Moment, nullable=False),
    Column("settled_at", Moment),
    ForeignKeyConstraint(["connection", "intent"], ["intents.connection", "intents.id"], name="holds_intent"),
    CheckConstraint("(choice IS NULL) = (settled_at IS NULL)", name="holds_settled_has_choice"),
    sqlite_autoincrement=True,
)
Index("holds_subject", holds.c.connection, holds.c.subject)
_index_where(
    "holds_one_open",
    holds.c.settled_at.is_(None),
    (holds.c.connection, holds.c.type, holds.c.subject, holds.c.field),
    unique=True,
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("platform", Word, nullable=False),
    Column("crm", Word),
    Column("source", Word, nullable=False),
    Column("field", Word, nullable=False),
    Column("outcome", Word, nullable=False),
    Column("rule", Word, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("value", Json),
    Column("lost", Json),
    Column("conflict", Boolean, nullable=False),
    Column("intent", Id),
    Column("decided_at", Moment, nullable=False),
    ForeignKeyConstraint(["connection", "intent"], ["intents.connection", "intents.id"], name="decisions_intent"),
    sqlite_autoincrement=True,
)
Index("decisions_platform", decisions.c.connection, decisions.c.platform)
Index("decisions_crm", decisions.c.connection, decisions.c.crm)
Index("decisions_source", decisions.c.connection, decisions.c.source)
_index_where("decisions_conflict", decisions.c.conflict.is_(True), (decisions.c.connection, decisions.c.id))

problems = Table(
    "problems",
    metadata,
    Column("connection", Word),
    Column("scope", Word),
    Column("code", Word),
    Column("message", Prose, nullable=False),
    Column("way_out", Prose, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    PrimaryKeyConstraint("connection", "scope", "code"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("connection", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("summary", Json),
    sqlite_autoincrement=True,
)
Index("runs_connection", runs.c.connection, runs.c.id)

usage = Table(
    "usage",
    metadata,
    Column("connection", Word),
    Column("hour", Word),
    Column("system", Word),
    Column("calls", Integer, nullable=False),
    PrimaryKeyConstraint("connection", "hour", "system"),
)

memory = Table(
    "memory",
    metadata,
    Column("connection", Word),
    Column("key", Word),
    Column("value", Json, nullable=False),
    PrimaryKeyConstraint("connection", "key"),
)

awaited = Table(
    "awaited",
    metadata,
    Column("connection", Word),
    Column("ref", Word),
    Column("since", Moment, nullable=False),
    Column("lost", Boolean, nullable=False),
    PrimaryKeyConstraint("connection", "ref"),
)
"""Messages that a read brought before a webhook named them: a row goes when the webhook comes, and is lost when it did not
come in time."""

turns = Table(
    "turns",
    metadata,
    Column("connection", Word, primary_key=True),
    Column("due_at", Moment, nullable=False),
    Column("resting", Boolean, nullable=False),
)
"""When a worker should look at a connection again, at the latest; `resting` after trouble: not before then either."""

hints = Table(
    "hints",
    metadata,
    Column("connection", Word),
    Column("ref", Word),
    Column("named_at", Moment, nullable=False),
    PrimaryKeyConstraint("connection", "ref"),
)
"""Records that webhooks have named and no worker has looked at yet."""

leases = Table(
    "leases",
    metadata,
    Column("connection", Word, primary_key=True),
    Column("holder", Word, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Moment, nullable=False),
)

vault = Table(
    "vault",
    metadata,
    Column("name", Word, primary_key=True),
    Column("salt", Word, nullable=False),
    Column("secret", Word, nullable=False),
    Column("stored_at", Moment, nullable=False),
)
