"""A connection's rows copied into another store, for a run that is only rehearsed: what a plan may look at, and no more.

Left out is what settles nothing any more: decisions, runs, writes that are over, and messages that neither a plan has to look
at nor an open write belongs to.
"""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, select, union

from connector.model import Kind
from connector.store import rows
from connector.store.database import transaction
from connector.store.schema import (
    connections,
    cursors,
    facts,
    holds,
    intents,
    links,
    memory,
    positions,
    snapshots,
)

PIECE = 1000
"""Rows held at a time."""


def copy_connection(source: Engine, connection: str, target: Engine) -> None:
    """`target` is an empty store of the same schema. Raises StoreError."""
    open_ = (intents.c.connection == connection) & intents.c.state.in_(rows.OPEN)
    named = [
        select(facts.c.ref).where(facts.c.connection == connection, facts.c.dirty.is_(True)),
        select(intents.c.source).where(open_),
        select(intents.c.subject).where(open_),
        select(intents.c.target).where(open_, intents.c.target.is_not(None)),
    ]
    mine = links.c.connection == connection
    of_named = links.c.platform.in_(union(*named)) | links.c.crm.in_(union(*named))
    needed = select(links.c.id).where(mine, (links.c.kind != Kind.MESSAGE.value) | of_named)
    # A plan looks at the counterparts of what it looks at, and a write that lands settles the account of its message.
    beside = union(*named, select(links.c.platform).where(mine, of_named), select(links.c.crm).where(mine, of_named))
    wanted: list[tuple[Table, ColumnElement[bool] | None]] = [
        (connections, None),
        (cursors, None),
        (positions, None),
        (memory, None),
        (facts, (facts.c.kind != Kind.MESSAGE.value) | facts.c.ref.in_(beside)),
        (links, links.c.id.in_(needed)),
        (snapshots, snapshots.c.link.in_(needed)),
        (intents, open_),
        (holds, holds.c.intent.is_(None) | holds.c.intent.in_(select(intents.c.id).where(open_))),
    ]
    for table, where in wanted:
        query = select(table).where(table.c.connection == connection)
        _copy(source, target, table, query if where is None else query.where(where))


def _copy(source: Engine, target: Engine, table: Table, query: Any) -> None:
    with transaction(source, writes=False) as old, transaction(target, writes=True) as new:
        for piece in old.execute(query.execution_options(yield_per=PIECE)).mappings().partitions(PIECE):
            new.execute(table.insert(), [dict(row) for row in piece])
