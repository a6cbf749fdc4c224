"""Client API: what the end customer of an API inbox can do, with the inbox's identifier and no secret."""

from __future__ import annotations

import uuid

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot import talk, views
from connector.sandbox.chatwoot.api_contacts import create_contact, update_contact
from connector.sandbox.chatwoot.http import NOT_FOUND, Call, Refusal, Route

_BASE = "/public/api/v1/inboxes/{inbox:str}"
_CONTACT = _BASE + "/contacts/{source_id:str}"
_CONVERSATION = _CONTACT + "/conversations/{id:int}"


def _inbox(call: Call) -> r.Inbox:
    for box in call.world.inboxes:
        if box.channel_type == "Channel::Api" and box.inbox_identifier == call.path["inbox"]:
            return box
    raise Refusal.error(404, NOT_FOUND)


def _identity(call: Call) -> r.ContactInbox:
    identity = call.world.identity(_inbox(call).id, call.path["source_id"])
    if identity is None:
        raise Refusal.error(404, NOT_FOUND)
    return identity


def _conversation(call: Call) -> r.Conversation:
    conversation: r.Conversation = call.row("conversation")
    if conversation.contact_inbox_id != _identity(call).id:
        raise Refusal.error(404, NOT_FOUND)
    return conversation


def _contact_view(contact: r.Contact, identity: r.ContactInbox) -> r.Json:
    return {
        "source_id": identity.source_id,
        "pubsub_token": f"pubsub-{identity.id}",
        "id": contact.id,
        "name": contact.name,
        "email": contact.email,
        "phone_number": contact.phone_number,
    }


def _conversation_view(call: Call, conversation: r.Conversation) -> r.Json:
    world = call.world
    spoken = [m for m in world.messages_of(conversation.id) if not m.private]
    return {
        "id": conversation.id,
        "uuid": conversation.uuid,
        "inbox_id": conversation.inbox_id,
        "contact_last_seen_at": views.seconds(conversation.contact_last_seen_at),
        "status": conversation.status,
        "agent_last_seen_at": views.seconds(conversation.agent_last_seen_at),
        "messages": [views.message(world, m) for m in spoken],
        "contact": views.contact(world, world.contacts.rows[conversation.contact_id], with_inboxes=False),
    }


def _create_contact(call: Call) -> r.Json:
    inbox, body = _inbox(call), dict(call.body)
    source_id = str(body.pop("source_id", None) or uuid.uuid4())
    identity = call.world.identity(inbox.id, source_id)
    if identity:
        contact = call.world.contacts.rows[identity.contact_id]
        update_contact(call.world, contact, body)
    else:
        contact = create_contact(call.world, body)
        identity = call.world.contact_inboxes.new(contact_id=contact.id, inbox_id=inbox.id, source_id=source_id)
    return _contact_view(contact, identity)


def _show_contact(call: Call) -> r.Json:
    identity = _identity(call)
    return _contact_view(call.world.contacts.rows[identity.contact_id], identity)


def _update_contact(call: Call) -> r.Json:
    identity = _identity(call)
    contact = call.world.contacts.rows[identity.contact_id]
    update_contact(call.world, contact, call.body)
    return _contact_view(contact, identity)


def _conversations(call: Call) -> list[r.Json]:
    identity = _identity(call)
    rows = [call.world.conversations.rows[i] for i in call.world.contact_conversations[identity.contact_id]]
    return [_conversation_view(call, c) for c in rows if c.contact_inbox_id == identity.id]


def _create_conversation(call: Call) -> r.Json:
    identity, attributes = _identity(call), call.body.get("custom_attributes") or {}
    return _conversation_view(call, talk.open_conversation(call.world, identity, custom_attributes=attributes))


def _messages(call: Call) -> list[r.Json]:
    rows = call.world.messages_of(_conversation(call).id)
    return [views.message(call.world, m) for m in rows if not m.private and m.message_type != r.ACTIVITY]


def _create_message(call: Call) -> r.Json:
    conversation = _conversation(call)
    message = talk.post(
        call.world,
        conversation,
        str(call.required("content")) if not call.body.get("attachments") else call.body.get("content"),
        message_type=r.INCOMING,
        sender=call.world.contacts.rows[conversation.contact_id],
        attachments=call.body.get("attachments") or [],
    )
    return {**views.message(call.world, message), "echo_id": call.body.get("echo_id")}


_FIELDS = ("identifier", "email", "name", "phone_number", "custom_attributes")

ROUTES = [
    Route("POST", _BASE + "/contacts", _create_contact, body=(*_FIELDS, "source_id"), scope="open"),
    Route("GET", _CONTACT, _show_contact, scope="open"),
    Route("PATCH", _CONTACT, _update_contact, body=_FIELDS, scope="open"),
    Route("GET", _CONTACT + "/conversations", _conversations, scope="open"),
    Route("POST", _CONTACT + "/conversations", _create_conversation, body=("custom_attributes",), scope="open"),
    Route("GET", _CONVERSATION + "/messages", _messages, scope="open"),
    Route(
        "POST", _CONVERSATION + "/messages", _create_message, body=("content", "echo_id", "attachments"), scope="open"
    ),
]
