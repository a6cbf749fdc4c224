"""What each object derives and refuses on save, beyond the flags of its fields."""

from collections.abc import Callable

from connector.sandbox.salesforce.errors import Problem, Refused, refuse
from connector.sandbox.salesforce.org import Caller, Org
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.store import Row
from connector.sandbox.salesforce.values import show_datetime


def derive(org: Org, sobject: SObject, new: Row, old: Row | None, number: int) -> None:
    """Fill the fields that the org computes. `number` counts the object's records, for auto-numbers."""
    if sobject.name in _DERIVE:
        _DERIVE[sobject.name](org, new, old)
    for field in sobject.fields.values():
        if field.auto_number and old is None:
            width = field.auto_number.count("0")
            prefix = field.auto_number.partition("{")[0]
            new[field.name] = f"{prefix}{number:0{width}d}"
    if sobject.custom and not new.get("Name"):
        new["Name"] = new["Id"]


def _person(org: Org, new: Row, old: Row | None) -> None:
    new["Name"] = " ".join(filter(None, (new.get("FirstName"), new.get("LastName"))))


def _task(org: Org, new: Row, old: Row | None) -> None:
    statuses = org.store.tables["TaskStatus"].rows.values()
    closed = {row["MasterLabel"] for row in statuses if row.get("IsClosed")}
    priorities = org.store.tables["TaskPriority"].rows.values()
    high = {row["MasterLabel"] for row in priorities if row.get("IsHighPriority")}
    new["IsClosed"] = new.get("Status") in closed
    new["IsHighPriority"] = new.get("Priority") in high
    # Saving a closed task again with the same status keeps the time of its completion.
    if not new["IsClosed"]:
        new.pop("CompletedDateTime", None)
    elif old is None or old.get("Status") != new.get("Status"):
        new["CompletedDateTime"] = show_datetime(org.now())
    who, what = (org.row(new.get(name) or "") or {} for name in ("WhoId", "WhatId"))
    account = new["WhatId"] if str(new.get("WhatId")).startswith("001") else what.get("AccountId")
    _set(new, "AccountId", account or who.get("AccountId"))


def _case(org: Org, new: Row, old: Row | None) -> None:
    new["IsClosed"] = new.get("Status") == "Closed"
    if not new["IsClosed"]:
        new.pop("ClosedDate", None)
    elif not (old or {}).get("IsClosed"):
        new["ClosedDate"] = show_datetime(org.now())
    if not new.get("AccountId"):
        _set(new, "AccountId", (org.row(new.get("ContactId") or "") or {}).get("AccountId"))


def _opportunity(org: Org, new: Row, old: Row | None) -> None:
    new["IsWon"] = new.get("StageName") == "Closed Won"
    new["IsClosed"] = new["IsWon"] or new.get("StageName") == "Closed Lost"


def _set(row: Row, name: str, value: object) -> None:
    if value is None:
        row.pop(name, None)
    else:
        row[name] = value


_DERIVE: dict[str, Callable[[Org, Row, Row | None], None]] = {
    "Contact": _person,
    "Lead": _person,
    "User": _person,
    "Task": _task,
    "Case": _case,
    "Opportunity": _opportunity,
}


def check(org: Org, caller: Caller, sobject: SObject, new: Row, old: Row | None) -> None:
    """Refuse what the object's own rules forbid. Raises Refused with every problem found."""
    if sobject.name == "Lead" and old and old.get("IsConverted"):
        raise refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    problems = [
        problem
        for field in sobject.fields.values()
        if field.type == "reference" and field.createable and new.get(field.name) != (old or {}).get(field.name)
        for problem in _reference(org, caller, sobject, field, new.get(field.name))
    ]
    if sobject.name in ("Task", "Event") and str(new.get("WhoId")).startswith("00Q") and new.get("WhatId"):
        problems.append(
            Problem(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Related To ID: the related record's type does not allow it when Name is a lead: {new['WhatId']}",
                ("WhatId",),
            )
        )
    if problems:
        raise Refused(problems)
    _unique(org, caller, sobject, new, old)
    if sobject.name in ("Contact", "Lead") and new.get("Email") != (old or {}).get("Email"):
        _duplicate_rule(org, caller, sobject, new)


def _reference(org: Org, caller: Caller, sobject: SObject, field: Field, value: str | None) -> list[Problem]:
    if value is None:
        return []
    target = org.schema.by_prefix(value[:3])
    label = {"WhoId": "Name ID", "WhatId": "Related To ID", "OwnerId": "Owner ID"}.get(field.name, field.label)
    if target is None:
        return [Problem("MALFORMED_ID", f"{label}: id value of incorrect type: {value}", (field.name,))]
    queue_too_early = target.name == "Group" and sobject.name == "Task" and caller.version < 48
    if target.name not in field.refers_to or queue_too_early:
        code = "INVALID_OWNER" if field.name == "OwnerId" else "FIELD_INTEGRITY_EXCEPTION"
        return [Problem(code, f"{label}: id value of incorrect type: {value}", (field.name,))]
    row = org.store.tables[target.name].rows.get(value)
    if row is None:
        return [Problem("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (field.name,))]
    if row.get("IsDeleted"):
        return [Problem("ENTITY_IS_DELETED", "entity is deleted", (field.name,))]
    if not org.sees(caller, row):
        code = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
        return [Problem(code, "insufficient access rights on cross-reference id", (field.name,))]
    if field.name == "WhoId" and row.get("IsConverted"):
        return [Problem("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", (field.name,))]
    if field.name == "OwnerId" and target.name == "User" and not row.get("IsActive"):
        message = f"operation performed with inactive user [{value}] as owner of {sobject.name.lower()}"
        return [Problem("INACTIVE_OWNER_OR_USER", message)]
    return []


def _unique(org: Org, caller: Caller, sobject: SObject, new: Row, old: Row | None) -> None:
    table = org.store.tables[sobject.name]
    for field in table.indexed.values():
        value = new.get(field.name)
        if not field.unique or value is None or value == (old or {}).get(field.name):
            continue
        for other in table.live(field.name, value):
            if other["Id"] != new["Id"]:
                shown = other["Id"][:15] if org.sees(caller, other) else "<unknown>"
                message = f"duplicate value found: {field.name} duplicates value on record with id: {shown}"
                raise refuse("DUPLICATE_VALUE", message)


def _duplicate_rule(org: Org, caller: Caller, sobject: SObject, new: Row) -> None:
    rule = org.settings.duplicate_rule
    if rule == "off" or new.get("Email") is None or (rule == "alert" and caller.allow_save):
        return
    matches = [r for r in org.store.tables[sobject.name].live("Email", new["Email"]) if r["Id"] != new["Id"]]
    if matches:
        found = [
            {"matchConfidence": 100.0, "record": {"attributes": {"type": sobject.name}, "Id": r["Id"]}} for r in matches
        ]
        result = {
            "allowSave": rule == "alert",
            "duplicateRule": f"Standard_{sobject.name}_Duplicate_Rule",
            "duplicateRuleEntityType": sobject.name,
            "errorMessage": "You're creating a duplicate record. Use an existing record instead.",
            "matchResults": [{"entityType": sobject.name, "errors": [], "matchRecords": found, "size": len(found)}],
        }
        raise Refused([Problem("DUPLICATES_DETECTED", "Use one of these records?", (), (("duplicateResult", result),))])
