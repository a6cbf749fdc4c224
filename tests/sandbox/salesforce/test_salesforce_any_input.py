"""No request, however odd, makes the org fail: it answers or refuses."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = [
    "Contact", "Task", "attributes", "type", "records", "ids", "fields", "LastName", "SMM_Message_Key__c", "WhoId", "Who",
    "id", "AccountId", "compositeRequest", "method", "url", "referenceId", "body", "httpHeaders", "allOrNone", "object",
    "winner", "losers", "GET", "lead",
]  # fmt: skip
WORDS = st.sampled_from([*NAMES, "/services/data/v67.0/limits", "@{a.b}", "00T5g0000000001AAA", "\ud83d", ""])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=8)
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4))
ODD = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "composite"),
        ("POST", "composite/sobjects"),
        ("PATCH", "composite/sobjects"),
        ("PATCH", "composite/sobjects/Task/SMM_Message_Key__c"),
        ("POST", "composite/sobjects/Contact"),
        ("POST", "sobjects/Contact"),
        ("POST", "sobjects/Task"),
        ("PATCH", "sobjects/Social_Identity__c/SMM_Identity_Key__c/odd"),
        ("POST", "/__control/merge"),
        ("POST", "/__control/convert"),
        ("POST", "/__control/undelete"),
        ("POST", "/__control/touch"),
        ("POST", "/__control/seed"),
        ("POST", "/__control/time"),
    ],
)
@ODD
@given(body=JSON)
def test_any_json_is_answered_or_refused(org: Any, method: str, path: str, body: Any) -> None:
    assert org.call(method, path, json=body).status_code < 500


@ODD
@given(rows=st.lists(st.dictionaries(WORDS, JSON, max_size=4), max_size=3), method=st.sampled_from(["POST", "PATCH"]))
def test_any_rows_are_answered_one_by_one(org: Any, rows: list[dict[str, Any]], method: str) -> None:
    records = [{"attributes": {"type": "Task"}, **row} for row in rows]
    answer = org.call(method, "composite/sobjects", json={"records": records})
    assert answer.status_code == (200 if rows else 400)
    assert not rows or len(answer.json()) == len(rows)


@ODD
@given(
    part=st.fixed_dictionaries(
        {"method": WORDS, "url": WORDS, "referenceId": WORDS}, optional={"body": JSON, "httpHeaders": JSON}
    )
)
def test_any_part_of_a_composite_is_answered(org: Any, part: dict[str, Any]) -> None:
    assert org.call("POST", "composite", json={"compositeRequest": [part]}).status_code in (200, 400)


@ODD
@given(
    path=st.text(st.characters(codec="utf-8"), max_size=30), query=st.text(st.characters(codec="utf-8"), max_size=30)
)
def test_any_path_and_query_are_answered(org: Any, path: str, query: str) -> None:
    assert org.call("GET", f"sobjects/Contact/{path}", params={"q": query, "fields": query}).status_code < 500
    assert org.call("GET", "query", params={"q": f"SELECT Id FROM Contact WHERE {query}"}).status_code < 500
