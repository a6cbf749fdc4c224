"""A mapping made ready to decide with: lines as `FieldRule`s with lenses and parsed templates. Pure.

`compile_mapping` expects a mapping that `load` accepted; `reads` says what a CRM adapter has to read for it.
"""

import hashlib
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal
from zoneinfo import ZoneInfo

from connector.adapters.base import ObjectRead
from connector.mapping.cut import units
from connector.mapping.lenses import NO_NAMES, Lens, Surroundings, is_blank
from connector.mapping.model import (
    Blank,
    Conversations,
    Direction,
    FieldMapping,
    Filter,
    Identities,
    Key,
    LeadTarget,
    Mapping,
    Match,
    Messages,
    Replies,
    ReplyOutcome,
    ReplyTo,
    Rule,
    Scalar,
)
from connector.mapping.template import Template, parse_template
from connector.mapping.transforms import build
from connector.model import Fields, Kind, Value, digest


class Absent(Enum):
    """The mark of a value that a side did not show; never the same as null."""

    ABSENT = "absent"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT

MAX_KEY: Final = 255
"""Length of an external id field (Salesforce: custom Text fields hold at most 255 characters)."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a mapping needs to know of its connection. `users`: agent's e-mail to CRM user id; `contacts`: to the id of that
    user's own contact."""

    users: Map[str, str] = field(default_factory=dict)
    connection: str = ""
    contacts: Map[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The external id of a record: the CRM field and how its value is made."""

    field: str
    template: Template

    def value(self, names: Fields) -> str:
        """The key, or `sha256:` and its hash where it is longer than an external id may be."""
        text = self.template.render(names)
        return text if units(text) <= MAX_KEY else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class FieldRule:
    """One line of a mapping. `name` is unique among the lines of its kind and stays the same while the line names the
    same two fields; `where` is its place in the file. A line is equal to itself only."""

    name: str
    crm: str
    platform: str | None
    template: Template | None
    constant: Scalar
    link: Literal["person", "conversation", "author", "reply"] | None
    of: str | None
    with_person: str | None
    direction: Direction
    rule: Rule | None
    blank: Blank
    required: bool
    default: Scalar
    on: Literal["create", "always"]
    lens: Lens
    where: str

    @property
    def to_crm_allowed(self) -> bool:
        return self.direction is not Direction.TO_PLATFORM

    @property
    def to_platform_allowed(self) -> bool:
        return self.direction is not Direction.TO_CRM

    def from_platform(self, fields: Fields, names: Fields = NO_NAMES) -> Value:
        """The canonical value the platform shows, ABSENT where it shows none (always for a link). A field that the
        record does not carry itself may be a derived name or one of a record around it."""
        if self.constant is not None:
            return self.constant
        if self.template is not None:
            return self.template.render(names)
        if self.platform is None:
            return ABSENT
        value = fields.get(self.platform, names.get(self.platform, ABSENT))
        if self.to_crm_allowed and self.default is not None and (value is ABSENT or is_blank(value)):
            return self.default
        return value

    def from_crm(self, fields: Fields) -> Value:
        """The canonical value the CRM shows, ABSENT where it shows none."""
        if self.crm not in fields:
            return ABSENT
        value = self.lens.get(fields[self.crm])
        if not self.to_crm_allowed and self.default is not None and is_blank(value):
            return self.default
        return value

    def to_crm(self, value: Value, old: Value = None, names: Fields = NO_NAMES) -> Value:
        """The CRM's value of a canonical one; `old`, what the CRM holds, where it still says the same."""
        shown = self.lens.put(value, None if old is ABSENT else old, names)
        if self.default is not None and self.to_crm_allowed and is_blank(shown):
            # A name of control characters alone is a value to the platform and none to the CRM.
            return self.lens.put(self.default, None, names)
        return shown

    def same(self, a: Value, b: Value) -> bool:
        """Whether two canonical values mean the same. ABSENT is the same as itself only."""
        if a is ABSENT or b is ABSENT:
            return a is b
        return self.lens.same(a, b)


@dataclass(frozen=True)
class KindRules:
    """How records of one kind lie in one CRM object."""

    kind: Kind
    object: str
    key: KeyRule
    fields: tuple[FieldRule, ...]
    filters: tuple[Filter, ...] = ()

    def on(self, object_: str) -> tuple[FieldRule, ...]:
        """The lines that hold for records of one CRM object."""
        return tuple(rule for rule in self.fields if rule.link or rule.of in (None, object_))


@dataclass(frozen=True)
class PersonRules(KindRules):
    """`lines` are those of each CRM object in which persons live, the object for new persons first; `lead` tells how a lead
    is made where nobody matches."""

    lines: Map[str, tuple[FieldRule, ...]] = field(kw_only=True)
    match: Match = field(kw_only=True)
    nobody: Literal["create", "lead", "hold", "skip"] = "create"
    lead: KindRules | None = None

    @property
    def objects(self) -> tuple[str, ...]:
        return tuple(self.lines)

    def on(self, object_: str) -> tuple[FieldRule, ...]:
        """A link may still point into an object that the mapping does not name any more: the common lines hold there."""
        return self.lines.get(object_) or super().on(object_)


@dataclass(frozen=True)
class MessageRules(KindRules):
    deleted: Literal["mark", "blank", "remove"] = "mark"


@dataclass(frozen=True)
class ReplyRules:
    """Where replies are found in the CRM and where their fate is told: in their own fields (`outcome`, and `fields` with
    values of the sent message), or by a `note` of its own, whose lines are those of a message with some replaced."""

    object: str
    when: Map[str, Scalar]
    conversation: str | ReplyTo
    text: str
    lens: Lens
    outcome: ReplyOutcome | None
    fields: tuple[FieldRule, ...]
    note: tuple[FieldRule, ...]
    key: KeyRule
    """Of the note."""
    connection: str

    def wanted(self, fields: Fields) -> bool:
        """Whether a CRM record is a reply that is to be sent."""
        return all(name in fields and fields[name] == value for name, value in self.when.items())

    def body(self, fields: Fields) -> str:
        """The text as the platform takes it, "" where the record holds none."""
        return str(self.lens.get(fields.get(self.text)) or "")


@dataclass(frozen=True)
class Compiled:
    """A whole mapping. `digest` changes with its meaning, not with its layout or comments."""

    digest: str
    region: str
    persons: PersonRules
    identities: KindRules | None
    conversations: KindRules | None
    messages: MessageRules
    replies: ReplyRules | None
    contacts: Map[str, str] = field(default_factory=dict)

    def kind(self, kind: Kind) -> KindRules | None:
        """The rules of a kind, None where the mapping has none (and for replies, which have a shape of their own)."""
        return {
            Kind.PERSON: self.persons,
            Kind.IDENTITY: self.identities,
            Kind.CONVERSATION: self.conversations,
            Kind.MESSAGE: self.messages,
        }.get(kind)


def compile_mapping(mapping: Mapping, context: Context) -> Compiled:
    """Raises TransformError or TemplateError on a mapping that `load` would have refused."""
    zone = ZoneInfo(mapping.zone)
    around = Surroundings(mapping.zone, mapping.region, context.users)

    def key(given: Key) -> KeyRule:
        return KeyRule(given.field, parse_template(given.template, zone))

    def rules(lines: Sequence[FieldMapping]) -> tuple[FieldRule, ...]:
        return tuple(_rule(line, zone, around) for line in lines)

    def section(kind: Kind, given: LeadTarget | Identities | Conversations) -> KindRules:
        filters = given.filters if isinstance(given, Conversations) else ()
        return KindRules(kind, given.object, key(given.key), rules(given.fields), filters)

    persons, messages, replies = mapping.persons, mapping.messages, mapping.replies
    return Compiled(
        digest=digest(mapping.model_dump(mode="json", by_alias=True)),
        region=mapping.region,
        persons=PersonRules(
            Kind.PERSON,
            persons.object,
            key(persons.key),
            rules(persons.fields),
            persons.filters,
            lines={object_: rules(persons.lines_on(object_)) for object_ in persons.objects},
            match=persons.match,
            nobody=persons.nobody,
            lead=section(Kind.PERSON, persons.lead) if persons.lead else None,
        ),
        identities=section(Kind.IDENTITY, mapping.identities) if mapping.identities else None,
        conversations=section(Kind.CONVERSATION, mapping.conversations) if mapping.conversations else None,
        messages=MessageRules(
            Kind.MESSAGE,
            messages.object,
            key(messages.key),
            rules(messages.fields),
            messages.filters,
            messages.deleted,
        ),
        replies=_replies(replies, messages, rules, around, key(messages.key), context.connection) if replies else None,
        contacts=context.contacts,
    )


def _replies(
    given: Replies,
    messages: Messages,
    rules: Callable[[Sequence[FieldMapping]], tuple[FieldRule, ...]],
    around: Surroundings,
    key: KeyRule,
    connection: str,
) -> ReplyRules:
    replaced = {line.crm for line in given.note}
    rest = [line for line in messages.fields if line.crm not in replaced]
    return ReplyRules(
        given.object,
        given.when,
        given.conversation,
        given.text,
        build(given.transform, None, around),
        given.outcome,
        rules(given.fields),
        rules([*rest, *given.note]) if given.note else (),
        key,
        connection,
    )


def _rule(line: FieldMapping, zone: ZoneInfo, around: Surroundings) -> FieldRule:
    return FieldRule(
        name=line_name(line),
        crm=line.crm,
        platform=line.platform,
        template=None if line.template is None else parse_template(line.template, zone),
        constant=line.constant,
        link=line.link,
        of=line.of,
        with_person=line.with_person,
        direction=line.direction,
        rule=line.rule,
        blank=line.blank,
        required=line.required,
        default=line.default,
        on=line.on,
        lens=build(line.transform, line.values, around),
        where=str(line.place),
    )


def line_name(line: FieldMapping) -> str:
    """`Phone~phone`, `Subject~template`, `WhoId~person`, with the object where the line holds for one only."""
    source = line.platform or line.link or ("template" if line.template is not None else "constant")
    return f"{line.crm}~{source}" + (f"~{line.of}" if line.of else "")


def reads(compiled: Compiled) -> dict[str, ObjectRead]:
    """What has to be read per CRM object: the fields of lines that compare or bring back, links, keys, evidence."""
    result: dict[str, ObjectRead] = {}

    def want(
        object_: str, kind: Kind, fields: Sequence[str], key: str | None = None, parent: str | None = None
    ) -> None:
        known = result.get(object_) or ObjectRead(kind, (), key, parent)
        result[object_] = replace(
            known,
            fields=tuple(dict.fromkeys((*known.fields, *fields))),
            key=known.key or key,
            parent=known.parent or parent,
        )

    def lines(rules: Sequence[FieldRule]) -> list[str]:
        return [rule.crm for rule in rules if rule.to_platform_allowed or rule.link]

    persons = compiled.persons
    evidence = [name for item in persons.match.evidence if item.through is None for name in item.crm]
    for object_ in persons.objects:
        keys = [persons.lead.key.field] if persons.lead and object_ == persons.lead.object else [persons.key.field]
        # No key: a contact that a person made carries none before it is linked, and is read all the same.
        want(object_, Kind.PERSON, [*keys, *lines(persons.on(object_)), *evidence])
    for rules, parent in ((compiled.identities, "person"), (compiled.conversations, "person")):
        if rules is not None:
            above = next((rule.crm for rule in rules.fields if rule.link == parent), None)
            want(rules.object, rules.kind, [rules.key.field, *lines(rules.fields)], rules.key.field, above)
    for item in persons.match.evidence:
        if item.through is not None:
            through = item.through
            want(through.object, Kind.IDENTITY, [through.field, *through.person], through.field)
    messages = compiled.messages
    above = next(
        (rule.crm for link in ("conversation", "person") for rule in messages.fields if rule.link == link), None
    )
    replies = compiled.replies
    own = lines([*messages.fields, *(replies.note if replies else ())])
    want(messages.object, Kind.MESSAGE, [messages.key.field, *own], messages.key.field, above)
    if replies is not None:
        told = [replies.outcome.status, replies.outcome.error] if replies.outcome else []
        named = replies.conversation if isinstance(replies.conversation, str) else replies.conversation.field
        asked = [named, replies.text, *replies.when, *told, *(rule.crm for rule in replies.fields)]
        if replies.object == messages.object:
            shared = result[messages.object]
            result[messages.object] = replace(shared, reply_when=replies.when, reply_fields=tuple(asked))
        else:
            want(replies.object, Kind.REPLY, asked, parent=named)
    return result
