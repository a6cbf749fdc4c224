"""What people do in the org's own pages: merge, convert, undelete, purge, seed. No REST resource does these."""

from datetime import timedelta
from typing import Any

from connector.sandbox.salesforce import dml, ids, rules
from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.org import Caller, Org
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.store import Row
from connector.sandbox.salesforce.values import normalise, show_datetime

BIN_LIFE = timedelta(days=15)  # "Recycle Bin", Salesforce Help


def seed(org: Org, sobject: SObject, records: list[Any]) -> list[str]:
    """Create records as an admin, who may also set dates of creation and fields others cannot. Raises Refused."""
    return [_seed_one(org, sobject, record) for record in records]


def _seed_one(org: Org, sobject: SObject, record: Any) -> str:
    if not isinstance(record, dict):
        raise refuse("JSON_PARSER_ERROR", "each record must be a JSON object")
    forced: Row = {}
    data: dict[str, Any] = {}
    for name, value in record.items():
        field = sobject.get(name)
        if field is not None and field.name == "Id":
            raise refuse("INVALID_FIELD_FOR_INSERT_UPDATE", "the org gives the Id of a new record itself", "Id")
        if field is not None and (sobject.setup or not field.createable) and value is not None:
            forced[field.name] = normalise(field, value)
        else:
            data[name] = value
    if sobject.setup:
        return _seed_setup(org, sobject, forced, data)
    key = dml.save(org, org.admin, dml.prepare(org, sobject, data, None))
    if forced:
        table = org.store.tables[sobject.name]
        org.store.put(table, key, table.rows[key] | forced, visible_at=org.visible_at(org.admin))
    return key


def _seed_setup(org: Org, sobject: SObject, values: Row, unknown: dict[str, Any]) -> str:
    """Users, queues and status values: a user with a known Username is changed instead of made twice."""
    if any(value is not None for value in unknown.values()):
        raise refuse("INVALID_FIELD", f"No such column '{next(iter(unknown))}' on sobject of type {sobject.name}")
    table = org.store.tables[sobject.name]
    existing = table.live("Username", values["Username"]) if values.get("Username") else []
    old = existing[0] if existing else None
    defaults: Row = {"IsActive": True} if sobject.name == "User" else {}
    key = old["Id"] if old else org.store.new_id(sobject)[0]
    new = (old or defaults) | values | org.stamp(org.admin.user_id, created=old is None) | {"Id": key}
    missing = [f.name for f in sobject.fields.values() if f.required and new.get(f.name) is None]
    if missing:
        raise refuse("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", *missing)
    rules.derive(org, sobject, new, old, 0)
    org.store.put(table, key, new)
    return str(key)


def merge(org: Org, caller: Caller, sobject: SObject, winner: str, losers: list[str]) -> None:
    """Losers go to the bin pointing at the winner; what hung on them moves over without a new stamp. Raises Refused.

    The platform re-parents children without triggers ("merge()", SOAP API guide). Whether their SystemModstamp
    moves is not documented, so the sandbox takes the worst case for a reader: it does not.
    """
    if sobject.name not in ("Account", "Contact", "Lead"):
        raise refuse("INVALID_TYPE", f"{sobject.name} records cannot be merged")
    if not 1 <= len(losers) <= 2:
        raise refuse("INVALID_INPUT", "a merge takes one or two losers")
    kept = dml.live_row(org, sobject, winner)
    gone = [dml.live_row(org, sobject, loser) for loser in losers]
    if kept["Id"] in {row["Id"] for row in gone}:
        raise refuse("INVALID_INPUT", "the winner cannot be a loser")
    table = org.store.tables[sobject.name]
    visible_at = org.visible_at(caller)
    for row in gone:
        _move_children(org, sobject, row["Id"], kept["Id"], visible_at)
        lost = row | {"IsDeleted": True, "MasterRecordId": kept["Id"]} | org.stamp(caller.user_id)
        org.store.put(table, row["Id"], lost, visible_at=visible_at)
        org.stats.wrote(sobject.name, "merged")
    org.store.put(table, kept["Id"], kept | org.stamp(caller.user_id), visible_at=visible_at)


def _move_children(org: Org, sobject: SObject, source: str, target: str, visible_at: float | None) -> None:
    for child, field in org.schema.references_to(sobject.name):
        # Where a lead was converted to, and what a loser was merged into, is history and keeps naming the loser.
        if not field.indexed or field.name == "MasterRecordId" or field.name.startswith("Converted"):
            continue
        table = org.store.tables[child.name]
        for row in table.find(field.name, source):
            org.store.put(table, row["Id"], row | {field.name: target}, visible_at=visible_at)


def convert(org: Org, caller: Caller, lead_id: str, account: str | None, contact: str | None) -> dict[str, str]:
    """Turn a lead into a contact of an account, new ones unless named; its activities move. Raises Refused."""
    leads = org.schema["Lead"]
    lead = dml.live_row(org, leads, lead_id)
    if lead.get("IsConverted"):
        raise refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")

    def make(name: str, data: Row) -> str:
        return dml.save(org, caller, dml.prepare(org, org.schema[name], data, None))

    account_id = ids.normalise(account) if account else make("Account", {"Name": lead["Company"]})
    names = ("FirstName", "LastName", "Email", "Phone", "MobilePhone", "Title", "Description", "LeadSource")
    person = {name: lead[name] for name in names if name in lead} | {"AccountId": account_id}
    contact_id = ids.normalise(contact) if contact else make("Contact", person)
    visible_at = org.visible_at(caller)
    for name in ("Task", "Event"):
        table = org.store.tables[name]
        for row in table.find("WhoId", lead["Id"]):
            moved = row | {"WhoId": contact_id, "AccountId": account_id}
            org.store.put(table, row["Id"], moved, visible_at=visible_at)
    done: Row = {
        "IsConverted": True,
        "ConvertedContactId": contact_id,
        "ConvertedAccountId": account_id,
        "ConvertedDate": org.now().date().isoformat(),
        "Status": "Closed - Converted",
    }
    org.store.put(org.store.tables["Lead"], lead["Id"], lead | done | org.stamp(caller.user_id), visible_at=visible_at)
    return {"lead": lead["Id"], "contact": contact_id, "account": account_id}


def undelete(org: Org, caller: Caller, key: str) -> None:
    """Take a record and what went with it out of the bin: same ids, new stamps. Raises Refused."""
    full = ids.normalise(key)
    table = org.store.table_of(full)
    row = table.rows.get(full) if table else None
    if table is None or row is None or not row.get("IsDeleted") or row.get("MasterRecordId"):
        raise refuse("UNDELETE_FAILED", f"Entity is not in the recycle bin: {full}")
    for field in table.indexed.values():
        if field.unique and row.get(field.name) is not None and table.live(field.name, row[field.name]):
            raise refuse("DUPLICATE_VALUE", f"duplicate value found: {field.name} duplicates value on another record")
    restored = {k: v for k, v in row.items() if not k.startswith("_")} | {"IsDeleted": False}
    org.store.put(table, full, restored | org.stamp(caller.user_id), visible_at=org.visible_at(caller))
    for child in row.get("_gone", []):
        undelete(org, caller, child)
    for child, name in row.get("_cleared", []):
        child_table = org.store.table_of(child)
        one = child_table.rows.get(child) if child_table else None
        if child_table is not None and one is not None and name not in one:
            stamp = {"SystemModstamp": show_datetime(org.now())}
            org.store.put(child_table, child, one | {name: full} | stamp, visible_at=org.visible_at(caller))


def purge(org: Org, *, everything: bool) -> int:
    """Remove for good what lies in the bin longer than its life, or all of it. Returns the number of rows."""
    limit = show_datetime(org.now() - BIN_LIFE)
    count = 0
    for table in org.store.tables.values():
        old = [k for k, row in table.rows.items() if row.get("IsDeleted")]
        for key in old:
            if everything or table.rows[key]["SystemModstamp"] < limit:
                org.store.put(table, key, None)
                count += 1
    if count:
        org.store.set_state("purged_until", show_datetime(org.now()) if everything else limit)
    return count


def touch(org: Org, keys: list[str]) -> None:
    """What a background process does: SystemModstamp moves and LastModifiedDate does not. Raises Refused."""
    for key in keys:
        full = ids.normalise(key)
        table = org.store.table_of(full)
        if table is None or full not in table.rows:
            raise refuse("NOT_FOUND", f"no record {full}")
        stamp = {"SystemModstamp": show_datetime(org.now())}
        org.store.put(table, full, table.rows[full] | stamp, visible_at=org.visible_at(org.admin))
