"""Application API: the account's fixtures. Profile, inboxes, agents, teams, labels, attribute definitions, webhooks."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot import views
from connector.sandbox.chatwoot.http import NOT_FOUND, Call, Refusal, Route
from connector.sandbox.chatwoot.webhooks import EVENTS
from connector.sandbox.chatwoot.world import ACCOUNT_ID, ACCOUNT_NAME

VERSION = "4.15.1"
DISPLAY_TYPES = ("text", "number", "currency", "percent", "link", "date", "list", "checkbox")
MODELS = ("conversation_attribute", "contact_attribute")


def visible_inboxes(call: Call) -> list[r.Inbox]:
    """The inboxes this user may see, by name; an agent only those it is a member of."""
    everything = call.user.role == "administrator"
    boxes = [b for b in call.world.inboxes if everything or b.member_ids is None or call.user.id in b.member_ids]
    return sorted(boxes, key=lambda box: (box.name.lower(), box.id))


def _version(call: Call) -> r.Json:
    now = datetime.fromtimestamp(call.world.now(), UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {"version": VERSION, "timestamp": now, "queue_services": "ok", "data_services": "ok"}


def _profile(call: Call) -> r.Json:
    account = {
        "id": ACCOUNT_ID,
        "name": ACCOUNT_NAME,
        "status": "active",
        "role": call.user.role,
        "permissions": [call.user.role],
        "availability": "online",
        "active_at": None,
    }
    return {
        **views.agent(call.user),
        "access_token": call.user.token,
        "type": None,
        "accounts": [account],
    }


def _inboxes(call: Call) -> r.Json:
    return {"payload": [views.inbox(box) for box in visible_inboxes(call)]}


def _inbox(call: Call) -> r.Json:
    box: r.Inbox = call.row("inbox")
    if box not in visible_inboxes(call):
        raise Refusal.error(404, NOT_FOUND)
    return views.inbox(box)


def _agents(call: Call) -> list[r.Json]:
    return [views.agent(a) for a in call.world.agents]


def _teams(call: Call) -> list[r.Json]:
    return [views.team(t, call.user) for t in call.world.teams]


def _team_members(call: Call) -> list[r.Json]:
    team: r.Team = call.row("team")
    return [views.agent(a) for a in call.world.agents if a.id in team.member_ids]


def _labels(call: Call) -> r.Json:
    return {"payload": [vars(row) for row in sorted(call.world.labels, key=lambda row: row.title)]}


def _create_label(call: Call) -> r.Json:
    title = str(call.required("title")).lower()
    if not re.fullmatch(r"[^\W]([\w-]*[^\W])?", title) or len(title) < 2:
        raise Refusal.invalid("Title is invalid", "title")
    if any(row.title == title for row in call.world.labels):
        raise Refusal.invalid("Title has already been taken", "title")
    return vars(call.world.labels.new(**{**call.body, "title": title}))


def _definitions(call: Call) -> list[r.Json]:
    model = call.query.get("attribute_model")
    return [definition(row) for row in call.world.definitions if model in (None, row.attribute_model)]


def definition(row: r.Definition) -> r.Json:
    return {**vars(row), "default_value": None, "regex_pattern": None, "regex_cue": None}


def _create_definition(call: Call) -> r.Json:
    for name, allowed in (("attribute_display_type", DISPLAY_TYPES), ("attribute_model", MODELS)):
        value = call.required(name)
        known = allowed[value] if isinstance(value, int) and 0 <= value < len(allowed) else value
        if known not in allowed:
            raise Refusal.error(422, f"'{value}' is not a valid {name}")
        call.body[name] = known
    key = call.required("attribute_key")
    if any((d.attribute_key, d.attribute_model) == (key, call.body["attribute_model"]) for d in call.world.definitions):
        raise Refusal.invalid("Attribute key has already been taken", "attribute_key")
    call.body.setdefault("attribute_display_name", key)
    return definition(call.world.definitions.new(**call.body))


def _webhooks(call: Call) -> r.Json:
    return {"payload": {"webhooks": [views.webhook(row) for row in call.world.webhooks]}}


def _check_webhook(call: Call, own: r.Webhook | None) -> None:
    url, events = call.body.get("url"), call.body.get("subscriptions")
    if url is not None:
        parts = urlsplit(str(url))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refusal.invalid("Url is invalid", "url")
        if any(row.url == url and row is not own for row in call.world.webhooks):
            raise Refusal.invalid("Url has already been taken", "url")
    if events is not None and (not events or not set(events) <= set(EVENTS)):
        raise Refusal.invalid("Subscriptions Invalid events", "subscriptions")


def _create_webhook(call: Call) -> r.Json:
    call.required("url")
    _check_webhook(call, None)
    fields: dict[str, Any] = {"name": None, "inbox_id": None, "subscriptions": list(EVENTS[:3]), **call.body}
    hook = call.world.webhooks.new(**fields, secret=secrets.token_urlsafe(24))
    return {"payload": {"webhook": views.webhook(hook)}}


def _update_webhook(call: Call) -> r.Json:
    hook: r.Webhook = call.row("webhook")
    _check_webhook(call, hook)
    for name, value in call.body.items():
        setattr(hook, name, value)
    call.world.webhooks.save(hook)
    return {"payload": {"webhook": views.webhook(hook)}}


def _delete_webhook(call: Call) -> None:
    call.world.webhooks.delete(call.row("webhook"))


_WEBHOOK = ("name", "url", "subscriptions", "inbox_id")
_DEFINITION = (
    "attribute_key",
    "attribute_display_name",
    "attribute_display_type",
    "attribute_model",
    "attribute_description",
    "attribute_values",
)

ROUTES = [
    Route("GET", "/api", _version, scope="open"),
    Route("GET", "/api/v1/profile", _profile, scope="profile"),
    Route("GET", "/inboxes", _inboxes),
    Route("GET", "/inboxes/{id:int}", _inbox),
    Route("GET", "/agents", _agents),
    Route("GET", "/teams", _teams),
    Route("GET", "/teams/{id:int}/team_members", _team_members),
    Route("GET", "/labels", _labels),
    Route("POST", "/labels", _create_label, body=("title", "description", "color", "show_on_sidebar"), admin=True),
    Route("GET", "/custom_attribute_definitions", _definitions, query=("attribute_model",)),
    Route("POST", "/custom_attribute_definitions", _create_definition, body=_DEFINITION, admin=True),
    Route("GET", "/webhooks", _webhooks, admin=True),
    Route("POST", "/webhooks", _create_webhook, body=_WEBHOOK, admin=True),
    Route("PATCH", "/webhooks/{id:int}", _update_webhook, body=_WEBHOOK, admin=True),
    Route("DELETE", "/webhooks/{id:int}", _delete_webhook, admin=True),
]
