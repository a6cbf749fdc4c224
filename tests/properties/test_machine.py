"""Customers, agents and CRM users at work in any order, with lost calls, kills and late commits in between: the promises
hold once it is quiet. The real engine, outbox and SQLite store, over two systems in memory."""

import itertools
from collections import defaultdict
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from memory_world import LATE, Clock, Worlds
from promises import check, every_written_value_was_typed, same

from connector.adapters.memory import Fault
from connector.mapping.lenses import is_blank
from connector.mapping.model import Blank, Rule
from connector.model import HoldType, Kind, Ref, Side, Value
from connector.service.settling import settle
from connector.store.store import Store

RUNS = itertools.count()
EMAILS = ["ann@x.example", "bob@x.example"]
PHONES = ["+31612345678", "+31687654321"]
TEXTS = ["hello", "hello", " where is it? ", "*bold* 😀"]
LABELS = ["late", "new", "vip"]
FIELDS: dict[str, tuple[str, list[Value], list[Value]]] = {
    "Email": ("email", [*EMAILS, None], [*EMAILS, "Bob@X.example", None]),
    "Phone": ("phone", [*PHONES, None], [*PHONES, "06 12345678", None]),
    "City": ("city", ["Delft", "Breda", None], ["Delft", "Breda", "", None]),
    "Company": ("company", ["Acme", "Acme Holding International", None], ["Acme", "Bolt", None]),
    "Language": ("language", ["nl", "en", None], ["nl", "en", " de ", None]),
}
"""CRM field: platform field, what people type on the platform, what people type in the CRM."""
READS = ["pull", "fetch", "find"]
WRITES = ["upsert", "upsert", "send"]
labels = st.lists(st.sampled_from(LABELS), unique=True).map(sorted)
late = st.sampled_from([timedelta(0), timedelta(0), LATE])
pick = st.integers(0, 10_000)


class TwoSides(RuleBasedStateMachine):
    store: Store
    clock: Clock

    @initialize(reads_back=st.booleans(), marks_sends=st.sampled_from([True, True, False]), late_writes=st.booleans())
    def begin(self, reads_back: bool, marks_sends: bool, late_writes: bool) -> None:
        self.worlds = Worlds(
            self.store,
            f"run{next(RUNS)}",
            self.clock,
            reads_back=reads_back,
            marks_sends=marks_sends,
            late_writes=late_writes,
        )
        self.typed: dict[str, list[Value]] = defaultdict(list)
        self.edits: dict[tuple[int, str], list[tuple[Side, Value]]] = defaultdict(list)
        self.settled_links: set[tuple[int, Ref]] = set()
        self.numbers = itertools.count(1)
        self.new_customer_writes("Ann", EMAILS[0], None, [], TEXTS[0], timedelta(0))
        self.worlds.engine.sync()

    # ---- who is there

    def some(self, side: Side, object_: str, n: int) -> Ref | None:
        refs = sorted(self.worlds.live(side, object_))
        return refs[n % len(refs)] if refs else None

    def free(self, field: str, value: Value, ref: Ref | None) -> bool:
        """The platform refuses an e-mail address or phone number that another person has."""
        others = self.worlds.live(Side.PLATFORM, "person")
        return is_blank(value) or all(one.get(field) != value for other, one in others.items() if other != ref)

    def note(self, ref: Ref, crm_field: str, value: Value) -> None:
        """Remember what was typed, and what was typed into pairs that both sides agreed on."""
        side = Side.PLATFORM if ref.system == "platform" else Side.CRM
        rule = next(one for one in self.worlds.mapping.persons.fields if one.crm == crm_field)
        canonical = rule.lens.get(value) if side is Side.CRM else value
        self.typed[crm_field] += canonical if isinstance(canonical, list) else [canonical]
        for link in self.worlds.links(Kind.PERSON):
            if (link.id, link.crm) in self.settled_links and link.on(side) == ref:
                self.edits[link.id, crm_field].append((side, canonical))

    # ---- customers and agents, on the platform

    @rule(
        name=st.sampled_from(["Ann", "Bob"]),
        email=st.sampled_from([*EMAILS, None, None]),
        phone=st.sampled_from([*PHONES, None, None]),
        tags=labels,
        text=st.sampled_from(TEXTS),
        late=late,
    )
    def new_customer_writes(
        self, name: str, email: str | None, phone: str | None, tags: list[str], text: str, late: timedelta
    ) -> None:
        number = next(self.numbers)
        fields = {
            "name": name,
            "email": email if self.free("email", email, None) else None,
            "phone": phone if self.free("phone", phone, None) else None,
            "tags": tags,
            "identity_keys": [f"instagram:{number}"],
        }
        person = self.worlds.platform.add("person", fields, late=late)
        for crm_field, field in {"Name": "name", "Email": "email", "Phone": "phone", "Labels": "tags"}.items():
            self.note(person, crm_field, fields[field])
        identity = {"network": "instagram", "user_id": str(number), "handle": f"@{name.lower()}{number}"}
        self.worlds.platform.add("identity", identity, id_=f"instagram:{number}", parent=person)
        self.conversation_begins(person, text)

    def conversation_begins(self, person: Ref, text: str) -> None:
        conversation = self.worlds.platform.add(
            "conversation", {"network": "instagram", "status": "open", "tags": []}, parent=person
        )
        self.message(conversation, text, "inbound", False)

    def message(
        self, conversation: Ref, text: str, direction: str, private: bool, late: timedelta = timedelta(0)
    ) -> None:
        sent_at = self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {"direction": direction, "text": text, "private": private, "sent_at": sent_at, "author": "Kim"}
        self.worlds.platform.add("message", fields, parent=conversation, late=late)

    @rule(n=pick, text=st.sampled_from(TEXTS))
    def known_customer_opens_a_conversation(self, n: int, text: str) -> None:
        if person := self.some(Side.PLATFORM, "person", n):
            self.conversation_begins(person, text)

    @rule(
        n=pick,
        text=st.sampled_from(TEXTS),
        direction=st.sampled_from(["inbound", "outbound"]),
        private=st.sampled_from([False, False, True]),
        late=late,
    )
    def somebody_writes(self, n: int, text: str, direction: str, private: bool, late: timedelta) -> None:
        if conversation := self.some(Side.PLATFORM, "conversation", n):
            self.message(conversation, text, direction, private, late)

    @rule(n=pick, text=st.sampled_from(TEXTS))
    def message_is_edited(self, n: int, text: str) -> None:
        message = self.some(Side.PLATFORM, "message", n)
        if message and not self.worlds.fields(message).get("deleted"):
            self.worlds.platform.person_edits(message, {"text": text})

    @rule(n=pick, vanishes=st.booleans())
    def message_is_deleted(self, n: int, vanishes: bool) -> None:
        if message := self.some(Side.PLATFORM, "message", n):
            if vanishes:
                self.worlds.platform.delete(message)
            else:
                self.worlds.platform.person_edits(message, {"deleted": True, "text": ""})

    @rule(n=pick, status=st.sampled_from(["open", "resolved"]), tags=labels)
    def agent_sorts_a_conversation(self, n: int, status: str, tags: list[str]) -> None:
        if conversation := self.some(Side.PLATFORM, "conversation", n):
            self.worlds.platform.person_edits(conversation, {"status": status, "tags": tags})

    @rule(n=pick, field=st.sampled_from(sorted(FIELDS)), m=pick, late=late)
    def agent_edits_a_person(self, n: int, field: str, m: int, late: timedelta) -> None:
        name, values, _ = FIELDS[field]
        value = values[m % len(values)]
        person = self.some(Side.PLATFORM, "person", n)
        if person and self.free(name, value, person):
            self.note(person, field, value)
            self.worlds.platform.person_edits(person, {name: value}, late=late)

    @rule(n=pick, tags=labels)
    def agent_labels_a_person(self, n: int, tags: list[str]) -> None:
        if person := self.some(Side.PLATFORM, "person", n):
            self.note(person, "Labels", tags)
            self.worlds.platform.person_edits(person, {"tags": tags})

    # ---- people in the CRM

    @rule(email=st.sampled_from([*EMAILS, "ANN@x.example", None]), phone=st.sampled_from([*PHONES, "0612345678", None]))
    def contact_is_added(self, email: str | None, phone: str | None) -> None:
        contact = self.worlds.crm.add("Contact", {"Name": "Ann", "Email": email, "Phone": phone})
        for field, value in {"Name": "Ann", "Email": email, "Phone": phone}.items():
            self.note(contact, field, value)

    @rule(n=pick, field=st.sampled_from(sorted(FIELDS)), m=pick, late=late)
    def contact_is_edited(self, n: int, field: str, m: int, late: timedelta) -> None:
        values = FIELDS[field][2]
        if contact := self.some(Side.CRM, "Contact", n):
            self.note(contact, field, values[m % len(values)])
            self.worlds.crm.person_edits(contact, {field: values[m % len(values)]}, late=late)

    @rule(n=pick, tags=labels)
    def contact_is_labelled(self, n: int, tags: list[str]) -> None:
        if contact := self.some(Side.CRM, "Contact", n):
            self.note(contact, "Labels", ";".join(tags))
            self.worlds.crm.person_edits(contact, {"Labels": ";".join(tags)})

    @rule(n=pick, rating=st.sampled_from(["gold", "blue", None]))
    def contact_is_rated(self, n: int, rating: str | None) -> None:
        if contact := self.some(Side.CRM, "Contact", n):
            self.note(contact, "Rating", rating)
            self.worlds.crm.person_edits(contact, {"Rating": rating})

    @rule(n=pick, status=st.sampled_from(["open", "resolved"]), tags=labels)
    def thread_is_sorted(self, n: int, status: str, tags: list[str]) -> None:
        if thread := self.some(Side.CRM, "Thread", n):
            self.worlds.crm.person_edits(thread, {"Status": status, "Labels": ";".join(tags)})

    @rule(n=pick, text=st.sampled_from([*TEXTS, "", "  "]), late=late)
    def reply_is_written(self, n: int, text: str, late: timedelta) -> None:
        if thread := self.some(Side.CRM, "Thread", n):
            self.worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"}, late=late)

    @rule(n=pick, m=pick)
    def contacts_are_merged(self, n: int, m: int) -> None:
        loser, winner = self.some(Side.CRM, "Contact", n), self.some(Side.CRM, "Contact", m)
        if loser and winner and loser != winner:
            self.worlds.crm.merge(loser, winner)

    @rule(n=pick)
    def contact_is_deleted(self, n: int) -> None:
        if contact := self.some(Side.CRM, "Contact", n):
            self.worlds.crm.delete(contact)

    @rule(n=pick, object_=st.sampled_from(["Task", "Task", "Thread", "Outbound", "Identity"]))
    def record_is_deleted(self, n: int, object_: str) -> None:
        if record := self.some(Side.CRM, object_, n):
            self.worlds.crm.delete(record)

    @rule(n=pick, m=pick)
    def hold_is_settled(self, n: int, m: int) -> None:
        """One of the people who look after the connector answers a question."""
        ledger = self.worlds.ledger
        holds = ledger.open_holds()
        if not holds:
            return
        hold = holds[n % len(holds)]
        answers = {
            HoldType.CONFLICT: ["platform", "crm", "keep"],
            HoldType.IDENTITY: ["create", "never", *(one["ref"] for one in hold.details.get("candidates", ()))],
            HoldType.REFUSED: ["retry", "drop"],
            HoldType.IN_DOUBT: ["drop"],
        }[hold.type]
        plug: Any = SimpleNamespace(
            ledger=ledger, mapping=self.worlds.mapping, config=SimpleNamespace(crm=SimpleNamespace(type="crm"))
        )
        settle(plug, hold.id, answers[m % len(answers)], "kim@shop.example", "asked the customer")

    # ---- the connector and its bad days

    @rule(
        side=st.sampled_from(list(Side)),
        method=st.sampled_from(READS + WRITES),
        faults=st.lists(st.sampled_from([None, *Fault]), min_size=1, max_size=3),
    )
    def calls_will_fail(self, side: Side, method: str, faults: list[Fault | None]) -> None:
        self.worlds.system(side).fail(method, *faults)

    @rule(_=st.sampled_from([0]))
    def connector_syncs_again(self, _: int) -> None:
        self.worlds.engine.sync()

    @rule()
    def connector_syncs(self) -> None:
        self.worlds.engine.sync()

    @rule(at=st.integers(1, 40))
    def connector_is_killed(self, at: int) -> None:
        self.worlds.sync_killed(at)

    @rule(minutes=st.sampled_from([0.1, 2, 90]))
    def time_passes(self, minutes: float) -> None:
        self.clock.sleep(60 * minutes)

    @precondition(lambda self: bool(self.worlds.platform.records))
    @rule()
    def everything_comes_to_rest(self) -> None:
        self.worlds.quiet()
        check(self.worlds)
        every_written_value_was_typed(self.worlds, self.typed)
        self.lone_edits_stand()
        self.edits.clear()
        self.settled_links = {(link.id, link.crm) for link in self.worlds.links(Kind.PERSON) if link.active}

    def lone_edits_stand(self) -> None:
        """A field that was edited on one side only shows on that side what was typed last, and so does the other side."""
        rules = {line.crm: line for line in self.worlds.mapping.persons.fields}
        links = [link for link in self.worlds.links(Kind.PERSON) if link.active]
        asked = {hold.subject for hold in self.worlds.ledger.open_holds()}
        for link in links:
            alone = sum(one.crm == link.crm for one in links) == 1
            if not alone or link.platform in asked or (link.id, link.crm) not in self.settled_links:
                continue
            for field, line in rules.items():
                made = self.edits.get((link.id, field), [])
                if len({side for side, _ in made}) != 1 or line.rule is Rule.UNION:
                    continue
                side, value = made[-1]
                here = self.worlds.fields(link.on(side)).get(field if side is Side.CRM else line.platform)
                here = line.lens.get(here) if side is Side.CRM else here
                if line.blank is Blank.IGNORE and is_blank(value):
                    continue
                assert same(line, value, here), f"{field} of {link.on(side)}: {value!r} was typed, it shows {here!r}"

    def teardown(self) -> None:
        if hasattr(self, "worlds"):
            self.everything_comes_to_rest()


def test_promises_hold_whatever_people_and_networks_do(store: Store, clock: Clock, budget: settings) -> None:
    run_state_machine_as_test(type("Run", (TwoSides,), {"store": store, "clock": clock}), settings=budget)
