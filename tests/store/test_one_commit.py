"""One call, one commit: whoever is killed leaves either all of it behind or nothing."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event

from connector.model import Cursor, HoldType, Intent, Kind, Side, State
from connector.store.entries import Entries, NewHold, NewLink
from connector.store.store import Ledger, Store


@pytest.fixture
def commits(store: Store) -> Iterator[list[object]]:
    """The commits of writing transactions, as they happen."""
    seen: list[object] = []

    def committed(connection) -> None:
        if connection.get_execution_options().get("writes", True):
            seen.append(connection)

    event.listen(store._engine, "commit", committed)
    yield seen
    event.remove(store._engine, "commit", committed)


def ingest(ledger: Ledger, make, intents: list[Intent]) -> None:
    ledger.ingest(Side.PLATFORM, "messages", [make.message(7)], Cursor(resume="2"), {"place": "7"})


def journal(ledger: Ledger, make, intents: list[Intent]) -> None:
    subject = make.platform(Kind.MESSAGE, "a")
    hold = NewHold(HoldType.CONFLICT, subject, "Which?", {}, "City")
    entries = Entries(
        intents=[make.action("new")],
        links=[make.link(1, "b")],
        states={subject: (State.HELD, "asked")},
        holds=[hold],
        clean={subject: ("v1", 0)},
        redo=[subject],
    )
    ledger.journal(entries)


def settle(ledger: Ledger, make, intents: list[Intent]) -> None:
    (intent,) = intents
    subject = intent.action.subject
    link = NewLink(Kind.MESSAGE, subject, make.crm("1"), ("key",), (make.shown(Side.CRM, Subject="x"),))
    states = {subject: (State.SYNCED, "written")}
    ledger.settle([make.settlement(intent, "1", links=(link,), states=states, facts=(make.message("a"),))])


def hold(ledger: Ledger, make, intents: list[Intent]) -> None:
    (intent,) = intents
    subject = intent.action.subject
    asked = NewHold(HoldType.REFUSED, subject, "Why?", {})
    ledger.hold_intent(intent.id, "refused", asked, {subject: (State.HELD, "refused")})


@pytest.mark.parametrize("step", [ingest, journal, settle, hold])
def test_a_step_is_one_transaction(
    step: Callable[..., None], ledger: Ledger, make, sending: Callable[..., list[Intent]], commits: list[object]
) -> None:
    ledger.record([make.message("a")])
    intents = sending(make.action("a"))
    commits.clear()
    step(ledger, make, intents)
    assert len(commits) == 1
