"""Many records or many calls in one request: sObject collections and composite."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from connector.sandbox.salesforce import dml, ids
from connector.sandbox.salesforce.calls import (
    Answer,
    Call,
    Routes,
    as_object,
    parse_params,
    read_version,
    refusal,
    split_path,
)
from connector.sandbox.salesforce.errors import Problem, Refused, refuse
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.query import show_record
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.store import index_key

MOST_ROWS = 200  # "sObject Collections", REST API guide
MOST_READ = 2000  # "Get Records Using sObject Collections", REST API guide
MOST_CALLS = 25  # "Composite", REST API guide
MOST_HEAVY = 5  # of these, how many may be queries or collections
_REFERENCE = re.compile(r"@\{([^}]*)\}")
_VERSIONED = re.compile(r"/services/data/(v[^/]*)/(.*)", re.DOTALL)

Rows = list[dict[str, Any]]
# Checks one record and hands back the function that writes it and answers (id, created).
Plan = Callable[[Any], Callable[[], tuple[str, bool | None]]]


class Composite:
    """The handlers; they call back into `routes` for the parts of a composite."""

    def __init__(self, org: Org, routes: Routes) -> None:
        self._org, self._routes = org, routes

    def register(self) -> None:
        add = self._routes.add
        add("POST", "composite", self.composite)
        add("POST", "composite/sobjects", self.create)
        add("PATCH", "composite/sobjects", self.update)
        add("DELETE", "composite/sobjects", self.delete)
        add("POST", "composite/sobjects/{name}", self.retrieve)
        add("GET", "composite/sobjects/{name}", self.retrieve)
        add("PATCH", "composite/sobjects/{name}/{field}", self.upsert)

    def create(self, call: Call) -> Answer:
        def plan(record: Any) -> Callable[[], tuple[str, None]]:
            prepared = dml.prepare(self._org, self._typed(record), record, None)
            return lambda: (dml.save(self._org, call.caller, prepared), None)

        return self._each(call, plan)

    def update(self, call: Call) -> Answer:
        def plan(record: Any) -> Callable[[], tuple[str, None]]:
            sobject = self._typed(record)
            key = _take(record, "id")
            if key is None:
                raise refuse("MISSING_ARGUMENT", "Id not specified in an update call")
            existing = self._existing(call, sobject, key)
            prepared = dml.prepare(self._org, sobject, _without(record, "id"), existing)
            return lambda: (dml.save(self._org, call.caller, prepared), None)

        return self._each(call, plan)

    def _existing(self, call: Call, sobject: SObject, key: Any) -> str:
        """The id of a live record named in a row. Raises Refused with the codes of rows."""
        try:
            row = dml.live_row(self._org, sobject, ids.normalise(key))
        except Refused as refused:
            if refused.problems[0].code == "NOT_FOUND":
                raise refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id") from None
            raise
        if not self._org.sees(call.caller, row):
            raise refuse("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
        return str(row["Id"])

    def upsert(self, call: Call, name: str, field: str) -> Answer:
        sobject = self._org.sobject(name)
        key = dml.external_key(self._org, sobject, field)
        repeated = self._repeated(call, key)

        def plan(record: Any) -> Callable[[], tuple[str, bool]]:
            if self._typed(record) is not sobject:
                raise refuse("INVALID_TYPE", f"the record is not of type {sobject.name}")
            if key.name != "Id" and _take(record, "id") is not None:
                raise refuse("INVALID_FIELD", "The Id field should not be specified in the sobject data.", "Id")
            value = _take(record, key.name)
            if isinstance(value, str) and index_key(key, value.strip()) in repeated:
                raise refuse("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", key.name)
            inserts = key.name == "Id" and value is None
            matches = [] if inserts else dml.match_key(self._org, call.caller, sobject, key, value)
            if len(matches) > 1:
                raise refuse("DUPLICATE_EXTERNAL_ID", f"{key.name}: more than one record found", key.name)
            existing = matches[0]["Id"] if matches else None
            data = _without(record, key.name) if existing or key.name == "Id" else record
            prepared = dml.prepare(self._org, sobject, data, existing)
            return lambda: (dml.save(self._org, call.caller, prepared), existing is None)

        return self._each(call, plan)

    def _repeated(self, call: Call, key: Field) -> set[Any]:
        """Key values that stand on several rows of this request."""
        records = as_object(call.body).get("records")
        values = [_take(r, key.name) for r in records if isinstance(r, dict)] if isinstance(records, list) else []
        counts = Counter(index_key(key, v.strip()) for v in values if isinstance(v, str))
        return {value for value, count in counts.items() if count > 1}

    def delete(self, call: Call) -> Answer:
        keys = [key for key in call.params.get("ids", "").split(",") if key]
        all_or_none = call.params.get("allOrNone", "").lower() == "true"

        def plan(key: Any) -> Callable[[], tuple[str, None]]:
            full = ids.normalise(key)
            table = self._org.store.table_of(full)
            if table is None:
                raise refuse("MALFORMED_ID", f"malformed id {key}")
            existing = self._existing(call, table.sobject, full)

            def write() -> tuple[str, None]:
                dml.delete(self._org, call.caller, table.sobject, existing)
                return existing, None

            return write

        return self._write(keys, plan, all_or_none=all_or_none)

    def retrieve(self, call: Call, name: str) -> Answer:
        sobject = self._org.sobject(name)
        if call.method == "GET":
            keys, fields = (call.params.get(p, "").split(",") for p in ("ids", "fields"))
        else:
            body = as_object(call.body)
            keys, fields = body.get("ids") or [], body.get("fields") or []
        if not (_texts(keys) and _texts(fields)):
            raise refuse("MISSING_ARGUMENT", "ids and fields are required, each a list of texts")
        if len(keys) > MOST_READ:
            raise refuse("LIMIT_EXCEEDED", f"record limit reached. cannot submit more than {MOST_READ} records")
        table = self._org.store.tables[sobject.name]
        found: list[Any] = []
        for key in keys:
            row = table.seen(ids.normalise(key), self._org.seconds())
            if row is None or row.get("IsDeleted") or not self._org.sees(call.caller, row):
                found.append(None)
            else:
                found.append(show_record(self._org, call.caller, sobject, row, fields))
        return Answer(200, found)

    def _typed(self, record: Any) -> SObject:
        """The object a row names in its attributes. Raises Refused, which fails the row."""
        if not isinstance(record, dict):
            raise refuse("JSON_PARSER_ERROR", "each record must be a JSON object")
        marks = record.get("attributes")
        name = marks.get("type") if isinstance(marks, dict) else None
        if not isinstance(name, str):
            raise refuse("INVALID_TYPE", "attributes.type is missing")
        sobject = self._org.schema.get(name)
        if sobject is None:
            raise refuse("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return sobject

    def _each(self, call: Call, plan: Plan) -> Answer:
        body = as_object(call.body)
        _known_keys(body, "records", "allOrNone")
        records = body.get("records")
        if not isinstance(records, list):
            raise refuse("JSON_PARSER_ERROR", "records must be a JSON array")
        return self._write(records, plan, all_or_none=body.get("allOrNone", False) is True)

    def _write(self, items: list[Any], plan: Plan, *, all_or_none: bool) -> Answer:
        """Check all rows, then write them in order, each on its own unless all_or_none.

        All rows are checked first because parents are resolved before anything is written: a parent created by this
        request is not visible to its other rows.
        """
        if not items:
            raise refuse("MISSING_ARGUMENT", "The records list cannot be empty")
        if len(items) > MOST_ROWS:
            raise refuse(
                "LIMIT_EXCEEDED", f"record limit reached. cannot submit more than {MOST_ROWS} records into this call"
            )
        start = self._org.store.mark()
        planned = [_attempt(plan, item) for item in items]
        results: Rows = []
        try:
            for writer in planned:
                results.append(self._result(writer))
        except dml.ChunkFailed as failed:
            self._org.store.rollback(start)
            return Answer(200, [_failure(failed.refused.problems) for _ in items])
        if all_or_none and not all(result["success"] for result in results):
            self._org.store.rollback(start)
            message = "Record rolled back because not all records were valid and the request was using AllOrNone header"
            bystander = [Problem("ALL_OR_NONE_OPERATION_ROLLED_BACK", message)]
            results = [_failure(bystander) if result["success"] else result for result in results]
        return Answer(200, results)

    def _result(self, writer: Callable[[], tuple[str, bool | None]] | Refused) -> dict[str, Any]:
        mark = self._org.store.mark()
        try:
            if isinstance(writer, Refused):
                raise writer
            key, created = writer()
        except Refused as refused:
            self._org.store.rollback(mark)
            return _failure(refused.problems)
        result: dict[str, Any] = {"id": key, "success": True, "errors": []}
        return result if created is None else result | {"created": created}

    def composite(self, call: Call) -> Answer:
        body = as_object(call.body)
        _known_keys(body, "compositeRequest", "allOrNone", "collateSubrequests")
        parts = body.get("compositeRequest")
        if not isinstance(parts, list) or not parts:
            raise refuse("MISSING_ARGUMENT", "compositeRequest must be a list of subrequests")
        if len(parts) > MOST_CALLS:
            raise refuse("LIMIT_EXCEEDED", f"The request can't contain more than {MOST_CALLS} subrequests.")
        if sum(_heavy(str(part.get("url"))) for part in parts if isinstance(part, dict)) > MOST_HEAVY:
            raise refuse(
                "LIMIT_EXCEEDED", f"The request can't contain more than {MOST_HEAVY} query or collections subrequests."
            )
        references = [part.get("referenceId") for part in parts if isinstance(part, dict)]
        if len(set(references)) != len(parts) or not all(
            isinstance(r, str) and re.fullmatch(r"\w+", r) for r in references
        ):
            raise refuse("JSON_PARSER_ERROR", "Provide a unique alphanumeric referenceId for every subrequest.")
        all_or_none = body.get("allOrNone") is True
        mark = self._org.store.mark()
        done: dict[str, Answer] = {}
        for part in parts:
            done[part["referenceId"]] = self._part(call, part, done)
            if all_or_none and done[part["referenceId"]].status >= 400:
                self._org.store.rollback(mark)
                halted = Answer(400, [Problem("PROCESSING_HALTED", "The transaction was rolled back since another operation in the same transaction failed.").single()])  # fmt: skip
                culprit = part["referenceId"]
                done = {r: done[r] if r == culprit else halted for r in references if isinstance(r, str)}
                break
        answers = [
            {"body": a.body, "httpHeaders": a.headers, "httpStatusCode": a.status, "referenceId": reference}
            for reference, a in done.items()
        ]
        return Answer(200, {"compositeResponse": answers})

    def _part(self, call: Call, part: dict[str, Any], done: dict[str, Answer]) -> Answer:
        mark = self._org.store.mark()
        try:
            _known_keys(part, "method", "url", "body", "referenceId", "httpHeaders")
            url = _substitute(part.get("url"), done)
            match = _VERSIONED.fullmatch(url) if isinstance(url, str) else None
            if match is None:
                raise refuse("NOT_FOUND", "The url of a subrequest must start with /services/data/vNN.N/")
            headers = part.get("httpHeaders") or {}
            if not isinstance(headers, dict):
                raise refuse("JSON_PARSER_ERROR", "httpHeaders must be a JSON object")
            path, _, raw_query = match.group(2).partition("?")
            inner = replace(
                call,
                method=str(part.get("method", "")).upper(),
                segments=split_path(path),
                params=parse_params(raw_query),
                headers={str(k).lower(): str(v) for k, v in headers.items()},
                body=_substitute(part.get("body"), done),
                caller=replace(call.caller, version=read_version(match.group(1))),
            )
            pattern, handler, named = self._routes.find(inner.method, inner.segments)
            if pattern == "composite":
                raise refuse("INVALID_INPUT", "A composite request cannot contain another one")
            self._org.stats.requests[f"composite: {inner.method} /{pattern}"] += 1
            return handler(inner, **named)
        except dml.ChunkFailed as failed:
            self._org.store.rollback(mark)
            return refusal(failed.refused)
        except Refused as refused:
            self._org.store.rollback(mark)
            return refusal(refused)


def _attempt(plan: Plan, item: Any) -> Callable[[], tuple[str, bool | None]] | Refused:
    try:
        return plan(item)
    except Refused as refused:
        return refused


def _failure(problems: "list[Problem] | tuple[Problem, ...]") -> dict[str, Any]:
    return {"success": False, "errors": [problem.row() for problem in problems]}


def _known_keys(body: dict[str, Any], *names: str) -> None:
    unknown = set(body) - set(names)
    if unknown:
        raise refuse("JSON_PARSER_ERROR", f'Unrecognized field "{min(unknown)}"')


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _take(record: Any, name: str) -> Any:
    return next((v for k, v in record.items() if k.lower() == name.lower()), None)


def _without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k.lower() != name.lower()}


def _heavy(url: str) -> bool:
    return bool(re.search(r"/services/data/v[\d.]+/(query|queryAll|composite/sobjects)\b", url, re.IGNORECASE))


def _substitute(value: Any, done: dict[str, Answer]) -> Any:
    """Replace @{reference.path} by what the earlier subrequest answered. Raises Refused when there is nothing."""
    if isinstance(value, dict):
        return {k: _substitute(v, done) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(v, done) for v in value]
    if not isinstance(value, str) or "@{" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _lookup(whole.group(1), done)
    return _REFERENCE.sub(lambda m: str(_lookup(m.group(1), done)), value)


def _lookup(expression: str, done: dict[str, Answer]) -> Any:
    reference, *path = re.findall(r"[^.\[\]]+", expression) or [""]
    answer = done.get(reference)
    current: Any = answer.body if answer and answer.status < 400 else None
    for step in path:
        if isinstance(current, dict):
            current = current.get(step)
        elif isinstance(current, list) and step.isdigit() and int(step) < len(current):
            current = current[int(step)]
        else:
            current = None
    if current is None:
        raise refuse(
            "PROCESSING_HALTED", f"Invalid reference specified. No value for {expression} found in {reference}"
        )
    return current
