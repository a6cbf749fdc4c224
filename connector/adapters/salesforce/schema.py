"""What the org looks like: objects with their fields, and its users. Cached, since each call counts."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from connector.adapters.base import FieldInfo, ObjectInfo, ObjectRead, User
from connector.adapters.salesforce.client import Client
from connector.adapters.salesforce.ids import SYSTEM, id18
from connector.adapters.salesforce.soql import OPEN_CASES, named
from connector.errors import RecordGone, SchemaDrift, Unreadable

FRESH = timedelta(hours=1)
"""How long a describe is used before the org is asked whether it changed."""
USERS_FRESH = timedelta(days=1)

TYPES = {
    "string": "text", "combobox": "text", "id": "text", "encryptedstring": "text", "picklist": "choice",
    "multipicklist": "tags", "reference": "reference", "boolean": "boolean", "currency": "number", "percent": "number",
    "double": "number", "int": "integer", "long": "integer", "phone": "phone", "email": "email", "url": "url",
    "date": "date", "datetime": "datetime",
}  # fmt: skip
"""Field types (Salesforce Object Reference, "Field Types"); any other one is `any`."""

OPEN_CASES_FIELD = FieldInfo(OPEN_CASES, "integer", createable=False, updateable=False)


@dataclass(frozen=True, slots=True)
class _Described:
    body: Mapping[str, Any]
    modified: str | None
    read_at: datetime


class Schema:
    """`reads` names the relationship paths (`Owner.Name`) that are described besides an object's own fields."""

    def __init__(self, client: Client, reads: Mapping[str, ObjectRead], *, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._reads = reads
        self._clock = clock
        # Two threads that ask for the same describe at once would each pay a call.
        self._lock = threading.RLock()
        self._described: dict[str, _Described] = {}
        self._users: tuple[datetime, tuple[User, ...]] | None = None

    def describe(self, object_: str) -> ObjectInfo:
        """Raises SchemaDrift when there is no such object, or none that the integration user may see."""
        body = self._body(object_)
        fields = {str(field["name"]): field_info(field) for field in body["fields"]}
        if body["name"] == "Contact":
            fields[OPEN_CASES] = OPEN_CASES_FIELD
        read = self._reads.get(object_)
        for path in read.fields if read else ():
            if "." in path and (found := self._path(object_, path)):
                fields[path] = found
        return ObjectInfo(
            str(body["name"]), fields, createable=bool(body["createable"]), updateable=bool(body["updateable"])
        )

    def create_only(self, object_: str) -> frozenset[str]:
        """The fields that can be set when a record is made, and never after."""
        fields = self.describe(object_).fields.values()
        return frozenset(field.name for field in fields if field.createable and not field.updateable)

    def target(self, object_: str, field: str) -> str | None:
        """The object that a lookup field points at, None when there are several."""
        info = next((info for info in self._body(object_)["fields"] if info["name"] == field), None)
        objects: Sequence[str] = info["referenceTo"] if info else []
        return str(objects[0]) if len(objects) == 1 else None

    def users(self) -> Sequence[User]:
        with self._lock:
            if self._users is None or self._clock() - self._users[0] > USERS_FRESH:
                rows = self._client.query(["SELECT Id, Email, Name, IsActive FROM User ORDER BY Id"])[0]
                users = tuple(
                    User(
                        id18(row["Id"]), str(row["Email"] or "").lower(), str(row["Name"] or ""), bool(row["IsActive"])
                    )
                    for row in rows
                )
                self._users = (self._clock(), users)
            return self._users[1]

    def _path(self, object_: str, path: str) -> FieldInfo | None:
        relationship, _, rest = path.partition(".")
        via = next((info for info in self._body(object_)["fields"] if info["relationshipName"] == relationship), None)
        for target in sorted(via["referenceTo"], key=lambda name: name != "User") if via else ():
            if "." in rest:
                found = self._path(target, rest)
            else:
                info = next((info for info in self._body(target)["fields"] if info["name"] == rest), None)
                found = field_info(info) if info else None
            if found:
                return replace(found, name=path, required=False, createable=False, updateable=False)
        return None

    def _body(self, object_: str) -> Mapping[str, Any]:
        with self._lock:
            known = self._described.get(object_)
            now = self._clock()
            if known and now - known.read_at <= FRESH:
                return known.body
            self._client.kept += 1
            headers = {"If-Modified-Since": known.modified} if known and known.modified else None
            try:
                answer = self._client.get(f"sobjects/{named(object_)}/describe", headers)
            except (RecordGone, Unreadable) as error:
                if error.code not in {"NOT_FOUND", "404"}:
                    raise
                raise SchemaDrift(
                    SYSTEM,
                    error.code,
                    f"there is no object {object_}.",
                    "Deploy it, give the integration user access to it, or correct the mapping.",
                ) from None
            if answer.status == 304 and known:
                fresh = replace(known, read_at=now)
            elif isinstance(answer.body, dict) and isinstance(answer.body.get("fields"), list):
                fresh = _Described(answer.body, answer.modified, now)
            else:
                raise Unreadable(SYSTEM, "describe", f"the describe of {object_} is not readable.")
            self._described[object_] = fresh
            return fresh.body


def field_info(field: Mapping[str, Any]) -> FieldInfo:
    """One field of a describe answer."""
    kind, length = str(field["type"]), int(field.get("length") or 0)
    type_ = TYPES.get(kind, "any")
    if kind == "textarea":
        type_ = "longtext" if length > 255 else "text"
    elif kind == "double" and field.get("scale") == 0:
        type_ = "integer"
    createable = bool(field["createable"])
    return FieldInfo(
        str(field["name"]),
        type_,
        length,
        required=createable and not field["nillable"] and not field["defaultedOnCreate"],
        createable=createable,
        updateable=bool(field["updateable"]),
        external_id=bool(field.get("externalId")),
        unique=bool(field.get("unique")),
        case_sensitive=bool(field.get("caseSensitive")),
        choices=tuple(str(choice["value"]) for choice in field.get("picklistValues") or () if choice.get("active")),
        restricted=bool(field.get("restrictedPicklist")),
    )
