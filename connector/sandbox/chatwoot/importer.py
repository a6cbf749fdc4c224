"""Bulk import of history with its own times: POST /__control/import. All or nothing, silent (no webhooks, no delivery).

Everything is named by keys of the caller's choice; the answer maps them to ids. Inboxes are matched by name, agents by
e-mail, teams and labels by name and contacts by network identity, so that an import can add to an earlier one.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.http import Refusal
from connector.sandbox.chatwoot.talk import attach
from connector.sandbox.chatwoot.world import World

FIELDS: dict[str, set[str]] = {
    "inboxes": {"key", "name", "channel_type", "inbox_identifier", "lock_to_single_conversation", "members", "extra"},
    "agents": {"key", "name", "email", "role"},
    "teams": {"key", "name", "description", "members"},
    "labels": {"key", "title", "description", "color", "show_on_sidebar"},
    "definitions": {"key", "attribute_key", "attribute_display_name", "attribute_display_type", "attribute_model",
                    "attribute_description", "attribute_values"},
    "contacts": {"key", "name", "email", "phone_number", "identifier", "blocked", "labels", "created_at",
                 "additional_attributes", "custom_attributes", "identities"},
    "conversations": {"key", "inbox", "contact", "source_id", "status", "priority", "assignee", "team", "labels",
                      "custom_attributes", "additional_attributes", "created_at", "updated_at", "snoozed_until",
                      "messages"},
}  # fmt: skip
NEEDED = {
    "inboxes": ("name", "channel_type"),
    "agents": ("name", "email"),
    "teams": ("name",),
    "labels": ("title",),
    "definitions": ("attribute_key", "attribute_model"),
}
MESSAGE_FIELDS = {"key", "type", "text", "at", "sender", "private", "source_id", "attachments", "content_attributes",
                  "content_type", "status", "in_reply_to"}  # fmt: skip


def moment(given: Any) -> float:
    """Unix seconds from a number or an ISO-8601 text with offset. Raises ValueError."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    parsed = datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        raise ValueError(f"{given}: a time needs an offset, e.g. 2026-03-01T09:30:00Z")
    return parsed.astimezone(UTC).timestamp()


class Import:
    """One import: `check` finds every problem before `write` touches anything."""

    def __init__(self, world: World, given: r.Json) -> None:
        self.world, self.given = world, given
        self.ids: dict[str, dict[str, int]] = {name: {} for name in [*FIELDS, "messages"]}
        self.errors: list[str] = []
        self.known_sources = {(world.inboxes.rows[m.inbox_id].name, m.source_id) for m in world.messages if m.source_id}

    def run(self) -> dict[str, dict[str, int]]:
        """The ids by section and key. Raises Refusal (422) that lists every problem."""
        self.check()
        if self.errors:
            raise Refusal(422, {"error": f"{len(self.errors)} problems; nothing was imported", "errors": self.errors})
        self.write()
        return self.ids

    # Checking -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        for name in set(self.given) - set(FIELDS):
            self.errors.append(f"{name}: unknown section")
        for name in FIELDS:
            items = self.given.get(name, [])
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                self.errors.append(f"{name}: not a list of objects")
        if self.errors:
            return
        keys = {section: self._keys(section) for section in FIELDS}
        keys["inboxes"] |= {box.name for box in self.world.inboxes}
        keys["agents"] |= {agent.email for agent in self.world.agents}
        keys["teams"] |= {team.name for team in self.world.teams}
        for section, names in NEEDED.items():
            for where, item in self._items(section):
                self._need(where, item, *names)
                for member in item.get("members") or []:
                    self._refers(where, member, keys["agents"], "member")
        for where, item in self._items("contacts"):
            for identity in item.get("identities", []):
                self._refers(where, identity.get("inbox"), keys["inboxes"], "inbox")
                self._need(where, identity, "source_id")
            self._time(where, item, "created_at")
        for where, item in self._items("conversations"):
            self._refers(where, item.get("inbox"), keys["inboxes"], "inbox")
            self._refers(where, item.get("contact"), keys["contacts"], "contact")
            self._check_conversation(where, item, keys)

    def _check_conversation(self, where: str, item: r.Json, keys: dict[str, set[str]]) -> None:
        for name, section in (("assignee", "agents"), ("team", "teams")):
            if item.get(name) is not None:
                self._refers(where, item[name], keys[section], name)
        if item.get("status", "open") not in r.STATUSES:
            self.errors.append(f"{where}: status {item['status']} is none of {', '.join(r.STATUSES)}")
        if item.get("priority") not in (None, *r.PRIORITIES):
            self.errors.append(f"{where}: priority {item['priority']} is none of {', '.join(r.PRIORITIES)}")
        for name in ("created_at", "updated_at", "snoozed_until"):
            self._time(where, item, name)
        inbox = self._inbox_name(item.get("inbox"))
        for position, message in enumerate(item.get("messages", [])):
            at = f"{where}.messages[{position}]"
            self._unknown(at, message, MESSAGE_FIELDS)
            self._need(at, message, "at", "type")
            self._time(at, message, "at")
            if (inbox, message.get("source_id")) in self.known_sources:
                self.errors.append(f"{at}: source_id {message['source_id']} is already in inbox {inbox}")
            if message.get("type") not in r.MESSAGE_TYPES:
                self.errors.append(f"{at}: type {message.get('type')} is none of {', '.join(r.MESSAGE_TYPES)}")
            if message.get("status", "sent") not in r.DELIVERY:
                self.errors.append(f"{at}: status {message['status']} is none of {', '.join(r.DELIVERY)}")
            if message.get("sender") is not None:
                section = "contacts" if message.get("type") == "incoming" else "agents"
                self._refers(at, message["sender"], keys[section], "sender")

    def _inbox_name(self, key: Any) -> Any:
        return next((box.get("name") for box in self.given.get("inboxes", []) if box.get("key") == key), key)

    def _items(self, section: str) -> list[tuple[str, r.Json]]:
        return [(f"{section}[{n}]", item) for n, item in enumerate(self.given.get(section, []))]

    def _keys(self, section: str) -> set[str]:
        keys: set[str] = set()
        for where, item in self._items(section):
            self._unknown(where, item, FIELDS[section])
            if item.get("key") is None or item["key"] in keys:
                self.errors.append(f"{where}: key {item.get('key')!r} is missing or used twice")
            keys.add(item.get("key", ""))
        return keys

    def _unknown(self, where: str, item: r.Json, known: set[str]) -> None:
        for name in sorted(set(item) - known):
            self.errors.append(f"{where}: unknown field {name}")

    def _need(self, where: str, item: r.Json, *names: str) -> None:
        for name in names:
            if item.get(name) in (None, ""):
                self.errors.append(f"{where}: {name} is missing")

    def _refers(self, where: str, key: Any, known: set[str], name: str) -> None:
        if key not in known:
            self.errors.append(f"{where}: {name} {key!r} is not known")

    def _time(self, where: str, item: r.Json, name: str) -> None:
        if item.get(name) is not None:
            try:
                moment(item[name])
            except ValueError as error:
                self.errors.append(f"{where}: {name}: {error}")

    # Writing ------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        self._write_fixtures()
        for item in self.given.get("contacts", []):
            self._write_contact(item)
        pending: list[tuple[float, r.Conversation, r.Json]] = []
        for item in self.given.get("conversations", []):
            conversation = self._write_conversation(item)
            pending += [(moment(m["at"]), conversation, m) for m in item.get("messages", [])]
        # Ids rise with time across all conversations, as they would have if the messages had come in one by one.
        for at, conversation, message in sorted(pending, key=lambda entry: entry[0]):
            self._write_message(at, conversation, message)

    def _write_fixtures(self) -> None:
        world = self.world
        for item in self.given.get("agents", []):
            fields = _without(item, "key")
            agent = next((a for a in world.agents if a.email == fields["email"]), None)
            agent = agent or world.agents.new(**{"role": "agent", **fields}, token=secrets.token_hex(12))
            self.ids["agents"][item["key"]] = agent.id
        for item in self.given.get("inboxes", []):
            self.ids["inboxes"][item["key"]] = self._inbox(item).id
        for item in self.given.get("teams", []):
            team = next((t for t in world.teams if t.name == item["name"]), None)
            members = [self._agent(key) for key in item.get("members", [])]
            team = team or world.teams.new(**_without(item, "key", "members"), member_ids=members)
            self.ids["teams"][item["key"]] = team.id
        for item in self.given.get("labels", []):
            label = next((row for row in world.labels if row.title == item["title"]), None)
            self.ids["labels"][item["key"]] = (label or world.labels.new(**_without(item, "key"))).id
        for item in self.given.get("definitions", []):
            fields = {"attribute_display_name": item["attribute_key"], "attribute_display_type": "text", **item}
            row = next((d for d in world.definitions if (d.attribute_key, d.attribute_model)
                        == (item["attribute_key"], item["attribute_model"])), None)  # fmt: skip
            self.ids["definitions"][item["key"]] = (row or world.definitions.new(**_without(fields, "key"))).id

    def _inbox(self, item: r.Json) -> r.Inbox:
        found = next((box for box in self.world.inboxes if box.name == item["name"]), None)
        if found:
            return found
        members = item.get("members")
        fields = _without(item, "key", "members")
        if item["channel_type"] == "Channel::Api":
            fields.setdefault("inbox_identifier", secrets.token_urlsafe(18))
        box = self.world.inboxes.new(channel_id=0, member_ids=members and [self._agent(k) for k in members], **fields)
        box.channel_id = 100 + box.id
        return box

    def _agent(self, key: str) -> int:
        known = self.ids["agents"].get(key)
        return known or next(a.id for a in self.world.agents if a.email == key)

    def _named(self, section: str, key: str) -> int:
        known = self.ids[section].get(key)
        return known or next(row.id for row in self.world.tables[section_table(section)] if row.name == key)

    def _write_contact(self, item: r.Json) -> None:
        world, contact = self.world, None
        identities = [(self._named("inboxes", i["inbox"]), str(i["source_id"])) for i in item.get("identities", [])]
        for inbox_id, source_id in identities:
            known = world.identity(inbox_id, source_id)
            contact = contact or (world.contacts.rows[known.contact_id] if known else None)
        if contact is None:
            fields = {"created_at": world.now(), "name": "", **_without(item, "key", "identities")}
            fields["created_at"] = moment(fields["created_at"])
            contact = world.contacts.new(**fields)
        for inbox_id, source_id in identities:
            if world.identity(inbox_id, source_id) is None:
                world.contact_inboxes.new(contact_id=contact.id, inbox_id=inbox_id, source_id=source_id)
        self.ids["contacts"][item["key"]] = contact.id

    def _write_conversation(self, item: r.Json) -> r.Conversation:
        world, inbox_id = self.world, self._named("inboxes", item["inbox"])
        contact_id = self.ids["contacts"][item["contact"]]
        mine = [i for i in world.identities_of(contact_id) if i.inbox_id == inbox_id]
        if item.get("source_id"):
            mine = [i for i in mine if i.source_id == str(item["source_id"])]
        identity = mine[0] if mine else None
        if identity is None:
            source_id = str(item.get("source_id") or uuid.uuid4())
            identity = world.contact_inboxes.new(contact_id=contact_id, inbox_id=inbox_id, source_id=source_id)
        times = [moment(m["at"]) for m in item.get("messages", [])] or [world.now()]
        fields = _without(item, "key", "inbox", "contact", "source_id", "assignee", "team", "messages",
                          "created_at", "updated_at", "snoozed_until")  # fmt: skip
        conversation = world.conversations.new(
            uuid=str(uuid.uuid4()),
            inbox_id=inbox_id,
            contact_id=contact_id,
            contact_inbox_id=identity.id,
            created_at=moment(item.get("created_at", min(times))),
            updated_at=moment(item.get("updated_at", max(times))),
            last_activity_at=max(times),
            assignee_id=self._agent(item["assignee"]) if item.get("assignee") else None,
            team_id=self._named("teams", item["team"]) if item.get("team") else None,
            snoozed_until=moment(item["snoozed_until"]) if item.get("snoozed_until") else None,
            **fields,
        )
        self.ids["conversations"][item["key"]] = conversation.id
        return conversation

    def _write_message(self, at: float, conversation: r.Conversation, item: r.Json) -> None:
        kind = r.MESSAGE_TYPES.index(item["type"])
        attributes = dict(item.get("content_attributes") or {})
        answered = self.ids["messages"].get(str(item.get("in_reply_to")))
        if answered:
            attributes["in_reply_to"] = answered
        sender_type, sender_id = None, None
        if kind == r.INCOMING:
            sender_type = "contact"
            sender_id = self.ids["contacts"][item["sender"]] if item.get("sender") else conversation.contact_id
        elif item.get("sender"):
            sender_type, sender_id = "user", self._agent(item["sender"])
        message = self.world.messages.new(
            conversation_id=conversation.id,
            inbox_id=conversation.inbox_id,
            created_at=at,
            content=item.get("text"),
            message_type=kind,
            content_type=item.get("content_type", "text"),
            status=item.get("status", "delivered" if kind == r.OUTGOING and not item.get("private") else "sent"),
            private=bool(item.get("private")),
            source_id=item.get("source_id"),
            sender_type=sender_type,
            sender_id=sender_id,
            content_attributes=attributes,
        )
        attach(message, item.get("attachments") or [])
        if item.get("key"):
            self.ids["messages"][item["key"]] = message.id
        self._times(conversation, message)

    def _times(self, conversation: r.Conversation, message: r.Message) -> None:
        contact = self.world.contacts.rows[conversation.contact_id]
        contact.last_activity_at = max(contact.last_activity_at or 0, message.created_at)
        self.world.contacts.save(contact)
        if message.message_type == r.INCOMING:
            conversation.waiting_since = conversation.waiting_since or message.created_at
        elif message.message_type == r.OUTGOING and not message.private and message.sender_type == "user":
            conversation.first_reply_created_at = conversation.first_reply_created_at or message.created_at
            conversation.waiting_since = None
        self.world.conversations.save(conversation)


def section_table(section: str) -> str:
    return {"inboxes": "inbox", "teams": "team"}[section]


def _without(item: r.Json, *names: str) -> r.Json:
    return {k: v for k, v in item.items() if k not in names}
