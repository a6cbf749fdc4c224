"""The pure parts: error codes, SOQL texts, ids, records."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.adapters.base import ObjectRead
from connector.adapters.phones import same_phone
from connector.adapters.salesforce import soql
from connector.adapters.salesforce.errors import classify, is_expired, is_too_heavy
from connector.adapters.salesforce.ids import id18
from connector.adapters.salesforce.reads import Step, Walk
from connector.adapters.salesforce.records import moment, observed, plain
from connector.errors import (
    AllowanceSpent,
    AuthError,
    RecordGone,
    Rejected,
    SchemaDrift,
    Transient,
    Unreadable,
)
from connector.model import Kind, Life, Ref, stamp

TARGET = Ref("salesforce", "Contact", "0035g0000000001AAA")


def error(code: str, message: str = "no", fields=(), **more) -> dict:
    return {"errorCode": code, "message": message, "fields": list(fields), **more}


@pytest.mark.parametrize(
    ("code", "status", "expected", "certain"),
    [
        ("INVALID_SESSION_ID", 401, AuthError, True),
        ("SERVER_UNAVAILABLE", 503, Transient, False),
        ("UNKNOWN_EXCEPTION", 500, Transient, False),
        ("UNABLE_TO_LOCK_ROW", 400, Transient, True),
        ("QUERY_TIMEOUT", 400, Transient, True),
        ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", 400, Transient, True),
        ("STORAGE_LIMIT_EXCEEDED", 403, AllowanceSpent, True),
        ("INVALID_FIELD", 400, SchemaDrift, True),
        ("INVALID_TYPE", 400, SchemaDrift, True),
        ("REQUIRED_FIELD_MISSING", 400, Rejected, True),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", 400, Rejected, True),
        ("SOMETHING_NEW", 400, Rejected, True),
        ("SOMETHING_NEW", 500, Transient, False),
        ("MALFORMED_QUERY", 400, Unreadable, True),
        ("INSUFFICIENT_ACCESS", 403, AuthError, True),
        ("API_DISABLED_FOR_ORG", 403, AuthError, True),
        ("TXN_SECURITY_NO_ACCESS", 403, AuthError, True),
        ("ENTITY_IS_DELETED", 404, RecordGone, True),
    ],
)
def test_a_code_decides_whose_fault_it_is(code, status, expected, certain):
    found = classify([error(code)], status=status)
    assert type(found) is expected
    assert found.certain is certain
    assert found.code == code


@pytest.mark.parametrize(
    ("body", "status", "expected", "certain"),
    [
        ("<html>", 503, Transient, False),
        ("", 502, Transient, False),
        ("", 406, Transient, True),
        ("", 429, Transient, True),
        (None, 420, Transient, True),
        ({"error": "x"}, 401, AuthError, True),
        ("<html>", 404, Unreadable, True),
        ("", 410, Unreadable, True),
        ("<html>", 400, Unreadable, True),
        ([], 500, Transient, False),
        (["https://acme.example/1"], 300, Unreadable, True),
    ],
)
def test_without_a_code_the_status_decides(body, status, expected, certain):
    found = classify(body, status=status)
    assert type(found) is expected
    assert found.certain is certain


@pytest.mark.parametrize(
    ("message", "expected", "pause"),
    [
        ("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", Transient, 5),
        ("TotalRequests Limit exceeded.", AllowanceSpent, None),
    ],
)
def test_two_limits_share_a_code_and_not_a_meaning(message, expected, pause):
    found = classify([error("REQUEST_LIMIT_EXCEEDED", message)], status=403)
    assert type(found) is expected
    assert found.retry_after == pause


@pytest.mark.parametrize(
    ("code", "fields", "target", "expected"),
    [
        ("INVALID_CROSS_REFERENCE_KEY", (), TARGET, RecordGone),
        ("INVALID_CROSS_REFERENCE_KEY", ("WhoId",), TARGET, Rejected),
        ("INVALID_CROSS_REFERENCE_KEY", (), None, Rejected),
        ("ENTITY_IS_DELETED", (), TARGET, RecordGone),
        ("ENTITY_IS_DELETED", ("WhoId",), TARGET, Rejected),
        ("ENTITY_IS_DELETED", (), None, Rejected),
        ("CANNOT_UPDATE_CONVERTED_LEAD", (), TARGET, RecordGone),
        ("INSUFFICIENT_ACCESS_OR_READONLY", (), TARGET, Rejected),
    ],
)
def test_a_row_error_is_about_the_target_or_about_what_it_points_at(code, fields, target, expected):
    item = {"statusCode": code, "message": "no", "fields": list(fields)}
    found = classify([item], status=200, target=target, row=True)
    assert type(found) is expected
    assert found.fields == fields


def test_several_errors_are_all_kept_and_the_gravest_decides():
    found = classify(
        [error("UNABLE_TO_LOCK_ROW", "busy"), error("STRING_TOO_LONG", "too long", ["A"]), error("X", "odd", ["B"])],
        status=400,
    )
    assert type(found) is Rejected
    assert found.fields == ("A", "B")
    assert all(part in found.detail for part in ("busy", "too long", "odd"))


@pytest.mark.parametrize("name", ["duplicateResult", "duplicateResut"])
def test_duplicates_are_named(name):
    record = {"attributes": {"type": "Lead"}, "Id": "00Q5g0000000001"}
    result = {"allowSave": True, "matchResults": [{"matchRecords": [{"record": record}]}]}
    found = classify([error("DUPLICATES_DETECTED", **{name: result})], status=400)
    assert found.others == (f"salesforce:Lead:{id18('00Q5g0000000001')}",)


@pytest.mark.parametrize("id_", ["0035g0000000001", "<unknown>"])
def test_a_unique_clash_names_the_holder_if_it_is_visible(id_):
    message = f"duplicate value found: K__c duplicates value on record with id: {id_}"
    found = classify([error("DUPLICATE_VALUE", message)], status=400, object_="Contact")
    assert found.others == ((f"salesforce:Contact:{id18(id_)}",) if id_[0] == "0" else ())


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, [error("INVALID_SESSION_ID", "Session expired or invalid")], True),
        (401, "<html>", True),
        (401, [error("INVALID_SESSION_ID", "This session is not valid for use with the REST API")], False),
        (401, [error("X", "Connected app is not attached to Agent")], False),
        (420, "", True),
        (403, [error("REQUEST_LIMIT_EXCEEDED")], False),
    ],
)
def test_a_new_token_is_asked_for_only_where_it_may_help(status, body, expected):
    assert is_expired(status, body) is expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("System.LimitException: Too many SOQL queries: 101", True),
        ("Apex CPU time limit exceeded", True),
        ("no", False),
    ],
)
def test_a_governor_limit_asks_for_fewer_rows(message, expected):
    found = classify([error("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)], status=400)
    assert is_too_heavy(found) is expected


WORDS = st.text(min_size=1, max_size=80)
FIELDS = ("Id", "Email")


@settings(deadline=None)
@given(st.lists(WORDS, max_size=60))
def test_every_value_is_covered_by_one_query_and_no_query_has_two_that_differ_in_case_alone(values):
    packed = list(soql.where_in("Contact", FIELDS, "Email", values))
    assert sorted(value for batch, _ in packed for value in batch) == sorted(set(values))
    for batch, _ in packed:
        assert len({value.casefold() for value in batch}) == len(batch)


@settings(deadline=None)
@given(st.lists(st.text(min_size=100, max_size=1000), max_size=40))
def test_no_query_is_longer_than_an_address_may_be(values):
    for _, query in soql.where_in("Contact", FIELDS, "LastName", values):
        assert len(soql.uri("/services/data/v67.0", query, all_rows=True)) <= 16_384


@settings(deadline=None)
@given(WORDS)
def test_a_value_cannot_leave_its_quotes(value):
    ((_, query),) = soql.where_in("Contact", FIELDS, "Email", [value])
    inner = query.removeprefix("SELECT Id, Email FROM Contact WHERE Email IN ('").removesuffix("')")
    unescaped = inner.replace("\\\\", "").replace("\\'", "")
    assert "'" not in unescaped
    assert not unescaped.endswith("\\")


@pytest.mark.parametrize("name", ["Email; DROP", "a.b.", "1st", "", "Email OR Id", "Ünï__c"])
def test_a_name_that_is_none_never_reaches_a_query(name):
    with pytest.raises(SchemaDrift):
        list(soql.where_in("Contact", FIELDS, name, ["x"]))


def test_a_page_query_goes_on_after_the_pair_of_stamp_and_id():
    query = soql.changes(
        "Task",
        ("Id",),
        floor="2026-01-01T00:00:00Z",
        until="2026-01-02T00:00:00Z",
        after=("2026-01-01T10:00:00Z", "00T1"),
        where=["K__c != null"],
    )
    assert query == (
        "SELECT Id FROM Task WHERE K__c != null AND (SystemModstamp > 2026-01-01T10:00:00Z OR "
        "(SystemModstamp = 2026-01-01T10:00:00Z AND Id > '00T1')) AND SystemModstamp <= 2026-01-02T00:00:00Z "
        "ORDER BY SystemModstamp, Id LIMIT 2000"
    )


@settings(deadline=None)
@given(st.integers(min_value=612345600, max_value=612345699), st.sampled_from([" ", "-", ".", " / "]))
def test_a_number_matches_its_own_formatting_and_no_neighbour(national, mark):
    digits = str(national)
    stored = f"0{digits[0]}{mark}{digits[1:5]}{mark}{digits[5:]}"
    assert same_phone(f"+31{national}", stored)
    assert same_phone(f"+31{national}", f"+31 (0){digits}")
    assert not same_phone(f"+31{national + 1}", stored)
    assert not same_phone(f"+31{national}", f"+32 {digits}")


def test_a_number_that_is_none_compares_by_its_digits():
    assert same_phone("12", "1-2")
    assert not same_phone("12", "ask at the desk")


@pytest.mark.parametrize(
    ("short", "long"),
    [("0035g00000abcDE", "0035g00000abcDEAAY"), ("0035g0000000001", "0035g0000000001AAA"), ("x", "x"), ("", "")],
)
def test_ids_are_given_their_checksum(short, long):
    assert id18(short) == long
    assert id18(long) == long


@settings(deadline=None)
@given(st.text(alphabet="0123456789ABCdef", min_size=15, max_size=15))
def test_ids_that_differ_in_case_alone_differ_without_case_in_their_long_form(id_):
    other = id_.swapcase()
    assert (id18(id_).casefold() == id18(other).casefold()) == (id_ == other)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05.000+0000", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02", "2026-01-02"),
        ("text", "text"),
        (None, None),
        (0, 0),
    ],
)
def test_times_are_read_in_one_form(value, expected):
    assert plain(value) == expected


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)))
def test_a_time_is_cut_to_the_second_and_read_back(time):
    aware = time.replace(tzinfo=UTC)
    assert moment(stamp(aware)) == aware.replace(microsecond=0)


READ = ObjectRead(Kind.PERSON, ("LastName", "Owner.Name", "Account.Owner.Name", "OpenCaseCount"))
ROW = {
    "Id": "0035g0000000001",
    "SystemModstamp": "2026-01-02T03:04:05.000+0000",
    "LastModifiedDate": "2026-01-02T03:04:00.000+0000",
    "LastModifiedById": "0055g0000000002AAA",
    "IsDeleted": False,
    "LastName": "Lind",
    "Owner": {"attributes": {"type": "User"}, "Name": "Sam"},
    "Account": None,
}


def seen(row=ROW, **options):
    return observed("Contact", READ, row, user="0055g0000000002AAA", open_cases=options.pop("open_cases", 2))


def test_a_row_is_read_with_its_paths_flat():
    found = seen()
    assert found.ref.id == "0035g0000000001AAA"
    assert found.fields == {"LastName": "Lind", "Owner.Name": "Sam", "Account.Owner.Name": None, "OpenCaseCount": 2}
    assert found.changed_at == datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC)
    assert (found.life, found.ours) == (Life.LIVE, True)


def test_a_value_that_lives_elsewhere_makes_a_new_version():
    assert seen().version == seen().version
    assert seen().version != seen(open_cases=3).version
    assert seen().version != seen({**ROW, "Owner": {"Name": "Kim"}}).version
    assert seen().version.startswith("2026-01-02T03:04:05Z~")


@pytest.mark.parametrize(
    ("more", "life", "into"),
    [
        ({"IsDeleted": True}, Life.GONE, None),
        ({"IsDeleted": True, "MasterRecordId": "0035g0000000009"}, Life.MERGED, "0035g0000000009AAA"),
        ({"IsConverted": True, "ConvertedContactId": "0035g0000000009AAA"}, Life.MERGED, "0035g0000000009AAA"),
        ({"IsConverted": True, "ConvertedContactId": None}, Life.GONE, None),
    ],
)
def test_a_row_tells_whether_it_still_stands(more, life, into):
    found = seen({**ROW, **more})
    assert found.life is life
    assert (found.merged_into.id if found.merged_into else None) == into


@settings(deadline=None)
@given(
    st.builds(
        Walk,
        st.lists(
            st.builds(
                Step, st.sampled_from(["Contact", "Task"]), st.none() | WORDS, st.none() | st.tuples(WORDS, WORDS)
            )
        ).map(tuple),
        st.none() | WORDS,
    )
)
def test_a_place_in_a_window_survives_as_text(walk):
    assert Walk.parse(str(walk)) == walk


def test_an_address_holds_the_query_encoded():
    assert (
        soql.uri("/x", "a = '+&'", all_rows=False) == f"/x/query?q={quote(chr(97) + ' = ' + chr(39) + '+&' + chr(39))}"
    )
