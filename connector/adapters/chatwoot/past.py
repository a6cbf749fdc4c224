"""A slice of the past: the messages sent in a period, with their conversations and people.

Chatwoot has no list of messages by time, so all conversations are gone through, and those with messages in the period read.
Position keys: `person/<contact>` as in `pull`, `past/<conversation>` the time of its first message and its `updated_at` when it
was read to the end, or, while that is under way, the period, the last message id read, and whether the conversation was shown.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from connector.adapters.base import Page, Window
from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.client import Json, documented
from connector.adapters.chatwoot.pull import (
    Progress,
    Step,
    message_observations,
    pages,
    read_person,
    rests_since,
    sent_in,
    walk,
)
from connector.adapters.chatwoot.reader import Reader
from connector.errors import RecordGone
from connector.model import Observed, Period


def pull_past(reader: Reader, window: Window, rows: int) -> Iterator[Page]:
    """The last page says whether the slice is the earliest: each conversation has shown that it begins in it or later. Of one that
    was gone through before a resume nothing is known any more but what the token says. The oldest conversation comes first, and
    began about when the oldest message was sent."""
    reader.forget()
    now, _ = reader.client.server()
    place = {"earlier": bool(window.resume), "start": now.isoformat(), **json.loads(window.resume or "{}")}
    progress = Progress(window.position)
    oldest: datetime | None = None

    def read(row: Json, before: str, behind: str) -> Iterator[Step]:
        nonlocal oldest
        if oldest is None and not window.resume:
            with documented("conversation"):
                oldest = canonical.moment(row["created_at"])
        for step in _conversation(reader, progress, row, before, behind, window.sent):
            place["earlier"] |= step.resume == behind and _begins_earlier(progress, row, window.sent.start)
            yield replace(step, resume=json.dumps({**json.loads(step.resume), "earlier": place["earlier"]}))

    for page in pages(walk(reader, place, read), rows, datetime.fromisoformat(place["start"])):
        yield replace(page, oldest=oldest, earliest=not page.resume and not place["earlier"])


def _begins_earlier(progress: Progress, row: Json, start: datetime | None) -> bool:
    """Whether a conversation that was gone through may hold a message sent before that."""
    if start is None or rests_since(row, start):
        return True
    first = json.loads(progress.get(f"past/{row['id']}") or "{}").get("first")
    return first is not None and canonical.moment(first) < start


def _conversation(
    reader: Reader, progress: Progress, row: Json, before: str, after: str, sent: Period
) -> Iterator[Step]:
    """One that was read before and has not moved since has no message before its first."""
    with documented("conversation"):
        number, moved = row["id"], row.get("updated_at")
    key = f"past/{number}"
    known = json.loads(progress.get(key) or "{}")
    begins = known.get("first") if known.get("moved") == moved else None
    if not rests_since(row, sent.start) and (begins is None or not sent.end or canonical.moment(begins) < sent.end):
        # Two actors: somebody gives up a backfill in mid-conversation and asks for a longer one. What was read before the place
        # of the shorter one was cut off at its end.
        period = {"start": _stamp(sent.start), "end": _stamp(sent.end)}
        under_way = known if "read_to" in known and period.items() <= known.items() else {}
        yield from _messages(reader, progress, row, before, sent, {**period, **under_way})
    yield Step([], progress.taken(), after)


def _stamp(at: datetime | None) -> str:
    return at.isoformat() if at else ""


def _messages(reader: Reader, progress: Progress, row: Json, before: str, sent: Period, known: Json) -> Iterator[Step]:
    number, contact, key = row["id"], row["meta"]["sender"], f"past/{row['id']}"
    first, told = known.get("first"), bool(known.get("told"))
    try:
        for rows in reader.messages(number, int(known.get("read_to", 0))):
            with documented("message"):
                first = min(one["created_at"] for one in [*rows, *([{"created_at": first}] if first else [])])
            kept, observed = sent_in(sent, rows), list[Observed]()
            if kept and not told:
                observed += read_person(reader, progress, contact, row["inbox_id"])
                observed.append(canonical.conversation(row, reader.directory()))
                told = True
            observed += message_observations(reader, progress, kept, contact["id"])
            progress.set(key, json.dumps({**known, "first": first, "read_to": rows[-1]["id"], "told": told}))
            yield Step(observed, progress.taken(), before)
    except RecordGone:
        # Deleted between the list and this call. Nothing of it is known that could be marked.
        first = None
    progress.set(key, json.dumps({"first": first, "moved": row.get("updated_at")}))
