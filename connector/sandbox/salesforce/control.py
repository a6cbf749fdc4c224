"""The control endpoint: what a test or a demo does to the org from outside. No authentication, loopback only."""

from typing import Any

from connector.sandbox.salesforce import admin
from connector.sandbox.salesforce.auth import Auth
from connector.sandbox.salesforce.calls import Answer, as_object
from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.faults import parse
from connector.sandbox.salesforce.org import Org, Stats


class Control:
    """Answers /__control/...; bodies are JSON objects, unknown keys are refused."""

    def __init__(self, org: Org, auth: Auth) -> None:
        self._org, self._auth = org, auth
        self._handlers = {
            ("POST", "faults"): self.add_fault,
            ("GET", "faults"): self.list_faults,
            ("DELETE", "faults"): self.clear_faults,
            ("POST", "settings"): self.settings,
            ("DELETE", "settings"): self.reset_settings,
            ("POST", "time"): self.time,
            ("GET", "stats"): self.stats,
            ("POST", "stats/reset"): self.reset_stats,
            ("POST", "seed"): self.seed,
            ("POST", "merge"): self.merge,
            ("POST", "convert"): self.convert,
            ("POST", "undelete"): self.undelete,
            ("POST", "purge"): self.purge,
            ("POST", "touch"): self.touch,
            ("POST", "expire"): self.expire,
        }

    def answer(self, method: str, path: str, params: dict[str, str], body: Any) -> Answer:
        """Run one control call. Raises Refused."""
        if method == "GET" and path.startswith("records/"):
            return self.records(path.removeprefix("records/"), everything="all" in params, key=params.get("id"))
        handler = self._handlers.get((method, path))
        if handler is None:
            known = ", ".join(f"{m} {p}" for m, p in self._handlers)
            raise refuse("NOT_FOUND", f"no control {method} {path}; there are: {known}, GET records/OBJECT?all=1")
        try:
            return handler(as_object(body) if body is not None else {})
        except ValueError as error:
            raise refuse("INVALID_INPUT", str(error)) from error

    def add_fault(self, body: dict[str, Any]) -> Answer:
        fault = parse(body)
        self._org.faults.active.append(fault)
        return Answer(201, {"active": len(self._org.faults.active)})

    def list_faults(self, body: dict[str, Any]) -> Answer:
        return Answer(200, [{"kind": f.kind, "match": f.match, "times": f.times} for f in self._org.faults.active])

    def clear_faults(self, body: dict[str, Any]) -> Answer:
        self._org.faults.active.clear()
        return Answer(204)

    def settings(self, body: dict[str, Any]) -> Answer:
        self._org.change_settings(body)
        return Answer(204)

    def reset_settings(self, body: dict[str, Any]) -> Answer:
        self._org.reset_settings()
        return Answer(204)

    def time(self, body: dict[str, Any]) -> Answer:
        """{"offset_s"} sets the distance to real time, {"advance_s"} adds to it."""
        values = _only(body, "offset_s", "advance_s")
        if not values or not all(isinstance(v, int | float) for v in values.values()):
            raise ValueError("give offset_s or advance_s in seconds")
        offset = values.get("offset_s", self._org.offset.total_seconds()) + values.get("advance_s", 0)
        self._org.set_offset(offset)
        return Answer(200, {"offset_s": offset, "now": self._org.now().isoformat()})

    def stats(self, body: dict[str, Any]) -> Answer:
        return Answer(200, self._org.stats.show() | {"used_calls": self._org.used_calls()})

    def reset_stats(self, body: dict[str, Any]) -> Answer:
        self._org.stats = Stats()
        self._org.store.set_state("api_calls", 0)
        return Answer(204)

    def seed(self, body: dict[str, Any]) -> Answer:
        values = _only(body, "object", "records")
        records = values.get("records")
        if not isinstance(records, list):
            raise ValueError("records must be a list")
        sobject = self._org.sobject(str(values.get("object")))
        return Answer(201, {"ids": admin.seed(self._org, sobject, records)})

    def merge(self, body: dict[str, Any]) -> Answer:
        values = _only(body, "object", "winner", "losers")
        losers = values.get("losers")
        if not isinstance(losers, list):
            raise ValueError("losers must be a list of record ids")
        sobject = self._org.sobject(str(values.get("object")))
        admin.merge(self._org, self._org.admin, sobject, values.get("winner", ""), losers)
        return Answer(204)

    def convert(self, body: dict[str, Any]) -> Answer:
        values = _only(body, "lead", "account", "contact")
        made = admin.convert(
            self._org, self._org.admin, values.get("lead", ""), values.get("account"), values.get("contact")
        )
        return Answer(200, made)

    def undelete(self, body: dict[str, Any]) -> Answer:
        for key in _ids(body):
            admin.undelete(self._org, self._org.admin, key)
        return Answer(204)

    def purge(self, body: dict[str, Any]) -> Answer:
        return Answer(200, {"purged": admin.purge(self._org, everything=_only(body, "all").get("all") is True)})

    def touch(self, body: dict[str, Any]) -> Answer:
        admin.touch(self._org, _ids(body))
        return Answer(204)

    def expire(self, body: dict[str, Any]) -> Answer:
        self._auth.expire_all()
        return Answer(204)

    def records(self, name: str, *, everything: bool, key: str | None) -> Answer:
        """Raw rows, oldest first, the recycle bin only with ?all=1, one row with ?id=..."""
        rows = self._org.store.tables[self._org.sobject(name).name].rows
        keys = sorted(rows) if key is None else [key] if key in rows else []
        shown = [rows[key] for key in keys if everything or not rows[key].get("IsDeleted")]
        return Answer(200, {"records": shown})


def _only(body: dict[str, Any], *names: str) -> dict[str, Any]:
    unknown = set(body) - set(names)
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return body


def _ids(body: dict[str, Any]) -> list[str]:
    found = _only(body, "ids").get("ids")
    if not isinstance(found, list):
        raise ValueError("ids must be a list of record ids")
    return found
