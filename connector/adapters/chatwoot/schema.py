"""The canonical fields as Chatwoot holds them: types, lengths, what may be written, what is unique. Data and one function.

Lengths: Chatwoot source, `app/models/application_record.rb` (strings 255) and `message.rb` (text 150,000); what lies in
`additional_attributes` (company, city, country) has no limit.
"""

from collections.abc import Iterable

from connector.adapters.base import FieldInfo, ObjectInfo
from connector.adapters.chatwoot.client import Json
from connector.model import Kind

STRING = 255
MESSAGE = 150_000
STATUSES = ("open", "pending", "snoozed", "resolved")
PRIORITIES = ("low", "medium", "high", "urgent")
DELIVERY = ("sent", "delivered", "read", "failed")
ATTRIBUTE_TYPES = {
    "text": "text", "number": "number", "currency": "number", "percent": "number", "link": "url", "date": "date",
    "list": "choice", "checkbox": "boolean",
}  # fmt: skip
"""`attribute_display_type` of a custom attribute definition to our field types."""


def _shown(name: str, type_: str = "text", **more: object) -> FieldInfo:
    return FieldInfo(name, type_, createable=False, updateable=False, **more)  # type: ignore[arg-type]


def _fixed(name: str, choices: tuple[str, ...]) -> FieldInfo:
    return FieldInfo(name, "choice", createable=False, choices=choices, restricted=True)


FIELDS: dict[Kind, list[FieldInfo]] = {
    Kind.PERSON: [
        FieldInfo("name", "text", length=STRING),
        FieldInfo("first_name", "text", length=STRING),
        FieldInfo("last_name", "text", length=STRING),
        FieldInfo("email", "email", length=STRING, unique=True),
        FieldInfo("phone", "phone", length=16, unique=True),
        FieldInfo("identifier", "text", length=STRING, unique=True, external_id=True, case_sensitive=True),
        FieldInfo("company", "text"),
        FieldInfo("city", "text"),
        FieldInfo("country", "text"),
        FieldInfo("blocked", "boolean"),
        FieldInfo("tags", "tags"),
        _shown("language"),
        _shown("handle"),
        _shown("picture", "url"),
        _shown("identity_keys", "list"),
    ],
    Kind.IDENTITY: [
        _shown("network"),
        _shown("user_id"),
        _shown("handle"),
        _shown("profile_url", "url"),
        _shown("followers", "integer"),
        _shown("first_seen", "datetime"),
    ],
    Kind.CONVERSATION: [
        _fixed("status", STATUSES),
        _fixed("priority", PRIORITIES),
        FieldInfo("assignee", "email", createable=False),
        FieldInfo("team", "text", createable=False),
        FieldInfo("tags", "tags", createable=False),
        _shown("network"),
        _shown("inbox"),
        _shown("type", "choice", choices=("dm", "mention", "email", "chat")),
        _shown("subject"),
        _shown("url", "url"),
        _shown("opened_at", "datetime"),
        _shown("can_reply", "boolean"),
    ],
    Kind.MESSAGE: [
        FieldInfo("text", "longtext", length=MESSAGE, updateable=False),
        FieldInfo("in_reply_to", "text", updateable=False),
        _shown("direction", "choice", choices=("inbound", "outbound")),
        _shown("type"),
        _shown("author"),
        _shown("author_email", "email"),
        _shown("author_type", "choice", choices=("person", "agent", "bot", "app")),
        _shown("attachments", "list"),
        _shown("private", "boolean"),
        _shown("sent_at", "datetime"),
        _shown("deleted", "boolean"),
        _shown("delivery", "choice", choices=DELIVERY),
        _shown("delivery_error"),
        _shown("url", "url"),
        _shown("network_id"),
        _shown("person", "reference"),
    ],
}

MODELS = {Kind.PERSON: "contact_attribute", Kind.CONVERSATION: "conversation_attribute"}


def described(kind: Kind, definitions: Iterable[Json]) -> ObjectInfo:
    """The object with the account's defined custom attributes; others are allowed too, Chatwoot takes any key."""
    fields = {info.name: info for info in FIELDS[kind]}
    for row in definitions:
        name = f"attributes.{row['attribute_key']}"
        type_ = ATTRIBUTE_TYPES.get(row["attribute_display_type"], "any")
        choices = tuple(row.get("attribute_values") or ())
        fields[name] = FieldInfo(name, type_, choices=choices)
    writable = kind in MODELS
    return ObjectInfo(
        kind, fields, createable=kind is Kind.PERSON, updateable=writable, open_prefix="attributes." if writable else ""
    )
