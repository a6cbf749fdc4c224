"""Are the promises kept? Compares rows of the store with each other and with what the two sides show. Pure.

Each function looks at one page of rows and answers its offenders, as one line of text each.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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


@dataclass
class Finding:
    """One promise: how many rows were looked at, how many break it, and the first of them."""

    promise: str
    checked: int = 0
    violations: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, checked: int, offenders: Iterable[str]) -> None:
        self.checked += checked
        for offender in offenders:
            self.violations += 1
            if len(self.first) < FIRST:
                self.first.append(offender)


def accounts(messages: Sequence[Fact], linked: Collection[Ref], busy: Collection[Ref]) -> list[str]:
    """A synced message is linked and no other is; an open one is still under way, not forgotten."""
    found = []
    for one in messages:
        if one.state is State.SYNCED and one.ref not in linked:
            found.append(f"{one.ref} is synced, but no CRM record is linked with it")
        elif one.state is State.ERASED and one.ref in linked:
            found.append(f"{one.ref} is erased, but a CRM record is linked with it")
        elif one.state in (None, State.OPEN) and not one.dirty and one.ref not in busy:
            found.append(f"{one.ref} is in no state, and nothing is planned for it")
    return found


def doubles(links: Iterable[Link]) -> list[str]:
    """At most one active link per ref; several platform persons may be one CRM record."""
    counts: Counter[tuple[str, Kind, Ref]] = Counter()
    for link in links:
        counts["platform", link.kind, link.platform] += 1
        if link.kind is not Kind.PERSON:
            counts["crm", link.kind, link.crm] += 1
    return [f"{ref} has {count} active links as {kind}" for (_, kind, ref), count in counts.items() if count > 1]


def orphans(intents: Sequence[Intent], known: Collection[Ref], holds: Mapping[int, Hold]) -> list[str]:
    """A write that is under way has a source that is known; one that is held has an open hold."""
    found = []
    for one in intents:
        if one.state in OPEN_INTENTS:
            if one.action.source not in known:
                found.append(f"intent {one.id} comes from {one.action.source}, which is not known")
            if one.state is IntentState.HELD and one.id not in holds:
                found.append(f"intent {one.id} is held, but no open hold asks about it")
    return found


def records(asked: Mapping[Ref, tuple[str, str]], found: Mapping[Ref, Sequence[Observed]]) -> list[str]:
    """Each CRM record of ours is found exactly once by its key. `asked` holds field and value by linked record."""
    offenders = []
    for ref, (name, value) in asked.items():
        refs = [one.ref for one in found.get(ref, ()) if one.life is Life.LIVE]
        if refs != [ref]:
            shown = ", ".join(map(str, refs)) or "nothing"
            offenders.append(f"{name} {value} should be {ref} alone, but the CRM has {shown}")
    return offenders


def strays(
    seen: Sequence[Observed], linked: Collection[Ref], busy_keys: Collection[str], keys: Collection[str]
) -> list[str]:
    """No CRM record carries a key of this connection without being linked. `keys` are the key fields, `busy_keys` the keys
    of writes under way, whose record may stand already."""
    found = []
    for one in seen:
        mine = [str(one.fields[name]) for name in keys if one.fields.get(name)]
        if one.life is Life.LIVE and mine and one.ref not in linked and not set(mine) & set(busy_keys):
            found.append(f"{one.ref} carries the key {mine[0]}, but is linked with nothing")
    return found


def living(links: Sequence[Link], side: Side, now: Mapping[Ref, Observed]) -> list[str]:
    """Both records of a linked person exist; one that was merged or deleted just now is not read yet."""
    found = []
    for link in links:
        one = now.get(link.on(side))
        if one is None or one.life is not Life.LIVE:
            found.append(f"{link.on(side)}, linked as {link.kind}, is {one.life if one else 'not shown'}")
    return found


def sends(
    done: Sequence[tuple[Intent, Ref | None]], shown: Mapping[Ref, Observed], marked: Mapping[str, int]
) -> list[str]:
    """Every reply that was sent is one message on the platform: it is there, and its marker is on no second one."""
    found = []
    for intent, ref in done:
        if ref is None or ref not in shown or shown[ref].life is not Life.LIVE:
            found.append(f"{intent.action.source} was sent as {ref}, which is not there")
        elif marked.get(intent.token, 0) > 1:
            found.append(f"{intent.action.source} was sent {marked[intent.token]} times")
    return found


def sent(pages: Sequence[tuple[Intent, Ref | None]]) -> list[tuple[Intent, Ref | None]]:
    return [(one, ref) for one, ref in pages if one.action.op is Op.SEND and one.state is IntentState.DONE]
