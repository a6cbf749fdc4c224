"""Does a mapping fit the two systems as they are now? Pure: it compares the mapping with their described schemas.

Everything that a write would be refused for later is said here first, with the line to change.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.adapters.base import Capabilities, FieldInfo, ObjectInfo
from connector.errors import Problem
from connector.mapping.compiled import MAX_KEY, Context, compile_mapping, reads
from connector.mapping.lenses import Base
from connector.mapping.model import Direction, FieldMapping, Filter, Key, Replies, Rule, Scalar
from connector.mapping.model import Mapping as MappingFile
from connector.mapping.names import AROUND, platform_kind
from connector.mapping.source import Place, did_you_mean
from connector.mapping.template import show
from connector.mapping.texts import Text
from connector.mapping.transforms import steps
from connector.mapping.values import UserLens
from connector.model import Kind

TEXTS: Final = frozenset(("text", "longtext", "url", "choice", "email", "phone"))
FITS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(TEXTS, TEXTS | {"any"}),
    "datetime": frozenset(("datetime", "text", "longtext", "any")),
    "date": frozenset(("date", "text", "longtext", "any")),
    "tags": frozenset(("tags", "text", "longtext", "any")),
    "list": frozenset(("list", "any")),
    "integer": frozenset(("integer", "number", "text", "longtext", "any")),
    "number": frozenset(("integer", "number", "text", "longtext", "any")),
    "boolean": frozenset(("boolean", "any")),
    "reference": frozenset(("reference", "any")),
}
"""Into which types of CRM fields a value of a type fits."""

CONVERT: Final = {
    "datetime": "datetime",
    "date": "date",
    "tags": "tags",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "reference": "user",
}
"""The transform that makes a value fit a CRM field of this type."""


def objects(mapping: MappingFile) -> tuple[str, ...]:
    """The CRM objects that `check` wants described."""
    return tuple(reads(compile_mapping(mapping, Context())))


@dataclass(frozen=True)
class _Side:
    """What is known of the systems while a mapping is checked."""

    crm: Mapping[str, ObjectInfo] | None
    platform: Mapping[str, ObjectInfo]
    crm_can: Capabilities
    platform_can: Capabilities
    users: Collection[str] | None


def check(
    mapping: MappingFile,
    crm: Mapping[str, ObjectInfo] | None,
    platform: Mapping[str, ObjectInfo],
    crm_capabilities: Capabilities,
    platform_capabilities: Capabilities,
    users: Collection[str] | None = None,
) -> list[Problem]:
    """All findings, errors and warnings, in the order of the file.

    `crm` holds the description of every object that exists, by its name; `platform` by kind (`person`, ...). Where the CRM was
    not read (None), or the platform (empty), the mapping is checked against the other side alone. `users` are the e-mail
    addresses for which a CRM user is known, None where nobody asked.
    """
    known = _Side(crm, platform, crm_capabilities, platform_capabilities, users)
    return sorted(set(_findings(mapping, known)), key=lambda problem: (problem.line, problem.path))


def _findings(mapping: MappingFile, known: _Side) -> Iterator[Problem]:
    persons = mapping.persons
    conversations = mapping.conversations
    for filters in (persons.filters, conversations.filters if conversations else (), mapping.messages.filters):
        yield from _filters(filters)
    for object_ in persons.objects:
        place = persons.place.at("object" if object_ == persons.object else "also")
        key, creates = persons.key, object_ == persons.object and persons.nobody in ("create", "hold")
        if persons.lead and object_ == persons.lead.object:
            place, key, creates = persons.lead.place.at("object"), persons.lead.key, persons.nobody == "lead"
        yield from _section(Kind.PERSON, place, object_, key, persons.lines_on(object_), known, creates)
        if known.crm is not None:
            yield from _evidence(mapping, object_, known.crm)
    for kind, section in (
        (Kind.IDENTITY, mapping.identities),
        (Kind.CONVERSATION, mapping.conversations),
        (Kind.MESSAGE, mapping.messages),
    ):
        if section is not None:
            place = section.place.at("object")
            yield from _section(kind, place, section.object, section.key, section.fields, known, True)
    if mapping.replies is not None:
        yield from _replies(mapping.replies, known)


def _filters(filters: Sequence[Filter]) -> Iterator[Problem]:
    """A rule that takes records in spares them from the rules below; where none of those keeps any out, it changes nothing."""
    for number, rule in enumerate(filters):
        if rule.take and all(one.take for one in filters[number:]):
            message = f"{rule.name!r} changes nothing: what no filter keeps out comes in anyway."
            way_out = "Add a filter below it that keeps the others out: when: {id: {present: true}}, take: false."
            yield rule.place.at("take").problem(message, way_out, "warning")


def _section(
    kind: Kind,
    place: Place,
    object_: str,
    key: Key,
    lines: Sequence[FieldMapping],
    known: _Side,
    creates: bool,
) -> Iterator[Problem]:
    yield from _kinds(kind, place, lines, known)
    if known.crm is None:
        for line in lines:
            yield from _to_platform(kind, line, known)
        return
    info = known.crm.get(object_)
    if info is None:
        yield place.problem(f"the CRM has no object {object_}.", did_you_mean(object_, known.crm))
        return
    if creates and not info.createable:
        yield place.problem(f"the connector's user may not create {object_}.", "Give it the permission.")
    yield from _key(key, info, known)
    for line in lines:
        yield from _line(kind, line, info, known)
    written = {line.crm for line in lines if line.direction is not Direction.TO_PLATFORM} | {key.field}
    missing = [f.name for f in info.fields.values() if f.required and f.createable and f.name not in written]
    if creates and missing:
        yield place.problem(f"{object_} needs {', '.join(missing)}.", "Add a line for each, for example a constant.")


def _kinds(kind: Kind, place: Place, lines: Sequence[FieldMapping], known: _Side) -> Iterator[Problem]:
    """Both systems must be able to read and write what the section asks for."""
    if kind not in known.platform_can.readable:
        yield place.problem(f"the platform does not show records of kind {kind}.", "Remove the section.")
    if kind not in known.crm_can.writable:
        yield place.problem(f"the CRM takes no records of kind {kind}.", "Remove the section.")
    back = [line for line in lines if line.direction is not Direction.TO_CRM]
    if back and kind not in known.platform_can.writable:
        message = f"nothing can be written to a {kind} on the platform."
        yield back[0].place.problem(message, "Make its lines direction: to_crm.")
    for line in lines:
        trusted = kind in known.crm_can.trusted_times and kind in known.platform_can.trusted_times
        if line.rule is Rule.NEWEST and not trusted:
            yield line.place.at("rule").problem(
                f"newest needs trustworthy times of a {kind} on both sides, and one side has none.",
                "Choose crm, platform or hold.",
            )


def _key(key: Key, info: ObjectInfo, known: _Side) -> Iterator[Problem]:
    place = key.place.at("field")
    field = info.field(key.field)
    if field is None:
        yield _no_field(place, info, key.field)
        return
    if not field.createable:
        yield place.problem(f"{info.name}.{key.field} cannot be written.", "Give the connector's user edit access.")
    if known.crm_can.upsert_by_key and not field.external_id:
        yield place.problem(f"{info.name}.{key.field} is no external id.", "Tick External ID in the CRM.")
    if known.crm_can.upsert_by_key and not field.unique:
        message = f"{info.name}.{key.field} is not unique: a lost answer could make a second record."
        yield place.problem(message, "Tick Unique in the CRM.")
    elif field.unique and not field.case_sensitive:
        message = f"{info.name}.{key.field} takes upper and lower case as the same; ids of networks differ in them."
        yield place.problem(message, "Make it unique with case sensitivity.", "warning")
    if 0 < field.length < MAX_KEY:
        message = f"{info.name}.{key.field} holds {field.length} characters; keys may have {MAX_KEY}."
        yield place.problem(message, "Make the field longer.")


def _line(kind: Kind, line: FieldMapping, info: ObjectInfo, known: _Side) -> Iterator[Problem]:
    here = line.place
    field = info.field(line.crm)
    if field is None:
        yield _no_field(here.at("crm"), info, line.crm)
        return
    yield from _to_platform(kind, line, known)
    source = _source(kind, line.platform, known)
    if line.direction is not Direction.TO_PLATFORM:
        yield from _writable(here.at("crm"), line, info, field)
        yield from _type(line, info, field, source)
        yield from _length(line, info, field, source)
        yield from _choices(line, info, field)
    if (
        known.users is not None
        and not known.users
        and any(isinstance(lens, UserLens) for lens in steps(line.transform))
    ):
        message = "no CRM user has an e-mail address that an agent has, so nobody could be assigned."
        yield here.at("transform").problem(message, "Give agents and CRM users the same addresses.", "warning")


def _source(kind: Kind, name: str | None, known: _Side) -> FieldInfo | None:
    """The platform field that a line names, also one of a record around it (`conversation.network`)."""
    if name is None:
        return None
    owner, _, rest = name.partition(".")
    around = owner in AROUND[platform_kind(kind)]
    info = known.platform.get(owner if around else platform_kind(kind))
    return info.field(rest if around else name) if info else None


def _to_platform(kind: Kind, line: FieldMapping, known: _Side) -> Iterator[Problem]:
    if line.direction is Direction.TO_CRM:
        return
    here, info = line.place.at("platform"), known.platform.get(platform_kind(kind))
    field = _source(kind, line.platform, known)
    if field is None and info is not None:
        message = f"this platform's {kind} has no field {line.platform}."
        yield here.problem(message, did_you_mean(line.platform or "", info.fields))
    elif field is not None and not field.updateable:
        message = f"{line.platform} of a {kind} cannot be written on this platform."
        yield here.problem(message, "Make the line direction: to_crm.")


def _writable(here: Place, line: FieldMapping, info: ObjectInfo, field: FieldInfo) -> Iterator[Problem]:
    if not field.createable:
        yield here.problem(
            f"{info.name}.{line.crm} cannot be written.",
            "Give the connector's user edit access, or choose another field.",
        )
    elif not field.updateable and line.on == "always":
        yield here.problem(f"{info.name}.{line.crm} cannot be changed later.", "Add on: create.")


def _type(line: FieldMapping, info: ObjectInfo, field: FieldInfo, source: FieldInfo | None) -> Iterator[Problem]:
    made = _made(line, source)
    if made not in FITS or field.type in FITS[made]:
        return
    here = line.place.at("crm")
    hint = CONVERT.get(field.type)
    way_out = f"Add transform: {hint}." if hint and not line.transform and line.platform else "Choose another field."
    if made in ("tags", "list"):
        way_out = "Add transform: tags."
    yield here.problem(
        f"a value of type {made} does not fit {info.name}.{line.crm}, which is of type {field.type}.", way_out
    )


def _made(line: FieldMapping, source: FieldInfo | None) -> str:
    """The type of what the line writes, "any" where it cannot be told."""
    lenses = steps(line.transform)
    if line.link is not None:
        return "reference"
    if lenses:
        return lenses[-1].type or "any"
    if line.template is not None:
        return "text"
    if line.values is not None or line.constant is not None:
        return "any"
    if source is not None and source.type == "tags":
        return "list"
    return source.type if source is not None else "any"


def _length(line: FieldMapping, info: ObjectInfo, field: FieldInfo, source: FieldInfo | None) -> Iterator[Problem]:
    """Salesforce refuses a whole record for one text that is too long; so a text needs a limit that fits."""
    if not field.length or field.type not in TEXTS or line.link or line.values is not None:
        return
    lenses = steps(line.transform)
    name = f"{info.name}.{line.crm}"
    limits = [lens.limit for lens in lenses if isinstance(lens, Text) and lens.limit is not None]
    if limits:
        if limits[-1] > field.length:
            message = f"the limit {limits[-1]} is more than {name} holds."
            yield line.place.at("transform").problem(message, f"Write {{text: {{limit: {field.length}}}}}.")
        return
    if isinstance(line.constant, str):
        if len(line.constant) > field.length:
            yield line.place.at("constant").problem(f"is longer than {name} holds ({field.length}).", "Shorten it.")
        return
    if line.constant is not None or not _unbounded(line, lenses, source, field.length):
        return
    yield line.place.problem(
        f"the text may be longer than {name} holds ({field.length}).",
        f"Add transform: {{text: {{limit: {field.length}}}}}.",
        "warning",
    )


def _unbounded(line: FieldMapping, lenses: Sequence[Base], source: FieldInfo | None, length: int) -> bool:
    """Whether nothing keeps the text within `length`."""
    made = lenses[-1].type if lenses else ""
    if made == "tags":
        return length <= MAX_KEY
    if made not in ("text", ""):
        return False
    if line.template is not None or source is None:
        return True
    return source.type in ("text", "longtext", "url") and (not source.length or source.length > length)


def _choices(line: FieldMapping, info: ObjectInfo, field: FieldInfo) -> Iterator[Problem]:
    if line.constant is not None:
        yield from _choice(line.place.at("constant"), info, field, line.constant)
    for platform, value in (line.values or {}).items():
        yield from _choice(line.place.at("values", platform), info, field, value)


def _choice(here: Place, info: ObjectInfo, field: FieldInfo, value: Scalar) -> Iterator[Problem]:
    if value is None or not field.choices or show(value) in field.choices:
        return
    refused = "would be refused" if field.restricted else "would be a new value of the list"
    yield here.problem(
        f"{show(value)!r} is no choice of {info.name}.{field.name} and {refused}.",
        did_you_mean(show(value), field.choices),
        "error" if field.restricted else "warning",
    )


def _evidence(mapping: MappingFile, object_: str, crm: Mapping[str, ObjectInfo]) -> Iterator[Problem]:
    for evidence in mapping.persons.match.evidence:
        here = evidence.place
        if evidence.through is not None:
            through = evidence.through
            info = crm.get(through.object)
            if info is None:
                message = f"the CRM has no object {through.object}."
                yield through.place.at("object").problem(message, did_you_mean(through.object, crm))
                continue
            for name, at in ((through.field, "field"), *((name, "person") for name in through.person)):
                if info.field(name) is None:
                    yield _no_field(through.place.at(at), info, name)
        else:
            info = crm.get(object_)
            for name in evidence.crm if info else ():
                if info and info.field(name) is None:
                    yield _no_field(here.at("crm"), info, name)


def _replies(replies: Replies, known: _Side) -> Iterator[Problem]:
    here = replies.place
    if not known.platform_can.can_reply:
        yield here.problem("this platform's API cannot send replies.", "Remove the replies section.")
    if Kind.REPLY not in known.crm_can.readable:
        yield here.problem("this CRM shows no replies.", "Remove the replies section.")
    if known.crm is None:
        return
    info = known.crm.get(replies.object)
    if info is None:
        message = f"the CRM has no object {replies.object}."
        yield here.at("object").problem(message, did_you_mean(replies.object, known.crm))
        return
    told, target = replies.outcome, replies.conversation
    named = [
        (here.at("conversation"), target if isinstance(target, str) else target.field),
        (here.at("text"), replies.text),
        *((here.at("when", name), name) for name in replies.when),
    ]
    if told is not None:
        named += [(told.place.at("status"), told.status), (told.place.at("error"), told.error)]
    for at, name in named:
        field = info.field(name)
        if field is None:
            yield _no_field(at, info, name)
        elif at.path[-2:-1] == ("outcome",) and not field.updateable:
            yield at.problem(f"{info.name}.{name} cannot be written.", "Give the connector's user edit access.")
    status = info.field(told.status) if told else None
    if told is not None and status is not None:
        for at, value in ((told.place.at("failed"), told.failed), (told.place.at("held"), told.held)):
            yield from _choice(at, info, status, value)
    for name, wanted in replies.when.items():
        field = info.field(name)
        if field is not None:
            yield from _choice(here.at("when", name), info, field, wanted)
    for line in (*replies.fields, *replies.note):
        yield from _line(Kind.REPLY, line, info, known)


def _no_field(here: Place, info: ObjectInfo, name: str) -> Problem:
    way_out = did_you_mean(name, info.fields) or "Check the name, and that the connector's user may see the field."
    return here.problem(f"{info.name} has no field {name}.", way_out)
