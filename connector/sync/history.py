"""Which part of the past a connection has, and how a backfill brings in more of it, slice by slice. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from connector.adapters.base import Page
from connector.model import Cursor, Kind, Observed, Period

HISTORY = "history begins"
"""Where the store remembers since when (UTC, ISO) messages are taken; nothing there: from the beginning."""
SLICE = timedelta(days=30)
"""How much of the past is read at a time, so that the newest month is complete before an older one begins. A shorter slice would
cost more: a platform that has no list of messages by time (Chatwoot) goes through its conversations once for each."""


def was_sent_in(sent: Period, seen: Observed) -> bool:
    """Whether a platform's record is wanted: only messages have a time of their own, and one that is gone shows none."""
    at = seen.fields.get("sent_at") if seen.kind is Kind.MESSAGE else None
    return not at or sent.holds(datetime.fromisoformat(at))


@dataclass(frozen=True, slots=True)
class Backfill:
    """What somebody asked for: the messages sent in [since, until), newest first or oldest first."""

    since: datetime
    until: datetime
    oldest_first: bool = False

    def slice(self, cursor: Cursor) -> Period | None:
        """The slice to read next, or the one under way; None when all are read.

        Of the cursor, `watermark` is the edge up to which everything is in, counted from where the backfill began, and
        `since` the other edge of the slice under way.
        """
        edge = self._reached(cursor)
        if edge == (self.until if self.oldest_first else self.since):
            return None
        # Never further than what is left: the calendar may end there.
        if self.oldest_first:
            return Period(edge, cursor.since or edge + min(SLICE, self.until - edge))
        return Period(cursor.since or edge - min(SLICE, edge - self.since), edge)

    def advance(self, cursor: Cursor, sent: Period, page: Page) -> Cursor:
        """The cursor to store together with a page of this slice. With the earliest one that holds anything all is in."""
        far = sent.end if self.oldest_first else sent.start
        if page.resume is None:
            return Cursor(watermark=self.since if page.earliest and not self.oldest_first else far)
        return Cursor(watermark=self._reached(cursor), since=far, resume=page.resume)

    def covered(self, cursor: Cursor) -> Period:
        """What is in."""
        edge = self._reached(cursor)
        return Period(self.since, edge) if self.oldest_first else Period(edge, self.until)

    def part(self, cursor: Cursor, of_slice: float = 0.0, oldest: datetime | None = None) -> float:
        """How much of it is in, 0 to 1, by the time it spans; `of_slice` of the slice under way is read. The time before the
        platform's `oldest` message, where that is known, does not count: there is nothing to read in it."""
        start = max(self.since, oldest) if oldest and oldest < self.until else self.since
        done, sent = self.covered(cursor), self.slice(cursor)
        seconds = _seconds(done, start) + (_seconds(sent, start) * of_slice if sent else 0.0)
        return min(1.0, seconds / (self.until - start).total_seconds())

    def _reached(self, cursor: Cursor) -> datetime:
        return cursor.watermark or (self.since if self.oldest_first else self.until)

    def data(self) -> dict[str, Any]:
        """JSON-able, for the store."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "oldest_first": self.oldest_first,
        }

    @classmethod
    def of(cls, data: Any) -> Self:
        return cls(
            datetime.fromisoformat(data["since"]), datetime.fromisoformat(data["until"]), bool(data["oldest_first"])
        )


def lowered(begins: datetime | None, covered: Period) -> datetime | None:
    """Where the history begins once this period is in: earlier, where the period reaches up to it."""
    if begins is None or covered.start is None or covered.end is None or covered.end < begins:
        return begins
    return min(begins, covered.start)


def _seconds(period: Period, start: datetime) -> float:
    """Of what lies after `start`."""
    return max(0.0, (period.end - max(period.start, start)).total_seconds()) if period.start and period.end else 0.0
