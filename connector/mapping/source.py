"""A YAML file as plain data that still knows its lines, and pydantic's findings as problems with file and line.

Only scalars, lists and mappings are read; tags never build objects. Used for mapping files and for the config file.
"""

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from connector.errors import ConfigError, Problem

Path_: TypeAlias = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_NODES: Final = 50_000
"""Far above any real file; a bound on aliases that repeat each other without end."""
MAX_TEXT: Final = 1 << 18
"""Characters of a file; far above any real one as well."""
SHOWN: Final = 500
"""Characters of a message: what it quotes may be as long as the file."""

TAG: Final = "tag:yaml.org,2002:"
SCALARS: Final = frozenset(TAG + name for name in ("str", "int", "float", "bool", "null"))
TEXTS: Final = frozenset(TAG + name for name in ("timestamp", "merge", "value"))
"""Plain words that YAML takes for a date, for `<<` and for `=`; here they are the texts that they are."""
COLLECTIONS: Final = frozenset((TAG + "map", TAG + "seq"))
UNHOLDABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
"""No system keeps these, and no terminal shows them."""
NAMED: Final = re.compile(r""" (['"])(?![<\\]).{2,}\1$""")
"""The name at the end of one of ruamel's messages: a secret that was pasted without quotes can look like one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a file stands: the way to it and, shared by the whole file, the line of every path."""

    file: str = ""
    path: Path_ = ()
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def at(self, *path: str | int) -> "Place":
        return replace(self, path=(*self.path, *path))

    @property
    def line(self) -> int:
        """The line of the deepest part of the path that stands in the file, counted from 1; 0 without a file."""
        path = self.path
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def problem(self, message: str, way_out: str = "", severity: str = "error") -> Problem:
        shown = message if len(message) <= SHOWN else f"{message[:SHOWN]}…"
        return Problem(self.file, self.line, dotted(self.path), shown, way_out, severity)


class Located(dict[str, Any]):
    """A mapping of the file that knows its place, so that the model made from it can."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


def _no_answer(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("needs a number, not true or false")
    return value


NotBoolean: Final = BeforeValidator(_no_answer)
"""Of a number: pydantic would take `true` for 1."""


class Strict(BaseModel):
    """Base of all models of files: an unknown key is an error, and each remembers the place it was read from."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    _place: Place = PrivateAttr(default_factory=Place)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        model = handler(data)
        if isinstance(data, Located):
            model._place = data.place
        return model

    @property
    def place(self) -> Place:
        return self._place


def dotted(path: Path_) -> str:
    """`persons.fields[2].crm`, as it is shown to the admin."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:SHOWN]}" if text else part[:SHOWN]
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A way out that names the nearest known word, or the known words where there are few, or nothing."""
    words = sorted(known)
    lower = {candidate.lower(): candidate for candidate in words}
    near = get_close_matches(word[:SHOWN].lower(), lower, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {lower[near[0]]}?"
    return f"Known: {', '.join(words)}." if 0 < len(words) <= 24 else ""


def read(path: Path, shown: str | None = None) -> Located:
    """Read a YAML file. `shown` is its name in problems. Raises ConfigError with every problem of the file's form."""
    file = shown or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem(file, 0, "", "there is no such file.", "Check the path.")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(file, 0, "", f"cannot be read as UTF-8 text: {error}.")]) from None
    return parse(text, file)


def parse(text: str, file: str) -> Located:
    """Like `read`, for text that is already read."""
    with warnings.catch_warnings():
        # ruamel's warnings quote lines of the file, which may hold anything.
        warnings.simplefilter("ignore")
        return _parse(text, file)


def _parse(text: str, file: str) -> Located:
    if len(text) > MAX_TEXT:
        raise ConfigError([Problem(file, 0, "", f"is longer than {MAX_TEXT} characters.", "Check the path.")])
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        raise ConfigError([_broken(file, error)]) from None
    except YAMLError as error:
        raise ConfigError([Problem(file, 0, "", f"broken YAML: {str(error).splitlines()[0]}.")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, 0, "", "is nested too deeply.", "Write fewer levels.")]) from None
    except Exception:
        # ruamel lets some errors of Python through, such as OverflowError on the escape \U99999999.
        line = int(yaml.reader.line) + 1
        raise ConfigError([Problem(file, line, "", "broken YAML: an escape or a directive that is none.")]) from None
    if not isinstance(root, MappingNode):
        raise ConfigError([Problem(file, 1, "", "is empty or no mapping.", "Write `key: value` lines.")])
    reader = _Reader(file, yaml)
    data = reader.mapping(root, ())
    if reader.problems:
        raise ConfigError(reader.problems)
    return data


def _broken(file: str, error: MarkedYAMLError) -> Problem:
    """Where the parser stopped, and where that began which it could not end: a quote that nobody closed swallows what follows."""
    message = f"broken YAML: {NAMED.sub('', str(error.problem or error.context))}"
    stopped, begun = error.problem_mark or error.context_mark, error.context_mark
    line = stopped.line + 1 if stopped else 0
    if stopped and begun and begun.line != stopped.line and str(error.context).startswith("while "):
        message += f" in line {line}, {error.context} that begins in line {begun.line + 1}"
        line = begun.line + 1 if str(error.context).startswith("while scanning") else line
    way_out = (
        "Look at this line and above it, for a quote or a bracket left open, or a colon or an indent that is missing."
    )
    return Problem(file, line, "", f"{message}.", way_out)


class _Reader:
    """Turns the node tree into plain data, keeping lines and collecting problems."""

    def __init__(self, file: str, yaml: YAML) -> None:
        self.file = file
        self.yaml = yaml
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self.count = 0
        self.full = False

    def plain(self, node: Node, path: Path_) -> Any:
        self.count += 1
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if self.full or self.count > MAX_NODES or len(path) > 50:
            if not self.full:
                self._add(line, path, "too large, or aliases that repeat each other.", "Write the values out.")
            self.full = True
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            self._plain_tag(node, path, COLLECTIONS)
            return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def mapping(self, node: MappingNode, path: Path_) -> Located:
        self._plain_tag(node, path, COLLECTIONS)
        result = Located(Place(self.file, path, self.lines))
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._add(line, path, "a key must be a word.")
                continue
            key = self._text(str(key_node.value), line, path)
            self._plain_tag(key_node, (*path, key), SCALARS | TEXTS)
            if key in result:
                first = self.lines[(*path, key)]
                self._add(line, (*path, key), f"stands here twice, first in line {first}.", "Remove one.")
                continue
            self.lines[(*path, key)] = line
            result[key] = self.plain(value_node, (*path, key))
        return result

    def _scalar(self, node: Node, path: Path_) -> Any:
        line = node.start_mark.line + 1
        if not self._plain_tag(node, path, SCALARS | TEXTS):
            return None
        if str(node.tag) in TEXTS:
            return self._text(str(node.value), line, path)
        try:
            value = self.yaml.constructor.construct_object(node)
        except (ValueError, LookupError):
            value = str(node.value)
        if isinstance(value, str):
            return self._text(value, line, path)
        if isinstance(value, int) and abs(value) >= 1 << 63:
            self._add(line, path, "a number larger than any system keeps.", "Put it in quotes if it is a text.")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._add(line, path, "is no number that a system can keep.", "Put it in quotes if it is a text.")
            return None
        return value

    def _plain_tag(self, node: Node, path: Path_, allowed: frozenset[str]) -> bool:
        """Whether the node has a tag of its own kind; any other one is a problem, and is not quoted: a secret may begin
        with an exclamation mark as well."""
        if str(node.tag) in allowed:
            return True
        message = "the tag (a word that begins with !) is not allowed."
        self._add(node.start_mark.line + 1, path, message, "Write a plain value; a text that begins with ! in quotes.")
        return False

    def _text(self, text: str, line: int, path: Path_) -> str:
        if UNHOLDABLE.search(text):
            self._add(line, path, "a character that no text can hold (\\0, or half of a surrogate pair).", "Remove it.")
            return UNHOLDABLE.sub("\ufffd", text)
        return text

    def _add(self, line: int, path: Path_, message: str, way_out: str = "") -> None:
        self.problems.append(Problem(self.file, line, dotted(path), message, way_out))


def validate(model: type[ModelT], data: Located, context: object = None) -> tuple[ModelT | None, list[Problem]]:
    """The data as a model, with every problem that pydantic finds.

    With problems, the model is built from what is left without the faulty parts (None where that cannot be), so that
    the checks that follow can add their findings to the same list. Such a model is for finding problems only.
    """
    try:
        return model.model_validate(data, context=context), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    problems = [_problem(model, data.place, detail) for detail in details]
    faulty = {_in_file(data.place, detail["loc"]) for detail in details}
    try:
        return model.model_validate(_without(data, faulty), context=context), problems
    except ValidationError:
        return None, problems


def _problem(model: type[BaseModel], place: Place, detail: ErrorDetails) -> Problem:
    here = place.at(*_in_file(place, detail["loc"]))
    kind = detail["type"]
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        owner = _model_at(model, detail["loc"][:-1])
        return here.problem("unknown key.", did_you_mean(name, _keys(owner) if owner else ()))
    if kind == "missing":
        return here.at(name).problem("is missing.", f"Add {name}.")
    given = detail.get("ctx", {})
    said = SHAPES[kind].format(**given) if kind in SHAPES else detail["msg"].removeprefix("Value error, ").rstrip(".")
    return here.problem(said[:1].lower() + said[1:] + ".", given.get("way_out", ""))


SHAPES: Final = {
    "model_type": "needs `key: value` lines",
    "dict_type": "needs `key: value` lines",
    "list_type": "needs a list",
    "tuple_type": "needs a list",
    "string_type": "needs a text; put it in quotes",
    "path_type": "needs a path",
    "int_type": "needs a whole number",
    "int_parsing": "needs a whole number",
    "int_from_float": "needs a whole number",
    "float_type": "needs a number",
    "float_parsing": "needs a number",
    "bool_type": "needs true or false",
    "bool_parsing": "needs true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "needs at least {min_length}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "{discriminator} must be {expected_tags}",
    "union_tag_not_found": "needs {discriminator}",
}
"""What pydantic says of a wrong shape or value, in the words of YAML."""


def _in_file(place: Place, loc: Sequence[str | int]) -> Path_:
    """pydantic's location without the parts that name a union's branch instead of a place in the file."""
    path: Path_ = ()
    for part in loc:
        if (*path, part) in place.lines:
            path = (*path, part)
    return path


def _without(data: Any, faulty: set[Path_], path: Path_ = ()) -> Any:
    """The data without the entries at the faulty paths; of a list, without the whole item that holds one."""
    if isinstance(data, list):
        kept = enumerate(data)
        return [item for index, item in kept if not any(bad[: len(path) + 1] == (*path, index) for bad in faulty)]
    if not isinstance(data, Located):
        return data
    rest = Located(data.place)
    rest.update({k: _without(v, faulty, (*path, k)) for k, v in data.items() if (*path, k) not in faulty})
    return rest


def _model_at(model: Any, loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that pydantic was filling at `loc`, None where that is no model."""
    for part in loc:
        candidates = list(_models(model))
        for candidate in candidates:
            found = next((f for n, f in candidate.model_fields.items() if part in (n, f.alias)), None)
            if found is not None:
                model = found.annotation
                break
        else:
            tagged = [c for c in candidates if part in (c.__name__, *_tags(c))]
            model = tagged[0] if tagged else model
    return next(_models(model), None)


def _tags(model: type[BaseModel]) -> Iterator[object]:
    """The values of a model's Literal fields, by which a tagged union tells its members apart."""
    for info in model.model_fields.values():
        if get_origin(info.annotation) is Literal:
            yield from get_args(info.annotation)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model inside an annotation: a union's members, the items of lists and dicts."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, list, tuple, dict):
        for argument in get_args(annotation):
            yield from _models(argument)


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
