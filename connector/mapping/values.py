"""Transforms of single values: people, addresses, times, sets, numbers, choices. Pure.

A value that cannot be read as what it should be is passed on as it was typed: the other system refuses it and the
refusal is held for a person. Nothing is guessed.
"""

import re
from collections.abc import Hashable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import ClassVar, Final
from zoneinfo import ZoneInfo

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from pydantic import Field

from connector.mapping.cut import clean
from connector.mapping.lenses import Base, Surroundings, plain_key
from connector.mapping.places import Region, Zone
from connector.mapping.template import parse_time, show
from connector.model import Fields, Value, stamp


class ValueMap(Base):
    """A table of platform values and CRM values (`values:`). A value that is not listed passes as it is."""

    loss: ClassVar[str] = "Of several platform values with the same CRM value, the first comes back."
    table: Mapping[str, str | int | float | bool | None]

    def to(self, value: Value, names: Fields) -> Value:
        return self.table.get(show(value), value)

    def back(self, value: Value) -> Value:
        return next((platform for platform, crm in self.table.items() if plain_key(crm) == plain_key(value)), value)

    def key(self, value: Value) -> Hashable:
        return show(value).strip()


class UserLens(Base):
    """An agent's e-mail address and the CRM user with the same address."""

    loss: ClassVar[str] = "An agent who is no CRM user, and a CRM user who is no agent, is shown as nobody."
    type: ClassVar[str] = "reference"
    _users: Mapping[str, str] = {}
    _emails: Mapping[str, str] = {}

    def settle(self, around: Surroundings) -> "UserLens":
        settled = self.model_copy()
        settled._users = {email.lower(): id_ for email, id_ in around.users.items()}
        settled._emails = {id_: email for email, id_ in settled._users.items()}
        return settled

    def to(self, value: Value, names: Fields) -> Value:
        return self._users.get(show(value).strip().lower())

    def back(self, value: Value) -> Value:
        return self._emails.get(show(value))

    def key(self, value: Value) -> Hashable:
        return show(value).strip().lower()


E164: Final = phonenumbers.PhoneNumberFormat.E164


class Phone(Base):
    """A phone number as E.164; `region` is the country of numbers without a prefix."""

    loss: ClassVar[str] = "The way it was typed, and an extension. What is no phone number stays as typed."
    type: ClassVar[str] = "phone"
    region: Region | None = Field(None, description="country code; the mapping's region where not given")

    def settle(self, around: Surroundings) -> "Phone":
        return self if self.region else self.model_copy(update={"region": around.region})

    def to(self, value: Value, names: Fields) -> Value:
        return self._e164(value)

    def back(self, value: Value) -> Value:
        return self._e164(value)

    def key(self, value: Value) -> Hashable:
        return self._e164(value)

    def _e164(self, value: Value) -> str:
        typed = show(value).strip()
        try:
            number = phonenumbers.parse(typed, self.region)
        except phonenumbers.NumberParseException:
            return typed
        if not phonenumbers.is_possible_number(number):
            return typed
        text = phonenumbers.format_number(number, E164)
        # Some made-up numbers become yet another number when they are read again; those are no phone numbers.
        return text if phonenumbers.format_number(phonenumbers.parse(text), E164) == text else typed


class Email(Base):
    """An e-mail address in lower case."""

    loss: ClassVar[str] = "Upper case. Text that is no e-mail address is left out."
    type: ClassVar[str] = "email"

    def to(self, value: Value, names: Fields) -> Value:
        return email_address(value)

    def back(self, value: Value) -> Value:
        return email_address(value)

    def key(self, value: Value) -> Hashable:
        return email_address(value)


def email_address(value: Value) -> str | None:
    """The address in lower case, None where the text is none by its syntax."""
    try:
        return validate_email(show(value).strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


class Handle(Base):
    """A user name on a network, without @ and in lower case."""

    loss: ClassVar[str] = "The leading @ and upper case."
    type: ClassVar[str] = "text"

    def to(self, value: Value, names: Fields) -> Value:
        return handle(value)

    def back(self, value: Value) -> Value:
        return handle(value)

    def key(self, value: Value) -> Hashable:
        return handle(value)


def handle(value: Value) -> str:
    return re.sub(r"^[@\s]+", "", clean(show(value))).lower()


class DateTime(Base):
    """A time, as UTC to the second. `zone` is meant where a value of the CRM names none."""

    loss: ClassVar[str] = "Fractions of a second."
    type: ClassVar[str] = "datetime"
    zone: Zone | None = Field(None, description="time zone; the mapping's zone where not given")

    def settle(self, around: Surroundings) -> "DateTime":
        return self if self.zone else self.model_copy(update={"zone": around.zone})

    def to(self, value: Value, names: Fields) -> Value:
        return self._utc(value)

    def back(self, value: Value) -> Value:
        return self._utc(value)

    def key(self, value: Value) -> Hashable:
        return self._utc(value)

    def _utc(self, value: Value) -> str:
        moment = parse_time(value, ZoneInfo(self.zone or "UTC"))
        return stamp(moment) if moment else show(value).strip()


class Date(Base):
    """The calendar date of a time in `zone`."""

    loss: ClassVar[str] = "The time of day."
    type: ClassVar[str] = "date"
    zone: Zone | None = Field(None, description="time zone; the mapping's zone where not given")

    def settle(self, around: Surroundings) -> "Date":
        return self if self.zone else self.model_copy(update={"zone": around.zone})

    def to(self, value: Value, names: Fields) -> Value:
        return self._date(value)

    def back(self, value: Value) -> Value:
        return self._date(value)

    def key(self, value: Value) -> Hashable:
        return self._date(value)

    def _date(self, value: Value) -> str:
        text = show(value).strip()
        if len(text) == 10:
            return text
        zone = ZoneInfo(self.zone or "UTC")
        moment = parse_time(value, zone)
        if moment is None:
            return text
        # Near year 1 and 9999 a zone's shift would leave the calendar; no message is that old.
        inside = date(1, 1, 3) <= moment.date() <= date(9999, 12, 29)
        return (moment.astimezone(zone) if inside else moment).date().isoformat()


class Tags(Base):
    """A set of labels and a text in which `separator` stands between them (Salesforce multi-select: `;`)."""

    loss: ClassVar[str] = "The order; a separator inside a label becomes a space."
    type: ClassVar[str] = "tags"
    separator: str = Field(";", min_length=1, max_length=3, description="what stands between two labels")

    def to(self, value: Value, names: Fields) -> Value:
        return self.separator.join(self._labels(value))

    def back(self, value: Value) -> Value:
        parts = value if isinstance(value, list | tuple) else show(value).split(self.separator)
        return self._labels(parts)

    def key(self, value: Value) -> Hashable:
        return tuple(self._labels(value))

    def _labels(self, value: Value) -> list[str]:
        items = value if isinstance(value, list | tuple) else [value]
        labels = (" ".join(clean(show(item)).replace(self.separator, " ").split()) for item in items)
        return sorted({label for label in labels if label and label != self.separator.strip()})


class Number(Base):
    """A number, also one that stands in a text (`12.50`)."""

    loss: ClassVar[str] = "Nothing. What is no number stays as typed."
    type: ClassVar[str] = "number"

    def to(self, value: Value, names: Fields) -> Value:
        return number(value)

    def back(self, value: Value) -> Value:
        return number(value)

    def key(self, value: Value) -> Hashable:
        return number(value)


def number(value: Value) -> int | float | str:
    """An int where the number is whole, otherwise a float; the trimmed text where it is no finite number."""
    if isinstance(value, bool):
        return int(value)
    text = show(value).strip()
    try:
        exact = Decimal(text)
    except InvalidOperation:
        return text
    if not exact.is_finite() or abs(exact.adjusted()) > 300:
        return text
    return int(exact) if exact == exact.to_integral_value() else float(exact)


WORDS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Boolean(Base):
    """Yes or no: true, yes, 1, false, no, 0 in any case."""

    loss: ClassVar[str] = "Nothing. Any other word stays as typed."
    type: ClassVar[str] = "boolean"

    def to(self, value: Value, names: Fields) -> Value:
        return boolean(value)

    def back(self, value: Value) -> Value:
        return boolean(value)

    def key(self, value: Value) -> Hashable:
        return plain_key(boolean(value))


def boolean(value: Value) -> bool | str:
    text = show(value).strip()
    return WORDS.get(text.lower(), text)
