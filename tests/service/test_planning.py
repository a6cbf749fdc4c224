"""A plan beside writes that are journaled and not done: what a spent allowance, Ctrl-C or a crash leaves behind."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.adapters.base import FieldInfo, Page, Window
from connector.adapters.memory import PLATFORM_OBJECTS, MemoryAdapter, MemorySystem, memory_object
from connector.adapters.memory_system import Fault
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import HoldType, IntentState, Kind, Side
from connector.service.planning import preview
from connector.store.entries import NewHold
from connector.store.store import Store
from connector.sync.engine import Engine

MAPPING = load_mapping(Path(__file__).parents[1] / "properties" / "mapping.yaml")
KEY = FieldInfo("Key", "text", unique=True, external_id=True)
PERSON = ["Name", "Email", "Phone", "City", "Company", "Language", "Labels", "Rating", KEY]
OBJECTS = {
    "Contact": memory_object("Contact", Kind.PERSON, PERSON),
    "Identity": memory_object("Identity", Kind.IDENTITY, ["Contact", "Handle", KEY], parent="Contact"),
    "Thread": memory_object("Thread", Kind.CONVERSATION, ["Contact", "Status", "Labels", "Count", KEY], "Contact"),
    "Task": memory_object("Task", Kind.MESSAGE, ["Subject", "Description", "Contact", "Thread", "State", KEY]),
    "Outbound": memory_object("Outbound", Kind.REPLY, ["Thread", "Body", "Status", "Error", "Message"], "Thread"),
}


class Office:
    """A store between two systems; one customer who has written once, which is synced."""

    def __init__(self, store: Store, clock) -> None:
        self.store, self.clock, self.ledger = store, clock, store.at("main")
        self.chat = MemorySystem("platform", clock, dict(PLATFORM_OBJECTS))
        self.org = MemorySystem("crm", clock, OBJECTS)
        person = self.chat.add("person", {"name": "Ann"})
        self.thread = self.chat.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
        self.message = self.says("hello")
        self.engine().sync()

    def engine(self, kind: type[MemoryAdapter] = MemoryAdapter) -> Engine:
        adapters = kind(self.chat, Side.PLATFORM), kind(self.org, Side.CRM)
        mapping = compile_mapping(MAPPING, Context(connection="main"))
        return Engine("main", self.ledger, *adapters, mapping, clock=self.clock, sleep=self.clock.sleep)

    def says(self, text: str):
        self.clock.sleep(60)
        sent = self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {"direction": "inbound", "type": "text", "author": "Ann", "text": text, "private": False}
        return self.chat.add("message", fields | {"sent_at": sent, "deleted": False}, parent=self.thread)

    def tasks(self) -> list[str]:
        return [one.latest.fields["Description"] for ref, one in self.org.records.items() if ref.object == "Task"]

    def journaled(self):
        """What is planned is journaled, and the process ends there."""
        engine = self.engine()
        engine.observe([(side, stream.name) for side, stream in engine.streams()])
        return [one for _, entries in engine.batches() for one in self.ledger.journal(entries)]

    def plan(self):
        return preview(self.engine(), self.store, self.clock())


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def office():
    clock = Clock()
    store = Store.open("sqlite://", clock=clock)
    yield Office(store, clock)
    store.close()


def ready(office, ids):
    assert {office.ledger.intent(id_).state for id_ in ids} == {IntentState.READY}


def sending(office, ids):
    office.ledger.mark_sending(ids, office.clock())


def doubtful(office, ids):
    sending(office, ids)
    office.ledger.doubt(ids, None, "no answer")


def held(office, ids):
    for id_ in ids:
        intent = office.ledger.intent(id_)
        office.ledger.hold_intent(id_, "refused", NewHold(HoldType.REFUSED, intent.action.subject, "What now?", {}))


@pytest.mark.parametrize("become", [ready, sending, doubtful, held])
def test_a_plan_is_made_beside_new_messages_whose_writes_are_open(office, become):
    office.says("one"), office.says("two")
    new = office.journaled()
    assert [one.action.kind for one in new].count(Kind.MESSAGE) == 2
    become(office, [one.id for one in new])
    found = office.plan()
    assert not [one for one in found.writes if one.kind is Kind.MESSAGE], "they are journaled already"
    assert found.forecast[Side.CRM] > 0
    assert office.tasks() == ["hello"]


def test_a_plan_is_made_beside_the_open_write_of_a_message_that_was_edited(office):
    office.chat.person_edits(office.message, {"text": "hello there"})
    new = office.journaled()
    assert [one.action.kind for one in new] == [Kind.MESSAGE]
    assert office.plan().forecast[Side.CRM] > 0
    assert office.tasks() == ["hello"]


def test_a_plan_is_made_while_the_crm_takes_no_writes(office):
    office.says("one")
    office.org.fail("upsert", *[Fault.UNREACHABLE] * 99)
    assert office.engine().sync().failed
    assert office.tasks() == ["hello"]
    assert office.plan().forecast[Side.CRM] > 0
    office.org._faults.clear()
    office.engine().sync()
    assert office.tasks() == ["hello", "one"]


def test_a_plan_shows_what_a_record_of_the_crm_holds_before_it_is_linked_for_the_first_time(office):
    office.org.add("Contact", {"Name": "Bea", "Email": "bea@x.example", "Company": "Old Ltd"})
    person = office.chat.add("person", {"name": "Bea", "email": "bea@x.example", "company": "New Ltd"})
    office.thread = office.chat.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
    office.says("hello")
    (write,) = [one for one in office.plan().writes if one.kind is Kind.PERSON]
    changes = {one.field: (one.before, one.after) for one in write.changes}
    assert changes["Company"] == ("Old Ltd", "New Ltd")


def test_a_plan_shows_every_reply_that_is_held_back_with_its_words(office):
    (thread,) = [ref for ref in office.org.records if ref.object == "Thread"]
    for n in range(5):
        office.org.add("Outbound", {"Thread": thread.id, "Body": f"answer {n}", "Status": "Queued"})
    office.clock.sleep(2 * 24 * 3600)
    (refusal,) = office.plan().refusals
    assert refusal.code == "old_replies"
    assert [one.rpartition(": ")[2] for one in refusal.examples] == [f"answer {n}" for n in range(5)]


class Slicing(MemoryAdapter):
    """A thorough read takes twenty calls more than one that looks at a slice."""

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        self.calls += 20 if window.thorough else 0
        return super().pull(stream, window)


def test_the_forecast_knows_that_only_the_first_read_of_a_sync_is_thorough(office):
    office.says("one"), office.says("two")
    foreseen = preview(office.engine(Slicing), office.store, office.clock()).forecast
    office.clock.sleep(60)
    made = office.engine(Slicing).sync().calls
    assert min(made.values()) > 20
    assert all(abs(foreseen[side] - made[side.value]) <= 1 for side in Side), (foreseen, made)
