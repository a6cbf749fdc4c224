"""What a message or a change does to its conversation: times, re-opening, activity lines and webhooks.

`conversation.updated_at` is moved by a new message, status, assignee, team, labels, priority, custom attributes and
snooze; not by read marks, message edits, deletions and delivery status (Chatwoot 4.15.1).
"""

from __future__ import annotations

import uuid
from typing import Any

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.text import evaluate
from connector.sandbox.chatwoot.world import ACCOUNT_NAME, World

Sender = r.Agent | r.Contact | None
NETWORK_GIVES_NO_ID = ("Channel::Api", "Channel::WebWidget")


def open_conversation(
    world: World, identity: r.ContactInbox, *, at: float | None = None, status: str = "open", **fields: Any
) -> r.Conversation:
    """A new conversation of this network identity; a blocked contact's starts resolved."""
    now = world.now() if at is None else at
    contact = world.contacts.rows[identity.contact_id]
    conversation = world.conversations.new(
        uuid=str(uuid.uuid4()),
        inbox_id=identity.inbox_id,
        contact_id=identity.contact_id,
        contact_inbox_id=identity.id,
        created_at=now,
        updated_at=now,
        last_activity_at=now,
        status="resolved" if contact.blocked else status,
        **fields,
    )
    world.emit("conversation_created", "conversation", conversation.id)
    return conversation


def post(
    world: World,
    conversation: r.Conversation,
    content: str | None,
    *,
    message_type: int,
    sender: Sender = None,
    private: bool = False,
    content_type: str = "text",
    content_attributes: r.Json | None = None,
    source_id: str | None = None,
    attachments: list[r.Json] | None = None,
    status: str = "sent",
) -> r.Message:
    """Store a message now, with all it does to the conversation. An outgoing one without source id goes to the network."""
    inbox = world.inboxes.rows[conversation.inbox_id]
    contact = world.contacts.rows[conversation.contact_id]
    if content and message_type in (r.OUTGOING, r.TEMPLATE):
        content = evaluate(content, liquid_values(conversation, contact, inbox, sender))
    goes_out = message_type in (r.OUTGOING, r.TEMPLATE) and not private and not source_id
    message = world.messages.new(
        conversation_id=conversation.id,
        inbox_id=inbox.id,
        created_at=world.now(),
        content=content,
        message_type=message_type,
        content_type=content_type,
        status=status,
        private=private,
        source_id=source_id,
        sender_type={r.Agent: "user", r.Contact: "contact"}.get(type(sender)) if sender else None,
        sender_id=sender.id if sender else None,
        content_attributes=content_attributes or {},
        undelivered=goes_out,
    )
    attach(message, attachments or [])
    if goes_out:
        world.outbound.append(message.id)
    conversation.last_activity_at = message.created_at
    touch(world, conversation)
    if message_type == r.ACTIVITY:
        return message
    world.emit("message_created", "message", message.id)
    _contact_was_active(world, contact, message.created_at)
    if message_type == r.INCOMING:
        _customer_waits(world, conversation, message.created_at)
    elif message_type == r.OUTGOING and not private and isinstance(sender, r.Agent):
        _customer_was_answered(world, conversation, message.created_at)
    return message


def attach(message: r.Message, attachments: list[r.Json]) -> None:
    """Give the message its attachments: {file_type, data_url, file_size?, extension?} each."""
    for n, given in enumerate(attachments, 1):
        message.attachments.append(
            {
                "id": message.id * 100 + n,
                "message_id": message.id,
                "file_type": given.get("file_type", "file"),
                "account_id": 1,
                "extension": given.get("extension"),
                "content_type": given.get("content_type"),
                "data_url": given.get("data_url", ""),
                "thumb_url": "",
                "file_size": given.get("file_size", 0),
            }
        )


def liquid_values(
    conversation: r.Conversation, contact: r.Contact, inbox: r.Inbox, sender: Sender
) -> dict[str, dict[str, Any]]:
    first, _, last = contact.name.partition(" ")
    agent = sender if isinstance(sender, r.Agent) else None
    agent_first, _, agent_last = (agent.name if agent else "").partition(" ")
    return {
        "contact": {
            "name": contact.name,
            "first_name": first,
            "last_name": last,
            "email": contact.email,
            "phone_number": contact.phone_number,
            "custom_attribute": contact.custom_attributes,
        },
        "agent": {
            "name": agent.name if agent else None,
            "first_name": agent_first,
            "last_name": agent_last,
            "email": agent.email if agent else None,
        },
        "conversation": {"display_id": conversation.id, "custom_attribute": conversation.custom_attributes},
        "inbox": {"name": inbox.name, "email": inbox.extra.get("email")},
        "account": {"name": ACCOUNT_NAME},
    }


def touch(world: World, conversation: r.Conversation) -> None:
    """Move `updated_at`; it never goes back."""
    conversation.updated_at = max(world.now(), conversation.updated_at)
    world.conversations.save(conversation)


def change(world: World, conversation: r.Conversation, by: r.Agent | None, **fields: Any) -> None:
    """Set conversation fields; those that really change move `updated_at`, leave activity lines and fire webhooks."""
    changed = []
    for name, value in fields.items():
        before = getattr(conversation, name)
        if before != value:
            setattr(conversation, name, value)
            changed.append({name: {"previous_value": before, "current_value": value}})
    if not changed:
        return
    touch(world, conversation)
    for item in changed:
        for line in _activity_lines(world, item, by):
            post(world, conversation, line, message_type=r.ACTIVITY)
    if any("status" in item for item in changed):
        world.emit("conversation_status_changed", "conversation", conversation.id, changed)
    world.emit("conversation_updated", "conversation", conversation.id, changed)


def _activity_lines(world: World, item: r.Json, by: r.Agent | None) -> list[str]:
    who = by.name if by else "the system"
    ((name, values),) = item.items()
    before, after = values["previous_value"], values["current_value"]
    if name == "status":
        return [f"Conversation was marked {after} by {who}"]
    if name == "priority":
        return [f"{who} set the priority to {after}" if after else f"{who} removed the priority"]
    if name == "assignee_id":
        agent = world.agents.get(after)
        return [f"Assigned to {agent.name} by {who}" if agent else f"Conversation unassigned by {who}"]
    if name == "team_id":
        team = world.teams.get(after)
        return [f"Assigned to {team.name} by {who}" if team else f"Unassigned from team by {who}"]
    if name == "labels":
        added = [label for label in after if label not in before]
        removed = [label for label in before if label not in after]
        return [f"{who} added {', '.join(added)}"] * bool(added) + [f"{who} removed {', '.join(removed)}"] * bool(
            removed
        )
    return []


def _contact_was_active(world: World, contact: r.Contact, at: float) -> None:
    before, contact.last_activity_at = contact.last_activity_at, at
    world.contacts.save(contact)
    changed = {"last_activity_at": {"previous_value": before, "current_value": at}}
    world.emit("contact_updated", "contact", contact.id, [changed])


def _customer_waits(world: World, conversation: r.Conversation, at: float) -> None:
    if conversation.waiting_since is None:
        conversation.waiting_since = at
        _silent_update(world, conversation, "waiting_since", None, at)
    if conversation.status in ("resolved", "snoozed"):
        change(world, conversation, None, status="open", snoozed_until=None)


def _customer_was_answered(world: World, conversation: r.Conversation, at: float) -> None:
    if conversation.first_reply_created_at is None:
        conversation.first_reply_created_at = at
        _silent_update(world, conversation, "first_reply_created_at", None, at)
    if conversation.waiting_since is not None:
        before, conversation.waiting_since = conversation.waiting_since, None
        _silent_update(world, conversation, "waiting_since", before, None)


def _silent_update(
    world: World, conversation: r.Conversation, name: str, before: float | None, after: float | None
) -> None:
    world.conversations.save(conversation)
    changed = {name: {"previous_value": before, "current_value": after}}
    world.emit("conversation_updated", "conversation", conversation.id, [changed])


def can_reply(world: World, conversation: r.Conversation) -> bool:
    """The server's view of the network's reply window, counted from the customer's last message."""
    hours = {"Channel::Whatsapp": 24, "Channel::FacebookPage": 24, "Channel::Instagram": 24, "Channel::Tiktok": 48}
    window = hours.get(world.inboxes.rows[conversation.inbox_id].channel_type)
    if window is None:
        return True
    for id in reversed(world.conversation_messages[conversation.id]):
        message = world.messages.rows[id]
        if message.message_type == r.INCOMING:
            return world.now() - message.created_at < window * 3600
    return False
