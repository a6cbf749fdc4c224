"""A mapping file -> `Mapping`, with every problem at once. Reads the file, decides nothing else.

The form (unknown keys, types) is checked by the models of `model`; here is what they mean: what belongs together on a line,
names, transforms, templates, lines that write the same field.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from connector.errors import ConfigError, Problem
from connector.mapping.model import (
    SOURCES,
    Direction,
    FieldMapping,
    Filter,
    Key,
    Mapping,
    Rule,
    TransformStep,
)
from connector.mapping.names import ATTRIBUTES, CANONICAL, DERIVED, is_known, known_names, platform_kind
from connector.mapping.source import Located, Place, did_you_mean, parse, read, validate
from connector.mapping.template import TemplateError, parse_template
from connector.mapping.texts import Text
from connector.mapping.transforms import TransformError, steps
from connector.model import Kind

UTC = ZoneInfo("UTC")


def load_mapping(path: Path, shown: str | None = None) -> Mapping:
    """Read and check one mapping file. `shown` is its name in problems (the path as given where left out).

    Raises ConfigError with all problems, each with file, line and the way out.
    """
    return _mapping(read(path, shown))


def parse_mapping(text: str, file: str = "mapping") -> Mapping:
    """Like `load_mapping`, for text that is already read."""
    return _mapping(parse(text, file))


def schema() -> dict[str, Any]:
    """The JSON Schema of mapping files, for editors."""
    return Mapping.model_json_schema(by_alias=True)


def _mapping(data: Located) -> Mapping:
    mapping, problems = validate(Mapping, data)
    if mapping is not None:
        seen = {(problem.line, problem.path) for problem in problems}
        problems += [found for found in _problems(mapping) if (found.line, found.path) not in seen]
    if problems or mapping is None:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line, problem.path)))
    return mapping


def _problems(mapping: Mapping) -> Iterator[Problem]:
    persons, replies = mapping.persons, mapping.replies
    yield from _lines(Kind.PERSON, persons.fields)
    yield from _key(Kind.PERSON, persons.key)
    yield from _filters(Kind.PERSON, persons.filters)
    yield from _evidence(mapping)
    if persons.lead is not None:
        yield from _lines(Kind.PERSON, persons.lead.fields)
        yield from _key(Kind.PERSON, persons.lead.key)
    if mapping.identities is not None:
        yield from _lines(Kind.IDENTITY, mapping.identities.fields)
        yield from _key(Kind.IDENTITY, mapping.identities.key)
    if mapping.conversations is not None:
        yield from _lines(Kind.CONVERSATION, mapping.conversations.fields)
        yield from _key(Kind.CONVERSATION, mapping.conversations.key)
        yield from _filters(Kind.CONVERSATION, mapping.conversations.filters)
    yield from _lines(Kind.MESSAGE, mapping.messages.fields)
    yield from _key(Kind.MESSAGE, mapping.messages.key)
    yield from _filters(Kind.MESSAGE, mapping.messages.filters)
    if replies is not None:
        yield from _lines(Kind.REPLY, replies.fields)
        yield from _lines(Kind.REPLY, replies.note)
        yield from _transform(replies.place.at("transform"), Kind.MESSAGE, replies.transform)
        if not replies.when:
            yield replies.place.at("when").problem(
                "is empty: every record would be sent.", "Name a field and the value that says: send this."
            )
    yield from _objects(mapping)
    yield from _links(mapping)


def _lines(kind: Kind, lines: Sequence[FieldMapping]) -> Iterator[Problem]:
    to_crm: dict[tuple[str, str | None], FieldMapping] = {}
    to_platform: dict[tuple[str, str | None], FieldMapping] = {}
    for line in lines:
        yield from _line(kind, line)
        if line.direction is not Direction.TO_PLATFORM:
            yield from _twice(to_crm, line, "crm", line.crm)
        if line.direction is not Direction.TO_CRM and line.platform:
            yield from _twice(to_platform, line, "platform", line.platform)


def _twice(
    taken: dict[tuple[str, str | None], FieldMapping], line: FieldMapping, side: str, name: str
) -> Iterator[Problem]:
    """Two lines write the same field, unless each holds for another object."""
    of = line.of
    clash = [key for key in taken if key[0] == name and (of is None or key[1] is None or key[1] == of)]
    if clash:
        first = taken[clash[0]].place.line
        yield line.place.at(side).problem(f"{name} is already written by the line {first}.", "Remove one of the two.")
    taken[(name, of)] = line


def _line(kind: Kind, line: FieldMapping) -> Iterator[Problem]:
    here = line.place
    yield from (here.problem(f"{message}.") for message in _senseless(line))
    if line.platform is not None:
        yield from _platform_field(here.at("platform"), kind, line)
    if line.template is not None:
        yield from _template(here.at("template"), kind, line.template)
    yield from _transform(here.at("transform"), kind, line.transform)
    if line.of is not None and line.link is None and kind is not Kind.PERSON:
        yield here.at("of").problem("of belongs to a link or to a line of persons.", "Remove it.")
    if line.link is not None and line.link not in LINKS.get(kind, ()):
        allowed = " or ".join(LINKS.get(kind, ())) or "nothing"
        yield here.at("link").problem(f"{article(kind)} links to {allowed}, not to a {line.link}.")
    if "." in line.crm and line.direction is not Direction.TO_PLATFORM:
        yield here.at("crm").problem(
            f"{line.crm} is a field of another record and can only be read.", "Make the line direction: to_platform."
        )


def _senseless(line: FieldMapping) -> Iterator[str]:
    """What does not belong together on one line."""
    sources = [name for name in SOURCES if getattr(line, name) is not None]
    source = sources[0] if len(sources) == 1 else None
    both, back = line.direction is Direction.BOTH, line.direction is Direction.TO_PLATFORM
    if source is None:
        found = " and ".join(sources) or "none of them"
        yield f"a line needs exactly one of {', '.join(SOURCES)}; here is {found}"
    elif source != "platform" and (both or back):
        yield f"{source} only goes to the CRM; remove direction or name a platform field"
    if source not in (None, "platform") and line.values is not None:
        yield f"values translates a platform field; it has no meaning with {source}"
    if source in ("link", "constant") and line.transform is not None:
        yield f"transform has no meaning with {source}"
    if both and line.rule is None:
        yield f"direction both needs a rule: who wins when both sides changed? One of {', '.join(Rule)}"
    if not both and line.rule not in (None, Rule.FILL_BLANK):
        yield f"only fill_blank has a meaning on a line that goes {line.direction}; otherwise the source leads"
    if line.rule is Rule.UNION and not line.holds_set:
        yield "union joins sets; it needs a set such as platform: tags, or transform: tags"
    if line.with_person is not None and line.link is None:
        yield "with_person belongs to a link"
    if line.on == "create" and line.direction is not Direction.TO_CRM:
        yield "on: create is for lines that go to_crm"
    if line.required and back:
        yield "required is for lines that go to the CRM"


def article(kind: Kind) -> str:
    return f"an {kind}" if kind is Kind.IDENTITY else f"a {kind}"


LINKS = {
    Kind.IDENTITY: ("person",),
    Kind.CONVERSATION: ("person",),
    Kind.MESSAGE: ("person", "conversation", "author"),
    Kind.REPLY: ("reply",),
}


def _platform_field(here: Place, kind: Kind, line: FieldMapping) -> Iterator[Problem]:
    name = line.platform or ""
    canonical = CANONICAL[platform_kind(kind)]
    if name in canonical or (name.startswith(ATTRIBUTES) and name != ATTRIBUTES):
        return
    if not is_known(name, kind):
        names = canonical.keys() | DERIVED[platform_kind(kind)].keys()
        yield here.problem(f"{article(kind)} has no field {name!r} on the platform.", did_you_mean(name, names))
    elif line.direction is not Direction.TO_CRM:
        yield here.problem(f"{name} is derived or belongs to another record.", "Such a line can only go to_crm.")


def _template(here: Place, kind: Kind, text: str) -> Iterator[Problem]:
    try:
        template = parse_template(text, UTC)
    except TemplateError as error:
        yield here.problem(f"{error}.")
        return
    for name in dict.fromkeys(template.names):
        if not is_known(name, kind):
            yield here.problem(f"there is no name {{{name}}} here.", did_you_mean(name, known_names(kind)))


def _transform(here: Place, kind: Kind, transform: TransformStep | list[TransformStep] | None) -> Iterator[Problem]:
    try:
        lenses = steps(transform)
    except TransformError as error:
        yield here.problem(str(error), error.way_out)
        return
    for lens in lenses:
        if isinstance(lens, Text):
            yield from _template(here, kind, lens.more)


def _key(kind: Kind, key: Key) -> Iterator[Problem]:
    here = key.place.at("template")
    yield from _template(here, kind, key.template)
    if "{id}" not in key.template:
        yield here.problem("a key needs {id}, otherwise records share it.", "Write {connection}:{id}, for example.")


def _filters(kind: Kind, filters: Iterable[Filter]) -> Iterator[Problem]:
    seen: set[str] = set()
    for rule in filters:
        if rule.name in seen:
            yield rule.place.at("name").problem(f"two filters are called {rule.name!r}.", "Rename one.")
        seen.add(rule.name)
        if not rule.when:
            yield rule.place.at("when").problem("has no condition.", "Name a field and a condition.")
        for name in rule.when:
            if not is_known(name, kind):
                here = rule.place.at("when", name)
                yield here.problem(f"there is no name {name!r} here.", did_you_mean(name, known_names(kind)))


def _evidence(mapping: Mapping) -> Iterator[Problem]:
    seen: set[str] = set()
    for evidence in mapping.persons.match.evidence:
        here = evidence.place
        if evidence.name in seen:
            yield here.at("name").problem(f"two pieces of evidence are called {evidence.name!r}.", "Rename one.")
        seen.add(evidence.name)
        canonical = CANONICAL[Kind.PERSON]
        if evidence.platform not in canonical and not evidence.platform.startswith(ATTRIBUTES):
            message = f"a person has no field {evidence.platform!r} on the platform."
            yield here.at("platform").problem(message, did_you_mean(evidence.platform, canonical))


def _objects(mapping: Mapping) -> Iterator[Problem]:
    """A CRM object holds records of one kind; otherwise nobody could tell what a record that was read is. Replies that are
    followed by a note are told from messages by their values."""
    replies = mapping.replies
    shared = replies and replies.note and replies.object == mapping.messages.object
    sections = (mapping.identities, mapping.conversations, mapping.messages, None if shared else replies)
    others = [(s.object, s) for s in sections if s]
    taken = dict.fromkeys(mapping.persons.objects, "persons")
    for name, section in others:
        here = section.place.at("object")
        section_name = str(section.place.path[-1]) if section.place.path else name
        if name in taken:
            yield here.problem(f"{name} already holds {taken[name]}.", "Give each kind an object of its own.")
        taken[name] = section_name


def _links(mapping: Mapping) -> Iterator[Problem]:
    """Links need the kind they point at; replies need conversations to be sent into."""
    if mapping.conversations is not None:
        return
    for line in mapping.messages.fields:
        if line.link == "conversation":
            message = "links to conversations, but the mapping has no conversations."
            yield line.place.at("link").problem(message, "Add a conversations section or remove the line.")
    if mapping.replies is not None and isinstance(mapping.replies.conversation, str):
        message = "replies are sent into conversations, but the mapping has no conversations."
        yield mapping.replies.place.problem(message, "Add a conversations section.")
