"""No value, id or name changes what a SOQL statement asks. The judge is the sandbox's parser, which shares no code with the
adapter: the statement has the structure that it has with a harmless value, and the literal reads back as the value."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from hostile import SECRET, fuzz, texts
from hypothesis import assume, example, given
from hypothesis import strategies as st

from connector.adapters.base import Lookup, ObjectRead, Write
from connector.adapters.salesforce import ClientCredentials, Salesforce, soql
from connector.adapters.salesforce.records import ref
from connector.errors import RemoteError, SchemaDrift
from connector.model import Kind, Life, Receipt, Ref
from connector.sandbox.salesforce.errors import Refused
from connector.sandbox.salesforce.soql import Combine, Compare, Condition, Literal, Negate, Query, parse

FIELDS = ("Id", "Email")
STAMP = "2026-01-02T03:04:05Z"


def shape(part: Condition | None, values: list[Any]) -> Any:
    """A condition without its literals; those go into `values`, lists of them as one."""
    match part:
        case Compare(path, operator, literals):
            values.append(tuple(literals))
            return path, operator, tuple(sorted({literal.kind for literal in literals}))
        case Combine(operator, parts):
            return operator, tuple(shape(one, values) for one in parts)
        case Negate(inner):
            return "not", shape(inner, values)
    return None


def taken_apart(statement: str) -> tuple[Any, list[tuple[Literal, ...]]]:
    query, values = parse(statement), []
    frame = (query.select, query.source, query.count, query.group_by, query.order_by, query.limit, query.offset)
    return (frame, shape(query.where, values)), values


def holdable(value: str) -> bool:
    return not re.search("[\ud800-\udfff]", value)


hostile_names = st.one_of(
    texts,
    st.sampled_from(["Id FROM User", "Id,Name", "Id) FROM", "Owner.", ".Name", "a..b", "Name--", "Näme", "٣x", "x\n"]),
)


@fuzz(100)
@given(st.lists(texts, min_size=1, max_size=6))
@example(["') OR Name != ('"])
@example(["\\"])
@example(["\\'", "\\\\'"])
@example(["\ud800", "x"])
@example(["x" * 5000, "y"])
@example(["👩" * 1500, "y"])
@example(["a", "A", "ä", "Ä"])
@example(["'" * 2001])
def test_values_of_a_condition_read_back_as_they_were_put_in(values: list[str]) -> None:
    covered: list[str] = []
    for told, statement in soql.where_in("Contact", FIELDS, "Email", values, " AND IsConverted = false"):
        structure, literals = taken_apart(statement)
        assert structure == taken_apart("SELECT Id, Email FROM Contact WHERE Email IN ('x') AND IsConverted = false")[0]
        assert [literal.value for literal in literals[0]] == told
        assert len(soql.uri("/services/data/v67.0", statement, all_rows=True)) <= soql.LONGEST_URI
        covered += told
    assert len(set(covered)) == len(covered)
    assert set(covered) <= set(values)
    assert {value for value in values if holdable(value) and len(value) <= 255} <= set(covered)


@fuzz(60)
@given(st.lists(texts, min_size=1, max_size=4))
@example(["'; x"])
@example(["+31 6 ' OR 1"])
def test_a_phone_number_becomes_a_pattern_of_digits_alone(values: list[str]) -> None:
    harmless = next(soql.where_phone("Contact", FIELDS, "Phone", ["+31612345678"]))[1]
    for told, statement in soql.where_phone("Contact", FIELDS, "Phone", values):
        (frame, condition), literals = taken_apart(statement)
        assert frame == taken_apart(harmless)[0][0]
        one = (("Phone",), "like", ("string",))
        assert condition == (one if len(told) == 1 else ("or", (one,) * len(told)))
        assert all(re.fullmatch(r"%(\d%)*|%%", literal.value) for (literal,) in literals)


@fuzz(60)
@given(texts)
@example("' OR Id != '")
def test_the_place_inside_a_window_is_compared_and_never_read_as_a_condition(id_: str) -> None:
    def statement(last: str) -> str:
        return soql.changes("Task", FIELDS, floor=STAMP, until=STAMP, after=(STAMP, last), where=["Key__c != null"])

    (structure, literals), (harmless, _) = taken_apart(statement(id_)), taken_apart(statement("x"))
    assert structure == harmless
    assert [literal.value for literal in literals[3]] == [id_]


@fuzz(40)
@given(
    st.one_of(
        texts, st.sampled_from([STAMP + "\n", STAMP + " OR x = 1", "2026-01-02T03:04:05+00:00", "٢٠٢٦-01-02T03:04:05Z"])
    )
)
def test_a_time_that_is_none_never_stands_in_a_statement(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        soql.changes("Task", FIELDS, floor=text, until=None, after=None) if text else soql.literal(text)


@fuzz(80)
@given(hostile_names)
@example("Id FROM User WHERE Name LIKE '%' --")
@example("Name\n")
def test_a_name_is_a_path_of_words_or_refused(name: str) -> None:
    read = ObjectRead(Kind.PERSON, (name,), name, name)
    try:
        columns = soql.columns("Contact", read, name)
        statements = [statement for _, statement in soql.where_in(name, columns, name, ["x"])]
    except SchemaDrift:
        return
    for statement in statements:
        try:
            query = parse(statement)
        except Refused:
            assume(
                False
            )  # A word of the language itself, such as `limit`: refused by the org, and not another question.
        assert query.source == name
        assert query.select == tuple(tuple(column.split(".")) for column in columns)


# ---- the whole adapter -------------------------------------------------------------------------------------------------

BASE = "/services/data/v67.0"
READS = {
    "Contact": ObjectRead(Kind.PERSON, ("LastName", "Email", "Phone", "Owner.Name", "OpenCaseCount"), "Key__c"),
    "Lead": ObjectRead(Kind.PERSON, ("LastName", "Email")),
    "Task": ObjectRead(Kind.MESSAGE, ("Subject", "WhoId"), "Key__c", "WhatId"),
}
IDS = re.compile(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?")
GOOD = "003000000000001AAA"


class Org:
    """An org that judges every request, and whose rows hold whatever they are told to hold."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.queries: list[Query] = []
        self.deleted: list[str] = []

    def __call__(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(str(request.url))
        assert parts.netloc == "acme.my.salesforce.example"
        assert not parts.query
        if parts.path == "/services/oauth2/token":
            told: Any = {"access_token": "t", "instance_url": "https://acme.my.salesforce.example"}
        elif parts.path == "/services/oauth2/userinfo":
            told = {"user_id": "005000000000001AAA"}
        elif parts.path == f"{BASE}/composite":
            body = json.loads(request.body or "")
            told = {"compositeResponse": [self._sub(sub) for sub in body["compositeRequest"]]}
        elif re.fullmatch(rf"{BASE}/sobjects/[A-Za-z]\w*/describe", parts.path, re.ASCII):
            told = {"name": "Task", "fields": [], "createable": True, "updateable": True}
        else:
            # Texts that a composite call would read as references go in a call of their own.
            assert re.fullmatch(rf"{BASE}/composite/sobjects(/\w+/\w+)?", parts.path, re.ASCII), parts.path
            told = [{"success": True, "id": GOOD} for _ in json.loads(request.body or "")["records"]]
        return 200, {"Content-Type": "application/json", "Date": "Fri, 02 Jan 2026 03:04:05 GMT"}, json.dumps(told)

    def _sub(self, sub: dict[str, Any]) -> dict[str, Any]:
        parts = urlsplit(sub["url"])
        asked = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        if parts.path in (f"{BASE}/query", f"{BASE}/queryAll"):
            assert list(asked) == ["q"]
            told: Any = self._rows(*asked["q"])
        elif sub["method"] == "DELETE":
            assert (parts.path, sorted(asked), asked["allOrNone"]) == (
                f"{BASE}/composite/sobjects",
                ["allOrNone", "ids"],
                ["false"],
            )
            ids = asked["ids"][0].split(",")
            assert all(IDS.fullmatch(one) for one in ids)
            self.deleted += ids
            told = [{"success": True, "id": one} for one in ids]
        else:
            assert not parts.query
            assert re.fullmatch(rf"{BASE}/composite/sobjects(/\w+/\w+)?", parts.path, re.ASCII), parts.path
            told = [{"success": True, "id": GOOD} for _ in sub["body"]["records"]]
        return {"referenceId": sub["referenceId"], "httpStatusCode": 200, "body": told}

    def _rows(self, statement: str) -> dict[str, Any]:
        query = parse(statement)
        self.queries.append(query)
        rows = [] if query.group_by else [self._row(query, id_) for id_ in self.ids]
        return {"done": True, "totalSize": len(rows), "records": rows}

    def _row(self, query: Query, id_: str) -> dict[str, Any]:
        stamps = dict.fromkeys(("SystemModstamp", "LastModifiedDate", "CreatedDate"), "2026-01-02T03:04:05.000+0000")
        values = stamps | {
            "Id": id_,
            "LastModifiedById": id_,
            "CreatedById": id_,
            "IsDeleted": False,
            "Email": id_,
            "MasterRecordId": id_,
        }
        row: dict[str, Any] = {}
        for path in query.select:
            assert isinstance(path, tuple)
            row[str(path[0])] = {str(path[1]): id_} if len(path) > 1 else values.get(str(path[0]))
        return row


@pytest.fixture
def org() -> Iterator[Org]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        org = Org()
        for method in (responses.GET, responses.POST, responses.PATCH, responses.DELETE):
            mocked.add_callback(method, re.compile(".*"), org)
        yield org


@pytest.fixture
def salesforce(org: Org) -> Salesforce:
    auth = ClientCredentials("connector", SECRET)
    return Salesforce(
        "https://acme.my.salesforce.example", auth, READS, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC), sleep=lambda _: None
    )  # fmt: skip


hostile_ids = st.one_of(
    texts,
    st.just(GOOD),
    st.text("0123456789abcdefABCDEF", min_size=15, max_size=18),
    st.sampled_from(["a,b", f"{GOOD},{GOOD}", "x&ids=y"]),
)


@fuzz(40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Contact", "Lead"]),
            st.sampled_from(["Id", "Email", "Key__c"]),
            texts,
            st.sampled_from(["exact", "phone"]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(hostile_ids, max_size=3, unique=True),
)
@example([("Contact", "Phone", "unknown", "phone")], [])
@example([("Contact", "Email", "\ud800", "exact"), ("Contact", "Email", "a@b.example", "exact")], [])
@example([("Contact", "Email", "x" * 20_000, "exact"), ("Contact", "Email", "a@b.example", "exact")], [])
def test_whatever_is_looked_for_and_answered_the_org_is_asked_for_that_alone(
    org: Org, salesforce: Salesforce, wanted: list[tuple[str, str, str, str]], ids: list[str]
) -> None:
    org.ids, org.queries = ids, []
    found = salesforce.find([Lookup(object_, field, value, how) for object_, field, value, how in wanted])
    assert len(found) == len(wanted)
    values = {value.strip() for _, _, value, _ in wanted} | {value.strip() + "x" for value in ids}
    for query in org.queries:
        literals: list[Any] = []
        shape(query.where, literals)
        assert query.source in ("Contact", "Lead", "Case")
        patterns = [one.value for group in literals for one in group if one.kind == "string" and "%" in str(one.value)]
        assert "%%" not in patterns, "a number without a digit is looked for in every record"
        if query.source != "Case" and not patterns:
            assert {one.value for one in literals[0]} <= {f"{value}" for value in values} | {
                ref("x", value).id for value in values
            }


@fuzz(32)
@given(
    st.lists(st.tuples(st.sampled_from(["Contact", "Lead", "Task"]), hostile_ids), min_size=1, max_size=5),
    st.lists(hostile_ids, max_size=2),
)
@example([("Contact", "' OR Id != '")], [])
@example([("Contact", GOOD)], ["../../x"])
@example([("Contact", GOOD)], ["\ud800"])
def test_a_ref_that_names_no_record_is_gone_and_not_asked_for(
    org: Org, salesforce: Salesforce, wanted: list[tuple[str, str]], ids: list[str]
) -> None:
    org.ids, org.queries = ids, []
    refs = [Ref("salesforce", object_, id_) for object_, id_ in wanted]
    found = salesforce.fetch(refs)
    assert [one.ref for one in found] == refs
    assert all(one.life is Life.GONE for one in found if not IDS.fullmatch(one.ref.id) and one.ref.id not in ids)
    for query in org.queries:
        literals: list[Any] = []
        shape(query.where, literals)
        assert query.source == "Case" or all(IDS.fullmatch(one.value) for one in literals[0])


@fuzz(32)
@given(st.lists(hostile_ids, min_size=1, max_size=5))
@example([f"{GOOD},003000000000002AAA"])
@example([GOOD, "x&allOrNone=true"])
@example(["../../query?q=SELECT"])
def test_only_the_records_that_were_named_are_deleted(org: Org, salesforce: Salesforce, ids: list[str]) -> None:
    org.deleted = []
    results = salesforce.remove([Write(Kind.MESSAGE, "Task", {}, Ref("salesforce", "Task", id_)) for id_ in ids])
    assert sorted(set(org.deleted)) == sorted({id_ for id_ in ids if IDS.fullmatch(id_)})
    for id_, result in zip(ids, results, strict=True):
        assert isinstance(result, Receipt if IDS.fullmatch(id_) else RemoteError)


@fuzz(32)
@given(hostile_names, hostile_names, texts, texts)
@example("Task", "Key__c", "@{r0.id}", "../x")
@example("Task/../Contact", "Key__c", "x", "x")
@example("Task", "Key__c?x=1", "x", "x")
def test_names_and_values_of_a_write_never_change_where_it_goes(
    org: Org, salesforce: Salesforce, object_: str, field: str, value: str, key: str
) -> None:
    try:
        results = salesforce.upsert([Write(Kind.MESSAGE, object_, {"Subject": value, field: value}, key=(field, key))])
        salesforce.describe(object_)
    except RemoteError:
        return
    assert all(isinstance(result, Receipt | RemoteError) for result in results)
