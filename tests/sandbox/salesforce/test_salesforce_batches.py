"""Upsert by external id, collections of rows and composites of calls."""

import json
from typing import Any
from urllib.parse import quote

import pytest

KEY = "SMM_Message_Key__c"


def row_codes(answer: Any) -> list[str | None]:
    """Per row: the first error code, None for success."""
    return [row["errors"][0]["statusCode"] if row["errors"] else None for row in answer.json()]


def upsert(org: Any, value: str, body: dict[str, Any], query: str = "") -> Any:
    return org.call("PATCH", f"sobjects/Task/{KEY}/{quote(value, safe='')}{query}", json=body)


def test_an_upsert_creates_then_updates_the_same_record(org: Any) -> None:
    value = org.unique("k")
    first, second = upsert(org, value, {"Subject": "a"}), upsert(org, value, {"Subject": "b"})
    assert (first.status_code, first.json()["created"]) == (201, True)
    assert (second.status_code, second.json()["created"]) == (200, False)
    assert first.json()["id"] == second.json()["id"]
    assert org.raw("Task", first.json()["id"])["Subject"] == "b"


def test_keys_that_differ_in_case_are_two_records_where_the_field_is_case_sensitive(org: Any) -> None:
    value = org.unique("case")
    assert [upsert(org, v, {}).status_code for v in (value, value.upper())] == [201, 201]


@pytest.mark.parametrize("tail", ["a/b", "a b", "a+b", "100%", "#1", "?x=1", "é👍", "a&b"])
def test_a_percent_encoded_key_finds_its_record(org: Any, tail: str) -> None:
    value = f"{org.unique('path')}:{tail}"
    key = upsert(org, value, {}).json()["id"]
    assert org.raw("Task", key)[KEY] == value
    assert org.call("GET", f"sobjects/Task/{KEY}/{quote(value, safe='')}").json()["Id"] == key


@pytest.mark.parametrize(
    ("value", "body", "query", "status", "code"),
    [
        ("x", {"Id": "00T5g0000000001AAA"}, "", 400, "INVALID_FIELD"),
        ("x", {"smm_message_key__c": "x"}, "", 400, "INVALID_FIELD"),
        ("nobody", {}, "?updateOnly=true", 404, "NOT_FOUND"),
        ("page@b.inc", {}, "", 404, "NOT_FOUND"),
    ],
    ids=["id in the body", "key in the body", "update only", "value that looks like a file"],
)
def test_a_wrong_upsert_is_refused(
    org: Any, error_codes: Any, value: str, body: dict[str, Any], query: str, status: int, code: str
) -> None:
    answer = upsert(org, value, body, query)
    assert (answer.status_code, error_codes(answer)) == (status, [code])


def test_an_upsert_by_a_field_that_is_no_external_id_is_404(org: Any) -> None:
    assert org.call("PATCH", "sobjects/Task/Subject/x", json={}).status_code == 404


def test_an_upsert_by_a_key_that_is_not_unique_needs_a_permission_and_may_be_ambiguous(org: Any) -> None:
    value = org.unique("thread")
    rows = [{"Subject": s, "SMM_Conversation_Key__c": value} for s in "ab"]
    keys = [org.create("Task", row).json()["id"] for row in rows]
    path = f"sobjects/Task/SMM_Conversation_Key__c/{value}"
    assert org.call("PATCH", path, json={"Subject": "c"}).json()[0]["errorCode"] == "INSUFFICIENT_ACCESS_OR_READONLY"
    org.control("POST", "settings", {"view_all_data": True})
    answer = org.call("PATCH", path, json={"Subject": "c"})
    assert answer.status_code == 300
    assert answer.json() == [f"/services/data/v67.0/sobjects/Task/{key}" for key in keys]
    answer = org.upsert_rows("Task", "SMM_Conversation_Key__c", [{"SMM_Conversation_Key__c": value}])
    assert row_codes(answer) == ["DUPLICATE_EXTERNAL_ID"]


def test_rows_stand_alone_and_answer_in_their_order(org: Any) -> None:
    values = [org.unique("row") for _ in range(4)]
    upsert(org, values[3], {})
    rows = [
        {KEY: values[0], "Subject": "good"},
        {KEY: values[1], "Subject": "x" * 256},
        {KEY: values[2], "Nope": 1},
        {KEY: values[3], "Subject": "known"},
    ]
    answer = org.upsert_rows("Task", KEY, rows)
    assert answer.status_code == 200
    assert row_codes(answer) == [None, "STRING_TOO_LONG", "INVALID_FIELD", None]
    assert [row.get("created") for row in answer.json()] == [True, None, None, False]
    assert answer.json()[1]["errors"][0]["fields"] == ["Subject"]


def test_a_request_whose_every_row_fails_is_still_200(org: Any) -> None:
    answer = org.upsert_rows("Task", KEY, [{KEY: None}, {}, {KEY: "  "}])
    assert answer.status_code == 200
    assert row_codes(answer) == ["MISSING_ARGUMENT"] * 3


def test_a_key_that_stands_twice_in_one_request_fails_all_its_rows_and_no_others(org: Any) -> None:
    twice, once = org.unique("twice"), org.unique("once")
    answer = org.upsert_rows("Task", KEY, [{KEY: twice}, {KEY: once}, {KEY: twice}])
    assert row_codes(answer) == ["DUPLICATE_VALUE", None, "DUPLICATE_VALUE"]
    assert answer.json()[0]["errors"][0]["message"] == f"Duplicate external id specified: {twice}"


@pytest.mark.parametrize("count", [0, 201])
def test_no_row_or_more_than_200_refuse_the_request(org: Any, count: int) -> None:
    before = org.count("Task")
    answer = org.upsert_rows("Task", KEY, [{KEY: org.unique("many")} for _ in range(count)])
    assert answer.status_code == 400
    assert org.count("Task") == before


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"LastName": "x"}, "INVALID_TYPE"),
        ({"attributes": {"type": "Nothing__c"}}, "INVALID_TYPE"),
        ("text", "JSON_PARSER_ERROR"),
        (None, "JSON_PARSER_ERROR"),
    ],
    ids=["no type", "unknown type", "a text", "null"],
)
def test_a_row_without_a_usable_type_fails_alone(org: Any, record: Any, code: str) -> None:
    good = {"attributes": {"type": "Contact"}, "LastName": "Vos"}
    answer = org.call("POST", "composite/sobjects", json={"records": [record, good]})
    assert row_codes(answer) == [code, None]


def test_an_upsert_row_of_another_type_fails(org: Any) -> None:
    row = {"attributes": {"type": "Contact"}, KEY: org.unique("k")}
    answer = org.call("PATCH", f"composite/sobjects/Task/{KEY}", json={"records": [row]})
    assert row_codes(answer) == ["INVALID_TYPE"]


def test_all_or_none_rolls_back_and_names_the_bystanders(org: Any) -> None:
    good = org.unique("good")
    rows = [{KEY: good}, {KEY: org.unique("bad"), "Subject": "x" * 256}]
    answer = org.upsert_rows("Task", KEY, rows, allOrNone=True)
    assert row_codes(answer) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "STRING_TOO_LONG"]
    assert org.query(f"SELECT Id FROM Task WHERE {KEY} = '{good}'") == []


def test_a_mixed_collection_creates_updates_and_deletes(org: Any) -> None:
    records = [
        {"attributes": {"type": n}, **v} for n, v in (("Contact", {"LastName": "A"}), ("Task", {"Subject": "B"}))
    ]
    created = org.call("POST", "composite/sobjects", json={"records": records}).json()
    keys = [row["id"] for row in created]
    assert "created" not in created[0]
    changes = [{"attributes": {"type": "Contact"}, "id": keys[0], "LastName": "C"}, {"attributes": {"type": "Task"}}]
    answer = org.call("PATCH", "composite/sobjects", json={"records": changes})
    assert row_codes(answer) == [None, "MISSING_ARGUMENT"]
    assert org.raw("Contact", keys[0])["LastName"] == "C"
    for expected in ([None, None], ["ENTITY_IS_DELETED"] * 2):
        answer = org.call("DELETE", f"composite/sobjects?ids={','.join(keys)}&allOrNone=false")
        assert row_codes(answer) == expected


def test_retrieve_keeps_the_order_and_shows_null_for_the_missing(org: Any) -> None:
    first, second = org.contact(LastName="One"), org.contact(LastName="Two")
    body = {"ids": [second, "0035g0000zzzzzz", first], "fields": ["LastName"]}
    answer = org.call("POST", "composite/sobjects/Contact", json=body)
    assert [row and row["LastName"] for row in answer.json()] == ["Two", None, "One"]


def test_a_parent_is_found_by_its_external_id(org: Any) -> None:
    thread, person = org.unique("thread"), org.unique("person")
    contact = org.contact(SMM_Person_Key__c=person)
    parent = org.upsert_rows("Social_Conversation__c", "SMM_Conversation_Key__c", [{"SMM_Conversation_Key__c": thread}])
    row = {
        KEY: org.unique("m"),
        "What": {"attributes": {"type": "Social_Conversation__c"}, "SMM_Conversation_Key__c": thread},
        "Who": {"attributes": {"type": "Contact"}, "SMM_Person_Key__c": person},
    }
    answer = org.upsert_rows("Task", KEY, [row])
    assert row_codes(answer) == [None]
    task = org.raw("Task", answer.json()[0]["id"])
    assert (task["WhatId"], task["WhoId"]) == (parent.json()[0]["id"], contact)


@pytest.mark.parametrize(
    "reference",
    [{"SMM_Person_Key__c": "nobody"}, {"LastName": "x"}, {}, {"attributes": ["x"], "SMM_Person_Key__c": "nobody"}],
    ids=["nobody has the key", "not an external id", "no key", "attributes as a list"],
)
def test_a_parent_that_cannot_be_found_fails_the_row(org: Any, reference: dict[str, str]) -> None:
    row = {"SMM_Identity_Key__c": org.unique("i"), "Contact__r": reference}
    assert row_codes(org.upsert_rows("Social_Identity__c", "SMM_Identity_Key__c", [row])) == ["INVALID_FIELD"]


def test_a_parent_created_in_the_same_request_is_not_visible_to_its_siblings(org: Any) -> None:
    key = org.unique("person")
    records = [
        {"attributes": {"type": "Contact"}, "LastName": "New", "SMM_Person_Key__c": key},
        {"attributes": {"type": "Social_Identity__c"}, "Contact__r": {"SMM_Person_Key__c": key}},
    ]
    answer = org.call("POST", "composite/sobjects", json={"records": records})
    assert row_codes(answer) == [None, "INVALID_FIELD"]
    assert f"Foreign key external ID: {key} not found" in answer.json()[1]["errors"][0]["message"]


def test_a_deleted_record_does_not_answer_to_its_key_any_more(org: Any, error_codes: Any) -> None:
    value = org.unique("bin")
    old = upsert(org, value, {}).json()["id"]
    org.call("DELETE", f"sobjects/Task/{old}")
    new = upsert(org, value, {})
    assert (new.status_code, new.json()["id"] != old) == (201, True)
    answer = org.http.post(f"{org.url}/__control/undelete", json={"ids": [old]})
    assert error_codes(answer) == ["DUPLICATE_VALUE"]


def composite(org: Any, *parts: dict[str, Any], **body: Any) -> Any:
    requests = [
        {"method": "GET", "referenceId": f"r{i}", **p, "url": f"/services/data/v67.0/{p['url']}"}
        for i, p in enumerate(parts)
    ]
    return org.call("POST", "composite", json={"compositeRequest": requests, **body})


def parts(answer: Any) -> list[tuple[int, Any]]:
    assert answer.status_code == 200, answer.text
    return [(part["httpStatusCode"], part["body"]) for part in answer.json()["compositeResponse"]]


def test_a_composite_costs_one_call_and_writes_a_thousand_rows(org: Any) -> None:
    def rows() -> list[dict[str, Any]]:
        return [{"attributes": {"type": "Task"}, KEY: org.unique("bulk"), "Subject": "Hi"} for _ in range(200)]

    org.control("POST", "stats/reset")
    path = f"composite/sobjects/Task/{KEY}"
    answer = composite(org, *[{"method": "PATCH", "url": path, "body": {"records": rows()}} for _ in range(5)])
    assert [status for status, _ in parts(answer)] == [200] * 5
    assert all(row["success"] for _, body in parts(answer) for row in body)
    stats = org.control("GET", "stats")
    assert (stats["calls"], stats["writes"]["Task"]) == (1, {"inserted": 1000})


def test_a_composite_reads_several_streams_at_once(org: Any) -> None:
    key = org.contact()
    url = "query?q=" + quote(f"SELECT Id FROM Contact WHERE Id = '{key}'")
    answer = composite(org, {"url": url}, {"url": "query?q=" + quote("SELECT Nope FROM Task")})
    (status, body), (wrong, problems) = parts(answer)
    assert (status, body["records"][0]["Id"]) == (200, key)
    assert (wrong, problems[0]["errorCode"]) == (400, "INVALID_FIELD")


def test_later_parts_use_the_answers_of_earlier_ones(org: Any) -> None:
    answer = composite(
        org,
        {"method": "POST", "url": "sobjects/Contact", "body": {"LastName": "Ref"}, "referenceId": "who"},
        {"method": "POST", "url": "sobjects/Task", "body": {"Subject": "Hi @{who.id}", "WhoId": "@{who.id}"}},
        {"url": "sobjects/Contact/@{who.id}"},
        {"url": "sobjects/Contact/@{Who.id}"},
    )
    (_, contact), (_, task), (_, read), (status, halted) = parts(answer)
    assert org.raw("Task", task["id"])["WhoId"] == contact["id"] == read["Id"]
    assert org.raw("Task", task["id"])["Subject"] == f"Hi {contact['id']}"
    assert (status, halted[0]["errorCode"]) == (400, "PROCESSING_HALTED")


def test_all_or_none_of_a_composite_halts_and_rolls_back(org: Any) -> None:
    name = org.unique("Rolled")
    good = {"method": "POST", "url": "sobjects/Contact", "body": {"LastName": name}}
    bad = {"method": "POST", "url": "sobjects/Contact", "body": {}}
    answer = composite(org, good, bad, good, allOrNone=True)
    assert [body[0]["errorCode"] for _, body in parts(answer)] == [
        "PROCESSING_HALTED", "REQUIRED_FIELD_MISSING", "PROCESSING_HALTED",
    ]  # fmt: skip
    assert org.query(f"SELECT Id FROM Contact WHERE LastName = '{name}'") == []


def test_without_all_or_none_a_failed_part_leaves_the_others(org: Any) -> None:
    good = {"method": "POST", "url": "sobjects/Contact", "body": {"LastName": "Kept"}}
    answer = composite(org, good, {"url": "sobjects/Nothing"}, good)
    assert [status for status, _ in parts(answer)] == [201, 404, 201]


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ({"url": "limits", "httpHeaders": ["x"]}, 400),
        ({"url": "limits", "colour": 1}, 400),
        ({"url": "limits", "method": "PUT"}, 405),
        ({"url": "nothing"}, 404),
        ({"method": "POST", "url": "composite", "body": {}}, 400),
        ({"method": "POST", "url": "composite/sobjects/Contact", "body": {"ids": "x", "fields": ["Id"]}}, 400),
    ],
    ids=[
        "headers as a list",
        "unknown key",
        "wrong method",
        "unknown resource",
        "composite in a composite",
        "ids as a text",
    ],
)
def test_a_wrong_part_fails_alone(org: Any, part: dict[str, Any], status: int) -> None:
    (wrong, _), (right, _) = parts(composite(org, part, {"url": "limits"}))
    assert (wrong, right) == (status, 200)


def test_a_part_of_an_unknown_version_is_404(org: Any) -> None:
    part = {"method": "GET", "url": "/services/data/v99.0/limits", "referenceId": "a"}
    answer = org.call("POST", "composite", json={"compositeRequest": [part]})
    assert [status for status, _ in parts(answer)] == [404]


@pytest.mark.parametrize(
    ("count", "url", "status"),
    [
        (25, "limits", 200),
        (26, "limits", 400),
        (5, "query?q=SELECT+Id+FROM+User", 200),
        (6, "query?q=SELECT+Id+FROM+User", 400),
    ],
    ids=["25 parts", "26 parts", "5 queries", "6 queries"],
)
def test_a_composite_has_room_for_25_parts_and_5_queries(org: Any, count: int, url: str, status: int) -> None:
    assert composite(org, *[{"url": url}] * count).status_code == status


@pytest.mark.parametrize("path", ["composite", "composite/sobjects"])
def test_an_unknown_key_of_the_request_is_refused(org: Any, error_codes: Any, path: str) -> None:
    answer = org.call("POST", path, json={"record": []})
    assert (answer.status_code, error_codes(answer)) == (400, ["JSON_PARSER_ERROR"])
    assert '"record"' in answer.json()[0]["message"]


def test_a_reference_id_must_be_unique(org: Any) -> None:
    part = {"url": "limits", "referenceId": "same"}
    assert composite(org, part, part).status_code == 400


def test_a_body_that_is_not_json_is_refused(org: Any, error_codes: Any) -> None:
    answer = org.call("POST", "composite", data=json.dumps({"a": 1})[:-1])
    assert (answer.status_code, error_codes(answer)) == (400, ["JSON_PARSER_ERROR"])
