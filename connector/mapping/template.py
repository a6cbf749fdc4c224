"""Texts with named slots: `[{network}] {sent_at:time} {text:120}`. Names only, no expressions, no attribute access.

| slot | becomes |
|---|---|
| `{name}` | the value; nothing where it is unknown or empty; a set joined by ", " |
| `{name:120}` | the value on one line, cut to 120 UTF-16 units with "…" |
| `{name:time}`, `{name:date}` | `14:05`, `2026-01-02`: a time in the mapping's zone |
| `{{`, `}}` | a literal brace |
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from connector.mapping.cut import cut
from connector.model import Value

SLOT: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class TemplateError(ValueError):
    """The template cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. `render` is pure."""

    parts: tuple[str | Slot, ...]
    zone: ZoneInfo

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts if isinstance(part, Slot))

    def render(self, names: Mapping[str, Value]) -> str:
        return "".join(part if isinstance(part, str) else self._fill(part, names) for part in self.parts)

    def _fill(self, slot: Slot, names: Mapping[str, Value]) -> str:
        value = names.get(slot.name)
        if slot.form in MOMENTS:
            moment = parse_time(value, UTC)
            return MOMENTS[slot.form](in_zone(moment, self.zone)) if moment else show(value)
        return cut(" ".join(show(value).split()), int(slot.form)) if slot.form else show(value)


MOMENTS: Final[Mapping[str, Callable[[datetime], str]]] = {
    "time": lambda moment: f"{moment:%H:%M}",
    "date": lambda moment: moment.date().isoformat(),
}


def parse_template(text: str, zone: ZoneInfo) -> Template:
    """Raises TemplateError on a lone brace or an unknown form. The names are not checked here."""
    parts: list[str | Slot] = []
    end = 0
    for match in SLOT.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            parts.append(token[0])
        elif match.group(1) is None:
            raise TemplateError(
                f"a lone {token} at character {match.start() + 1}; write {token * 2} for a literal brace"
            )
        else:
            name, _, form = match.group(1).partition(":")
            if not name.strip():
                raise TemplateError(f"{token} names nothing; write {{text}}, for example")
            if form and form not in MOMENTS and not re.fullmatch(r"[1-9][0-9]{0,5}", form):
                raise TemplateError(f"{token}: after the colon write a length, time or date")
            parts.append(Slot(name.strip(), form))
    parts.append(text[end:])
    return Template(tuple(part for part in parts if part != ""), zone)


def show(value: Value) -> str:
    """A value as text: nothing for null, `true`/`false`, sets joined by ", "."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(show(item) for item in value)
    return str(value)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """The same moment in a zone. Near year 1 and 9999 the shift would leave the calendar: those times keep their own."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def parse_time(value: Value, zone: tzinfo) -> datetime | None:
    """An ISO-8601 time or date as an aware time, in `zone` where it names none; None when it is no time."""
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)  # noqa: DTZ001 (gets its zone below)
    elif isinstance(value, str) and len(value) >= 10:
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    else:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
