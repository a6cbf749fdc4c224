"""The reference adapter: the seam of `base.py` in its simplest form, as platform or as CRM, over a `MemorySystem`.
It is the specification by example for other adapters and what the engine's tests, properties and simulations run on.
"""

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from connector.adapters.base import (
    Account,
    Capabilities,
    Lookup,
    ObjectInfo,
    Page,
    Probe,
    Stream,
    Usage,
    User,
    Window,
    Write,
)
from connector.adapters.memory_system import (
    PLATFORM_OBJECTS,
    Delivered,
    Fault,
    MemoryObject,
    MemorySystem,
    Record,
    Version,
    memory_object,
)
from connector.errors import (
    AllowanceSpent,
    AuthError,
    RecordGone,
    Rejected,
    RemoteError,
    SchemaDrift,
    Transient,
    Unreadable,
)
from connector.model import Fields, Hint, Kind, Life, Observed, Period, Receipt, Ref, Side, stamp

__all__ = ["PLATFORM_OBJECTS", "Delivered", "Fault", "MemoryAdapter", "MemoryObject", "MemorySystem", "memory_object"]

T = TypeVar("T")


@dataclass
class MemoryAdapter:
    """The connector's view of a MemorySystem.

    `overlap` and `lag` are declared as capabilities and have to be at least the world's real delays. `deletes_visible`:
    a pull shows deleted and merged records. `marks_sends`: `send` can store its token. `reads_back`: receipts carry the
    stored values. `tells_author`: the system says who wrote a version. `can_reply` defaults to the platform side.
    """

    world: MemorySystem
    side: Side
    password: str = field(default="correct-horse", repr=False)
    user: str = "connector"
    page_size: int = 100
    batch: int = 100
    overlap: timedelta = timedelta(minutes=5)
    lag: timedelta = timedelta(0)
    deletes_visible: bool = True
    marks_sends: bool = True
    reads_back: bool = True
    tells_author: bool = True
    can_reply: bool | None = None
    trusted_times: frozenset[Kind] = frozenset(Kind)
    calls: int = 0
    told: int | None = None
    system: str = field(init=False)

    def __post_init__(self) -> None:
        self.system = self.world.system

    @property
    def capabilities(self) -> Capabilities:
        kinds = frozenset(spec.kind for spec in self.world.objects.values())
        return Capabilities(
            streams=(Stream("changes", timedelta(minutes=1), self.overlap),),
            readable=kinds,
            writable=kinds,
            batch=self.batch,
            upsert_by_key=True,
            can_reply=self._can_reply,
            webhooks=True,
            lag=self.lag,
            trusted_times=self.trusted_times,
            history="changes" if self.side is Side.PLATFORM else "",
            page=self.page_size,
        )

    @property
    def _can_reply(self) -> bool:
        return self.side is Side.PLATFORM if self.can_reply is None else self.can_reply

    def check(self) -> Account:
        return self._call(
            "check", lambda: Account(self.system, self.world.account, "Memory", self.user, "1"), writes=False
        )

    def describe(self, object_: str) -> ObjectInfo:
        return self._call("describe", lambda: self._spec(object_).info, writes=False)

    def users(self) -> Sequence[User]:
        return self._call("users", lambda: tuple(self.world.people), writes=False)

    # ---- reading --------------------------------------------------------------------------------------------------

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        """Everything stamped in [since, start of the window], parents first, then by time and id. Of a slice of the past: its
        messages and what they hang on, whenever that was stamped.

        The end is fixed when the window is opened. A record that changes while we page gets a later stamp: it drops out
        of this window and stands in the next one, so no page can shift under us. A slice of the past has no next one:
        it goes by the time when a record was made.
        """
        if stream != "changes":
            raise ValueError(f"{self.system} has no stream {stream!r}")
        after = json.loads(window.resume) if window.resume else [self.world.clock().isoformat(), None]
        while True:
            page = self._call("pull", lambda after=after: self._page(window, *after), writes=False)  # type: ignore[misc]
            yield page
            if page.resume is None:
                return
            after = json.loads(page.resume)

    def _page(self, window: Window, end: str, last: list[Any] | None) -> Page:
        until, since = datetime.fromisoformat(end), window.since
        rows: list[tuple[list[Any], Observed]] = []
        past = None if window.sent.end is None else self._with_ancestors(window.sent)
        for record in self.world.records.values():
            version = record.seen_at(self.world.clock())
            if version is None or (since and version.changed_at < since):
                continue
            if past is None and version.changed_at > until:
                continue
            if since is None and not self.world.objects[record.ref.object].initial:
                continue
            if not _wanted(window.sent, record, version) if past is None else record.ref not in past:
                continue
            if version.life is not Life.LIVE and (since is None or not self.deletes_visible):
                continue
            at = version.changed_at if past is None else record.history[0].changed_at
            key = [record.kind.rank, at.isoformat(), str(record.ref)]
            if last is None or key > last:
                rows.append((key, self._observed(record, version)))
        rows.sort(key=lambda row: row[0])
        page = rows[: self.page_size]
        observed = tuple(o for _, o in page)
        if len(rows) > len(page):
            return Page(observed, resume=json.dumps([end, page[-1][0]]))
        return Page(observed, watermark=until)

    def _with_ancestors(self, sent: Period) -> set[Ref]:
        found: set[Ref] = set()
        for record in self.world.records.values():
            version = record.seen_at(self.world.clock())
            if version and record.kind is Kind.MESSAGE and _sent_in(sent, version):
                ref: Ref | None = record.ref
                while ref is not None:
                    found.add(ref)
                    ref = self.world.records[ref].latest.parent
        return found

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        return self._call("fetch", lambda: [self._fetch(ref) for ref in refs], writes=False)

    def _fetch(self, ref: Ref) -> Observed:
        record = self.world.records.get(ref)
        version = record.seen_at(self.world.clock()) if record else None
        if record is None or version is None:
            return Observed(ref, self._spec(ref.object).kind, {}, life=Life.GONE)
        return self._observed(record, version)

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        return self._call("find", lambda: [self._find(lookup) for lookup in lookups], writes=False)

    def _find(self, lookup: Lookup) -> list[Observed]:
        self._spec(lookup.object)
        found = []
        for record in self.world.records.values():
            version = record.seen_at(self.world.clock())
            if record.ref.object == lookup.object and version and version.life is Life.LIVE:
                held = version.fields.get(lookup.field)
                if any(matches(lookup, each) for each in (held if isinstance(held, list) else [held])):
                    found.append(self._observed(record, version))
        return sorted(found, key=lambda o: o.ref)

    def _observed(self, record: Record, version: Version) -> Observed:
        return Observed(
            ref=record.ref,
            kind=record.kind,
            fields=version.fields if version.life is Life.LIVE else {},
            version=str(version.number),
            changed_at=version.changed_at,
            by=version.by if self.tells_author else None,
            ours=version.by == self.user if self.tells_author else None,
            parent=version.parent,
            life=version.life,
            merged_into=self._last_winner(version.merged_into),
            token=record.token,
        )

    def _last_winner(self, ref: Ref | None) -> Ref | None:
        while ref is not None and (further := self.world.records[ref].latest.merged_into):
            ref = further
        return ref

    # ---- writing --------------------------------------------------------------------------------------------------

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        """Rows one after the other, each on its own."""
        return self._call("upsert", lambda: [self._row(self._upsert, write) for write in writes], writes=True)

    def _upsert(self, write: Write) -> Receipt:
        if error := self.world.refuse(write):
            raise error
        target = write.target or self._by_key(write)
        fields = dict(write.fields) | (dict([write.key]) if write.key else {})
        self._validate(write.object, fields, target)
        if target is None:
            ref = self.world.add(write.object, fields, by=self.user, late=self.world.commits_late_by)
        else:
            ref = self._live(target).ref
            self.world.person_edits(ref, fields, by=self.user, late=self.world.commits_late_by)
        return self._receipt(ref, created=target is None)

    def _by_key(self, write: Write) -> Ref | None:
        if write.key is None:
            return None
        held = self._holders(write.object, *write.key)
        if len(held) > 1:
            raise Rejected(
                self.system, "MULTIPLE", f"more than one record has {write.key[0]}", others=tuple(map(str, held))
            )
        return held[0] if held else None

    def _validate(self, object_: str, fields: Fields, target: Ref | None) -> None:
        info = self._spec(object_).info
        for name, value in fields.items():
            described = info.field(name)
            if described is None:
                raise SchemaDrift(self.system, "NO_FIELD", f"{object_} has no field {name}", fields=(name,))
            if not (described.updateable if target else described.createable):
                raise Rejected(self.system, "READ_ONLY", f"{name} cannot be written", fields=(name,))
            if described.length and isinstance(value, str) and len(value.encode("utf-16-le")) // 2 > described.length:
                raise Rejected(self.system, "TOO_LONG", f"{name} holds {described.length}", fields=(name,))
            clash = (
                [r for r in self._holders(object_, name, value) if r != target] if described.unique and value else []
            )
            if clash:
                raise Rejected(
                    self.system, "TAKEN", f"{name} is already taken", fields=(name,), others=tuple(map(str, clash))
                )
        if target is None and (
            missing := [f.name for f in info.fields.values() if f.required and not fields.get(f.name)]
        ):
            raise Rejected(self.system, "REQUIRED", f"{', '.join(missing)} must be given", fields=tuple(missing))

    def _holders(self, object_: str, name: str, value: object) -> list[Ref]:
        """Live records of the object that hold the value now, committed late or not: the system itself sees its own locks."""
        return sorted(
            r.ref
            for r in self.world.records.values()
            if r.ref.object == object_ and r.latest.life is Life.LIVE and r.latest.fields.get(name) == value
        )

    def send(self, write: Write, token: str) -> Receipt:
        if not self._can_reply:
            raise Rejected(self.system, "NO_REPLY", "this system cannot send messages")
        return self._call("send", lambda: self._send(write, token), writes=True)

    def _send(self, write: Write, token: str) -> Receipt:
        if error := self.world.refuse(write):
            raise error
        if write.target is None:
            raise Rejected(self.system, "NO_TARGET", "a reply needs the conversation it goes to")
        conversation = self._live(write.target)
        fields = dict(write.fields) | {
            "direction": "outbound",
            "type": "text",
            "author": self.user,
            "author_type": "agent",
            "private": False,
            "sent_at": stamp(self.world.clock()),
            "delivery": "sent",
        }
        ref = self.world.add(
            "message",
            fields,
            parent=conversation.ref,
            by=self.user,
            late=self.world.commits_late_by,
            token=token if self.marks_sends else None,
        )
        self.world.network_receives.append(Delivered(conversation.ref, str(fields.get("text", "")), ref))
        return self._receipt(ref, created=True)

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        """Looks only at what is readable now: within the lag after a send the answer may be a false ABSENT."""
        return self._call("probe", lambda: self._probe(token), writes=False)

    def _probe(self, token: str) -> Receipt | Probe:
        if not self.marks_sends:
            return Probe.CANNOT_TELL
        now = self.world.clock()
        found = [r.ref for r in self.world.records.values() if r.token == token and r.seen_at(now)]
        return self._receipt(found[0], created=True) if found else Probe.ABSENT

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        return self._call("remove", lambda: [self._row(self._remove, write) for write in writes], writes=True)

    def _remove(self, write: Write) -> Receipt:
        if write.target is None:
            raise Rejected(self.system, "NO_TARGET", "nothing to remove was named")
        record = self.world.records.get(write.target)
        if record and record.latest.life is Life.LIVE:
            self.world.delete(write.target, by=self.user)
        return Receipt(write.target)

    def cost(self, writes: Sequence[Write], *, removes: bool = False) -> int:
        return 1 if writes else 0

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        given = {k.lower(): v for k, v in headers.items()}.get("x-memory-signature", "")
        if not hmac.compare_digest(given.encode(), self.world.sign(body).encode()):
            raise AuthError(
                self.system, "SIGNATURE", "the webhook's signature does not fit", "Check the webhook secret."
            )
        try:
            data = json.loads(body)
            return [Hint(Ref.parse(data["ref"]))]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(self.system, "BODY", "the webhook's body is not what we document") from error

    def usage(self) -> Usage:
        return Usage(self.calls, self.told, None if self.told is None else self.world.allowance)

    def allowance(self) -> Usage:
        if self.world.allowance is not None:
            self._call("allowance", lambda: None, writes=False)
        return self.usage()

    def close(self) -> None:
        """Nothing to give back."""

    # ---- shared ---------------------------------------------------------------------------------------------------

    def _call(self, method: str, effect: Callable[[], T], *, writes: bool) -> T:
        """One remote call: the login, then the scripted fault, then (unless the request was lost) the effect."""
        self.calls += 1
        self.world.used += 1
        self.told = None if self.world.allowance is None else self.world.used
        if self.password != self.world.password:
            raise AuthError(self.system, "401", "the login was refused", "Give the connector a valid password.")
        fault = self.world.next_fault(method)
        match fault:
            case Fault.UNREACHABLE:
                raise Transient(self.system, "UNREACHABLE", "no connection")
            case Fault.LIMITED:
                raise Transient(self.system, "429", "too many calls", retry_after=30.0)
            case Fault.SPENT:
                raise AllowanceSpent(self.system, "SPENT", "the daily allowance is used up")
            case Fault.LOST_REQUEST:
                raise Transient(self.system, "TIMEOUT", "no answer", certain=not writes)
        result = effect()
        match fault:
            case Fault.LOST_ANSWER:
                raise Transient(self.system, "TIMEOUT", "no answer", certain=not writes)
            case Fault.GARBLED:
                raise Unreadable(self.system, "HTML", "the answer is a web page", certain=not writes)
        return result

    def _row(self, effect: Callable[[Write], Receipt], write: Write) -> Receipt | RemoteError:
        try:
            return effect(write)
        except RemoteError as error:
            return error

    def _spec(self, object_: str) -> MemoryObject:
        if object_ not in self.world.objects:
            raise SchemaDrift(self.system, "NO_OBJECT", f"there is no object {object_}")
        return self.world.objects[object_]

    def _live(self, ref: Ref) -> Record:
        record = self.world.records.get(ref)
        if record is None or record.latest.life is not Life.LIVE:
            winner = self._last_winner(record.latest.merged_into) if record else None
            raise RecordGone(self.system, "GONE", f"{ref} does not exist", others=(str(winner),) if winner else ())
        return record

    def _receipt(self, ref: Ref, created: bool) -> Receipt:
        latest = self.world.records[ref].latest
        return Receipt(ref, created, latest.fields if self.reads_back else None)


def _wanted(sent: Period, record: Record, version: Version) -> bool:
    """What changed is shown whenever it was sent: it may have come in with a backfill that is still under way."""
    return version is not record.history[0] or _sent_in(sent, version)


def _sent_in(sent: Period, version: Version) -> bool:
    """Whether a record is of the period; what has no time of sending is of every one."""
    at = version.fields.get("sent_at")
    return not at or sent.holds(datetime.fromisoformat(at))


def matches(lookup: Lookup, held: object) -> bool:
    """Whether a stored value answers the lookup. Texts compare without case. A stored phone number may be written in any
    way: it matches when its digits, without leading zeros, end the wanted number and are at least seven (a subscriber
    number)."""
    if not isinstance(held, str) or not held:
        return False
    if lookup.how == "phone":
        digits = "".join(filter(str.isdigit, held.replace("(0)", ""))).lstrip("0")
        return len(digits) >= 7 and "".join(filter(str.isdigit, lookup.value)).endswith(digits)
    return held.casefold() == lookup.value.casefold()
