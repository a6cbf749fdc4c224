"""Reading records: what changed, the present state of known records, and the search for unknown ones.

Everything is read with SOQL, five queries to a call. A query over all rows (`queryAll`) shows deleted and merged records
as well, so one answer tells a live record from a gone one.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from connector.adapters.base import Lookup, ObjectRead, Page, Window
from connector.adapters.phones import national_digits, same_phone
from connector.adapters.salesforce import soql
from connector.adapters.salesforce.client import SUBREQUESTS, Answer, Client, Record, records
from connector.adapters.salesforce.ids import PREFIXES, SYSTEM, id18, is_id, may_be_id
from connector.adapters.salesforce.records import at, moment, observed, plain, ref
from connector.errors import SchemaDrift, Unreadable
from connector.model import Kind, Life, Observed, Ref, stamp

CASE = ObjectRead(Kind.PERSON, ("ContactId",))
"""Cases are read for their contacts alone: a case that opens or closes changes the contact's count."""

UNSEEN = "unseen"

WAITING = "waiting"
"""Position key: the objects that the last window did not read, each with the time from which it is to be read."""
PROMPT = frozenset({Kind.PERSON, Kind.CONVERSATION, Kind.REPLY})
"""What people change in the CRM, and expect to see on the platform soon. The others are records that the connector alone
writes: that somebody deleted or moved one can wait a few minutes."""

SLACK = timedelta(seconds=5)
"""A walk ends this long after the time the server told: the clock of the machine that answers may be a little behind the
one that stamps records. What is read beyond the told time is read again by the next window."""


@dataclass(frozen=True, slots=True)
class Step:
    """An object still to be read: from `floor` (None: from the beginning), after the (stamp, id) of the last row."""

    object: str
    floor: str | None
    after: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Walk:
    """A place inside a window: the steps left, parents first, the server's time when the window was opened, and the steps
    that are left to a later window."""

    steps: tuple[Step, ...]
    until: str | None = None
    waiting: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return json.dumps(
            {
                "until": self.until,
                "steps": [[step.object, step.floor, step.after] for step in self.steps],
                "waiting": [[step.object, step.floor] for step in self.waiting],
            },
            separators=(",", ":"),
        )

    @classmethod
    def parse(cls, token: str) -> Self:
        known = json.loads(token)
        steps = (Step(name, floor, tuple(after) if after else None) for name, floor, after in known["steps"])
        # A token that an earlier version left has no steps that wait.
        return cls(tuple(steps), known["until"], tuple(Step(*step) for step in known.get("waiting", ())))


class Reads:
    """`reads` is what the mapping wants, `user` answers our own user id, `target` the object that a lookup field points
    at (None when it may be several)."""

    def __init__(
        self,
        client: Client,
        reads: Mapping[str, ObjectRead],
        *,
        user: Callable[[], str],
        target: Callable[[str, str], str | None],
    ) -> None:
        self._client = client
        self._user = user
        self._target = target
        self._counts = "Contact" in reads and soql.OPEN_CASES in reads["Contact"].fields
        self._reads = {**reads}
        ranked = {**reads, **({"Case": CASE} if self._counts and "Case" not in reads else {})}
        self._order = dict(sorted(ranked.items(), key=lambda item: item[1].kind.rank))

    def pull(self, window: Window) -> Iterator[Page]:
        walk = Walk.parse(window.resume) if window.resume else self._start(window)
        steps = tuple(step for step in walk.steps if step.object in self._order)
        walk = replace(walk, steps=steps)
        waiting = {WAITING: json.dumps([[step.object, step.floor] for step in walk.waiting])}
        if not walk.steps:
            yield Page(
                (), watermark=moment(walk.until or _now(self._client.pages([soql.NOTHING])[0])), positions=waiting
            )
        while walk.steps:
            found, walk = self._advance(walk)
            if walk.steps:
                yield Page(found, resume=str(walk))
            else:
                yield Page(found, watermark=moment(walk.until), positions=waiting)

    def _start(self, window: Window) -> Walk:
        """All objects, or as many as one call can read: then those that people do not wait for are read by turns, each from
        the time on which it was read last."""
        if window.since is None:
            return Walk(
                tuple(Step(name, None) for name, read in self._order.items() if read.initial or _is_ours(name, read))
            )
        since = stamp(window.since)
        floors = dict(json.loads(window.position(WAITING) or "[]"))
        steps = {name: Step(name, min(floors.get(name, since), since)) for name in self._order}
        if window.thorough or len(steps) <= SUBREQUESTS:
            return Walk(tuple(steps.values()))
        # Who waited comes first.
        patient = [name for name in dict.fromkeys((*floors, *steps)) if name in steps and not self._is_prompt(name)]
        turns = max(1, SUBREQUESTS - (len(steps) - len(patient)))
        waiting = tuple(steps.pop(name) for name in patient[turns:])
        return Walk(tuple(steps.values()), waiting=waiting)

    def _is_prompt(self, object_: str) -> bool:
        read = self._order[object_]
        return read is not CASE and read.kind in PROMPT

    def _advance(self, walk: Walk) -> tuple[tuple[Observed, ...], Walk]:
        """One call: up to five steps a page further. While an object has more pages, what stands behind it in rank waits,
        so that no child is reported before its parent."""
        first = walk.steps[0]
        asked = [
            step for step in walk.steps if first.after is None or self._rank(step.object) == self._rank(first.object)
        ][:SUBREQUESTS]
        answers = self._client.pages([self._changes(step, walk.until) for step in asked], all_rows=True)
        left: list[Step] = []
        rows: dict[str, list[Record]] = {}
        unfinished: int | None = None
        for step, answer in zip(asked, answers, strict=True):
            if unfinished is not None and self._rank(step.object) > unfinished:
                left.append(step)
                continue
            page = rows[step.object] = records(answer)
            if page and (len(page) >= soql.PAGE or not answer.body["done"]):
                last = page[-1]
                left.append(replace(step, after=(plain(last["SystemModstamp"]), last["Id"])))
                unfinished = self._rank(step.object)
        left += [step for step in walk.steps if step not in asked]
        return self._page(rows), replace(walk, steps=tuple(left), until=walk.until or _now(answers[0]))

    def _changes(self, step: Step, until: str | None) -> str:
        read = self._order[step.object]
        where = [f"{soql.named(read.key)} != null"] if read.key else []
        if read is CASE:
            where.append("ContactId != null")
        counted = ("ContactId",) if step.object == "Case" and self._counts else ()
        fields = soql.columns(step.object, read, *counted)
        end = stamp(datetime.fromisoformat(until) + SLACK) if until else None
        return soql.changes(step.object, fields, floor=step.floor, until=end, after=step.after, where=where)

    def _rank(self, object_: str) -> int:
        return self._order[object_].kind.rank

    def _page(self, rows: dict[str, list[Record]]) -> tuple[Observed, ...]:
        cases = rows.get("Case", []) if self._counts else []
        if cases:
            # A case that closed changes its contact's count without touching the contact.
            present = {record["Id"] for record in rows.get("Contact", [])}
            moved = {case["ContactId"] for case in cases if case["ContactId"]} - present
            rows = {**rows, "Contact": [*rows.get("Contact", []), *self._by_id("Contact", sorted(moved))]}
        if "Case" not in self._reads:
            rows.pop("Case", None)
        found = [item for name, page in rows.items() for item in self._observe(name, page)]
        return tuple(sorted(found, key=lambda item: item.kind.rank))

    def _observe(self, object_: str, rows: Sequence[Record]) -> list[Observed]:
        read = self._read(object_)
        counts: dict[str, int] | None = None
        if object_ == "Contact" and self._counts:
            contacts = [row["Id"] for row in rows]
            counts = dict.fromkeys(contacts, 0)
            for answer in self._client.query(query for _, query in soql.open_cases(contacts)):
                counts |= {row["ContactId"]: int(row["n"]) for row in answer}
        user = self._user() if rows else ""
        return [
            observed(
                object_,
                read,
                row,
                user=user,
                parent=self._parent(object_, read, row),
                open_cases=counts[row["Id"]] if counts is not None else None,
            )
            for row in rows
        ]

    def _parent(self, object_: str, read: ObjectRead, row: Record) -> Ref | None:
        if read.parent is None or not (id_ := at(row, read.parent)):
            return None
        target = PREFIXES.get(id_[:3]) or self._target(object_, read.parent)
        return ref(target, id_) if target else None

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        known: dict[Ref, Observed] = {}
        wanted = set(refs)
        while wanted:
            known |= self._look_up(sorted(wanted))
            into = {item.merged_into for item in known.values() if item.merged_into}
            wanted = {target for target in into if target.object in self._reads and target not in known}
        return [_followed(known, known[item]) for item in refs]

    def _look_up(self, refs: Sequence[Ref]) -> dict[Ref, Observed]:
        found = {
            item: Observed(item, self._read(item.object).kind, {}, version=UNSEEN, life=Life.GONE) for item in refs
        }
        for object_ in dict.fromkeys(item.object for item in refs):
            rows = self._by_id(object_, [item.id for item in refs if item.object == object_ and is_id(item.id)])
            found |= {item.ref: item for item in self._observe(object_, rows)}
        return found

    def _by_id(self, object_: str, ids: Sequence[str]) -> list[Record]:
        fields = soql.columns(object_, self._read(object_))
        queries = (query for _, query in soql.where_in(object_, fields, "Id", ids))
        return [row for rows in self._client.query(queries, all_rows=True) for row in rows]

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        found: list[dict[str, Observed]] = [{} for _ in lookups]
        groups: dict[tuple[str, str, str], list[int]] = {}
        for place, lookup in enumerate(lookups):
            if _can_be_found(lookup):
                groups.setdefault((lookup.object, lookup.field, lookup.how), []).append(place)
        queries: list[tuple[list[int], str]] = []
        for (object_, field, how), places in groups.items():
            fields = soql.columns(object_, self._read(object_), field)
            live = " AND IsConverted = false" if object_ == "Lead" else ""
            pack = soql.where_phone if how == "phone" else soql.where_in
            for values, query in pack(object_, fields, field, [_sought(lookups[place]) for place in places], live):
                covered = set(values)
                queries.append(([place for place in places if _sought(lookups[place]) in covered], query))
        rows: dict[str, dict[str, Record]] = {}
        hits: list[tuple[int, str, str]] = []
        answers = self._client.query(query for _, query in queries)
        for (places, _), answer in zip(queries, answers, strict=True):
            object_ = lookups[places[0]].object
            for row in answer:
                for place in _matching([(place, lookups[place]) for place in places], row):
                    rows.setdefault(object_, {})[row["Id"]] = row
                    hits.append((place, object_, row["Id"]))
        seen = {
            (object_, item.ref.id): item
            for object_, by_id in rows.items()
            for item in self._observe(object_, list(by_id.values()))
        }
        for place, object_, id_ in hits:
            found[place][id_] = seen[object_, id18(id_)]
        return [[by_id[id_] for id_ in sorted(by_id)] for by_id in found]

    def _read(self, object_: str) -> ObjectRead:
        if object_ not in self._reads:
            raise SchemaDrift(
                SYSTEM, "object", f"the mapping does not read {object_}.", "Add the object to the mapping."
            )
        return self._reads[object_]


def _is_ours(object_: str, read: ObjectRead) -> bool:
    """Whether an object holds nothing but the connector's records: the custom ones (their names end with __c) that were
    deployed for it. The company's own objects only matter from now on, and once they are linked."""
    return read.kind is not Kind.PERSON and object_.endswith("__c")


def _can_be_found(lookup: Lookup) -> bool:
    """A phone number without a digit would be looked for in every record."""
    if lookup.how == "phone" and not national_digits(lookup.value):
        return False
    return bool(lookup.value.strip()) and (lookup.field != "Id" or may_be_id(_sought(lookup), lookup.object))


def _sought(lookup: Lookup) -> str:
    value = lookup.value.strip()
    return id18(value) if lookup.field == "Id" else value


def _matching(lookups: Sequence[tuple[int, Lookup]], row: Record) -> list[int]:
    """The places of those lookups (all of one object, field and way) that this row answers."""
    _, first = lookups[0]
    stored = at(row, first.field)
    if stored is None:
        return []
    if first.how == "phone":
        return [place for place, lookup in lookups if same_phone(lookup.value, stored)]
    folded = str(stored).strip().casefold()
    return [place for place, lookup in lookups if _sought(lookup).casefold() == folded]


def _followed(known: Mapping[Ref, Observed], item: Observed) -> Observed:
    """A merged record names the last survivor of the chain; without a survivor it is gone."""
    last, passed = item, {item.ref}
    while (into := last.merged_into) and into in known and into not in passed:
        last = known[into]
        passed.add(into)
    if last is item:
        return item
    if last.life is Life.GONE:
        return replace(item, life=Life.GONE, merged_into=None)
    return replace(item, merged_into=last.merged_into or last.ref)


def _now(answer: Answer) -> str:
    if answer.time is None:
        raise Unreadable(SYSTEM, "date", "the answer has no Date header, so the server's time is unknown.")
    return stamp(answer.time)
