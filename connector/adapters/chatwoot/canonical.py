"""Chatwoot's JSON as observations with the connector's canonical fields. Pure.

Facts: Chatwoot 4.15.1 source (`app/views/api/v1`, `app/services/{instagram,whatsapp,telegram,tiktok,twitter}`). A key that
the answer does not have is left out (absent), a null is kept (known to be blank).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from connector.adapters.chatwoot.client import SYSTEM, Json
from connector.adapters.chatwoot.networks import Identity, identities_of, network_of
from connector.model import Kind, Life, Observed, Ref, stamp

INCOMING, OUTGOING, ACTIVITY, TEMPLATE = 0, 1, 2, 3
TOKEN = "connector_token"  # noqa: S105
"""The key in `content_attributes` that marks our own replies; Chatwoot stores and returns it untouched."""

TYPES = {"incoming_email": "email"}
AUTHORS = {"contact": "person", "user": "agent", "agent_bot": "bot"}
UNNAMED = re.compile(r"Unknown \(.*\)")
"""What Chatwoot calls an Instagram user whose profile Meta does not show: `Unknown (IG: <id>)`."""


@dataclass(frozen=True)
class Directory:
    """What a row only names by id: inboxes (id to name and channel), agents (id to e-mail), and ourselves."""

    url: str
    account: int
    me: int
    inboxes: Mapping[int, Json] = field(default_factory=dict)
    agents: Mapping[int, str] = field(default_factory=dict)


def person_ref(id_: object) -> Ref:
    return Ref(SYSTEM, "person", str(id_))


def conversation_ref(id_: object) -> Ref:
    return Ref(SYSTEM, "conversation", str(id_))


def message_ref(conversation: object, id_: object) -> Ref:
    """A message is found only through its conversation, so its ref names both: `118-90412`."""
    return Ref(SYSTEM, "message", f"{conversation}-{id_}")


def identity_ref(key: str) -> Ref:
    return Ref(SYSTEM, "identity", key)


def gone(ref: Ref) -> Observed:
    return Observed(ref, Kind(ref.object), {}, life=Life.GONE)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def split_name(name: str) -> tuple[str | None, str]:
    """First and last name: the last word is the last name, a single word is only a last name."""
    if UNNAMED.fullmatch(name):
        return None, name
    first, _, last = name.rpartition(" ")
    return first.strip() or None, last


def person(contact: Json, labels: Iterable[str] | None = None) -> Observed:
    """A contact as one observation. Tags only when the labels were read, identity_keys only when the contact shows its
    inboxes (the short forms inside conversations and messages do not)."""
    more = contact.get("additional_attributes") or {}
    fields: Json = {}
    name = " ".join((contact.get("name") or "").split())
    if name:
        fields["first_name"], fields["last_name"] = split_name(name)
        fields["name"] = name
    if "email" in contact:
        fields["email"] = (contact["email"] or "").strip().lower() or None
    for ours, theirs in (("phone", "phone_number"), ("identifier", "identifier"), ("picture", "thumbnail")):
        if theirs in contact:
            fields[ours] = contact[theirs] or None
    if "blocked" in contact:
        fields["blocked"] = bool(contact["blocked"])
    for ours, theirs in (
        ("company", "company_name"),
        ("city", "city"),
        ("country", "country"),
        ("language", "language_code"),
    ):
        if theirs in more:
            fields[ours] = more[theirs] or None
    if handle := _handle(contact):
        fields["handle"] = handle
    if labels is not None:
        fields["tags"] = sorted(set(labels))
    if "contact_inboxes" in contact:
        fields["identity_keys"] = sorted({i.key for i in identities_of(contact)})
    fields |= _attributes(contact)
    return Observed(person_ref(contact["id"]), Kind.PERSON, fields)


def _handle(contact: Json) -> str | None:
    """The name the person goes by on a network, from the first network that has one."""
    more = contact.get("additional_attributes") or {}
    profiles = more.get("social_profiles") or {}
    keys = [f"social_{n}_user_name" for n in ("instagram", "tiktok", "telegram", "whatsapp")]
    candidates = [more.get(k) for k in [*keys, "screen_name", "username"]] + [profiles[k] for k in sorted(profiles)]
    return next((str(c) for c in candidates if c), None)


def identities(contact: Json) -> list[Observed]:
    """The network identities of a contact that shows its inboxes."""
    return [_identity(contact, each) for each in identities_of(contact)]


def _identity(contact: Json, identity: Identity) -> Observed:
    fields: Json = {"network": identity.network, "user_id": identity.user_id}
    optional = {"handle": identity.handle, "profile_url": identity.profile_url, "followers": identity.followers}
    fields |= {k: v for k, v in optional.items() if v is not None}
    if contact.get("created_at"):
        fields["first_seen"] = stamp(moment(contact["created_at"]))
    return Observed(identity_ref(identity.key), Kind.IDENTITY, fields, parent=person_ref(contact["id"]))


def conversation(row: Json, directory: Directory) -> Observed:
    more, meta = row.get("additional_attributes") or {}, row["meta"]
    inbox = directory.inboxes.get(row["inbox_id"], {})
    network = network_of(meta.get("channel") or inbox.get("channel_type") or "", conversation=more, inbox=inbox)
    assignee = meta.get("assignee") if meta.get("assignee_type") != "AgentBot" else None
    fields: Json = {
        "network": network,
        "type": _type(network, more),
        "status": row["status"],
        "priority": row.get("priority"),
        "assignee": (assignee.get("email") or "").lower() or None if assignee else None,
        "team": (meta.get("team") or {}).get("name"),
        "tags": sorted(set(row.get("labels") or [])),
        "url": f"{directory.url}/app/accounts/{directory.account}/conversations/{row['id']}",
        "opened_at": stamp(moment(row["created_at"])),
        "can_reply": bool(row.get("can_reply")),
    }
    if inbox.get("name"):
        fields["inbox"] = inbox["name"]
    if more.get("mail_subject"):
        fields["subject"] = more["mail_subject"]
    fields |= _attributes(row)
    return Observed(
        conversation_ref(row["id"]),
        Kind.CONVERSATION,
        fields,
        changed_at=moment(row["updated_at"]) if row.get("updated_at") else None,
        parent=person_ref(meta["sender"]["id"]),
    )


def _type(network: str, more: Json) -> str:
    if network == "email":
        return "email"
    if network in {"web", "api"}:
        return "chat"
    return "mention" if network == "twitter" and more.get("type") == "tweet" else "dm"


def message(row: Json, contact: object, directory: Directory) -> Observed | None:
    """A message of a conversation with this contact (id); None for activity lines, which nobody wrote.

    A deleted message has lost its text and attachments to a fixed sentence: they are left out, so that what was known of
    them stays known.
    """
    if row["message_type"] == ACTIVITY:
        return None
    extra = row.get("content_attributes") or {}
    number, sender = row["conversation_id"], row.get("sender") or {}
    outbound = row["message_type"] in (OUTGOING, TEMPLATE)
    author_type = _author_type(row, sender, extra)
    written_by_person = sender.get("type") == "contact" and not outbound
    deleted = bool(extra.get("deleted"))
    fields: Json = {
        "direction": "outbound" if outbound else "inbound",
        "type": _message_type(row),
        "author_type": author_type,
        "private": bool(row.get("private")),
        "sent_at": stamp(moment(row["created_at"])),
        "deleted": deleted,
        "url": f"{directory.url}/app/accounts/{directory.account}/conversations/{number}?messageId={row['id']}",
        "person": str(person_ref(sender["id"] if written_by_person else contact)),
    }
    if sender.get("name"):
        fields["author"] = sender["name"]
    email = directory.agents.get(sender.get("id", 0)) if sender.get("type") == "user" else sender.get("email")
    if email:
        fields["author_email"] = str(email).lower()
    if not deleted:
        fields["text"] = row.get("content") or ""
        fields["attachments"] = [_attachment(a) for a in row.get("attachments") or []]
    if extra.get("in_reply_to"):
        fields["in_reply_to"] = f"{number}-{extra['in_reply_to']}"
    if row.get("source_id"):
        fields["network_id"] = row["source_id"]
    if outbound and not row.get("private"):
        failed = row.get("status") == "failed"
        fields["delivery"] = row.get("status")
        fields["delivery_error"] = (extra.get("external_error") or "unknown reason") if failed else None
    return Observed(
        message_ref(number, row["id"]),
        Kind.MESSAGE,
        fields,
        changed_at=moment(row["created_at"]),
        by=fields.get("author_email") or fields.get("author"),
        ours=sender.get("type") == "user" and sender.get("id") == directory.me,
        parent=conversation_ref(number),
        token=str(extra[TOKEN]) if extra.get(TOKEN) else None,
    )


def _author_type(row: Json, sender: Json, extra: Json) -> str:
    if sender.get("type") in AUTHORS:
        return AUTHORS[sender["type"]]
    if row["message_type"] == INCOMING:
        return "person"
    return "app" if extra.get("external_echo") else "bot"


def _message_type(row: Json) -> str:
    if row.get("private"):
        return "note"
    if row["message_type"] == TEMPLATE:
        return "template"
    kind = row.get("content_type") or "text"
    return TYPES.get(kind, kind)


def _attachment(row: Json) -> Json:
    url = row.get("data_url") or ""
    name = unquote(urlsplit(url).path.rpartition("/")[2]) or row.get("fallback_title") or row.get("file_type") or "file"
    return {"type": row.get("file_type") or "file", "url": url, "name": name}


def _attributes(row: Json) -> dict[str, Any]:
    return {f"attributes.{key}": value for key, value in sorted((row.get("custom_attributes") or {}).items())}
