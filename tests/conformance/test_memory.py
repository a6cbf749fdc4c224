"""The reference adapter keeps the contract, as a platform and as a CRM."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from suite import Conformance
from suite_world import Names, World, unique

from connector.adapters.base import FieldInfo, Lookup, User
from connector.adapters.memory import PLATFORM_OBJECTS, Fault, MemoryAdapter, MemorySystem, memory_object
from connector.model import Kind, Ref, Side, stamp

CRM_OBJECTS = {
    "Contact": memory_object(
        "Contact",
        Kind.PERSON,
        ["LastName", "Email", "Phone", FieldInfo("Key__c", "text", unique=True, external_id=True)],
    ),
    "Task": memory_object("Task", Kind.MESSAGE, ["WhoId", "Description"], parent="WhoId"),
}
METHODS = {"read": ("pull", "fetch", "find"), "write": ("upsert",), "send": ("send",)}


class MemoryWorld(World):
    secret = "correct-horse"

    def __init__(self, objects: dict[str, Any], side: Side, names: Names) -> None:
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)
        self.system = MemorySystem("memory", lambda: self.now, objects)
        self.system.people.append(User("u1", "sam@shop.example", "Sam"))
        self.system.commits_late_by = timedelta(seconds=20)
        overlap = timedelta(minutes=5)
        self.adapter = MemoryAdapter(
            self.system,
            side,
            page_size=3,
            overlap=overlap,
            lag=timedelta(seconds=20),
            marks_sends=side is Side.PLATFORM,
        )
        self.stranger = MemoryAdapter(self.system, side, password="guessed")
        self.names = names
        self.child = "message" if side is Side.PLATFORM else "Task"

    def tick(self) -> None:
        self.now += timedelta(minutes=1)

    def add_person(self, name: str, **fields: Any) -> Ref:
        return self.system.add(self.names.object, {self.names.name: name} | fields)

    def edit_person(self, ref: Ref, **fields: Any) -> None:
        self.system.person_edits(ref, fields)

    def delete_person(self, ref: Ref) -> None:
        self.system.delete(ref)

    def merge_persons(self, loser: Ref, winner: Ref) -> None:
        self.system.merge(loser, winner)

    def add_child(self, person: Ref, text: str) -> Ref:
        if self.child == "message":
            return self.system.add("message", {"text": text}, parent=person)
        return self.system.add("Task", {"WhoId": person.id, "Description": text})

    def say(self, sent_at: datetime, *, among: Ref | None = None) -> Ref:
        if self.adapter.side is Side.CRM:
            return super().say(sent_at, among=among)
        thread = self.system.records[among].latest.parent if among else self.conversation()
        return self.system.add("message", {"text": "Hello", "sent_at": stamp(sent_at)}, parent=thread)

    def twins(self) -> tuple[Lookup, set[Ref]]:
        name = unique("Twin")
        return Lookup(self.names.object, self.names.name, name), {self.add_person(name), self.add_person(name)}

    def commit_late(self, name: str) -> Callable[[], Ref]:
        ref = self.system.add(self.names.object, {self.names.name: name}, late=timedelta(minutes=4))

        def commit() -> Ref:
            self.now += timedelta(minutes=4)
            return ref

        return commit

    @contextmanager
    def failing(self, fault: str, call: str) -> Iterator[None]:
        kind = Fault.GARBLED if fault == "html" else Fault(fault)
        for method in METHODS[call]:
            self.system.fail(method, *[kind] * 50)
        yield
        for method in METHODS[call]:
            while self.system.next_fault(method):
                pass

    def conversation(self) -> Ref:
        return self.system.add("conversation", {"status": "open"}, parent=self.add_person(unique("Customer")))

    def received(self, conversation: Ref) -> list[str]:
        return [d.text for d in self.system.network_receives if d.conversation == conversation]

    def webhook(self) -> tuple[dict[str, str], bytes, Ref]:
        ref = self.add_person(unique("Hinted"))
        return *self.system.webhook(ref, "person_changed"), ref


class TestMemoryAsPlatform(Conformance):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld(
            dict(PLATFORM_OBJECTS), Side.PLATFORM, Names("person", "name", "email", "phone", "identifier")
        )


class TestMemoryAsCrm(Conformance):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld(CRM_OBJECTS, Side.CRM, Names("Contact", "LastName", "Email", "Phone", "Key__c"))
