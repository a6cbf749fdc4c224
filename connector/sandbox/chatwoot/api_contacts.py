"""Application API: contacts, their network identities, labels, notes, and the merge of two contacts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from connector.sandbox.chatwoot import filters, views
from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.api_account import visible_inboxes
from connector.sandbox.chatwoot.api_conversations import GENERATES_SOURCE_ID, identity_for
from connector.sandbox.chatwoot.http import NOT_FOUND, Call, Refusal, Route
from connector.sandbox.chatwoot.world import World

PAGE = 15
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"\+[1-9]\d{1,14}")  # E.164
_UNIQUE = {"email": "Email", "phone_number": "Phone number", "identifier": "Identifier"}
_IN_ATTRIBUTES = ("city", "country", "country_code", "company_name")


def is_listed(contact: r.Contact) -> bool:
    """List and filter hide people without e-mail, phone and identifier: most of those who come from a network."""
    return bool(contact.email or contact.phone_number or contact.identifier)


def cleaned(world: World, fields: r.Json, own: r.Contact | None) -> r.Json:
    """Contact fields as they are stored. Raises Refusal (422) for a bad or taken e-mail, phone or identifier."""
    fields = dict(fields)
    for name in _UNIQUE:
        if name in fields:
            fields[name] = str(fields[name]).strip() or None if fields[name] is not None else None
    if fields.get("email"):
        fields["email"] = fields["email"].lower()
        if not _EMAIL.fullmatch(fields["email"]):
            raise Refusal.invalid("Email is invalid", "email")
    if fields.get("phone_number") and not _PHONE.fullmatch(fields["phone_number"]):
        raise Refusal.invalid("Phone number should be in e164 format", "phone_number")
    for name, label in _UNIQUE.items():
        value = fields.get(name)
        if value and any(getattr(other, name) == value for other in world.contacts if other is not own):
            raise Refusal.invalid(f"{label} has already been taken", name)
    for name in ("additional_attributes", "custom_attributes"):
        if name in fields:
            if not isinstance(fields[name] or {}, dict):
                raise Refusal.error(422, f"{name} is not an object")
            fields[name] = {**(getattr(own, name) if own else {}), **(fields[name] or {})}
    return fields


def create_contact(world: World, fields: r.Json) -> r.Contact:
    contact = world.contacts.new(created_at=world.now(), **{"name": "", **cleaned(world, fields, None)})
    world.emit("contact_created", "contact", contact.id)
    return contact


def update_contact(world: World, contact: r.Contact, fields: r.Json) -> None:
    """Set fields; attributes are merged at their top level only. Fires `contact_updated` when anything changed."""
    changed = {}
    for name, value in cleaned(world, fields, contact).items():
        before = getattr(contact, name)
        if before != value:
            setattr(contact, name, value)
            changed[name] = {"previous_value": before, "current_value": value}
    if changed:
        world.contacts.save(contact)
        world.emit("contact_updated", "contact", contact.id, [{k: v} for k, v in changed.items()])


def _sorted(call: Call, rows: list[r.Contact]) -> list[r.Contact]:
    name = call.query.get("sort") or "name"
    key = name.removeprefix("-")
    known = ("name", "email", "phone_number", "last_activity_at", "created_at", "company_name", "city", "country")
    if key not in known:
        raise Refusal.error(501, f"sort={name}")

    def value(contact: r.Contact) -> Any:
        found = contact.additional_attributes.get(key) if key in _IN_ATTRIBUTES else getattr(contact, key)
        return (found is None, found.lower() if isinstance(found, str) else found or 0, contact.id)

    return sorted(rows, key=value, reverse=name.startswith("-"))


def _page(call: Call, rows: list[r.Contact]) -> r.Json:
    page = rows[(call.page() - 1) * PAGE : call.page() * PAGE]
    with_inboxes = call.query.get("include_contact_inboxes", "true") != "false"
    return {
        "meta": {"count": len(rows), "current_page": call.query.get("page", 1)},
        "payload": [views.contact(call.world, c, with_inboxes=with_inboxes) for c in page],
    }


def _list(call: Call) -> r.Json:
    labels = set(call.query.getlist("labels[]"))
    rows = [c for c in call.world.contacts if is_listed(c) and (not labels or labels & set(c.labels))]
    return _page(call, _sorted(call, rows))


def _search(call: Call) -> r.Json:
    """Also finds the people that list and filter hide (so at 4.15.1). The identifier is compared case-sensitively."""
    q = call.query.get("q", "").strip()
    if not q:
        raise Refusal.error(422, "Specify search string with parameter q")
    low = q.lower()

    def hit(c: r.Contact) -> bool:
        texts = (c.name, c.email or "", c.phone_number or "")
        return any(low in text.lower() for text in texts) or q in (c.identifier or "")

    rows = _sorted(call, [c for c in call.world.contacts if hit(c)])
    answer = _page(call, rows)
    shown = len(answer["payload"])
    answer["meta"] |= {"count": shown, "has_more": call.page() * PAGE < len(rows)}
    return answer


def _value(row: r.Contact, key: str) -> Any:
    if key in ("city", "country_code", "company_name"):
        return row.additional_attributes.get(key)
    return getattr(row, key) if key in filters.CONTACT_KEYS else row.custom_attributes.get(key)


def _filter(call: Call) -> r.Json:
    custom = {d.attribute_key for d in call.world.definitions if d.attribute_model == "contact_attribute"}
    today = datetime.fromtimestamp(call.world.now(), UTC).date()
    test = filters.compile_filter(
        call.body.get("payload"), filters.CONTACT_KEYS, custom, _value, today, first_only=True
    )
    return _page(call, _sorted(call, [c for c in call.world.contacts if is_listed(c) and test(c)]))


def _by_identity(call: Call) -> r.Json:
    identity = call.world.identity(call.body.get("inbox_id") or 0, str(call.body.get("source_id") or ""))
    if identity is None:
        raise Refusal(404, None)
    return views.contact(call.world, call.world.contacts.rows[identity.contact_id])


def _show(call: Call) -> r.Json:
    return {"payload": views.contact(call.world, call.row("contact"))}


def _create(call: Call) -> r.Json:
    world, body = call.world, dict(call.body)
    inbox_id, source_id = body.pop("inbox_id", None), body.pop("source_id", None)
    inbox = world.inboxes.get(inbox_id)
    if inbox_id is not None and inbox is None:
        raise Refusal.error(404, NOT_FOUND)
    if inbox and source_id and world.identity(inbox.id, str(source_id)):
        raise Refusal.invalid("Source has already been taken", "source_id")
    if inbox and not source_id and inbox.channel_type not in GENERATES_SOURCE_ID:
        raise Refusal.error(500, "Internal Server Error")
    contact = create_contact(world, body)
    identity = identity_for(call, contact, inbox, source_id) if inbox else None
    shape = views.contact_inbox(world, identity) if identity else {"inbox": None, "source_id": None}
    return {"payload": {"contact": views.contact(world, contact), "contact_inbox": shape}}


def _update(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    update_contact(call.world, contact, call.body)
    return {"payload": views.contact(call.world, contact)}


def _delete(call: Call) -> None:
    contact: r.Contact = call.row("contact")
    world = call.world
    for id in list(world.contact_conversations[contact.id]):
        for message in world.messages_of(id):
            world.messages.delete(message)
        world.conversations.delete(world.conversations.rows[id])
    for identity in world.identities_of(contact.id):
        world.contact_inboxes.delete(identity)
    for note in [n for n in world.notes if n.contact_id == contact.id]:
        world.notes.delete(note)
    world.contacts.delete(contact)


def _labels(call: Call) -> r.Json:
    return {"payload": call.row("contact").labels}


def _replace_labels(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    contact.labels = list(dict.fromkeys(str(label) for label in call.body.get("labels") or []))
    call.world.contacts.save(contact)
    return {"payload": contact.labels}


def _conversations(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    inboxes = {box.id for box in visible_inboxes(call)}
    rows = [call.world.conversations.rows[i] for i in call.world.contact_conversations[contact.id]]
    rows = sorted((c for c in rows if c.inbox_id in inboxes), key=lambda c: c.last_activity_at, reverse=True)[:20]
    return {"payload": [views.conversation(call.world, c, call.user) for c in rows]}


def _link(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    inbox = call.world.inboxes.get(call.body.get("inbox_id"))
    if inbox is None:
        raise Refusal.error(404, NOT_FOUND)
    return views.contact_inbox(call.world, identity_for(call, contact, inbox, call.body.get("source_id")))


def _contactable(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    known = {i.inbox_id: i.source_id for i in call.world.identities_of(contact.id)}
    payload = []
    for box in visible_inboxes(call):
        source_id = known.get(box.id)
        if source_id is None and box.channel_type == "Channel::Email":
            source_id = contact.email
        elif source_id is None and box.channel_type in ("Channel::Whatsapp", "Channel::Sms"):
            source_id = contact.phone_number
        if source_id and box.channel_type in GENERATES_SOURCE_ID:
            payload.append({"inbox": views.inbox(box), "source_id": source_id})
    return {"payload": payload}


def _destroy_attributes(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    gone = call.body.get("custom_attributes") or []
    contact.custom_attributes = {k: v for k, v in contact.custom_attributes.items() if k not in gone}
    call.world.contacts.save(contact)
    return {"payload": views.contact(call.world, contact)}


def _merge(call: Call) -> r.Json:
    world = call.world
    base = world.contacts.get(call.body.get("base_contact_id"))
    other = world.contacts.get(call.body.get("mergee_contact_id"))
    if base is None or other is None:
        raise Refusal.error(404, NOT_FOUND)
    if base is not other:
        merge_contacts(world, base, other)
    return views.contact(world, base)


def merge_contacts(world: World, base: r.Contact, other: r.Contact) -> None:
    """Move everything of `other` to `base`, whose own fields win, and delete `other`."""
    for id in list(world.contact_conversations[other.id]):
        world.move(world.conversations.rows[id], base.id)
    for identity in world.identities_of(other.id):
        world.move(identity, base.id)
    for message in world.messages:
        if message.sender_type == "contact" and message.sender_id == other.id:
            message.sender_id = base.id
            world.messages.save(message)
    for note in world.notes:
        if note.contact_id == other.id:
            note.contact_id = base.id
            world.notes.save(note)
    gained: r.Json = {n: getattr(other, n) for n in ("name", *_UNIQUE) if not getattr(base, n) and getattr(other, n)}
    for name in ("additional_attributes", "custom_attributes"):
        gained[name] = {**getattr(other, name), **getattr(base, name)}
    world.contacts.delete(other)
    update_contact(world, base, gained)


def _notes(call: Call) -> list[r.Json]:
    contact: r.Contact = call.row("contact")
    rows = [n for n in call.world.notes if n.contact_id == contact.id]
    return [views.note(call.world, n) for n in sorted(rows, key=lambda n: -n.id)]


def _note_of(call: Call) -> r.Note:
    note: r.Note = call.row("note", "nid")
    if note.contact_id != call.path["id"]:
        raise Refusal.error(404, NOT_FOUND)
    return note


def _create_note(call: Call) -> r.Json:
    contact: r.Contact = call.row("contact")
    now = call.world.now()
    content = str(call.required("content"))
    note = call.world.notes.new(
        contact_id=contact.id, content=content, user_id=call.user.id, created_at=now, updated_at=now
    )
    return views.note(call.world, note)


def _show_note(call: Call) -> r.Json:
    return views.note(call.world, _note_of(call))


def _update_note(call: Call) -> r.Json:
    note = _note_of(call)
    note.content, note.updated_at = str(call.required("content")), call.world.now()
    call.world.notes.save(note)
    return views.note(call.world, note)


def _delete_note(call: Call) -> None:
    call.world.notes.delete(_note_of(call))


_FIELDS = (
    "name",
    "email",
    "phone_number",
    "identifier",
    "blocked",
    "additional_attributes",
    "custom_attributes",
)
_PAGED = ("page", "sort", "include_contact_inboxes")
_ONE, _NOTES = "/contacts/{id:int}", "/contacts/{id:int}/notes"
_update_routes: list[tuple[str, Callable[[Call], Any]]] = [("PUT", _update), ("PATCH", _update)]

ROUTES = [
    Route("GET", "/contacts", _list, query=(*_PAGED, "labels[]")),
    Route("POST", "/contacts", _create, body=(*_FIELDS, "inbox_id", "source_id")),
    Route("GET", "/contacts/search", _search, query=(*_PAGED, "q")),
    Route("POST", "/contacts/filter", _filter, query=_PAGED, body=("payload",)),
    Route("POST", "/contact_inboxes/filter", _by_identity, body=("inbox_id", "source_id")),
    Route("GET", _ONE, _show, query=("include_contact_inboxes",)),
    *[Route(method, _ONE, handler, body=_FIELDS) for method, handler in _update_routes],
    Route("DELETE", _ONE, _delete, admin=True),
    Route("GET", _ONE + "/labels", _labels),
    Route("POST", _ONE + "/labels", _replace_labels, body=("labels",)),
    Route("GET", _ONE + "/conversations", _conversations),
    Route("POST", _ONE + "/contact_inboxes", _link, body=("inbox_id", "source_id")),
    Route("GET", _ONE + "/contactable_inboxes", _contactable),
    Route("POST", _ONE + "/destroy_custom_attributes", _destroy_attributes, body=("custom_attributes",)),
    Route("GET", _NOTES, _notes),
    Route("POST", _NOTES, _create_note, body=("content",)),
    Route("GET", _NOTES + "/{nid:int}", _show_note),
    Route("PUT", _NOTES + "/{nid:int}", _update_note, body=("content",)),
    Route("DELETE", _NOTES + "/{nid:int}", _delete_note),
    Route("POST", "/actions/contact_merge", _merge, body=("base_contact_id", "mergee_contact_id")),
]
