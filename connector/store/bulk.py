"""Many rows or values in one statement, for both databases: lists to look for, inserts, changes. Statements that live as long as
the program are compiled once; SQLAlchemy's own way, row by row, takes longer than either database does. PostgreSQL gets all rows
at once, SQLite rows that are made ready column by column.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice, repeat
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    Table,
    Update,
    any_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import StatementError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.sql.visitors import iterate, replacement_traverse

T = TypeVar("T")
Row: TypeAlias = Mapping[str, Any]
Among: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""What `listed` makes: of a column, that its value is one of these."""
Columns: TypeAlias = list[tuple[str | None, Callable[[Any], Any] | None, Any]]
"""In a statement's order: the name of a row's value, None where it is a constant; what makes the value ready for the driver, None
where it is; the constant."""

CHUNK = 2000
"""Values of one piece. Where they cannot be one parameter, SQLite takes 32,766 in one statement ("Implementation limits for SQLite");
the largest query here repeats the list three times."""

STATEMENTS = 64
"""Kept ready; there are fewer that many rows are written with."""


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def listed(db: Connection, values: Iterable[object]) -> Iterator[Among]:
    """The values in pieces, each a condition of a statement. A piece is one parameter, so that a statement reads the same, and is
    compiled once, however many there are."""
    among = _any_of if db.dialect.name == "postgresql" else _in_json
    return map(among, chunks(values))


def _any_of(values: list[Any]) -> Among:
    return lambda column: column == any_(bindparam(None, values, postgresql.ARRAY(column.type)))


def _in_json(values: list[Any]) -> Among:
    text = json.dumps(values)
    # SQLite ends a text of JSON at a NUL.
    listed = values if "\\u0000" in text else select(func.json_each(text).table_valued("value").c.value)
    return lambda column: column.in_(listed)


def insert(db: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that knows ON CONFLICT; both databases have the same words for it."""
    return _insert(db.dialect.name, table)


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def upsert(db: Connection, table: Table, rows: Sequence[Row], **changed: ColumnElement[Any]) -> None:
    """Inserts rows or, where the primary key is there already, replaces the other columns (`changed`: by this instead). Of rows with
    the same key the last one stands."""
    if rows:
        keys = [column.name for column in table.primary_key.columns]
        last = {tuple(row[key] for key in keys): row for row in rows}
        insert_all(db, _upserting(db.dialect.name, table, tuple(rows[0]), tuple(changed.items())), list(last.values()))


@lru_cache(maxsize=STATEMENTS)
def _upserting(
    dialect: str, table: Table, names: tuple[str, ...], changed: tuple[tuple[str, ColumnElement[Any]], ...]
) -> Insert:
    keys = [column.name for column in table.primary_key.columns]
    statement = _insert(dialect, table)
    values = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_={**values, **dict(changed)})


def insert_new(db: Connection, table: Table, rows: Sequence[Row], *keys: str) -> None:
    """Inserts the rows whose keys are not there yet."""
    insert_all(db, _inserting_new(db.dialect.name, table, keys), rows)


@lru_cache(maxsize=STATEMENTS)
def _inserting_new(dialect: str, table: Table, keys: tuple[str, ...]) -> Insert:
    return _insert(dialect, table).on_conflict_do_nothing(index_elements=keys)


def change(db: Connection, table: Table, where: ColumnElement[bool], rows: Sequence[Row]) -> None:
    """Looks for the rows of the table by those values that `where` names as parameters, and sets the others. `where` lives as long
    as the program; no two rows are to find the same one."""
    if rows and db.dialect.name == "postgresql":
        _at_once(db, _changing_all(table, where, tuple(rows[0])), rows)
    elif rows:
        _one_by_one(db, _changing(table, where), rows)


@lru_cache(maxsize=STATEMENTS)
def _changing(table: Table, where: ColumnElement[bool]) -> Update:
    return update(table).where(where)


@lru_cache(maxsize=STATEMENTS)
def _changing_all(table: Table, where: ColumnElement[bool], names: tuple[str, ...]) -> Update:
    asked = {one.key: one.type for one in iterate(where) if isinstance(one, BindParameter)}
    given = _given({name: asked[name] if name in asked else table.c[name].type for name in names})

    def its(element: Any, **_: object) -> Any:
        return given.c[element.key] if isinstance(element, BindParameter) else None

    found = replacement_traverse(where, {}, its)
    return update(table).where(found).values({name: given.c[name] for name in names if name not in asked})


def insert_all(db: Connection, statement: Insert, rows: Sequence[Row]) -> None:
    """Inserts rows, in their order; all of them name the same values. `statement` lives as long as the program."""
    if rows and db.dialect.name == "postgresql":
        _at_once(db, _inserting_all(statement, tuple(rows[0])), rows)
    elif rows:
        _one_by_one(db, statement, rows)


@lru_cache(maxsize=STATEMENTS)
def _inserting_all(statement: Insert, names: tuple[str, ...]) -> Insert:
    return statement.from_select(names, select(_given({name: statement.table.c[name].type for name in names})))


def _given(types: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """Rows whose values come as one list for each name."""
    return select(*(_each(name, type_).label(name) for name, type_ in types.items())).subquery()


def _each(name: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    if isinstance(type_, JSON):
        # One text for all: psycopg takes the texts of an array apart, sign by sign.
        return func.json_array_elements(bindparam(name, type_=type_))
    return func.unnest(bindparam(name, type_=postgresql.ARRAY(type_, dimensions=1)))


def _at_once(db: Connection, statement: Insert | Update, rows: Sequence[Row]) -> None:
    db.execute(statement, {name: [row[name] for row in rows] for name in rows[0]})


def _one_by_one(db: Connection, statement: Insert | Update, rows: Sequence[Row]) -> None:
    text, columns = _compiled(db.dialect, statement, tuple(rows[0]))
    made: list[Iterable[Any]] = []
    for name, ready, constant in columns:
        values = repeat(constant, len(rows)) if name is None else map(itemgetter(name), rows)
        made.append(map(ready, values) if ready else values)
    try:
        ready_rows = list(zip(*made, strict=True))
    except (TypeError, ValueError) as error:
        raise StatementError("a value cannot be stored", text, None, error, hide_parameters=True) from error
    db.exec_driver_sql(text, ready_rows)


@lru_cache(maxsize=STATEMENTS)
def _compiled(dialect: Dialect, statement: Insert | Update, names: tuple[str, ...]) -> tuple[str, Columns]:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup
    columns: Columns = []
    for name in compiled.positiontup:
        ready = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
        columns.append((name if name in names else None, ready, compiled.params[name]))
    return compiled.string, columns
