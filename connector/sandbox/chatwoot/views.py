"""Rows as JSON: the shapes of the REST answers and of the webhooks, which differ (Chatwoot 4.15.1, `app/views`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.talk import can_reply
from connector.sandbox.chatwoot.world import ACCOUNT_ID, ACCOUNT_NAME, World

ACCOUNT = {"id": ACCOUNT_ID, "name": ACCOUNT_NAME}


def seconds(at: float | None) -> int:
    return int(at) if at else 0


def iso(at: float | None) -> str | None:
    if not at:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def agent(row: r.Agent) -> r.Json:
    return {
        "id": row.id,
        "account_id": ACCOUNT_ID,
        "name": row.name,
        "available_name": row.name,
        "email": row.email,
        "role": row.role,
        "availability_status": "offline",
        "auto_offline": True,
        "confirmed": True,
        "thumbnail": "",
    }


def team(row: r.Team, user: r.Agent) -> r.Json:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "allow_auto_assign": True,
        "account_id": ACCOUNT_ID,
        "is_member": user.id in row.member_ids,
    }


def inbox(row: r.Inbox) -> r.Json:
    shape: r.Json = {
        "id": row.id,
        "avatar_url": "",
        "channel_id": row.channel_id,
        "name": row.name,
        "channel_type": row.channel_type,
        "lock_to_single_conversation": row.lock_to_single_conversation,
        "enable_auto_assignment": False,
        "greeting_enabled": False,
        "working_hours_enabled": False,
        "timezone": "UTC",
        **row.extra,
    }
    if row.channel_type == "Channel::Api":
        shape |= {"inbox_identifier": row.inbox_identifier, "webhook_url": row.extra.get("webhook_url")}
    return shape


def inbox_stub(row: r.Inbox) -> r.Json:
    return {
        "id": row.id,
        "avatar_url": "",
        "channel_id": row.channel_id,
        "name": row.name,
        "channel_type": row.channel_type,
        "provider": row.extra.get("provider"),
    }


def contact(world: World, row: r.Contact, *, with_inboxes: bool = True) -> r.Json:
    shape: r.Json = {
        "additional_attributes": row.additional_attributes,
        "availability_status": "offline",
        "email": row.email,
        "id": row.id,
        "name": row.name,
        "phone_number": row.phone_number,
        "blocked": row.blocked,
        "identifier": row.identifier,
        "thumbnail": "",
        "custom_attributes": row.custom_attributes,
        "created_at": int(row.created_at),
    }
    if row.last_activity_at:
        shape["last_activity_at"] = int(row.last_activity_at)
    if with_inboxes:
        shape["contact_inboxes"] = [contact_inbox(world, identity) for identity in world.identities_of(row.id)]
    return shape


def contact_inbox(world: World, row: r.ContactInbox) -> r.Json:
    return {"source_id": row.source_id, "inbox": inbox_stub(world.inboxes.rows[row.inbox_id])}


def sender(world: World, row: r.Message) -> r.Json | None:
    if row.sender_type == "user":
        user = world.agents.get(row.sender_id)
        if user:
            return {"id": user.id, "name": user.name, "available_name": user.name, "avatar_url": "", "type": "user",
                    "availability_status": None, "thumbnail": ""}  # fmt: skip
    elif row.sender_type == "contact":
        person = world.contacts.get(row.sender_id)
        if person:
            return {**contact(world, person, with_inboxes=False), "type": "contact"}
    return None


def message(world: World, row: r.Message) -> r.Json:
    shape: r.Json = {
        "id": row.id,
        "content": row.content,
        "inbox_id": row.inbox_id,
        "conversation_id": row.conversation_id,
        "message_type": row.message_type,
        "content_type": row.content_type,
        "status": row.status,
        "content_attributes": row.content_attributes,
        "created_at": int(row.created_at),
        "private": row.private,
        "source_id": row.source_id,
    }
    author = sender(world, row)
    if author:
        shape["sender"] = author
    if row.attachments:
        shape["attachments"] = row.attachments
    return shape


def _last(world: World, conversation_id: int, *, activity: bool) -> r.Message | None:
    for id in reversed(world.conversation_messages[conversation_id]):
        row = world.messages.rows[id]
        if activity or row.message_type != r.ACTIVITY:
            return row
    return None


def unread(world: World, row: r.Conversation) -> int:
    seen = row.agent_last_seen_at or 0
    return sum(m.message_type == r.INCOMING and m.created_at > seen for m in world.messages_of(row.id))


def conversation(world: World, row: r.Conversation, user: r.Agent) -> r.Json:
    box = world.inboxes.rows[row.inbox_id]
    newest, spoken = _last(world, row.id, activity=True), _last(world, row.id, activity=False)
    meta: r.Json = {
        "sender": contact(world, world.contacts.rows[row.contact_id], with_inboxes=False),
        "channel": box.channel_type,
        "hmac_verified": False,
    }
    assignee, assigned_team = world.agents.get(row.assignee_id), world.teams.get(row.team_id)
    if assignee:
        meta |= {"assignee": agent(assignee), "assignee_type": "User"}
    if assigned_team:
        meta["team"] = team(assigned_team, user)
    return {
        "meta": meta,
        "id": row.id,
        "messages": [message(world, newest)] if newest else [],
        "account_id": ACCOUNT_ID,
        "uuid": row.uuid,
        "additional_attributes": row.additional_attributes,
        "agent_last_seen_at": seconds(row.agent_last_seen_at),
        "assignee_last_seen_at": 0,
        "can_reply": can_reply(world, row),
        "contact_last_seen_at": seconds(row.contact_last_seen_at),
        "custom_attributes": row.custom_attributes,
        "inbox_id": row.inbox_id,
        "labels": row.labels,
        "muted": False,
        "snoozed_until": iso(row.snoozed_until),
        "status": row.status,
        "created_at": int(row.created_at),
        "updated_at": row.updated_at,
        "timestamp": int(row.last_activity_at),
        "first_reply_created_at": seconds(row.first_reply_created_at),
        "unread_count": unread(world, row),
        "last_non_activity_message": message(world, spoken) if spoken else None,
        "last_activity_at": int(row.last_activity_at),
        "priority": row.priority,
        "waiting_since": seconds(row.waiting_since),
        "sla_policy_id": None,
    }


def note(world: World, row: r.Note) -> r.Json:
    user = world.agents.get(row.user_id)
    return {
        "id": row.id,
        "content": row.content,
        "account_id": None,
        "contact_id": None,
        "user": agent(user) if user else None,
        "created_at": int(row.created_at),
        "updated_at": int(row.updated_at),
    }


def webhook(row: r.Webhook) -> r.Json:
    return {**vars(row), "account_id": ACCOUNT_ID}


# Webhook payloads -------------------------------------------------------------------------------------------------


def push_contact(row: r.Contact) -> r.Json:
    return {
        "account": ACCOUNT,
        "additional_attributes": row.additional_attributes,
        "avatar": "",
        "blocked": row.blocked,
        "custom_attributes": row.custom_attributes,
        "email": row.email,
        "id": row.id,
        "identifier": row.identifier,
        "name": row.name,
        "phone_number": row.phone_number,
        "thumbnail": "",
    }


def _push_person(row: r.Contact) -> r.Json:
    return {**push_contact(row), "type": "contact"}


def push_conversation(world: World, row: r.Conversation) -> r.Json:
    box = world.inboxes.rows[row.inbox_id]
    identity = world.contact_inboxes.rows[row.contact_inbox_id]
    newest = _last(world, row.id, activity=False)
    assignee, assigned_team = world.agents.get(row.assignee_id), world.teams.get(row.team_id)
    meta: r.Json = {
        "sender": _push_person(world.contacts.rows[row.contact_id]),
        "assignee": {"id": assignee.id, "name": assignee.name, "type": "user"} if assignee else None,
        "assignee_type": "User" if assignee else None,
        "team": {"id": assigned_team.id, "name": assigned_team.name} if assigned_team else None,
        "hmac_verified": False,
    }
    return {
        "id": row.id,
        "inbox_id": row.inbox_id,
        "status": row.status,
        "can_reply": can_reply(world, row),
        "channel": box.channel_type,
        "labels": row.labels,
        "contact_inbox": {**vars(identity), "hmac_verified": False, "pubsub_token": f"pubsub-{identity.id}"},
        "messages": [message(world, newest)] if newest else [],
        "meta": meta,
        "custom_attributes": row.custom_attributes,
        "additional_attributes": row.additional_attributes,
        "priority": row.priority,
        "unread_count": unread(world, row),
        "snoozed_until": iso(row.snoozed_until),
        "first_reply_created_at": iso(row.first_reply_created_at),
        "waiting_since": seconds(row.waiting_since),
        "agent_last_seen_at": seconds(row.agent_last_seen_at),
        "contact_last_seen_at": seconds(row.contact_last_seen_at),
        "last_activity_at": int(row.last_activity_at),
        "timestamp": int(row.last_activity_at),
        "created_at": int(row.created_at),
        "updated_at": row.updated_at,
        "account": ACCOUNT,
    }


def push_message(world: World, row: r.Message) -> r.Json:
    box = world.inboxes.rows[row.inbox_id]
    shape: r.Json = {
        "id": row.id,
        "content": row.content,
        "content_type": row.content_type,
        "content_attributes": row.content_attributes,
        "additional_attributes": row.additional_attributes,
        "message_type": r.MESSAGE_TYPES[row.message_type],
        "private": row.private,
        "source_id": row.source_id,
        "created_at": iso(row.created_at),
        "account": ACCOUNT,
        "inbox": {"id": box.id, "name": box.name},
        "conversation": push_conversation(world, world.conversations.rows[row.conversation_id]),
    }
    author: Any = world.agents.get(row.sender_id) if row.sender_type == "user" else None
    if author:
        shape["sender"] = {"id": author.id, "name": author.name, "email": author.email, "type": "user"}
    elif row.sender_type == "contact" and (person := world.contacts.get(row.sender_id)):
        shape["sender"] = push_contact(person)
    if row.attachments:
        shape["attachments"] = row.attachments
    return shape
