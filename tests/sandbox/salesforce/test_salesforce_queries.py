"""SOQL: what it finds, how it is ordered, shown and paged, and what it refuses."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.salesforce.errors import Refused
from connector.sandbox.salesforce.soql import Combine, Compare, Literal, parse


@pytest.fixture(scope="module")
def people(_clients: Any) -> dict[str, str]:
    """Four contacts of two accounts, told apart from all others by their department."""
    org = _clients["connector"]
    acme, bolt = org.seed("Account", {"Name": "Acme", "Rating": "Hot"}, {"Name": "Bolt"})
    rows = [
        {
            "LastName": "Ångström",
            "Email": "a@x.example",
            "AccountId": acme,
            "Title": "10% off",
            "Birthdate": "1990-01-01",
        },
        {
            "LastName": "Bakker",
            "Email": "B@x.example",
            "AccountId": bolt,
            "Title": "o'clock",
            "Birthdate": "1985-05-05",
        },
        {"LastName": "bos", "AccountId": acme, "HasOptedOutOfEmail": True, "Title": "back\\slash"},
        {"LastName": "Cruz", "Title": "a_b"},
    ]
    keys = org.seed("Contact", *[{"Department": "Queries", "FirstName": "F", **row} for row in rows])
    org.seed("Case", {"ContactId": keys[0], "Subject": "1"}, {"ContactId": keys[0], "Subject": "2", "Status": "Closed"})
    org.seed("Case", {"ContactId": keys[1], "Subject": "3"})
    return dict(zip(("angstrom", "bakker", "bos", "cruz"), keys, strict=True))


def names(org: Any, where: str, tail: str = "") -> list[str]:
    soql = f"SELECT LastName FROM Contact WHERE Department = 'Queries' AND ({where}) {tail}"
    return [row["LastName"] for row in org.query(soql)]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("LastName = 'BAKKER'", "Bakker"),
        ("lastname != 'bakker'", "Ångström bos Cruz"),
        ("Email = null", "bos Cruz"),
        ("Email != null", "Ångström Bakker"),
        ("Email != 'a@x.example'", "Bakker bos Cruz"),
        ("Email IN ('A@X.example', 'b@x.example')", "Ångström Bakker"),
        ("Email NOT IN ('a@x.example')", "Bakker bos Cruz"),
        ("LastName LIKE 'b%'", "Bakker bos"),
        ("LastName LIKE '_os'", "bos"),
        ("Title LIKE '%0\\% %'", "Ångström"),
        ("Title LIKE 'a\\_b'", "Cruz"),
        ("Title = 'o\\'clock'", "Bakker"),
        ("Title = 'back\\\\slash'", "bos"),
        ("HasOptedOutOfEmail = true", "bos"),
        ("HasOptedOutOfEmail != TRUE AND Email = null", "Cruz"),
        ("Birthdate > 1986-01-01", "Ångström"),
        ("Birthdate <= 1985-05-05", "Bakker"),
        ("NOT Email = null", "Ångström Bakker"),
        ("LastName = 'Cruz' OR (Email != null AND Birthdate < 1990-01-01)", "Bakker Cruz"),
        ("Account.Rating = 'hot'", "Ångström bos"),
        ("Account.Name = null", "Cruz"),
        ("Contact.Account.Name = 'Bolt'", "Bakker"),
        ("Owner.Email = 'admin@acme.example' AND LastName = 'bos'", "bos"),
        ("CreatedDate = TODAY", "Ångström Bakker bos Cruz"),
        ("CreatedDate >= LAST_N_DAYS:3 AND CreatedDate < TOMORROW", "Ångström Bakker bos Cruz"),
        ("CreatedDate < YESTERDAY", ""),
        ("SystemModstamp > 2020-01-01T00:00:00Z AND SystemModstamp <= 2120-01-01T00:00:00.000+01:00",
         "Ångström Bakker bos Cruz"),
        ("SystemModstamp < 2020-01-01T00:00:00Z", ""),
    ],
)  # fmt: skip
def test_a_condition_finds_the_rows_it_describes(org: Any, people: dict[str, str], where: str, found: str) -> None:
    assert names(org, where) == found.split()


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        ("ORDER BY LastName", "Bakker bos Cruz Ångström"),
        ("ORDER BY LastName DESC LIMIT 2", "Ångström Cruz"),
        ("ORDER BY Email, LastName", "bos Cruz Ångström Bakker"),
        ("ORDER BY Email ASC NULLS LAST, LastName DESC", "Ångström Bakker Cruz bos"),
        ("ORDER BY Account.Name NULLS LAST, Id", "Ångström bos Bakker Cruz"),
        ("ORDER BY Id LIMIT 2 OFFSET 1", "Bakker bos"),
        ("ORDER BY Id OFFSET 9", ""),
    ],
)
def test_rows_come_in_the_order_asked_for(org: Any, people: dict[str, str], tail: str, found: str) -> None:
    assert names(org, "Id != null", tail) == found.split()


def test_ids_compare_in_either_form(org: Any, people: dict[str, str]) -> None:
    short = people["bos"][:15]
    assert names(org, f"Id = '{short}'") == names(org, f"Id IN ('{people['bos']}')") == ["bos"]
    assert names(org, f"Id > '{people['bos']}'") == ["Cruz"]


def test_parents_are_shown_nested_and_a_missing_parent_as_null(org: Any, people: dict[str, str]) -> None:
    where = f"WHERE Id IN ('{people['bakker']}', '{people['cruz']}') ORDER BY Id"
    first, second = org.query(f"SELECT Account.Name, Account.Rating, Account.Owner.Name FROM Contact {where}")
    assert first["Account"]["Name"] == "Bolt"
    assert first["Account"]["Rating"] is None
    assert first["Account"]["Owner"]["Name"] == "Avery Admin"
    assert first["Account"]["attributes"]["type"] == "Account"
    assert second["Account"] is None


def test_a_polymorphic_parent_tells_its_type(org: Any, people: dict[str, str]) -> None:
    lead = org.lead(FirstName="Lea", LastName="Linde")
    keys = [org.create("Task", {"Subject": "x", "WhoId": who}).json()["id"] for who in (lead, people["bos"])]
    keys.append(org.create("Task", {"Subject": "nobody"}).json()["id"])
    inside = "', '".join(keys)
    rows = org.query(f"SELECT Who.Type, Who.Name, Owner.Name FROM Task WHERE Id IN ('{inside}') ORDER BY Id")
    assert [row["Who"] and (row["Who"]["Type"], row["Who"]["Name"]) for row in rows] == [
        ("Lead", "Lea Linde"), ("Contact", "F bos"), None,
    ]  # fmt: skip
    found = org.query(f"SELECT Id FROM Task WHERE Who.Type = 'Lead' AND Id IN ('{inside}')")
    assert [row["Id"] for row in found] == keys[:1]


def test_count_gives_a_number_and_no_rows(org: Any, people: dict[str, str]) -> None:
    soql = "SELECT COUNT() FROM Contact WHERE Department = 'Queries'"
    assert org.call("GET", "query", params={"q": soql}).json() == {"totalSize": 4, "done": True, "records": []}


def test_children_are_sub_selected(org: Any, people: dict[str, str]) -> None:
    soql = (
        "SELECT LastName, (SELECT Subject FROM Cases WHERE IsClosed = false) FROM Contact WHERE Department = 'Queries'"
    )
    rows = {row["LastName"]: row["Cases"] for row in org.query(soql)}
    assert rows["Ångström"]["totalSize"] == 1
    assert [case["Subject"] for case in rows["Bakker"]["records"]] == ["3"]
    assert rows["Cruz"] is None


def test_groups_are_counted_per_value(org: Any, people: dict[str, str]) -> None:
    inside = f"('{people['angstrom']}', '{people['bakker']}')"
    soql = f"SELECT ContactId, COUNT(Id) n FROM Case WHERE ContactId IN {inside} GROUP BY ContactId ORDER BY ContactId"
    rows = org.query(soql)
    assert [(row["ContactId"], row["n"]) for row in rows] == [(people["angstrom"], 2), (people["bakker"], 1)]
    assert rows[0]["attributes"] == {"type": "AggregateResult"}


@pytest.mark.parametrize(
    ("select", "shown"),
    [
        ("MIN(Birthdate) low, MAX(Birthdate) high", {"low": "1985-05-05", "high": "1990-01-01"}),
        ("COUNT(Email), COUNT_DISTINCT(AccountId)", {"expr0": 2, "expr1": 2}),
    ],
)
def test_aggregates_over_everything_are_one_row(
    org: Any, people: dict[str, str], select: str, shown: dict[str, Any]
) -> None:
    row = org.query(f"SELECT {select} FROM Contact WHERE Department = 'Queries'")[0]
    assert {name: row[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("", "MALFORMED_QUERY"),
        ("SELECT FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id Contact", "MALFORMED_QUERY"),
        ("SELECT * FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Id IN ()", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'a' AND Title = 'b' OR Title = 'c'", "MALFORMED_QUERY"),
        ('SELECT Id FROM Contact WHERE LastName = "a"', "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'a", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'a\\q'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName == 'a'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = a", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact; DROP", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact LIMIT -1", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact GROUP BY LastName", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Id IN (SELECT ContactId FROM Case)", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = '" + "x" * 4001 + "'", "MALFORMED_QUERY"),
        ("SELECT LastName, COUNT(Id) FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
        ("SELECT Id FROM Nothing__c", "INVALID_TYPE"),
        ("SELECT Nothing FROM Contact", "INVALID_FIELD"),
        ("SELECT Id, id FROM Contact", "INVALID_FIELD"),
        ("SELECT Nothing__r.Name FROM Contact", "INVALID_FIELD"),
        ("SELECT Who.Department FROM Task", "INVALID_FIELD"),
        ("SELECT Id, (SELECT Id FROM Nothings) FROM Contact", "INVALID_TYPE"),
        ("SELECT Type FROM Task", "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Task ORDER BY Description", "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE SystemModstamp > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE SystemModstamp > 2026-01-01", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE HasOptedOutOfEmail = 'true'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE LastName = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Id = 'abc'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Contact WHERE CreatedDate LIKE 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE AccountId LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR"),
    ],
)
def test_a_wrong_query_is_refused_with_its_code(org: Any, error_codes: Any, soql: str, code: str) -> None:
    answer = org.call("GET", "query", params={"q": soql})
    assert (answer.status_code, error_codes(answer)) == (400, [code])


def test_pages_follow_next_records_url_and_show_the_rows_of_the_first_moment(org: Any) -> None:
    keys = org.seed("Lead", *[{"LastName": f"P{i}", "Company": "Pages"} for i in range(5)])
    org.control("POST", "settings", {"page_size": 2})
    soql = "SELECT LastName FROM Lead WHERE Company = 'Pages' ORDER BY LastName"
    page = org.call("GET", "query", params={"q": soql}).json()
    org.call("PATCH", f"sobjects/Lead/{keys[4]}", json={"LastName": "Changed"})
    org.call("DELETE", f"sobjects/Lead/{keys[3]}")
    seen = page["records"]
    while not page["done"]:
        assert re.fullmatch(r"/services/data/v67\.0/query/01g\w{15}-\d+", page["nextRecordsUrl"])
        assert page["totalSize"] == 5
        page = org.call("GET", page["nextRecordsUrl"]).json()
        seen += page["records"]
    assert [row["LastName"] for row in seen] == ["P0", "P1", "P2", "P3", "P4"]


def test_a_batch_size_below_200_is_raised_to_200(org: Any) -> None:
    org.seed("Lead", *[{"LastName": f"B{i}", "Company": "Batch"} for i in range(201)])
    soql = "SELECT Id FROM Lead WHERE Company = 'Batch'"
    answer = org.call("GET", "query", params={"q": soql}, headers={"Sforce-Query-Options": "batchSize=50"})
    assert (len(answer.json()["records"]), answer.json()["totalSize"]) == (200, 201)


def test_a_locator_dies_after_two_days(org: Any, error_codes: Any) -> None:
    org.control("POST", "settings", {"page_size": 1})
    page = org.call("GET", "query", params={"q": "SELECT Id FROM User"}).json()
    org.control("POST", "time", {"advance_s": 2 * 86_400 + 1})
    answer = org.call("GET", page["nextRecordsUrl"])
    assert (answer.status_code, error_codes(answer)) == (400, ["INVALID_QUERY_LOCATOR"])
    assert error_codes(org.call("GET", "query/01gnonsense-2000")) == ["INVALID_QUERY_LOCATOR"]


def test_query_hides_the_recycle_bin_and_archived_activities_and_query_all_shows_both(org: Any) -> None:
    subject = org.unique("Hidden")
    kept, gone, old = org.seed("Task", *[{"Subject": subject, "IsArchived": a} for a in (False, False, True)])
    org.call("DELETE", f"sobjects/Task/{gone}")
    soql = f"SELECT Id, IsDeleted FROM Task WHERE Subject = '{subject}'"
    assert [row["Id"] for row in org.query(soql)] == [kept]
    assert {row["Id"]: row["IsDeleted"] for row in org.query(soql, "queryAll")} == {kept: False, gone: True, old: False}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


@given(TEXT)
def test_any_text_survives_quoting(text: str) -> None:
    query = parse(f"SELECT Id FROM Task WHERE Subject = {quoted(text)}")
    assert query.where == Compare(("Subject",), "=", (Literal("string", text),))


@given(st.lists(TEXT, min_size=1, max_size=5), st.integers(0, 9999), st.integers(0, 2000))
def test_a_generated_query_is_read_back_whole(values: list[str], limit: int, offset: int) -> None:
    inside = ", ".join(quoted(v) for v in values)
    query = parse(f"select a.B__r.C, d from E where (f in ({inside}) and not g = null) limit {limit} offset {offset}")
    assert query.select == (("a", "B__r", "C"), ("d",))
    assert (query.source, query.limit, query.offset) == ("E", limit, offset)
    assert isinstance(query.where, Combine)
    assert query.where.parts[0] == Compare(("f",), "in", tuple(Literal("string", v) for v in values))


PIECES = [
    "SELECT",
    "Id",
    "FROM",
    "Task",
    "WHERE",
    "AND",
    "(",
    ")",
    "=",
    "'a'",
    "LIMIT",
    "5",
    "GROUP",
    "BY",
    ",",
    "\\",
    "é",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join) | st.text(max_size=80))
def test_any_text_is_a_query_or_a_clear_refusal(text: str) -> None:
    def outcome() -> str:
        try:
            return type(parse(text)).__name__
        except Refused as refused:
            return refused.problems[0].code

    assert outcome() in ("Query", "MALFORMED_QUERY")
