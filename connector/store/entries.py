"""What goes into the store and comes out of it beside the words of `connector.model`. Frozen rows, no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connector.model import (
    Action,
    Decision,
    Fact,
    Fields,
    HoldType,
    IntentState,
    Kind,
    Receipt,
    Ref,
    Side,
    Snapshot,
    State,
)

States = Mapping[Ref, tuple[State, str]]
"""The new account of messages: platform ref of the message to state and reason."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one side of a pair showed; the snapshot of a link that has no id yet."""

    side: Side
    fields: Fields
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewLink:
    """A pair that is the same thing from now on. Where that very pair is linked already, only its snapshots are stored."""

    kind: Kind
    platform: Ref
    crm: Ref
    why: tuple[str, ...] = ()
    snapshots: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class NewHold:
    type: HoldType
    subject: Ref
    question: str
    details: Fields
    field: str = ""
    intent: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision about the pair (`crm` None while it has no counterpart), taken because of the news in `source`."""

    kind: Kind
    platform: Ref
    crm: Ref | None
    decision: Decision
    source: Ref


@dataclass(frozen=True, slots=True)
class Entries:
    """A whole plan as the journal takes it: all of it or nothing.

    `facts` are records seen on the way that have become ours, `ended` is (link id, reason), `moved` (link id, new CRM ref, reason), `closed_holds` (hold id, choice, by, why).
    `requeued` are intents that a person wants sent again, `dropped` (intent id, why) those that shall never go out,
    `refused` (intent id, error) those that the other side said no to for good. `seen` holds, of intents that a person decided
    about, the state in which she saw them.
    `clean` holds the version the plan looked at, and how often people had settled something about it: news that arrived since, or a
    hold that was settled since, keeps the record dirty.
    `redo` are records to be decided anew now, `kept` those that stay news: they wait for a write under way, or theirs was held back.
    """

    intents: Sequence[Action] = ()
    facts: Sequence[Fact] = ()
    links: Sequence[NewLink] = ()
    ended: Sequence[tuple[int, str]] = ()
    moved: Sequence[tuple[int, Ref, str]] = ()
    snapshots: Sequence[Snapshot] = ()
    states: States = field(default_factory=dict)
    holds: Sequence[NewHold] = ()
    closed_holds: Sequence[tuple[int, str, str, str]] = ()
    decisions: Sequence[DecisionRow] = ()
    requeued: Sequence[int] = ()
    dropped: Sequence[tuple[int, str]] = ()
    refused: Sequence[tuple[int, str]] = ()
    seen: Mapping[int, IntentState] = field(default_factory=dict)
    clean: Mapping[Ref, tuple[str, int]] = field(default_factory=dict)
    redo: Sequence[Ref] = ()
    kept: Sequence[Ref] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """One landed write. `links` are the pairs it made or confirmed, with what both sides show now (a `send` makes two:
    the message and the reply); `snapshots` those of links known by id; `states` the account of its message. Snapshots
    hold the lines that this write brought; the other lines of the stored ones stay. `facts` are the target as it stands
    after the write."""

    intent: int
    receipt: Receipt
    links: tuple[NewLink, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    states: States = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Pins:
    """What a connection was first used with: account ids, and the digest of the approved mapping."""

    platform_account: str
    crm_account: str
    mapping_digest: str

    def mismatches(self, accounts: Mapping[Side, str]) -> list[tuple[Side, str, str]]:
        """Side, pinned account and given one wherever they differ. A side that could not be asked is left out. Pure."""
        pinned = {Side.PLATFORM: self.platform_account, Side.CRM: self.crm_account}
        return [(side, was, accounts[side]) for side, was in pinned.items() if accounts.get(side, was) != was]


@dataclass(frozen=True, slots=True)
class ConversationStats:
    """Public messages of a conversation. Times are the texts of the facts (UTC, `2026-01-02T03:04:05Z`)."""

    count: int
    first_at: str | None
    last_at: str | None
    last_direction: str | None


@dataclass(frozen=True, slots=True)
class Balance:
    """How many platform messages are in which state, and for which reason."""

    states: Mapping[State, int]
    reasons: Mapping[tuple[State, str | None], int]

    @property
    def seen(self) -> int:
        """Every message is in one state, so this is synced + filtered + held + erased, and those still open."""
        return sum(self.states.values())

    @property
    def balanced(self) -> bool:
        """seen = synced + filtered + held + erased: nothing is under way."""
        return self.states[State.OPEN] == 0


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the account: the messages of one inbox and day (UTC, `2026-01-02`) that have one reason. `inbox` and `day` are
    None where they are not known. `seen` is counted on its own, not added up from `states`."""

    inbox: str | None
    day: str | None
    reason: str | None
    seen: int
    states: Mapping[State, int]


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Since when webhooks that name messages come in, and how many of them never came."""

    since: datetime
    lost: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a CRM told at a time: `used` of `allowance` API calls a day, by everybody."""

    used: int
    allowance: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """A stored decision with its time, and the intent that carried it out (None where nothing had to be written)."""

    row: DecisionRow
    intent: int | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something an admin or operator has to put right, seen `count` times."""

    scope: str
    code: str
    message: str
    way_out: str
    count: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Run:
    id: int
    kind: str
    started_at: datetime
    ended_at: datetime | None
    summary: Fields | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Intents by state, and the open holds by type."""

    intents: Mapping[IntentState, int]
    holds: Mapping[HoldType, int]
