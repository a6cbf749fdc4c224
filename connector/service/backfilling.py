"""Bringing older messages into the CRM, a piece at a time, behind all live work.

What was asked for stands in the store, so that a command can hand it to a connector that is running. How far it has come is
written only by who holds the connection's lease.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from connector.adapters.base import Window
from connector.errors import ConnectorError, RemoteError
from connector.model import Cursor, IntentState, Kind, Period, Side
from connector.service.budget import BACKFILL, Budget, Pause
from connector.service.budget import pause as pause_of
from connector.service.scheduling import due
from connector.service.spending import Spending
from connector.store.store import Ledger
from connector.sync.engine import PATIENCE, Engine
from connector.sync.history import HISTORY, Backfill, lowered
from connector.sync.loading import load_history
from connector.sync.patience import advice
from connector.sync.report import Report

ASKED, DONE = "backfill", "backfill done"
"""Where the store remembers what was asked for, and how far it has come."""
PLACE = "backfill"
"""The name under which its cursor and positions are kept, beside those of the live streams."""
PAGES = 2
"""Pages of a piece. An adapter's pages hold some hundred records, so a piece fills about one call to the CRM (Salesforce takes a
thousand rows), and live traffic waits for less than a minute."""
RETRY = timedelta(seconds=30)
"""Until a running connector tries a piece again that failed."""

Tell = Callable[["Standing"], None]


@dataclass(frozen=True)
class Standing:
    """A backfill: what was asked for, and how far it has come. `reached` is the edge of what is in, `part` how much of the time
    that it spans and the platform has messages of, 0 to 1; `messages` were read so far in `seconds`: of the clock where a command
    does it, live traffic in between included; of the pieces alone in a running connector. `waiting` writes are not in the CRM
    yet though all was read; only a command that brings it in itself counts them."""

    asked: Backfill
    paused: bool
    reached: datetime
    part: float
    done: bool
    messages: int = 0
    seconds: float = 0.0
    waiting: int = 0

    @property
    def per_minute(self) -> float | None:
        return self.messages / self.seconds * 60 if self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Of work; None before anything is known of its pace, and where older messages turn up than were to be expected."""
        if self.done:
            return 0.0
        return self.seconds / self.part * (1 - self.part) if self.seconds and 0 < self.part < 1 else None


def ask(ledger: Ledger, since: datetime, until: datetime | None, *, oldest_first: bool) -> Standing | None:
    """Asks for the messages sent in [since, until); `until` is where the history begins, or earlier. The same again goes on with
    what was asked. None: all of it is in already, or comes with the live traffic. Raises ConnectorError while another one is
    under way."""
    found, begins = standing(ledger), load_history(ledger).start
    if found and (found.asked.since, found.asked.oldest_first) == (since, oldest_first):
        left = found.done and begins is not None and since < begins
        # An end within the history was cut off at its beginning.
        cut = until is not None and begins is not None and begins <= found.asked.until < until
        if until == found.asked.until or (until is None and not left) or cut:
            _remember(ledger, found.asked, paused=False)
            return replace(found, paused=False)
    if found and not found.done:
        raise ConnectorError(
            f"Another backfill is under way: {told(found.asked)}.",
            "Let it end (the same command goes on with it), or give it up: connector backfill --stop.",
        )
    if begins is None or since >= min(begins, until or begins):
        return None
    asked = Backfill(since, min(begins, until or begins), oldest_first)
    _remember(ledger, asked, paused=False)
    return _standing(asked, Cursor(), paused=False, done={})


def pause(ledger: Ledger, *, paused: bool) -> Standing | None:
    """Pauses what was asked for, or lets it go on. None where nothing is under way."""
    found = standing(ledger)
    if found is None or found.done:
        return None
    _remember(ledger, found.asked, paused=paused)
    return replace(found, paused=paused)


def stop(ledger: Ledger) -> Standing | None:
    """Gives up what was asked for; what is in stays in. None where nothing is under way."""
    found = standing(ledger)
    if found is None or found.done:
        return None
    ledger.remember(ASKED, None)
    return found


def standing(ledger: Ledger) -> Standing | None:
    """None where none was asked for, or it was given up."""
    wanted = ledger.recall(ASKED)
    if not wanted:
        return None
    done = ledger.recall(DONE) or {}
    asked = Backfill.of(wanted)
    if done.get("asked") != asked.data():
        return _standing(asked, Cursor(), paused=wanted["paused"], done={})
    return _standing(asked, ledger.cursor(Side.PLATFORM, PLACE), paused=wanted["paused"], done=done)


def _standing(asked: Backfill, cursor: Cursor, *, paused: bool, done: dict[str, Any]) -> Standing:
    covered = asked.covered(cursor)
    edge, oldest = covered.end if asked.oldest_first else covered.start, done.get("oldest")
    assert edge is not None
    return Standing(
        asked,
        paused,
        edge,
        asked.part(cursor, done.get("of_slice", 0.0), datetime.fromisoformat(oldest) if oldest else None),
        asked.slice(cursor) is None,
        done.get("messages", 0),
        done.get("seconds", 0.0),
    )


def _remember(ledger: Ledger, asked: Backfill, *, paused: bool) -> None:
    ledger.remember(ASKED, {**asked.data(), "paused": paused})


def told(asked: Backfill) -> str:
    """`since 2025-01-01 until 2026-01-01, newest first`."""
    order = "oldest first" if asked.oldest_first else "newest first"
    return f"since {asked.since:%Y-%m-%d} until {asked.until:%Y-%m-%d %H:%M}, {order}"


def resting(found: Standing | None, budget: Budget, at: datetime) -> Pause | None:
    """Why what is left of a backfill has to wait for the CRM's daily calls; None where it need not. Pure."""
    return pause_of(budget, BACKFILL, at) if found and not found.done else None


def is_due(ledger: Ledger) -> bool:
    """Whether something of the past is to be read when nothing else is to do."""
    found = standing(ledger)
    return found is not None and not found.paused and not found.done


def waiting(ledger: Ledger) -> int:
    """Writes under way, and news that none was decided for. What a person is asked about is not among them."""
    intents = ledger.counts().intents
    under_way = (IntentState.READY, IntentState.SENDING, IntentState.IN_DOUBT)
    return sum(intents.get(state, 0) for state in under_way) + ledger.count_dirty()


def piece(engine: Engine, clock: Callable[[], datetime], started: datetime | None = None) -> Standing | None:
    """Reads the next piece of the past and writes what comes of it. To be called under the ledger's lease, when live work is
    done. Answers how far it has come, None where nothing was due; the time it took counts from `started`, when the piece before
    was through (None: from now). Raises RemoteError, Refusal."""
    ledger, started = engine.ledger, started or clock()
    found = standing(ledger)
    if found is None or found.paused or found.done:
        return None
    done = ledger.recall(DONE) or {}
    if done.get("asked") != found.asked.data():
        # The place of an earlier backfill is taken back before this one is noted as begun: were it the other way round, a
        # crash between the two would let this one go on at the place of the other.
        ledger.ingest(Side.PLATFORM, PLACE, [], Cursor(), {})
        done = {"asked": found.asked.data(), "messages": 0, "seconds": 0.0, "of_slice": 0.0}
        ledger.remember(DONE, done)
    try:
        _read(engine, found.asked, done)
        work(engine)
    finally:
        ledger.remember(DONE, done | {"seconds": done["seconds"] + (clock() - started).total_seconds()})
    return standing(ledger)


def _read(engine: Engine, asked: Backfill, done: dict[str, Any]) -> None:
    """The next pages of the slice under way; `done` is told of each."""
    ledger, platform = engine.ledger, engine.adapters[Side.PLATFORM]
    cursor, stream = ledger.cursor(Side.PLATFORM, PLACE), platform.capabilities.history
    sent = asked.slice(cursor)
    if sent is None:
        return

    def position(key: str) -> str | None:
        # What the live stream read of a person need not be read again.
        return ledger.position(Side.PLATFORM, PLACE, key) or ledger.position(Side.PLATFORM, stream, key)

    window = Window(resume=cursor.resume, position=position, sent=sent)
    for page in islice(platform.pull(stream, window), PAGES):
        cursor = asked.advance(cursor, sent, page)
        # Before the page: a crash between the two then leaves a slice that is read once more. The other way round the last
        # slice would be in, and what comes late in it would never be taken.
        _begin_earlier(ledger, asked.covered(cursor))
        facts = engine.read_past(PLACE, sent, page, cursor)
        done["messages"] += sum(fact.kind is Kind.MESSAGE for fact in facts)
        done["oldest"] = page.oldest.isoformat() if page.oldest else done.get("oldest")
        done["of_slice"] = 0.0 if page.resume is None else page.part or done["of_slice"]


def _begin_earlier(ledger: Ledger, covered: Period) -> None:
    begins = load_history(ledger).start
    earlier = lowered(begins, covered)
    if earlier and earlier != begins:
        ledger.remember(HISTORY, earlier.isoformat())


def work(engine: Engine) -> None:
    """Writes until nothing is left to write. Raises the error that cut it short."""
    report = Report()
    engine.write_on(report)
    if report.trouble:
        raise report.trouble[0]


def live_turn(engine: Engine, every: Mapping[tuple[Side, str], timedelta], at: datetime) -> None:
    """Reads the live streams that are due, as a running connector does, and writes what came of them: a piece for which none
    is due reads nothing of the CRM. Raises RemoteError, Refusal."""
    engine.begin()
    report = Report()
    engine.round(due(every, engine.ledger.reads(), at), report)
    if report.trouble:
        raise report.trouble[0]
    work(engine)


def bring_in(
    engine: Engine,
    spending: Spending,
    every: Mapping[tuple[Side, str], timedelta],
    clock: Callable[[], datetime],
    tell: Tell,
    sleep: Callable[[float], None] = time.sleep,
) -> Standing | None:
    """Piece after piece until all is in, somebody pauses it or the CRM's daily calls want a rest; before each, live traffic has
    its turn: `every` says how often its streams are read. Writes that become due soon after the last one are waited for. Answers
    how far it has come. To be called under the ledger's lease. Raises RemoteError, Refusal."""
    ledger, started = engine.ledger, None
    run, before = ledger.begin_run("backfill"), standing(ledger)

    def live() -> None:
        spending.begin()
        live_turn(engine, every, clock())

    try:
        while is_due(ledger):
            live()
            if spending.backfill():
                break
            # The first turn catches up with what came while nobody ran; that says nothing of the pace.
            found = piece(engine, clock, started)
            started = clock()
            if found and not found.done:
                tell(found)
        found, last = standing(ledger), clock() + PATIENCE
        while found and found.done:
            # Two actors: a trigger of the CRM has a row of the last piece locked; it is to be written again in a few seconds, and
            # who was told that all is in goes home.
            if waiting(ledger):
                live()
            found, next_due = replace(found, waiting=waiting(ledger)), engine.next_due()
            tell(found)
            if not found.waiting or next_due is None or max(next_due, clock()) > last:
                break
            sleep(max(1.0, (next_due - clock()).total_seconds()))
        return found
    finally:
        after = standing(ledger)
        read = (after.messages if after else 0) - (before.messages if before else 0)
        ledger.end_run(run, {"messages": max(0, read), "part": after.part if after else None})


class Spare:
    """What a running connector does for a backfill when nothing else is to do."""

    def __init__(self, ledger: Ledger, spending: Spending, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._spending = spending
        self._clock = clock
        self._not_before: datetime | None = None

    def is_due(self) -> bool:
        waits = self._not_before is not None and self._clock() < self._not_before
        return not waits and is_due(self._ledger) and self._spending.backfill() is None

    def piece(self, engine: Engine) -> None:
        """Raises Refusal. An error of a system is noted, and the same piece tried again a while later."""
        try:
            piece(engine, self._clock)
            self._ledger.solved("backfill")
        except RemoteError as error:
            self._not_before = self._clock() + RETRY
            self._ledger.problem("backfill", error.code, error.message, advice(error))
