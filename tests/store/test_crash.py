"""The process is killed; the next one finds what was committed, and nothing else."""

import signal
import subprocess
import sys

import pytest

from connector.errors import StoreError
from connector.model import Cursor, IntentState, Side
from connector.store.database import connect, transaction
from connector.store.schema import intents
from connector.store.store import Store

PROGRAM = """
import os, signal, sys
from datetime import UTC, datetime
from connector.model import Action, Cursor, Fact, Kind, Op, Receipt, Ref, Side
from connector.store import store as module
from connector.store.entries import Entries, NewLink, Settlement

def die(*_, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

ledger = module.Store.open(sys.argv[1], clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)).at("main")
message = Ref("chatwoot", "message", "1")
fact = Fact(message, Side.PLATFORM, Kind.MESSAGE, {"text": "hello"}, "v1")
action = Action("key", Op.SEND, Side.PLATFORM, Kind.REPLY, "message", {"text": "hi"}, message, message, lane="1")
match sys.argv[2]:
    case "before ingest commits":
        ledger._place = die
        ledger.ingest(Side.PLATFORM, "messages", [fact], Cursor(resume="2"), {})
    case "before journal commits":
        ledger.record([fact])
        ledger._redo = die
        ledger.journal(Entries(intents=[action]))
    case "before settle":
        (intent,) = ledger.journal(Entries(intents=[action]))
        ledger.mark_sending([intent.id], datetime(2026, 1, 1, tzinfo=UTC))
        die()
    case "before settle commits":
        (intent,) = ledger.journal(Entries(intents=[action]))
        ledger.mark_sending([intent.id], datetime(2026, 1, 1, tzinfo=UTC))
        ledger._set_states = die
        link = NewLink(Kind.MESSAGE, message, Ref("salesforce", "Task", "00T1"))
        ledger.settle([Settlement(intent.id, Receipt(message), (link,))])
"""


@pytest.fixture
def after_a_crash(url, clock):
    """Kills a process at the named moment and opens the store again."""
    opened: list[Store] = []

    def run(moment: str):
        Store.open(url, clock=clock).close()
        done = subprocess.run([sys.executable, "-c", PROGRAM, url, moment], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        opened.append(Store.open(url, clock=clock))
        return opened[0].at("main")

    yield run
    for store in opened:
        store.close()


def test_killed_in_the_middle_of_a_page_neither_facts_nor_cursor_are_there(after_a_crash):
    ledger = after_a_crash("before ingest commits")
    assert ledger.cursor(Side.PLATFORM, "messages") == Cursor()
    assert ledger.count_dirty() == 0


def test_killed_in_the_middle_of_a_plan_nothing_of_it_is_there(after_a_crash):
    ledger = after_a_crash("before journal commits")
    assert ledger.count_dirty() == 1
    assert ledger.counts().intents == {}


@pytest.mark.parametrize("moment", ["before settle", "before settle commits"])
def test_killed_after_sending_the_reply_counts_as_perhaps_sent(after_a_crash, moment, make, clock):
    ledger = after_a_crash(moment)
    (intent,) = ledger.in_flight()
    assert (intent.state, intent.attempts, intent.action.fields) == (IntentState.SENDING, 1, {"text": "hi"})
    assert ledger.ready(clock(), 10) == []
    assert ledger.active_links() == 0


def test_the_database_itself_refuses_done_without_a_result(url, store, make, sending):
    sending(make.action("a"))
    engine = connect(url)

    def cheat() -> None:
        with transaction(engine, writes=True) as db:
            db.execute(intents.update().values(state="done"))

    with pytest.raises(StoreError, match="intents_done_has_result"):
        cheat()
    engine.dispose()
