"""A Salesforce record as an `Observed`. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from connector.adapters.base import ObjectRead
from connector.adapters.salesforce.ids import SYSTEM, id18
from connector.adapters.salesforce.soql import OPEN_CASES
from connector.model import Fields, Kind, Life, Observed, Ref, Value, digest

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:\+0000|\+00:00|Z)", re.ASCII)


def ref(object_: str, id_: str) -> Ref:
    return Ref(SYSTEM, object_, id18(id_))


def plain(value: Value) -> Value:
    """A value as JSON answers hold it, times (`2026-01-02T03:04:05.000+0000`) as `2026-01-02T03:04:05Z`."""
    if isinstance(value, str) and (time := _TIME.fullmatch(value)):
        return f"{time[1]}Z"
    return value


def moment(value: Value) -> datetime | None:
    """The UTC time of a record's time field, None where there is none."""
    return datetime.fromisoformat(str(plain(value))) if value else None


def at(record: Mapping[str, Any], path: str) -> Value:
    """The value at `Owner.Name`; None when a relationship on the way is empty. Raises KeyError when it was not answered."""
    value: Any = record
    for name in path.split("."):
        if value is None:
            return None
        value = value[name]
    return plain(value)


def observed(
    object_: str,
    read: ObjectRead,
    record: Mapping[str, Any],
    *,
    user: str,
    parent: Ref | None = None,
    open_cases: int | None = None,
) -> Observed:
    """What one row says. `user` is the connector's own user id; `open_cases` the count where the mapping wants it.

    The version is the SystemModstamp. Values that live elsewhere (a parent's field, the count of cases) change without
    moving it, so where there are any, their digest is part of the version.
    """
    wanted = (*read.fields, *(("CreatedDate", "CreatedById") if read.kind is Kind.REPLY else ()))
    fields: dict[str, Value] = {name: at(record, name) for name in wanted if name != OPEN_CASES or object_ != "Contact"}
    for name in filter(None, (read.key, read.parent)):
        fields.setdefault(name, at(record, name))
    if open_cases is not None:
        fields[OPEN_CASES] = open_cases
    life, into = _life(object_, record)
    by = record["LastModifiedById"]
    return Observed(
        ref(object_, record["Id"]),
        read.kind,
        fields,
        version=_version(object_, record, fields),
        changed_at=moment(record["LastModifiedDate"]),
        by=by,
        ours=by is not None and id18(by) == user,
        parent=parent,
        life=life,
        merged_into=into,
    )


def _version(object_: str, record: Mapping[str, Any], fields: Fields) -> str:
    version = str(plain(record["SystemModstamp"]))
    elsewhere = {
        name: value for name, value in fields.items() if "." in name or (name == OPEN_CASES and object_ == "Contact")
    }
    return f"{version}~{digest(elsewhere)}" if elsewhere else version


def _life(object_: str, record: Mapping[str, Any]) -> tuple[Life, Ref | None]:
    if record.get("MasterRecordId"):
        return Life.MERGED, ref(object_, record["MasterRecordId"])
    if record.get("ConvertedContactId"):
        return Life.MERGED, ref("Contact", record["ConvertedContactId"])
    return (Life.GONE if record["IsDeleted"] or record.get("IsConverted") else Life.LIVE), None
