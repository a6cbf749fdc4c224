"""The canonical fields of the platform side, and the names that templates and filters may use. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from connector.model import Fact, Fields, Kind, Value

CANONICAL: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.PERSON: {
        "name": "full name",
        "first_name": "first name",
        "last_name": "last name",
        "email": "e-mail address, lower-case",
        "phone": "phone number, E.164",
        "identifier": "the platform's free field for a foreign id",
        "company": "company name",
        "city": "city",
        "country": "country",
        "language": "language code",
        "handle": "user name on the network",
        "picture": "address of the profile picture",
        "blocked": "true when the person is blocked on the platform",
        "tags": "set of labels",
        "identity_keys": "set of network:user id, one per network account",
    },
    Kind.IDENTITY: {
        "network": "instagram, facebook, whatsapp, telegram, line, tiktok, twitter, email, sms, web, api",
        "user_id": "the network's own id of the user",
        "handle": "user name on the network",
        "profile_url": "address of the profile",
        "followers": "number of followers",
        "first_seen": "time at which the account was first seen",
    },
    Kind.CONVERSATION: {
        "network": "instagram, facebook, whatsapp, telegram, line, tiktok, twitter, email, sms, web, api",
        "inbox": "name of the inbox (the company's own account)",
        "type": "dm, comment, mention, review, email, chat",
        "status": "open, pending, snoozed, resolved",
        "priority": "priority",
        "assignee": "e-mail address of the agent",
        "team": "name of the team",
        "tags": "set of labels",
        "subject": "subject",
        "url": "address of the conversation on the platform",
        "opened_at": "time at which it was opened",
        "can_reply": "false when the network does not allow a reply now",
    },
    Kind.MESSAGE: {
        "direction": "inbound, outbound",
        "type": "text, template, note, ...",
        "author": "name of the author",
        "author_email": "e-mail address of the agent who wrote it",
        "author_type": "person, agent, bot, app (written in the network's own app)",
        "text": "the text",
        "attachments": "list of type, url and name",
        "in_reply_to": "id of the message it answers",
        "private": "true for a note that never left the platform",
        "sent_at": "time at which it was sent",
        "deleted": "true when it was deleted on the network",
        "delivery": "sent, delivered, read, failed",
        "delivery_error": "why the delivery failed",
        "url": "address of the message or of its conversation",
        "network_id": "the network's own id of the message",
        "person": "reference of the person it belongs to",
    },
}
"""What a platform adapter gives, per kind. A platform that does not know a field leaves it out."""

DERIVED: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.PERSON: {"id": "the platform's id"},
    Kind.IDENTITY: {"id": "network:user id"},
    Kind.CONVERSATION: {
        "id": "the platform's id",
        "message_count": "number of its messages in the CRM",
        "first_message_at": "time of its first message",
        "last_message_at": "time of its last message",
        "last_direction": "direction of its last message",
    },
    Kind.MESSAGE: {
        "id": "the platform's id",
        "mark": '"[deleted] ", "[edited] " or nothing',
        "arrow": '"<-" for inbound, "->" for outbound',
        "attachment_lines": "a blank line and one line `type: address` per attachment, or nothing",
        "undelivered": "a blank line and why it never reached the network, or nothing",
        "fate": "what became of it, as a sentence: for the note under a reply",
    },
}
"""What the connector itself derives; to be read in templates, filters and one-way lines to the CRM."""

ATTRIBUTES: Final = "attributes."

AROUND: Final[Mapping[Kind, tuple[Kind, ...]]] = {
    Kind.PERSON: (),
    Kind.IDENTITY: (Kind.PERSON,),
    Kind.CONVERSATION: (Kind.PERSON, Kind.IDENTITY),
    Kind.MESSAGE: (Kind.PERSON, Kind.IDENTITY, Kind.CONVERSATION),
}
"""The records around a record whose fields can be named as `kind.field`."""


def platform_kind(kind: Kind) -> Kind:
    """The kind whose fields a record of this kind shows on the platform: a reply has become a message there."""
    return Kind.MESSAGE if kind is Kind.REPLY else kind


def known_names(kind: Kind) -> set[str]:
    """Every name that a template or filter of this kind may use; any name under `attributes.` is known as well."""
    kind = platform_kind(kind)
    names = {"connection", *CANONICAL[kind], *DERIVED[kind]}
    for other in AROUND[kind]:
        names.update(f"{other}.{name}" for name in (*CANONICAL[other], *DERIVED[other]))
    return names


def is_known(name: str, kind: Kind) -> bool:
    prefixes = (ATTRIBUTES, *(f"{other}.{ATTRIBUTES}" for other in AROUND[platform_kind(kind)]))
    return name in known_names(kind) or any(name.startswith(p) and name != p for p in prefixes)


def names(
    own: Fact, around: Iterable[Fact] = (), *, connection: str, derived: Fields | None = None
) -> dict[str, Value]:
    """The namespace of one platform record: its fields at the top, those of the records around it as `kind.field`.

    `derived` holds the conversation's derived fields (`message_count`, ...), whether it is `own` or around.
    """
    space: dict[str, Value] = {"connection": connection}
    for fact in around:
        values = {**_shown(fact), **(derived or {} if fact.kind is Kind.CONVERSATION else {})}
        space.update({f"{fact.kind}.{name}": value for name, value in values.items()})
    space.update(_shown(own))
    if own.kind is Kind.CONVERSATION:
        space.update(derived or {})
    if own.kind is Kind.MESSAGE:
        space["fate"] = _fate(own.fields, str(space.get("conversation.network") or ""))
    return space


def unsent(connection: str, fate: str) -> dict[str, Value]:
    """The namespace of a note about a reply that did not leave."""
    return {"connection": connection, "fate": fate}


def _fate(fields: Fields, network: str) -> str:
    delivery = str(fields.get("delivery") or "sent")
    if delivery == "failed":
        return f"Not delivered{' on ' * bool(network)}{network}: {_reason(fields)}"
    return f"{delivery.capitalize()}{' on ' * bool(network)}{network}"


def _shown(fact: Fact) -> dict[str, Value]:
    space = {**fact.fields, "id": fact.ref.id}
    if fact.kind is Kind.MESSAGE:
        space["mark"] = "[deleted] " if fact.fields.get("deleted") else "[edited] " if fact.edited else ""
        space["arrow"] = "->" if fact.fields.get("direction") == "outbound" else "<-"
        space["attachment_lines"] = attachment_lines(fact.fields.get("attachments"))
        failed = fact.fields.get("delivery") == "failed"
        space["undelivered"] = f"\n\nNot delivered: {_reason(fact.fields)}" if failed else ""
    return space


def _reason(fields: Fields) -> str:
    return str(fields.get("delivery_error") or "no reason given")


def attachment_lines(attachments: Value) -> str:
    lines = [
        f"{item.get('type') or 'file'}: {item.get('url') or item.get('name') or '?'}" for item in attachments or ()
    ]
    return "\n\n" + "\n".join(lines) if lines else ""
