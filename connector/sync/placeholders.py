"""Links to records that a plan creates: values that only become CRM ids when the parent has been written. Pure.

A plan is journaled as a whole before anything is sent, so a message's intent is written before the contact it belongs to
has an id. Its field holds a placeholder, which the outbox resolves when the intent is claimed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.model import Fields, Kind, Ref, Value

MARK = "$link"

Linked = Callable[[Kind, Ref], Ref | None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The placeholder's parent has no link yet."""

    kind: Kind
    parent: Ref


def placeholder(kind: Kind, parent: Ref, of: str | None = None, with_person: tuple[str, Ref] | None = None) -> Value:
    """A value that stands for the CRM id of `parent`'s record: null unless that is an `of`, or unless the person's record
    is of the object `with_person` names."""
    return {
        MARK: str(parent),
        "kind": kind.value,
        "of": of,
        "with_person": [with_person[0], str(with_person[1])] if with_person else None,
    }


def resolve(fields: Fields, linked: Linked) -> dict[str, Value] | Waiting:
    """The fields with every placeholder replaced, or the first parent that is still missing."""
    out: dict[str, Value] = {}
    for name, value in fields.items():
        if not (isinstance(value, dict) and MARK in value):
            out[name] = value
            continue
        answer = _resolve(value, linked)
        if isinstance(answer, Waiting):
            return answer
        out[name] = answer
    return out


def parents(fields: Fields) -> list[tuple[Kind, Ref]]:
    """Every parent that the placeholders name."""
    found: list[tuple[Kind, Ref]] = []
    for value in fields.values():
        if isinstance(value, dict) and MARK in value:
            found.append((Kind(value["kind"]), Ref.parse(value[MARK])))
            if value["with_person"]:
                found.append((Kind.PERSON, Ref.parse(value["with_person"][1])))
    return found


def _resolve(value: Mapping[str, Value], linked: Linked) -> Value | Waiting:
    if value["with_person"]:
        object_, person = value["with_person"][0], Ref.parse(value["with_person"][1])
        owner = linked(Kind.PERSON, person)
        if owner is None:
            return Waiting(Kind.PERSON, person)
        if owner.object != object_:
            return None
    kind, parent = Kind(value["kind"]), Ref.parse(value[MARK])
    found = linked(kind, parent)
    if found is None:
        return Waiting(kind, parent)
    return None if value["of"] and found.object != value["of"] else found.id
