"""Writing records. New ones are found again by their key: external ids are unique in the database, `message_id` is looked
for before a message is made. A call is one transaction, so a refused row is parted from the others and the rest go again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeGuard

from connector.adapters.base import Write
from connector.adapters.odoo.errors import SYSTEM, unclear
from connector.adapters.odoo.reads import Reads
from connector.adapters.odoo.records import ref
from connector.adapters.odoo.schema import FIXED, Schema
from connector.adapters.odoo.transport import Client, checked, whole_numbers
from connector.adapters.odoo.values import DONE, EXTERNAL_ID, MESSAGE, MODULE, cell, external_name, is_number, stored
from connector.errors import RecordGone, Rejected, RemoteError, SchemaDrift
from connector.model import Fields, Receipt, Ref

BATCH: Final = 500
"""Rows in one call: about a second of the server's time, far from a worker's limit, and a short window for late commits
(odoo.md, section 7)."""

Outcome = Receipt | RemoteError
ABOUT_A_ROW: Final = (Rejected, RecordGone, SchemaDrift)
"""Errors that name a record's own fault; any other one would meet the next call as well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One write and its place in the caller's list."""

    place: int
    write: Write

    @property
    def id(self) -> int:
        """The number of the known record; 0, which none has, where the ref names no number."""
        target = self.write.target
        return int(target.id) if target and is_number(target.id) else 0

    @property
    def key(self) -> str:
        return str(self.write.key[1]) if self.write.key else ""

    @property
    def identity(self) -> tuple[str, ...]:
        write = self.write
        return (write.object, *((write.target.id,) if write.target else ("", self.key or str(self.place))))


Rows = Sequence[Row]
Results = dict[int, Outcome]


class Writes:
    def __init__(self, client: Client, schema: Schema, reads: Reads) -> None:
        self._client = client
        self._schema = schema
        self._reads = reads

    def upsert(self, writes: Sequence[Write]) -> list[Outcome]:
        return self._deliver(writes, _ways(self))

    def remove(self, writes: Sequence[Write]) -> list[Outcome]:
        return self._deliver(writes, [(lambda _write: True, self._unlink)])

    def _deliver(
        self, writes: Sequence[Write], ways: Sequence[tuple[Callable[[Write], bool], Callable[[Rows], Results]]]
    ) -> list[Outcome]:
        """Each write by the first way that fits, in the order of the ways."""
        turns = _turns([Row(place, write) for place, write in enumerate(writes)])
        results = _in_turn((rows, way) for turn in turns for way, rows in _by_way(turn, ways))
        told = [results[place] for place in range(len(writes))]
        fatal = next(filter(_stops, told), None)
        if fatal and all(one is fatal for one in told):
            raise fatal
        return told

    def cost(self, writes: Sequence[Write], *, removes: bool) -> int:
        """Calls that these rows take when none is refused and no tag is new."""
        ways = [(lambda _write: True, self._unlink)] if removes else _ways(self)
        turns = _turns([Row(place, write) for place, write in enumerate(writes)])
        return sum(self._calls(way, rows) for turn in turns for way, rows in _by_way(turn, ways))

    def _calls(self, way: Callable[[Rows], Results], rows: Rows) -> int:
        if way == self._unlink:
            return 2 * len({row.write.object for row in rows})
        if way == self._messages:
            return 2
        if way == self._keyed:
            return _loads(rows) + (len(rows) == 1)
        many = [row for row in rows if way == self._updates and not self._has_tags(row.write)]
        loaded = many if len(many) > 1 else []
        rest = [row for row in rows if row not in loaded]
        return _loads(loaded) + len(rest) + sum(bool(row.write.fields.get(DONE)) for row in rest)

    # -- chatter messages

    def _messages(self, rows: Rows) -> Results:
        """New messages of the chatter, in one `create`: nobody is notified, and a row costs a tenth of a `message_post`."""
        known = self._reads.ids_by_message_id([row.key for row in rows])
        fixed = FIXED[MESSAGE]

        def make(new: Rows) -> Results:
            return _divided(new, lambda some: self._created(some, {"message_id": lambda row: row.key}))

        def change(old: Rows) -> Results:
            return _one_by_one(old, lambda row: self._written(row, known[row.key], _without(row.write.fields, fixed)))

        new = [row for row in rows if row.key not in known]
        return _in_turn([(new, make), ([row for row in rows if row.key in known], change)])

    def _created(self, rows: Rows, more: Mapping[str, Callable[[Row], Any]]) -> Results:
        model = rows[0].write.object
        given = [self._values(row.write) | {name: value(row) for name, value in more.items()} for row in rows]
        for values in given:
            if model == MESSAGE and values.get("email_from"):
                # Written by somebody who has no contact here; left out, Odoo would name our own user.
                values.setdefault("author_id", False)
        ids = whole_numbers(self._client.write(model, "create", vals_list=given), "create", len(rows))
        return {row.place: Receipt(ref(model, id_), created=True) for row, id_ in zip(rows, ids, strict=True)}

    def _unkeyed(self, rows: Rows) -> Results:
        """Records without a key, each in a call of its own: after an unclear answer only their own fate is unclear."""
        return _one_by_one(rows, lambda row: _divided([row], lambda some: self._created(some, {}))[row.place])

    # -- records with an external id, and updates

    def _keyed(self, rows: Rows) -> Results:
        """`load` finds the record of an external id or makes it, in one transaction and with a unique row of its own."""

        def outcome(row: Row, id_: int) -> Outcome:
            return Receipt(ref(row.write.object, id_), created=row.key not in known)

        known = {row.key for row in rows if self._schema.by_key(row.key)} if len(rows) == 1 else set()
        return self._loaded(rows, lambda row: ("id", f"{MODULE}.{external_name(row.key)}"), outcome)

    def _updates(self, rows: Rows) -> Results:
        tagged = {row.place: self._has_tags(row.write) for row in rows}
        many = [row for row in rows if not tagged[row.place]]
        rest = [row for row in rows if tagged[row.place] or len(many) == 1]

        def singly(some: Rows) -> Results:
            return _one_by_one(some, lambda row: self._written(row, row.id, row.write.fields))

        return _in_turn([(many if len(many) > 1 else [], self._together), (rest, singly)])

    def _together(self, rows: Rows) -> Results:
        """`load` knows neither a record that is gone nor one that our user may not see. Which of the two it is, is asked; where
        that is not answered the record counts as gone, and whoever is told so looks at it."""
        results = self._loaded(rows, lambda row: (".id", str(row.id)), lambda row, _id: Receipt(_target(row)))
        missing = [row for row in rows if isinstance(results[row.place], RecordGone)]
        for model in dict.fromkeys(row.write.object for row in missing):
            hidden: Collection[int] = ()
            with suppress(RemoteError):
                hidden = self._reads.hidden(model, [row.id for row in missing if row.write.object == model])
            for row in missing:
                if row.write.object == model and row.id in hidden:
                    text = f"the connector's user may not change {_target(row)}."
                    results[row.place] = Rejected(SYSTEM, "AccessError", text, "Give it access to the record.")
        return results

    def _loaded(
        self, rows: Rows, column: Callable[[Row], tuple[str, str]], outcome: Callable[[Row, int], Outcome]
    ) -> Results:
        """Rows of one model with the same columns go in one `load`, whose empty cells empty a field."""
        results: Results = {}
        cells: dict[int, dict[str, str]] = {}
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            try:
                cells[row.place] = dict([column(row), *self._cells(row.write)])
            except ABOUT_A_ROW as error:
                results[row.place] = error
                continue
            groups.setdefault((row.write.object, *cells[row.place]), []).append(row)
        return results | _in_turn(
            (group, partial(self._load, model, columns, cells, outcome)) for (model, *columns), group in groups.items()
        )

    def _load(
        self,
        model: str,
        columns: Sequence[str],
        cells: Mapping[int, Mapping[str, str]],
        outcome: Callable[[Row, int], Outcome],
        rows: Rows,
    ) -> Results:
        """One bad row and nothing is written: the answer names the bad ones, though not always all of them; the others go
        again. `cells` are those of each place."""
        again = partial(self._load, model, columns, cells, outcome)
        data = [[cells[row.place][name] for name in columns] for row in rows]
        try:
            told = self._client.write(model, "load", fields=list(columns), data=data)
        except ABOUT_A_ROW as error:
            return _halved(rows, again, error)
        ids = told.get("ids") if isinstance(told, dict) else None
        if ids:
            known = whole_numbers(ids, "load", len(rows))
            return {row.place: outcome(row, id_) for row, id_ in zip(rows, known, strict=True)}
        checked(told.get("messages") if isinstance(told, dict) else None, "load")
        bad: dict[int, RemoteError] = {}
        for message in told["messages"]:
            if message.get("type") == "error" and isinstance(message.get("record"), int):
                bad.setdefault(message["record"], _refusal(message))
        if not bad or (len(bad) == 1 and len(rows) > 1 and _shared(told["messages"])):
            reason = next((str(one.get("message")) for one in told["messages"]), "no reason given.")
            return _halved(rows, again, Rejected(SYSTEM, "load", reason, "Fix the value."))
        results: Results = {rows[at].place: error for at, error in bad.items()}
        good = [row for at, row in enumerate(rows) if at not in bad]
        return results | (again(good) if good else {})

    def _written(self, row: Row, id_: int, fields: Mapping[str, Any]) -> Outcome:
        model = row.write.object
        try:
            values = self._values(Write(row.write.kind, model, fields))
            if values:
                self._client.write(model, "write", ids=[id_], vals=values)
            if fields.get(DONE):
                self._finish(model, id_, written=bool(values))
        except ABOUT_A_ROW as error:
            return error
        return Receipt(ref(model, id_))

    def _finish(self, model: str, id_: int, *, written: bool) -> None:
        """The second call of a write. Once the first has landed, the whole is not certainly undone whatever stops this one."""
        try:
            self._client.write(model, "action_feedback", ids=[id_])
        except RemoteError as error:
            raise unclear(error, certain=error.certain and not (written and _stops(error))) from None

    def _unlink(self, rows: Rows) -> Results:
        """A target that is gone already counts as done, and must not keep the others from going."""
        results: Results = {row.place: Receipt(_target(row)) for row in rows}
        for model in dict.fromkeys(row.write.object for row in rows):
            mine = [row for row in rows if row.write.object == model]
            alive = self._reads.surviving(model, [row.id for row in mine])
            left = [row for row in mine if row.id in alive]
            results |= _divided(left, self._unlinked) if left else {}
        return results

    def _unlinked(self, rows: Rows) -> Results:
        self._client.write(rows[0].write.object, "unlink", ids=[row.id for row in rows])
        return {row.place: Receipt(_target(row)) for row in rows}

    # -- values

    def _values(self, write: Write) -> dict[str, Any]:
        types = self._schema.types(write.object)
        return {
            name: stored(types.get(name), value, self._schema.ids_of)
            for name, value in write.fields.items()
            if name not in (DONE, EXTERNAL_ID)
        }

    def _cells(self, write: Write) -> list[tuple[str, str]]:
        types = self._schema.types(write.object)
        return [
            cell(types.get(name), name, value, self._schema.ids_of)
            for name, value in write.fields.items()
            if name not in (DONE, EXTERNAL_ID)
        ]

    def _has_tags(self, write: Write) -> bool:
        types = self._schema.types(write.object)
        return any(name == DONE or (name in types and types[name].type == "many2many") for name in write.fields)


def _ways(writes: Writes) -> list[tuple[Callable[[Write], bool], Callable[[Rows], Results]]]:
    return [
        (lambda write: write.target is not None, writes._updates),
        (lambda write: write.key is None, writes._unkeyed),
        (lambda write: write.object == MESSAGE, writes._messages),
        (lambda _write: True, writes._keyed),
    ]


def _by_way(
    rows: Rows, ways: Sequence[tuple[Callable[[Write], bool], Callable[[Rows], Results]]]
) -> list[tuple[Callable[[Rows], Results], list[Row]]]:
    chosen: dict[int, list[Row]] = {}
    for row in rows:
        chosen.setdefault(next(at for at, (fits, _) in enumerate(ways) if fits(row.write)), []).append(row)
    return [(ways[at][1], group) for at, group in sorted(chosen.items())]


def _loads(rows: Rows) -> int:
    """Calls of `load` for these rows: one for each model and set of columns."""
    return len({(row.write.object, *(name for name in row.write.fields if name != EXTERNAL_ID)) for row in rows})


def _in_turn(parts: Iterable[tuple[Rows, Callable[[Rows], Results]]]) -> Results:
    """One call after the other. What stops one stops the next one as well: those rows are not sent in vain, and certainly not
    done.

    Two actors: the first call lands, the second is one too many; a person edits a record of the first. It keeps its receipt: told
    to be undone, it would be written once more, over her edit.
    """
    results: Results = {}
    fatal: RemoteError | None = None
    for rows, call in parts:
        if fatal:
            results |= {row.place: unclear(fatal, certain=True) for row in rows}
            continue
        try:
            done = call(rows) if rows else {}
        except RemoteError as error:
            done = {row.place: error for row in rows}
        results |= done
        fatal = next(filter(_stops, done.values()), None)
    return results


def _one_by_one(rows: Rows, call: Callable[[Row], Outcome]) -> Results:
    """Each row in a call of its own."""
    return _in_turn(([row], lambda some: {some[0].place: call(some[0])}) for row in rows)


def _divided(rows: Rows, call: Callable[[Rows], Results]) -> Results:
    """The call with all rows, or with ever fewer until the refused ones stand alone. A field that is not there is missed by
    all of them."""
    try:
        return call(rows)
    except ABOUT_A_ROW as error:
        return _halved(rows, lambda some: _divided(some, call), error)


def _halved(rows: Rows, again: Callable[[Rows], Results], error: RemoteError) -> Results:
    """Two calls instead of the one that met this error, unless it is about a row that stands alone or about all of them."""
    if len(rows) == 1 or isinstance(error, SchemaDrift):
        return {row.place: error for row in rows}
    middle = len(rows) // 2
    return _in_turn([(rows[:middle], again), (rows[middle:], again)])


def _turns(rows: Iterable[Row]) -> Iterable[list[Row]]:
    """The rows in their order, parted so that no record is written twice in one turn."""
    turns: list[list[Row]] = []
    times: dict[tuple[str, ...], int] = {}
    for row in rows:
        turn = times.get(row.identity, 0)
        times[row.identity] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(row)
    return turns


def _stops(outcome: Outcome) -> TypeGuard[RemoteError]:
    """Whether the next call would meet the same."""
    return isinstance(outcome, RemoteError) and not isinstance(outcome, ABOUT_A_ROW)


def _refusal(message: Mapping[str, Any]) -> RemoteError:
    text = str(message.get("message") or "no reason given.")
    if message.get("field") == ".id":
        return RecordGone(SYSTEM, "load", text, "The record was deleted or merged.")
    field = str(message.get("field") or "")
    return Rejected(
        SYSTEM, "load", text, "Fix the value, or its line in the mapping.", fields=(field,) if field else ()
    )


def _shared(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the only complaint is about the rows together: it then stands under the first row, whoever was at fault."""
    return not any("field" in one for one in messages)


def _without(fields: Fields, some: Collection[str]) -> Fields:
    return {name: value for name, value in fields.items() if name not in some}


def _target(row: Row) -> Ref:
    assert row.write.target is not None
    return row.write.target
