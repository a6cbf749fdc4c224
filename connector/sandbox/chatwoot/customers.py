"""What happens out on the network: a customer writes, edits or deletes; an agent answers in the network's own app."""

from __future__ import annotations

import uuid
from typing import Any

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot import talk
from connector.sandbox.chatwoot.http import Refusal
from connector.sandbox.chatwoot.world import World


def profile(channel_type: str, source_id: str, handle: str | None) -> r.Json:
    """The contact fields that Chatwoot fills from the network, per channel."""
    network = {"Channel::Instagram": "instagram", "Channel::Telegram": "telegram", "Channel::Tiktok": "tiktok"}
    if channel_type == "Channel::Email":
        return {"email": source_id.lower()}
    if channel_type in ("Channel::Sms", "Channel::TwilioSms"):
        return {"phone_number": source_id.removeprefix("whatsapp:")}
    if channel_type == "Channel::Whatsapp":
        return {"phone_number": f"+{source_id}"} if source_id.isdecimal() else {}
    if channel_type == "Channel::TwitterProfile":
        return {"additional_attributes": {"screen_name": handle}} if handle else {}
    if channel_type not in network:
        return {}
    name = network[channel_type]
    attributes: r.Json = {}
    if channel_type == "Channel::Telegram":
        attributes = {"social_telegram_user_id": source_id, "username": handle}
    if handle:
        attributes |= {f"social_{name}_user_name": handle, "social_profiles": {name: handle}}
    return {"additional_attributes": {k: v for k, v in attributes.items() if v}}


def meet(world: World, inbox: r.Inbox, source_id: str, name: str | None, fields: r.Json) -> r.ContactInbox:
    """The identity of this network user, with a new contact when the inbox never saw it.

    A known e-mail address or phone number leads to the contact that has it, as on a real server.
    """
    identity = world.identity(inbox.id, source_id)
    if identity:
        return identity
    matched = None
    for key in ("email", "phone_number"):
        value = fields.get(key)
        if value:
            matched = matched or next((c for c in world.contacts if getattr(c, key) == value), None)
    if matched is None:
        fallback = f"Unknown (IG: {source_id})" if inbox.channel_type == "Channel::Instagram" else source_id
        matched = world.contacts.new(created_at=world.now(), **{**fields, "name": name or fallback})
        world.emit("contact_created", "contact", matched.id)
    return world.contact_inboxes.new(contact_id=matched.id, inbox_id=inbox.id, source_id=source_id)


def current_conversation(world: World, identity: r.ContactInbox, inbox: r.Inbox) -> r.Conversation:
    """Where a customer's message goes: the conversation that is not resolved, the single one, or a new one."""
    mine = [world.conversations.rows[i] for i in world.contact_conversations[identity.contact_id]]
    mine = [c for c in mine if c.contact_inbox_id == identity.id]
    if not inbox.lock_to_single_conversation:
        mine = [c for c in mine if c.status != "resolved"]
    return mine[-1] if mine else talk.open_conversation(world, identity)


def customer_writes(world: World, inbox: r.Inbox, body: r.Json) -> r.Message:
    """`body`: source_id, text, and optionally name, handle, contact (fields), conversation, attachments,
    message_source_id, in_reply_to. Raises Refusal for an unknown conversation."""
    source_id = str(body["source_id"])
    fields = {**profile(inbox.channel_type, source_id, body.get("handle")), **(body.get("contact") or {})}
    identity = meet(world, inbox, source_id, body.get("name"), fields)
    if body.get("conversation"):
        given = world.conversations.get(body["conversation"])
        if given is None:
            raise Refusal.error(404, f"conversation {body['conversation']}")
        conversation = given
    else:
        conversation = current_conversation(world, identity, inbox)
    attributes = {"in_reply_to": body["in_reply_to"]} if body.get("in_reply_to") else {}
    return talk.post(
        world,
        conversation,
        body.get("text"),
        message_type=r.INCOMING,
        sender=world.contacts.rows[identity.contact_id],
        content_type="incoming_email" if inbox.channel_type == "Channel::Email" else "text",
        content_attributes=attributes,
        source_id=body.get("message_source_id") or f"net-{uuid.uuid4().hex}",
        attachments=body.get("attachments") or [],
    )


def agent_writes_in_app(world: World, conversation: r.Conversation, body: r.Json) -> r.Message:
    """A reply written in the network's own app arrives as an echo: outgoing, no sender, already delivered."""
    return talk.post(
        world,
        conversation,
        body.get("text"),
        message_type=r.OUTGOING,
        content_attributes={"external_echo": True},
        source_id=body.get("message_source_id") or f"net-{uuid.uuid4().hex}",
        attachments=body.get("attachments") or [],
        status="delivered",
    )


def customer_edits(world: World, message: r.Message, text: Any) -> None:
    """The message changes; the conversation's `updated_at` does not."""
    message.content = str(text)
    world.messages.save(message)
    world.emit("message_updated", "message", message.id)
