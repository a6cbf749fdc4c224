"""Which window to read next and how far a stream has come. Pure.

Two actors: a slow transaction stamps a row at 12:00:00 and commits at 12:07; we read at 12:05 and remember 12:05. Unless the
next window starts before 12:00, the row is never read. So every window starts `overlap` before the watermark, and an
overlapped row costs nothing because an observation that is no news is dropped by `observe.fold`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from connector.adapters.base import Page, Stream, Window, no_links
from connector.model import ALWAYS, Cursor, Period, Ref

FUTURE = timedelta(minutes=10)
"""A watermark further ahead of our own clock than this is a clock fault, not progress."""


def window(
    cursor: Cursor,
    stream: Stream,
    position: Callable[[str], str | None],
    *,
    thorough: bool = False,
    linked: Callable[[str, int], Sequence[Ref]] = no_links,
    sent: Period = ALWAYS,
) -> Window:
    """The window to read: the unfinished one where there is one, otherwise from the watermark minus the overlap."""
    if cursor.resume is not None:
        return Window(cursor.since, cursor.resume, position, thorough, linked, sent)
    since = cursor.watermark - stream.overlap if cursor.watermark else None
    return Window(since, None, position, thorough, linked, sent)


def advance(cursor: Cursor, reading: Window, page: Page) -> Cursor:
    """The cursor to store together with a page. The watermark moves only on the last page, and never back."""
    if page.resume is not None:
        return Cursor(watermark=cursor.watermark, since=reading.since, resume=page.resume)
    marks = [mark for mark in (cursor.watermark, page.watermark) if mark]
    return Cursor(watermark=max(marks) if marks else None)


def skewed(page: Page, now: datetime) -> bool:
    """Whether the side's time is so far ahead of ours that remembering it could skip records."""
    return page.watermark is not None and page.watermark > now + FUTURE
