"""Scripted failures and the control endpoint."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import requests

from connector.sandbox.salesforce.faults import REQUEST_KINDS, ROW_KINDS, parse
from connector.sandbox.salesforce.org import Settings

KEY = "SMM_Message_Key__c"


def fault(org: Any, kind: str, **spec: Any) -> None:
    org.control("POST", "faults", {"kind": kind, **spec})


@pytest.mark.parametrize(
    ("spec", "status", "content"),
    [
        ({"kind": "status", "status": 429, "retry_after": 7}, 429, "UNKNOWN_EXCEPTION"),
        ({"kind": "status", "status": 503, "code": "SERVER_UNAVAILABLE"}, 503, "SERVER_UNAVAILABLE"),
        ({"kind": "html"}, 503, "<html>"),
        ({"kind": "html", "status": 502}, 502, "<html>"),
        ({"kind": "empty"}, 406, ""),
        ({"kind": "empty", "status": 420}, 420, ""),
    ],
    ids=["429 with retry-after", "503 JSON", "503 page", "502 page", "406 empty", "420 empty"],
)
def test_a_scripted_answer_comes_once_and_nothing_is_done(
    org: Any, spec: dict[str, Any], status: int, content: str
) -> None:
    org.control("POST", "faults", spec | {"match": {"method": "POST", "path": ".*/sobjects/Contact"}})
    before = org.count("Contact")
    answer = org.create("Contact", {"LastName": "x"})
    assert answer.status_code == status
    assert content in answer.text
    assert answer.headers.get("Retry-After") == ("7" if "retry_after" in spec else None)
    assert org.count("Contact") == before
    assert org.create("Contact", {"LastName": "x"}).status_code == 201


@pytest.mark.parametrize(("kind", "written"), [("drop_before", 0), ("drop_after", 1), ("cut", 1)])
def test_a_lost_connection_leaves_the_write_undone_before_and_done_after(org: Any, kind: str, written: int) -> None:
    fault(org, kind, match={"path": ".*/sobjects/Contact"})
    before = org.count("Contact")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        org.create("Contact", {"LastName": "x"})
    assert org.count("Contact") == before + written


def test_a_slow_answer_comes_after_the_write_is_done(org: Any) -> None:
    fault(org, "slow", seconds=30, match={"path": ".*/sobjects/Contact"})
    before = org.count("Contact")
    with pytest.raises(requests.ReadTimeout):
        org.create("Contact", {"LastName": "x"}, timeout=1)
    assert org.count("Contact") == before + 1


def test_an_expired_token_is_cured_by_a_new_login(org: Any, error_codes: Any) -> None:
    fault(org, "expire_token")
    assert error_codes(org.call("GET", "limits")) == ["INVALID_SESSION_ID"]
    org.login()
    assert org.call("GET", "limits").status_code == 200


@pytest.mark.parametrize("body", ["array", "object", "html"])
def test_a_permanent_401_is_not_cured_by_a_new_login(org: Any, body: str) -> None:
    fault(org, "permanent_401", body=body)
    answers = [org.call("GET", "limits")]
    org.login()
    answers.append(org.call("GET", "limits"))
    assert [a.status_code for a in answers] == [401, 401]
    assert (answers[0].headers["Content-Type"] == "text/html") == (body == "html")
    assert body != "object" or answers[0].json()["errorCode"] == "INVALID_SESSION_ID"


def test_a_locked_row_fails_alone_and_passes_after_the_scripted_times(org: Any) -> None:
    locked, free = org.unique("locked"), org.unique("free")
    fault(org, "lock_row", match={"object": "Task", "field": KEY, "value": locked}, times=2)
    rows = [{KEY: locked}, {KEY: free}]
    outcomes = []
    for _ in range(3):
        answer = org.upsert_rows("Task", KEY, rows).json()
        outcomes.append([row["errors"][0]["statusCode"] if row["errors"] else "ok" for row in answer])
    assert outcomes == [["UNABLE_TO_LOCK_ROW", "ok"], ["UNABLE_TO_LOCK_ROW", "ok"], ["ok", "ok"]]


def test_a_validation_rule_names_its_field(org: Any) -> None:
    fault(org, "row_error", match={"object": "Contact"}, message="No names today", fields=["LastName"])
    answer = org.create("Contact", {"LastName": "x"})
    assert answer.json() == [
        {"message": "No names today", "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "fields": ["LastName"]}
    ]


def test_a_failing_trigger_takes_the_whole_request_down(org: Any) -> None:
    bad = org.unique("bad")
    code = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    fault(org, "row_error", match={"field": KEY, "value": bad}, code=code, whole=True)
    before = org.count("Task")
    answer = org.upsert_rows("Task", KEY, [{KEY: org.unique("good")}, {KEY: bad}, {KEY: org.unique("good")}])
    assert [row["errors"][0]["statusCode"] for row in answer.json()] == [code] * 3
    assert org.count("Task") == before


def test_a_fault_waits_for_the_body_it_names(org: Any) -> None:
    fault(org, "status", match={"body": "Unlucky"})
    assert org.create("Contact", {"LastName": "Lucky"}).status_code == 201
    assert org.create("Contact", {"LastName": "Unlucky"}).status_code == 500


@pytest.mark.parametrize("kind", sorted(REQUEST_KINDS | ROW_KINDS))
def test_every_kind_of_fault_needs_nothing_but_its_name(kind: str) -> None:
    assert parse({"kind": kind}).times == (None if kind == "permanent_401" else 1)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("faults", {"kind": "meteor"}, "meteor"),
        ("faults", {"kind": "slow", "colour": 1}, "colour"),
        ("faults", {"kind": "slow", "match": {"object": "Task"}}, "object"),
        ("faults", {"kind": "slow", "match": {"path": "("}}, "match.path"),
        ("faults", {"kind": "slow", "match": {"path": 5}}, "match"),
        ("faults", {"kind": "slow", "times": "often"}, "times"),
        ("faults", {"kind": "slow", "seconds": True}, "seconds"),
        ("settings", {"automation": {"Contact": 5}}, "automation"),
        ("settings", {"automation": {"Contact": {"Nope": 5}}}, "Nope"),
        ("merge", {"object": "Contact", "winner": "x", "losers": 5}, "losers"),
        ("settings", {"colour": 1}, "colour"),
        ("settings", {"page_size": "big"}, "page_size"),
        ("settings", {"storage_full": 1}, "storage_full"),
        ("settings", {"duplicate_rule": "maybe"}, "duplicate_rule"),
        ("time", {}, "offset_s"),
        ("time", {"later": 1}, "later"),
        ("seed", {"object": "Contact", "records": {}}, "records"),
        ("seed", {"object": "Contact", "records": [{"LastName": "x", "Nope": 1}]}, "Nope"),
        ("seed", {"object": "Contact", "records": [{"LastName": "x", "Id": "0035g0000000001AAA"}]}, "Id"),
        ("undelete", {"ids": "x"}, "ids"),
        ("merge", {"object": "Task", "winner": "x", "losers": ["y"]}, "Task"),
        ("nothing", {}, "nothing"),
    ],
)  # fmt: skip
def test_a_wrong_control_call_is_refused_by_name_and_changes_nothing(
    org: Any, path: str, body: dict[str, Any], named: str
) -> None:
    before = org.count("Contact")
    answer = org.http.post(f"{org.url}/__control/{path}", json=body)
    assert answer.status_code in (400, 404)
    assert named in answer.json()[0]["message"]
    assert org.count("Contact") == before


def test_seeding_is_all_or_nothing(org: Any) -> None:
    before = org.count("Contact")
    records = [{"LastName": "a"}, {"LastName": "b"}, {}]
    answer = org.http.post(f"{org.url}/__control/seed", json={"object": "Contact", "records": records})
    assert answer.status_code == 400
    assert org.count("Contact") == before


def test_seeding_may_set_what_no_client_may(org: Any) -> None:
    key = org.contact(CreatedDate="2020-01-02T03:04:05Z")
    assert org.raw("Contact", key)["CreatedDate"] == "2020-01-02T03:04:05.000+0000"


def test_stats_count_calls_requests_logins_and_writes(org: Any) -> None:
    org.control("POST", "stats/reset")
    org.login()
    org.create("Contact", {"LastName": "x"})
    stats = org.control("GET", "stats")
    assert (stats["calls"], stats["logins"], stats["unknown"]) == (1, 1, 0)
    assert stats["requests"] == {"POST /services/oauth2/token": 1, "POST /sobjects/{name}": 1}
    assert stats["writes"] == {"Contact": {"inserted": 1}}


def test_the_manual_names_every_setting_and_every_kind_of_fault() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "sandbox-salesforce.md").read_text()
    named = {setting.name for setting in dataclasses.fields(Settings)} | REQUEST_KINDS | ROW_KINDS
    assert {name for name in named if f"`{name}`" not in manual} == set()
