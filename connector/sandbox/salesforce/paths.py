"""Field paths of a query (Owner.Name, Contact__r.Email, Who.Type): looked up in the schema once, read from each row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.soql import Path
from connector.sandbox.salesforce.store import Row

_TYPE = Field(name="Type", type="picklist", length=40)
# A reference to several objects offers the fields of the Name object only ("Name", Object Reference).
_NAME_FIELDS = {
    f.name.lower(): f
    for f in (
        Field(name="Id", type="id", length=18),
        _TYPE,
        *(Field(name=n, type="string", length=255) for n in ("Name", "FirstName", "LastName", "Title", "Username")),
        Field(name="Email", type="email", length=80),
        Field(name="Phone", type="phone", length=40),
        Field(name="IsActive", type="boolean", default=False),
    )
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A path that exists: canonical names, the field at its end, and how to read it from a row."""

    names: Path
    field: Field
    read: Callable[[Row], Any]


def value_of(row: Row, field: Field) -> Any:
    """The value shown for a field: null when there is none, but a checkbox is always true or false."""
    return row.get(field.name, False if field.type == "boolean" else None)


def resolve(org: Org, sobject: SObject, path: Path) -> Resolved:
    """Look a path up. Raises Refused(INVALID_FIELD) for a field or relationship the caller cannot see."""
    if len(path) > 6:
        raise refuse("INVALID_FIELD", f"{'.'.join(path)}: only 5 levels of parents are allowed")
    if len(path) > 1 and path[0].lower() == sobject.name.lower():
        path = path[1:]
    if len(path) == 1:
        field = org.field(sobject, path[0])
        if field is None:
            message = (
                f"No such column '{path[0]}' on entity '{sobject.name}'. If you are attempting to use a custom field"
            )
            raise refuse("INVALID_FIELD", f"{message}, be sure to append the '__c' after the custom field name.")
        return Resolved((field.name,), field, lambda row, f=field: value_of(row, f))  # type: ignore[misc]
    reference = sobject.by_relationship(path[0])
    if reference is None or org.field(sobject, reference.name) is None:
        message = f"Didn't understand relationship '{path[0]}' in field path."
        raise refuse("INVALID_FIELD", f"{message} If it is a custom relationship, append '__r' to its name.")
    if reference.polymorphic:
        return _resolve_name(org, reference, path)
    target = org.schema[reference.refers_to[0]]
    inner = resolve(org, target, path[1:])

    def read(row: Row) -> Any:
        parent = org.row(row.get(reference.name) or "")
        return inner.read(parent) if parent else None

    return Resolved((str(reference.relationship), *inner.names), inner.field, read)


def _resolve_name(org: Org, reference: Field, path: Path) -> Resolved:
    field = _NAME_FIELDS.get(path[1].lower())
    if field is None or len(path) > 2:
        raise refuse("INVALID_FIELD", f"No such column '{'.'.join(path[1:])}' on entity 'Name'.")

    def read(row: Row) -> Any:
        parent = org.row(row.get(reference.name) or "")
        if parent is None:
            return None
        if field is _TYPE:
            target = org.schema.by_prefix(parent["Id"][:3])
            return target.name if target else None
        return value_of(parent, field)

    return Resolved((str(reference.relationship), field.name), field, read)
