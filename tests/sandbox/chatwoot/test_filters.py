"""The filter language as a pure function: conditions, their combination, and dates by day."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.chatwoot.filters import CONTACT_KEYS, CONVERSATION_KEYS, compile_filter
from connector.sandbox.chatwoot.http import Refusal

TODAY = date(2026, 6, 18)


def passes(row: dict[str, Any], *conditions: tuple[Any, ...], joined: str = "AND") -> bool:
    """Whether the row passes conditions of (key, operator, *values) joined by one operator."""
    payload = [
        {"attribute_key": key, "filter_operator": operator, "values": list(values), "query_operator": joined}
        for key, operator, *values in conditions
    ]
    payload[-1]["query_operator"] = None
    keys = CONTACT_KEYS | CONVERSATION_KEYS
    return compile_filter(payload, keys, {"tier"}, dict.get, TODAY, first_only=True)(row)


@pytest.mark.parametrize(
    ("row", "condition", "expected"),
    [
        ({"name": "Jet de Boer"}, ("name", "equal_to", "JET DE BOER"), True),
        ({"name": "Jet de Boer"}, ("name", "contains", "boer"), True),
        ({"name": "Jet de Boer"}, ("name", "does_not_contain", "boer"), False),
        ({"name": None}, ("name", "does_not_contain", "boer"), True),
        ({"email": ""}, ("email", "is_present"), False),
        ({"email": None}, ("email", "is_not_present"), True),
        ({"name": "b"}, ("name", "equal_to", "a", "b"), False),
        ({"labels": ["vip", "new"]}, ("labels", "equal_to", "new"), True),
        ({"labels": ["vip"]}, ("labels", "not_equal_to", "new"), True),
        ({"tier": "gold"}, ("tier", "equal_to", "gold"), True),
        ({"tier": "2026-06-01"}, ("tier", "is_less_than", "2026-06-02"), True),
        ({"created_at": None}, ("created_at", "is_less_than", "2026-06-02"), False),
        ({"status": "snoozed"}, ("status", "equal_to", "all"), True),
    ],
)
def test_a_condition(row: dict[str, Any], condition: tuple[Any, ...], expected: bool) -> None:
    assert passes(row, condition) is expected


@given(st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), st.dates(date(2000, 1, 1), date(2030, 1, 1)))  # fmt: skip
def test_dates_compare_by_day_and_strictly(at: datetime, day: date) -> None:
    row = {"created_at": at.timestamp()}
    assert passes(row, ("created_at", "is_greater_than", day.isoformat())) is (at.date() > day)
    assert passes(row, ("created_at", "is_less_than", day.isoformat())) is (at.date() < day)


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_conditions_are_joined_by_and_or_or(wanted: list[bool]) -> None:
    conditions = [("name", "equal_to" if yes else "not_equal_to", "x") for yes in wanted]
    assert passes({"name": "x"}, *conditions) is all(wanted)
    assert passes({"name": "x"}, *conditions, joined="OR") is any(wanted)


@pytest.mark.parametrize("payload", [None, [], {}, "x"])
def test_a_filter_without_conditions_is_refused(payload: Any) -> None:
    with pytest.raises(Refusal):
        compile_filter(payload, CONTACT_KEYS, set(), dict.get, TODAY, first_only=True)
