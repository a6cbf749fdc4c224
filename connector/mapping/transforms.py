"""The transforms by name, and how a line of a mapping becomes a lens."""

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from connector.mapping.lenses import PLAIN, Base, Chain, Lens, Surroundings
from connector.mapping.model import Scalar, TransformStep
from connector.mapping.source import did_you_mean
from connector.mapping.texts import HtmlToText, MarkdownEscape, MarkdownToText, Text, TextToHtml
from connector.mapping.values import Boolean, Date, DateTime, Email, Handle, Number, Phone, Tags, UserLens, ValueMap

TRANSFORMS: Final[Mapping[str, type[Base]]] = {
    "text": Text,
    "html_to_text": HtmlToText,
    "text_to_html": TextToHtml,
    "markdown_to_text": MarkdownToText,
    "markdown_escape": MarkdownEscape,
    "user": UserLens,
    "phone": Phone,
    "email": Email,
    "handle": Handle,
    "datetime": DateTime,
    "date": Date,
    "tags": Tags,
    "number": Number,
    "boolean": Boolean,
}


class TransformError(ValueError):
    """A transform is unknown or its parameters are; `way_out` says what to write."""

    def __init__(self, message: str, way_out: str = "") -> None:
        super().__init__(message)
        self.way_out = way_out


def steps(transform: TransformStep | list[TransformStep] | None) -> list[Base]:
    """The lenses of a `transform:` value, in its order. Raises TransformError."""
    if transform is None:
        return []
    return [_step(step) for step in (transform if isinstance(transform, list) else [transform])]


def _step(step: TransformStep) -> Base:
    if isinstance(step, dict) and len(step) != 1:
        raise TransformError("a step has one name.", "Write each transform as an item of its own.")
    name, params = next(iter(step.items())) if isinstance(step, dict) else (step, {})
    if name not in TRANSFORMS:
        raise TransformError(f"there is no transform {name!r}.", did_you_mean(name, TRANSFORMS))
    lens = TRANSFORMS[name]
    try:
        return lens.model_validate(params)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            way_out = did_you_mean(where, lens.model_fields) or "It takes no parameters."
            raise TransformError(f"{name} has no parameter {where!r}.", way_out) from None
        raise TransformError(f"{name}.{where}: {detail['msg'].removeprefix('Value error, ')}.") from None


def build(
    transform: TransformStep | list[TransformStep] | None,
    values: Mapping[str, Scalar] | None,
    around: Surroundings,
) -> Lens:
    """The lens of a line: first its value map, then its transforms. Raises TransformError."""
    lenses: list[Lens] = [] if values is None else [ValueMap(table=values)]
    lenses.extend(lens.settle(around) for lens in steps(transform))
    if not lenses:
        return PLAIN
    return lenses[0] if len(lenses) == 1 else Chain(tuple(lenses))
