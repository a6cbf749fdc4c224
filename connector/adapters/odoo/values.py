"""Odoo's values and ours: what a record's fields show, and what a write puts there. Pure.

Ours: None for empty, times as `2026-01-02T03:04:05Z`, the id of a linked record as text, tags as sorted names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from connector.adapters.odoo.errors import SYSTEM
from connector.errors import Rejected
from connector.model import Value

EXTERNAL_ID: Final = "external_id"
"""Our name for a record's external id of this connector: a row of `ir.model.data`, which is unique, and no column."""
AUTHOR_TYPE: Final = "author_type"
"""Our name for who made a message: `bot` (the connector), `user` (somebody who works in Odoo), `other`."""
DONE: Final = "done"
"""Our name for a finished activity: archived in newer versions, deleted in older ones."""
MODULE: Final = "social_crm_connector"
"""The module part of our external ids. No app has this name, so no upgrade of an app deletes our records."""
MESSAGE: Final = "mail.message"
SUBTYPE: Final = "mail.message.subtype"
ACTIVITY: Final = "mail.activity"


@dataclass(frozen=True, slots=True)
class FieldType:
    """One field as `fields_get` tells it: Odoo's own type, and the model it points at."""

    name: str
    type: str
    relation: str = ""


def external_name(key: str) -> str:
    """The name part of an external id: Odoo refuses blanks in it."""
    return quote(key, safe=":@+-_.~")


def external_key(complete: str) -> str | None:
    """Our key of `module.name`, None for the ids that others gave."""
    module, _, name = complete.partition(".")
    return unquote(name) if module == MODULE else None


def shown(field: FieldType, value: Any, names: Callable[[str, int], str | None]) -> Value:
    """A value as a read answers it. `names` tells the name of a tag or the external id of a subtype."""
    match field.type:
        case "boolean":
            return bool(value)
        case "integer" if field.name == "id":
            return str(value)
        case "integer" | "float" | "monetary":
            return value
        case "many2one":
            if not value:
                return None
            return names(SUBTYPE, value[0]) or str(value[0]) if field.relation == SUBTYPE else str(value[0])
        case "many2one_reference":
            return str(value) if value else None
        case "many2many":
            return sorted(filter(None, (names(field.relation, one) for one in value or ())))
        case "datetime":
            return f"{value.replace(' ', 'T')}Z" if value else None
        case _:
            return value or None


def stored(field: FieldType | None, value: Value, ids: Callable[[str, Value], Any]) -> Any:
    """A value for `create` and `write`. `ids` answers the record ids of tag names and of external ids (`mail.mt_note`).

    A field that the model does not have is passed on, so that Odoo itself refuses it.
    """
    kind = field.type if field else ""
    if kind == "boolean":
        return bool(value)
    if value is None:
        return [[6, 0, []]] if kind == "many2many" else False
    match kind:
        case "integer":
            return _whole(field, value)
        case "many2one" | "many2one_reference":
            return ids(field.relation if field else "", value)
        case "many2many":
            return [[6, 0, ids(field.relation if field else "", value)]]
        case "datetime":
            return plain_time(str(value))
        case _:
            return value


def cell(field: FieldType | None, name: str, value: Value, ids: Callable[[str, Value], Any]) -> tuple[str, str]:
    """Column and cell for `load`, which takes text alone; an empty cell empties the field. A link given by external id is
    left to Odoo, which looks it up with more rights than we have (`base.model_res_partner`)."""
    if field and field.type == "many2one" and value is not None and not is_number(value):
        return f"{name}/id", str(value)
    given = stored(field, value, ids)
    kind = field.type if field else ""
    if kind == "boolean":
        return name, "1" if given else "0"
    if kind == "many2many":
        return f"{name}/.id", ",".join(map(str, given[0][2]))
    column = f"{name}/.id" if kind == "many2one" else name
    return column, "" if given is False else str(given)


def _whole(field: FieldType | None, value: Value) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        name = field.name if field else "the field"
        text = f"{name} takes whole numbers, not {value!r}."
        raise Rejected(SYSTEM, "value", text, "Fix the value, or its line in the mapping.", fields=(name,)) from None


def plain_time(text: str) -> str:
    """The only form that Odoo takes everywhere: `2026-01-02 03:04:05`, UTC."""
    return text.replace("T", " ").removesuffix("Z")


def is_number(value: Value) -> bool:
    """Whether a value can be a record's number: PostgreSQL refuses a whole search for one that is larger."""
    text = str(value)
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 31


Types = Mapping[str, FieldType]
