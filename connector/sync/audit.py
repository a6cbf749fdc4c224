"""Are the promises kept? Compares rows of the store with each other and with what the two sides show. Pure.

Each function looks at one page of rows and answers its offenders: a line of text each, and how the engine can mend it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connector.mapping.compiled import KeyRule
from connector.model import (
    OPEN_INTENTS,
    Fact,
    Hold,
    Intent,
    IntentState,
    Kind,
    Life,
    Link,
    Observed,
    Op,
    Ref,
    Side,
    State,
)

FIRST = 5
"""Offenders that are kept; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Redo:
    """Plan this record again."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Look:
    """Read this record again: a `missing` one is mended when it is seen to be gone, one that was never seen when it is seen."""

    side: Side
    ref: Ref
    missing: bool


@dataclass(frozen=True, slots=True)
class Move:
    """The link goes on to the CRM record that has the key now."""

    link: Link
    crm: Ref


@dataclass(frozen=True, slots=True)
class Adopt:
    """The CRM record carries the key of this platform record, so the two are linked."""

    kind: Kind
    platform: Ref
    crm: Ref


@dataclass(frozen=True, slots=True)
class Anew:
    """Decide these lines of a pair as if its records met for the first time."""

    link: Link
    lines: tuple[str, ...]


Mend = Redo | Look | Move | Adopt | Anew


@dataclass(frozen=True, slots=True)
class Offender:
    """What breaks a promise. `mend` is None where only a person can put it right."""

    text: str
    mend: Mend | None = None


@dataclass
class Finding:
    """One promise: how many rows were looked at, how many break it, and the first of them. `waiting` are rows that break it now
    and will not any more after the next read. Of a repair: how many were handed back to the engine, and the first of those that
    remain for a person."""

    promise: str
    checked: int = 0
    violations: int = 0
    first: list[str] = field(default_factory=list)
    waiting: int = 0
    handed_back: int = 0
    left: list[str] = field(default_factory=list)

    def add(self, checked: int, offenders: Iterable[str]) -> None:
        self.checked += checked
        for offender in offenders:
            self.violations += 1
            if len(self.first) < FIRST:
                self.first.append(offender)

    def mended(self, handed_back: int, left: Iterable[str]) -> None:
        self.handed_back += handed_back
        self.left += list(left)[: FIRST - len(self.left)]

    @property
    def remaining(self) -> int:
        return self.violations - self.handed_back


def accounts(messages: Sequence[Fact], linked: Collection[Ref], busy: Collection[Ref]) -> list[Offender]:
    """A synced message is linked and no other is; an open one is still under way, not forgotten."""
    found = []
    for one in messages:
        if one.state is State.SYNCED and one.ref not in linked:
            found.append(Offender(f"{one.ref} is synced, but no CRM record is linked with it", Redo(one.ref)))
        elif one.state is State.ERASED and one.ref in linked:
            found.append(Offender(f"{one.ref} is erased, but a CRM record is linked with it", Redo(one.ref)))
        elif one.state in (None, State.OPEN) and not one.dirty and one.ref not in busy:
            found.append(Offender(f"{one.ref} is in no state, and nothing is planned for it", Redo(one.ref)))
    return found


def doubles(links: Iterable[Link]) -> list[Offender]:
    """At most one active link per ref; several platform persons may be one CRM record."""
    counts: Counter[tuple[str, Kind, Ref]] = Counter()
    for link in links:
        counts["platform", link.kind, link.platform] += 1
        if link.kind is not Kind.PERSON:
            counts["crm", link.kind, link.crm] += 1
    twice = [(kind, ref, count) for (_, kind, ref), count in counts.items() if count > 1]
    return [Offender(f"{ref} has {count} active links as {kind}") for kind, ref, count in twice]


def orphans(intents: Sequence[Intent], known: Collection[Ref], holds: Mapping[int, Hold]) -> list[Offender]:
    """A write that is under way has a source that is known; one that is held has an open hold."""
    found = []
    for one in intents:
        if one.state in OPEN_INTENTS:
            if one.action.source not in known:
                found.append(Offender(f"intent {one.id} comes from {one.action.source}, which is not known"))
            if one.state is IntentState.HELD and one.id not in holds:
                found.append(Offender(f"intent {one.id} is held, but no open hold asks about it"))
    return found


def records(
    asked: Mapping[Ref, tuple[str, str]],
    found: Mapping[Ref, Sequence[Observed]],
    links: Mapping[Ref, Link],
    taken: Collection[Ref],
) -> list[Offender]:
    """Each CRM record of ours is found exactly once by its key. `asked` holds field and value by linked record, `links` their
    links; `taken` are the found records that are linked."""
    offenders = []
    for ref, (name, value) in asked.items():
        refs = [one.ref for one in found.get(ref, ()) if one.life is Life.LIVE]
        if refs == [ref]:
            continue
        shown = ", ".join(map(str, refs)) or "nothing"
        mend: Mend | None = None
        if not refs:
            mend = Look(Side.CRM, ref, missing=True)
        elif len(refs) == 1 and refs[0] not in taken:
            mend = Move(links[ref], refs[0])
        offenders.append(Offender(f"{name} {value} should be {ref} alone, but the CRM has {shown}", mend))
    return offenders


def strays(
    seen: Sequence[Observed],
    linked: Collection[Ref],
    busy_keys: Collection[str],
    keys: Collection[str],
    owners: Mapping[Ref, Ref],
    kept_out: Mapping[Ref, str],
) -> list[Offender]:
    """No CRM record carries a key of this connection without being linked. `keys` are the key fields, `busy_keys` the keys
    of writes under way, whose record may stand already; `owners` the platform records whose keys these are, as far as they
    are known and have no other CRM record; `kept_out` those that shall not be in the CRM, and why. Who a person is, is never
    told by a key alone.

    Two actors: a write is given up with the decision "never", and it had landed all the same. Were its record linked, the person
    who decided would see the message in the CRM after all, and every later edit of it.
    """
    found = []
    for one in seen:
        mine = [str(one.fields[name]) for name in keys if one.fields.get(name)]
        if one.life is Life.LIVE and mine and one.ref not in linked and not set(mine) & set(busy_keys):
            owner = owners.get(one.ref)
            out = kept_out.get(owner) if owner else None
            mend = Adopt(one.kind, owner, one.ref) if owner and not out and one.kind is not Kind.PERSON else None
            text = f"{one.ref} carries the key {mine[0]}, but is linked with nothing"
            found.append(Offender(f"{text}; {owner} is kept out of the CRM ({out})" if out else text, mend))
    return found


def person_of(one: Fact, above: Mapping[Ref, Fact]) -> Ref | None:
    """Whose a platform record is: the person that a message names, otherwise the one it hangs on. `above` is what it hangs on."""
    if one.fields.get("person"):
        return Ref.parse(one.fields["person"])
    parent = above.get(one.parent) if one.parent else None
    return parent.parent if parent and parent.kind is Kind.CONVERSATION else one.parent


def id_in(key: KeyRule, connection: str, value: str) -> str | None:
    """The platform's id in a key of this connection, such as `41` in `main:41`; None where it is no such key, or where the
    keys of all connections look alike."""
    mark = "\0"
    text = key.template.render({"connection": connection, "id": mark})
    before, _, after = text.partition(mark)
    if text == key.template.render({"connection": mark, "id": mark}) or text.count(mark) != 1:
        return None
    id_ = value[len(before) : len(value) - len(after)]
    return id_ if id_ and value == f"{before}{id_}{after}" else None


def unseen(shown: Sequence[Observed], known: Collection[Ref], before: datetime | None) -> tuple[list[Offender], int]:
    """Messages that the platform shows and nobody has read; and how many more there are that are too young to have been read:
    what is stamped earlier than `before` has been (None: nothing yet)."""
    missed, young = [], 0
    for one in shown:
        if one.kind is not Kind.MESSAGE or one.life is not Life.LIVE or one.ref in known:
            continue
        if before is None or (one.changed_at is not None and one.changed_at >= before):
            young += 1
        else:
            missed.append(Offender(f"{one.ref} was never seen", Look(Side.PLATFORM, one.ref, missing=False)))
    return missed, young


def living(links: Sequence[Link], side: Side, now: Mapping[Ref, Observed]) -> list[Offender]:
    """Both records of a linked person exist; one that was merged or deleted just now is not read yet."""
    found = []
    for link in links:
        one = now.get(link.on(side))
        if one is None or one.life is not Life.LIVE:
            text = f"{link.on(side)}, linked as {link.kind}, is {one.life if one else 'not shown'}"
            found.append(Offender(text, Look(side, link.on(side), missing=True)))
    return found


def sends(
    done: Sequence[tuple[Intent, Ref | None]], shown: Mapping[Ref, Observed], marked: Mapping[str, int]
) -> list[Offender]:
    """Every reply that was sent is one message on the platform: it is there, and its marker is on no second one."""
    found = []
    for intent, ref in done:
        if ref is None or ref not in shown or shown[ref].life is not Life.LIVE:
            found.append(Offender(f"{intent.action.source} was sent as {ref}, which is not there"))
        elif marked.get(intent.token, 0) > 1:
            found.append(Offender(f"{intent.action.source} was sent {marked[intent.token]} times"))
    return found


def sent(pages: Sequence[tuple[Intent, Ref | None]]) -> list[tuple[Intent, Ref | None]]:
    return [(one, ref) for one, ref in pages if one.action.op is Op.SEND and one.state is IntentState.DONE]
