"""The world of the reference adapter: one system that lives in memory, with its records, its people, its network, and
its bad days (scripted faults, late commits). Nothing here reads a clock, draws a random number or sleeps: the same calls
give the same ids and versions.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from connector.adapters.base import FieldInfo, ObjectInfo, User, Write
from connector.errors import RemoteError
from connector.model import Fields, Kind, Life, Ref


@dataclass(frozen=True, slots=True)
class MemoryObject:
    """One record type. `parent` is the field that holds the parent's id (a CRM lookup); on a platform the parent is given
    when the record is made. `initial`: a first pull reads its records from the beginning, otherwise it starts at now."""

    kind: Kind
    info: ObjectInfo
    parent: str | None = None
    initial: bool = True


def memory_object(
    name: str, kind: Kind, fields: Iterable[FieldInfo | str], parent: str | None = None, initial: bool = True
) -> MemoryObject:
    """A record type from field names (plain text fields) and FieldInfos; `attributes.*` opens the prefix `attributes.`."""
    infos = [f if isinstance(f, FieldInfo) else FieldInfo(f, "text") for f in fields]
    prefix = "attributes." if any(f.name == "attributes.*" for f in infos) else ""
    named = {f.name: f for f in infos if f.name != "attributes.*"}
    return MemoryObject(kind, ObjectInfo(name, named, open_prefix=prefix), parent, initial)


PLATFORM_OBJECTS: Mapping[str, MemoryObject] = {
    "person": memory_object(
        "person",
        Kind.PERSON,
        [
            "name", "first_name", "last_name", FieldInfo("email", "email", unique=True), FieldInfo("phone", "phone", unique=True),
            FieldInfo("identifier", "text", unique=True), "company", "city", "country", "language", "handle", "picture",
            FieldInfo("blocked", "boolean"), FieldInfo("tags", "tags"), FieldInfo("identity_keys", "list"), "attributes.*",
        ],
    ),
    "identity": memory_object(
        "identity", Kind.IDENTITY,
        ["network", "user_id", "handle", "profile_url", FieldInfo("followers", "integer"), FieldInfo("first_seen", "datetime")],
    ),
    "conversation": memory_object(
        "conversation",
        Kind.CONVERSATION,
        [
            "network", "inbox", "type", "status", "priority", "assignee", "team", FieldInfo("tags", "tags"), "subject",
            FieldInfo("url", "url"), FieldInfo("opened_at", "datetime"), FieldInfo("can_reply", "boolean"), "attributes.*",
        ],
    ),
    "message": memory_object(
        "message",
        Kind.MESSAGE,
        [
            "direction", "type", "author", "author_email", "author_type", FieldInfo("text", "longtext"),
            FieldInfo("attachments", "list"), "in_reply_to", FieldInfo("private", "boolean"), FieldInfo("sent_at", "datetime"),
            FieldInfo("deleted", "boolean"), "delivery", "delivery_error", FieldInfo("url", "url"), "network_id", "person",
        ],
    ),
}  # fmt: skip


class Fault(StrEnum):
    """What can happen to one call. LOST_REQUEST and LOST_ANSWER look the same to the caller; only the world knows."""

    UNREACHABLE = "unreachable"
    LOST_REQUEST = "lost_request"
    LOST_ANSWER = "lost_answer"
    GARBLED = "garbled"
    LIMITED = "limited"
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a record: stamped at `changed_at`, readable from `visible_at` on (a transaction that commits late)."""

    number: int
    changed_at: datetime
    visible_at: datetime
    by: str
    fields: Fields
    parent: Ref | None
    life: Life = Life.LIVE
    merged_into: Ref | None = None


@dataclass(slots=True)
class Record:
    """A record with its whole history, oldest version first."""

    ref: Ref
    kind: Kind
    history: list[Version]
    token: str | None = None

    @property
    def latest(self) -> Version:
        return self.history[-1]

    def seen_at(self, now: datetime) -> Version | None:
        """The newest version that a reader at `now` can see, None while the record itself is not yet visible."""
        return next((v for v in reversed(self.history) if v.visible_at <= now), None)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What really went out to the network: one entry per message a customer received."""

    conversation: Ref
    text: str
    message: Ref


@dataclass
class MemorySystem:
    """One system with its records and its people.

    `clock` answers the system's own time. `reformat(object, fields)` is what the system makes of written values (trims,
    cuts, rounds). `refuse(write)` answers the error of a row that validation refuses, or None.
    """

    system: str
    clock: Callable[[], datetime]
    objects: Mapping[str, MemoryObject]
    password: str = field(default="correct-horse", repr=False)
    account: str = "account-1"
    people: list[User] = field(default_factory=list)
    reformat: Callable[[str, Fields], Fields] = lambda _object, fields: fields
    refuse: Callable[[Write], RemoteError | None] = lambda _write: None
    records: dict[Ref, Record] = field(default_factory=dict)
    network_receives: list[Delivered] = field(default_factory=list)
    commits_late_by: timedelta = timedelta(0)
    """How long after its stamp a record that the connector writes becomes readable."""
    allowance: int | None = None
    """Calls a day that the system allows, and tells with each answer; None: it tells nothing."""
    used: int = 0
    """Calls of everybody."""
    _faults: dict[str, list[Fault | None]] = field(default_factory=dict)

    # ---- what people do -------------------------------------------------------------------------------------------

    def add(
        self,
        object_: str,
        fields: Fields,
        *,
        id_: str | None = None,
        parent: Ref | None = None,
        by: str = "somebody",
        late: timedelta = timedelta(0),
        token: str | None = None,
    ) -> Ref:
        """A record is made; `late` is the time between its stamp and its becoming readable. Answers its ref."""
        spec = self.objects[object_]
        ref = Ref(self.system, object_, id_ or f"{object_[:3].lower()}{len(self.records) + 1:06}")
        if ref in self.records:
            raise ValueError(f"{ref} is already there")
        now = self.clock()
        stored = {k: v for k, v in self.reformat(object_, fields).items() if v is not None}
        first = Version(1, now, now + late, by, stored, self._parent(object_, stored, parent))
        self.records[ref] = Record(ref, spec.kind, [first], token)
        return ref

    def person_edits(self, ref: Ref, fields: Fields, *, by: str = "somebody", late: timedelta = timedelta(0)) -> None:
        """A person changes fields by hand (also how the connector's own updates land). None empties a field."""
        record = self.records[ref]
        merged = dict(record.latest.fields) | dict(self.reformat(ref.object, fields))
        self._next(
            record, by=by, late=late, fields=merged, parent=self._parent(ref.object, merged, record.latest.parent)
        )

    def delete(self, ref: Ref, *, by: str = "somebody") -> None:
        self._next(self.records[ref], by=by, life=Life.GONE)

    def merge(self, loser: Ref, winner: Ref, *, by: str = "somebody") -> None:
        """The loser disappears into the winner; its children move over, each as a new version of its own."""
        for record in list(self.records.values()):
            if record.latest.parent == loser and record.latest.life is Life.LIVE:
                lookup = self.objects[record.ref.object].parent
                moved = dict(record.latest.fields) | ({lookup: winner.id} if lookup else {})
                self._next(record, by=by, fields=moved, parent=winner)
        self._next(self.records[loser], by=by, life=Life.MERGED, merged_into=winner)

    def _next(self, record: Record, *, late: timedelta = timedelta(0), **changes: Any) -> None:
        now = self.clock()
        version = replace(
            record.latest, number=record.latest.number + 1, changed_at=now, visible_at=now + late, **changes
        )
        record.history.append(version)

    def _parent(self, object_: str, fields: Fields, given: Ref | None) -> Ref | None:
        lookup = self.objects[object_].parent
        if lookup is None:
            return given
        id_ = fields.get(lookup)
        return next((ref for ref in self.records if ref.id == id_), None)

    # ---- bad days -------------------------------------------------------------------------------------------------

    def fail(self, method: str, *faults: Fault | None) -> None:
        """The next calls of this adapter method meet these faults, one each; None lets one call through."""
        self._faults.setdefault(method, []).extend(faults)

    def next_fault(self, method: str) -> Fault | None:
        waiting = self._faults.get(method)
        return waiting.pop(0) if waiting else None

    def webhook(self, ref: Ref, event: str) -> tuple[dict[str, str], bytes]:
        """A signed webhook as the system would send it: headers and raw body."""
        body = json.dumps({"event": event, "ref": str(ref)}).encode()
        return {"X-Memory-Signature": self.sign(body)}, body

    def sign(self, body: bytes) -> str:
        return hmac.new(self.password.encode(), body, hashlib.sha256).hexdigest()
