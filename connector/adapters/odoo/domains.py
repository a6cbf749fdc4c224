"""Odoo's search conditions. Pure. Values go into a domain as they are: it is data, never text to be parsed."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from connector.adapters.base import Lookup
from connector.adapters.odoo.values import Types
from connector.adapters.phones import national_digits

Domain: TypeAlias = list[Any]

ALTERNATIVES = 200
"""Conditions joined by "or" in one search; with more of them PostgreSQL plans longer than it reads."""


def any_of(conditions: Sequence[Domain]) -> Domain:
    """Each condition is a domain of its own; an empty list of them holds for nothing."""
    if not conditions:
        return [["id", "=", 0]]
    return ["|"] * (len(conditions) - 1) + [part for one in conditions for part in all_of(one)]


def all_of(domain: Domain) -> Domain:
    """The same domain as one operand: its terms, which Odoo joins by "and" unsaid, joined by name."""
    return ["&"] * (_terms(domain) - 1) + domain


def lookups(group: Sequence[Lookup], types: Types, version: int) -> Domain:
    """One search for lookups of one object, field and way. It may find more than they ask for; the caller compares."""
    first, values = group[0], [one.value.strip() for one in group]
    if first.how == "phone":
        return _by_phone(first.field, values, types, version)
    if first.field == "id":
        return [["id", "in", [int(value) for value in values]]]
    if first.field == "message_id":
        return [["message_id", "in", values]]
    alike: list[Domain] = [[[first.field, "=ilike", _literal(value)]] for value in values]
    if first.field == "email" and "email_normalized" in types:
        # The address alone, of `Noor <noor@mail.example>` as well.
        alike.append([["email_normalized", "in", [value.lower() for value in values]]])
    return any_of(alike)


def _by_phone(field: str, numbers: Sequence[str], types: Types, version: int) -> Domain:
    """Rows whose field may hold one of these E.164 numbers, typed in whatever way. Odoo 19 keeps a sanitized form beside a
    number that it understood; only the others need to be looked through digit by digit."""
    patterns = any_of([[[field, "=like", f"%{'%'.join(national_digits(number))}%"]] for number in numbers])
    if field != "phone" or version < 19 or "phone_sanitized" not in types:
        return patterns
    untold = any_of([[["phone_sanitized", "=", False]], [["phone_sanitized", "not like", "+"]]])
    return any_of([[["phone_sanitized", "in", list(numbers)]], [*untold, *patterns]])


def _literal(text: str) -> str:
    """For `=ilike`, where % and _ stand for anything."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _terms(domain: Domain) -> int:
    """How many terms a domain joins by an unsaid "and": an operator in front joins two of them into one."""
    return len(domain) - 2 * sum(part in ("|", "&") for part in domain if isinstance(part, str))
