"""The org as a whole: its schema, rows, clock, settings, counters and scripted faults, and who is calling."""

import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connector.sandbox.salesforce import sfdx
from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.faults import Faults
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.standard import ADMIN, first_rows, standard_schema
from connector.sandbox.salesforce.store import Row, Store
from connector.sandbox.salesforce.values import show_datetime


@dataclass(frozen=True, slots=True)
class Settings:
    """What the control endpoint can change. Times in seconds.

    commit_delay_s: writes of everybody but the integration user become visible that much after their stamp.
    daily_limit: API calls until REQUEST_LIMIT_EXCEEDED. page_size: most rows on one page of a query.
    instance_host: host name the org has moved to; logging in answers it, and the API lives only there.
    assignment_owner: id that the active assignment rule gives new Leads and Cases to.
    duplicate_rule: off, alert (passes with allowSave=true) or block; compares the e-mail of Contacts and of Leads.
    token_uses: calls an access token lives, 0 for ever. login_limit: logins until they are refused.
    hidden_fields: "Object.Field" without field-level security. automation: object -> values a flow writes in the
    transaction of every save. view_all_data: upsert by a key that is not unique. invisible: ids of records that are
    not shared with the integration user. storage_full, read_only: org states.
    """

    commit_delay_s: float = 0
    daily_limit: int = 100_000
    page_size: int = 2000
    instance_host: str = ""
    assignment_owner: str = ""
    duplicate_rule: str = "off"
    token_uses: int = 0
    login_limit: int = 3600
    hidden_fields: tuple[str, ...] = ("Task.Type",)
    automation: dict[str, dict[str, Any]] = field(default_factory=dict)
    view_all_data: bool = False
    invisible: tuple[str, ...] = ()
    storage_full: bool = False
    read_only: bool = False

    def changed(self, wanted: dict[str, Any]) -> "Settings":
        """A copy with these values. Raises ValueError naming an unknown setting or a value of the wrong kind."""
        known: dict[str, Any] = {f.name: f.default if f.name != "automation" else {} for f in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(sorted(known))}")
            default = known[name]
            kinds: tuple[type, ...] = (list, tuple) if isinstance(default, tuple) else (type(default),)
            if isinstance(default, int | float) and not isinstance(default, bool):
                kinds = (int, float)
            if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
                raise ValueError(f"setting {name!r}: {value!r} is not a {kinds[0].__name__}")
        if not all(isinstance(values, dict) for values in wanted.get("automation", {}).values()):
            raise ValueError("setting 'automation': give each object an object of field values")
        if wanted.get("duplicate_rule", "off") not in ("off", "alert", "block"):
            raise ValueError("setting 'duplicate_rule': off, alert or block")
        lists: dict[str, Any] = {name: tuple(wanted[name]) for name in ("hidden_fields", "invisible") if name in wanted}
        return replace(self, **wanted | lists)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a call runs as, and what its headers ask for."""

    user_id: str
    version: float = 67.0
    allow_save: bool = False
    auto_assign: bool = True
    integration: bool = False


@dataclass(slots=True)
class Stats:
    """Counters since the start or the last reset. `calls` are API calls as the org's daily limit counts them, `busy_s` the
    seconds of work on answers, without delays that a fault adds."""

    calls: int = 0
    busy_s: float = 0
    logins: int = 0
    unknown: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    writes: dict[str, Counter[str]] = field(default_factory=dict)

    def wrote(self, name: str, what: str) -> None:
        self.writes.setdefault(name, Counter())[what] += 1

    def show(self) -> dict[str, Any]:
        return asdict(self) | {"requests": dict(self.requests), "writes": {k: dict(v) for k, v in self.writes.items()}}


class Org:
    """One Salesforce org. Every request works on it alone, under `lock`."""

    def __init__(self, directory: Path, source: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.directory = directory
        self.schema = standard_schema()
        sfdx.extend(self.schema, source or sfdx.locate())
        for sobject in self.schema:
            if sobject.custom and sobject.activities:
                self._accept_activities(sobject)
        self.store = Store(self.schema, directory / "salesforce.sqlite")
        self.offset = timedelta(seconds=self.store.state("offset_s", 0.0))
        self.settings = Settings().changed(self.store.state("settings", {}))
        self.schema_changed = self.now()
        self.faults = Faults()
        self.stats = Stats()
        if not self.store.tables["User"].rows:
            self._start_rows()
        users = self.store.tables["User"].rows.values()
        self.users: dict[str, str] = {row["Username"]: row["Id"] for row in users}
        self.store.flush()

    @property
    def admin(self) -> Caller:
        return Caller(self.users[ADMIN], allow_save=True, auto_assign=False)

    def _accept_activities(self, sobject: SObject) -> None:
        for name in ("Task", "Event"):
            what = self.schema[name].fields["whatid"]
            self.schema[name].add([replace(what, refers_to=(*what.refers_to, sobject.name))])

    def _start_rows(self) -> None:
        admin = ""
        for name, values in first_rows():
            key, _ = self.store.new_id(self.schema[name])
            admin = admin or key
            row: Row = {"Id": key, **values, **self.stamp(admin, created=True)}
            if name == "User":
                row["Name"] = f"{row['FirstName']} {row['LastName']}"
            self.store.put(self.store.tables[name], key, row)

    def now(self) -> datetime:
        """The org's clock: real time plus the offset set by control, cut to whole seconds."""
        return (datetime.now(UTC) + self.offset).replace(microsecond=0)

    def seconds(self) -> float:
        """The org's clock as a number, with fractions: for when rows become visible."""
        return time.time() + self.offset.total_seconds()

    def stamp(self, user_id: str, *, created: bool = False) -> Row:
        """The system fields of a write by this user now."""
        moment = show_datetime(self.now())
        stamp = {"LastModifiedDate": moment, "LastModifiedById": user_id, "SystemModstamp": moment}
        return stamp | {"CreatedDate": moment, "CreatedById": user_id} if created else stamp

    def visible_at(self, caller: Caller) -> float | None:
        """When a write of this caller becomes visible; None for at once.

        A long transaction stamps its rows when it saves them and shows them when it commits: a reader whose cursor
        has passed the stamp by then never sees them without an overlap. The connector's own calls are answered after
        their commit, so they are visible at once.
        """
        delay = self.settings.commit_delay_s
        return self.seconds() + delay if delay and not caller.integration else None

    def change_settings(self, wanted: dict[str, Any]) -> None:
        """Apply and keep settings. Raises ValueError."""
        changed = self.settings.changed(wanted)
        for name, values in changed.automation.items():
            sobject = self.schema.get(name)
            unknown = [field for field in values if sobject is None or sobject.get(field) is None]
            if sobject is None or unknown:
                raise ValueError(f"setting 'automation': no such object or field: {name} {' '.join(unknown)}")
        self.settings = changed
        if "hidden_fields" in wanted:
            self.schema_changed = self.now()
        self.store.set_state("settings", self.store.state("settings", {}) | wanted)

    def reset_settings(self) -> None:
        self.settings = Settings()
        self.schema_changed = self.now()
        self.store.set_state("settings", {})

    def set_offset(self, seconds: float) -> None:
        self.offset = timedelta(seconds=seconds)
        self.store.set_state("offset_s", seconds)

    def sobject(self, name: str) -> SObject:
        """The object with this name in any case. Raises Refused(NOT_FOUND)."""
        found = self.schema.get(name)
        if found is None:
            raise refuse("NOT_FOUND", "The requested resource does not exist")
        return found

    def field(self, sobject: SObject, name: str) -> Field | None:
        """The field the caller may see, or None: a field without field-level security does not exist for it."""
        found = sobject.get(name)
        return None if found is None or f"{sobject.name}.{found.name}" in self.settings.hidden_fields else found

    def visible_fields(self, sobject: SObject) -> list[Field]:
        return [f for f in sobject.fields.values() if self.field(sobject, f.name)]

    def row(self, key: str) -> Row | None:
        """The stored row with this id, deleted or not."""
        table = self.store.table_of(key)
        return table.rows.get(key) if table else None

    def sees(self, caller: Caller, row: Row) -> bool:
        """Whether the record is shared with the caller."""
        return not (caller.integration and row["Id"] in self.settings.invisible)

    def used_calls(self) -> int:
        """API calls of the day; they survive a restart."""
        return int(self.store.state("api_calls", 0))

    def count_call(self) -> None:
        """Charge one API call. Raises Refused(REQUEST_LIMIT_EXCEEDED) when the day's allowance is used up."""
        if self.used_calls() >= self.settings.daily_limit:
            raise refuse("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.stats.calls += 1
        self.store.set_state("api_calls", self.used_calls() + 1)
