"""What Salesforce's error codes mean to the connector: which error of the tree, and what a person does about it.

The code decides, the HTTP status only where there is no code (Salesforce REST API Developer Guide, "Status Codes and
Error Responses"; SOAP API Developer Guide, "API Fault Elements" and "Status Codes"). Messages may quote customers' values:
they are shown to the admin in a hold and never logged.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from connector.adapters.salesforce.ids import SYSTEM, id18
from connector.errors import (
    AllowanceSpent,
    AuthError,
    RecordGone,
    Rejected,
    RemoteError,
    SchemaDrift,
    Transient,
    Unreadable,
)
from connector.model import Ref

Meaning: TypeAlias = tuple[type[RemoteError], str]

_MAPPING = "Fix the value, or its line in the mapping."
_ACCESS = "Give the integration user's permission set access to it."
_DRIFT = "Deploy the field, give the integration user access to it, or correct the mapping."
_AUTOMATION = "A rule, trigger or flow of the org refused the record: fix the record or the rule."
_ORG = "Ask the Salesforce administrator: the org refuses this program."
_DEFECT = "The request does not fit the API version: check `api_version` and report a defect of the connector."
POINTER = "The record it points at was deleted, merged or hidden: settle that record first, then try again."

MEANINGS: Mapping[str, Meaning] = {
    **dict.fromkeys(
        ("UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION", "QUERY_TIMEOUT", "OPERATION_TOO_LARGE",
         "INVALID_QUERY_LOCATOR", "ALL_OR_NONE_OPERATION_ROLLED_BACK", "PROCESSING_HALTED"),
        (Transient, ""),
    ),
    "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE": (Transient, "The org is under maintenance."),
    "STORAGE_LIMIT_EXCEEDED": (AllowanceSpent, "The org's data storage is full: free space or buy more."),
    **dict.fromkeys(
        ("INVALID_SESSION_ID", "INVALID_AUTH_HEADER"),
        (AuthError, "The org refuses the session: check the app's session policies and IP restrictions."),
    ),
    **dict.fromkeys(
        ("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED", "ORG_LOCKED", "TRIAL_EXPIRED",
         "CLIENT_NOT_ACCESSIBLE_FOR_USER", "TXN_SECURITY_METERING_ERROR", "TXN_SECURITY_RUNTIME_EXCEPTION",
         "TXN_SECURITY_NO_ACCESS"),
        (AuthError, _ORG),
    ),
    **dict.fromkeys(
        ("INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_TYPE", "FIELD_NOT_UPDATABLE"), (SchemaDrift, _DRIFT)
    ),
    **dict.fromkeys(
        ("REQUIRED_FIELD_MISSING", "STRING_TOO_LONG", "NUMBER_OUTSIDE_VALID_RANGE", "INVALID_EMAIL_ADDRESS",
         "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "INVALID_TYPE_ON_FIELD_IN_RECORD", "FIELD_INTEGRITY_EXCEPTION",
         "MAX_TASK_DESCRIPTION_EXCEEEDED", "JSON_PARSER_ERROR"),
        (Rejected, _MAPPING),
    ),
    **dict.fromkeys(
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "FIELD_FILTER_VALIDATION_EXCEPTION", "CANNOT_EXECUTE_FLOW_TRIGGER",
         "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        (Rejected, _AUTOMATION),
    ),
    "ENTITY_IS_LOCKED": (Rejected, "The record waits for an approval: finish it, then try again."),
    "DUPLICATE_VALUE": (Rejected, "Another record holds this unique value: link the record to that one, or correct it."),
    "DUPLICATE_EXTERNAL_ID": (Rejected, "Several records hold this key: keep one of them."),
    "DUPLICATES_DETECTED": (
        Rejected, "A duplicate rule found the same person: link to one of the records named, or change the rule."
    ),
    **dict.fromkeys(
        ("INVALID_CROSS_REFERENCE_KEY", "INVALID_CROSS_REFERENCE_TYPE_FOR_FIELD", "MALFORMED_ID"), (Rejected, POINTER)
    ),
    **dict.fromkeys(("INACTIVE_OWNER_OR_USER", "INVALID_OWNER"), (Rejected, "Choose an active owner in the mapping.")),
    **dict.fromkeys(
        ("INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
         "TRANSFER_REQUIRES_READ"),
        (Rejected, _ACCESS),
    ),
    **dict.fromkeys(("ENTITY_IS_DELETED", "NOT_FOUND", "ENTITY_IS_ARCHIVED"), (RecordGone, "")),
    "CANNOT_UPDATE_CONVERTED_LEAD": (RecordGone, "The lead was converted; the contact takes its place."),
    **dict.fromkeys(
        ("MALFORMED_QUERY", "METHOD_NOT_ALLOWED", "UNSUPPORTED_API_VERSION", "QUERY_TOO_COMPLICATED",
         "INVALID_QUERY_FILTER_OPERATOR"),
        (Unreadable, _DEFECT),
    ),
}  # fmt: skip

TRANSIENT_STATUS = frozenset({406, 408, 420, 429})
"""HTTP statuses that ask for patience and certainly had no effect; those from 500 on leave doubt."""

_GRAVITY = (Transient, RecordGone, Rejected, SchemaDrift, Unreadable, AllowanceSpent, AuthError)
_CONCURRENT_PAUSE = 5.0
"""Seconds. Calls count against this limit while they run, so there is room again as soon as a long one is over."""


def classify(
    errors: object,
    *,
    status: int,
    object_: str = "",
    target: Ref | None = None,
    row: bool = False,
    retry_after: float | None = None,
) -> RemoteError:
    """The errors of one answer or one row as one error: of the gravest class, with all texts, fields and records named.

    `errors` is the parsed body (a list of objects with `errorCode`, or `statusCode` in a row) or anything else when the
    answer was not an API error. `target` is the record that was to be written; `row` says that only this row failed.
    """
    found = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    if not found:
        return _by_status(status, str(status), "", retry_after)
    singles = [
        _single(item, status, object_=object_, target=target, row=row, retry_after=retry_after) for item in found
    ]
    worst = max(singles, key=lambda single: _GRAVITY.index(type(single)))
    return type(worst)(
        SYSTEM,
        worst.code,
        " ".join(dict.fromkeys(single.detail for single in singles)),
        worst.way_out,
        certain=all(single.certain for single in singles),
        fields=tuple(dict.fromkeys(name for single in singles for name in single.fields)),
        retry_after=worst.retry_after,
        others=tuple(dict.fromkeys(other for single in singles for other in single.others)),
    )


def _single(
    item: Mapping[str, Any], status: int, *, object_: str, target: Ref | None, row: bool, retry_after: float | None
) -> RemoteError:
    code = str(item.get("statusCode") or item.get("errorCode") or status)
    text = str(item.get("message") or "no message")
    fields = tuple(map(str, item.get("fields") or ()))
    if code == "REQUEST_LIMIT_EXCEEDED":
        if "concurrent" in text.lower():
            return Transient(SYSTEM, code, text, retry_after=retry_after or _CONCURRENT_PAUSE)
        way_out = "The org's API calls of the last 24 hours are used up: wait, or buy more."
        return AllowanceSpent(SYSTEM, code, text, way_out)
    meaning = MEANINGS.get(code)
    if meaning is None:
        if status == 200 or (400 <= status < 500 and status not in TRANSIENT_STATUS and status != 401):
            return Rejected(SYSTEM, code, text, "See the code in the Salesforce API documentation.", fields=fields)
        return _by_status(status, code, text, retry_after)
    kind, way_out = meaning
    if code in {"INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"} and target and not fields:
        kind, way_out = RecordGone, ""
    elif kind is RecordGone and row and (fields or target is None):
        kind, way_out = Rejected, POINTER
    elif kind is Rejected and way_out is _ACCESS and not row:
        kind = AuthError
    return kind(
        SYSTEM,
        code,
        text,
        way_out,
        certain=status < 500,
        fields=fields,
        retry_after=retry_after,
        others=tuple(dict.fromkeys(_others(item, object_, text))),
    )


def _by_status(status: int, code: str, text: str, retry_after: float | None) -> RemoteError:
    if status >= 500 or status in TRANSIENT_STATUS:
        text = text or "the server is in trouble or busy."
        return Transient(SYSTEM, code, text, certain=status in TRANSIENT_STATUS, retry_after=retry_after)
    if status == 401:
        return AuthError(SYSTEM, code, text or "the session is refused.", "Check the app's session policies.")
    if status in {404, 410}:
        text = text or "there is no such address."
        return Unreadable(SYSTEM, code, text, "Check `url` and `api_version` in the config.")
    return Unreadable(SYSTEM, code, text or "an answer that the API does not document.", "Check `url` in the config.")


def _others(item: Mapping[str, Any], object_: str, text: str) -> Iterator[str]:
    """The records that a duplicate rule (`duplicateResult`, also seen as `duplicateResut`) or a unique clash names."""
    for name, value in item.items():
        if name.startswith("duplicateRes") and isinstance(value, dict):
            yield from _records(value.get("matchResults") or ())
    clash = re.search(r"record with id: (\w{15,18})", text)
    if clash and object_:
        yield str(Ref(SYSTEM, object_, id18(clash[1])))


def _records(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for result in results:
        for match in result.get("matchRecords") or ():
            record = match.get("record") or {}
            type_, id_ = (record.get("attributes") or {}).get("type"), record.get("Id")
            if type_ and id_:
                yield str(Ref(SYSTEM, type_, id18(id_)))


def is_expired(status: int, errors: object) -> bool:
    """Whether a new token may help. A 401 of these two texts would come back for ever."""
    if status == 420:
        return True
    hopeless = ("not attached to agent", "not valid for use with the rest api")
    return status == 401 and not any(text in str(errors).lower() for text in hopeless)


def is_too_heavy(error: RemoteError) -> bool:
    """Whether fewer rows in one request may pass: time-outs, the governor limits that a transaction shares, and rows that
    others hold, since a shorter transaction meets fewer of them."""
    text = f"{error.code} {error.detail}".lower()
    parts = "limitexception", "time limit", "too many", "operation_too_large", "query_timeout", "unable_to_lock_row"
    return (isinstance(error, Transient) and not error.certain) or any(part in text for part in parts)
