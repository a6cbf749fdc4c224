"""The words of the connector as types. No I/O, no clock, no decisions.

Every value inside `fields` is JSON-able. Times are UTC ISO-8601 strings to the second (`2026-01-02T03:04:05Z`); sets are
sorted lists of strings. On the platform side fields carry the canonical names listed in `docs/mapping.md`; on the CRM side
they carry the CRM's own field names.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TypeAlias

Value: TypeAlias = Any
Fields: TypeAlias = Mapping[str, Value]


class Side(StrEnum):
    """Which of the two systems a record lives on."""

    PLATFORM = "platform"
    CRM = "crm"


class Kind(StrEnum):
    """What a record is in our model. The order is parents before children."""

    PERSON = "person"
    IDENTITY = "identity"
    CONVERSATION = "conversation"
    MESSAGE = "message"
    REPLY = "reply"

    @property
    def rank(self) -> int:
        return RANK[self]


RANK = {kind: rank for rank, kind in enumerate(Kind)}


class Life(StrEnum):
    """Whether a record still stands on its side."""

    LIVE = "live"
    GONE = "gone"
    MERGED = "merged"


class State(StrEnum):
    """The account of a message: OPEN while work is under way, otherwise exactly one of the other four."""

    OPEN = "open"
    SYNCED = "synced"
    FILTERED = "filtered"
    HELD = "held"
    ERASED = "erased"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The address of a record on a side, inside one connection (which pins the account).

    `object` is the side's own record type: a canonical kind on a platform (`person`, `message`), the CRM's object name
    in a CRM (`Contact`, `Task`). Written `system:object:id`; the id may itself contain colons.
    """

    system: str
    object: str
    id: str

    def __hash__(self) -> int:
        # A batch looks refs up a hundred thousand times, and the id alone tells nearly all of them apart.
        return hash(self.id)

    def __str__(self) -> str:
        return f"{self.system}:{self.object}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError when the text is not `system:object:id`."""
        system, _, rest = text.partition(":")
        object_, _, id_ = rest.partition(":")
        if not (system and object_ and id_):
            raise ValueError(
                f"{text!r} is not a reference; write system:object:id, for example chatwoot:message:118-90412"
            )
        return cls(system, object_, id_)


@dataclass(frozen=True, slots=True)
class Observed:
    """A fact read from a side. Fields that the answer did not contain are absent, which never counts as a change.

    `version` is opaque and compared for equality only; "" asks for a digest of the fields. `changed_at` is the side's own
    time of the version. `ours` says whether the version was written by the connector's own user, None where the side
    does not tell. `token` is the marker that `send` put on a record we wrote.
    """

    ref: Ref
    kind: Kind
    fields: Fields
    version: str = ""
    changed_at: datetime | None = None
    by: str | None = None
    ours: bool | None = None
    parent: Ref | None = None
    life: Life = Life.LIVE
    merged_into: Ref | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What the store remembers of a record: the newest observation folded over the earlier ones.

    `dirty` says that no plan has looked at this version yet, `settled` how often people have settled something about it.
    `edited` says that the text changed after it was first seen. `state` and `reason` are the account of a message and None for
    other kinds.
    """

    ref: Ref
    side: Side
    kind: Kind
    fields: Fields
    version: str
    changed_at: datetime | None = None
    by: str | None = None
    ours: bool | None = None
    parent: Ref | None = None
    life: Life = Life.LIVE
    merged_into: Ref | None = None
    token: str | None = None
    edited: bool = False
    dirty: bool = True
    state: State | None = None
    reason: str | None = None
    settled: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """This platform ref and this CRM ref are the same thing. `why` lists the reasons, strongest first.

    An ended link (`active` false) is a tombstone: it keeps the planner from creating the record again. `ended` is the reason.
    """

    id: int
    kind: Kind
    platform: Ref
    crm: Ref
    active: bool = True
    why: tuple[str, ...] = ()
    ended: str | None = None
    made_at: datetime | None = None
    ended_at: datetime | None = None

    def on(self, side: Side) -> Ref:
        return self.platform if side is Side.PLATFORM else self.crm


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values one side of a link showed when both last agreed, canonical, by field-mapping name.

    `unread` names the fields whose value is what we sent, because the side has not yet been read back.
    """

    link: int
    side: Side
    fields: Fields
    unread: tuple[str, ...] = ()


class Outcome(StrEnum):
    """What a rule said about one field."""

    KEEP = "keep"
    TO_CRM = "to_crm"
    TO_PLATFORM = "to_platform"
    SAME = "same"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rule said about one field of one pair, and why. `lost` is the value that a conflict dropped."""

    field: str
    outcome: Outcome
    rule: str
    reason: str
    value: Value = None
    lost: Value = None
    conflict: bool = False


class Op(StrEnum):
    """The three ways to write. `upsert` creates by key or updates the target; only `send` is not idempotent."""

    UPSERT = "upsert"
    SEND = "send"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Action:
    """One planned write.

    `key` is (field, value) of the external id used when the record may not exist yet; `target` the known record. Values
    in `fields` may be link placeholders (see `sync.placeholders`). `source` is the fact whose news caused the write and
    `subject` the platform ref of the pair. `after` holds, per side, the snapshot values that stand once the write is done.
    `lane` orders sends: one at a time per lane, in journal order. `unique` is the intent's key, unique for ever.
    """

    unique: str
    op: Op
    side: Side
    kind: Kind
    object: str
    fields: Fields
    source: Ref
    subject: Ref
    target: Ref | None = None
    key: tuple[str, str] | None = None
    lane: str | None = None
    after: Mapping[Side, Fields] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    why: tuple[str, ...] = ()


class IntentState(StrEnum):
    READY = "ready"
    SENDING = "sending"
    DONE = "done"
    IN_DOUBT = "in_doubt"
    HELD = "held"
    REFUSED = "refused"
    DROPPED = "dropped"


OPEN_INTENTS = (IntentState.READY, IntentState.SENDING, IntentState.IN_DOUBT, IntentState.HELD)


@dataclass(frozen=True, slots=True)
class Intent:
    """A planned write in the journal. `token` marks it on the other side; `tried_at` is the start of the last attempt."""

    id: int
    action: Action
    state: IntentState
    token: str
    attempts: int = 0
    tried_at: datetime | None = None
    not_before: datetime | None = None
    error: str | None = None
    planned_at: datetime | None = None
    ended_at: datetime | None = None


class HoldType(StrEnum):
    IDENTITY = "identity"
    CONFLICT = "conflict"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    CONVERSATION = "conversation"


@dataclass(frozen=True, slots=True)
class Hold:
    """Something a person must settle. `details` is JSON-able: candidates with scores, both values, the error.

    `choice` is None while open, later one of the choices that the type allows (`sync.holds`).
    """

    id: int
    type: HoldType
    subject: Ref
    question: str
    details: Fields
    field: str = ""
    intent: int | None = None
    choice: str | None = None
    by: str | None = None
    why: str | None = None
    opened_at: datetime | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """The time from `start`, included, to `end`, excluded (aware; None: no bound)."""

    start: datetime | None = None
    end: datetime | None = None

    def holds(self, at: datetime) -> bool:
        return (self.start is None or at >= self.start) and (self.end is None or at < self.end)


ALWAYS = Period()


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream was read. `watermark`: everything changed before it is stored. `resume`: the adapter's page token
    inside a window that is not yet read to its end, `since` the floor of that window."""

    watermark: datetime | None = None
    since: datetime | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A write that landed. `fields` is what the target shows when read back, None where the answer does not tell."""

    ref: Ref
    created: bool = False
    fields: Fields | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """A verified webhook said: look at this ref. Never data."""

    ref: Ref


def stamp(moment: datetime) -> str:
    """UTC text to the second (cut, so that a floor never moves up). Times at the very edge of the calendar, which UTC may
    not have, keep their own zone's reading."""
    with suppress(OverflowError):
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest(value: object) -> str:
    """A short stable digest of a JSON-able value (first 16 hex digits of SHA-256 over sorted compact JSON)."""
    return hashlib.sha256(COMPACT.encode(value).encode()).hexdigest()[:16]
