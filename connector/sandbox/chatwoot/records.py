"""The rows the sandbox keeps: plain dataclasses whose fields are JSON values. Times are Unix seconds (float)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

INCOMING, OUTGOING, ACTIVITY, TEMPLATE = 0, 1, 2, 3
MESSAGE_TYPES = ("incoming", "outgoing", "activity", "template")
STATUSES = ("open", "resolved", "pending", "snoozed")
PRIORITIES = ("low", "medium", "high", "urgent")
DELIVERY = ("sent", "delivered", "read", "failed")


@dataclass
class Setting:
    """One named value of the sandbox itself (the clock offset, tokens)."""

    id: int
    name: str
    value: Any


@dataclass
class Inbox:
    id: int
    name: str
    channel_type: str
    channel_id: int
    inbox_identifier: str | None = None
    lock_to_single_conversation: bool = False
    member_ids: list[int] | None = None
    extra: Json = field(default_factory=dict)


@dataclass
class Agent:
    id: int
    name: str
    email: str
    role: str
    token: str


@dataclass
class Team:
    id: int
    name: str
    description: str | None = None
    member_ids: list[int] = field(default_factory=list)


@dataclass
class Label:
    id: int
    title: str
    description: str | None = None
    color: str = "#1f93ff"
    show_on_sidebar: bool = True


@dataclass
class Contact:
    id: int
    name: str
    created_at: float
    email: str | None = None
    phone_number: str | None = None
    identifier: str | None = None
    blocked: bool = False
    additional_attributes: Json = field(default_factory=dict)
    custom_attributes: Json = field(default_factory=dict)
    last_activity_at: float | None = None
    labels: list[str] = field(default_factory=list)


@dataclass
class ContactInbox:
    id: int
    contact_id: int
    inbox_id: int
    source_id: str


@dataclass
class Conversation:
    id: int
    uuid: str
    inbox_id: int
    contact_id: int
    contact_inbox_id: int
    created_at: float
    updated_at: float
    last_activity_at: float
    status: str = "open"
    priority: str | None = None
    assignee_id: int | None = None
    team_id: int | None = None
    labels: list[str] = field(default_factory=list)
    custom_attributes: Json = field(default_factory=dict)
    additional_attributes: Json = field(default_factory=dict)
    waiting_since: float | None = None
    first_reply_created_at: float | None = None
    snoozed_until: float | None = None
    agent_last_seen_at: float | None = None
    contact_last_seen_at: float | None = None


@dataclass
class Message:
    id: int
    conversation_id: int
    inbox_id: int
    created_at: float
    content: str | None
    message_type: int
    content_type: str = "text"
    status: str = "sent"
    private: bool = False
    source_id: str | None = None
    sender_type: str | None = None
    sender_id: int | None = None
    content_attributes: Json = field(default_factory=dict)
    additional_attributes: Json = field(default_factory=dict)
    attachments: list[Json] = field(default_factory=list)
    undelivered: bool = False


@dataclass
class Note:
    id: int
    contact_id: int
    content: str
    user_id: int | None
    created_at: float
    updated_at: float


@dataclass
class Webhook:
    id: int
    name: str | None
    url: str
    subscriptions: list[str]
    secret: str
    inbox_id: int | None = None


@dataclass
class Definition:
    """A custom attribute definition; `attribute_model` is contact_attribute or conversation_attribute."""

    id: int
    attribute_key: str
    attribute_display_name: str
    attribute_display_type: str
    attribute_model: str
    attribute_description: str | None = None
    attribute_values: list[str] = field(default_factory=list)


@dataclass
class Delivered:
    """What the network really received: `wire` in the channel's own markup, `text` as the reader sees it."""

    id: int
    inbox_id: int
    conversation_id: int
    message_id: int
    text: str
    wire: str
    at: float
    attachments: list[Json] = field(default_factory=list)
