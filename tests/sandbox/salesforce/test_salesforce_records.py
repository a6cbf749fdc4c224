"""Single records: what a create, read, update and delete accept, refuse and show."""

import re
from typing import Any

import pytest

TASK = {"Subject": "Hello", "Status": "Completed", "ActivityDate": "2026-01-02"}


def test_created_records_have_18_character_ids_with_the_prefix_of_their_object(org: Any) -> None:
    answer = org.create("Contact", {"LastName": "Vos"})
    assert answer.status_code == 201
    assert answer.json()["success"] is True
    assert re.fullmatch(r"003\w{15}", answer.json()["id"])


def test_a_record_is_read_by_either_form_of_its_id(org: Any) -> None:
    key = org.contact(FirstName="Anna", LastName="de Vries")
    long, short = (org.call("GET", f"sobjects/contact/{k}").json() for k in (key, key[:15]))
    assert long == short
    assert (long["Id"], long["Name"]) == (key, "Anna de Vries")
    assert long["attributes"] == {"type": "Contact", "url": f"/services/data/v67.0/sobjects/Contact/{key}"}


def test_only_the_fields_asked_for_are_shown_in_their_canonical_case(org: Any) -> None:
    key = org.contact(Email="a@b.example")
    shown = org.call("GET", f"sobjects/Contact/{key}?fields=email,LASTNAME").json()
    assert set(shown) == {"attributes", "Email", "LastName"}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"firstname": "Anna"}, {"FirstName": "Anna"}),
        ({"FirstName": "  Anna \t"}, {"FirstName": "Anna"}),
        ({"FirstName": ""}, {"FirstName": None}),
        ({"FirstName": "   "}, {"FirstName": None}),
        ({"Description": "a\nb\r\nc\rd"}, {"Description": "a\r\nb\r\nc\r\nd"}),
        ({"HasOptedOutOfEmail": True}, {"HasOptedOutOfEmail": True}),
        ({}, {"HasOptedOutOfEmail": False, "IsDeleted": False}),
        ({"Birthdate": "1990-02-28"}, {"Birthdate": "1990-02-28"}),
        ({"FirstName": "👍🏽 Zoë"}, {"FirstName": "👍🏽 Zoë"}),
        ({"FirstName": "a\ud83db"}, {"FirstName": "a\ufffdb"}),
        ({"LeadSource": "Something new"}, {"LeadSource": "Something new"}),
    ],
    ids=["field name in any case", "white space trimmed", "empty is null", "blank is null", "line breaks become CRLF",
         "checkbox", "checkboxes default to false", "date", "emoji kept", "half a surrogate pair is replaced", "unrestricted picklist takes anything"],
)  # fmt: skip
def test_a_value_is_stored_in_its_normal_form(org: Any, sent: dict[str, Any], stored: dict[str, Any]) -> None:
    key = org.create("Contact", {"LastName": "Vos"} | sent).json()["id"]
    shown = org.call("GET", f"sobjects/Contact/{key}").json()
    assert {name: shown[name] for name in stored} == stored


@pytest.mark.parametrize("sent", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.999+00:00", "2026-01-02T04:04:05+0100"])
def test_a_datetime_is_shown_in_utc_at_whole_seconds(org: Any, sent: str) -> None:
    key = org.create("Task", TASK | {"SMM_Sent_At__c": sent}).json()["id"]
    assert org.call("GET", f"sobjects/Task/{key}").json()["SMM_Sent_At__c"] == "2026-01-02T03:04:05.000+0000"


@pytest.mark.parametrize(
    ("name", "body", "code", "fields"),
    [
        ("Contact", {"FirstName": "A"}, "REQUIRED_FIELD_MISSING", ["LastName"]),
        ("Lead", {}, "REQUIRED_FIELD_MISSING", ["LastName", "Company"]),
        ("Contact", {"LastName": "x", "Shoe": "42"}, "INVALID_FIELD", None),
        ("Contact", {"LastName": "x" * 81}, "STRING_TOO_LONG", ["LastName"]),
        ("Contact", {"LastName": "👍" * 41}, "STRING_TOO_LONG", ["LastName"]),
        ("Task", {"Subject": "x" * 256}, "STRING_TOO_LONG", ["Subject"]),
        ("Task", {"Description": "\n".join("x" * 16_000 for _ in "ab")}, "STRING_TOO_LONG", ["Description"]),
        ("Contact", {"LastName": "x", "Email": "nobody"}, "INVALID_EMAIL_ADDRESS", ["Email"]),
        ("Contact", {"LastName": "x", "CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["CreatedDate"]),
        ("Contact", {"LastName": "x", "Name": "Y"}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["Name"]),
        ("Task", {"IsClosed": True, "CompletedDateTime": None}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["IsClosed", "CompletedDateTime"]),
        ("Task", {"Type": "Call"}, "INVALID_FIELD", None),
        ("Task", {"CallType": "Sideways"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ["CallType"]),
        ("Social_Outbound__c", {"Status__c": "Lost"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ["Status__c"]),
        ("Contact", {"LastName": 5}, "JSON_PARSER_ERROR", None),
        ("Contact", {"LastName": {"a": 1}}, "JSON_PARSER_ERROR", None),
        ("Contact", {"LastName": "x", "HasOptedOutOfEmail": "true"}, "JSON_PARSER_ERROR", None),
        ("Contact", {"LastName": "x", "HasOptedOutOfEmail": None}, "JSON_PARSER_ERROR", None),
        ("Contact", {"LastName": "x", "Birthdate": "yesterday"}, "JSON_PARSER_ERROR", None),
        ("Task", {"SMM_Sent_At__c": "2026-01-02 03:04"}, "JSON_PARSER_ERROR", None),
        ("Task", {"SMM_Sent_At__c": "2026-01-02T03:04:05"}, "JSON_PARSER_ERROR", None),
        ("Social_Conversation__c", {"Message_Count__c": "many"}, "JSON_PARSER_ERROR", None),
        ("Social_Conversation__c", {"Message_Count__c": 1e18}, "NUMBER_OUTSIDE_VALID_RANGE", ["Message_Count__c"]),
        ("Contact", {"LastName": "x", "AccountId": "nonsense"}, "MALFORMED_ID", ["AccountId"]),
        ("Contact", {"LastName": "x", "AccountId": "ZZZ5g0000000001AAA"}, "MALFORMED_ID", ["AccountId"]),
        ("Contact", {"LastName": "x", "AccountId": "0015g0000zzzzzz"}, "INVALID_CROSS_REFERENCE_KEY", ["AccountId"]),
        ("Contact", None, "JSON_PARSER_ERROR", None),
        ("Contact", [{"LastName": "x"}], "JSON_PARSER_ERROR", None),
        ("User", {"LastName": "x"}, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", None),
    ],
    ids=["required missing", "several required missing", "unknown field", "too long", "emoji count twice",
         "task subject too long", "line breaks count twice", "bad e-mail", "read-only system field",
         "name of a person is derived", "every read-only field is named", "field without permission",
         "restricted standard picklist", "restricted custom picklist", "number for a text", "object for a text",
         "text for a checkbox", "null for a checkbox", "bad date", "datetime without T", "datetime without zone",
         "text for a number", "number out of range", "no id", "id of no object", "id of nothing", "no body",
         "list as body", "setup object"],
)  # fmt: skip
def test_a_wrong_create_is_refused_and_writes_nothing(
    org: Any, error_codes: Any, name: str, body: Any, code: str, fields: list[str] | None
) -> None:
    before = org.count(name)
    answer = org.create(name, body)
    assert answer.status_code == 400
    assert error_codes(answer) == [code]
    assert answer.json()[0].get("fields") == fields
    assert org.count(name) == before


def test_all_wrong_fields_of_a_record_are_reported_together(org: Any, error_codes: Any) -> None:
    answer = org.create("Contact", {"LastName": "x" * 99, "Email": "no", "Shoe": 1})
    assert error_codes(answer) == ["STRING_TOO_LONG", "INVALID_EMAIL_ADDRESS", "INVALID_FIELD"]


def test_null_clears_a_field_and_absence_leaves_it(org: Any) -> None:
    key = org.contact(Email="a@b.example", Phone="+31 20 555 0100")
    assert org.call("PATCH", f"sobjects/Contact/{key}", json={"Email": None}).status_code == 204
    shown = org.call("GET", f"sobjects/Contact/{key}").json()
    assert (shown["Email"], shown["Phone"]) == (None, "+31 20 555 0100")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"LastName": None}, "REQUIRED_FIELD_MISSING"),
        ({"Id": "0035g0000000001AAA"}, "INVALID_FIELD"),
        ({"OwnerId": None}, "REQUIRED_FIELD_MISSING"),
    ],
    ids=["required field cleared", "id in the body", "owner cleared"],
)
def test_a_wrong_update_is_refused(org: Any, error_codes: Any, body: dict[str, Any], code: str) -> None:
    answer = org.call("PATCH", f"sobjects/Contact/{org.contact()}", json=body)
    assert (answer.status_code, error_codes(answer)) == (400, [code])


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_record_that_never_existed_is_404(org: Any, error_codes: Any, method: str) -> None:
    answer = org.call(
        method, "sobjects/Contact/0035g0000zzzzzz", json={"FirstName": "x"} if method == "PATCH" else None
    )
    assert (answer.status_code, error_codes(answer)) == (404, ["NOT_FOUND"])


def test_an_update_moves_the_stamps_and_names_its_author(org: Any, human: Any) -> None:
    key = org.contact()
    org.control("POST", "time", {"advance_s": 100})
    human.call("PATCH", f"sobjects/Contact/{key}", json={"Title": "Chief"})
    row = org.raw("Contact", key)
    assert row["SystemModstamp"] == row["LastModifiedDate"] > row["CreatedDate"]
    assert (
        org.query(f"SELECT LastModifiedBy.Username FROM Contact WHERE Id = '{key}'")[0]["LastModifiedBy"]["Username"]
        == "dana@acme.example"
    )


def test_a_conditional_update_of_a_record_changed_since_is_412(org: Any, error_codes: Any) -> None:
    key = org.contact()
    answer = org.call(
        "PATCH",
        f"sobjects/Contact/{key}",
        json={"Title": "x"},
        headers={"If-Unmodified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"},
    )
    assert (answer.status_code, error_codes(answer)) == (412, ["PRECONDITION_FAILED"])


def test_a_closed_task_gets_its_completion_time_once_and_loses_it_when_reopened(org: Any) -> None:
    key = org.create("Task", TASK).json()["id"]
    first = org.raw("Task", key)
    assert first["IsClosed"]
    assert first["CompletedDateTime"] == first["CreatedDate"]
    org.control("POST", "time", {"advance_s": 60})
    org.call("PATCH", f"sobjects/Task/{key}", json={"Status": "Completed", "Subject": "again"})
    assert org.raw("Task", key)["CompletedDateTime"] == first["CompletedDateTime"]
    org.call("PATCH", f"sobjects/Task/{key}", json={"Status": "In Progress"})
    assert not org.raw("Task", key)["IsClosed"]
    assert "CompletedDateTime" not in org.raw("Task", key)


def test_a_task_takes_its_account_from_its_contact(org: Any) -> None:
    account = org.seed("Account", {"Name": "Acme"})[0]
    key = org.create("Task", TASK | {"WhoId": org.contact(AccountId=account)}).json()["id"]
    assert org.raw("Task", key)["AccountId"] == account


def test_the_subtype_of_a_task_is_fixed_at_creation(org: Any, error_codes: Any) -> None:
    key = org.create("Task", TASK | {"TaskSubtype": "Call"}).json()["id"]
    answer = org.call("PATCH", f"sobjects/Task/{key}", json={"TaskSubtype": "Task"})
    assert error_codes(answer) == ["INVALID_FIELD_FOR_INSERT_UPDATE"]


def test_a_task_may_have_a_contact_and_a_conversation(org: Any) -> None:
    conversation = org.create("Social_Conversation__c", {"Name": "Instagram"}).json()["id"]
    assert org.create("Task", TASK | {"WhoId": org.contact(), "WhatId": conversation}).status_code == 201


@pytest.mark.parametrize(
    ("who", "what", "code"),
    [
        ("Lead", "Social_Conversation__c", "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Account", None, "FIELD_INTEGRITY_EXCEPTION"),
        (None, "Social_Identity__c", "FIELD_INTEGRITY_EXCEPTION"),
        (None, "Contact", "FIELD_INTEGRITY_EXCEPTION"),
    ],
    ids=[
        "a lead takes no related record",
        "an account is no person",
        "object without activities",
        "contact as related",
    ],
)
def test_a_task_on_the_wrong_records_is_refused(
    org: Any, error_codes: Any, who: str | None, what: str | None, code: str
) -> None:
    made = {
        "Lead": org.lead,
        "Contact": org.contact,
        "Account": lambda: org.seed("Account", {"Name": "Acme"})[0],
        "Social_Conversation__c": lambda: org.seed("Social_Conversation__c", {"Name": "x"})[0],
        "Social_Identity__c": lambda: org.seed("Social_Identity__c", {"Name": "x"})[0],
        None: lambda: None,
    }
    answer = org.create("Task", TASK | {"WhoId": made[who](), "WhatId": made[what]()})
    assert (answer.status_code, error_codes(answer)) == (400, [code])


def test_an_inactive_user_cannot_own_a_record(org: Any, error_codes: Any) -> None:
    user = {"Username": "gone@acme.example", "Email": "gone@acme.example", "LastName": "Gone", "IsActive": False}
    key = org.seed("User", user)[0]
    assert error_codes(org.create("Task", TASK | {"OwnerId": key})) == ["INACTIVE_OWNER_OR_USER"]


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [("Task", "67.0", 201), ("Task", "47.0", 400), ("Lead", "67.0", 201), ("Contact", "67.0", 400)],
)
def test_a_queue_owns_leads_and_from_v48_tasks_but_no_contacts(org: Any, name: str, version: str, status: int) -> None:
    queue = org.query("SELECT Id FROM Group WHERE Type = 'Queue'")[0]["Id"]
    body = {"Task": TASK, "Lead": {"LastName": "x", "Company": "y"}, "Contact": {"LastName": "x"}}[name]
    answer = org.call("POST", f"/services/data/v{version}/sobjects/{name}", json=body | {"OwnerId": queue})
    assert answer.status_code == status
    assert status == 201 or answer.json()[0]["errorCode"] == "INVALID_OWNER"


def test_a_unique_key_clash_names_the_other_record(org: Any) -> None:
    key = org.unique("key")
    first = org.create("Task", TASK | {"SMM_Message_Key__c": key}).json()["id"]
    answer = org.create("Task", TASK | {"SMM_Message_Key__c": key})
    assert answer.json()[0]["errorCode"] == "DUPLICATE_VALUE"
    assert first[:15] in answer.json()[0]["message"]
    assert org.create("Task", TASK | {"SMM_Message_Key__c": key.upper()}).status_code == 201


def test_an_auto_number_counts_up_and_cannot_be_written(org: Any, error_codes: Any) -> None:
    first, second = (org.create("Social_Outbound__c", {"Body__c": "Hi"}).json()["id"] for _ in range(2))
    names = [org.raw("Social_Outbound__c", key)["Name"] for key in (first, second)]
    assert int(names[1].removeprefix("SO-")) == int(names[0].removeprefix("SO-")) + 1
    assert org.raw("Social_Outbound__c", first)["Status__c"] == "Queued"
    answer = org.create("Social_Outbound__c", {"Name": "SO-1"})
    assert error_codes(answer) == ["INVALID_FIELD_FOR_INSERT_UPDATE"]


@pytest.mark.parametrize(
    ("rule", "allow", "status"),
    [("off", "false", 201), ("alert", "false", 400), ("alert", "true", 201), ("block", "true", 400)],
)
def test_a_duplicate_rule_stops_the_same_email_unless_it_may_be_saved(
    org: Any, rule: str, allow: str, status: int
) -> None:
    email = f"{org.unique('twin')}@b.example"
    first = org.contact(Email=email)
    org.control("POST", "settings", {"duplicate_rule": rule})
    headers = {"Sforce-Duplicate-Rule-Header": f"allowSave={allow}"}
    answer = org.create("Contact", {"LastName": "Twin", "Email": email.upper()}, headers=headers)
    assert answer.status_code == status
    if status == 400:
        problem = answer.json()[0]
        assert problem["errorCode"] == "DUPLICATES_DETECTED"
        assert problem["duplicateResult"]["matchResults"][0]["matchRecords"][0]["record"]["Id"] == first


@pytest.mark.parametrize(
    ("setting", "code"),
    [("storage_full", "STORAGE_LIMIT_EXCEEDED"), ("read_only", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE")],
)
def test_an_org_that_takes_no_writes_says_why(org: Any, error_codes: Any, setting: str, code: str) -> None:
    org.control("POST", "settings", {setting: True})
    assert error_codes(org.create("Contact", {"LastName": "x"})) == [code]


def test_a_flow_edits_a_record_in_the_transaction_of_its_save(org: Any) -> None:
    org.control("POST", "settings", {"automation": {"Social_Conversation__c": {"Priority__c": "high"}}})
    key = org.create("Social_Conversation__c", {"Name": "x", "Priority__c": "low"}).json()["id"]
    assert org.raw("Social_Conversation__c", key)["Priority__c"] == "high"


def test_a_field_hidden_during_the_run_is_gone_from_describe_queries_and_writes(org: Any, error_codes: Any) -> None:
    org.control("POST", "settings", {"hidden_fields": ["Contact.Title"]})
    names = {f["name"] for f in org.call("GET", "sobjects/Contact/describe").json()["fields"]}
    assert "Title" not in names
    assert error_codes(org.create("Contact", {"LastName": "x", "Title": "y"})) == ["INVALID_FIELD"]
    assert error_codes(org.call("GET", "query", params={"q": "SELECT Title FROM Contact"})) == ["INVALID_FIELD"]


def test_describe_tells_exactly_what_the_source_files_say(org: Any) -> None:
    fields = {f["name"]: f for f in org.call("GET", "sobjects/Task/describe").json()["fields"]}
    key = fields["SMM_Message_Key__c"]
    flags = ("type", "length", "externalId", "unique", "caseSensitive", "createable", "updateable", "nillable")
    assert [key[flag] for flag in flags] == ["string", 255, True, True, True, True, True, True]
    assert [v["value"] for v in fields["SMM_Direction__c"]["picklistValues"]] == ["Inbound", "Outbound"]
    assert not fields["SMM_Direction__c"]["restrictedPicklist"]
    assert fields["Description"]["filterable"] is False
    assert fields["Subject"]["type"] == "combobox"
    assert (fields["TaskSubtype"]["createable"], fields["TaskSubtype"]["updateable"]) == (True, False)
    assert set(fields["WhoId"]["referenceTo"]) == {"Contact", "Lead"}
    assert "Social_Conversation__c" in fields["WhatId"]["referenceTo"]
    assert "Social_Identity__c" not in fields["WhatId"]["referenceTo"]
    assert "Type" not in fields


def test_describe_answers_304_until_the_schema_changes(org: Any) -> None:
    first = org.call("GET", "sobjects/Contact/describe")
    header = {"If-Modified-Since": first.headers["Last-Modified"]}
    assert org.call("GET", "sobjects/Contact/describe", headers=header).status_code == 304
    org.control("POST", "time", {"advance_s": 10})
    org.control("POST", "settings", {"hidden_fields": []})
    assert org.call("GET", "sobjects/Contact/describe", headers=header).status_code == 200


def test_every_object_is_listed_and_described(org: Any) -> None:
    listed = [s["name"] for s in org.call("GET", "sobjects").json()["sobjects"]]
    assert {"Contact", "Lead", "Account", "Task", "Case", "User", "Social_Outbound__c", "TaskStatus"} <= set(listed)
    for name in listed:
        assert org.call("GET", f"sobjects/{name}/describe").json()["name"] == name
    assert org.call("GET", "sobjects/Nothing__c/describe").status_code == 404


def test_an_unsupported_method_on_a_known_resource_is_405(org: Any, error_codes: Any) -> None:
    answer = org.call("DELETE", "limits")
    assert (answer.status_code, error_codes(answer)) == (405, ["METHOD_NOT_ALLOWED"])


def test_a_record_that_is_not_shared_is_absent_but_its_key_still_clashes(
    org: Any, human: Any, error_codes: Any
) -> None:
    person = org.unique("unshared")
    key = org.contact(SMM_Person_Key__c=person)
    org.control("POST", "settings", {"invisible": [key]})
    soql = f"SELECT Id FROM Contact WHERE Id = '{key}'"
    assert org.query(soql, "queryAll") == []
    assert [row["Id"] for row in human.query(soql)] == [key]
    assert org.call("GET", f"sobjects/Contact/{key}").status_code == 404
    refused = org.create("Task", TASK | {"WhoId": key})
    assert error_codes(refused) == ["INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"]
    row = org.upsert_rows("Contact", "SMM_Person_Key__c", [{"SMM_Person_Key__c": person, "LastName": "x"}]).json()[0]
    assert row["errors"][0]["statusCode"] == "DUPLICATE_VALUE"
    assert "<unknown>" in row["errors"][0]["message"]


@pytest.mark.parametrize(("header", "assigned"), [({}, True), ({"Sforce-Auto-Assign": "FALSE"}, False)])
def test_the_assignment_rule_takes_a_new_lead_unless_the_header_forbids_it(
    org: Any, header: dict[str, str], assigned: bool
) -> None:
    queue = org.query("SELECT Id FROM Group WHERE Type = 'Queue'")[0]["Id"]
    org.control("POST", "settings", {"assignment_owner": queue})
    made = org.create("Lead", {"LastName": "x", "Company": "y"}, headers=header).json()["id"]
    assert (org.raw("Lead", made)["OwnerId"] == queue) == assigned
