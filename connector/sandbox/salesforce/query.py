"""Running a query: rows are found, sorted, cut, and shown as JSON in pages that a locator continues."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cmp_to_key
from typing import Any

from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.org import Caller, Org
from connector.sandbox.salesforce.paths import Resolved, resolve, value_of
from connector.sandbox.salesforce.schema import NUMBERS, SObject
from connector.sandbox.salesforce.soql import Aggregate, Order, Path, Query, parse
from connector.sandbox.salesforce.store import Row
from connector.sandbox.salesforce.where import candidates, compile_where

LOCATOR_LIFE = timedelta(days=2)  # "Query", REST API guide: a query locator expires after two days
_KEPT_CURSORS = 50  # open cursors; the oldest gives way, as on the platform

Shown = dict[str, Any]
Show = Callable[[Row], Shown]


def record_url(version: float, name: str, key: str) -> str:
    return f"/services/data/v{version}/sobjects/{name}/{key}"


def attributes(version: float, name: str, key: str) -> Shown:
    return {"type": name, "url": record_url(version, name, key)}


@dataclass(slots=True)
class Cursor:
    """A query whose later pages are not read yet: its rows as they were when it ran."""

    rows: Sequence[Row]
    show: Show
    page_size: int
    opened: datetime


class Cursors:
    """Open cursors by locator."""

    def __init__(self) -> None:
        self._open: dict[str, Cursor] = {}
        self._count = 0

    def start(self, cursor: Cursor, version: float) -> Shown:
        """The first page; a locator is made only when there are more."""
        if len(cursor.rows) <= cursor.page_size:
            return _page(cursor, 0, None, version)
        self._count += 1
        locator = f"01g5g0000{self._count:09d}"
        self._open[locator] = cursor
        if len(self._open) > _KEPT_CURSORS:
            del self._open[next(iter(self._open))]
        return _page(cursor, 0, locator, version)

    def next(self, name: str, now: datetime, version: float) -> Shown:
        """The page at "locator-start". Raises Refused(INVALID_QUERY_LOCATOR)."""
        locator, _, start = name.rpartition("-")
        cursor = self._open.get(locator)
        if cursor is None or not start.isdigit() or now - cursor.opened > LOCATOR_LIFE:
            raise refuse("INVALID_QUERY_LOCATOR", "invalid query locator")
        return _page(cursor, int(start), locator, version)


def _page(cursor: Cursor, start: int, locator: str | None, version: float) -> Shown:
    end = min(start + cursor.page_size, len(cursor.rows))
    page: Shown = {"totalSize": len(cursor.rows), "done": end >= len(cursor.rows)}
    if not page["done"]:
        page["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{end}"
    return page | {"records": [cursor.show(row) for row in cursor.rows[start:end]]}


def run(org: Org, caller: Caller, cursors: Cursors, text: str, *, everything: bool, page_size: int) -> Shown:
    """The answer of query, or of queryAll with `everything`. Raises Refused."""
    query = parse(text)
    sobject = org.schema.get(query.source)
    if sobject is None:
        message = (
            f"sObject type '{query.source}' is not supported. If you are attempting to use a custom object, be sure"
        )
        raise refuse("INVALID_TYPE", f"{message} to append the '__c' after the entity name.")
    if query.group_by or any(isinstance(item, Aggregate) for item in query.select):
        grouped = _aggregate(org, sobject, query, _matching(org, caller, sobject, query, everything=everything))
        return {"totalSize": len(grouped), "done": True, "records": grouped}
    show = _projection(org, caller, sobject, query)
    rows = _sorted(org, sobject, query.order_by, _matching(org, caller, sobject, query, everything=everything))
    rows = rows[query.offset :][: query.limit]
    if query.count:
        return {"totalSize": len(rows), "done": True, "records": []}
    return cursors.start(Cursor(rows, show, page_size, org.now()), caller.version)


def _matching(org: Org, caller: Caller, sobject: SObject, query: Query, *, everything: bool) -> list[Row]:
    """Rows shared with the caller by id; the recycle bin and archived activities only with `everything`."""
    table = org.store.tables[sobject.name]
    now = org.seconds()
    accept = compile_where(org, sobject, query.where) if query.where else None
    offer = candidates(org, table, query.where) if query.where and not table.uncommitted else None
    source: Iterable[Row] = (table.rows[key] for key in sorted(offer.ids())) if offer else table.scan(now)
    return [
        row
        for row in source
        if (everything or not (row.get("IsDeleted") or row.get("IsArchived")))
        and (accept is None or accept(row))
        and org.sees(caller, row)
    ]


def _sorted(org: Org, sobject: SObject, orders: Sequence[Order], rows: list[Row]) -> list[Row]:
    """Stable, last key first. Nulls come first unless NULLS LAST says otherwise."""
    for order in reversed(orders):
        resolved = resolve(org, sobject, order.path)
        if resolved.field.long_text:
            raise refuse("INVALID_FIELD", f"field '{resolved.field.name}' can not be sorted in a query call")
        rows = _sort_by(rows, resolved, order)
    return rows


def _sort_by(rows: list[Row], resolved: Resolved, order: Order) -> list[Row]:
    nulls: list[Row] = []
    valued: list[tuple[Any, Row]] = []
    exact = resolved.field.type in ("id", "reference") or resolved.field.case_sensitive
    for row in rows:
        value = resolved.read(row)
        if value is None:
            nulls.append(row)
        else:
            valued.append((value.casefold() if isinstance(value, str) and not exact else value, row))
    valued.sort(key=lambda pair: pair[0], reverse=order.descending)
    found = [row for _, row in valued]
    return found + nulls if order.nulls_last else nulls + found


def _projection(org: Org, caller: Caller, sobject: SObject, query: Query) -> Show:
    """How a row is shown: its own fields, its parents as nested records, its children as nested answers."""
    paths: list[Resolved] = []
    children: list[tuple[str, Callable[[Row], Shown | None]]] = []
    for item in query.select:
        if isinstance(item, Query):
            children.append(_children(org, caller, sobject, item))
        elif isinstance(item, tuple):
            paths.append(resolve(org, sobject, item))
    shapes = [resolved.names for resolved in paths]
    plain = [r.names[0] for r in paths if len(r.names) == 1]
    booleans = {r.names[0] for r in paths if len(r.names) == 1 and r.field.type == "boolean"}
    deep = [r for r in paths if len(r.names) > 1]
    if len(set(shapes)) != len(shapes):
        repeated = next(".".join(s) for s in shapes if shapes.count(s) > 1)
        raise refuse("INVALID_FIELD", f"duplicate field selected: {repeated}")

    def show(row: Row) -> Shown:
        shown: Shown = {"attributes": attributes(caller.version, sobject.name, row["Id"])}
        for name in plain:
            shown[name] = row.get(name, False if name in booleans else None)
        for resolved in deep:
            _nest(org, caller, row, shown, resolved)
        for name, read in children:
            shown[name] = read(row)
        return shown

    return show


def _nest(org: Org, caller: Caller, row: Row, shown: Shown, resolved: Resolved) -> None:
    """Put Owner.Name under shown["Owner"]; a missing parent is null as a whole."""
    current: Row | None = row
    where, holder = org.schema.by_prefix(row["Id"][:3]), shown
    for name in resolved.names[:-1]:
        reference = where.by_relationship(name) if where else None
        assert reference is not None
        current = org.row(current.get(reference.name) or "") if current else None
        if current is None:
            holder[name] = None
            return
        target = org.schema.by_prefix(current["Id"][:3])
        assert target is not None
        marks = attributes(caller.version, target.name, current["Id"])
        if reference.polymorphic:
            marks["type"] = "Name"
        holder = holder.setdefault(name, {"attributes": marks})
        where = target
    holder[resolved.names[-1]] = resolved.read(row)


def _children(org: Org, caller: Caller, sobject: SObject, query: Query) -> tuple[str, Callable[[Row], Shown | None]]:
    """A sub-select over child records, such as (SELECT Id FROM Cases WHERE IsClosed = false)."""
    wanted = query.source.lower()
    link = next(
        (
            (child, field)
            for child, field in org.schema.references_to(sobject.name)
            if field.children and field.children.lower() == wanted
        ),
        None,
    )
    if link is None:
        raise refuse("INVALID_TYPE", f"Didn't understand relationship '{query.source}' in FROM part of query call.")
    child, field = link
    show = _projection(org, caller, child, query)
    accept = compile_where(org, child, query.where) if query.where else None

    def read(row: Row) -> Shown | None:
        rows = org.store.tables[child.name].live(field.name, row["Id"])
        rows = _sorted(org, child, query.order_by, [one for one in rows if accept is None or accept(one)])
        rows = rows[query.offset :][: query.limit]
        if not rows:
            return None
        return {"totalSize": len(rows), "done": True, "records": [show(one) for one in rows]}

    return str(field.children), read


def _aggregate(org: Org, sobject: SObject, query: Query, rows: list[Row]) -> list[Shown]:
    """One AggregateResult per group; without GROUP BY the whole is one group."""
    if query.count or any(isinstance(item, Query) for item in query.select):
        raise refuse("MALFORMED_QUERY", "a grouped query selects grouped fields and aggregates only")
    keys = [resolve(org, sobject, path) for path in query.group_by]
    names = {key.names for key in keys}
    columns: list[tuple[str, Path | None, Callable[[list[Row]], Any]]] = []
    for item in query.select:
        if isinstance(item, Aggregate):
            resolved = resolve(org, sobject, item.path)
            unnamed = sum(1 for name, path, _ in columns if path is None and name.startswith("expr"))
            columns.append((item.alias or f"expr{unnamed}", None, _function(item.function, resolved)))
        elif isinstance(item, tuple):
            resolved = resolve(org, sobject, item)
            if resolved.names not in names:
                raise refuse("MALFORMED_QUERY", f"Field must be grouped or aggregated: {'.'.join(resolved.names)}")
            columns.append((resolved.names[-1], resolved.names, _first(resolved)))
    groups: dict[tuple[Any, ...], list[Row]] = {} if keys else {(): rows}
    for row in rows if keys else ():
        groups.setdefault(tuple(key.read(row) for key in keys), []).append(row)
    found = []
    for group in groups.values():
        shown: Shown = {"attributes": {"type": "AggregateResult"}}
        found.append(shown | {name: compute(group) for name, _, compute in columns})
    for order in reversed(query.order_by):
        name = order.path[-1]
        by_name = {column.lower(): column for column, _, _ in columns}
        if name.lower() not in by_name:
            raise refuse("MALFORMED_QUERY", f"Ordered field must be grouped or aggregated: {name}")
        found = _sort_groups(found, by_name[name.lower()], order)
    return found[query.offset :][: query.limit]


def _first(resolved: Resolved) -> Callable[[list[Row]], Any]:
    return lambda group: resolved.read(group[0]) if group else None


def _function(name: str, resolved: Resolved) -> Callable[[list[Row]], Any]:
    if name in ("sum", "avg") and resolved.field.type not in NUMBERS:
        raise refuse(
            "MALFORMED_QUERY", f"field {resolved.field.name} does not support aggregate operator {name.upper()}"
        )

    functions: dict[str, Callable[[list[Any]], Any]] = {
        "count": len,
        "count_distinct": lambda values: len(set(values)),
        "min": lambda values: min(values, default=None),
        "max": lambda values: max(values, default=None),
        "sum": lambda values: sum(values) if values else None,
        "avg": lambda values: sum(values) / len(values) if values else None,
    }

    def compute(group: list[Row]) -> Any:
        return functions[name]([value for row in group if (value := resolved.read(row)) is not None])

    return compute


def _sort_groups(found: list[Shown], name: str, order: Order) -> list[Shown]:
    def compare(left: Shown, right: Shown) -> int:
        a, b = left[name], right[name]
        if a is None or b is None:
            place = (a is not None) - (b is not None)
            return -place if order.nulls_last else place
        place = int(a > b) - int(a < b)
        return -place if order.descending else place

    return sorted(found, key=cmp_to_key(compare))


def show_record(org: Org, caller: Caller, sobject: SObject, row: Row, names: Sequence[str] | None) -> Shown:
    """A record as a read by id shows it: the named fields, or all the caller may see. Raises Refused."""
    fields = org.visible_fields(sobject) if names is None else []
    for name in names or ():
        field = org.field(sobject, name)
        if field is None:
            raise refuse("INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
        fields.append(field)
    shown: Shown = {"attributes": attributes(caller.version, sobject.name, row["Id"])}
    return shown | {f.name: value_of(row, f) for f in fields}
