"""A connection's rows copied into another store, for a run that is only rehearsed: what a plan may look at, and no more.

Left out is what settles nothing any more: decisions, runs, writes that are over, and messages that no plan has to look at.
"""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, or_, select

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
    dirty = select(facts.c.ref).where(facts.c.connection == connection, facts.c.dirty.is_(True))
    needed = select(links.c.id).where(
        links.c.connection == connection,
        or_(links.c.kind != Kind.MESSAGE.value, links.c.platform.in_(dirty), links.c.crm.in_(dirty)),
    )
    open_ = intents.c.state.in_(rows.OPEN)
    wanted: list[tuple[Table, ColumnElement[bool] | None]] = [
        (connections, None),
        (cursors, None),
        (positions, None),
        (memory, None),
        (facts, or_(facts.c.dirty.is_(True), facts.c.kind != Kind.MESSAGE.value)),
        (links, links.c.id.in_(needed)),
        (snapshots, snapshots.c.link.in_(needed)),
        (intents, open_),
        (holds, or_(holds.c.intent.is_(None), holds.c.intent.in_(select(intents.c.id).where(open_)))),
    ]
    for table, where in wanted:
        query = select(table).where(table.c.connection == connection)
        _copy(source, target, table, query if where is None else query.where(where))


def _copy(source: Engine, target: Engine, table: Table, query: Any) -> None:
    with transaction(source, writes=False) as old, transaction(target, writes=True) as new:
        for piece in old.execute(query.execution_options(yield_per=PIECE)).mappings().partitions(PIECE):
            new.execute(table.insert(), [dict(row) for row in piece])
