"""SOQL as text. Pure. Every value goes through simple-salesforce's quoting, every name through `named`.

Limits: Salesforce REST API Developer Guide, "Status Codes and Error Responses" (414: a URI over 16,384 bytes).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from simple_salesforce.format import format_soql

from connector.adapters.base import ObjectRead
from connector.adapters.phones import national_digits
from connector.errors import SchemaDrift

PAGE = 2000
"""Rows of one query answer at most."""
LONGEST_URI = 16_000
"""Bytes of path and query, a little under the documented 16,384."""
LONGEST_TEXT = 4_000
"""Characters of one text in a condition (Salesforce Developer Limits, "SOQL and SOSL Limits")."""
OPEN_CASES = "OpenCaseCount"
"""The field of Contact that the org does not have: how many of its cases are open."""

NOTHING = "SELECT Id FROM Organization"
"""The cheapest question that any user may ask: its answer tells the server's time."""

SYSTEM_FIELDS = (
    "Id", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "CreatedDate", "CreatedById", "IsDeleted",
)  # fmt: skip
MERGE_FIELDS = {
    "Account": ("MasterRecordId",),
    "Contact": ("MasterRecordId",),
    "Lead": ("MasterRecordId", "IsConverted", "ConvertedContactId"),
}


def named(name: str) -> str:
    """An object or field name, or a path of them. Raises SchemaDrift on anything else."""
    if not re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", name, re.ASCII):
        raise SchemaDrift("salesforce", "name", f"{name!r} is not a field or object name.", "Correct the mapping.")
    return name


def columns(object_: str, read: ObjectRead, *more: str) -> tuple[str, ...]:
    """What is selected of an object: the system's fields, the wanted ones, each once."""
    wanted = (*read.fields, *([read.key] if read.key else []), *([read.parent] if read.parent else []), *more)
    real = (name for name in wanted if not (object_ == "Contact" and name == OPEN_CASES))
    return tuple(dict.fromkeys(map(named, (*SYSTEM_FIELDS, *MERGE_FIELDS.get(object_, ()), *real))))


def changes(
    object_: str,
    fields: Sequence[str],
    *,
    floor: str | None,
    until: str | None,
    after: tuple[str, str] | None,
    where: Sequence[str] = (),
) -> str:
    """One page of what changed from `floor` to `until`, both included (times as `...Z` text), after the (stamp, id) `after`.

    Many rows share one second, so the place inside a window is the pair of stamp and id, never the stamp alone.
    """
    tests = list(where)
    if after:
        stamp, id_ = literal(after[0]), after[1]
        tests.append(
            f"(SystemModstamp > {stamp} OR " + format_soql(f"(SystemModstamp = {stamp} AND Id > {{}})", id_) + ")"
        )
    elif floor:
        tests.append(f"SystemModstamp >= {literal(floor)}")
    if until:
        tests.append(f"SystemModstamp <= {literal(until)}")
    condition = f" WHERE {' AND '.join(tests)}" if tests else ""
    return f"SELECT {', '.join(fields)} FROM {named(object_)}{condition} ORDER BY SystemModstamp, Id LIMIT {PAGE}"  # noqa: S608 - built of checked names and quoted values


def literal(time: str) -> str:
    """A time as it stands in SOQL. Raises ValueError on anything that is not `2026-01-02T03:04:05Z`."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time, re.ASCII):
        raise ValueError(f"{time!r} is not a time")
    return time


def where_in(
    object_: str, fields: Sequence[str], field: str, values: Sequence[str], where: str = ""
) -> Iterator[tuple[list[str], str]]:
    """Queries for the records whose `field` is one of the values, each with the values it covers."""
    head = f"SELECT {', '.join(fields)} FROM {named(object_)} WHERE {named(field)} IN ("  # noqa: S608
    return _packed(head, ",", f"){where}", values, lambda value: format_soql("{}", value))


def where_phone(
    object_: str, fields: Sequence[str], field: str, values: Sequence[str], where: str = ""
) -> Iterator[tuple[list[str], str]]:
    """Queries for the records whose `field` holds one of the E.164 numbers, written in whatever way."""
    head = f"SELECT {', '.join(fields)} FROM {named(object_)} WHERE ("  # noqa: S608
    return _packed(head, " OR ", f"){where}", values, lambda value: f"{named(field)} LIKE '{phone_pattern(value)}'")


def open_cases(contacts: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Queries that count the open cases of contacts, as rows of `ContactId` and `n`."""
    head = "SELECT ContactId, COUNT(Id) n FROM Case WHERE IsClosed = false AND ContactId IN ("
    return _packed(head, ",", ") GROUP BY ContactId", contacts, lambda value: format_soql("{}", value))


def phone_pattern(number: str) -> str:
    """The LIKE pattern of an E.164 number: its national digits in order, with anything between them."""
    return f"%{'%'.join(national_digits(number))}%"


def _packed(
    head: str, joint: str, tail: str, values: Sequence[str], term: Callable[[str], str]
) -> Iterator[tuple[list[str], str]]:
    """As many terms in one query as its URI may hold, and never two values that differ in upper and lower case alone:
    so the answer to each query tells which value found a record, whether or not the system minds the case."""
    room = LONGEST_URI - len(uri("/services/data/v00.0", head + tail, all_rows=True))
    variants = Counter[str]()
    rounds: dict[int, list[str]] = {}
    for value in dict.fromkeys(values):
        if not _can_stand(term(value), room):
            continue
        rounds.setdefault(variants[value.casefold()], []).append(value)
        variants[value.casefold()] += 1
    for distinct in rounds.values():
        batch: list[str] = []
        used = 0
        for value in distinct:
            size = len(quote(joint + term(value), safe=""))
            if batch and used + size > room:
                yield batch, head + joint.join(map(term, batch)) + tail
                batch, used = [], 0
            batch.append(value)
            used += size
        yield batch, head + joint.join(map(term, batch)) + tail


def _can_stand(term: str, room: int) -> bool:
    """Whether a query may hold the term. What is longer, and half of a surrogate pair, would have the whole query refused,
    and no field that can be searched holds it."""
    try:
        return len(term) <= LONGEST_TEXT and len(quote(term, safe="")) <= room
    except UnicodeEncodeError:
        return False


def uri(base: str, soql: str, *, all_rows: bool) -> str:
    """The address of a query under `base` (`/services/data/v67.0`). `all_rows` shows deleted, merged and archived ones."""
    return f"{base}/{'queryAll' if all_rows else 'query'}?q={quote(soql, safe='')}"
