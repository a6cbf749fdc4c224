"""What a tick asks SQLite for is found through columns that tell rows apart, never by walking through a connection's history."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from connector.model import Kind, Ref, Side
from connector.store.store import Ledger, Store

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REFS = [Ref("chatwoot", "message", str(number)) for number in range(3)]
SPARSE = {"facts_dirty", "decisions_conflict"}
"""Indexes that hold only the few rows that are looked for."""
HISTORY = ("facts", "links", "snapshots", "intents", "decisions")

CASES: dict[str, Callable[[Ledger], object]] = {
    "what is dirty": lambda ledger: ledger.dirty(list(Kind), 10, "2026"),
    "what is ready": lambda ledger: ledger.ready(NOW, 10, side=Side.CRM),
    "what waits": lambda ledger: ledger.next_due(),
    "what is in flight": lambda ledger: ledger.in_flight(),
    "what is being created": lambda ledger: ledger.being_created(Kind.PERSON),
    "waking what waits": lambda ledger: ledger.wake(),
    "facts by ref": lambda ledger: ledger.facts(REFS),
    "what is known": lambda ledger: ledger.known(REFS),
    "children": lambda ledger: ledger.children(REFS, Kind.MESSAGE),
    "counts of conversations": lambda ledger: ledger.stats(REFS),
    "links by ref": lambda ledger: ledger.links_of(REFS, active=True),
    "snapshots": lambda ledger: ledger.snapshots([1, 2]),
    "open intents by ref": lambda ledger: ledger.open_intents(REFS),
    "intents by marker": lambda ledger: ledger.by_token(["a", "b"]),
    "what was written lately": lambda ledger: ledger.written_since(REFS, NOW),
    "what was said lately": lambda ledger: ledger.sends_in(["a"], NOW),
    "holds by ref": lambda ledger: ledger.open_holds(REFS),
}


@pytest.mark.parametrize("ask", CASES.values(), ids=CASES)
def test_the_work_does_not_grow_with_the_history(ask: Callable[[Ledger], object], tmp_path: Path) -> None:
    told = planned(ask, tmp_path)
    assert told
    assert [line for line in told if walks(line)] == []


def test_the_messages_are_counted_by_state_out_of_an_index_alone(tmp_path: Path) -> None:
    (search,) = [line for line in planned(lambda ledger: ledger.states(), tmp_path) if "facts" in line]
    assert "COVERING INDEX facts_kind" in search


def test_a_conversation_is_counted_out_of_an_index_alone(tmp_path: Path) -> None:
    counting, last = [line for line in planned(CASES["counts of conversations"], tmp_path) if "facts" in line]
    assert "COVERING INDEX facts_parent" in counting
    assert "AND order_key=?" in last


def planned(ask: Callable[[Ledger], object], folder: Path) -> list[str]:
    """The steps by which SQLite answers."""
    store = Store.open(f"sqlite:///{folder}/connector.db", clock=lambda: NOW)
    ledger = store.at("main")
    told: list[str] = []

    @event.listens_for(store._engine, "after_cursor_execute")
    def explain(db, cursor, statement, parameters, context, executemany) -> None:
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
            plan = db.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            told.extend(row[3] for row in plan)

    ask(ledger)
    store.close()
    return told


def walks(line: str) -> bool:
    """Whether a step of a plan looks at all rows, or at all that one column (the connection) leaves."""
    found = re.match(r"(?:SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?INDEX (\w+) \((.*)\))?", line)
    if not found or found[1].removesuffix("_1") not in HISTORY:
        return False
    return found[2] not in SPARSE and " AND " not in (found[3] or "") and "INTEGER PRIMARY KEY" not in line


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("SCAN facts", True),
        ("SEARCH intents USING INDEX sqlite_autoindex_intents_1 (connection=?)", True),
        ("SEARCH intents USING INDEX intents_state (connection=? AND state=?)", False),
        ("SEARCH facts USING INDEX facts_dirty (connection=?)", False),
        ("SEARCH intents USING INTEGER PRIMARY KEY (rowid=?)", False),
    ],
)
def test_a_walk_is_told_from_a_search(line: str, answer: bool) -> None:
    assert walks(line) is answer
