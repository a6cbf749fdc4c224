"""Application API: conversations. Listing, filter, creation, and the fields one can change."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from connector.sandbox.chatwoot import filters, talk, views
from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.api_account import visible_inboxes
from connector.sandbox.chatwoot.http import NOT_FOUND, Call, Refusal, Route

PAGE = 25
_RANK = {"urgent": 4, "high": 3, "medium": 2, "low": 1, None: 0}
GENERATES_SOURCE_ID = (
    "Channel::Whatsapp",
    "Channel::Sms",
    "Channel::TwilioSms",
    "Channel::Email",
    "Channel::Api",
    "Channel::WebWidget",
)

_SORTS: dict[str, tuple[Callable[[r.Conversation], Any], bool]] = {
    "last_activity_at_asc": (lambda c: (c.last_activity_at, c.id), False),
    "last_activity_at_desc": (lambda c: (c.last_activity_at, c.id), True),
    "created_at_asc": (lambda c: (c.created_at, c.id), False),
    "created_at_desc": (lambda c: (c.created_at, c.id), True),
    "priority_asc": (lambda c: (_RANK[c.priority], c.last_activity_at), False),
    "priority_desc": (lambda c: (_RANK[c.priority], c.last_activity_at), True),
    "waiting_since_asc": (lambda c: (c.waiting_since is None, c.waiting_since or 0, c.created_at), False),
    "waiting_since_desc": (lambda c: (c.waiting_since is not None, c.waiting_since or 0, c.created_at), True),
    "priority_desc_created_at_asc": (lambda c: (-_RANK[c.priority], c.created_at), False),
}


def conversation_of(call: Call) -> r.Conversation:
    """The conversation in the path, when this user may see its inbox."""
    row: r.Conversation = call.row("conversation")
    if all(box.id != row.inbox_id for box in visible_inboxes(call)):
        raise Refusal.error(401, "You are not authorized to do this action")
    return row


def _visible(call: Call) -> list[r.Conversation]:
    inboxes = {box.id for box in visible_inboxes(call)}
    return [row for row in call.world.conversations if row.inbox_id in inboxes]


def _number(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if text in (None, ""):
        return None
    if not str(text).isdecimal():
        raise Refusal.error(422, f"{name} is not a number")
    return int(str(text))


def _matching(call: Call) -> list[r.Conversation]:
    world, rows = call.world, _visible(call)
    status, q = call.query.get("status", "open"), call.query.get("q")
    if status not in (*r.STATUSES, "all"):
        raise Refusal.error(501, f"status={status}")
    if status != "all" and not q:
        rows = [c for c in rows if c.status == status]
    for name in ("inbox_id", "team_id"):
        wanted = _number(call, name)
        if wanted is not None:
            rows = [c for c in rows if getattr(c, name) == wanted]
    labels = set(call.query.getlist("labels[]"))
    if labels:
        rows = [c for c in rows if labels & set(c.labels)]
    source_id = call.query.get("source_id")
    if source_id:
        rows = [c for c in rows if world.contact_inboxes.rows[c.contact_inbox_id].source_id == source_id]
    if q:
        rows = [c for c in rows if any(q.lower() in (m.content or "").lower() for m in world.messages_of(c.id))]
    kind = call.query.get("conversation_type")
    if kind == "unattended":
        rows = [c for c in rows if c.first_reply_created_at is None or c.waiting_since is not None]
    elif kind:
        raise Refusal.error(501, f"conversation_type={kind}")
    since = _number(call, "updated_within")
    if since is not None:
        rows = [c for c in rows if c.updated_at > world.now() - since]
    return rows


def _counts(call: Call, rows: Iterable[r.Conversation]) -> r.Json:
    rows = list(rows)
    assigned = sum(c.assignee_id is not None for c in rows)
    return {
        "mine_count": sum(c.assignee_id == call.user.id for c in rows),
        "assigned_count": assigned,
        "unassigned_count": len(rows) - assigned,
        "all_count": len(rows),
    }


def _assigned(call: Call, rows: list[r.Conversation]) -> list[r.Conversation]:
    who = call.query.get("assignee_type", "all")
    if who == "me":
        return [c for c in rows if c.assignee_id == call.user.id]
    if who in ("assigned", "unassigned"):
        return [c for c in rows if (c.assignee_id is not None) == (who == "assigned")]
    if who != "all":
        raise Refusal.error(501, f"assignee_type={who}")
    return rows


def _list(call: Call) -> r.Json:
    rows = _matching(call)
    meta = _counts(call, rows)
    rows = _assigned(call, rows)
    sort = call.query.get("sort_by", "last_activity_at_desc")
    if sort == "unread":
        rows.sort(key=lambda c: (views.unread(call.world, c) > 0, c.last_activity_at), reverse=True)
    elif sort in _SORTS:
        key, descending = _SORTS[sort]
        rows.sort(key=key, reverse=descending)
    else:
        raise Refusal.error(501, f"sort_by={sort}")
    if "updated_within" not in call.query:
        rows = rows[(call.page() - 1) * PAGE : call.page() * PAGE]
    return {"data": {"meta": meta, "payload": [views.conversation(call.world, c, call.user) for c in rows]}}


def _meta(call: Call) -> r.Json:
    return {"meta": _counts(call, _matching(call))}


def _value(call: Call) -> Callable[[r.Conversation, str], Any]:
    def value(row: r.Conversation, key: str) -> Any:
        if key == "display_id":
            return row.id
        if key in ("browser_language", "conversation_language", "mail_subject"):
            return row.additional_attributes.get(key)
        return getattr(row, key) if key in filters.CONVERSATION_KEYS else row.custom_attributes.get(key)

    return value


def _filter(call: Call) -> r.Json:
    custom = {d.attribute_key for d in call.world.definitions if d.attribute_model == "conversation_attribute"}
    today = datetime.fromtimestamp(call.world.now(), UTC).date()
    test = filters.compile_filter(
        call.body.get("payload"), filters.CONVERSATION_KEYS, custom, _value(call), today, first_only=False
    )
    rows = sorted(filter(test, _visible(call)), key=lambda c: c.last_activity_at, reverse=True)
    meta = _counts(call, rows)
    del meta["assigned_count"]
    page = rows[(call.page() - 1) * PAGE : call.page() * PAGE]
    return {"meta": meta, "payload": [views.conversation(call.world, c, call.user) for c in page]}


def _show(call: Call) -> r.Json:
    return views.conversation(call.world, conversation_of(call), call.user)


def identity_for(call: Call, contact: r.Contact, inbox: r.Inbox, source_id: str | None) -> r.ContactInbox:
    """The contact's identity in this inbox, made when absent. Raises Refusal when the channel cannot make one up."""
    world = call.world
    if not source_id:
        if inbox.channel_type not in GENERATES_SOURCE_ID:
            raise Refusal.error(500, "Internal Server Error")
        mine = next((i for i in world.identities_of(contact.id) if i.inbox_id == inbox.id), None)
        if mine:
            return mine
        source_id = _made_up(contact, inbox)
    found = world.identity(inbox.id, source_id)
    if found is None:
        return world.contact_inboxes.new(contact_id=contact.id, inbox_id=inbox.id, source_id=source_id)
    if found.contact_id != contact.id:
        raise Refusal.invalid("Source has already been taken", "source_id")
    return found


def _made_up(contact: r.Contact, inbox: r.Inbox) -> str:
    if inbox.channel_type in ("Channel::Api", "Channel::WebWidget"):
        return str(uuid.uuid4())
    known = contact.email if inbox.channel_type == "Channel::Email" else contact.phone_number
    if not known:
        what = "email" if inbox.channel_type == "Channel::Email" else "phone number"
        raise Refusal.error(422, f"Contact should have an {what} to start a conversation")
    return known.lstrip("+") if inbox.channel_type == "Channel::Whatsapp" else known


def _create(call: Call) -> r.Json:
    world, body = call.world, call.body
    inbox = world.inboxes.get(body.get("inbox_id"))
    identity = world.identity(inbox.id, str(body["source_id"])) if inbox and body.get("source_id") else None
    contact = world.contacts.get(identity.contact_id if identity else body.get("contact_id"))
    if inbox is None or contact is None:
        raise Refusal.error(404, NOT_FOUND)
    status = body.get("status", "open")
    if status not in r.STATUSES:
        raise Refusal.error(422, f"'{status}' is not a valid status")
    message = body.get("message") or {}
    unknown = set(message) - {"content", "template_params", "attachments", "private"}
    if unknown:
        raise Refusal.error(501, f"parameter unknown to the sandbox: {', '.join(sorted(unknown))}")
    identity = identity or identity_for(call, contact, inbox, body.get("source_id"))
    existing = [world.conversations.rows[i] for i in world.contact_conversations[contact.id]]
    existing = [c for c in existing if c.contact_inbox_id == identity.id]
    if inbox.lock_to_single_conversation and existing:
        conversation = existing[-1]
    else:
        conversation = talk.open_conversation(
            world,
            identity,
            status=status,
            assignee_id=body.get("assignee_id"),
            team_id=body.get("team_id"),
            custom_attributes=body.get("custom_attributes") or {},
            additional_attributes=body.get("additional_attributes") or {},
        )
    if message:
        talk.post(
            world,
            conversation,
            message.get("content"),
            message_type=r.OUTGOING,
            sender=call.user,
            private=bool(message.get("private")),
        )
    return views.conversation(world, conversation, call.user)


def _update(call: Call) -> r.Json:
    conversation = conversation_of(call)
    if "priority" in call.body:
        _set_priority(call, conversation)
    return views.conversation(call.world, conversation, call.user)


def _toggle_priority(call: Call) -> None:
    _set_priority(call, conversation_of(call))


def _set_priority(call: Call, conversation: r.Conversation) -> None:
    priority = call.body.get("priority") or None
    if priority not in (*r.PRIORITIES, None):
        raise Refusal.error(422, f"'{priority}' is not a valid priority")
    talk.change(call.world, conversation, call.user, priority=priority)


def _toggle_status(call: Call) -> r.Json:
    conversation, status = conversation_of(call), call.body.get("status")
    if status is None:
        status = "resolved" if conversation.status == "open" else "open"
    if status not in r.STATUSES:
        raise Refusal.error(422, f"'{status}' is not a valid status")
    until = call.body.get("snoozed_until")
    until = float(until) if status == "snoozed" and until else None
    # A human agent who opens a conversation takes it; an administrator's token does not.
    takes = status == "open" and call.user.role == "agent"
    assignee = call.user.id if takes else conversation.assignee_id
    talk.change(call.world, conversation, call.user, status=status, snoozed_until=until, assignee_id=assignee)
    payload = {
        "success": True,
        "conversation_id": conversation.id,
        "current_status": status,
        "snoozed_until": views.iso(until),
    }
    return {"meta": {}, "payload": payload}


def _assign(call: Call) -> r.Json | None:
    conversation, world = conversation_of(call), call.world
    if call.body.get("assignee_type") == "AgentBot":
        raise Refusal.error(501, "agent bots")
    if "assignee_id" in call.body:
        agent = world.agents.get(call.body["assignee_id"])
        talk.change(world, conversation, call.user, assignee_id=agent.id if agent else None)
        return views.agent(agent) if agent else None
    team = world.teams.get(call.body.get("team_id"))
    fields: r.Json = {"team_id": team.id if team else None}
    if team and team.member_ids and conversation.assignee_id not in (None, *team.member_ids):
        fields["assignee_id"] = None
    talk.change(world, conversation, call.user, **fields)
    return views.team(team, call.user) if team else None


def _labels(call: Call) -> r.Json:
    return {"payload": conversation_of(call).labels}


def _replace_labels(call: Call) -> r.Json:
    conversation = conversation_of(call)
    labels = list(dict.fromkeys(str(label) for label in call.body.get("labels") or []))
    talk.change(call.world, conversation, call.user, labels=labels)
    return {"payload": conversation.labels}


def _custom_attributes(call: Call) -> r.Json:
    """Replaces ALL keys at 4.15.1."""
    conversation = conversation_of(call)
    talk.change(call.world, conversation, call.user, custom_attributes=call.body.get("custom_attributes") or {})
    return {"custom_attributes": conversation.custom_attributes}


def _seen(call: Call) -> r.Json:
    conversation = conversation_of(call)
    conversation.agent_last_seen_at = call.world.now()
    call.world.conversations.save(conversation)
    return views.conversation(call.world, conversation, call.user)


def _bulk(call: Call) -> None:
    world, kind, labels = call.world, call.body.get("type"), call.body.get("labels") or {}
    if kind not in ("Conversation", "Contact"):
        raise Refusal(422, {"success": False})
    fields = call.body.get("fields") or {}
    if set(labels) - {"add", "remove"} or set(fields) - {"status", "assignee_id", "team_id"}:
        raise Refusal.error(501, f"bulk action {call.body}")
    for id in call.body.get("ids") or []:
        row: Any = (world.conversations if kind == "Conversation" else world.contacts).get(id)
        if row is None:
            continue
        kept = [label for label in row.labels if label not in (labels.get("remove") or [])]
        after = list(dict.fromkeys([*kept, *(labels.get("add") or [])]))
        if kind == "Conversation":
            talk.change(world, row, call.user, labels=after, **fields)
        else:
            row.labels = after
            world.contacts.save(row)


_LIST = (
    "status",
    "assignee_type",
    "inbox_id",
    "team_id",
    "labels[]",
    "q",
    "page",
    "sort_by",
    "updated_within",
    "source_id",
    "conversation_type",
)
_CREATE = (
    "inbox_id",
    "contact_id",
    "source_id",
    "status",
    "assignee_id",
    "team_id",
    "custom_attributes",
    "additional_attributes",
    "message",
)
_ONE = "/conversations/{id:int}"

ROUTES = [
    Route("GET", "/conversations", _list, query=_LIST),
    Route("POST", "/conversations", _create, body=_CREATE),
    Route("GET", "/conversations/meta", _meta, query=_LIST),
    Route("POST", "/conversations/filter", _filter, query=("page",), body=("payload",)),
    Route("GET", _ONE, _show),
    Route("PATCH", _ONE, _update, body=("priority",)),
    Route("POST", _ONE + "/toggle_status", _toggle_status, body=("status", "snoozed_until")),
    Route("POST", _ONE + "/toggle_priority", _toggle_priority, body=("priority",)),
    Route("POST", _ONE + "/assignments", _assign, body=("assignee_id", "team_id", "assignee_type")),
    Route("GET", _ONE + "/labels", _labels),
    Route("POST", _ONE + "/labels", _replace_labels, body=("labels",)),
    Route("POST", _ONE + "/custom_attributes", _custom_attributes, body=("custom_attributes",)),
    Route("POST", _ONE + "/update_last_seen", _seen),
    Route("POST", "/bulk_actions", _bulk, body=("type", "ids", "labels", "fields")),
]
