"""Play a file of public tweets (the columns of the "Customer Support on Twitter" data set) into the Chatwoot sandbox.

A thread becomes a conversation, a customer a contact, a brand an agent; every message keeps its own time and text.
Reading and deciding (`read_rows`, `threads`, `payload`) are apart from sending (`load_csv`).
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import requests

COLUMNS = (
    "tweet_id",
    "author_id",
    "inbound",
    "created_at",
    "text",
    "response_tweet_id",
    "in_response_to_tweet_id",
)
INBOX = "Twitter"
_MENTION = re.compile(r"@(\d+)")
_LONGEST = 300  # characters of a reason: it quotes a cell, which may be as long as the file
_SHOWN = 50  # problems spelled out in an error; the rest is counted


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be loaded; `line` is where it begins in the file, the header being line 1."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class LoadError(Exception):
    """Nothing was written. `bad` lists every row that is the reason, and is empty when the file or the load is."""

    def __init__(self, message: str, bad: Iterable[BadRow] = ()) -> None:
        self.bad = tuple(bad)
        lines = [message, *map(str, self.bad[:_SHOWN])]
        if len(self.bad) > _SHOWN:
            lines.append(f"and {len(self.bad) - _SHOWN} more")
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Tweet:
    line: int
    id: str
    author: str
    inbound: bool
    at: datetime
    text: str
    parent: str


@dataclass(frozen=True)
class LoadReport:
    """What was written, and which rows were left out (only with `skip_bad`)."""

    conversations: int
    messages: int
    contacts: int
    agents: int
    bad: tuple[BadRow, ...]


@dataclass
class Rows:
    """The good rows by tweet id, in file order, and the bad ones."""

    tweets: dict[str, Tweet] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)


def load_csv(path: Path, chatwoot_url: str, *, skip_bad: bool = False, timeout: float = 120) -> LoadReport:
    """Load the file into the sandbox at `chatwoot_url`, all of it or nothing. `timeout` is in seconds.

    Raises LoadError when the file cannot be read as such a CSV, when it has bad rows and `skip_bad` is off, and when
    the sandbox cannot be reached or refuses the load (for instance because the file was loaded before).
    """
    rows = read_rows(path)
    found = threads(rows)
    if rows.bad and not skip_bad:
        raise LoadError(f"{path}: {len(rows.bad)} bad rows, nothing was loaded", sorted(rows.bad, key=_line))
    given = payload(found)
    try:
        answer = requests.post(f"{chatwoot_url}/__control/import", json=given, timeout=timeout)
    except requests.RequestException as error:
        raise LoadError(f"{path}: the sandbox at {chatwoot_url} did not answer: {error}") from error
    try:
        told = answer.json()
        if answer.status_code != 200:
            reasons = [str(reason) for reason in told["errors"]]
            raise LoadError("\n".join([f"{path}: the sandbox refused the load", *reasons[:_SHOWN]]))
        counts = {name: len(told[name]) for name in ("conversations", "messages", "contacts", "agents")}
    except (ValueError, TypeError, KeyError):
        raise LoadError(f"{path}: the sandbox refused the load\n{answer.text[:500]}") from None
    return LoadReport(**counts, bad=tuple(sorted(rows.bad, key=_line)))


def _line(row: BadRow) -> int:
    return row.line


def read_rows(path: Path) -> Rows:
    """Read the file. Raises LoadError when it is no UTF-8, no CSV or lacks a column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse(path, file)
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _parse(path: Path, file: TextIO) -> Rows:
    rows, cells = Rows(), _numbered(file)
    _, header = next(cells, (1, []))
    if isinstance(header, csv.Error):
        raise LoadError(f"{path}: not a CSV file: line 1: {header}")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise LoadError(f"{path}: columns that stand there twice: {', '.join(twice)}; leave one of each")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise LoadError(f"{path}: missing columns: {', '.join(missing)}; the first line must name {', '.join(COLUMNS)}")
    for line, values in cells:
        if isinstance(values, csv.Error):
            rows.bad.append(BadRow(line, f"{values}; a quote is left open, or stands inside a text and is not doubled"))
            continue
        if not values:
            continue
        try:
            tweet = _tweet(line, header, values)
            if tweet.id in rows.tweets:
                raise ValueError(f"tweet_id {tweet.id} is a duplicate of line {rows.tweets[tweet.id].line}")
        except ValueError as error:
            rows.bad.append(BadRow(line, str(error)[:_LONGEST]))
        else:
            rows.tweets[tweet.id] = tweet
    return rows


def _numbered(file: TextIO) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Every row with the line where it begins. A row that is no CSV, such as one whose quote is left open, is one line; what
    the reader took for a part of it is read again."""
    again: deque[str] = deque()
    taken: list[str] = []

    def lines() -> Iterator[str]:
        while text := again.popleft() if again else file.readline():
            taken.append(text)
            yield text

    line, broken = 1, True
    while broken:
        broken = False
        try:
            for values in csv.reader(lines(), strict=True):
                yield line, values
                line += len(taken)
                taken.clear()
        except csv.Error as error:
            yield line, error
            broken, line = True, line + 1
            again.extendleft(reversed(taken[1:]))
            taken.clear()


def _tweet(line: int, header: list[str], values: list[str]) -> Tweet:
    """Raises ValueError with the reason the row is bad."""
    if len(values) != len(header):
        raise ValueError(f"{len(values)} values for {len(header)} columns")
    row = dict(zip(header, values, strict=True))
    if not re.fullmatch(r"[0-9]{1,20}", row["tweet_id"]):
        raise ValueError(f"tweet_id {row['tweet_id'][:40]!r} is not a number")
    if not row["author_id"].strip():
        raise ValueError("author_id is empty")
    if row["inbound"] not in ("True", "False"):
        raise ValueError(f"inbound {row['inbound']!r} is neither True nor False")
    if row["inbound"] == "True" and not re.fullmatch(r"[0-9]+", row["author_id"]):
        raise ValueError(f"author_id {row['author_id']!r} of a customer is not a number")
    try:
        at = datetime.strptime(row["created_at"], "%a %b %d %H:%M:%S %z %Y")
    except ValueError:
        raise ValueError(f"created_at {row['created_at']!r} is not like 'Tue Oct 31 22:10:10 +0000 2017'") from None
    return Tweet(
        line,
        row["tweet_id"],
        row["author_id"],
        row["inbound"] == "True",
        at,
        row["text"],
        row["in_response_to_tweet_id"],
    )


def threads(rows: Rows) -> list[list[Tweet]]:
    """The tweets by thread, both in time order. Rows in a cycle and threads without a customer join `rows.bad`."""
    roots: dict[str, str | None] = {}
    for id in rows.tweets:
        _find_root(id, rows.tweets, roots)
    for id, root in roots.items():
        if root is None:
            rows.bad.append(BadRow(rows.tweets[id].line, f"tweet_id {id} answers itself through a cycle of replies"))
    grouped: dict[str, list[Tweet]] = {}
    for id, tweet in rows.tweets.items():
        root = roots[id]
        if root is not None:
            grouped.setdefault(root, []).append(tweet)
    found = []
    for members in grouped.values():
        members.sort(key=lambda tweet: (tweet.at, int(tweet.id)))
        if _owner(members) is None:
            rows.bad += [BadRow(t.line, f"tweet_id {t.id} is in a thread without a customer") for t in members]
        else:
            found.append(members)
    return sorted(found, key=lambda members: (members[0].at, int(members[0].id)))


def _find_root(id: str, tweets: dict[str, Tweet], roots: dict[str, str | None]) -> None:
    """Note the root of `id` and of all on the way: the first one without a known parent; None for those in a cycle."""
    path: list[str] = []
    seen: set[str] = set()
    while id not in roots and id not in seen:
        path.append(id)
        seen.add(id)
        parent = tweets[id].parent
        if parent not in tweets:
            roots[id] = id
        else:
            id = parent
    if id not in roots:
        for member in path[path.index(id) :]:
            roots[member] = None
    for member in reversed(path):
        if member not in roots:
            # Below a cycle the row itself is sound: its parent is left out, so it starts its own thread.
            above = roots[tweets[member].parent]
            roots[member] = member if above is None else above


def _owner(thread: list[Tweet]) -> str | None:
    """Whose conversation it is: the first customer who writes, else the first one addressed by number."""
    for tweet in thread:
        if tweet.inbound:
            return tweet.author
    mentions = (_MENTION.search(tweet.text) for tweet in thread)
    return next((found.group(1) for found in mentions if found), None)


def payload(found: list[list[Tweet]]) -> dict[str, Any]:
    """The threads as the body of the sandbox's import call."""
    customers: dict[str, datetime] = {}
    brands: dict[str, None] = {}
    conversations = []
    for thread in found:
        owner = str(_owner(thread))
        customers.setdefault(owner, thread[0].at)
        for tweet in thread:
            if tweet.inbound:
                customers.setdefault(tweet.author, tweet.at)
            else:
                brands.setdefault(tweet.author)
        root = thread[0].id
        answered_by = [tweet.author for tweet in thread if not tweet.inbound]
        conversations.append(
            {
                "key": root,
                "inbox": "twitter",
                "contact": owner,
                "assignee": answered_by[-1] if answered_by else None,
                "additional_attributes": {"type": "tweet", "tweet_id": root},
                "messages": [_message(tweet) for tweet in thread],
            }
        )
    return {
        "inboxes": [{"key": "twitter", "name": INBOX, "channel_type": "Channel::TwitterProfile"}],
        "agents": [{"key": b, "name": b, "email": f"{b.lower()}@brands.example"} for b in brands],
        "contacts": [_contact(id, at) for id, at in customers.items()],
        "conversations": conversations,
    }


def _contact(id: str, first_seen: datetime) -> dict[str, Any]:
    return {
        "key": id,
        "name": id,
        "created_at": first_seen.timestamp(),
        "additional_attributes": {"screen_name": id},
        "identities": [{"inbox": "twitter", "source_id": id}],
    }


def _message(tweet: Tweet) -> dict[str, Any]:
    return {
        "key": tweet.id,
        "type": "incoming" if tweet.inbound else "outgoing",
        "text": tweet.text,
        "at": tweet.at.timestamp(),
        "sender": tweet.author,
        "source_id": tweet.id,
        "in_reply_to": tweet.parent or None,
        "content_attributes": {"in_reply_to_external_id": tweet.parent} if tweet.parent else {},
    }
