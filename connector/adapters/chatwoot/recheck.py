"""The stream `recheck`: what no conversation's `updated_at` shows.

Message edits and deletions, delivery status, changed contacts, merged and deleted contacts, deleted conversations. Each run
looks at (1) the conversations moved in the last RECENT, and (2) the next slice of all conversations, oldest first, with
their people in full; both with their newest messages. Slice after slice every conversation is seen again; a thorough
window takes all slices in one run, from the first one on.

Position keys: `person/<contact>` as in `pull`, `owner/<conversation>` its contact when last seen, `walk` where the next
slice begins.
"""

import json
from collections.abc import Container, Iterator
from datetime import datetime, timedelta
from itertools import count

from connector.adapters.base import Page, Window
from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.client import Json, documented
from connector.adapters.chatwoot.pull import (
    Progress,
    Step,
    message_observations,
    pages,
    read_person,
    remember,
    rests_since,
    token,
)
from connector.adapters.chatwoot.reader import Reader
from connector.errors import AuthError, RecordGone
from connector.model import Kind, Life, Observed, Period

RECENT = timedelta(days=7)
"""Conversations that moved within it have their newest messages read again: the longest reply window of a network, and
with it of late delivery reports, is seven days (Meta's human-agent tag)."""

RECENT_MESSAGES = 100
"""Newest messages of a conversation that are read again; older ones rest."""

SLICE_PAGES = 8
"""List pages (of 25) of the rolling walk in one run, so that a run stays a few hundred calls however old the account."""

GAP_CHECKS = 100
"""Conversations missing from the walk that one run looks up by id."""


def pull_recheck(reader: Reader, window: Window, rows: int) -> Iterator[Page]:
    reader.forget()
    now, _ = reader.client.server()
    place = json.loads(window.resume) if window.resume else {"start": now.isoformat()}
    progress = Progress(window.position)
    yield from pages(_steps(reader, progress, place, window), rows, datetime.fromisoformat(place["start"]))


def _steps(reader: Reader, progress: Progress, place: Json, window: Window) -> Iterator[Step]:
    start, after = place["start"], int(place.get("after", 0))
    examined: set[int] = set()
    if not place.get("walk"):
        for row in reader.updated_within(int(RECENT.total_seconds())):
            number = int(row["id"])
            if number > after:
                resume = token(start=start, after=number)
                examined.add(number)
                seen = [] if _is_past(row, progress, window.sent) else _examine(reader, progress, row, in_full=False)
                yield Step(seen, progress.taken(), resume)
    yield from _slice(reader, progress, place, examined, window)


def _is_past(row: Json, progress: Progress, sent: Period) -> bool:
    """Whether nothing of a conversation can be wanted: never seen by this stream, and at rest since the period began."""
    return progress.get(f"owner/{row.get('id')}") is None and rests_since(row, sent.start)


def _slice(reader: Reader, progress: Progress, place: Json, examined: Container[int], window: Window) -> Iterator[Step]:
    """The next pages of all conversations, and the conversations that should stand between them but do not.

    Numbers are given in the order of creation, so a number that is skipped, and that we have seen before, was deleted or
    has moved to an earlier page because another one was; only a look by its number tells.
    """
    walk = json.loads(progress.get("walk") or "{}")
    if window.thorough and not place.get("walk"):
        walk = {"top": walk.get("top", 0)}
    walk = {"page": 1, "done": 0, "last": 0, "top": 0} | walk
    page, done, last, top = walk["page"], walk["done"], walk["last"], walk["top"]
    checks = GAP_CHECKS
    for turn in count(int(place.get("turn", 0))):
        if turn >= SLICE_PAGES and not window.thorough:
            return
        rows, _count = reader.walk(page)
        with documented("conversation"):
            numbers = [int(row["id"]) for row in rows]
        for index in range(done, len(rows)):
            suspects = _suspects(progress, range(last + 1, numbers[index]), numbers)[:checks]
            checks -= len(suspects)
            observed = [o for number in suspects for o in _vanished(reader, progress, number)]
            messages = numbers[index] not in examined
            if not _is_past(rows[index], progress, window.sent):
                observed += _examine(reader, progress, rows[index], in_full=True, messages=messages)
            last, top = numbers[index], max(top, numbers[index])
            progress.set("walk", json.dumps({"page": page, "done": index + 1, "last": last, "top": top}))
            yield Step(observed, progress.taken(), token(start=place["start"], walk=True, turn=turn))
        if not rows:
            suspects = _suspects(progress, range(last + 1, top + 1), [])[:checks]
            observed = [o for number in suspects for o in _vanished(reader, progress, number)]
            progress.set("walk", json.dumps({"top": top}))
            yield Step(observed, progress.taken(), token(start=place["start"], walk=True, turn=SLICE_PAGES))
            return
        page, done = page + 1, 0


def _suspects(progress: Progress, gap: range, shown: list[int]) -> list[int]:
    return [n for n in gap if n not in shown and progress.get(f"owner/{n}") not in (None, "gone")]


def _examine(reader: Reader, progress: Progress, row: Json, *, in_full: bool, messages: bool = True) -> list[Observed]:
    """One conversation seen again. A changed contact means that its contact was merged: nothing else moves conversations."""
    with documented("conversation"):
        number, contact, inbox = row["id"], row["meta"]["sender"], row["inbox_id"]
        seen = canonical.conversation(row, reader.directory())
    key, owner = f"owner/{number}", str(contact["id"])
    before = progress.get(key)
    moved = before not in (None, "gone", owner)
    found: list[Observed] = []
    if in_full or moved or progress.get(f"person/{owner}") is not None:
        found += read_person(reader, progress, contact, inbox, force=moved or in_full)
    else:
        # First sight of this person by this stream: the other stream has read it in full, so what is shown will do.
        with documented("contact"):
            found.append(canonical.person(contact))
            remember(progress, contact, {str(inbox): ""})
    found.append(seen)
    if messages:
        try:
            rows = reader.newest(number, RECENT_MESSAGES)
            found += message_observations(reader, progress, rows, contact["id"])
        except RecordGone:
            return [canonical.gone(seen.ref)]
    if moved and before is not None:
        found += _departed(reader, progress, before, owner)
    progress.set(key, owner)
    return found


def _vanished(reader: Reader, progress: Progress, number: int) -> list[Observed]:
    """A conversation that the walk did not show: still there, or deleted (then perhaps with its contact)."""
    try:
        reader.conversation(number)
    except AuthError:
        # Our user left the inbox. The conversation stands; a token that is refused altogether fails at the next call.
        return []
    except RecordGone:
        owner = progress.get(f"owner/{number}") or ""
        progress.set(f"owner/{number}", "gone")
        return [canonical.gone(canonical.conversation_ref(number)), *_departed(reader, progress, owner, None)]
    return []


def _departed(reader: Reader, progress: Progress, contact: str, successor: str | None) -> list[Observed]:
    """What became of a contact whose conversation is no longer its own: still there, merged, or deleted.

    Chatwoot answers 404 to both; but a merge moves the network ids to the winner, which a lookup by them shows.
    """
    try:
        reader.contact(contact)
    except RecordGone:
        known = json.loads(progress.get(f"person/{contact}") or "{}").get("inboxes", {})
        holders = [reader.holder(int(inbox), source_id) for inbox, source_id in known.items() if source_id]
        winner = next((str(h["id"]) for h in holders if h), successor)
        ref = canonical.person_ref(contact)
        if winner is None:
            return [canonical.gone(ref)]
        merged_into = canonical.person_ref(winner)
        return [Observed(ref, Kind.PERSON, {}, life=Life.MERGED, merged_into=merged_into)]
    return []
