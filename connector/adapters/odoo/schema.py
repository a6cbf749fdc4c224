"""What Odoo's models look like to the connector's user: fields, rights, names of tags and subtypes, users."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from connector.adapters.base import FieldInfo, ObjectInfo, ObjectRead, User
from connector.adapters.odoo.errors import SYSTEM
from connector.adapters.odoo.transport import Client, Row
from connector.adapters.odoo.values import (
    ACTIVITY,
    AUTHOR_TYPE,
    DONE,
    EXTERNAL_ID,
    MESSAGE,
    MODULE,
    SUBTYPE,
    FieldType,
    Types,
    external_name,
    is_number,
)
from connector.errors import Rejected, RemoteError, SchemaDrift
from connector.model import Value

FRESH: Final = timedelta(hours=1)
"""How long a description and the list of users are believed; an admin adds fields and people a few times a year."""
ATTRIBUTES: Final = ["type", "required", "readonly", "selection", "relation", "size", "store"]
TYPES: Final[Mapping[str, str]] = {
    "char": "text",
    "text": "longtext",
    "html": "longtext",
    "selection": "choice",
    "integer": "integer",
    "float": "number",
    "monetary": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "datetime",
    "many2one": "reference",
    "many2one_reference": "reference",
    "many2many": "list",
    "one2many": "list",
}
NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "res.partner": frozenset(("name",)),
    "crm.lead": frozenset(("name",)),
    MESSAGE: frozenset(("model", "res_id", "message_type", "subtype_id")),
    ACTIVITY: frozenset(("res_model_id", "res_id")),
}
"""What a record of ours cannot do without, where `fields_get` does not say so."""
FIXED: Final[Mapping[str, frozenset[str]]] = {
    MESSAGE: frozenset(("model", "res_id", "message_id")),
    ACTIVITY: frozenset(("res_model_id", "res_id")),
}
"""What only an administrator may change later."""
NAMED: Final = "name"


class Schema:
    """`reads` names the paths (`user_id.name`) that are described besides a model's own fields."""

    def __init__(self, client: Client, reads: Mapping[str, ObjectRead], *, clock: Callable[[], datetime]) -> None:
        self.asked = 0
        self._client = client
        self._reads = reads
        self._clock = clock
        # Two threads that ask for the same description at once would each pay a call.
        self._lock = threading.RLock()
        self._known: dict[tuple[str, str], tuple[datetime, Any]] = {}

    def describe(self, model: str) -> ObjectInfo:
        """Raises SchemaDrift when there is no such model."""
        told = self._fields(model)
        needed, fixed = NEEDED.get(model, frozenset()), FIXED.get(model, frozenset())
        fields = {
            name: _info(name, one, required=bool(one.get("required")) or name in needed, fixed=name in fixed)
            for name, one in told.items()
        }
        for name, one in told.items():
            if one.get("relation") == SUBTYPE and one["type"] == "many2one":
                # Written and shown by external id, so that a wrong one is found by `connector check`.
                fields[name] = replace(fields[name], choices=tuple(self._names(SUBTYPE).values()), restricted=True)
        fields |= {info.name: info for info in _ours(model)}
        read = self._reads.get(model)
        for path in (path for path in read.fields if "." in path) if read else ():
            if found := self._path(told, path):
                fields[path] = found
        may = {
            right: bool(self._cached(model, right, partial(self._may, model, right))) for right in ("create", "write")
        }
        return ObjectInfo(model, fields, createable=may["create"], updateable=may["write"])

    def types(self, model: str) -> Types:
        found: Types = self._cached(model, "types", partial(self._ask_types, model))
        return found

    def _ask_types(self, model: str) -> Types:
        return {
            name: FieldType(name, str(one["type"]), str(one.get("relation") or ""))
            for name, one in self._fields(model).items()
        }

    def users(self) -> Sequence[User]:
        """Those who work in Odoo; customers with a portal login are none of them."""
        return self._cached("res.users", "users", self._ask_users)  # type: ignore[no-any-return]

    def name_of(self, model: str, id_: int) -> str | None:
        """The name of a tag, or the external id of a message subtype. None when there is none."""
        names = self._names(model)
        if id_ not in names:
            names = self._names(model, anew=True)
        return names.get(id_)

    def ids_of(self, model: str, value: Value) -> Any:
        """The id that a value for a link means, or the ids of tag names, made where they do not exist yet.

        Raises Rejected when it means no record.
        """
        if isinstance(value, list):
            return [self._tag(model, str(name)) for name in value]
        if is_number(value):
            return int(value)
        module, _, name = str(value).partition(".")
        found = self._cached(str(value), "reference", partial(self.by_external_id, module, name)) if name else None
        if found is None:
            raise Rejected(
                SYSTEM, "reference", f"{value} is no record of {model or 'Odoo'}.", "Fix the value in the mapping."
            )
        return found

    def by_external_id(self, module: str, name: str) -> int | None:
        """The record behind an external id. Asked one by one: the list itself is for administrators."""
        try:
            told = self._client.read("ir.model.data", "check_object_reference", module=module, xml_id=name).body
        except RemoteError as error:
            if error.code == "ValueError":
                return None
            raise
        return int(told[1]) if isinstance(told, list) and told[1] else None

    def by_key(self, key: str) -> int | None:
        return self.by_external_id(MODULE, external_name(key))

    def _names(self, model: str, *, anew: bool = False) -> dict[int, str]:
        found: dict[int, str] = self._cached(model, NAMED, lambda: self._ask_names(model), anew=anew)
        return found

    def _ask_names(self, model: str) -> dict[int, str]:
        rows = self._client.rows(model, "search_read", domain=[], fields=["name"])
        if model != SUBTYPE:
            return {int(row["id"]): str(row["name"]) for row in rows}
        # Subtypes are told by their external id: names are translated, and two of them may be alike.
        told = self.external_ids(model, [int(row["id"]) for row in rows])
        return {id_: next(iter(names), str(id_)) for id_, names in told.items()}

    def external_ids(self, model: str, ids: Sequence[int]) -> dict[int, list[str]]:
        """All external ids of records, ours and others', as `module.name`."""
        told = self._client.rows(model, "get_metadata", ids=ids) if ids else []
        if told and "xmlids" not in told[0]:
            # Older versions tell one external id a call, whatever they are asked for (seen in 14).
            told = [row for id_ in ids for row in self._client.rows(model, "get_metadata", ids=[id_])]
        return {
            int(row["id"]): [one["xmlid"] for one in row.get("xmlids") or [{"xmlid": row["xmlid"]}] if one["xmlid"]]
            for row in told
        }

    def _tag(self, model: str, name: str) -> int:
        with self._lock:
            known = {text.casefold(): id_ for id_, text in self._names(model).items()}
            if name.casefold() not in known:
                known = {text.casefold(): id_ for id_, text in self._names(model, anew=True).items()}
            if name.casefold() not in known:
                made = self._client.write(model, "create", vals_list=[{"name": name}])
                self._names(model, anew=True)
                return int(made[0])
            return known[name.casefold()]

    def _path(self, told: Mapping[str, Row], path: str) -> FieldInfo | None:
        via, _, rest = path.partition(".")
        model = str(told.get(via, {}).get("relation") or "")
        field = self._fields(model).get(rest) if model else None
        info = _info(path, field, required=False, fixed=False) if field else None
        return replace(info, createable=False, updateable=False) if info else None

    def _fields(self, model: str) -> Mapping[str, Row]:
        found: Mapping[str, Row] = self._cached(model, "fields", lambda: self._ask_fields(model))
        return found

    def _ask_fields(self, model: str) -> Mapping[str, Row]:
        try:
            told = self._client.read(model, "fields_get", attributes=ATTRIBUTES).body
        except (SchemaDrift, Rejected) as error:
            # JSON-2 says that it is not found, JSON-RPC that the user is wrong to ask.
            way_out = "Install the app that brings it, or correct the mapping."
            raise SchemaDrift(SYSTEM, error.code, f"there is no model {model}.", way_out) from None
        if not isinstance(told, dict) or not all(isinstance(one, dict) and "type" in one for one in told.values()):
            raise SchemaDrift(SYSTEM, "fields_get", f"the description of {model} is not readable.")
        return told

    def _may(self, model: str, right: str) -> bool:
        # Renamed in 18; the old name is gone in 19's JSON-2.
        if self._client.version >= 18:
            return bool(self._client.read(model, "has_access", ids=[], operation=right).body)
        told = self._client.read(model, "check_access_rights", operation=right, raise_exception=False)
        return bool(told.body)

    def _ask_users(self) -> tuple[User, ...]:
        fields = ["login", "email", "name", "active", "partner_id"]
        rows = self._client.rows("res.users", "search_read", domain=[["share", "=", False]], fields=fields, order="id")
        return tuple(_user(row) for row in rows)

    def _cached(self, model: str, what: str, ask: Callable[[], Any], *, anew: bool = False) -> Any:
        with self._lock:
            known = self._known.get((model, what))
            if known is None or anew or self._clock() - known[0] > FRESH:
                known = self._known[model, what] = (self._clock(), ask())
                self.asked += 1
            return known[1]


def _user(row: Row) -> User:
    login = str(row["login"] or "")
    email = str(row["email"] or (login if "@" in login else "")).lower()
    contact = str(row["partner_id"][0]) if row["partner_id"] else ""
    return User(str(row["id"]), email, str(row["name"] or ""), bool(row["active"]), contact)


def _info(name: str, told: Row, *, required: bool, fixed: bool) -> FieldInfo:
    own = told["type"] not in ("one2many", "binary") and (name == "message_id" or not told.get("readonly"))
    choices = tuple(str(choice[0]) for choice in told.get("selection") or ())
    return FieldInfo(
        name,
        TYPES.get(str(told["type"]), "any"),
        int(told.get("size") or 0),
        required=required,
        createable=own,
        updateable=own and not fixed,
        external_id=name == "message_id",
        unique=name == "message_id",
        case_sensitive=name == "message_id",
        choices=choices,
        restricted=bool(choices),
    )


def _ours(model: str) -> tuple[FieldInfo, ...]:
    """The fields that are ours alone. `message_id` is made unique by the adapter, external ids are by the database."""
    if model == MESSAGE:
        return (
            FieldInfo(
                AUTHOR_TYPE,
                "choice",
                createable=False,
                updateable=False,
                choices=("bot", "user", "other"),
                restricted=True,
            ),
        )
    key = FieldInfo(EXTERNAL_ID, "text", updateable=False, external_id=True, unique=True, case_sensitive=True)
    return (key, FieldInfo(DONE, "boolean")) if model == ACTIVITY else (key,)
