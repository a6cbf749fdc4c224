"""No value changes what an Odoo search asks or where a call goes. A domain is read back by a reader of its own here, which
knows the prefix notation and PostgreSQL's LIKE, and matches the rows that were meant and no others."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import responses
from hostile import PIECES, SECRET, fuzz, texts
from hypothesis import example, given
from hypothesis import strategies as st

from connector.adapters.base import Lookup, ObjectRead, Window, Write
from connector.adapters.odoo import Odoo, domains
from connector.adapters.odoo.values import FieldType
from connector.errors import RemoteError
from connector.model import Kind, Life, Receipt, Ref

OPERATORS = {"=", "!=", "in", "not in", "=like", "=ilike", "not like", ">", ">=", "<", "<="}


def read(domain: list[Any]) -> list[Any]:
    """A domain as a list of trees that all must hold: `["|", a, b]`, `["&", a, b]` or a term. Fails on any other form."""
    parts = list(domain)

    def tree() -> Any:
        part = parts.pop(0)
        if part in ("|", "&"):
            return [part, tree(), tree()]
        assert isinstance(part, list)
        field, operator, value = part
        assert re.fullmatch(r"[a-z_]+", field)
        assert operator in OPERATORS
        assert isinstance(value, str | int | list)
        return (field, operator, value)

    found = []
    while parts:
        found.append(tree())
    return found


def like(pattern: str, text: str, *, fold: bool) -> bool:
    """PostgreSQL's LIKE: % and _ stand for anything, a backslash takes the next character as it is."""
    parts = re.findall(r"\\.|.|\\$", pattern, re.DOTALL)
    signs = {"%": ".*", "_": "."}
    expression = "".join(
        re.escape(part[1:] if part[0] == "\\" else part) if part not in signs else signs[part] for part in parts
    )
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def holds(tree: Any, row: dict[str, Any]) -> bool:
    if isinstance(tree, list):
        joined = any if tree[0] == "|" else all
        return joined(holds(one, row) for one in tree[1:])
    field, operator, value = tree
    stored = row.get(field, False)
    match operator:
        case "=":
            return stored == value
        case "in":
            return stored in value
        case "=like" | "=ilike":
            return stored is not False and like(value, stored, fold=operator == "=ilike")
        case "not like":
            return stored is False or value not in stored
    raise AssertionError(operator)


def shape(tree: Any) -> Any:
    return [tree[0], *map(shape, tree[1:])] if isinstance(tree, list) else tree[:2]


TYPES = {
    name: FieldType(name, "char")
    for name in ("name", "email", "ref", "phone", "email_normalized", "phone_sanitized", "message_id")
}


@fuzz(75)
@given(
    st.sampled_from(["name", "ref", "email", "message_id"]),
    st.lists(texts.filter(str.strip), min_size=1, max_size=5),
    st.lists(texts, max_size=4),
)
@example("name", ["%"], ["x"])
@example("name", ["a_b", "a\\%b"], ["aXb", "a\\Xb"])
@example("email", ["|", "&"], ["!"])
def test_a_search_finds_what_was_looked_for_and_no_wild_card_more(
    field: str, values: list[str], others: list[str]
) -> None:
    lookups = [Lookup("res.partner", field, value) for value in values]
    trees = read(domains.lookups(lookups, TYPES, 19))
    harmless = read(domains.lookups([Lookup("res.partner", field, "x") for _ in values], TYPES, 19))
    assert [shape(tree) for tree in trees] == [shape(tree) for tree in harmless]
    wanted = {value.strip() for value in values}
    assert all(all(holds(tree, {field: value}) for tree in trees) for value in wanted)
    folded = (
        {value.lower() for value in wanted}
        | {value.upper() for value in wanted}
        | {value.casefold() for value in wanted}
    )
    for other in (*others, *PIECES):
        alike = {other.lower(), other.upper(), other.casefold()} & folded
        if not alike and not any(re.fullmatch(re.escape(value), other, re.IGNORECASE) for value in wanted):
            assert not all(holds(tree, {field: other}) for tree in trees)


@fuzz(45)
@given(st.lists(texts.filter(str.strip), min_size=1, max_size=5), st.sampled_from([16, 19]))
@example(["+31612345678", "%"], 19)
def test_a_search_by_phone_looks_for_digits_alone(values: list[str], version: int) -> None:
    trees = read(domains.lookups([Lookup("res.partner", "phone", value, "phone") for value in values], TYPES, version))

    def patterns(tree: Any) -> Iterator[str]:
        if isinstance(tree, list):
            for one in tree[1:]:
                yield from patterns(one)
        elif tree[1] == "=like":
            yield tree[2]

    found = [one for tree in trees for one in patterns(tree)]
    assert len(found) == len(values)
    assert all(re.fullmatch(r"%(\d%)*%?", one) for one in found)


@fuzz(30)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3), max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"])),
)
def test_joined_conditions_hold_when_one_of_them_does(conditions: list[list[str]], present: list[str]) -> None:
    given_ = [[[name, "=", 1] for name in names] for names in conditions]
    row = dict.fromkeys(present, 1) | {"id": 7}
    trees = read(domains.any_of(given_))
    assert len(trees) == 1
    assert holds(trees[0], row) is any(all(name in present for name in names) for names in conditions)
    assert all(len(read(domains.all_of(one))) == 1 for one in given_)


# ---- the whole adapter -------------------------------------------------------------------------------------------------

READS = {
    "res.partner": ObjectRead(Kind.PERSON, ("name", "email", "phone", "external_id"), "external_id"),
    "mail.message": ObjectRead(Kind.MESSAGE, ("body", "message_id"), "message_id", "res_id"),
}


class Server:
    """An Odoo 19 that judges every call and has no records."""

    def __init__(self) -> None:
        self.searched: list[list[Any]] = []
        self.numbers: list[int] = []

    def __call__(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(str(request.url))
        assert (parts.netloc, parts.query) == ("acme.example", "")
        told: Any = {"version_info": [19, 0]}
        status = 200
        if parts.path != "/web/version":
            found = re.fullmatch(r"/json/2/([A-Za-z0-9_.]+)/([a-z_]+)", parts.path)
            assert found, parts.path
            assert ".." not in found[1]
            status, told = self._answer(found[1], found[2], json.loads(request.body or ""))
        return status, {"Content-Type": "application/json", "Date": "Fri, 02 Jan 2026 03:04:05 GMT"}, json.dumps(told)

    def _answer(self, model: str, method: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.numbers += body.get("ids", [])
        if "domain" in body:
            self.searched.append(read(body["domain"]))
            self.numbers += [
                n
                for _, _, value in _terms(body["domain"])
                for n in (value if isinstance(value, list) else [value])
                if isinstance(n, int)
            ]
        match method:
            case "context_get":
                return 200, {"uid": 2}
            case "fields_get":
                names = ("name", "email", "ref", "phone", "body", "message_id", "write_date", "create_date")
                return 200, {name: {"type": "char"} for name in names} | {"id": {"type": "integer"}}
            case "check_object_reference":
                return 422, {"name": "builtins.ValueError", "message": "not found"}
            case "create":
                return 200, [5] * len(body["vals_list"])
            case "load":
                return 200, {"ids": [5] * len(body["data"]), "messages": []}
            case "write" | "unlink" | "has_access":
                return 200, True
        return 200, []


def _terms(domain: list[Any]) -> list[Any]:
    return [part for part in domain if isinstance(part, list)]


@pytest.fixture
def server() -> Iterator[Server]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        server = Server()
        for method in (responses.GET, responses.POST):
            mocked.add_callback(method, re.compile(".*"), server)
        yield server


@pytest.fixture
def odoo(server: Server) -> Odoo:
    return Odoo(
        "https://acme.example",
        "acme",
        "crm",
        SECRET,
        READS,
        clock=lambda: datetime(2026, 1, 2, tzinfo=UTC),
        sleep=lambda _: None,
    )


hostile_ids = st.one_of(
    texts,
    st.integers(-5, 2**33).map(str),
    st.sampled_from(["7", "٣", "9" * 5000, "2147483647", "2147483648", "-1", "7,8", "1.0"]),
)


@fuzz(36)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["res.partner", "mail.message"]),
            st.sampled_from(["id", "email", "name", "phone", "message_id", "external_id"]),
            st.one_of(texts, hostile_ids),
        ),
        min_size=1,
        max_size=5,
    )
)
@example([("res.partner", "id", "9" * 5000)])
@example([("res.partner", "id", "2147483648")])
@example([("res.partner", "phone", "unknown")])
@example([("res.partner", "external_id", "\ud800")])
@example([("res.partner", "name", "\x00")])
def test_whatever_is_looked_for_the_server_gets_a_search_it_can_run(
    server: Server, odoo: Odoo, wanted: list[tuple[str, str, str]]
) -> None:
    server.searched, server.numbers = [], []
    lookups = [Lookup(model, field, value, "phone" if field == "phone" else "exact") for model, field, value in wanted]
    assert odoo.find(lookups) == [[] for _ in wanted]
    assert all(-1 < number < 2**31 for number in server.numbers)
    assert not re.search(r"\\x00|\\ud[89a-f]|'%%'", ascii(server.searched))


@fuzz(24)
@given(st.lists(hostile_ids, min_size=1, max_size=5))
@example(["9" * 5000])
@example(["2147483648", "7"])
@example(["../../web"])
def test_a_ref_that_is_no_number_is_gone_and_not_asked_for(server: Server, odoo: Odoo, ids: list[str]) -> None:
    server.numbers = []
    refs = [Ref("odoo", "res.partner", id_) for id_ in ids]
    found = odoo.fetch(refs)
    assert [one.ref for one in found] == refs
    assert all(one.life is Life.GONE for one in found if not (one.ref.id.isascii() and one.ref.id.isdigit()))
    list(odoo.pull("gone", Window(None, linked=lambda after, _: [] if after else refs)))
    assert all(-1 < number < 2**31 for number in server.numbers)


@fuzz(24)
@given(st.lists(hostile_ids, min_size=1, max_size=4), texts)
@example(["9" * 5000], "x")
@example(["x", "y"], "x")
def test_a_write_to_a_ref_that_is_no_number_harms_no_record(
    server: Server, odoo: Odoo, ids: list[str], value: str
) -> None:
    server.numbers = []
    writes = [Write(Kind.PERSON, "res.partner", {"name": value}, Ref("odoo", "res.partner", id_)) for id_ in ids]
    for results in (odoo.upsert(writes), odoo.remove(writes)):
        assert all(isinstance(result, Receipt | RemoteError) for result in results)
    assert all(number == 0 or str(number) in {id_.lstrip("0") for id_ in ids} for number in server.numbers)


@fuzz(30)
@given(
    st.one_of(
        texts,
        st.sampled_from(
            [
                "res.partner/../../web",
                "res.partner/unlink?x=",
                "../x",
                "res..partner",
                "res.partner\n",
                "%2e%2e",
                "rés.partner",
            ]
        ),
    )
)
@example("res.partner/unlink#")
def test_a_model_of_the_mapping_never_changes_where_a_call_goes(server: Server, odoo: Odoo, model: str) -> None:
    """The server judges the address."""
    calls: tuple[Callable[[], object], ...] = (
        lambda: odoo.describe(model),
        lambda: odoo.upsert([Write(Kind.PERSON, model, {"name": "x"}, key=("external_id", "k"))]),
        lambda: odoo.upsert([Write(Kind.PERSON, model, {"name": "x"})]),
    )
    for call in calls:
        with suppress(RemoteError):
            call()
