"""The generated part of docs/mapping.md: every key, rule, transform, field and name, taken from the code itself."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from connector.mapping import model
from connector.mapping.lenses import Base
from connector.mapping.names import AROUND, ATTRIBUTES, CANONICAL, DERIVED
from connector.mapping.transforms import TRANSFORMS

BEGIN: Final = "<!-- reference: begin (generated) -->"
END: Final = "<!-- reference: end -->"

SECTIONS: Final[Sequence[tuple[str, type[BaseModel]]]] = (
    ("The file", model.Mapping),
    ("persons", model.Persons),
    ("key", model.Key),
    ("match", model.Match),
    ("evidence", model.Evidence),
    ("through", model.Through),
    ("lead", model.LeadTarget),
    ("identities", model.Identities),
    ("conversations", model.Conversations),
    ("messages", model.Messages),
    ("replies", model.Replies),
    ("conversation of replies", model.ReplyTo),
    ("outcome", model.ReplyOutcome),
    ("A line of fields", model.FieldMapping),
    ("A filter", model.Filter),
    ("A condition", model.Condition),
)


def reference() -> str:
    """Markdown, from BEGIN to END, both included."""
    return "\n".join((BEGIN, "", *_keys(), *_transforms(), *_names(), END))


def refreshed(document: str) -> str:
    """The document with its generated part as the code has it now. Raises ValueError when the marks are missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document needs the marks {BEGIN} and {END}")
    return before + reference() + after


def _keys() -> Iterator[str]:
    yield "## All keys"
    yield ""
    for title, shape in SECTIONS:
        yield f"### {title}"
        yield ""
        if shape.__doc__:
            yield " ".join(shape.__doc__.split())
            yield ""
        yield from _table(
            ("key", "value", "if left out", "meaning"),
            (
                (f"`{field.alias or name}`", _type(field.annotation), _default(field), field.description or "")
                for name, field in shape.model_fields.items()
            ),
        )


def _transforms() -> Iterator[str]:
    yield "## All transforms"
    yield ""
    yield from _table(
        ("transform", "what it does", "parameters", "what is lost"),
        ((f"`{name}`", _doc(lens), _parameters(lens), lens.loss) for name, lens in TRANSFORMS.items()),
    )


def _names() -> Iterator[str]:
    yield "## Fields of the platform"
    yield ""
    yield (
        "A platform that does not know a field leaves it out. Custom attributes of persons and conversations are "
        f"`{ATTRIBUTES}<key>`. Derived names are made by the connector: templates, filters and lines to the CRM may use them."
    )
    yield ""
    for kind, fields in CANONICAL.items():
        yield f"### {kind}"
        yield ""
        if AROUND[kind]:
            around = ", ".join(f"`{other}.<field>`" for other in AROUND[kind])
            yield f"Also known here, to be read only: {around} and `connection`."
        else:
            yield "Also known here, to be read only: `connection`."
        yield ""
        rows = [(f"`{name}`", "", meaning) for name, meaning in fields.items()]
        rows += [(f"`{name}`", "derived", meaning) for name, meaning in DERIVED[kind].items()]
        yield from _table(("name", "", "meaning"), rows)


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    for row in rows:
        yield _row([cell.replace("|", "\\|") for cell in row])
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _doc(lens: type[Base]) -> str:
    return " ".join((lens.__doc__ or "").split())


def _parameters(lens: type[Base]) -> str:
    parts = (f"`{name}`: {field.description} ({_default(field)})" for name, field in lens.model_fields.items())
    return "; ".join(parts) or "none"


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return "nothing"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


WORDS: Final[Mapping[object, str]] = {str: "text", int: "number", float: "number", bool: "true, false", object: "value"}


def _type(annotation: Any) -> str:
    """An annotation in the words of YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == model.TransformStep | list[model.TransformStep] | None:
        return "transform, or list of transforms"
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        words = [_type(argument) for argument in arguments if argument is not NoneType]
        return " or ".join(dict.fromkeys(words))
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[0])}: {_type(arguments[1])}"
    if annotation in WORDS:
        return WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{member}`" for member in annotation)
    name = next((title for title, shape in SECTIONS if shape is annotation), getattr(annotation, "__name__", "value"))
    return re.sub(r"^A ", "", name)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(refreshed(document.read_text(encoding="utf-8")), encoding="utf-8")
