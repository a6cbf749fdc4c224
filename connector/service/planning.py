"""What would be written: the engine's own plan, laid out for people, and what a sync would cost in API calls."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from connector.adapters.base import Adapter
from connector.errors import Refusal
from connector.model import Action, Kind, Op, Ref, Side, State, Value
from connector.service.rehearsing import Learned, Noting, rehearse
from connector.store.entries import Entries, NewHold
from connector.store.store import Store
from connector.sync.engine import Engine
from connector.sync.guards import check_pins

QUICK = timedelta(minutes=1)
"""Streams that are read as often cost little to read."""


@dataclass(frozen=True)
class Change:
    """One field of one planned write. `rule` and `reason` are empty where no rule chose: the record is new."""

    field: str
    before: Value
    after: Value
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Write:
    side: Side
    op: Op
    kind: Kind
    subject: Ref
    target: Ref | None
    object: str
    changes: tuple[Change, ...]
    why: tuple[str, ...]


@dataclass
class Preview:
    """A whole plan. `used` are the calls to each side that making it took, `forecast` those that `connector sync` would make
    next; `refusals` are the guards that would stop it or hold something back. `approved` says whether the mapping may be used
    already."""

    connection: str
    approved: bool
    writes: list[Write] = field(default_factory=list)
    holds: list[NewHold] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    links: int = 0
    used: Mapping[Side, int] = field(default_factory=dict)
    forecast: Mapping[Side, int] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, int]:
        return dict(Counter(f"{write.side} {write.op} {write.kind}" for write in self.writes))


def preview(engine: Engine, store: Store, now: datetime) -> Preview:
    """Read both sides and plan everything that is new, journaling nothing; then rehearse the sync to count its calls. To be
    called under the ledger's lease, with adapters that were made for it.

    Works with a mapping that is not approved yet: then every linked record is planned anew. Raises Refusal when the
    credentials lead to another account, and RemoteError.
    """
    ledger, mapping = engine.ledger, engine.mapping
    pins = ledger.pins()
    found = Preview(engine.name, pins is None or pins.mapping_digest == mapping.digest)
    learned = _started(engine, approved=found.approved)
    if not found.approved:
        # The marks may stand although nothing is approved: until then no run looks at them.
        ledger.redo_linked()
    real = dict(engine.adapters)
    kept = {side: adapter.usage().kept for side, adapter in real.items()}
    engine.adapters.update({side: cast(Adapter, Noting(adapter, learned[side])) for side, adapter in real.items()})
    _read(engine, learned)
    try:
        engine.guard()
    except Refusal as refusal:
        found.refusals.append(refusal)
    seen = set[str]()
    for _, entries in engine.batches():
        _add(found, entries, engine, seen)
    found.refusals += engine.withheld.refusals(in_full=True)
    _read_on(engine, learned, found.writes)
    for side, adapter in real.items():
        learned[side].start += adapter.usage().kept - kept[side]
    found.used = {side: adapter.usage().calls for side, adapter in real.items()}
    engine.adapters.update(real)
    found.forecast = rehearse(engine, store, learned, now)
    return found


def _started(engine: Engine, *, approved: bool) -> dict[Side, Learned]:
    """What every run does first: looks at both accounts, and at some linked records."""
    pins = engine.ledger.pins()
    if approved:
        accounts = engine.prepare()
    else:
        assert pins is not None
        accounts = {side: adapter.check() for side, adapter in engine.adapters.items()}
        check_pins(pins, accounts[Side.PLATFORM].id, accounts[Side.CRM].id, pins.mapping_digest)
    before = {side: adapter.usage().calls for side, adapter in engine.adapters.items()}
    return {side: Learned(accounts[side], before[side]) for side in Side}


def _read(engine: Engine, learned: Mapping[Side, Learned]) -> None:
    """Reads every stream as a sync does, and learns what a read without news costs. A first read, or one with news, tells
    nothing of that, so the stream is read once more; slow streams look at the same records each time, news or not."""
    for side, stream in engine.streams():
        is_first = engine.ledger.cursor(side, stream.name).watermark is None
        news, calls = _observed(engine, side, stream.name)
        if is_first or (news and stream.every <= QUICK):
            _, calls = _observed(engine, side, stream.name)
        learned[side].reads[stream.name, True] = learned[side].reads[stream.name, False] = calls


def _read_on(engine: Engine, learned: Mapping[Side, Learned], writes: Collection[Write]) -> None:
    """Reads what a sync reads once more after it has written, which it does less thoroughly, and learns what that costs. After
    whatever it writes to the platform it writes to the CRM."""
    written = {one.side for one in writes} | ({Side.CRM} if writes else set())
    for side, stream in engine.streams():
        if side in written:
            _, learned[side].reads[stream.name, False] = _observed(engine, side, stream.name, thorough=False)


def _observed(engine: Engine, side: Side, stream: str, *, thorough: bool = True) -> tuple[int, int]:
    """How many records had news, and the calls that every such read makes."""
    before = engine.adapters[side].usage()
    news = engine.observe([(side, stream)], thorough=thorough)
    after = engine.adapters[side].usage()
    return news, (after.calls - after.kept) - (before.calls - before.kept)


def _add(found: Preview, entries: Entries, engine: Engine, seen: set[str]) -> None:
    # Nothing is journaled between two batches, so a person whom both need is planned by both, under the same key.
    new = [action for action in entries.intents if action.unique not in seen]
    seen.update(action.unique for action in new)
    # A record that is linked now for the first time is not in the store yet: it stands among what the plan would store.
    known = {fact.ref: fact for fact in entries.facts}
    known |= engine.ledger.facts({action.target for action in new if action.target})
    for action in new:
        shown = known[action.target].fields if action.target in known else {}
        found.writes.append(
            Write(
                action.side,
                action.op,
                action.kind,
                action.subject,
                action.target,
                action.object,
                changes_of(action, shown),
                action.why,
            )
        )
    found.holds += entries.holds
    found.links += len(entries.links)
    for state, reason in entries.states.values():
        if state is State.FILTERED:
            found.filtered[reason] += 1
        elif state is State.HELD:
            found.held[reason] += 1


def changes_of(action: Action, shown: object) -> tuple[Change, ...]:
    """Before and after of every field that an action writes. Decisions carry the names of mapping lines, which begin with
    the CRM field and go on with the platform field: `Phone~phone`. Pure."""
    before = shown if isinstance(shown, dict) else {}
    part = 0 if action.side is Side.CRM else 1
    decided = {name.split("~")[part]: one for one in action.decisions if "~" in (name := one.field)}
    return tuple(
        Change(name, before.get(name), value, decided[name].rule, decided[name].reason)
        if name in decided
        else Change(name, before.get(name), value)
        for name, value in action.fields.items()
    )
