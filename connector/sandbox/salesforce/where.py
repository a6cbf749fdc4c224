"""WHERE: a condition compiled to a predicate over rows, and to the smallest set of rows an index can offer for it."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.sandbox.salesforce import ids
from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.paths import Resolved, resolve
from connector.sandbox.salesforce.schema import NUMBERS, TEXTS, Field, SObject
from connector.sandbox.salesforce.soql import Combine, Compare, Condition, Literal, Negate
from connector.sandbox.salesforce.store import Row, Table, index_key
from connector.sandbox.salesforce.values import read_datetime, show_datetime

Predicate = Callable[[Row], bool]
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def compile_where(org: Org, sobject: SObject, condition: Condition) -> Predicate:
    """The predicate of a condition. Raises Refused for fields and values that cannot be compared."""
    if isinstance(condition, Negate):
        inner = compile_where(org, sobject, condition.part)
        return lambda row: not inner(row)
    if isinstance(condition, Combine):
        parts = [compile_where(org, sobject, part) for part in condition.parts]
        if condition.operator == "and":
            return lambda row: all(part(row) for part in parts)
        return lambda row: any(part(row) for part in parts)
    return _compile_compare(org, resolve(org, sobject, condition.path), condition)


def _compile_compare(org: Org, resolved: Resolved, condition: Compare) -> Predicate:
    field, read = resolved.field, resolved.read
    if field.long_text:
        raise refuse("INVALID_FIELD", f"field '{field.name}' can not be filtered in a query call")
    operator = condition.operator
    if condition.values[0].kind == "range":
        return _compile_range(org, field, read, operator, condition.values)
    values = [_operand(field, literal) for literal in condition.values]
    if operator in ("=", "in"):
        wanted = {index_key(field, v) for v in values}
        return lambda row: index_key(field, read(row)) in wanted
    if operator in ("!=", "not in"):
        unwanted = {index_key(field, v) for v in values}
        return lambda row: index_key(field, read(row)) not in unwanted
    if operator == "like":
        if field.type not in TEXTS:
            raise refuse("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {field.type} field: {field.name}")
        pattern = _like_pattern(str(values[0]))
        return lambda row: isinstance(value := read(row), str) and pattern.fullmatch(value) is not None
    compare, bound = _ORDERED[operator], index_key(field, values[0])
    if field.type == "boolean":
        raise refuse("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on boolean field: {field.name}")
    return lambda row: (
        (value := read(row)) is not None and bound is not None and compare(index_key(field, value), bound)
    )


def _operand(field: Field, literal: Literal) -> Any:
    """The stored form of a literal compared with this field. Raises Refused when the kinds do not fit."""
    kind, value = literal.kind, literal.value
    if kind == "null":
        return False if field.type == "boolean" else None
    if field.type in ("id", "reference"):
        if kind != "string" or not ids.is_id(value):
            raise refuse("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}")
        return ids.normalise(value)
    if field.type in TEXTS and kind == "string":
        return value or None
    if field.type in NUMBERS and kind == "number":
        return value
    if field.type == "boolean" and kind == "boolean":
        return value
    if field.type == "date" and kind == "date":
        return value
    if field.type == "datetime" and kind == "datetime":
        moment = read_datetime(value)
        if moment is None:
            raise refuse("INVALID_FIELD", f"invalid date: {value}")
        return show_datetime(moment)
    expected = {"datetime": "dateTime", "double": "double"}.get(field.type, field.type)
    quotes = "should be enclosed in quotes" if field.type in TEXTS else "should not be enclosed in quotes"
    message = f"value of filter criterion for field '{field.name}' must be of type {expected} and {quotes}"
    raise refuse("INVALID_FIELD", message)


def _like_pattern(pattern: str) -> re.Pattern[str]:
    """% stands for any text, _ for one character; a backslash takes their meaning away."""
    out = []
    for piece in re.findall(r"\\.|.", pattern, flags=re.DOTALL):
        if len(piece) == 2:
            out.append(re.escape(piece[1]))
        else:
            out.append({"%": ".*", "_": "."}.get(piece, re.escape(piece)))
    return re.compile("".join(out), re.IGNORECASE | re.DOTALL)


def _compile_range(
    org: Org, field: Field, read: Callable[[Row], Any], operator: str, literals: Sequence[Literal]
) -> Predicate:
    """A date literal is a range of days: = means inside, < before its start, > after its end."""
    if field.type not in ("date", "datetime") or len(literals) != 1 or operator in ("in", "not in", "like"):
        raise refuse("INVALID_FIELD", f"a date literal does not fit the field '{field.name}'")
    name, count = literals[0].value
    today = org.now().astimezone(UTC).replace(hour=0, minute=0, second=0)
    first, last = {
        "today": (0, 0),
        "yesterday": (-1, -1),
        "tomorrow": (1, 1),
        "last_n_days": (-count, 0),
        "next_n_days": (1, count),
        "n_days_ago": (-count, -count),
    }[name]
    start, end = (_edge(field, today + timedelta(days=days)) for days in (first, last + 1))
    tests: dict[str, Callable[[Any], bool]] = {
        "=": lambda v: start <= v < end,
        "!=": lambda v: not start <= v < end,
        "<": lambda v: v < start,
        "<=": lambda v: v < end,
        ">": lambda v: v >= end,
        ">=": lambda v: v >= start,
    }
    test = tests[operator]
    return lambda row: (value := read(row)) is not None and test(value)


def _edge(field: Field, day: datetime) -> str:
    return show_datetime(day) if field.type == "datetime" else day.date().isoformat()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Ids that include every row a condition can match; `size` is known before the ids are collected."""

    size: int
    ids: Callable[[], Iterable[str]]


def candidates(org: Org, table: Table, condition: Condition) -> Candidates | None:
    """What the indexes offer for a condition, or None when every row has to be looked at."""
    if isinstance(condition, Negate):
        return None
    if isinstance(condition, Combine):
        offers = [candidates(org, table, part) for part in condition.parts]
        if condition.operator == "and":
            found = [offer for offer in offers if offer is not None]
            window = _stamp_window(org, table, condition.parts)
            return min([*found, *([window] if window else [])], key=lambda offer: offer.size, default=None)
        if any(offer is None for offer in offers):
            return None
        every = [offer for offer in offers if offer is not None]
        return Candidates(sum(o.size for o in every), lambda: {key for o in every for key in o.ids()})
    if condition.values[0].kind == "range":
        return None
    if len(condition.path) != 1 or condition.operator not in ("=", "in"):
        return _stamp_window(org, table, (condition,))
    name = condition.path[0].lower()
    field = table.sobject.fields[name]
    wanted = [_operand(field, literal) for literal in condition.values]
    if None in wanted:
        return None
    if name == "id":
        return Candidates(len(wanted), lambda: [key for key in dict.fromkeys(wanted) if key in table.rows])
    if field.name not in table.index:
        return None
    index = table.index[field.name]
    buckets = [index.get(key, {}) for key in {index_key(field, value): None for value in wanted}]
    return Candidates(sum(map(len, buckets)), lambda: (key for bucket in buckets for key in bucket))


def _stamp_window(org: Org, table: Table, parts: Sequence[Condition]) -> Candidates | None:
    """The rows between the SystemModstamp bounds of ANDed conditions: the read of a change stream."""
    low, high = 0, len(table.stamps)
    bounded = False
    for part in parts:
        if not isinstance(part, Compare) or [n.lower() for n in part.path] != ["systemmodstamp"]:
            continue
        if part.operator not in _ORDERED or part.values[0].kind != "datetime":
            continue
        bounded = True
        bound = _operand(table.sobject.fields["systemmodstamp"], part.values[0])
        before, after = bisect_left(table.stamps, (bound, "")), bisect_right(table.stamps, (bound, "\uffff"))
        if part.operator in (">", ">="):
            low = max(low, after if part.operator == ">" else before)
        else:
            high = min(high, before if part.operator == "<" else after)
    if not bounded:
        return None
    return Candidates(max(0, high - low), lambda: [key for _, key in table.stamps[low:high]])
