"""Writing to Chatwoot: contacts, conversations, replies. Values come as canonical fields and go out as Chatwoot's calls."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from connector.adapters.base import Lookup, Probe, Write
from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.client import SYSTEM, Json, documented, is_of_the_action
from connector.adapters.chatwoot.reader import NUMBER, SEARCHABLE, Reader, message_id, number
from connector.errors import AuthError, RecordGone, Rejected, RemoteError, SchemaDrift, Transient, Unreadable
from connector.model import Fields, Kind, Receipt, Ref

COLUMNS = {"name": "name", "email": "email", "phone": "phone_number", "identifier": "identifier", "blocked": "blocked"}
MORE = {"company": "company_name", "city": "city", "country": "country"}
ATTRIBUTE = "attributes."
CALLED = ("status", "priority", "team", "assignee")
"""Fields of a conversation that have a call of their own each."""


class Writer:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._client = reader.client

    # ---- records ----------------------------------------------------------------------------------------------------

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        """One write after the other. Once Chatwoot cannot be reached or refuses our token, the rest is not tried; where our user may
        not do one of them, it may do the others."""
        results: list[Receipt | RemoteError] = []
        for write in writes:
            try:
                results.append(self._upsert(write))
            except RemoteError as error:
                results.append(error)
                if isinstance(error, Transient) or (isinstance(error, AuthError) and not is_of_the_action(error)):
                    rest = len(writes) - len(results)
                    results += [
                        type(error)(SYSTEM, error.code, f"not tried, after: {error.detail}", error.way_out)
                    ] * rest
                    break
        return results

    def _upsert(self, write: Write) -> Receipt:
        match write.kind:
            case Kind.PERSON:
                return self._person(write)
            case Kind.CONVERSATION if write.target is not None:
                return self._conversation(write.target, write.fields)
        raise Rejected(SYSTEM, "kind", f"a {write.kind} cannot be created or changed in Chatwoot.")

    def _person(self, write: Write) -> Receipt:
        fields = dict(write.fields) | (dict([write.key]) if write.key else {})
        target = write.target.id if write.target else self._by_key(write)
        current = self._reader.contact(target) if target and _names_in_parts(fields) else {}
        with documented("contact"):
            body = _contact_body(fields, str(current.get("name") or ""))
        tags = fields.get("tags")
        if target is None:
            answer = self._client.write("POST", "/contacts", body)
            with documented("created contact"):
                contact = answer["payload"]["contact"]
        elif body:
            answer = self._client.write("PUT", f"/contacts/{number(target)}", body)
            with documented("updated contact"):
                contact = answer["payload"]
        else:
            contact = self._reader.contact(target)
        with after(written=target is None or bool(body)), documented("contact"):
            labels = self._label(f"/contacts/{number(contact['id'])}/labels", tags) if "tags" in fields else None
            shown = canonical.person(contact, labels)
        return Receipt(shown.ref, created=target is None, fields=shown.fields)

    def _by_key(self, write: Write) -> str | None:
        if write.key is None:
            return None
        name, value = write.key
        if name not in SEARCHABLE:
            raise SchemaDrift(
                SYSTEM, "key", f"{name} is no key.", f"Use one of {', '.join(SEARCHABLE)}.", fields=(name,)
            )
        found = self._reader.find(Lookup(Kind.PERSON, name, value))
        return found[0].ref.id if found else None

    def _conversation(self, target: Ref, fields: Fields) -> Receipt:
        """Each field by its own call."""
        path = f"/conversations/{number(target.id)}"
        calls = list(_conversation_calls(fields, self._reader))
        attributes = _attributes(fields)
        if attributes:
            # The call replaces all attributes: an unread one would be lost. Somebody who sets one between our reading and
            # our writing loses it; the time between is kept to these two calls.
            with documented("conversation"):
                kept = dict(self._reader.conversation(target.id).get("custom_attributes") or {})
            calls.insert(0, ("custom_attributes", {"custom_attributes": kept | attributes}))
        if "tags" in fields:
            calls.append(("labels", _labels(fields["tags"])))
        for place, (call, body) in enumerate(calls):
            with after(written=place > 0):
                self._client.write("POST", f"{path}/{call}", body)
        with after(written=bool(calls)), documented("conversation"):
            shown = canonical.conversation(self._reader.conversation(target.id), self._reader.directory())
        return Receipt(shown.ref, fields=shown.fields)

    def _label(self, path: str, tags: Sequence[str] | None) -> list[str]:
        answer = self._client.write("POST", path, _labels(tags))
        with documented("labels"):
            return list(answer["payload"])

    def cost(self, write: Write) -> int:
        """Calls of one upsert: what `_person` and `_conversation` do, in their order. A contact is read with its labels."""
        fields = dict(write.fields) | (dict([write.key]) if write.key else {})
        tags = int("tags" in fields)
        if write.kind is Kind.PERSON:
            known = 2 if write.target and _names_in_parts(fields) else 0
            looked_for = int(write.target is None and write.key is not None)
            return known + looked_for + (1 if write.target is None or _contact_body(fields, "") else 2) + tags
        teams = int(bool(fields.get("team")))
        attributes = 2 if _attributes(fields) else 0
        return attributes + sum(name in fields for name in CALLED) + teams + tags + 1

    def remove(self, write: Write) -> Receipt:
        """A contact with its conversations (administrators only), or a message, which Chatwoot then shows as deleted;
        the network keeps it."""
        if write.target is None:
            raise Rejected(SYSTEM, "target", "nothing to remove was named.")
        match write.target.object:
            case Kind.PERSON:
                path = f"/contacts/{number(write.target.id)}"
            case Kind.MESSAGE:
                thread, id_ = message_id(write.target)
                path = f"/conversations/{thread}/messages/{id_}"
            case other:
                raise Rejected(SYSTEM, "kind", f"a {other} cannot be deleted in Chatwoot; resolve it instead.")
        # Gone already: somebody was faster, or our first attempt landed and its answer was lost.
        with suppress(RecordGone):
            self._client.write("DELETE", path)
        return Receipt(write.target)

    # ---- replies ----------------------------------------------------------------------------------------------------

    def send(self, write: Write, token: str) -> Receipt:
        """Posts `text` into the conversation, marked with the token. Never repeated: the network would deliver both."""
        if write.target is None:
            raise Rejected(SYSTEM, "target", "a reply needs the conversation it goes to.")
        marks: Json = {canonical.TOKEN: token}
        quoted = str(write.fields.get("in_reply_to") or "").rpartition("-")[2]
        if NUMBER.fullmatch(quoted):
            marks["in_reply_to"] = int(quoted)
        body = {
            "content": write.fields.get("text") or "",
            "message_type": "outgoing",
            "private": False,
            "content_attributes": marks,
        }
        answer = self._client.once(f"/conversations/{number(write.target.id)}/messages", body)
        with documented("sent message"):
            return self._sent(write.target, answer)

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        """Looks for the token in the conversation's messages back to `since`."""
        if write.target is None:
            return Probe.ABSENT
        try:
            for row in self._reader.since(write.target.id, since):
                with documented("message"):
                    if (row.get("content_attributes") or {}).get(canonical.TOKEN) == token:
                        return self._sent(write.target, row)
        except RecordGone:
            # The conversation is deleted; whether the customer got the reply before that, nobody can say any more.
            return Probe.CANNOT_TELL
        return Probe.ABSENT

    def _sent(self, conversation: Ref, row: Json) -> Receipt:
        """The receipt of our reply. Its `person` is left out: the answer does not name the conversation's contact."""
        ref = canonical.message_ref(conversation.id, row["id"])
        try:
            shown = canonical.message({"conversation_id": int(conversation.id)} | row, "", self._reader.directory())
        except RemoteError:
            # The message is stored. A directory that cannot be read right now must not turn that into a failure.
            shown = None
        fields = {k: v for k, v in shown.fields.items() if k != "person"} if shown else None
        return Receipt(ref, created=True, fields=fields)


@contextmanager
def after(*, written: bool) -> Iterator[None]:
    """Inside, what fails for now leaves the write in doubt, when a part of it is written. What is refused stays refused.

    Two actors: the status is written, and the call for the priority is one too many in this minute; an agent changes the
    status. Made again as if nothing had been done, the write would take her change back.
    """
    try:
        yield
    except (Transient, AuthError, Unreadable) as error:
        error.certain = error.certain and not written
        raise


def _labels(tags: Sequence[str] | None) -> Json:
    return {"labels": list(tags or [])}


def _names_in_parts(fields: Fields) -> bool:
    return "name" not in fields and bool({"first_name", "last_name"} & set(fields))


def _contact_body(fields: Fields, current_name: str) -> Json:
    """The JSON of a contact update: only what is given. Chatwoot keeps one name, so a changed part is put into it."""
    body: Json = {COLUMNS[name]: value for name, value in fields.items() if name in COLUMNS}
    if _names_in_parts(fields):
        first, last = canonical.split_name(current_name) if current_name else (None, "")
        parts = (fields.get("first_name", first), fields.get("last_name", last))
        body["name"] = " ".join(str(p) for p in parts if p)
    more = {MORE[name]: value for name, value in fields.items() if name in MORE}
    if more:
        body["additional_attributes"] = more
    if attributes := _attributes(fields):
        body["custom_attributes"] = attributes
    known = {*COLUMNS, *MORE, "first_name", "last_name", "tags"}
    _refuse_others(Kind.PERSON, fields, known)
    return body


def _attributes(fields: Fields) -> Json:
    return {name.removeprefix(ATTRIBUTE): value for name, value in fields.items() if name.startswith(ATTRIBUTE)}


def _refuse_others(kind: Kind, fields: Fields, known: set[str]) -> None:
    others = tuple(sorted(name for name in fields if name not in known and not name.startswith(ATTRIBUTE)))
    if others:
        raise SchemaDrift(
            SYSTEM,
            "field",
            f"{', '.join(others)} of a {kind} cannot be written.",
            "Map it to the CRM only.",
            fields=others,
        )


def _conversation_calls(fields: Fields, reader: Reader) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls in the order in which they do not undo each other: opening makes an agent-role token's user the assignee,
    and a change of team may drop the assignee, so the assignee comes last (Chatwoot 4.15.1, `conversations_controller.rb`)."""
    _refuse_others(Kind.CONVERSATION, fields, {*CALLED, "tags"})
    if "status" in fields:
        yield "toggle_status", {"status": fields["status"]}
    if "priority" in fields:
        yield "toggle_priority", {"priority": fields["priority"]}
    if "team" in fields:
        yield "assignments", {"team_id": _team(reader, fields["team"])}
    if "assignee" in fields:
        yield "assignments", {"assignee_id": _agent(reader, fields["assignee"])}


def _agent(reader: Reader, email: str | None) -> int | None:
    """The agent's id; an unknown one is refused here, because Chatwoot would silently take the assignee away."""
    if not email:
        return None
    for fresh in (False, True):
        for user in reader.users(fresh=fresh):
            if user.email == email.lower():
                return int(user.id)
    raise Rejected(
        SYSTEM, "assignee", f"{email} is no agent of this account.", "Invite the agent, or map the owner to one.",
        fields=("assignee",),
    )  # fmt: skip


def _team(reader: Reader, name: str | None) -> int | None:
    if not name:
        return None
    teams = reader.client.get("/teams")
    with documented("teams"):
        found = next((int(row["id"]) for row in teams if row["name"] == name.lower() or row["name"] == name), None)
    if found is None:
        raise Rejected(SYSTEM, "team", f"there is no team {name}.", "Create the team in Chatwoot.", fields=("team",))
    return found
