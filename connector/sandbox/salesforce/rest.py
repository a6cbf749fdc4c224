"""The REST resources on single records, queries, describe, limits and replication."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from connector.sandbox.salesforce import dml, ids
from connector.sandbox.salesforce.calls import Answer, Call, Routes, as_object
from connector.sandbox.salesforce.composite import Composite
from connector.sandbox.salesforce.describe import describe, summary
from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.query import Cursors, record_url, run, show_record
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.store import Row
from connector.sandbox.salesforce.values import read_datetime, show_datetime

_BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d+)", re.IGNORECASE)
_FILE_ENDING = re.compile(r"\.(inc|json|xml|php|html?|css|js)$", re.IGNORECASE)
_REPLICATION_WINDOW = timedelta(days=30)  # "Get Updated" and "Get Deleted", REST API guide
_REPLICATION_MOST = 600_000  # ids of one answer, same pages


class Rest:
    """The handlers; one instance serves one org."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._cursors = Cursors()
        self.routes = Routes()
        add = self.routes.add
        add("GET", "limits", self.limits)
        add("GET", "query", self.query)
        add("GET", "queryAll", self.query_all)
        add("GET", "query/{locator}", self.next_page)
        add("GET", "queryAll/{locator}", self.next_page)
        add("GET", "sobjects", self.list_objects)
        add("GET", "sobjects/{name}", self.object_info)
        add("POST", "sobjects/{name}", self.create)
        add("GET", "sobjects/{name}/describe", self.describe)
        add("GET", "sobjects/{name}/updated", self.updated)
        add("GET", "sobjects/{name}/deleted", self.deleted)
        add("GET", "sobjects/{name}/{key}", self.read)
        add("PATCH", "sobjects/{name}/{key}", self.update)
        add("DELETE", "sobjects/{name}/{key}", self.delete)
        add("GET", "sobjects/{name}/{field}/{value}", self.read_by_key)
        add("PATCH", "sobjects/{name}/{field}/{value}", self.upsert)
        Composite(org, self.routes).register()

    def limits(self, call: Call) -> Answer:
        used, most = self._org.used_calls(), self._org.settings.daily_limit
        return Answer(
            200,
            {
                "DailyApiRequests": {"Max": most, "Remaining": max(0, most - used)},
                "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
                "DataStorageMB": {"Max": 5, "Remaining": 0 if self._org.settings.storage_full else 5},
            },
        )

    def query(self, call: Call) -> Answer:
        return self._query(call, everything=False)

    def query_all(self, call: Call) -> Answer:
        return self._query(call, everything=True)

    def _query(self, call: Call, *, everything: bool) -> Answer:
        if "q" not in call.params:
            raise refuse("MALFORMED_QUERY", "A query string has to be specified")
        size = self._org.settings.page_size
        hint = _BATCH_SIZE.search(call.headers.get("sforce-query-options", ""))
        if hint:
            size = min(size, max(200, min(2000, int(hint.group(1)))))
        text = call.params["q"]
        return Answer(200, run(self._org, call.caller, self._cursors, text, everything=everything, page_size=size))

    def next_page(self, call: Call, locator: str) -> Answer:
        return Answer(200, self._cursors.next(locator, self._org.now(), call.caller.version))

    def list_objects(self, call: Call) -> Answer:
        objects = [summary(sobject, call.caller.version) for sobject in self._org.schema]
        return Answer(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects})

    def object_info(self, call: Call, name: str) -> Answer:
        sobject = self._org.sobject(name)
        return Answer(200, {"objectDescribe": summary(sobject, call.caller.version), "recentItems": []})

    def describe(self, call: Call, name: str) -> Answer:
        sobject = self._org.sobject(name)
        changed = self._org.schema_changed
        since = _http_date(call, "if-modified-since")
        stamp = {"Last-Modified": format_datetime(changed, usegmt=True)}
        if since is not None and changed <= since:
            return Answer(304, None, stamp)
        return Answer(200, describe(self._org, sobject, call.caller.version), stamp)

    def create(self, call: Call, name: str) -> Answer:
        sobject = self._org.sobject(name)
        key = dml.save(self._org, call.caller, dml.prepare(self._org, sobject, call.body, None))
        return Answer(201, {"id": key, "success": True, "errors": []})

    def _visible(self, call: Call, sobject: SObject, key: str) -> Row:
        """The record as readers see it. Raises Refused(NOT_FOUND or ENTITY_IS_DELETED)."""
        if not ids.is_id(key):
            raise refuse("NOT_FOUND", "Provided external ID field does not exist or is not accessible: " + key)
        row = self._org.store.tables[sobject.name].seen(ids.normalise(key), self._org.seconds())
        if row is None or not self._org.sees(call.caller, row):
            raise refuse("NOT_FOUND", "The requested resource does not exist")
        if row.get("IsDeleted"):
            raise refuse("ENTITY_IS_DELETED", "entity is deleted")
        return row

    def read(self, call: Call, name: str, key: str) -> Answer:
        sobject = self._org.sobject(name)
        row = self._visible(call, sobject, key)
        since = _http_date(call, "if-modified-since")
        if since is not None and _moment(row["LastModifiedDate"]) <= since:
            return Answer(304)
        return Answer(200, show_record(self._org, call.caller, sobject, row, _field_names(call)))

    def update(self, call: Call, name: str, key: str) -> Answer:
        sobject = self._org.sobject(name)
        row = self._visible(call, sobject, key)
        _refuse_id(as_object(call.body))
        unchanged_since = _http_date(call, "if-unmodified-since")
        if unchanged_since is not None and _moment(row["LastModifiedDate"]) > unchanged_since:
            message = "One or more conditions given in the request header fields evaluated to false"
            raise refuse("PRECONDITION_FAILED", message, status=412)
        dml.save(self._org, call.caller, dml.prepare(self._org, sobject, call.body, row["Id"]))
        return Answer(204)

    def delete(self, call: Call, name: str, key: str) -> Answer:
        sobject = self._org.sobject(name)
        dml.delete(self._org, call.caller, sobject, self._visible(call, sobject, key)["Id"])
        return Answer(204)

    def _by_key(self, call: Call, sobject: SObject, field: str, value: str) -> list[Row]:
        if _FILE_ENDING.search(value):
            # The server takes a value that ends like a file name for another resource ("Upsert", REST API guide).
            raise refuse("NOT_FOUND", "The requested resource does not exist")
        key = dml.external_key(self._org, sobject, field)
        return dml.match_key(self._org, call.caller, sobject, key, value)

    def _ambiguous(self, call: Call, sobject: SObject, rows: list[Row]) -> Answer:
        return Answer(300, [record_url(call.caller.version, sobject.name, row["Id"]) for row in rows])

    def read_by_key(self, call: Call, name: str, field: str, value: str) -> Answer:
        sobject = self._org.sobject(name)
        rows = self._by_key(call, sobject, field, value)
        if len(rows) > 1:
            return self._ambiguous(call, sobject, rows)
        if not rows:
            raise refuse("NOT_FOUND", "The requested resource does not exist")
        return Answer(200, show_record(self._org, call.caller, sobject, rows[0], _field_names(call)))

    def upsert(self, call: Call, name: str, field: str, value: str) -> Answer:
        sobject = self._org.sobject(name)
        rows = self._by_key(call, sobject, field, value)
        key = dml.external_key(self._org, sobject, field)
        body = as_object(call.body)
        _refuse_id(body)
        if any(k.lower() == key.name.lower() for k in body):
            message = f"The {key.name} field should not be specified in the sobject data."
            raise refuse("INVALID_FIELD", message, key.name)
        if len(rows) > 1:
            return self._ambiguous(call, sobject, rows)
        update_only = call.params.get("updateOnly", "").lower() == "true"
        if not rows and (update_only or key.name == "Id"):
            raise refuse("NOT_FOUND", "The requested resource does not exist")
        record = rows[0]["Id"] if rows else None
        prepared = dml.prepare(self._org, sobject, body if rows else {**body, key.name: value}, record)
        saved = dml.save(self._org, call.caller, prepared)
        return Answer(200 if rows else 201, {"id": saved, "success": True, "errors": [], "created": not rows})

    def _window(self, call: Call, *, least: timedelta) -> tuple[str, str]:
        """Start and end of a replication call, cut to the minute. Raises Refused(INVALID_REPLICATION_DATE)."""
        start, end = (read_datetime(call.params.get(name, "")) for name in ("start", "end"))
        if start is None or end is None:
            raise refuse("INVALID_REPLICATION_DATE", "start and end must be dateTimes with a zone")
        start, end = (moment.replace(second=0, microsecond=0) for moment in (start, end))
        if end - start < least or start >= end:
            raise refuse("INVALID_REPLICATION_DATE", "startDate has to be before endDate")
        if self._org.now() - start > _REPLICATION_WINDOW:
            raise refuse("INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
        return show_datetime(start), show_datetime(end)

    def _changed(self, call: Call, sobject: SObject, start: str, end: str, *, deleted: bool) -> list[Row]:
        table = self._org.store.tables[sobject.name]
        found = [
            row
            for row in table.scan(self._org.seconds())
            if bool(row.get("IsDeleted")) == deleted and start <= row["SystemModstamp"] < end
        ]
        if len(found) > _REPLICATION_MOST:
            raise refuse("EXCEEDED_ID_LIMIT", "too many ids: narrow the window")
        return found

    def updated(self, call: Call, name: str) -> Answer:
        sobject = self._org.sobject(name)
        start, end = self._window(call, least=timedelta(0))
        rows = self._changed(call, sobject, start, end, deleted=False)
        return Answer(200, {"ids": [row["Id"] for row in rows], "latestDateCovered": self._covered(end)})

    def deleted(self, call: Call, name: str) -> Answer:
        sobject = self._org.sobject(name)
        start, end = self._window(call, least=timedelta(minutes=1))
        rows = self._changed(call, sobject, start, end, deleted=True)
        records = [{"id": row["Id"], "deletedDate": row["SystemModstamp"]} for row in rows]
        purged = self._org.store.state("purged_until", None)
        earliest = purged or show_datetime(self._org.now() - _REPLICATION_WINDOW)
        body = {"deletedRecords": records, "earliestDateAvailable": earliest, "latestDateCovered": self._covered(end)}
        return Answer(200, body)

    def _covered(self, end: str) -> str:
        """How far the answer is complete: not further than transactions that still run."""
        delay = timedelta(seconds=self._org.settings.commit_delay_s)
        return min(end, show_datetime((self._org.now() - delay).replace(second=0)))


def _refuse_id(body: dict[str, object]) -> None:
    if any(key.lower() == "id" for key in body):
        raise refuse("INVALID_FIELD", "The Id field should not be specified in the sobject data.", "Id")


def _field_names(call: Call) -> list[str] | None:
    return [n.strip() for n in call.params["fields"].split(",")] if call.params.get("fields") else None


def _moment(shown: str) -> datetime:
    moment = read_datetime(shown)
    assert moment is not None
    return moment


def _http_date(call: Call, header: str) -> datetime | None:
    """The date of a conditional header, None without it. Raises Refused for one that cannot be read."""
    text = call.headers.get(header)
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        raise refuse("INVALID_FIELD", f"{header}: not an HTTP date: {text}") from None
