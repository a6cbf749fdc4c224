"""Writing records: rows into collections of 200, collections into composite calls of five, answers back in order.

What is sent again: rows that another transaction had locked, and calls that failed in passing and certainly did nothing.
What became of a call whose answer was lost, the engine finds out. A row that is refused never harms the others: a collection
refused as a whole is halved until the culprit stands alone.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from connector.adapters.base import Write
from connector.adapters.salesforce import errors
from connector.adapters.salesforce.client import SUBREQUESTS, Answer, Client, Record, Sub
from connector.adapters.salesforce.ids import SYSTEM, is_id
from connector.adapters.salesforce.records import ref
from connector.adapters.salesforce.soql import named
from connector.errors import RecordGone, Rejected, RemoteError, SchemaDrift, Transient, Unreadable
from connector.model import Life, Observed, Receipt, Ref, Value

COLLECTION = 200
"""Rows in one collection (Salesforce REST API Developer Guide, "sObject Collections")."""
BATCH = COLLECTION * SUBREQUESTS
SMALLEST = 25
PARENTS = ("WhoId", "WhatId")
"""The records whose last activity a task changes (salesforce.md, 6.2)."""
UNCHANGEABLE = "INVALID_FIELD_FOR_INSERT_UPDATE"
REFERENCE = "@{"
"""What begins a reference inside a composite call (Salesforce REST API Developer Guide, "Composite"); there is no escape,
so text that holds it goes in a collection call of its own."""


class How(Enum):
    CREATE = "POST"
    UPDATE = "PATCH by id"
    UPSERT = "PATCH by key"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Row:
    """One write, its place in the caller's list, and how it is done."""

    place: int
    write: Write
    how: How

    @property
    def group(self) -> tuple[How, str, str, bool]:
        """Rows of one group may share a collection. The last member: the row holds text that a composite call would read as
        a reference to another sub-request."""
        key = self.write.key[0] if self.write.key and self.how is How.UPSERT else ""
        values = (*self.write.fields.values(), self.write.key[1] if self.write.key else "")
        return self.how, self.write.object, key, any(REFERENCE in value for value in values if isinstance(value, str))

    @property
    def parents(self) -> list[str]:
        """What Salesforce locks besides the row itself."""
        return [str(parent) for name in PARENTS if (parent := self.write.fields.get(name))]

    @property
    def identity(self) -> tuple[str, ...]:
        """Rows of one identity must not share a request: Salesforce refuses all of them."""
        write = self.write
        if write.target:
            return write.object, "Id", write.target.id
        if write.key:
            return write.object, write.key[0], str(write.key[1]).casefold()
        return write.object, "", str(self.place)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one group that go as one collection."""

    rows: tuple[Row, ...]

    @property
    def sub(self) -> Sub:
        how, object_, field, _ = self.rows[0].group
        if how is How.DELETE:
            ids = ",".join(row.write.target.id for row in self.rows if row.write.target)
            return Sub("DELETE", f"composite/sobjects?ids={ids}&allOrNone=false")
        records = [_record(row) for row in self.rows]
        body = {"allOrNone": False, "records": records}
        if how is How.UPSERT:
            return Sub("PATCH", f"composite/sobjects/{named(object_)}/{named(field)}", body)
        return Sub("POST" if how is How.CREATE else "PATCH", "composite/sobjects", body)

    @property
    def literal(self) -> bool:
        return self.rows[0].group[3]

    def halves(self) -> list["Chunk"]:
        middle = len(self.rows) // 2
        return [Chunk(self.rows[:middle]), Chunk(self.rows[middle:])]


class Pace:
    """Rows in one call: halved when the org's automation, other writers or the line cannot take them, grown slowly afterwards
    (salesforce.md, 3.6)."""

    def __init__(self) -> None:
        # Two workers write at once and burden the same org, so they share one pace.
        self._lock = threading.Lock()
        self.rows = BATCH

    def shrink(self) -> None:
        with self._lock:
            self.rows = max(SMALLEST, self.rows // 2)

    def grow(self) -> None:
        with self._lock:
            self.rows = min(BATCH, self.rows + max(1, self.rows // 10))


class Writes:
    """`fetch` tells where a vanished target went, `create_only` which fields of an object cannot be changed later."""

    def __init__(
        self,
        client: Client,
        fetch: Callable[[Sequence[Ref]], list[Observed]],
        create_only: Callable[[str], frozenset[str]],
    ) -> None:
        self._client = client
        self._fetch = fetch
        self._create_only = create_only
        self._pace = Pace()

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        rows = [Row(place, write, _how(write)) for place, write in enumerate(writes)]
        results = _Run(self._client, self._pace, self._create_only).deliver(rows)
        gone = [
            (row.place, error, row.write.target)
            for row in rows
            if isinstance(error := results[row.place], RecordGone) and row.write.target
        ]
        fates = self._fates([target for _, _, target in gone])
        for (place, error, _), fate in zip(gone, fates, strict=True):
            results[place] = _settled(error, fate)
        return results

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        """Ids stand in the address: what has not the form of one is not sent."""
        rows = [Row(place, write, How.DELETE) for place, write in enumerate(writes)]
        results: dict[int, Receipt | RemoteError] = {row.place: _no_id(row) for row in rows if not _has_id(row)}
        good = [row for row in rows if row.place not in results]
        done = _Run(self._client, self._pace, self._create_only).deliver(good)
        results |= {row.place: outcome for row, outcome in zip(good, done, strict=True)}
        return [results[row.place] for row in rows]

    def cost(self, writes: Sequence[Write], *, removes: bool) -> int:
        """Calls that these rows take at today's pace when none is refused."""
        rows = [Row(place, write, How.DELETE if removes else _how(write)) for place, write in enumerate(writes)]
        calls = 0
        for turn in _turns(rows):
            chunks = deque(_chunks(turn, self._pace.rows))
            while chunks:
                _bundle(chunks, self._pace.rows)
                calls += 1
        return calls

    def _fates(self, targets: Sequence[Ref]) -> Sequence[Observed | RemoteError]:
        try:
            return self._fetch(targets)
        except RemoteError as error:
            return [error] * len(targets)


class _Run:
    """One call of `upsert` or `remove`."""

    def __init__(self, client: Client, pace: Pace, create_only: Callable[[str], frozenset[str]]) -> None:
        self._client = client
        self._pace = pace
        self._create_only = create_only
        self._results: dict[int, Receipt | RemoteError] = {}
        self._clashed: set[int] = set()
        self._answered = False
        self._heavy = False
        self._fatal: RemoteError | None = None

    def deliver(self, rows: Sequence[Row]) -> list[Receipt | RemoteError]:
        for turn in _turns(rows):
            # Two writes of one record: the answer to the first is lost. Sent now, the second would be overwritten when the first
            # is made again.
            if stopped := self._fatal or next(filter(None, map(_doubt, self._results.values())), None):
                self._note(turn, _copy(stopped, certain=True))
            else:
                self._turn(turn)
        results = [self._results[row.place] for row in rows]
        first = next(iter(results), None)
        if isinstance(first, RemoteError) and not self._answered:
            # Two actors: the answer to the first call is lost; the line is down for the second. The caller's first row may have been
            # in either of them, and none of those that may be written is to be repeated without a look.
            raise next(filter(None, map(_doubt, results)), first)
        return results

    def _turn(self, rows: Sequence[Row]) -> None:
        waiting = list(rows)

        def attempt() -> None:
            nonlocal waiting
            waiting = self._send(waiting)
            if waiting:
                last = self._results[waiting[0].place]
                raise last if isinstance(last, Transient) else Transient(SYSTEM, "again", "another writer was first.")

        # What still fails after the last attempt is in the results of its rows.
        with suppress(Transient):
            self._client.retry(attempt, reads=False)

    def _send(self, rows: Sequence[Row]) -> list[Row]:
        """Sends all rows once. Returns those that are worth another attempt."""
        again: list[Row] = []
        chunks = deque(_chunks(rows, self._pace.rows))
        while chunks:
            bundle = _bundle(chunks, self._pace.rows)
            try:
                answers = (
                    [self._client.collection(bundle[0].sub)]
                    if bundle[0].literal
                    else self._client.composite([chunk.sub for chunk in bundle])
                )
            except RemoteError as error:
                # What stops one call stops the next one as well: the rest is not sent in vain.
                again += self._note(_rows(bundle), error) + self._note(_rows(chunks), _copy(error, certain=True))
                if errors.is_too_heavy(error):
                    self._pace.shrink()
                self._fatal = error
                break
            self._answered, self._heavy, self._fatal = True, False, None
            parts = [self._settle(chunk, answer, again) for chunk, answer in zip(bundle, answers, strict=True)]
            chunks.extendleft(reversed([half for halves in parts for half in halves]))
            # Once for each call: it does not matter how many of its collections suffered.
            if self._heavy:
                self._pace.shrink()
            elif not any(parts):
                self._pace.grow()
        return again

    def _note(self, rows: Sequence[Row], error: RemoteError) -> list[Row]:
        """All these rows failed alike. Returns those that may be sent again at once."""
        self._results |= {row.place: error for row in rows}
        return list(rows) if _passes(error) else []

    def _settle(self, chunk: Chunk, answer: Answer, again: list[Row]) -> list[Chunk]:
        """Files the outcome of each row; returns the smaller chunks in which rows must be sent to find a culprit."""
        items = answer.body
        if answer.status != 200:
            error = errors.classify(items, status=answer.status, object_=chunk.rows[0].write.object)
            self._heavy |= errors.is_too_heavy(error)
            if isinstance(error, Rejected) and len(chunk.rows) > 1:
                return chunk.halves()
            if isinstance(error, RecordGone):
                error = SchemaDrift(SYSTEM, error.code, error.detail, "Deploy the object and its key field.")
            again += self._note(chunk.rows, error)
            return []
        if not isinstance(items, list) or len(items) != len(chunk.rows):
            unclear = Unreadable(SYSTEM, "collection", "the answer does not fit the rows.", certain=False)
            self._note(chunk.rows, unclear)
            return []
        burdened: list[Row] = []
        for row, item in zip(chunk.rows, items, strict=True):
            outcome = self._results[row.place] = _outcome(row, item)
            self._heavy |= isinstance(outcome, RemoteError) and errors.is_too_heavy(outcome)
            if _passes(outcome) or self._clashes(row, outcome):
                again.append(row)
            elif trimmed := self._for_existing(row, outcome):
                again.append(trimmed)
            elif isinstance(outcome, RemoteError) and _shared(outcome):
                burdened.append(row)
        if len(burdened) < 2:
            return []
        self._heavy = True
        return Chunk(tuple(burdened)).halves()

    def _for_existing(self, row: Row, outcome: Receipt | RemoteError) -> Row | None:
        """Two attempts: the first made the record and its answer was lost; the second meets it, and the fields that can only
        be set when a record is made are refused. The record has them already, so the row goes again without."""
        if row.how is not How.UPSERT or not isinstance(outcome, RemoteError) or outcome.code != UNCHANGEABLE:
            return None
        try:
            fixed = self._create_only(row.write.object)
        except RemoteError:
            # The row stays refused, and is tried again later. Raised from here, this would have the rows that were written with it
            # written once more.
            return None
        kept = {name: value for name, value in row.write.fields.items() if name not in fixed}
        return None if len(kept) == len(row.write.fields) else replace(row, write=replace(row.write, fields=kept))

    def _clashes(self, row: Row, outcome: Receipt | RemoteError) -> bool:
        """Two writers create the same key at the same moment: the second is refused, and finds the record on its next try."""
        if (
            row.how is not How.UPSERT
            or not isinstance(outcome, Rejected)
            or outcome.code != "DUPLICATE_VALUE"
            or row.group[2] not in outcome.detail
            or row.place in self._clashed
        ):
            return False
        self._clashed.add(row.place)
        return True


def _has_id(row: Row) -> bool:
    return row.write.target is not None and is_id(row.write.target.id)


def _no_id(row: Row) -> RemoteError:
    return Rejected(SYSTEM, "MALFORMED_ID", f"{row.write.target} names no record of Salesforce.", errors.POINTER)


def _how(write: Write) -> How:
    if write.target:
        return How.UPDATE
    return How.UPSERT if write.key else How.CREATE


def _record(row: Row) -> dict[str, Value]:
    write = row.write
    record: dict[str, Value] = {"attributes": {"type": write.object}, **write.fields}
    if row.how is How.UPDATE and write.target:
        record["id"] = write.target.id
    elif row.how is How.UPSERT and write.key:
        record[write.key[0]] = write.key[1]
    return record


def _outcome(row: Row, item: Record) -> Receipt | RemoteError:
    write = row.write
    if item.get("success") and (item.get("id") or write.target):
        return Receipt(
            write.target or ref(write.object, str(item["id"])), created=bool(item.get("created", row.how is How.CREATE))
        )
    error = errors.classify(item.get("errors"), status=200, object_=write.object, target=write.target, row=True)
    if row.how is How.DELETE and isinstance(error, RecordGone) and write.target:
        return Receipt(write.target)
    return error


def _settled(error: RecordGone, fate: Observed | RemoteError) -> RemoteError:
    """The same code is used for a target that is gone and for a gone record that the row points at: the target's own
    state decides. While that is not known the row is to be tried again; it was certainly not written."""
    if isinstance(fate, RemoteError):
        return _copy(fate, certain=True)
    if fate.life is Life.LIVE:
        return Rejected(SYSTEM, error.code, error.detail, errors.POINTER, fields=error.fields)
    if fate.merged_into:
        error.others = (str(fate.merged_into),)
    return error


def _passes(outcome: Receipt | RemoteError) -> bool:
    """Whether nothing was done and the next attempt may fare better."""
    return isinstance(outcome, Transient) and outcome.certain


def _doubt(outcome: Receipt | RemoteError) -> RemoteError | None:
    return outcome if isinstance(outcome, RemoteError) and not outcome.certain else None


def _shared(error: RemoteError) -> bool:
    """Whether a row may have failed only because of others in its transaction."""
    return error.code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" or errors.is_too_heavy(error)


def _turns(rows: Iterable[Row]) -> Iterable[list[Row]]:
    """The rows in their order, parted so that no record is written twice in one turn."""
    times = Counter[tuple[str, ...]]()
    turns: dict[int, list[Row]] = {}
    for row in rows:
        turns.setdefault(times[row.identity], []).append(row)
        times[row.identity] += 1
    return turns.values()


def _side_by_side(rows: Sequence[Row]) -> list[Row]:
    """Rows that share a contact or a conversation, if only by way of other rows, lie together, in the order they came in.

    Two actors: we write a contact's messages in five collections; a trigger or a colleague saves the contact. Each collection
    locks it anew, and whoever waits for it too long is refused. In a conversation of two contacts neither may move ahead of
    the other: the timeline shows messages of one day as they were made.
    """
    joined: dict[str, str] = {}

    def family(parent: str) -> str:
        while parent in joined:
            parent = joined[parent]
        return parent

    for parents in (row.parents for row in rows if row.parents):
        first, *others = dict.fromkeys(map(family, parents))
        joined |= dict.fromkeys(others, first)
    return sorted(rows, key=lambda row: family(next(iter(row.parents), "")))


def _chunks(rows: Sequence[Row], size: int) -> list[Chunk]:
    groups: dict[tuple[How, str, str, bool], list[Row]] = {}
    for row in _side_by_side(rows):
        groups.setdefault(row.group, []).append(row)
    length = min(COLLECTION, size)
    return [
        Chunk(tuple(group[start : start + length]))
        for group in groups.values()
        for start in range(0, len(group), length)
    ]


def _bundle(chunks: deque[Chunk], most: int) -> list[Chunk]:
    """Takes the chunks of the next call: up to `most` rows."""
    bundle = [chunks.popleft()]
    if bundle[0].literal:
        return bundle
    while chunks and not chunks[0].literal and len(bundle) < SUBREQUESTS and len(_rows([*bundle, chunks[0]])) <= most:
        bundle.append(chunks.popleft())
    return bundle


def _rows(chunks: Iterable[Chunk]) -> list[Row]:
    return [row for chunk in chunks for row in chunk.rows]


def _copy(error: RemoteError, *, certain: bool) -> RemoteError:
    return type(error)(SYSTEM, error.code, error.detail, error.way_out, certain=certain, retry_after=error.retry_after)
