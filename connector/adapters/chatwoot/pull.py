"""The stream `conversations`: everything that moved a conversation since a time, or all of it from the beginning. A slice of
the past is in `past`.

Position keys: `person/<contact>` what was read of a contact, `messages/<conversation>` the last message id read, followed by
the conversation's `updated_at` at that reading once all its messages are stored.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from connector.adapters.base import Page, Window
from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.client import Json, documented
from connector.adapters.chatwoot.reader import LIST_ROWS, Reader
from connector.errors import RecordGone
from connector.model import ALWAYS, Observed, Period, digest

VOLATILE = {"last_activity_at", "availability_status", "type", "contact_inboxes"}
"""Keys of a contact that move with every message, or differ between the places where a contact is shown."""

MARGIN = timedelta(minutes=5)
"""How much earlier than a message was sent its conversation may seem to have moved: another machine's clock, a Date header
that is a second old."""

OWN_POSITIONS = 10_000
"""Positions held besides the stored ones, so that memory stays flat; a forgotten one costs a repeated read at most."""


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a pull that may be stored on its own. Going on at `resume`, with its positions stored, must not show the
    same piece again: a page that ended there each time would never let the pull come to its end."""

    observed: list[Observed]
    positions: dict[str, str]
    resume: str
    part: float | None = None


class Progress:
    """Positions as this pull knows them: its own over those stored when it began."""

    def __init__(self, stored: Callable[[str], str | None]) -> None:
        self._stored = stored
        self._own: dict[str, str] = {}
        self._fresh: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self._own.get(key) or self._stored(key)

    def set(self, key: str, value: str) -> None:
        if len(self._own) > OWN_POSITIONS:
            self._own.clear()
        self._own[key] = self._fresh[key] = value

    def taken(self) -> dict[str, str]:
        """The positions set since the last call, to be stored with the observations that they stand for."""
        fresh, self._fresh = self._fresh, {}
        return fresh


def pages(steps: Iterable[Step], rows: int, watermark: datetime) -> Iterator[Page]:
    """Steps put together to pages of at least `rows` observations (a step without any counts as one, so that a long way over
    what is not wanted is not gone twice); the last page carries the watermark."""
    observed: list[Observed] = []
    positions: dict[str, str] = {}
    count = 0
    for step in steps:
        observed += step.observed
        positions |= step.positions
        count += max(1, len(step.observed))
        if count >= rows:
            yield Page(tuple(observed), resume=step.resume, positions=positions, part=step.part)
            observed, positions, count = [], {}, 0
    yield Page(tuple(observed), watermark=watermark, positions=positions, part=1.0)


def token(**place: Any) -> str:
    return json.dumps(place, separators=(",", ":"))


def pull_conversations(reader: Reader, window: Window, rows: int) -> Iterator[Page]:
    """The watermark is the server's time when the window was opened: what moves while we read stands in the next one.

    What did not move since the wanted period began has no message in it."""
    reader.forget()
    now, _ = reader.client.server()
    place = json.loads(window.resume) if window.resume else {"start": now.isoformat()}
    progress, sent = Progress(window.position), window.sent
    floor = window.since or (sent.start and sent.start - MARGIN)

    def read(row: Json, before: str, behind: str) -> Iterator[Step]:
        return conversation_steps(reader, progress, row, before, behind, sent)

    steps = walk(reader, place, read) if floor is None else _moved(reader, place, now - floor, read)
    yield from pages(steps, rows, datetime.fromisoformat(place["start"]))


Read = Callable[[Json, str, str], Iterator[Step]]
"""Reads one conversation of a list: its row, the token of the place before it, and that of the place behind it."""


def _moved(reader: Reader, place: Json, ago: timedelta, read: Read) -> Iterator[Step]:
    """Conversations moved since the floor, by id. Resumed, the list is read anew: one that moved again in the meantime
    and stands before the resume point is in the next window. One second more makes up for the Date header's whole seconds.
    """
    after = int(place.get("after", 0))
    for row in reader.updated_within(max(1, math.ceil(ago.total_seconds())) + 1):
        number = int(row["id"])
        if number > after:
            before, behind = token(start=place["start"], after=after), token(start=place["start"], after=number)
            yield from read(row, before, behind)
            after = number


def walk(reader: Reader, place: Json, read: Read) -> Iterator[Step]:
    """All conversations, oldest first, by page number. A conversation deleted meanwhile moves the later ones forward, over
    our heads: when the count drops we go back as many pages as rows were lost. Positions keep that cheap."""
    page, done, known = int(place.get("page", 1)), int(place.get("done", 0)), int(place.get("count", 0))
    while True:
        rows, count = reader.walk(page)
        if count < known and (page > 1 or done):
            page, done, known = max(1, page - 1 - (known - count) // max(1, len(rows))), 0, count
            continue
        if not rows:
            return
        here = {"start": place["start"], "page": page, "count": count}
        for index, row in enumerate(rows[done:], start=done):
            before, behind = token(**here, done=index), token(**here, done=index + 1)
            part = min(1.0, ((page - 1) * LIST_ROWS + index) / max(1, count))
            for step in read(row, before, behind):
                yield replace(step, part=part)
        page, done, known = page + 1, 0, count


def conversation_steps(
    reader: Reader, progress: Progress, row: Json, before: str, after: str, sent: Period = ALWAYS
) -> Iterator[Step]:
    """Person, identities and conversation first, then its new messages, lower ids first.

    `updated_at` moves with every message, so a conversation whose messages were read to the end at this `updated_at` has
    no new ones. Its last message shown would not do: a message stored late with an early time is never the last. (A
    message committed after one with a higher id is behind `read_to`; the recheck of the newest messages brings it.)
    """
    with documented("conversation"):
        number, contact, moved = row["id"], row["meta"]["sender"], str(row.get("updated_at"))
        seen = canonical.conversation(row, reader.directory())
    people = read_person(reader, progress, contact, row["inbox_id"])
    observed = [*people, seen]
    key = f"messages/{number}"
    read_to, _, complete = (progress.get(key) or "0").partition(" ")
    if complete != moved:
        try:
            for rows in reader.messages(number, int(read_to)):
                read_to = str(rows[-1]["id"])
                observed += message_observations(reader, progress, sent_in(sent, rows), contact["id"])
                progress.set(key, read_to)
                yield Step(observed, progress.taken(), before)
                observed = []
        except RecordGone:
            # Deleted between the list and this call; it was shown a moment ago, so this is not a missing permission.
            observed.append(canonical.gone(seen.ref))
        progress.set(key, f"{read_to} {moved}")
    yield Step(observed, progress.taken(), after)


def rests_since(row: Json, start: datetime | None) -> bool:
    """Whether a conversation has not moved since then: no message sent later is in it, for each moves it when it is stored."""
    with documented("conversation"):
        moved = row.get("updated_at")
        return bool(moved and start and canonical.moment(moved) < start - MARGIN)


def sent_in(sent: Period, rows: list[Json]) -> list[Json]:
    with documented("message"):
        return [row for row in rows if sent.holds(canonical.moment(row["created_at"]))]


def message_observations(reader: Reader, progress: Progress, rows: list[Json], contact: object) -> list[Observed]:
    """The messages, and before them the people who write in this conversation besides its contact."""
    found: list[Observed] = []
    with documented("message"):
        others = {r["sender"]["id"]: r for r in rows if (r.get("sender") or {}).get("type") == "contact"}
        for id_, row in others.items():
            if id_ != contact and progress.get(f"person/{id_}") is None:
                found += read_person(reader, progress, row["sender"], row["inbox_id"])
        seen = [canonical.message(row, contact, reader.directory()) for row in rows]
    return found + [o for o in seen if o is not None]


def look_of(shown: Json) -> str:
    return digest({k: v for k, v in shown.items() if k not in VOLATILE})


def remember(progress: Progress, shown: Json, inboxes: dict[str, str]) -> None:
    """What a list showed of the contact, and its network id in each inbox ("" where not read)."""
    value = json.dumps({"look": look_of(shown), "inboxes": inboxes}, sort_keys=True)
    progress.set(f"person/{shown['id']}", value)


def read_person(reader: Reader, progress: Progress, shown: Json, inbox: int, *, force: bool = False) -> list[Observed]:
    """The person and its identities, read in full when what a list shows of the contact, or its inbox, is new to us."""
    with documented("contact"):
        id_ = shown["id"]
    key = f"person/{id_}"
    known = json.loads(progress.get(key) or "{}")
    if not force and known.get("look") == look_of(shown) and str(inbox) in known.get("inboxes", {}):
        return []
    try:
        contact = reader.contact(id_)
    except RecordGone:
        # Deleted or merged since the list was made. What the list showed is still its last known state.
        with documented("contact"):
            return [canonical.person(shown)]
    with documented(f"contact {id_}"):
        inboxes = {str(row["inbox"]["id"]): row["source_id"] for row in contact.get("contact_inboxes") or []}
        remember(progress, shown, {str(inbox): ""} | inboxes)
        return [canonical.person(contact, contact["labels"]), *canonical.identities(contact)]
