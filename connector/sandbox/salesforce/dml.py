"""Writing rows: a request's values are prepared (read, resolved, judged field by field), then saved by the rules."""

from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce import ids, rules
from connector.sandbox.salesforce.errors import Problem, Refused, refuse
from connector.sandbox.salesforce.org import Caller, Org
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.store import Row
from connector.sandbox.salesforce.values import normalise


@dataclass(frozen=True, slots=True)
class Prepared:
    """A write that passed the checks of its fields: values to set (None clears), and the record it updates, if any."""

    sobject: SObject
    values: Row
    record: str | None


class ChunkFailed(Exception):
    """A trigger failed for its whole chunk: no row of the request may be written."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


def prepare(org: Org, sobject: SObject, data: Any, record: str | None) -> Prepared:
    """Check and read the values of one record; `record` is the id to update, None to create. Raises Refused."""
    if not isinstance(data, dict):
        raise refuse("JSON_PARSER_ERROR", "The request body must be a JSON object")
    if sobject.setup:
        raise refuse("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be written: {sobject.name}")
    problems: list[Problem] = []
    read_only: list[str] = []
    values: Row = {}
    for key, value in data.items():
        if key.lower() == "attributes":
            continue
        try:
            field = org.field(sobject, key)
            if field is None:
                parent = sobject.by_relationship(key)
                if parent is None or not (value is None or isinstance(value, dict)):
                    raise refuse("INVALID_FIELD", f"No such column '{key}' on sobject of type {sobject.name}")
                values[parent.name] = _resolve_parent(org, sobject, parent, value)
            elif not (field.updateable if record else field.createable):
                read_only.append(field.name)
            else:
                values[field.name] = normalise(field, value)
        except Refused as refused:
            problems.extend(refused.problems)
    if read_only:
        message = (
            f"Unable to create/update fields: {', '.join(read_only)}. Please check the security settings of this field "
            "and verify that it is read/write for your profile or permission set."
        )
        problems.append(Problem("INVALID_FIELD_FOR_INSERT_UPDATE", message, tuple(read_only)))
    if problems:
        raise Refused(problems)
    return Prepared(sobject, values, record)


def _resolve_parent(org: Org, sobject: SObject, field: Field, value: dict[str, Any] | None) -> str | None:
    """The id of the parent that an external id names. A parent not saved yet is not found."""
    if value is None:
        return None
    marks = value.get("attributes")
    kind = marks.get("type") if isinstance(marks, dict) and isinstance(marks.get("type"), str) else None
    keys = [k for k in value if k.lower() != "attributes"]
    if len(keys) != 1 or (field.polymorphic and kind is None):
        raise refuse("INVALID_FIELD", f"{field.relationship}: give one external id, and the type where several fit")
    target = org.schema.get(kind or field.refers_to[0])
    if target is None or target.name not in field.refers_to:
        raise refuse("INVALID_FIELD", f"{field.relationship}: {kind} does not fit the field {field.name}")
    key = org.field(target, keys[0])
    if key is None or not (key.external_id or key.name == "Id"):
        raise refuse("INVALID_FIELD", f"No such external id '{keys[0]}' on sobject of type {target.name}")
    matches = _matches(org, target, key, value[keys[0]])
    if not matches:
        raise refuse(
            "INVALID_FIELD",
            f"Foreign key external ID: {value[keys[0]]} not found for field {key.name} in entity {target.name}",
        )
    if len(matches) > 1:
        raise refuse("DUPLICATE_EXTERNAL_ID", f"{key.name}: more than one record found for external id field")
    return str(matches[0]["Id"])


def _matches(org: Org, sobject: SObject, key: Field, value: Any) -> list[Row]:
    wanted = normalise(key, value)
    if wanted is None:
        return []
    table = org.store.tables[sobject.name]
    if key.name == "Id":
        row = table.rows.get(wanted)
        return [row] if row and not row.get("IsDeleted") else []
    return table.live(key.name, wanted)


def external_key(org: Org, sobject: SObject, name: str) -> Field:
    """The field an upsert may match by. Raises Refused when there is none or the caller may not use it."""
    key = org.field(sobject, name)
    if key is None or not (key.external_id or key.name == "Id"):
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise refuse("NOT_FOUND", message)
    if key.external_id and not key.unique and not org.settings.view_all_data:
        message = f"{key.name} is not unique: upsert by it needs the View All Data permission"
        raise refuse("INSUFFICIENT_ACCESS_OR_READONLY", message)
    return key


def match_key(org: Org, caller: Caller, sobject: SObject, key: Field, value: Any) -> list[Row]:
    """Live records the caller sees that carry this key value. Raises Refused for a missing or wrong value."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise refuse("MISSING_ARGUMENT", f"{key.name} not specified", key.name)
    return [row for row in _matches(org, sobject, key, value) if org.sees(caller, row)]


def save(org: Org, caller: Caller, prepared: Prepared) -> str:
    """Write a prepared record and return its id. Raises Refused, and nothing of it is written."""
    sobject = prepared.sobject
    table = org.store.tables[sobject.name]
    old = live_row(org, sobject, prepared.record) if prepared.record else None
    _org_accepts_writes(org, creating=old is None)
    fault = org.faults.take_row(sobject.name, (old or {}) | prepared.values)
    if fault:
        refused = Refused([Problem(fault.code, fault.message, fault.fields)])
        raise ChunkFailed(refused) if fault.whole else refused
    if old is None:
        key, number = org.store.new_id(sobject)
        defaults = {f.name: f.default for f in sobject.fields.values() if f.default is not None}
        new: Row = {**defaults, "Id": key, "IsDeleted": False}
        if "ownerid" in sobject.fields:
            new["OwnerId"] = caller.user_id
        given = {k: v for k, v in prepared.values.items() if v is not None}
        if org.settings.assignment_owner and caller.auto_assign and sobject.name in ("Lead", "Case"):
            given["OwnerId"] = org.settings.assignment_owner
    else:
        key, number, new, given = old["Id"], 0, dict(old), prepared.values
    new |= given | org.settings.automation.get(sobject.name, {})
    new = {k: v for k, v in new.items() if v is not None}
    missing = [f.name for f in sobject.fields.values() if _lacks(f, new, updating=old is not None)]
    if missing:
        message = f"Required fields are missing: [{', '.join(missing)}]"
        raise refuse("REQUIRED_FIELD_MISSING", message, *missing)
    rules.derive(org, sobject, new, old, number)
    rules.check(org, caller, sobject, new, old)
    new |= org.stamp(caller.user_id, created=old is None)
    org.store.put(table, key, new, visible_at=org.visible_at(caller))
    org.stats.wrote(sobject.name, "updated" if old else "inserted")
    return str(key)


def _lacks(field: Field, row: Row, *, updating: bool) -> bool:
    needed = field.required or (updating and field.createable and not field.nillable)
    return needed and row.get(field.name) is None


def _org_accepts_writes(org: Org, *, creating: bool) -> None:
    if org.settings.read_only:
        code = "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"
        raise refuse(code, "The organization is in read-only mode during maintenance")
    if org.settings.storage_full and creating:
        raise refuse("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded")


def live_row(org: Org, sobject: SObject, key: str) -> Row:
    """The record with this id. Raises Refused(NOT_FOUND or ENTITY_IS_DELETED)."""
    row = org.store.tables[sobject.name].rows.get(ids.normalise(key))
    if row is None:
        raise refuse("NOT_FOUND", "The requested resource does not exist")
    if row.get("IsDeleted"):
        raise refuse("ENTITY_IS_DELETED", "entity is deleted")
    return row


def delete(org: Org, caller: Caller, sobject: SObject, key: str) -> None:
    """Put the record into the recycle bin, its activities with it, and clear what looks up to it. Raises Refused."""
    row = live_row(org, sobject, key)
    _org_accepts_writes(org, creating=False)
    fault = org.faults.take_row(sobject.name, row)
    if fault:
        raise Refused([Problem(fault.code, fault.message, fault.fields)])
    visible_at = org.visible_at(caller)
    gone: list[str] = []
    cleared: list[tuple[str, str]] = []
    for child, field in org.schema.references_to(sobject.name):
        for one in org.store.tables[child.name].live(field.name, row["Id"]) if field.indexed else ():
            if field.name in ("WhoId", "WhatId") or (child.name, sobject.name) == ("Contact", "Account"):
                gone.append(one["Id"])
            elif field.custom:
                cleared.append((one["Id"], field.name))
                kept = {k: v for k, v in one.items() if k != field.name}
                table = org.store.tables[child.name]
                stamp = {"SystemModstamp": org.stamp(caller.user_id)["SystemModstamp"]}
                org.store.put(table, one["Id"], kept | stamp, visible_at=visible_at)
    for one_id in gone:
        table_of = org.store.table_of(one_id)
        if table_of is not None and not table_of.rows[one_id].get("IsDeleted"):
            delete(org, caller, table_of.sobject, one_id)
    deleted = row | {"IsDeleted": True, "_gone": gone, "_cleared": cleared} | org.stamp(caller.user_id)
    org.store.put(org.store.tables[sobject.name], row["Id"], deleted, visible_at=visible_at)
    org.stats.wrote(sobject.name, "deleted")
