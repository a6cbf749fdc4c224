"""A row of Odoo as an `Observed`. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime

from connector.adapters.base import ObjectRead
from connector.adapters.odoo.errors import SYSTEM
from connector.adapters.odoo.transport import Row
from connector.adapters.odoo.values import AUTHOR_TYPE, DONE, EXTERNAL_ID, Types, shown
from connector.model import Fields, Kind, Observed, Ref, Value

STAMPS = ("write_date", "write_uid", "create_date", "create_uid")
MODEL_OF_PARENT = ("model", "res_model")
"""Where a record below any model names that model: messages in the first, activities in the second."""
PSEUDO = frozenset((EXTERNAL_ID, AUTHOR_TYPE, DONE))


def ref(model: str, id_: object) -> Ref:
    return Ref(SYSTEM, model, str(id_))


def columns(read: ObjectRead, types: Types) -> list[str]:
    """The real fields to ask for; one that this version does not have (`mobile` since 19) is left out."""
    wanted = [*read.fields, *read.reply_when, *read.reply_fields, *filter(None, (read.key, read.parent)), *STAMPS]
    wanted += MODEL_OF_PARENT if read.parent == "res_id" else ()
    wanted += ["active"] if DONE in read.fields else []
    own = (name.partition(".")[0] for name in wanted if name not in PSEUDO)
    return [name for name in dict.fromkeys(own) if name in types and name != "id"]


def observed(
    model: str,
    read: ObjectRead,
    row: Row,
    types: Types,
    *,
    user: int,
    colleagues: frozenset[str],
    names: Callable[[str, int], str | None],
    extra: Fields,
) -> Observed:
    """What one row says. `user` is our own user, `colleagues` are the users who work in Odoo, `extra` holds the values that
    are not the row's own: paths and our key.

    The version is `write_date`, which Odoo tells in whole seconds; two edits within one differ in their values.
    """

    def value(name: str) -> Value:
        if name in extra:
            return extra[name]
        if name == AUTHOR_TYPE:
            return author_type(row, user, colleagues)
        if name == DONE:
            return row.get("active") is False
        return shown(types[name], row[name], names)

    asked = {name: value(name) for name in read.reply_when if name in PSEUDO or name in types}
    kind = kind_of(read, asked, row, user)
    own = (*read.reply_when, *read.reply_fields) if kind is Kind.REPLY else ()
    wanted = dict.fromkeys((*read.fields, *own, *filter(None, (read.key, read.parent))))
    fields = {name: value(name) for name in wanted if name in extra or name in PSEUDO or name in types}
    by = maker(row, "write_uid")
    return Observed(
        ref(model, row["id"]),
        kind,
        fields,
        version=str(row["write_date"]),
        changed_at=moment(row["write_date"]),
        by=str(by) if by else None,
        ours=by == user,
        parent=parent(read, row, types),
    )


def kind_of(read: ObjectRead, fields: Fields, row: Row, user: int) -> Kind:
    """A chatter message that somebody typed for the customer is a reply; what we wrote ourselves never is."""
    wanted: Mapping[str, Value] = read.reply_when
    if wanted and maker(row, "create_uid") != user and all(fields.get(name) == value for name, value in wanted.items()):
        return Kind.REPLY
    return read.kind


def parent(read: ObjectRead, row: Row, types: Types) -> Ref | None:
    """The record above: a chatter message names its model beside the id, other links have theirs fixed."""
    if read.parent is None or read.parent not in types or not row.get(read.parent):
        return None
    if types[read.parent].type == "many2one_reference":
        model = next((row[name] for name in MODEL_OF_PARENT if row.get(name)), None)
        return ref(str(model), row[read.parent]) if model else None
    return ref(types[read.parent].relation, row[read.parent][0])


def author_type(row: Row, user: int, colleagues: frozenset[str]) -> str:
    made_by = maker(row, "create_uid")
    return "bot" if made_by == user else "user" if str(made_by) in colleagues else "other"


def maker(row: Row, name: str) -> int | None:
    return int(row[name][0]) if row.get(name) else None


def moment(text: object) -> datetime | None:
    return datetime.fromisoformat(f"{text}+00:00") if text else None
