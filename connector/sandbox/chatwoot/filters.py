"""The filter language of POST conversations/filter and contacts/filter (Chatwoot 4.15.1, `lib/filters/filter_keys.yml`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connector.sandbox.chatwoot.http import Refusal

EQUALITY = ("equal_to", "not_equal_to")
TEXT = (*EQUALITY, "contains", "does_not_contain")
PRESENCE = ("is_present", "is_not_present")
DATE = ("is_greater_than", "is_less_than", "days_before")

CONVERSATION_KEYS: Mapping[str, tuple[str, ...]] = {
    "status": EQUALITY,
    "priority": EQUALITY,
    "assignee_id": (*EQUALITY, *PRESENCE),
    "inbox_id": (*EQUALITY, *PRESENCE),
    "team_id": (*EQUALITY, *PRESENCE),
    "contact_id": (*EQUALITY, *PRESENCE),
    "display_id": TEXT,
    "labels": (*EQUALITY, *PRESENCE),
    "conversation_language": EQUALITY,
    "browser_language": EQUALITY,
    "mail_subject": TEXT,
    "created_at": DATE,
    "last_activity_at": DATE,
}
CONTACT_KEYS: Mapping[str, tuple[str, ...]] = {
    "name": TEXT,
    "email": (*TEXT, *PRESENCE),
    "phone_number": (*TEXT, *PRESENCE),
    "identifier": (*TEXT, *PRESENCE),
    "country_code": EQUALITY,
    "city": TEXT,
    "company_name": TEXT,
    "labels": (*EQUALITY, *PRESENCE),
    "created_at": DATE,
    "last_activity_at": DATE,
    "blocked": EQUALITY,
}
CUSTOM = (*TEXT, *PRESENCE, *DATE)

Value = Callable[[Any, str], Any]


def compile_filter(
    payload: Any, keys: Mapping[str, tuple[str, ...]], custom: set[str], value: Value, today: date, *, first_only: bool
) -> Callable[[Any], bool]:
    """The test a row must pass. `value(row, key)` reads a key; dates compare by day. Raises Refusal (422)."""
    if not isinstance(payload, list) or not payload:
        raise Refusal.error(422, "payload is missing")
    alternatives: list[list[Callable[[Any], bool]]] = [[]]
    for position, item in enumerate(payload):
        operators = _allowed(item, keys, custom)
        alternatives[-1].append(_condition(item, operators, value, today, first_only=first_only))
        joined = item.get("query_operator")
        last = position == len(payload) - 1
        if last and joined is not None:
            raise Refusal.error(422, "Query operator of the last condition must be null.")
        if not last and str(joined).upper() not in ("AND", "OR"):
            raise Refusal.error(422, 'Query operator must be either "AND" or "OR".')
        if str(joined).upper() == "OR":
            alternatives.append([])
    return lambda row: any(all(test(row) for test in group) for group in alternatives)


def _allowed(item: Any, keys: Mapping[str, tuple[str, ...]], custom: set[str]) -> tuple[str, ...]:
    key = item.get("attribute_key")
    if key not in keys and key not in custom:
        allowed = ",".join([*keys, *sorted(custom)])
        raise Refusal.error(422, f"Invalid attribute key - [{key}]. The key should be one of [{allowed}].")
    return keys.get(key, CUSTOM)


def _condition(
    item: Any, operators: tuple[str, ...], value: Value, today: date, *, first_only: bool
) -> Callable[[Any], bool]:
    key, operator = item["attribute_key"], item.get("filter_operator")
    if operator not in operators:
        raise Refusal.error(422, f"Invalid operator. The allowed operators for {key} are [{','.join(operators)}].")
    values = item.get("values") or []
    if not values and operator not in PRESENCE:
        raise Refusal.error(422, f"Invalid value. The values provided for {key} are invalid")
    if operator in PRESENCE:
        return lambda row: bool(value(row, key)) == (operator == "is_present")
    if operator in DATE:
        return _date_test(key, operator, values[0], value, today)
    if key == "status" and "all" in values:
        return lambda row: True
    wanted = [_plain(v) for v in (values[:1] if first_only else values)]
    if operator in EQUALITY:
        return lambda row: bool(set(_listed(value(row, key))) & set(wanted)) == (operator == "equal_to")
    return lambda row: any(w in text for w in wanted for text in _listed(value(row, key))) == (operator == "contains")


def _date_test(key: str, operator: str, given: Any, value: Value, today: date) -> Callable[[Any], bool]:
    try:
        before = operator == "days_before"
        edge = today - timedelta(days=int(given)) if before else date.fromisoformat(str(given)[:10])
    except ValueError:
        raise Refusal.error(422, f"Invalid value. The values provided for {key} are invalid") from None

    def test(row: Any) -> bool:
        found = value(row, key)
        if found is None:
            return False
        text = found if isinstance(found, str) else datetime.fromtimestamp(found, UTC).date().isoformat()
        day = date.fromisoformat(text[:10])
        return day > edge if operator == "is_greater_than" else day < edge

    return test


def _plain(value: Any) -> str:
    return str(value).lower()


def _listed(value: Any) -> list[str]:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return [] if value is None else [_plain(value)]
