"""What holds for every value: ids, normal forms, indexes, rollback, and queries with and without an index."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.salesforce import ids
from connector.sandbox.salesforce.admin import seed
from connector.sandbox.salesforce.errors import Refused
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.query import Cursors, run
from connector.sandbox.salesforce.schema import Field
from connector.sandbox.salesforce.soql import parse
from connector.sandbox.salesforce.standard import standard_schema
from connector.sandbox.salesforce.store import Store, Table
from connector.sandbox.salesforce.values import normalise, read_datetime, show_datetime, utf16_length
from connector.sandbox.salesforce.where import compile_where

NUMBERS = st.integers(0, 62**9 - 1)


@given(NUMBERS)
def test_a_15_character_id_grows_to_the_same_18(number: int) -> None:
    made = ids.make("003", number)
    assert len(made) == 18
    assert ids.normalise(made[:15]) == ids.normalise(made) == made


@given(NUMBERS, NUMBERS)
def test_ids_rise_with_their_number(one: int, other: int) -> None:
    assert (one < other) == (ids.make("003", one) < ids.make("003", other))


@given(NUMBERS)
def test_an_id_whose_case_was_lost_is_refused(number: int) -> None:
    made = ids.make("00T", number)
    for place in (at for at, char in enumerate(made[:15]) if char.isalpha()):
        assert not ids.is_id(made[:place] + made[place].swapcase() + made[place + 1 :])


@given(st.text(max_size=60), st.sampled_from(["string", "textarea"]))
def test_a_stored_text_is_in_its_normal_form_and_never_cut(text: str, kind: str) -> None:
    field = Field(name="F", type=kind, length=40)
    try:
        stored = normalise(field, text)
    except Refused as refused:
        stored = refused.problems[0].code
        assert utf16_length(text) > 40 or kind == "textarea"
    if stored is None:
        assert not text.strip()
    elif stored != "STRING_TOO_LONG":
        assert utf16_length(stored) <= 40
        assert normalise(field, stored) == stored
        assert stored.split() == text.split()


@given(st.datetimes(datetime(1700, 1, 1), datetime(4000, 12, 31), timezones=st.just(UTC)))
def test_a_datetime_is_read_back_at_whole_seconds(moment: datetime) -> None:
    assert read_datetime(show_datetime(moment)) == moment.replace(microsecond=0)


CELLS = st.fixed_dictionaries(
    {"SystemModstamp": st.sampled_from(["s1", "s2", "s3"])},
    optional={"Email": st.sampled_from(["a@b", "A@B", "c@d"]), "AccountId": st.sampled_from(["x", "y"])},
)
WRITES = st.lists(st.tuples(st.sampled_from("abcd"), CELLS | st.none()), max_size=20)


def check_indexes(table: Table) -> None:
    assert table.stamps == sorted((row["SystemModstamp"], key) for key, row in table.rows.items())
    for name in ("Email", "AccountId"):
        held = {key for bucket in table.index[name].values() for key in bucket}
        assert held == {key for key, row in table.rows.items() if name in row}
    for value in ("a@b", "c@d"):
        expected = [key for key in sorted(table.rows) if table.rows[key].get("Email", "").lower() == value]
        assert table.find("Email", value) == [table.rows[key] for key in expected]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store(standard_schema(), tmp_path_factory.mktemp("store") / "rows.sqlite")
    yield made
    made.close()


@given(before=WRITES, after=WRITES)
def test_indexes_follow_every_write_and_a_rollback_undoes_them(store: Store, before: Any, after: Any) -> None:
    table = store.tables["Contact"]
    for key, row in before:
        store.put(table, key, row)
    rows, mark = dict(table.rows), store.mark()
    for key, row in after:
        store.put(table, key, row, visible_at=1.0)
    check_indexes(table)
    store.rollback(mark)
    check_indexes(table)
    assert (table.rows, table.uncommitted) == (rows, {})
    store.rollback(0)
    assert (table.rows, table.stamps, any(table.index.values())) == ({}, [], False)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Org]:
    org = Org(tmp_path_factory.mktemp("org"))
    accounts = seed(org, org.schema["Account"], [{"Name": f"A{i}"} for i in range(3)])
    for number in range(40):
        org.set_offset(number // 4)
        values = {"LastName": f"N{number % 7}", "AccountId": accounts[number % 3] if number % 4 else None}
        seed(org, org.schema["Contact"], [values | {"Email": f"e{number % 5}@x.example" if number % 3 else None}])
    yield org
    org.store.close()


CONDITIONS = st.recursive(
    st.sampled_from(
        ["Email = null", "Email != 'e1@x.example'", "LastName LIKE 'n_'", "LastName = 'N3'", "Account.Name = 'A1'"]
    )
    | st.sampled_from(["=", "!=", "IN", "NOT IN"]).flatmap(
        lambda op: st.integers(0, 5).map(
            lambda n: f"Email {op} ('E{n}@X.example', 'e0@x.example')" if "IN" in op else f"Email {op} 'E{n}@X.example'"
        )
    )
    | st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 39)).map(
        lambda t: f"SystemModstamp {t[0]} #{t[1]}"
    )
    | st.tuples(st.sampled_from(["=", "IN"]), st.integers(0, 39)).map(
        lambda t: f"Id {t[0]} ('@{t[1]}')" if t[0] == "IN" else f"Id = '@{t[1]}'"
    ),
    lambda inner: (
        st.tuples(st.sampled_from([" AND ", " OR "]), st.lists(inner, min_size=2, max_size=3)).map(
            lambda t: "(" + t[0].join(t[1]) + ")"
        )
        | inner.map(lambda c: f"(NOT {c})")
    ),
    max_leaves=6,
)


@given(condition=CONDITIONS)
def test_an_index_never_changes_what_a_query_finds(people: Org, condition: str) -> None:
    rows = [people.store.tables["Contact"].rows[key] for key in sorted(people.store.tables["Contact"].rows)]
    for number in range(39, -1, -1):
        stamp = rows[number]["SystemModstamp"].replace(".000+0000", "Z")
        condition = condition.replace(f"#{number}", stamp).replace(f"@{number}'", rows[number]["Id"] + "'")
    text = f"SELECT Id FROM Contact WHERE {condition} ORDER BY Id"
    where = parse(text).where
    assert where is not None
    accept = compile_where(people, people.schema["Contact"], where)
    found = run(people, people.admin, Cursors(), text, everything=True, page_size=2000)["records"]
    assert [row["Id"] for row in found] == [row["Id"] for row in rows if accept(row)]
