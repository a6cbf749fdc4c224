"""Reading single things from Chatwoot: directory, contacts, conversations, messages, lookups. No cursors."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from connector.adapters.base import Lookup, User
from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.canonical import Directory
from connector.adapters.chatwoot.client import SYSTEM, Client, Json, documented
from connector.adapters.chatwoot.networks import source_ids
from connector.errors import AuthError, RecordGone, SchemaDrift
from connector.model import Kind, Observed, Ref

RANGE_ROWS = 1000
"""Messages that one call with both `after` and `before` answers at most (Chatwoot 4.15.1, `message_finder.rb`)."""

NEWEST_ROWS = 20
"""Messages that a call without `after` answers at most (same source)."""

CONTACT_ROWS = 15
"""Contacts on a page (Chatwoot 4.15.1, `contacts_controller.rb`)."""

LIST_ROWS = 25
"""Conversations on a page; a server may be set to another number (`CONVERSATION_RESULTS_PER_PAGE`)."""

ID_END = 2**31
"""Above every message id: the column is a 32-bit integer (Chatwoot 4.15.1, `db/schema.rb`)."""

PROBE_MARGIN = timedelta(minutes=10)
"""How far the server's clock may be behind ours for a probe to still find its message."""

NUMBER = re.compile("[0-9]{1,18}")

SEARCHABLE = {"email": "email", "phone": "phone_number", "identifier": "identifier"}


class Reader:
    """What is read on demand; the directory (inboxes, agents, ourselves) is cached."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._inboxes: dict[int, Json] | None = None
        self._users: list[User] | None = None
        self._me: int | None = None

    # ---- directory --------------------------------------------------------------------------------------------------

    def directory(self) -> Directory:
        # Local first: another thread may forget between our asking and our using.
        inboxes = self._inboxes
        if inboxes is None:
            answer = self.client.get("/inboxes")
            with documented("inboxes"):
                inboxes = self._inboxes = {row["id"]: row for row in answer["payload"]}
        agents = {int(u.id): u.email for u in self.users()}
        return Directory(self.client.url, self.client.account, self.me(), inboxes, agents)

    def forget(self) -> None:
        """Called when a pull begins: inboxes and agents are added and renamed while we run."""
        self._inboxes = self._users = None

    def me(self) -> int:
        if self._me is None:
            answer = self.client.profile()
            with documented("profile"):
                self._me = int(answer["id"])
        return self._me

    def users(self, *, fresh: bool = False) -> list[User]:
        users = None if fresh else self._users
        if users is None:
            answer = self.client.get("/agents")
            with documented("agents"):
                users = self._users = [
                    User(
                        str(row["id"]),
                        (row["email"] or "").lower(),
                        row["name"] or "",
                        bool(row.get("confirmed", True)),
                    )
                    for row in answer
                ]
        return users

    # ---- contacts ---------------------------------------------------------------------------------------------------

    def contact(self, id_: object) -> Json:
        """The contact with its inboxes and, under `labels`, its labels. Raises RecordGone when deleted or merged."""
        answer = self.client.get(f"/contacts/{number(id_)}")
        labels = self.client.get(f"/contacts/{number(id_)}/labels")
        with documented(f"contact {id_}"):
            return {**_unwrapped(answer), "labels": list(labels["payload"])}

    def holder(self, inbox: int, source_id: str) -> Json | None:
        """The contact that holds a network identity now, None when nobody does."""
        try:
            answer = self.client.query("/contact_inboxes/filter", {"inbox_id": inbox, "source_id": source_id})
        except RecordGone:
            return None
        with documented("contact by network id"):
            return _unwrapped(answer)

    def holders(self, key: str) -> list[Json]:
        """The contacts that hold an identity key (`network:user_id`) in any inbox of that network, each once."""
        network, _, user_id = key.partition(":")
        found: dict[int, Json] = {}
        for inbox in self.directory().inboxes.values():
            for source_id in source_ids(network, user_id, inbox):
                contact = self.holder(inbox["id"], source_id)
                if contact:
                    found[contact["id"]] = contact
        return [found[id_] for id_ in sorted(found)]

    def find(self, lookup: Lookup) -> list[Observed]:
        """All contacts for one lookup. The filter compares text without case and shows every contact that has an e-mail
        address, phone number or identifier, so equality on one of those misses nobody."""
        if lookup.object != Kind.PERSON or lookup.field not in {*SEARCHABLE, "identity_keys"}:
            raise SchemaDrift(
                SYSTEM,
                "lookup",
                f"{lookup.object} cannot be looked up by {lookup.field}.",
                f"Look persons up by {', '.join([*SEARCHABLE, 'identity_keys'])}.",
            )
        if lookup.field == "identity_keys":
            with documented("contacts"):
                return [canonical.person(row) for row in self.holders(lookup.value)]
        condition = {
            "attribute_key": SEARCHABLE[lookup.field],
            "filter_operator": "equal_to",
            "values": [lookup.value],
            "query_operator": None,
        }
        found: dict[Ref, Observed] = {}
        page = 1
        while True:
            answer = self.client.query("/contacts/filter", {"payload": [condition]}, {"page": page})
            with documented("contacts"):
                rows = [canonical.person(row) for row in answer["payload"]]
            found |= {o.ref: o for o in rows}
            if len(rows) < CONTACT_ROWS:
                break
            page += 1
        same = lookup.value.casefold()
        return [found[r] for r in sorted(found) if str(found[r].fields.get(lookup.field) or "").casefold() == same]

    # ---- conversations and messages ---------------------------------------------------------------------------------

    def conversation(self, id_: object) -> Json:
        answer = self.client.get(f"/conversations/{number(id_)}")
        with documented(f"conversation {id_}"):
            return dict(answer)

    def updated_within(self, seconds: int) -> list[Json]:
        """Every conversation moved in the last `seconds`, by id; one answer, however many (paging is ignored here)."""
        answer = self.client.get("/conversations", {"status": "all", "updated_within": seconds})
        with documented("conversations"):
            return sorted(answer["data"]["payload"], key=lambda row: int(row["id"]))

    def walk(self, page: int) -> tuple[list[Json], int]:
        """One page of all conversations, oldest first (the one order that new activity does not shift), and their count."""
        answer = self.client.get("/conversations", {"status": "all", "sort_by": "created_at_asc", "page": page})
        with documented("conversations"):
            return list(answer["data"]["payload"]), int(answer["data"]["meta"]["all_count"])

    def messages(self, conversation: object, after: int) -> Iterator[list[Json]]:
        """All messages with a higher id than `after`, lower ids first, in lists of up to 999.

        `after` alone answers the hundred *oldest by time* of the higher ids: a message stored late with an early time
        (imports, TikTok) would push the cursor past messages that were not shown. Bounded on both sides the answer is
        complete unless it is full; a full range is cut in two at its middle id.
        """
        ranges = [(after + 1, ID_END)]
        while ranges:
            low, high = ranges.pop()
            rows = self.between(conversation, low, high)
            if len(rows) < RANGE_ROWS:
                if rows:
                    yield rows
            else:
                middle = int(rows[len(rows) // 2]["id"])
                ranges += [(middle, high), (low, middle)]

    def between(self, conversation: object, low: int, high: int) -> list[Json]:
        """Messages with low <= id < high by id, all of them when fewer than RANGE_ROWS are answered."""
        return self._messages(conversation, {"after": low, "before": high})

    def newest(self, conversation: object, rows: int) -> list[Json]:
        """At least the newest `rows` messages (all, if there are fewer), by id."""
        found: dict[int, Json] = {}
        for page in self._backwards(conversation):
            found |= {row["id"]: row for row in page}
            if len(found) >= rows:
                break
        return [found[id_] for id_ in sorted(found)]

    def since(self, conversation: object, moment: datetime) -> Iterator[Json]:
        """Messages newest page first, back to PROBE_MARGIN before the moment."""
        floor = (moment - PROBE_MARGIN).timestamp()
        for page in self._backwards(conversation):
            yield from page
            if all(row["created_at"] < floor for row in page):
                return

    def _backwards(self, conversation: object) -> Iterator[list[Json]]:
        params: dict[str, Any] = {}
        while rows := self._messages(conversation, params):
            yield rows
            if len(rows) < NEWEST_ROWS:
                return
            params = {"before": rows[0]["id"]}

    def _messages(self, conversation: object, params: dict[str, Any]) -> list[Json]:
        answer = self.client.get(f"/conversations/{number(conversation)}/messages", params)
        with documented(f"messages of conversation {conversation}"):
            return sorted(answer["payload"], key=lambda row: int(row["id"]))

    # ---- refs -------------------------------------------------------------------------------------------------------

    def fetch(self, ref: Ref) -> Observed:
        """The current state. A merged contact answers 404 just like a deleted one and leaves no trace under its id, so
        both are GONE here; the recheck, which remembers its network ids, tells which of the two it was."""
        try:
            found = self._fetch(ref)
        except RecordGone:
            found = None
        return found or canonical.gone(ref)

    def _fetch(self, ref: Ref) -> Observed | None:
        match ref.object:
            case Kind.PERSON:
                contact = self.contact(ref.id)
                with documented(str(ref)):
                    return canonical.person(contact, contact["labels"])
            case Kind.CONVERSATION:
                row = self.conversation(ref.id)
                with documented(str(ref)):
                    return canonical.conversation(row, self.directory())
            case Kind.MESSAGE:
                thread, id_ = message_id(ref)
                rows = self.between(thread, id_, id_ + 1)
                contact = self.conversation(thread)
                with documented(str(ref)):
                    return (
                        canonical.message(rows[0], contact["meta"]["sender"]["id"], self.directory()) if rows else None
                    )
            case Kind.IDENTITY:
                return self._identity(ref)
        raise SchemaDrift(SYSTEM, "object", f"there is no {ref.object} in Chatwoot.")

    def _identity(self, ref: Ref) -> Observed | None:
        network, _, user_id = ref.id.partition(":")
        if network == "tiktok":
            # Chatwoot cannot look a TikTok user up (its source ids are conversations): not finding one says nothing.
            return Observed(ref, Kind.IDENTITY, {"network": network, "user_id": user_id})
        with documented(str(ref)):
            shown = [o for row in self.holders(ref.id) for o in canonical.identities(row)]
        return next((o for o in shown if o.ref == ref), None)


def message_id(ref: Ref) -> tuple[int, int]:
    """Conversation and message number of `118-90412`. Raises RecordGone for a ref of another shape."""
    thread, _, id_ = ref.id.partition("-")
    if not (NUMBER.fullmatch(thread) and NUMBER.fullmatch(id_)):
        raise RecordGone(SYSTEM, "ref", f"{ref} names no message; write chatwoot:message:<conversation>-<message>.")
    return int(thread), int(id_)


def number(id_: object) -> int:
    """A record's number as a part of an address. Raises RecordGone for anything else: nothing has such an id."""
    if not NUMBER.fullmatch(str(id_)):
        raise RecordGone(SYSTEM, "ref", f"{str(id_)[:40]!r} is no record's number.")
    return int(str(id_))


def account_of(profile: Json, account: int) -> Json:
    """Our account in the profile. Raises AuthError naming the accounts that the token may use."""
    with documented("profile"):
        accounts = {row["id"]: row for row in profile["accounts"]}
    if account not in accounts:
        usable = ", ".join(f"{id_} ({row.get('name')})" for id_, row in accounts.items()) or "none"
        raise AuthError(
            SYSTEM, "account", f"the token's user is not a member of account {account}.", f"It may use: {usable}."
        )
    return dict(accounts[account])


def _unwrapped(answer: Json) -> Json:
    """Some contact answers stand under `payload`, some are bare."""
    contact = answer.get("payload", answer)
    if "id" not in contact:
        raise KeyError("id")
    return dict(contact)
