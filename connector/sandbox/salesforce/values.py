"""One value on its way into a field: its JSON type, its length, its form, and the shape it is stored and shown in."""

import math
import re
from datetime import UTC, date, datetime
from typing import Any

from connector.sandbox.salesforce import ids
from connector.sandbox.salesforce.errors import Problem, Refused
from connector.sandbox.salesforce.schema import NUMBERS, TEXTS, Field

_EMAIL = re.compile(r"[^\s@,;:<>()\[\]\\\"]+@[^\s@.,;:<>()\[\]]+(\.[^\s@.,;:<>()\[\]]+)+")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def utf16_length(text: str) -> int:
    """Number of UTF-16 units: what the org counts, so most emoji count twice."""
    return len(text.encode("utf-16-le")) // 2


def show_datetime(moment: datetime) -> str:
    """The one form of a dateTime in answers: UTC, whole seconds, milliseconds always 000. Sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def read_datetime(text: str) -> datetime | None:
    """A dateTime with its zone in any accepted spelling, or None."""
    if not _DATETIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def normalise(field: Field, value: Any) -> Any:
    """The stored form of a value sent by a client; null stands for no value. Raises Refused naming the field."""
    if value is None:
        if field.type == "boolean":
            raise _unreadable("boolean", value)
        return None
    if field.type in TEXTS:
        return _text(field, value)
    if field.type == "boolean":
        if not isinstance(value, bool):
            raise _unreadable("boolean", value)
        return value
    if field.type in NUMBERS:
        return _number(field, value)
    if field.type in ("reference", "id"):
        return ids.normalise(value, field.name) if value != "" else None
    if field.type == "date":
        return _date(field, value)
    if field.type == "datetime":
        moment = read_datetime(value) if isinstance(value, str) else None
        if moment is None:
            raise _unreadable("datetime", value)
        return show_datetime(moment)
    raise AssertionError(f"no rule for the field type {field.type}")


def _text(field: Field, value: Any) -> str | None:
    if not isinstance(value, str):
        raise _unreadable("string", value)
    # Half of a surrogate pair is no character: it becomes the replacement character.
    text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
    if not text:
        return None
    if field.type == "textarea":
        # "Custom Field Types", Salesforce Help: each Enter in a text area is two characters, and both count.
        text = _LINE_BREAK.sub("\r\n", text)
    if field.type == "picklist" and field.restricted:
        active = {c.value.lower(): c.value for c in field.choices if c.active}
        if text.lower() not in active:
            raise _problem(
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                f"{field.label}: bad value for restricted picklist field: {text}",
                field,
            )
        return active[text.lower()]
    if utf16_length(text) > field.length:
        raise _problem(
            "STRING_TOO_LONG",
            f"{field.label}: data value too large: {text[:40]} (max length={field.length})",
            field,
        )
    if field.type == "email" and not _EMAIL.fullmatch(text):
        raise _problem("INVALID_EMAIL_ADDRESS", f"{field.label}: invalid email address: {text}", field)
    return text


def _number(field: Field, value: Any) -> float | int:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _unreadable("double", value) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unreadable("double", value)
    if field.type == "int" and value != int(value):
        raise _unreadable("int", value)
    if field.precision and abs(value) >= 10 ** (field.precision - field.scale):
        raise _problem("NUMBER_OUTSIDE_VALID_RANGE", f"{field.label}: value outside of valid range: {value}", field)
    rounded = round(value, field.scale)
    return int(rounded) if field.type == "int" else float(rounded)


def _date(field: Field, value: Any) -> str:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value[:10]).isoformat()
        except ValueError:
            pass
    raise _unreadable("date", value)


def _unreadable(kind: str, value: Any) -> Refused:
    names = {str: "STRING", bool: "BOOLEAN", int: "NUMBER_INT", float: "NUMBER_FLOAT", type(None): "NULL"}
    token = names.get(type(value), "START_ARRAY" if isinstance(value, list) else "START_OBJECT")
    shown = str(value)[:80] if isinstance(value, str | int | float) else ""
    message = f"Cannot deserialize instance of {kind} from VALUE_{token} value {shown}".rstrip()
    return Refused([Problem("JSON_PARSER_ERROR", f"{message} or request may be missing a required field")])


def _problem(code: str, message: str, field: Field) -> Refused:
    return Refused([Problem(code, message, (field.name,))])
