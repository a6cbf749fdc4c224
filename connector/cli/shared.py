"""What the commands share: the options that all of them know, exit codes, and how things are put on the screen."""

import json
import os
import socket
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connector.app import App
from connector.errors import ConfigError, ConnectorError, Refusal
from connector.model import Ref, stamp

OK, LEFT_OVER, CONFIG, STORE, REFUSED, REMOTE, FAULT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130
EXIT_CODES = {
    OK: "all is well",
    LEFT_OVER: "something is left over: held or failed work, findings of a check or an audit",
    CONFIG: "the config, a mapping or the command line is wrong",
    STORE: "the store cannot be used, or another process works on the connection",
    REFUSED: "a guard, a changed mapping, a wrong account or a used-up share of the CRM's daily calls stopped the run before "
    "it wrote anything more",
    REMOTE: "a system refused the credentials, answered badly or not at all",
    FAULT: "a fault in the program itself; --debug shows where",
    INTERRUPTED: "interrupted (Ctrl-C)",
}
"""70 is EX_SOFTWARE of sysexits.h, 130 what a shell answers for a process that SIGINT ended."""

WIDE = 200
"""Columns of tables that go to a file or a pipe, where no screen limits them."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@dataclass(frozen=True)
class Options:
    """The options before the command."""

    config: Path
    connection: str | None
    debug: bool

    @contextmanager
    def opened(self) -> Iterator[App]:
        with App.open(self.config) as app:
            app.chosen(self.connection)
            yield app


def options(context: typer.Context) -> Options:
    found = context.find_object(Options)
    assert found is not None
    return found


def holder() -> str:
    """Who holds a lease, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"


def screen() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, soft_wrap=False)


def errors() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def complain(error: ConnectorError, connection: str = "") -> None:
    """One clear message and the way out, on stderr; where it is about one connection, with its name."""
    console = errors()
    if isinstance(error, ConfigError):
        for problem in error.problems:
            console.print(Text(clean(str(problem)).removeprefix(": "), style="red"))
        return
    for line in (f"{connection}: {error.message}" if connection else error.message).split("\n"):
        console.print(Text(clean(line), style="red"))
    if isinstance(error, Refusal):
        for example in error.examples:
            console.print(Text(f"  {clean(example)}"))
    if error.way_out:
        console.print(Text(clean(error.way_out)))


def clean(value: object) -> str:
    """A value as one line of text. Customers write the texts, and a control character could rule the terminal."""
    text = value if isinstance(value, str) else "" if value is None else readable(value)
    return "".join(" " if char.isspace() else char for char in text if char.isspace() or not _control(char))


def _control(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Cc", "Cs") or char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def readable(value: object) -> str:
    if isinstance(value, datetime):
        return stamp(value)
    return str(value) if isinstance(value, Ref | Enum | int | float | Path) else _json(value, None)


def short(value: object, limit: int = 60) -> str:
    text = clean(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A titled table; nothing at all when there are no rows."""
    if not rows:
        return
    if title:
        say(title, "bold")
    drawn = Table(header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(clean(cell)) for cell in row))
    screen().print(drawn)
    screen().print()


def say(text: str = "", style: str = "") -> None:
    screen().print(Text(clean(text), style=style), soft_wrap=True)


def print_json(value: object) -> None:
    sys.stdout.write(_json(value, 2) + "\n")


def _json(value: object, indent: int | None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, default=plain)


def refusal_data(refusal: Refusal) -> dict[str, Any]:
    """The JSON of a guard that refused something."""
    return {
        "code": refusal.code,
        "message": refusal.message,
        "way_out": refusal.way_out,
        "examples": refusal.examples,
    }


def plain(value: object) -> Any:
    """A value that JSON does not know, in words that it knows; a dataclass by its fields."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, Ref):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return str(value)


def counted(count: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `5 h`, `3 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
