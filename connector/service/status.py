"""Where a connection stands, out of the store alone: account, streams, calls, open work, problems. No network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from connector.app import Plug
from connector.model import Cursor, HoldType, IntentState, Side, State
from connector.service.backfilling import Standing, resting, standing
from connector.service.budget import Budget, Pause
from connector.service.spending import budget_of
from connector.store.entries import Decided, Run, Trouble, Webhooks
from connector.sync.loading import load_history

CONFLICTS = 10
"""How many of the latest conflicts are shown."""


@dataclass(frozen=True)
class StreamStatus:
    """`read_until` is the side's own time before which everything has been read, `lag` the seconds since then (None: never
    read to the end); `read_at` our time of the last read."""

    side: Side
    stream: str
    read_until: datetime | None
    lag: float | None
    read_at: datetime | None
    under_way: bool


@dataclass(frozen=True)
class Status:
    """One connection. `balanced`: seen = synced + filtered + held + erased, nothing is under way. `webhooks` is None where none
    come in. `history`: messages sent before are not taken (None: all are)."""

    connection: str
    seen: int
    account: Mapping[State, int]
    reasons: Mapping[str, int]
    balanced: bool
    streams: tuple[StreamStatus, ...]
    calls_today: Mapping[str, int]
    budget: Budget
    history: datetime | None
    backfill: Standing | None
    backfill_rests: Pause | None
    intents: Mapping[IntentState, int]
    dirty: int
    holds: Mapping[HoldType, int]
    problems: tuple[Trouble, ...]
    mapping_approved: bool
    last_run: Run | None
    conflicts: tuple[Decided, ...]
    webhooks: Webhooks | None

    @property
    def left_over(self) -> bool:
        """Whether somebody should look: holds, problems, or an unapproved mapping."""
        return bool(sum(self.holds.values()) or self.problems or not self.mapping_approved)


def status(plug: Plug, now: datetime) -> Status:
    """Everything about one connection. `now` is the time of the question."""
    ledger = plug.ledger
    account, counts, pins = ledger.account(), ledger.counts(), ledger.pins()
    runs = ledger.last_runs(1)
    budget, past = budget_of(plug, now)[0], standing(ledger)
    return Status(
        connection=plug.name,
        seen=account.seen,
        account=account.states,
        reasons={
            f"{state}: {reason}": count
            for (state, reason), count in account.reasons.items()
            if reason and state is not State.SYNCED
        },
        balanced=account.balanced,
        streams=tuple(streams(plug, now)),
        calls_today=ledger.usage(now.date()),
        budget=budget,
        history=load_history(ledger).start,
        backfill=past,
        backfill_rests=resting(past, budget, now),
        intents={state: counts.intents[state] for state in IntentState if counts.intents.get(state)},
        dirty=ledger.count_dirty(),
        holds=counts.holds,
        problems=tuple(ledger.problems()),
        mapping_approved=pins is None or pins.mapping_digest == plug.mapping.digest,
        last_run=runs[0] if runs else None,
        conflicts=tuple(ledger.conflicts(CONFLICTS)),
        webhooks=webhooks(plug),
    )


def streams(plug: Plug, now: datetime) -> Iterator[StreamStatus]:
    """How far both sides were read."""
    ledger, reads = plug.ledger, plug.ledger.reads()
    for side, can in plug.capabilities.items():
        for stream in can.streams:
            cursor = ledger.cursor(side, stream.name)
            yield stream_status(side, stream.name, cursor, reads.get((side, stream.name)), now)


def webhooks(plug: Plug) -> Webhooks | None:
    """None where none are asked for, or none has ever named a message."""
    return plug.ledger.webhooks() if plug.config.platform.webhook_secret else None


def stream_status(side: Side, name: str, cursor: Cursor, read_at: datetime | None, now: datetime) -> StreamStatus:
    """Pure."""
    lag = (now - cursor.watermark).total_seconds() if cursor.watermark else None
    return StreamStatus(side, name, cursor.watermark, lag, read_at, cursor.resume is not None)
