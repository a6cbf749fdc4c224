"""The pure parts: search conditions, external ids, values, error names, versions, places, turns."""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.base import Lookup, Write
from connector.adapters.odoo import domains
from connector.adapters.odoo.errors import classify, of_status, unclear
from connector.adapters.odoo.reads import Place
from connector.adapters.odoo.transport import major
from connector.adapters.odoo.values import (
    MODULE,
    SUBTYPE,
    FieldType,
    cell,
    external_key,
    external_name,
    is_number,
    plain_time,
    shown,
    stored,
)
from connector.adapters.odoo.writes import Row, _turns
from connector.errors import AuthError, RecordGone, Rejected, SchemaDrift, Transient, Unreadable
from connector.model import Kind, Ref, stamp

# ---- domains: Odoo's own reading of them, in Python ------------------------------------------------------------------


def operand(parts: Iterator, row: dict) -> bool:
    """One operand of a domain in polish notation. Raises StopIteration when an operator lacks one."""
    part = next(parts)
    if isinstance(part, str):
        assert part in ("|", "&"), f"{part!r} is no operator"
        left, right = operand(parts, row), operand(parts, row)
        return (left or right) if part == "|" else (left and right)
    field, operator, value = part
    assert isinstance(field, str)
    assert operator in ("=", "in", "=ilike", "=like", "not like")
    return holds(row.get(field, False), operator, value)


def holds(held, operator: str, value) -> bool:
    match operator:
        case "=":
            return type(held) is type(value) and held == value
        case "in":
            return held in value
        case "not like":
            return held is False or value not in held
        case _:
            flags = re.IGNORECASE if operator == "=ilike" else 0
            return held is not False and re.fullmatch(like(value), held, flags | re.DOTALL) is not None


def like(pattern: str) -> str:
    """PostgreSQL's LIKE as a regular expression."""
    parts = re.findall(r"\\(.)|(%)|(_)|(.)", pattern, re.DOTALL)
    return "".join(
        re.escape(escaped) if escaped else ".*" if any_ else "." if one else re.escape(plain)
        for escaped, any_, one, plain in parts
    )


def matches(domain: list, row: dict) -> bool:
    """A whole domain: its terms are joined by an unsaid "and"."""
    parts, results, left = iter(domain), [], len(domain)
    while left:
        results.append(operand(parts, row))
        left = parts.__length_hint__()
    return all(results)


def is_one_operand(domain: list) -> bool:
    parts = iter(domain)
    operand(parts, {})
    return parts.__length_hint__() == 0


def skeleton(domain: list) -> list:
    """The domain without the values."""
    return [part if isinstance(part, str) else part[:2] for part in domain]


def flat(some: list[list]) -> list:
    return [part for one in some for part in one]


FACTS = [f"fact{n}" for n in range(5)]
TERMS = st.sampled_from(FACTS).map(lambda name: [name, "=", True])
DOMAINS = st.recursive(
    st.lists(TERMS, min_size=1, max_size=3),
    lambda inner: st.lists(inner, max_size=4).map(domains.any_of) | st.lists(inner, min_size=1, max_size=3).map(flat),
    max_leaves=12,
)
ROWS = st.fixed_dictionaries({name: st.booleans() for name in FACTS})

TYPES = {name: FieldType(name, "char") for name in ("name", "email", "phone", "email_normalized", "phone_sanitized")}
HOSTILE = st.sampled_from(["|", "&", "!", "%", "_", "\\", "id", "o'hara", '["id", ">", 0]', "))", "=ilike", "\\%"])
VALUES = st.lists(HOSTILE | st.text(min_size=1).filter(str.strip), min_size=1, max_size=8)
WAYS = st.sampled_from([("name", "exact"), ("email", "exact"), ("message_id", "exact"), ("phone", "phone")])


@given(st.lists(DOMAINS, max_size=5), ROWS)
def test_any_of_is_one_operand_that_holds_where_one_of_the_conditions_does(conditions, row):
    joined = domains.any_of(conditions)
    assert is_one_operand(joined)
    assert matches(joined, row) is any(matches(one, row) for one in conditions)


@given(DOMAINS, ROWS)
def test_all_of_is_one_operand_that_says_the_same(domain, row):
    joined = domains.all_of(domain)
    assert is_one_operand(joined)
    assert matches(joined, row) is matches(domain, row)


@given(DOMAINS)
def test_joining_a_second_time_adds_nothing(domain):
    assert domains.all_of(domains.all_of(domain)) == domains.all_of(domain)


@given(WAYS, VALUES, st.sampled_from([14, 19]))
def test_a_search_is_well_formed_and_no_value_becomes_a_part_of_it(way, values, version):
    field, how = way
    hostile = domains.lookups([Lookup("res.partner", field, value, how) for value in values], TYPES, version)
    tame = domains.lookups([Lookup("res.partner", field, "tame", how) for _ in values], TYPES, version)
    matches(hostile, {})
    assert skeleton(hostile) == skeleton(tame)


@given(VALUES, st.data())
def test_a_value_finds_itself_in_any_case_and_nothing_else(values, data):
    search = domains.lookups([Lookup("res.partner", "name", value) for value in values], TYPES, 19)
    stripped = [value.strip() for value in values]
    held = data.draw(st.sampled_from(stripped) | st.text())
    wanted = any(re.fullmatch(re.escape(value), held, re.IGNORECASE) for value in stripped)
    assert matches(search, {"name": held}) is wanted


@given(st.integers(610000000, 699999999), st.sampled_from(["+31{n}", "0{n}", "+31 {a} {b}", "0{a}-{b}", "(0){a}/{b}"]))
@pytest.mark.parametrize("version", [14, 19])
def test_a_phone_number_is_found_in_whatever_way_it_was_typed(version, number, typed):
    text = str(number)
    row = {"phone": typed.format(n=text, a=text[:2], b=text[2:]), "phone_sanitized": False}
    assert matches(domains.lookups([Lookup("res.partner", "phone", f"+31{text}", "phone")], TYPES, version), row)
    other = domains.lookups([Lookup("res.partner", "phone", "+31700000001", "phone")], TYPES, version)
    assert not matches(other, row)


def test_a_number_that_the_server_understood_is_not_looked_through_digit_by_digit():
    search = domains.lookups([Lookup("res.partner", "phone", "+31612345678", "phone")], TYPES, 19)
    assert matches(search, {"phone": "whatever", "phone_sanitized": "+31612345678"})
    assert not matches(search, {"phone": "06 12345678", "phone_sanitized": "+32612345678"})


def test_an_address_is_found_inside_a_longer_one_through_its_normalized_form():
    search = domains.lookups([Lookup("res.partner", "email", "Noor@Mail.example")], TYPES, 19)
    assert matches(search, {"email": "Noor <noor@mail.example>", "email_normalized": "noor@mail.example"})


# ---- values ----------------------------------------------------------------------------------------------------------


@given(st.text())
def test_any_key_survives_as_an_external_id_without_blanks(key):
    name = external_name(key)
    assert not re.search(r"\s", name)
    assert name.isascii()
    assert external_key(f"{MODULE}.{name}") == key


@given(st.text(), st.text())
def test_two_keys_never_share_an_external_id(one, other):
    assert (external_name(one) == external_name(other)) is (one == other)


@pytest.mark.parametrize("complete", ["", "base.main_partner", f"{MODULE}_two.key", f"x{MODULE}.key", "key"])
def test_the_external_ids_of_others_are_not_ours(complete):
    assert external_key(complete) is None


NAMES = {1: "New", 2: "Old", 3: "VIP, gold"}
SUBTYPES = {1: "mail.mt_comment", 2: "mail.mt_note"}


def names(model: str, id_: int) -> str | None:
    return (SUBTYPES if model == SUBTYPE else NAMES).get(id_)


def ids(model: str, value):
    by_name = {name: id_ for id_, name in (SUBTYPES if model == SUBTYPE else NAMES).items()}
    if isinstance(value, list):
        return [by_name[one] for one in value]
    return int(value) if is_number(value) else by_name[value]


def read_back(field: FieldType, given_):
    """What Odoo answers for a value it was given in `create`."""
    if field.type == "many2one":
        return [given_, "its display name"] if given_ else False
    return given_[0][2] if field.type == "many2many" else given_


def loaded(field: FieldType, column: str, text: str):
    """What Odoo answers for a cell it was given in `load`."""
    if not text:
        return [] if field.type == "many2many" else False
    match field.type:
        case "boolean":
            return text == "1"
        case "integer":
            return int(text)
        case "float" | "monetary":
            return float(text)
        case "many2one":
            assert column in ("f/.id", "f/id")
            return [int(text) if column == "f/.id" else ids(field.relation, text), "its display name"]
        case "many2one_reference":
            return int(text)
        case "many2many":
            assert column == "f/.id"
            return [int(one) for one in text.split(",")]
        case _:
            assert column == "f"
            return text


TEXT = st.text(min_size=1)
MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1)).map(lambda moment: f"{moment.isoformat(timespec='seconds')}Z")
NUMBER = st.integers(1, 10**9).map(str)
OF_A_TYPE = {
    ("char", ""): st.none() | TEXT,
    ("text", ""): st.none() | TEXT,
    ("html", ""): st.none() | TEXT,
    ("selection", ""): st.none() | TEXT,
    ("boolean", ""): st.booleans(),
    ("integer", ""): st.integers(),
    ("float", ""): st.floats(allow_nan=False, allow_infinity=False),
    ("monetary", ""): st.floats(allow_nan=False, allow_infinity=False),
    ("date", ""): st.none() | st.dates().map(str),
    ("datetime", ""): st.none() | MOMENTS,
    ("many2one", "res.users"): st.none() | NUMBER,
    ("many2one", SUBTYPE): st.none() | st.sampled_from(sorted(SUBTYPES.values())),
    ("many2one_reference", ""): st.none() | NUMBER,
    ("many2many", "res.partner.category"): st.sets(st.sampled_from(sorted(NAMES.values()))).map(sorted),
}


@pytest.mark.parametrize(("type_", "relation"), OF_A_TYPE, ids=lambda part: part or "-")
@given(data=st.data())
def test_a_value_is_read_as_it_was_written(type_, relation, data):
    field, value = FieldType("f", type_, relation), data.draw(OF_A_TYPE[type_, relation])
    assert shown(field, read_back(field, stored(field, value, ids)), names) == value
    column, text = cell(field, "f", value, ids)
    assert isinstance(text, str)
    assert shown(field, loaded(field, column, text), names) == value


@pytest.mark.parametrize(("type_", "relation"), OF_A_TYPE, ids=lambda part: part or "-")
def test_nothing_empties_a_field_of_every_type(type_, relation):
    field = FieldType("f", type_, relation)
    assert stored(field, None, ids) == ([[6, 0, []]] if type_ == "many2many" else False)
    assert cell(field, "f", None, ids)[1] == ("0" if type_ == "boolean" else "")


def test_a_link_by_external_id_is_left_to_odoo_in_load_and_looked_up_otherwise():
    field = FieldType("res_model_id", "many2one", SUBTYPE)
    assert cell(field, "res_model_id", "base.model_res_partner", ids) == ("res_model_id/id", "base.model_res_partner")
    assert stored(field, "mail.mt_note", ids) == 2


def test_a_tag_without_a_name_and_an_unknown_subtype_do_not_stop_a_read():
    assert shown(FieldType("f", "many2many", "res.partner.category"), [1, 99], names) == ["New"]
    assert shown(FieldType("f", "many2one", SUBTYPE), [99, "Gone"], names) == "99"


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_written_in_the_only_form_that_odoo_takes(moment):
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", plain_time(stamp(moment)))


@pytest.mark.parametrize(("value", "expected"), [("12", True), (12, True), ("", False), ("-1", False), ("١٢", False)])
def test_only_plain_digits_are_an_id(value, expected):
    assert is_number(value) is expected


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message", "status", "expected"),
    [
        ("odoo.exceptions.AccessDenied", "Access Denied", 200, AuthError),
        ("werkzeug.exceptions.Unauthorized", "Invalid apikey", 401, AuthError),
        ("odoo.http.SessionExpiredException", "Session expired", 403, AuthError),
        ("odoo.exceptions.AccessError", "no access", 403, Rejected),
        ("werkzeug.exceptions.Forbidden", "no", 403, Rejected),
        ("odoo.exceptions.MissingError", "deleted", 404, RecordGone),
        ("odoo.exceptions.ValidationError", "a rule", 422, Rejected),
        ("odoo.exceptions.UserError", "a rule", 422, Rejected),
        ("odoo.exceptions.RedirectWarning", "go there", 422, Rejected),
        ("werkzeug.exceptions.NotFound", "no model", 404, SchemaDrift),
        ("builtins.KeyError", "nope", 500, SchemaDrift),
        ("builtins.AttributeError", "no method", 500, SchemaDrift),
        ("builtins.ValueError", "Invalid field 'nope' on 'res.partner'", 500, SchemaDrift),
        ("builtins.ValueError", "Invalid field 'nope' on model 'res.partner'", 200, SchemaDrift),
        ("builtins.ValueError", "unconverted data remains: Z", 500, Rejected),
        ("werkzeug.exceptions.UnprocessableEntity", "unexpected argument", 422, Rejected),
        ("builtins.TypeError", "unhashable", 500, Rejected),
        ("something.New", "", 500, Rejected),
        ("", "", 500, Rejected),
        ("psycopg2.errors.SerializationFailure", "could not serialize", 500, Transient),
        ("psycopg2.errors.LockNotAvailable", "lock", 200, Transient),
        ("psycopg2.errors.DeadlockDetected", "deadlock", 500, Transient),
        ("psycopg2.OperationalError", "server closed the connection", 500, Transient),
        ("psycopg2.InterfaceError", "cursor already closed", 500, Transient),
        ("psycopg2.OperationalError", 'FATAL: database "nowhere" does not exist', 200, AuthError),
    ],
)
def test_the_name_of_an_error_decides_whose_fault_it_is(name, message, status, expected):
    found = classify({"name": name, "message": message}, status=status, retry_after=3)
    assert type(found) is expected
    # One call is one transaction: what Odoo refuses has not been done.
    assert found.certain
    assert expected is Transient or found.way_out
    assert found.retry_after == (3 if expected is Transient else None)


@pytest.mark.parametrize(
    ("status", "expected", "certain"),
    [
        (429, Transient, True),
        (500, Transient, False),
        (502, Transient, False),
        (503, Transient, False),
        (504, Transient, False),
        (401, AuthError, True),
        (403, AuthError, True),
        (404, AuthError, True),
        (415, Unreadable, False),
        (400, Unreadable, False),
    ],
)
def test_an_answer_without_an_error_is_judged_by_its_status(status, expected, certain):
    found = of_status(status, 7)
    assert (type(found), found.certain, found.code) == (expected, certain, str(status))
    assert found.retry_after == (7 if expected is Transient else None)


@given(st.text(), st.text())
def test_every_error_object_has_a_meaning(name, message):
    assert str(classify({"name": name, "message": message}))


@pytest.mark.parametrize("told", [{}, {"name": None, "message": None}, {"name": 5, "message": ["x"]}])
def test_an_error_without_a_name_or_message_has_a_meaning_too(told):
    assert classify(told).certain


def test_a_statement_of_the_database_is_not_repeated_to_anybody():
    statement = "UPDATE res_partner SET email = 'noor@mail.example'"
    assert "noor" not in str(classify({"name": "psycopg2.errors.SerializationFailure", "message": statement}))


@pytest.mark.parametrize("certain", [True, False])
def test_an_error_keeps_all_but_its_certainty(certain):
    error = classify({"name": "odoo.exceptions.ValidationError", "message": "a rule"})
    again = unclear(error, certain=certain)
    assert (str(again), type(again), again.certain) == (str(error), type(error), certain)


# ---- versions, places, turns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"version_info": [19, 0, 0, "final", 0, ""], "version": "19.0"}, 19),
        ({"server_version": "14.0", "server_version_info": [14, 0, 0, "final", 0, ""]}, 14),
        ({"server_version": "17.0+e", "server_version_info": [17, 0, 0, "final", 0, "e"]}, 17),
        ({"version_info": ["saas~18", 2, 0, "final", 0, "e"]}, 18),
        ({"version_info": ["saas~18.3", 0, 0, "final", 0, ""]}, 18),
        ({"version_info": ["16", 0, 0, "final", 0, ""]}, 16),
    ],
)
def test_the_major_version_is_read_from_every_spelling(told, expected):
    assert major(told) == expected


@pytest.mark.parametrize("told", [None, [], "19.0", {}, {"version": "19.0"}, {"version_info": []}])
def test_a_server_that_tells_no_version_is_no_odoo(told):
    with pytest.raises(Unreadable):
        major(told)


@given(st.text(), st.integers(0), st.text())
def test_a_place_survives_as_a_token(model, last, until):
    place = Place(model, last, until)
    assert Place.parse(str(place)) == place


def write(object_: str, target: str | None, key: str | None) -> Write:
    ref = Ref("odoo", object_, target) if target else None
    return Write(Kind.PERSON, object_, {}, ref, None if key is None else ("external_id", key))


WRITES = st.lists(
    st.builds(
        write,
        st.sampled_from(["res.partner", "crm.lead"]),
        st.none() | st.sampled_from("12"),
        st.none() | st.sampled_from(["1", "2", "a"]),
    ),
    max_size=20,
)


@given(WRITES)
def test_no_record_is_written_twice_in_a_turn_and_each_in_the_order_of_its_writes(writes):
    rows = [Row(place, one) for place, one in enumerate(writes)]
    turns = list(_turns(rows))
    assert sorted(row.place for turn in turns for row in turn) == list(range(len(writes)))
    for turn in turns:
        assert len({row.identity for row in turn}) == len(turn) > 0
        assert [row.place for row in turn] == sorted(row.place for row in turn)
    by_identity = sorted((row.identity, number, row.place) for number, turn in enumerate(turns) for row in turn)
    for _, group in groupby(by_identity, key=lambda one: one[0]):
        places = [place for _, _, place in group]
        assert places == sorted(places)


@given(WRITES)
def test_writes_without_a_target_or_key_are_records_of_their_own(writes):
    free = [Write(one.kind, one.object, {}) for one in writes]
    turns = list(_turns([Row(place, one) for place, one in enumerate(free)]))
    assert len(turns) == (1 if free else 0)
