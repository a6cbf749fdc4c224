"""One system as the conformance tests see it: what they may do behind an adapter's back, and an engine-like reader of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any

import pytest

from connector.adapters.base import Adapter, Lookup, Stream, Window
from connector.model import Cursor, Life, Observed, Receipt, Ref

numbers = count(1)


@dataclass(frozen=True)
class Names:
    """The object that holds persons and its own names of four fields; `key` is one by which `upsert` finds a record."""

    object: str
    name: str
    email: str
    phone: str
    key: str


class World(ABC):
    """One system as the tests see it. `adapter` is under test; `stranger` is one whose credentials are refused, `nowhere`
    one whose address answers nobody; `secret` is what no error may show."""

    adapter: Adapter
    stranger: Adapter
    nowhere: Adapter | None = None
    secret: str
    names: Names
    formats_phones = True
    """The system keeps a phone number the way somebody typed it."""
    deletes_in_pull = True
    merges_in_fetch = True
    """`fetch` of a merged record names the winner; otherwise a pull does."""

    @abstractmethod
    def add_person(self, name: str, **fields: Any) -> Ref:
        """Somebody makes a person. Field names are the system's own."""

    @abstractmethod
    def edit_person(self, ref: Ref, **fields: Any) -> None: ...

    @abstractmethod
    def delete_person(self, ref: Ref) -> None: ...

    @abstractmethod
    def merge_persons(self, loser: Ref, winner: Ref) -> None: ...

    @abstractmethod
    def add_child(self, person: Ref, text: str) -> Ref:
        """A record below the person (a message, an activity) with this text."""

    @abstractmethod
    def twins(self) -> tuple[Lookup, set[Ref]]:
        """Two persons that one lookup finds."""

    @abstractmethod
    def failing(self, fault: str, call: str) -> AbstractContextManager[None]:
        """While inside, every `call` (read, write, send) meets the fault: lost_request, lost_answer, html."""

    @abstractmethod
    def tick(self) -> None:
        """Time passes, longer than the declared lag."""

    def say(self, sent_at: datetime, *, among: Ref | None = None) -> Ref:
        """A message that a customer sent at that time, a while ago; in the conversation of the message `among`, or in one of
        its own."""
        pytest.skip("this system has no messages")

    def commit_late(self, name: str) -> Callable[[], Ref]:
        """Starts a transaction that makes a person; calling the result commits it and answers the ref."""
        pytest.skip("this system cannot be made to commit late")

    def conversation(self) -> Ref:
        """A conversation into which a reply can be sent."""
        pytest.skip("this system has no conversations")

    def received(self, conversation: Ref) -> list[str]:
        """The texts that the customer of the conversation really received from us."""
        pytest.skip("this system has no conversations")

    def webhook(self) -> tuple[dict[str, str], bytes, Ref]:
        """Headers and body of a genuine webhook about a record, and that record."""
        pytest.skip("this system sends no webhooks")


@dataclass
class Sight:
    """Reads an adapter's streams the way the engine does: cursors, overlaps, positions, folding."""

    adapter: Adapter
    cursors: dict[str, Cursor] = field(default_factory=dict)
    positions: dict[tuple[str, str], str] = field(default_factory=dict)
    known: dict[Ref, dict[str, Any]] = field(default_factory=dict)
    life: dict[Ref, Observed] = field(default_factory=dict)
    order: list[Ref] = field(default_factory=list)
    thorough: bool = False

    def look(self, *, pages: int | None = None) -> list[Observed]:
        """Reads each stream to its end, or only so many pages of it. Answers what was shown, everything else remembered."""
        return [seen for stream in self.adapter.capabilities.streams for seen in self._read(stream, pages)]

    def finish(self, limit: int = 200) -> None:
        """Reads each stream to its end, stopping and going on after every page."""
        for stream in self.adapter.capabilities.streams:
            for _ in range(limit):
                self._read(stream, pages=1)
                if self.cursors[stream.name].resume is None:
                    break
            else:
                raise AssertionError(f"{stream.name} does not come to an end")

    def _read(self, stream: Stream, pages: int | None) -> list[Observed]:
        shown: list[Observed] = []
        cursor = self.cursors.get(stream.name, Cursor())
        if cursor.resume is None:
            cursor = Cursor(cursor.watermark, cursor.watermark and cursor.watermark - stream.overlap)
        window = Window(
            cursor.since,
            cursor.resume,
            lambda key: self.positions.get((stream.name, key)),
            thorough=self.thorough and cursor.since is not None,
            linked=self._linked,
        )
        for number, page in enumerate(self.adapter.pull(stream.name, window), start=1):
            assert (page.resume is None) != (page.watermark is None), "a page either goes on or closes the window"
            self._store(stream.name, page.observed, page.positions)
            shown += page.observed
            closed = page.resume is None
            cursor = Cursor(watermark=page.watermark) if closed else replace(cursor, resume=page.resume)
            self.cursors[stream.name] = cursor
            if number == pages:
                break
        return shown

    def _store(self, stream: str, observed: tuple[Observed, ...], positions: Mapping[str, str]) -> None:
        for seen in observed:
            self.known.setdefault(seen.ref, {}).update(seen.fields)
            self.life[seen.ref] = seen
            self.order.append(seen.ref)
        for key, value in positions.items():
            self.positions[stream, key] = value

    def _linked(self, after: str, limit: int) -> list[Ref]:
        """As if every record that was ever shown were linked, and not yet known to be gone."""
        refs = sorted((str(ref), ref) for ref, seen in self.life.items() if seen.life is Life.LIVE and str(ref) > after)
        return [ref for _, ref in refs[:limit]]

    def news(self) -> list[Observed]:
        """Reads on; what of it differs from what was known before."""
        before = {ref: dict(fields) for ref, fields in self.known.items()}
        life = {ref: seen.life for ref, seen in self.life.items()}
        return [
            seen
            for seen in self.look()
            if seen.ref not in before
            or life[seen.ref] is not seen.life
            or any(before[seen.ref].get(k, ...) != v for k, v in seen.fields.items())
        ]


def unique(word: str) -> str:
    """A word that no other test uses."""
    return f"{word} {next(numbers):05}" if word[0].isupper() else f"{word}{next(numbers):05}"


def receipt(result: object) -> Receipt:
    assert isinstance(result, Receipt), result
    return result
