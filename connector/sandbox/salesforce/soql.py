"""SOQL text -> syntax tree: a tokenizer and a recursive descent parser for the part of the language listed in Query.

Anything else is MALFORMED_QUERY, as on the platform. Reference: "SOQL SELECT Syntax", SOQL and SOSL Reference.
"""

import re
from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce.errors import Refused, refuse

MAX_QUERY = 100_000  # characters of one query ("SOQL and SOSL Limits", Salesforce Developer Limits)
MAX_STRING = 4_000  # characters of one string in WHERE, same page
MAX_OFFSET = 2_000  # rows, same page

Path = tuple[str, ...]  # ("Owner", "Name")


@dataclass(frozen=True, slots=True)
class Literal:
    """A value in a condition. kind: string, number, boolean, null, date, datetime or range (a date literal)."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition; `operator` is =, !=, <, <=, >, >=, like, in or not in. `values` has one entry unless it is a list."""

    path: Path
    operator: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Combine:
    """AND or OR over two and more conditions."""

    operator: str
    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Negate:
    part: "Condition"


Condition = Compare | Combine | Negate


@dataclass(frozen=True, slots=True)
class Aggregate:
    """count, count_distinct, min, max, sum or avg of a field."""

    function: str
    path: Path
    alias: str | None


@dataclass(frozen=True, slots=True)
class Order:
    path: Path
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT. `select` mixes field paths, aggregates and child sub-selects; `count` stands for SELECT COUNT()."""

    select: "tuple[Path | Aggregate | Query, ...]"
    source: str
    count: bool = False
    where: Condition | None = None
    group_by: tuple[Path, ...] = ()
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
    | (?P<date>\d{4}-\d\d-\d\d)
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)
    | (?P<mark><=|>=|!=|<>|[=<>(),:])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_AGGREGATES = frozenset({"count", "count_distinct", "min", "max", "sum", "avg"})
_RESERVED = frozenset(
    {"and", "asc", "desc", "excludes", "first", "from", "group", "having", "in", "includes", "last", "like", "limit"}
    | {"not", "null", "nulls", "offset", "or", "order", "select", "using", "where", "with", "true", "false"}
)
_RANGES = frozenset({"today", "yesterday", "tomorrow"})
_COUNTED_RANGES = frozenset({"last_n_days", "next_n_days", "n_days_ago"})


def _malformed(text: str) -> Refused:
    return refuse("MALFORMED_QUERY", text)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind == "name" else ""


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if not match:
            raise _malformed(f"unexpected token: '{text[position:].strip()[:20]}'")
        kind = str(match.lastgroup)
        found.append(_Token(kind, match.group(kind)))
        position = match.end()
    return found


def parse(text: str) -> Query:
    """The syntax tree of a query. Raises Refused (MALFORMED_QUERY, NUMBER_OUTSIDE_VALID_RANGE)."""
    if len(text) > MAX_QUERY:
        raise refuse("QUERY_TOO_COMPLICATED", f"SOQL statements cannot be longer than {MAX_QUERY} characters.")
    parser = _Parser(_tokens(text))
    query = parser.query()
    if parser.current:
        raise parser.unexpected()
    return query


class _Parser:
    """Reads tokens left to right; each method consumes what it is named after."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0

    @property
    def current(self) -> _Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def unexpected(self) -> Refused:
        return _malformed(f"unexpected token: '{self.current.text[:40] if self.current else '<EOF>'}'")

    def _take(self) -> _Token:
        if self.current is None:
            raise self.unexpected()
        self._position += 1
        return self._tokens[self._position - 1]

    def _accept(self, *words: str) -> bool:
        """Consume these words if they come next."""
        ahead = self._tokens[self._position : self._position + len(words)]
        if [t.word or t.text for t in ahead] != list(words) or any(t.kind == "string" for t in ahead):
            return False
        self._position += len(words)
        return True

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self.unexpected()

    def query(self, *, nested: bool = False) -> Query:
        self._expect("select")
        count = self._accept("count", "(", ")")
        select: list[Path | Aggregate | Query] = []
        if not count:
            select.append(self._selected(nested=nested))
            while self._accept(","):
                select.append(self._selected(nested=nested))
        self._expect("from")
        source = self._source()
        where = self._condition() if self._accept("where") else None
        group_by = self._paths() if self._accept("group", "by") else ()
        order_by = self._orders() if self._accept("order", "by") else ()
        limit = self._whole_number() if self._accept("limit") else None
        offset = self._whole_number() if self._accept("offset") else 0
        if offset > MAX_OFFSET:
            raise refuse("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        return Query(tuple(select), source, count, where, group_by, order_by, limit, offset)

    def _selected(self, *, nested: bool) -> Path | Aggregate | Query:
        if self._accept("("):
            if nested:
                raise self.unexpected()
            inner = self.query(nested=True)
            self._expect(")")
            return inner
        token = self.current
        following = self._tokens[self._position + 1 : self._position + 2]
        if token and token.word in _AGGREGATES and following and following[0].text == "(":
            self._position += 2
            path = self._path()
            self._expect(")")
            alias = None
            if self.current and self.current.kind == "name" and self.current.word not in _RESERVED:
                alias = self._name()
            return Aggregate(token.word, path, alias)
        return self._path()

    def _source(self) -> str:
        """The object's name: Group and Order are objects in spite of being words of the language."""
        if self.current and self.current.word in ("group", "order"):
            return self._take().text
        return self._name()

    def _name(self) -> str:
        token = self._take()
        if token.kind != "name" or token.word in _RESERVED or "." in token.text:
            self._position -= 1
            raise self.unexpected()
        return token.text

    def _path(self) -> Path:
        token = self._take()
        if token.kind != "name" or token.word in _RESERVED:
            self._position -= 1
            raise self.unexpected()
        return tuple(token.text.split("."))

    def _paths(self) -> tuple[Path, ...]:
        found = [self._path()]
        while self._accept(","):
            found.append(self._path())
        return tuple(found)

    def _orders(self) -> tuple[Order, ...]:
        found = [self._order()]
        while self._accept(","):
            found.append(self._order())
        return tuple(found)

    def _order(self) -> Order:
        path = self._path()
        descending = self._accept("desc")
        if not descending:
            self._accept("asc")
        nulls_last = self._accept("nulls", "last")
        if not nulls_last:
            self._accept("nulls", "first")
        return Order(path, descending, nulls_last)

    def _whole_number(self) -> int:
        token = self._take()
        if token.kind != "number" or not token.text.isdigit():
            self._position -= 1
            raise self.unexpected()
        return int(token.text)

    def _condition(self) -> Condition:
        """Conditions joined by one operator: mixing AND and OR needs parentheses, as on the platform."""
        parts = [self._simple()]
        operator = ""
        while self.current and self.current.word in ("and", "or"):
            if operator and self.current.word != operator:
                raise self.unexpected()
            operator = self._take().word
            parts.append(self._simple())
        return Combine(operator, tuple(parts)) if operator else parts[0]

    def _simple(self) -> Condition:
        if self._accept("not"):
            return Negate(self._simple())
        if self._accept("("):
            inner = self._condition()
            self._expect(")")
            return inner
        path = self._path()
        if self._accept("not", "in"):
            return Compare(path, "not in", self._list())
        if self._accept("in"):
            return Compare(path, "in", self._list())
        if self._accept("like"):
            return Compare(path, "like", (self._literal(like=True),))
        token = self._take()
        if token.kind != "mark" or token.text not in ("=", "!=", "<>", "<", "<=", ">", ">="):
            self._position -= 1
            raise self.unexpected()
        return Compare(path, "!=" if token.text == "<>" else token.text, (self._literal(),))

    def _list(self) -> tuple[Literal, ...]:
        self._expect("(")
        found = [self._literal()]
        while self._accept(","):
            found.append(self._literal())
        self._expect(")")
        return tuple(found)

    def _literal(self, *, like: bool = False) -> Literal:
        token = self._take()
        if token.kind == "string":
            return Literal("string", _unescape(token.text[1:-1], like=like))
        if token.kind == "number":
            return Literal("number", float(token.text) if "." in token.text else int(token.text))
        if token.kind in ("date", "datetime"):
            return Literal(token.kind, token.text)
        if token.word in ("true", "false"):
            return Literal("boolean", token.word == "true")
        if token.word == "null":
            return Literal("null", None)
        if token.word in _RANGES:
            return Literal("range", (token.word, 0))
        if token.word in _COUNTED_RANGES and self._accept(":"):
            return Literal("range", (token.word, self._whole_number()))
        self._position -= 1
        raise self.unexpected()


def _unescape(text: str, *, like: bool) -> str:
    r"""The string between the quotes. In LIKE, \% and \_ keep their backslash for the pattern."""
    if len(text) > MAX_STRING:
        raise _malformed(f"string literals in WHERE cannot be longer than {MAX_STRING} characters")

    def one(match: re.Match[str]) -> str:
        letter = match.group(1)
        if letter in "%_" and like:
            return match.group(0)
        if like and letter == "\\":
            return match.group(0)
        if letter.lower() not in _ESCAPES:
            raise _malformed(f"invalid escape sequence: \\{letter}")
        return _ESCAPES[letter.lower()]

    return re.sub(r"\\(.)", one, text, flags=re.DOTALL)
