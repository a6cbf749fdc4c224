"""Tells SQLite's planner which columns tell rows apart. PostgreSQL finds out by itself."""

from sqlalchemy import Connection

ROWS = 1_000_000
"""Of each table, as the planner is to think: its plans must hold for a store that has grown."""
COARSE = ("connection", "kind", "side")
"""Columns that have the same value in a large part of all rows."""
FEW = 20
"""Rows that have one value of another column: parents have some children, few intents are in a state that is looked for."""


def tell_sqlite(db: Connection) -> None:
    """Replaces the statistics by fixed ones ("sqlite_stat1", Database File Format), which it reads like those of ANALYZE.

    Without statistics SQLite takes every column for telling. The first of ours is the same in all rows, so that it would walk
    through a million intents by their ids rather than look for the three that are open. Gathered ones would be those of
    the day on which they were gathered: of an empty store.
    """
    db.exec_driver_sql("ANALYZE alembic_version")
    db.exec_driver_sql("DELETE FROM sqlite_stat1")
    indexes = db.exec_driver_sql(
        "SELECT tbl_name, name FROM sqlite_schema WHERE type = 'index' AND tbl_name <> 'alembic_version'"
    ).all()
    for table, index in indexes:
        columns = [row[2] for row in db.exec_driver_sql(f"PRAGMA index_info('{index}')")]
        stat = " ".join(map(str, (ROWS, *_alike(columns))))
        db.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", (table, index, stat))
    # Those who have the database open already read them anew.
    db.exec_driver_sql("ANALYZE sqlite_schema")


def _alike(columns: list[str]) -> list[int]:
    """For each of an index's columns: how many rows are alike in all columns up to it."""
    coarse = next((place for place, name in enumerate(columns) if name not in COARSE), len(columns))
    return [ROWS if place < coarse else FEW for place in range(len(columns))]
