"""Application API: the messages of a conversation."""

from __future__ import annotations

import json
from typing import Any

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot import talk, views
from connector.sandbox.chatwoot.api_conversations import conversation_of
from connector.sandbox.chatwoot.http import NOT_FOUND, Call, Refusal, Route
from connector.sandbox.chatwoot.network import set_status

PER_MINUTE = 200  # CONVERSATION_MESSAGE_PER_MINUTE_LIMIT's default
MAX_TEXT = 150_000  # characters
MAX_ATTACHMENTS = 15
DELETED_TEXT = "This message was deleted"
CONTENT_TYPES = ("text", "input_text", "input_textarea", "input_email", "input_select", "cards", "form", "article")


def message_of(call: Call, conversation: r.Conversation) -> r.Message:
    row: r.Message = call.row("message", "mid")
    if row.conversation_id != conversation.id:
        raise Refusal.error(404, NOT_FOUND)
    return row


def window(rows: list[r.Message], after: int | None, before: int | None) -> list[r.Message]:
    """The slice of a conversation's messages that the cursor parameters select, oldest first.

    The id is the cursor, the creation time decides which rows make the cut. Rows of the same time have no fixed order
    on a real server; here the newer id comes first, so that a client that relies on an order is caught.
    """
    ordered = sorted(rows, key=lambda m: (m.created_at, -m.id))
    if after is not None and before is not None:
        return [m for m in ordered if after <= m.id < before][:1000]
    if after is not None:
        return [m for m in ordered if m.id > after][:100]
    if before is not None:
        ordered = [m for m in ordered if m.id < before]
    return ordered[-20:]


def _cursor(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise Refusal.error(501, f"{name}={text}")
    return int(text)


def _list(call: Call) -> r.Json:
    conversation, world = conversation_of(call), call.world
    rows = world.messages_of(conversation.id)
    if call.query.get("filter_internal_messages") == "true":
        rows = [m for m in rows if not m.private and m.message_type != r.ACTIVITY]
    contact = world.contacts.rows[conversation.contact_id]
    meta: r.Json = {
        "labels": conversation.labels,
        "additional_attributes": conversation.additional_attributes,
        "contact": {**views.contact(world, contact, with_inboxes=False), "type": "contact"},
        "agent_last_seen_at": views.iso(conversation.agent_last_seen_at),
        "assignee_last_seen_at": None,
    }
    assignee = world.agents.get(conversation.assignee_id)
    if assignee:
        meta["assignee"] = {**views.agent(assignee), "type": "user"}
    found = window(rows, _cursor(call, "after"), _cursor(call, "before"))
    return {"meta": meta, "payload": [views.message(world, m) for m in found]}


def _flag(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "1")


def _attributes(call: Call) -> r.Json:
    given = call.body.get("content_attributes") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if not isinstance(given, dict):
        raise Refusal.error(422, "content_attributes is not an object")
    if "automation_rule_id" in given:
        return {"automation_rule_id": given["automation_rule_id"]}
    return given


def _create(call: Call) -> r.Json:
    world, body, conversation = call.world, call.body, conversation_of(call)
    inbox = world.inboxes.rows[conversation.inbox_id]
    kind = body.get("message_type", "outgoing")
    if kind not in ("incoming", "outgoing"):
        raise Refusal.error(422, f"'{kind}' is not a valid message_type")
    if kind == "incoming" and inbox.channel_type != "Channel::Api":
        raise Refusal.error(422, "Incoming messages are only allowed in Api inboxes")
    content, attachments = body.get("content"), body.get("attachments") or []
    if content is not None and len(str(content)) > MAX_TEXT:
        raise Refusal.error(422, f"Validation failed: Content is too long (maximum is {MAX_TEXT} characters)")
    if len(attachments) > MAX_ATTACHMENTS:
        raise Refusal.error(422, "Validation failed: Attachments exceeded maximum allowed")
    content_type = body.get("content_type", "text")
    if content_type not in CONTENT_TYPES:
        raise Refusal.error(422, f"'{content_type}' is not a valid content_type")
    template = body.get("template_params")
    if template is not None and not (isinstance(template, dict) and template.get("name")):
        raise Refusal.error(422, "Validation failed: template_params name is required")
    recent = world.now() - 60
    if sum(m.created_at > recent for m in world.messages_of(conversation.id)) >= PER_MINUTE:
        raise Refusal.error(422, "Validation failed: Too many messages")
    attributes = _attributes(call)
    contact = world.contacts.rows[conversation.contact_id]
    message = talk.post(
        world,
        conversation,
        None if content is None else str(content),
        message_type=r.INCOMING if kind == "incoming" else r.OUTGOING,
        sender=contact if kind == "incoming" else call.user,
        private=_flag(body.get("private", False)),
        content_type=content_type,
        content_attributes=attributes,
        source_id=body.get("source_id") or None,
        attachments=attachments,
    )
    if template:
        message.additional_attributes = {"template_params": template}
    answer = views.message(world, message)
    return {**answer, "echo_id": body["echo_id"]} if "echo_id" in body else answer


def delete_message(call: Call, message: r.Message) -> None:
    """The text becomes a fixed sentence; nothing is recalled at the network, `updated_at` stays."""
    message.content, message.content_attributes, message.attachments = DELETED_TEXT, {"deleted": True}, []
    call.world.messages.save(message)
    call.world.emit("message_updated", "message", message.id)


def _delete(call: Call) -> r.Json:
    message = message_of(call, conversation_of(call))
    delete_message(call, message)
    return views.message(call.world, message)


def _set_status(call: Call) -> r.Json:
    conversation = conversation_of(call)
    message = message_of(call, conversation)
    if call.world.inboxes.rows[conversation.inbox_id].channel_type != "Channel::Api":
        raise Refusal.error(403, "Message status update is only allowed for API inboxes")
    status = call.required("status")
    if status not in r.DELIVERY:
        raise Refusal.error(422, f"'{status}' is not a valid status")
    set_status(call.world, message, status, call.body.get("external_error"))
    return views.message(call.world, message)


def _retry(call: Call) -> r.Json:
    message = message_of(call, conversation_of(call))
    message.status, message.content_attributes = "sent", {}
    message.undelivered = not message.source_id and message.message_type == r.OUTGOING and not message.private
    call.world.messages.save(message)
    call.world.emit("message_updated", "message", message.id)
    if message.undelivered:
        call.world.outbound.append(message.id)
    return views.message(call.world, message)


_CREATE = (
    "content",
    "message_type",
    "private",
    "content_attributes",
    "content_type",
    "template_params",
    "echo_id",
    "source_id",
    "external_created_at",
    "attachments",
)
_ALL = "/conversations/{id:int}/messages"

ROUTES = [
    Route("GET", _ALL, _list, query=("after", "before", "filter_internal_messages")),
    Route("POST", _ALL, _create, body=_CREATE),
    Route("DELETE", _ALL + "/{mid:int}", _delete),
    Route("PATCH", _ALL + "/{mid:int}", _set_status, body=("status", "external_error")),
    Route("POST", _ALL + "/{mid:int}/retry", _retry),
]
