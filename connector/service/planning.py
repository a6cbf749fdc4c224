"""What would be written: the engine's own plan, laid out for people, and what it would cost in API calls."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from connector.errors import Refusal
from connector.model import Action, Kind, Op, Ref, Side, State, Value
from connector.store.entries import Entries, NewHold
from connector.sync.engine import Engine
from connector.sync.guards import check_pins


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
    """A whole plan. `calls` are the CRM calls that carrying it out would take, `read_calls` those that making it took;
    `refusals` are the guards that would stop it or hold something back. `approved` says whether the mapping may be used already."""

    connection: str
    approved: bool
    writes: list[Write] = field(default_factory=list)
    holds: list[NewHold] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    links: int = 0
    calls: int = 0
    read_calls: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, int]:
        return dict(Counter(f"{write.side} {write.op} {write.kind}" for write in self.writes))


def preview(engine: Engine) -> Preview:
    """Read both sides and plan everything that is new, journaling nothing. To be called under the ledger's lease.

    Works with a mapping that is not approved yet: then every linked record is planned anew. Raises Refusal when the
    credentials lead to another account, and RemoteError.
    """
    ledger, mapping = engine.ledger, engine.mapping
    pins = ledger.pins()
    if pins is None:
        engine.prepare()
    else:
        accounts = {side: adapter.check() for side, adapter in engine.adapters.items()}
        check_pins(pins, accounts[Side.PLATFORM].id, accounts[Side.CRM].id, pins.mapping_digest)
    approved = pins is None or pins.mapping_digest == mapping.digest
    if not approved:
        # The marks may stand although nothing is approved: until then no run looks at them.
        ledger.redo_linked()
    crm = engine.adapters[Side.CRM]
    before = crm.usage().calls
    engine.observe([(side, stream.name) for side, stream in engine.streams()])
    found, seen = Preview(engine.name, approved), set[str]()
    try:
        engine.guard()
    except Refusal as refusal:
        found.refusals.append(refusal)
    for _, entries in engine.batches():
        _add(found, entries, engine, seen)
    found.calls = crm_calls(found.writes, crm.capabilities.batch)
    found.read_calls = crm.usage().calls - before
    found.refusals += engine.withheld.refusals()
    return found


def crm_calls(writes: Iterable[Write], batch: int) -> int:
    """How many calls the CRM writes take: `batch` rows of one kind to a call, each kind on its own. Pure."""
    counts = Counter((write.kind, write.op) for write in writes if write.side is Side.CRM)
    return sum(math.ceil(count / batch) for count in counts.values())


def _add(found: Preview, entries: Entries, engine: Engine, seen: set[str]) -> None:
    # Nothing is journaled between two batches, so a person whom both need is planned by both, under the same key.
    new = [action for action in entries.intents if action.unique not in seen]
    seen.update(action.unique for action in new)
    known = engine.ledger.facts({action.target for action in new if action.target})
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
