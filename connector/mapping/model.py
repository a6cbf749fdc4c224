"""The shape of a mapping file (`mappings/*.yaml`) as pydantic models. Strict: an unknown key is an error.

YAML names things, it never computes: fields, transforms, rules, templates of named fields.
"""

from datetime import UTC
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from connector.mapping.places import Region, Zone
from connector.mapping.source import NotBoolean, Strict
from connector.mapping.template import parse_time


class Direction(StrEnum):
    TO_CRM = "to_crm"
    TO_PLATFORM = "to_platform"
    BOTH = "both"


class Rule(StrEnum):
    """Who wins when both sides changed the same field to different values."""

    CRM = "crm"
    PLATFORM = "platform"
    NEWEST = "newest"
    FILL_BLANK = "fill_blank"
    UNION = "union"
    HOLD = "hold"


class Blank(StrEnum):
    """What an emptied value does: `ignore` leaves the other side as it is, `clear` empties it too."""

    IGNORE = "ignore"
    CLEAR = "clear"


Scalar: TypeAlias = str | int | float | bool | None
TransformStep: TypeAlias = str | dict[str, dict[str, object]]


SOURCES = ("platform", "template", "constant", "link")


class FieldMapping(Strict):
    """One line: a CRM field and what it is tied to.

    Exactly one of `platform`, `template`, `constant` and `link` says what the CRM field holds.
    """

    crm: Annotated[str, Field(description="CRM field, or a path to a readable one such as Owner.Name")]
    platform: Annotated[
        str | None, Field(description="canonical platform field, for example phone or attributes.tier")
    ] = None
    template: Annotated[str | None, Field(description="text with {named fields}; one way, to the CRM")] = None
    constant: Annotated[Scalar, Field(description="a fixed value; one way, to the CRM")] = None
    link: Annotated[
        Literal["person", "conversation", "author", "reply"] | None,
        Field(
            description="the CRM id of a record: the person's, the conversation's, the author's (the person's, or the "
            "contact of the CRM user with the agent's address), or in a note the reply's"
        ),
    ] = None
    of: Annotated[
        str | None,
        Field(
            description="with link: only when the linked record is of this CRM object; "
            "among the lines of persons: only for records of this CRM object"
        ),
    ] = None
    with_person: Annotated[
        str | None, Field(description="with link: only when the person's CRM record is of this object")
    ] = None
    direction: Annotated[Direction, Field(description="which way values go")] = Direction.TO_CRM
    rule: Annotated[
        Rule | None,
        Field(description="conflict rule; needed where direction is both; fill_blank also on one-way lines"),
    ] = None
    transform: Annotated[
        TransformStep | list[TransformStep] | None,
        Field(description="a transform by name, with parameters, or a chain of them"),
    ] = None
    values: Annotated[dict[str, Scalar] | None, Field(description="value map: platform value to CRM value")] = None
    default: Annotated[
        Scalar,
        Field(description="stands for a blank value: of the CRM where direction is to_platform, else of the platform"),
    ] = None
    required: Annotated[bool, Field(description="a record without a value here is held, not written")] = False
    blank: Annotated[
        Blank, Field(description="an emptied value: ignore leaves the other side as it is, clear empties it too")
    ] = Blank.IGNORE
    on: Annotated[Literal["create", "always"], Field(description="create: written once, when the record is made")] = (
        "always"
    )

    @property
    def holds_set(self) -> bool:
        steps = self.transform if isinstance(self.transform, list) else [self.transform]
        return self.platform in ("tags", "identity_keys") or any(
            step == "tags" or (isinstance(step, dict) and "tags" in step) for step in steps
        )


class Condition(Strict):
    """One test of one named field. Give exactly one."""

    is_: Annotated[Scalar | list[Scalar], Field(alias="is", description="equal to this value, or to one of these")] = (
        None
    )
    contains: Annotated[str | None, Field(description="text contains, upper and lower case alike")] = None
    any_of: Annotated[list[str] | None, Field(description="a set such as tags has one of these")] = None
    before: Annotated[str | None, Field(description="a time before this date (UTC)")] = None
    present: Annotated[bool | None, Field(description="true: has a value; false: has none")] = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        tests = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(tests) != 1:
            raise ValueError("a condition has exactly one of is, contains, any_of, before, present")
        if self.before is not None and parse_time(self.before, UTC) is None:
            raise ValueError(f"before needs a date or a time such as 2026-01-31, not {self.before!r}")
        return self


class Filter(Strict):
    """A named rule; the first whose conditions all hold decides. No rule holds: the record comes in."""

    name: Annotated[str, Field(description="shown wherever the filter kept a record out")]
    when: Annotated[
        dict[str, Condition], Field(description="field of the message, conversation.* or person.*: condition")
    ]
    take: Annotated[bool, Field(description="true: comes in, false: stays out")]


class Through(Strict):
    """Evidence kept in a record of its own that points at the person (`Social_Identity__c`)."""

    object: Annotated[str, Field(description="CRM object of that record")]
    field: Annotated[str, Field(description="its field that is compared")]
    person: Annotated[tuple[str, ...], Field(description="its fields that hold the person's CRM id")]


class Evidence(Strict):
    """One kind of evidence that a platform person and a CRM record are the same."""

    name: Annotated[str, Field(description="shown with every link and every doubtful case")]
    platform: Annotated[str, Field(description="field of the person: identity_keys, email, phone, handle, name, ...")]
    crm: Annotated[tuple[str, ...], Field(description="CRM fields compared with it")] = ()
    through: Annotated[Through | None, Field(description="instead of crm: a record that points at the person")] = None
    compare: Annotated[
        Literal["exact", "email", "phone", "handle", "name"], Field(description="how two values are compared")
    ] = "exact"
    weight: Annotated[int, NotBoolean, Field(ge=1, le=100, description="points when it agrees")]
    against: Annotated[
        int, NotBoolean, Field(ge=0, le=100, description="points taken off when both sides have a value and differ")
    ] = 0
    search: Annotated[
        bool, Field(description="candidates are looked up by it; false: it only adds or takes points")
    ] = True

    @property
    def weak(self) -> bool:
        """Names are shared and handles change hands: they may add points, never link by themselves."""
        return self.compare in ("name", "handle") or self.platform in ("name", "first_name", "last_name", "handle")

    @model_validator(mode="after")
    def _compares_something(self) -> Self:
        if not self.crm and self.through is None:
            raise ValueError(f"evidence {self.name} compares with nothing; give crm fields, or through")
        return self


class Match(Strict):
    """Points needed. At `link_at` and `margin` clear of the runner-up: link. From `hold_at`: a person decides."""

    link_at: Annotated[int, NotBoolean, Field(ge=1, description="points from which a candidate is linked")] = 80
    hold_at: Annotated[int, NotBoolean, Field(ge=1, description="points from which a person decides")] = 30
    margin: Annotated[int, NotBoolean, Field(ge=0, description="points by which the best must lead the next one")] = 20
    evidence: Annotated[tuple[Evidence, ...], Field(min_length=1, description="what counts, and how much")]

    @model_validator(mode="after")
    def _needs_strong_evidence(self) -> Self:
        if self.hold_at > self.link_at:
            raise ValueError(f"hold_at {self.hold_at} is above link_at {self.link_at}; nothing would ever be held")
        weak = [evidence for evidence in self.evidence if evidence.weak]
        if sum(evidence.weight for evidence in weak) >= self.link_at:
            names = " and ".join(evidence.name for evidence in weak)
            raise ValueError(
                f"{names} alone would reach link_at {self.link_at}: many people share a name and handles change hands; "
                "give them lower weights"
            )
        return self


class Key(Strict):
    """The CRM's external id field that makes a write repeatable, and how its value is put together."""

    field: Annotated[str, Field(description="external id field: unique, case-sensitive text of 255")]
    template: Annotated[str, Field(description="its value, with {id}; a longer one than 255 is hashed")]


Lines: TypeAlias = Annotated[tuple[FieldMapping, ...], Field(description="the lines")]
Filters: TypeAlias = Annotated[tuple[Filter, ...], Field(description="which records come in; without filters, all")]


class LeadTarget(Strict):
    """The object for `nobody: lead`; `fields` are added to those of persons (a Lead needs a Company)."""

    object: Annotated[str, Field(description="CRM object")] = "Lead"
    key: Annotated[Key, Field(description="its external id")]
    fields: Annotated[tuple[FieldMapping, ...], Field(description="lines that only a lead has")] = ()


class Persons(Strict):
    """People: who they are in the CRM, and which of their data goes where."""

    object: Annotated[str, Field(description="CRM object in which a new person is created")]
    also: Annotated[
        tuple[str, ...], Field(description="other CRM objects in which persons are looked up, for example Lead")
    ] = ()
    key: Annotated[Key, Field(description="the external id of persons that the connector creates")]
    match: Annotated[Match, Field(description="how a person is recognised")]
    nobody: Annotated[
        Literal["create", "lead", "hold", "skip"], Field(description="what to do when no CRM record matches")
    ] = "create"
    lead: Annotated[LeadTarget | None, Field(description="needed where nobody is lead")] = None
    filters: Filters = ()
    fields: Lines

    @property
    def objects(self) -> tuple[str, ...]:
        """Every CRM object in which a person may live, the one for new persons first."""
        return tuple(dict.fromkeys((self.object, *self.also, *((self.lead.object,) if self.lead else ()))))

    def lines_on(self, object_: str) -> tuple[FieldMapping, ...]:
        """The lines that hold for persons in one CRM object; those of a lead stand in front of the common ones."""
        own = [line for line in self.fields if line.of in (None, object_)]
        extra = self.lead.fields if self.lead and object_ == self.lead.object else ()
        taken = {line.crm for line in extra}
        return (*(line for line in own if line.crm not in taken), *extra)

    @model_validator(mode="after")
    def _lead_is_told(self) -> Self:
        if self.nobody == "lead" and self.lead is None:
            raise ValueError("nobody: lead needs a lead section that says how a lead is made")
        return self


class Identities(Strict):
    """One record per network account of a person."""

    object: Annotated[str, Field(description="CRM object")]
    key: Annotated[Key, Field(description="the external id")]
    fields: Lines


class Conversations(Strict):
    """One record per conversation; needed for replies."""

    object: Annotated[str, Field(description="CRM object")]
    key: Annotated[Key, Field(description="the external id")]
    filters: Filters = ()
    fields: Lines


class Messages(Strict):
    """One record per message."""

    object: Annotated[str, Field(description="CRM object")]
    key: Annotated[Key, Field(description="the external id")]
    filters: Filters = ()
    deleted: Annotated[
        Literal["mark", "blank", "remove"],
        Field(
            description="a message deleted on the network: mark keeps its text, blank drops the text, remove deletes the record"
        ),
    ] = "mark"
    fields: Lines


class ReplyOutcome(Strict):
    """Where a reply that never left is told so, in the CRM's own words."""

    status: Annotated[str, Field(description="CRM field that tells how it went")]
    failed: Annotated[str, Field(description="its value when the platform refused the reply")]
    held: Annotated[str, Field(description="its value while a person has to decide")]
    error: Annotated[str, Field(description="CRM field for the reason")]


class ReplyTo(Strict):
    """How the conversation of a reply is found where the reply does not name its record. Give exactly one. What cannot be
    told is held."""

    answered: Annotated[
        str | None, Field(description="CRM field that names the message it answers: that message's conversation")
    ] = None
    newest_open: Annotated[
        str | None,
        Field(
            description="CRM field that names the person it is written to: of their open conversations the one with the newest message"
        ),
    ] = None

    @property
    def field(self) -> str:
        return str(self.answered or self.newest_open)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.answered is None) is (self.newest_open is None):
            raise ValueError("a reply finds its conversation by exactly one of answered, newest_open")
        return self


class Replies(Strict):
    """Records of the CRM that are sent into a conversation, once. What became of them is told in their own fields (`outcome`
    and `fields`) or by a note under them (`note`)."""

    object: Annotated[str, Field(description="CRM object; with note it may be that of the messages")]
    when: Annotated[dict[str, Scalar], Field(description="a record with these values is a reply to send")]
    conversation: Annotated[
        str | ReplyTo, Field(description="CRM field that points at the conversation record, or how it is found")
    ]
    text: Annotated[str, Field(description="CRM field that holds the text")]
    transform: Annotated[
        TransformStep | list[TransformStep] | None, Field(description="how the text becomes the platform's")
    ] = None
    outcome: Annotated[ReplyOutcome | None, Field(description="where a reply that never left is told so")] = None
    fields: Annotated[tuple[FieldMapping, ...], Field(description="what comes back from the sent message")] = ()
    note: Annotated[
        tuple[FieldMapping, ...],
        Field(description="lines of the note; its other lines are those of messages, whose record it is"),
    ] = ()

    @model_validator(mode="after")
    def _told_somewhere(self) -> Self:
        if bool(self.note) is (self.outcome is not None):
            raise ValueError("say where the fate of a reply is told: outcome with fields, or note")
        if self.note and self.fields:
            raise ValueError("fields belong to outcome; with note the reply's own record is left alone")
        return self


class Mapping(Strict):
    """A whole mapping file."""

    version: Annotated[Literal[1], Field(description="of the file's form")]
    platform: Annotated[str, Field(description="adapter of the platform, such as chatwoot")]
    crm: Annotated[str, Field(description="adapter of the CRM, such as salesforce")]
    zone: Annotated[Zone, Field(description="time zone of dates and times in texts")] = "UTC"
    region: Annotated[
        Region, Field(description="country of phone numbers written without a prefix, for example NL")
    ] = "US"
    persons: Annotated[Persons, Field(description="people")]
    identities: Annotated[Identities | None, Field(description="their network accounts")] = None
    conversations: Annotated[Conversations | None, Field(description="conversations")] = None
    messages: Annotated[Messages, Field(description="messages")]
    replies: Annotated[Replies | None, Field(description="replies written in the CRM")] = None
