"""Filters: which records come in, by named rules over named fields. Pure."""

from collections.abc import Sequence
from datetime import UTC

from connector.mapping.lenses import is_blank, plain_key
from connector.mapping.model import Condition, Filter
from connector.mapping.template import parse_time, show
from connector.model import Fields, Value


def passes(filters: Sequence[Filter], names: Fields) -> tuple[bool, str]:
    """Whether a record comes in, and the name of the rule that said so ("" where none applied: it comes in).

    `names` is the record's namespace (`connector.mapping.names.names`). The first rule whose conditions all hold decides.
    """
    for rule in filters:
        if all(holds(condition, names.get(name)) for name, condition in rule.when.items()):
            return rule.take, rule.name
    return True, ""


def holds(condition: Condition, value: Value) -> bool:
    """Whether one condition holds for a value; null stands for a field that is not there."""
    if condition.present is not None:
        return condition.present is not is_blank(value)
    if condition.contains is not None:
        return condition.contains.casefold() in show(value).casefold()
    if condition.any_of is not None:
        items = value if isinstance(value, list | tuple) else [] if is_blank(value) else [value]
        return bool({show(item).casefold() for item in items} & {item.casefold() for item in condition.any_of})
    if condition.before is not None:
        moment, limit = parse_time(value, UTC), parse_time(condition.before, UTC)
        return moment is not None and limit is not None and moment < limit
    wanted = condition.is_ if isinstance(condition.is_, list) else [condition.is_]
    return any(plain_key(item) == plain_key(value) for item in wanted)
