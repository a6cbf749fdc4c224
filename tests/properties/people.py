"""What customers, agents, CRM users and admins do, and what they typed: the deeds of the state machine and of the simulation.

Every deed takes numbers and values that somebody else has drawn; a record is picked by a number among those that stand.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from memory_world import LATE, Worlds
from promises import same
from told import Told

from connector.errors import ConnectorError
from connector.mapping.lenses import is_blank
from connector.mapping.model import Blank, Rule
from connector.model import Hold, HoldType, Kind, Life, Ref, Side, Value
from connector.service import backfilling
from connector.service.settling import settle

EMAILS = ["ann@x.example", "bob@x.example"]
PHONES = ["+31612345678", "+31687654321"]
TEXTS = ["hello", "hello", " where is it? ", "*bold* 😀"]
LABELS = ["late", "new", "vip"]
STATUSES = ["open", "resolved"]
FIELDS: dict[str, tuple[str, list[Value], list[Value]]] = {
    "Email": ("email", [*EMAILS, None], [*EMAILS, "Bob@X.example", None]),
    "Phone": ("phone", [*PHONES, None], [*PHONES, "06 12345678", None]),
    "City": ("city", ["Delft", "Breda", None], ["Delft", "Breda", "", None]),
    "Company": ("company", ["Acme", "Acme Holding International", None], ["Acme", "Bolt", None]),
    "Language": ("language", ["nl", "en", None], ["nl", "en", " de ", None]),
}
"""CRM field: platform field, what people type on the platform, what people type in the CRM."""
AT_ONCE = timedelta(0)


def decide(worlds: Worlds, hold: Hold, choice: str, message: Ref | None = None) -> None:
    """A person settles a hold, as the command does. Raises ConnectorError."""
    config = SimpleNamespace(crm=SimpleNamespace(type="crm"))
    plug: Any = SimpleNamespace(ledger=worlds.ledger, mapping=worlds.mapping, config=config)
    settle(plug, hold.id, choice, "kim@shop.example", "asked the customer", message)


class People:
    def __init__(self, worlds: Worlds) -> None:
        self.worlds = worlds
        self.typed: dict[str, list[Value]] = defaultdict(list)
        """By CRM field, canonical; of sets each member."""
        self.edits: dict[tuple[int, str], list[tuple[Side, Value]]] = defaultdict(list)
        """What was typed into pairs that both sides agreed on, by link and CRM field."""
        self.agreed: set[tuple[int, Ref]] = set()
        self.told = Told()
        self._numbers = itertools.count(1)

    def some(self, side: Side, object_: str, n: int) -> Ref | None:
        refs = sorted(self.worlds.live(side, object_))
        return refs[n % len(refs)] if refs else None

    def _free(self, field: str, value: Value, ref: Ref | None) -> bool:
        """The platform refuses an e-mail address or phone number that another person has."""
        others = self.worlds.live(Side.PLATFORM, "person")
        return is_blank(value) or all(one.get(field) != value for other, one in others.items() if other != ref)

    def _note(self, ref: Ref, crm_field: str, value: Value) -> None:
        side = Side.PLATFORM if ref.system == "platform" else Side.CRM
        rule = next(one for one in self.worlds.mapping.persons.fields if one.crm == crm_field)
        canonical = rule.lens.get(value) if side is Side.CRM else value
        self.typed[crm_field] += canonical if isinstance(canonical, list) else [canonical]
        for link in self.worlds.links(Kind.PERSON):
            if (link.id, link.crm) in self.agreed and link.on(side) == ref:
                self.edits[link.id, crm_field].append((side, canonical))

    # ---- customers and agents, on the platform

    def new_customer_writes(
        self, name: str, email: str | None, phone: str | None, tags: list[str], text: str, late: timedelta
    ) -> None:
        number = next(self._numbers)
        fields = {
            "name": name,
            "email": email if self._free("email", email, None) else None,
            "phone": phone if self._free("phone", phone, None) else None,
            "tags": tags,
            "identity_keys": [f"instagram:{number}"],
        }
        person = self.worlds.platform.add("person", fields, late=late)
        for crm_field, field in {"Name": "name", "Email": "email", "Phone": "phone", "Labels": "tags"}.items():
            self._note(person, crm_field, fields[field])
        identity = {"network": "instagram", "user_id": str(number), "handle": f"@{name.lower()}{number}"}
        self.worlds.platform.add("identity", identity, id_=f"instagram:{number}", parent=person)
        self._conversation_begins(person, text)

    def _conversation_begins(self, person: Ref, text: str) -> None:
        conversation = self.worlds.platform.add(
            "conversation", {"network": "instagram", "status": "open", "tags": []}, parent=person
        )
        self._message(conversation, text, "inbound", False, AT_ONCE)

    def _message(self, conversation: Ref, text: str, direction: str, private: bool, late: timedelta) -> None:
        sent_at = self.worlds.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {"direction": direction, "text": text, "private": private, "sent_at": sent_at, "author": "Kim"}
        self.worlds.platform.add("message", fields, parent=conversation, late=late)

    def known_customer_opens_a_conversation(self, n: int, text: str) -> None:
        if person := self.some(Side.PLATFORM, "person", n):
            self._conversation_begins(person, text)

    def somebody_writes(self, n: int, text: str, direction: str, private: bool, late: timedelta) -> None:
        """A customer, or an agent in the platform's own app."""
        if conversation := self.some(Side.PLATFORM, "conversation", n):
            self._message(conversation, text, direction, private, late)

    def message_is_edited(self, n: int, text: str) -> None:
        message = self.some(Side.PLATFORM, "message", n)
        if message and not self.worlds.fields(message).get("deleted"):
            self.worlds.platform.person_edits(message, {"text": text})

    def message_is_deleted(self, n: int, vanishes: bool) -> None:
        if message := self.some(Side.PLATFORM, "message", n):
            if vanishes:
                self.worlds.platform.delete(message)
            else:
                self.worlds.platform.person_edits(message, {"deleted": True, "text": ""})

    def agent_sorts_a_conversation(self, n: int, status: str, tags: list[str]) -> None:
        if conversation := self.some(Side.PLATFORM, "conversation", n):
            self.worlds.platform.person_edits(conversation, {"status": status, "tags": tags})

    def agent_edits_a_person(self, n: int, field: str, m: int, late: timedelta) -> None:
        name, values, _ = FIELDS[field]
        value = values[m % len(values)]
        person = self.some(Side.PLATFORM, "person", n)
        if person and self._free(name, value, person):
            self._note(person, field, value)
            self.worlds.platform.person_edits(person, {name: value}, late=late)

    def agent_labels_a_person(self, n: int, tags: list[str]) -> None:
        if person := self.some(Side.PLATFORM, "person", n):
            self._note(person, "Labels", tags)
            self.worlds.platform.person_edits(person, {"tags": tags})

    def conversation_is_deleted(self, n: int) -> None:
        """With its messages, as platforms do it."""
        if conversation := self.some(Side.PLATFORM, "conversation", n):
            self._takes_along(conversation, "message")

    def person_is_deleted(self, n: int) -> None:
        """With her conversations. What the networks call her is no record of hers."""
        if person := self.some(Side.PLATFORM, "person", n):
            for conversation in self._below(person, "conversation"):
                self._takes_along(conversation, "message")
            self.worlds.platform.delete(person)

    def persons_are_merged(self, n: int, m: int) -> None:
        loser, winner = self.some(Side.PLATFORM, "person", n), self.some(Side.PLATFORM, "person", m)
        if loser and winner and loser != winner:
            keys = {key for one in (loser, winner) for key in self.worlds.fields(one)["identity_keys"]}
            self.worlds.platform.merge(loser, winner)
            self.worlds.platform.person_edits(winner, {"identity_keys": sorted(keys)})

    def _takes_along(self, ref: Ref, object_: str) -> None:
        for below in self._below(ref, object_):
            self.worlds.platform.delete(below)
        self.worlds.platform.delete(ref)

    def _below(self, ref: Ref, object_: str) -> list[Ref]:
        live = self.worlds.live(Side.PLATFORM, object_)
        return [one for one in sorted(live) if self.worlds.platform.records[one].latest.parent == ref]

    # ---- people in the CRM

    def contact_is_added(self, email: str | None, phone: str | None) -> None:
        contact = self.worlds.crm.add("Contact", {"Name": "Ann", "Email": email, "Phone": phone})
        for field, value in {"Name": "Ann", "Email": email, "Phone": phone}.items():
            self._note(contact, field, value)

    def contact_is_edited(self, n: int, field: str, m: int, late: timedelta) -> None:
        values = FIELDS[field][2]
        if contact := self.some(Side.CRM, "Contact", n):
            self._note(contact, field, values[m % len(values)])
            self.worlds.crm.person_edits(contact, {field: values[m % len(values)]}, late=late)

    def contact_is_labelled(self, n: int, tags: list[str]) -> None:
        if contact := self.some(Side.CRM, "Contact", n):
            self._note(contact, "Labels", ";".join(tags))
            self.worlds.crm.person_edits(contact, {"Labels": ";".join(tags)})

    def contact_is_rated(self, n: int, rating: str | None) -> None:
        if contact := self.some(Side.CRM, "Contact", n):
            self._note(contact, "Rating", rating)
            self.worlds.crm.person_edits(contact, {"Rating": rating})

    def thread_is_sorted(self, n: int, status: str, tags: list[str]) -> None:
        if thread := self.some(Side.CRM, "Thread", n):
            self.worlds.crm.person_edits(thread, {"Status": status, "Labels": ";".join(tags)})

    def reply_is_written(self, n: int, text: str, late: timedelta) -> None:
        if thread := self.some(Side.CRM, "Thread", n):
            self.worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"}, late=late)

    def reply_is_asked_for_again(self, n: int) -> None:
        """One that failed, that is doubtful, or that was sent: its author may not have looked."""
        reply = self.some(Side.CRM, "Outbound", n)
        if reply and self.worlds.fields(reply)["Status"] != "Queued":
            self.worlds.crm.person_edits(reply, {"Status": "Queued"})

    def contacts_are_merged(self, n: int, m: int) -> None:
        loser, winner = self.some(Side.CRM, "Contact", n), self.some(Side.CRM, "Contact", m)
        if loser and winner and loser != winner:
            self.worlds.crm.merge(loser, winner)

    def contact_is_deleted(self, n: int) -> None:
        if contact := self.some(Side.CRM, "Contact", n):
            self.worlds.crm.delete(contact)

    def record_is_deleted(self, n: int, object_: str) -> None:
        if record := self.some(Side.CRM, object_, n):
            self.worlds.crm.delete(record)

    # ---- people who look after the connector

    def hold_is_settled(self, n: int, m: int) -> None:
        ledger = self.worlds.ledger
        holds = ledger.open_holds()
        if not holds:
            return
        hold = holds[n % len(holds)]
        if hold.type is HoldType.IN_DOUBT:
            self._doubt_is_settled(hold, m)
            return
        answers = {
            HoldType.CONFLICT: ["platform", "crm", "keep"],
            HoldType.IDENTITY: ["create", "never", *(one["ref"] for one in hold.details.get("candidates", ()))],
            HoldType.REFUSED: ["retry", "drop"],
        }[hold.type]
        choice = answers[m % len(answers)]
        decide(self.worlds, hold, choice)
        if hold.type is HoldType.IDENTITY:
            self.told.identities[hold.subject] = choice
        if choice == "drop":
            self.told.given_up[hold.subject] = self.worlds.clock()

    def _doubt_is_settled(self, hold: Hold, m: int) -> None:
        """She looks at the network and says what is true, or gives the reply up. She names the message where others look like it,
        and sometimes where none does."""
        intent = self.worlds.ledger.intent(hold.intent or 0)
        message = self.worlds.became.get(intent.token)
        choice = "drop" if m % 3 == 0 else "sent" if message else "again"
        if choice == "drop":
            self.told.given_up[hold.subject] = self.worlds.clock()
        named = message if choice == "sent" and (m % 2 or self._looks_like_others(message)) else None
        # A message that the connector has not read yet cannot be named.
        with suppress(ConnectorError):
            decide(self.worlds, hold, choice, named)

    def _looks_like_others(self, message: Ref | None) -> bool:
        """Whether the conversation ever showed another message with its text, or this one with another text."""
        if message is None:
            return False
        own = self.worlds.platform.records[message]
        texts = {one.fields.get("text") for one in own.history}
        others = (one for one in self.worlds.platform.records.values() if one.latest.parent == own.latest.parent)
        alike = [one for one in others for version in one.history if version.fields.get("text") in texts]
        return len(texts) > 1 or own.latest.life is not Life.LIVE or any(one.ref != message for one in alike)

    def past_is_asked_for(self, days: int, oldest_first: bool) -> None:
        """Refused while something else is being brought in."""
        with suppress(ConnectorError):
            since = self.worlds.clock() - timedelta(days=days)
            if backfilling.ask(self.worlds.ledger, since, None, oldest_first=oldest_first):
                self.told.ask(since)

    def past_is_paused(self, paused: bool) -> None:
        if backfilling.pause(self.worlds.ledger, paused=paused):
            self.told.paused = paused

    def past_is_given_up(self) -> None:
        if backfilling.stop(self.worlds.ledger):
            self.told.asked = None

    # ---- what has to be true of what they typed

    def agreed_now(self) -> None:
        """Both sides are at rest: what is typed from here on is typed into pairs that agree."""
        self.edits.clear()
        self.agreed = {(link.id, link.crm) for link in self.worlds.links(Kind.PERSON) if link.active}

    def forgotten(self, told: Told) -> None:
        """The connector remembers an older time than we do, when it was told this."""
        self.edits.clear()
        self.agreed.clear()
        self.told = deepcopy(told)

    def lone_edits_stand(self) -> None:
        """A field that was edited on one side only shows on that side what was typed last, and so does the other side."""
        rules = {line.crm: line for line in self.worlds.mapping.persons.fields}
        links = [link for link in self.worlds.links(Kind.PERSON) if link.active]
        asked = {hold.subject for hold in self.worlds.ledger.open_holds()}
        for link in links:
            alone = sum(one.crm == link.crm for one in links) == 1
            if not alone or link.platform in asked or (link.id, link.crm) not in self.agreed:
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


N = range(10_000)
TAGS = [sorted(some) for size in range(len(LABELS) + 1) for some in itertools.combinations(LABELS, size)]
LATENESS = [AT_ONCE, AT_ONCE, LATE]
DEEDS: dict[str, dict[str, Sequence[Any]]] = {
    "new_customer_writes": {
        "name": ["Ann", "Bob"], "email": [*EMAILS, None, None], "phone": [*PHONES, None, None], "tags": TAGS,
        "text": TEXTS, "late": LATENESS,
    },
    "known_customer_opens_a_conversation": {"n": N, "text": TEXTS},
    "somebody_writes": {
        "n": N, "text": TEXTS, "direction": ["inbound", "outbound"], "private": [False, False, True], "late": LATENESS,
    },
    "message_is_edited": {"n": N, "text": TEXTS},
    "message_is_deleted": {"n": N, "vanishes": [False, True]},
    "agent_sorts_a_conversation": {"n": N, "status": STATUSES, "tags": TAGS},
    "agent_edits_a_person": {"n": N, "field": sorted(FIELDS), "m": N, "late": LATENESS},
    "agent_labels_a_person": {"n": N, "tags": TAGS},
    "conversation_is_deleted": {"n": N},
    "person_is_deleted": {"n": N},
    "persons_are_merged": {"n": N, "m": N},
    "contact_is_added": {"email": [*EMAILS, "ANN@x.example", None], "phone": [*PHONES, "0612345678", None]},
    "contact_is_edited": {"n": N, "field": sorted(FIELDS), "m": N, "late": LATENESS},
    "contact_is_labelled": {"n": N, "tags": TAGS},
    "contact_is_rated": {"n": N, "rating": ["gold", "blue", None]},
    "thread_is_sorted": {"n": N, "status": STATUSES, "tags": TAGS},
    "reply_is_written": {"n": N, "text": [*TEXTS, "", "  "], "late": LATENESS},
    "reply_is_asked_for_again": {"n": N},
    "contacts_are_merged": {"n": N, "m": N},
    "contact_is_deleted": {"n": N},
    "record_is_deleted": {"n": N, "object_": ["Task", "Task", "Thread", "Outbound", "Identity"]},
    "hold_is_settled": {"n": N, "m": N},
    "past_is_asked_for": {"days": [30, 60, 120], "oldest_first": [False, True]},
    "past_is_paused": {"paused": [False, True]},
    "past_is_given_up": {},
}  # fmt: skip
"""Every deed with what may be drawn for it."""
