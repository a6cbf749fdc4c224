"""The seam: what a platform or a CRM must be able to do. `tests/conformance` is this contract, executable.

Adapters keep no memory of the sync: cursors come in, pages go out. They may cache describes, users and tokens.
They retry transient faults themselves (one place per adapter, by error class): of reads all, of writes only those that
certainly had no effect. A write whose answer was lost goes up as uncertain, and the engine looks before it writes again;
`send` is never repeated by an adapter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol, runtime_checkable

from connector.errors import RemoteError
from connector.model import ALWAYS, Fields, Hint, Kind, Observed, Period, Receipt, Ref, Side, Value


@dataclass(frozen=True, slots=True)
class Stream:
    """Something that is read on a schedule of its own. `overlap` is at least the longest delay between a record's
    stamp and its becoming visible; `every` the default time between two reads."""

    name: str
    every: timedelta
    overlap: timedelta


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a system can do, as data; a mapping that asks for more is refused when it is loaded.

    `writable` kinds accept `upsert`. `batch` is the largest number of writes one `upsert` call takes. `lag` is the
    longest time from when a write was given up (its answer was lost, or we stopped) until its record is certainly visible, or
    will never be. The system does not learn that we gave up, so it is longer than the adapter itself waits for one answer:
    its time-outs, and the time until what is stored is visible. `trusted_times` are the kinds whose `changed_at` may decide the rule `newest`. `names_winners`: a record that was merged
    into another says into which; otherwise it is only gone, and its children tell where they are now. `history` names the
    stream through which a slice of the past can be read (`Window.sent` with an end), "" where none can. `page` is how many
    records of an object, just written, one more call of a read brings back.
    """

    streams: tuple[Stream, ...]
    readable: frozenset[Kind]
    writable: frozenset[Kind]
    batch: int
    upsert_by_key: bool
    can_reply: bool
    webhooks: bool
    lag: timedelta
    trusted_times: frozenset[Kind] = frozenset()
    names_winners: bool = True
    history: str = ""
    page: int = 1000


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are there: `id` pins the connection to this account; `user` is the connector's own user."""

    system: str
    id: str
    name: str
    user: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of an object. `type` is one of text, longtext, integer, number, boolean, date, datetime, email, phone, url,
    choice, tags, reference, list, any. `length` is in UTF-16 units, 0 = no limit known. `choices` is empty for an open list
    and `restricted` says whether other values are refused. `unique` means that the system refuses the same value twice."""

    name: str
    type: str
    length: int = 0
    required: bool = False
    createable: bool = True
    updateable: bool = True
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    choices: tuple[str, ...] = ()
    restricted: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`open_prefix` names a prefix under which any field name is allowed (`attributes.`), "" where there is none."""

    name: str
    fields: Mapping[str, FieldInfo]
    createable: bool = True
    updateable: bool = True
    open_prefix: str = ""

    def field(self, name: str) -> FieldInfo | None:
        """The field by its name, also one under the open prefix; None when the object has no such field."""
        found = self.fields.get(name)
        if found is None and self.open_prefix and name.startswith(self.open_prefix) and name != self.open_prefix:
            return FieldInfo(name, "any")
        return found


@dataclass(frozen=True, slots=True)
class User:
    """A person who works in the system (agent, CRM user). `email` is lower-case. `contact` is the id of the record that
    stands for this person among a CRM's contacts, "" where there is none."""

    id: str
    email: str
    name: str
    active: bool = True
    contact: str = ""


def no_links(_after: str, _limit: int) -> Sequence[Ref]:
    """Of a window whose stream does not ask which records are linked."""
    return ()


@dataclass(frozen=True, slots=True)
class Window:
    """What one pull should read: everything changed at or after `since` (None: from the beginning), going on at `resume`.
    `position` answers a stored position of this stream, for example the last message id read of a conversation. A stream
    that looks at a slice of all records at a time looks at all of them when the window is `thorough`. `linked` answers the
    side's linked records in the order of their references, so many after a given one: a system that does not tell of
    deletions has to be asked about each.

    `sent`: only messages sent in this period are wanted. What was sent before its start may be left out, with conversations and
    people who have nothing else; where a stream goes by the time of a change, what changed is shown all the same, for it may have
    come in with a backfill, and nobody would look for it again. With an end it asks for a slice of the past, `since` is None, and what is shown are the
    messages sent in it, whenever their conversations moved and though they change meanwhile (the next window is another slice),
    and the conversations and people of those."""

    since: datetime | None = None
    resume: str | None = None
    position: Callable[[str], str | None] = field(default=lambda _key: None)
    thorough: bool = False
    linked: Callable[[str, int], Sequence[Ref]] = field(default=no_links)
    sent: Period = ALWAYS


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a window. Parents stand before their children. `resume` continues after this page; None on the last page,
    which carries the `watermark` (the system's own time before which everything has been read). `part` is how much of the
    window is read with this page, 0 to 1, where the system lets it be known. `earliest` on the last page of a slice of the past:
    the system has no message that was sent before it (False: it has, or does not tell). `oldest` on some page of the past: about
    when the system's oldest message was sent, for a forecast (None: it does not tell)."""

    observed: tuple[Observed, ...]
    resume: str | None = None
    watermark: datetime | None = None
    positions: Mapping[str, str] = field(default_factory=dict)
    part: float | None = None
    earliest: bool = False
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Find records of `object` whose `field` holds `value`. `how`: exact (case-insensitive, as the system compares),
    phone (E.164 value; stored numbers may be formatted in any way)."""

    object: str
    field: str
    value: str
    how: str = "exact"


@dataclass(frozen=True, slots=True)
class Write:
    """One write as an adapter gets it: placeholders are resolved, values are the side's own.

    With `target` the record is updated; without it, it is created, or found again by `key` (field, value). For `send`,
    `target` is the conversation and `fields` holds `text` and optionally `in_reply_to`.
    """

    kind: Kind
    object: str
    fields: Fields
    target: Ref | None = None
    key: tuple[str, str] | None = None


class Probe(Enum):
    ABSENT = "absent"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Usage:
    """API calls of this process, and the system's own count of its allowance where it tells (None where not). `kept` of the
    calls asked for what is kept from then on, such as descriptions of objects: a process makes them once."""

    calls: int
    used: int | None = None
    allowance: int | None = None
    kept: int = 0


@dataclass(frozen=True, slots=True)
class ObjectRead:
    """What a mapping wants from one CRM object: its kind, the fields (paths such as `Owner.Name` included), the field
    that names its parent, and the key field by which our own records are known (None: only linked records matter).

    `initial`: a first pull reads all records; otherwise only those of objects that hold nothing but the connector's own (an
    adapter knows its system's), and the company's from now on. `reply_when`: replies are written in the same object as the
    records of this kind; those that others made with these values, as an answer to what we wrote there before, are of kind
    `reply`, and show `reply_fields` as well."""

    kind: Kind
    fields: tuple[str, ...]
    key: str | None = None
    parent: str | None = None
    initial: bool = False
    reply_when: Mapping[str, Value] = field(default_factory=dict)
    reply_fields: tuple[str, ...] = ()


class Adapter(Protocol):
    """One system, one account. All methods may raise RemoteError; none swallows one."""

    system: str
    side: Side

    @property
    def capabilities(self) -> Capabilities: ...

    def check(self) -> Account:
        """Credentials, scopes, account. Writes nothing. Raises AuthError with the way out."""

    def describe(self, object_: str) -> ObjectInfo:
        """The live schema of one object. Raises SchemaDrift when there is no such object."""

    def users(self) -> Sequence[User]:
        """All users, inactive ones included."""

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        """Pages of observations of one stream. Stopping early loses nothing: the next pull goes on at `resume`."""

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        """The current state of each ref, in order: live, gone, or merged into another."""

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        """For each lookup all matches, never only the first. Deleted records do not match."""

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        """A batch, one result per write in the same order. Raises only when the whole call failed. An error whose `certain` is
        false says that the write, or a part of it, may have been done."""

    def send(self, write: Write, token: str) -> Receipt:
        """Not idempotent. Raises a RemoteError whose `certain` says whether it may have been sent."""

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        """After an unclear `send` started at `since`: the record it made, or Probe.ABSENT, or Probe.CANNOT_TELL."""

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        """Delete the targets. A target that is already gone counts as done."""

    def cost(self, writes: Sequence[Write], *, removes: bool = False) -> int:
        """How many calls `upsert` (or `remove`) of these takes when none is refused, found out without making any."""

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        """The refs a webhook speaks of. Raises AuthError when the signature does not fit, Unreadable on a bad body."""

    def usage(self) -> Usage:
        """What is known now; asks nobody."""

    def allowance(self) -> Usage:
        """The same after asking the system for its count, which costs one call; nobody is asked where it tells none."""

    def close(self) -> None: ...


@runtime_checkable
class TellsWebhooks(Protocol):
    """A platform that tells which addresses it calls."""

    def webhook_misfit(self, path: str) -> tuple[str, str] | None:
        """What keeps its webhooks from reaching an address that ends with `path`, and the way out; None where nothing does, or
        where the credentials do not let us look. Raises RemoteError."""
