"""Does a mapping fit both systems: every misfit is said with its line, and what fits is not complained about."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from connector.adapters.base import Capabilities, FieldInfo, ObjectInfo
from connector.mapping.check import check, objects
from connector.mapping.load import load_mapping, parse_mapping
from connector.mapping.names import CANONICAL
from connector.model import Kind

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "salesforce" / "force-app" / "main" / "default" / "objects"

EVERY = frozenset(Kind)
CAN = Capabilities((), EVERY, EVERY, 200, True, True, True, timedelta(seconds=5))


def info(name: str, *fields: FieldInfo) -> ObjectInfo:
    return ObjectInfo(name, {field.name: field for field in fields})


KEY = FieldInfo("Key__c", "text", length=255, external_id=True, unique=True, case_sensitive=True)
NAME = FieldInfo("Name", "text", length=121, createable=False, updateable=False)
OWNER = FieldInfo("Owner.Name", "text", createable=False, updateable=False)
PEOPLE = (
    KEY,
    NAME,
    OWNER,
    FieldInfo("LastName", "text", length=80, required=True),
    FieldInfo("Phone", "phone", length=40),
    FieldInfo("Email", "email", length=80),
)
CRM = {
    "Contact": info("Contact", *PEOPLE),
    "Lead": info("Lead", *PEOPLE),
    "Talk__c": info(
        "Talk__c",
        KEY,
        FieldInfo("Contact__c", "reference"),
        FieldInfo("Status__c", "choice", choices=("Open", "Closed"), restricted=True),
        FieldInfo("Assignee__c", "reference"),
        FieldInfo("Count__c", "number"),
    ),
    "Task": info(
        "Task",
        KEY,
        FieldInfo("Subject", "choice", length=255),
        FieldInfo("Network__c", "text", length=60),
        FieldInfo("WhoId", "reference"),
        FieldInfo("WhatId", "reference"),
        FieldInfo("Status", "choice", required=True, choices=("Open", "Completed")),
    ),
    "Reply__c": info(
        "Reply__c",
        FieldInfo("Talk__c", "reference"),
        FieldInfo("Body__c", "longtext", length=32000),
        FieldInfo("Status__c", "choice", choices=("Queued", "Sent", "Failed", "Held"), restricted=True),
        FieldInfo("Error__c", "text", length=255),
        FieldInfo("Sent__c", "datetime"),
    ),
}
TIMES = {"sent_at", "opened_at", "first_seen"}
TYPES = {
    **dict.fromkeys(TIMES, "datetime"),
    **dict.fromkeys(("tags", "identity_keys"), "tags"),
    **dict.fromkeys(("blocked", "private", "deleted", "can_reply"), "boolean"),
    "attachments": "list",
    "followers": "integer",
}
PLATFORM = {
    kind.value: ObjectInfo(
        kind, {name: FieldInfo(name, TYPES.get(name, "text"), length=60) for name in fields}, open_prefix="attributes."
    )
    for kind, fields in CANONICAL.items()
}


def found(text: str, crm=CRM, platform=PLATFORM, crm_can=CAN, platform_can=CAN, users=("a@crm.example",)) -> list[str]:
    problems = check(parse_mapping(text, "m.yaml"), crm, platform, crm_can, platform_can, users)
    return [f"{problem.severity} {problem}" for problem in problems]


def with_field(object_: str, name: str, /, **changes) -> dict[str, ObjectInfo]:
    fields = dict(CRM[object_].fields)
    fields[name] = replace(fields[name], **changes)
    return {**CRM, object_: replace(CRM[object_], fields=fields)}


def without(object_: str, name: str) -> dict[str, ObjectInfo]:
    fields = {n: f for n, f in CRM[object_].fields.items() if n != name}
    return {**CRM, object_: replace(CRM[object_], fields=fields)}


def test_what_fits_is_not_complained_about(small):
    assert found(small) == []


def test_the_objects_to_describe(small):
    assert objects(parse_mapping(small)) == ("Contact", "Lead", "Talk__c", "Task", "Reply__c")


CRM_CASES = [
    (
        "an unknown object",
        {n: o for n, o in CRM.items() if n != "Talk__c"},
        "error m.yaml:19: conversations.object: the CRM has no object Talk__c.",
    ),
    (
        "an unknown field",
        without("Contact", "Phone"),
        "error m.yaml:16: persons.fields[1].crm: Contact has no field Phone.",
    ),
    (
        "a read-only field",
        with_field("Contact", "LastName", createable=False),
        "error m.yaml:15: persons.fields[0].crm: Contact.LastName cannot be written.",
    ),
    (
        "a field that cannot be changed later",
        with_field("Talk__c", "Status__c", updateable=False),
        "Talk__c.Status__c cannot be changed later. Add on: create.",
    ),
    ("a field only set on creation", with_field("Contact", "LastName", updateable=False), None),
    (
        "a wrong type",
        with_field("Contact", "Phone", type="boolean"),
        "a value of type phone does not fit Contact.Phone, which is of type boolean.",
    ),
    (
        "a limit above the length",
        with_field("Task", "Subject", length=50),
        "error m.yaml:34: messages.fields[0].transform: the limit 60 is more than Task.Subject holds. Write {text: {limit: 50}}.",
    ),
    (
        "no limit on a longer text",
        with_field("Contact", "LastName", length=40),
        "warning m.yaml:15: persons.fields[0]: the text may be longer than Contact.LastName holds (40).",
    ),
    ("a key that is not there", without("Task", "Key__c"), "messages.key.field: Task has no field Key__c."),
    ("a key that cannot be written", with_field("Task", "Key__c", createable=False), "Task.Key__c cannot be written."),
    (
        "a key that is no external id",
        with_field("Task", "Key__c", external_id=False),
        "error m.yaml:28: messages.key.field: Task.Key__c is no external id.",
    ),
    ("a key that is not unique", with_field("Task", "Key__c", unique=False), "Task.Key__c is not unique"),
    (
        "a key without case",
        with_field("Task", "Key__c", case_sensitive=False),
        "warning m.yaml:28: messages.key.field: Task.Key__c takes upper and lower case as the same",
    ),
    ("a short key", with_field("Task", "Key__c", length=80), "holds 80 characters"),
    (
        "a constant that is no choice",
        with_field("Task", "Status", choices=("Open", "Complete"), restricted=True),
        "error m.yaml:38: messages.fields[4].constant: 'Completed' is no choice of Task.Status and would be refused. Did you mean Complete?",
    ),
    (
        "a constant that becomes a choice",
        with_field("Task", "Status", choices=("Open",)),
        "warning m.yaml:38: messages.fields[4].constant: 'Completed' is no choice",
    ),
    (
        "a mapped value that is no choice",
        with_field("Talk__c", "Status__c", choices=("Open",)),
        "'Closed' is no choice of Talk__c.Status__c and would be refused",
    ),
    (
        "a required field without a line",
        with_field("Talk__c", "Count__c", name="Other__c", required=True),
        "error m.yaml:19: conversations.object: Talk__c needs Other__c.",
    ),
    (
        "evidence in an unknown field",
        without("Contact", "Email"),
        "persons.match.evidence[0].crm: Contact has no field Email.",
    ),
    (
        "a reply's text in an unknown field",
        without("Reply__c", "Body__c"),
        "replies.text: Reply__c has no field Body__c.",
    ),
    (
        "a reply's error in a read-only field",
        with_field("Reply__c", "Error__c", updateable=False),
        "replies.outcome.error: Reply__c.Error__c cannot be written.",
    ),
    (
        "a reply's outcome that is no choice",
        with_field("Reply__c", "Status__c", choices=("Queued", "Failed")),
        "replies.outcome.held: 'Held' is no choice",
    ),
    (
        "no object for replies",
        {n: o for n, o in CRM.items() if n != "Reply__c"},
        "replies.object: the CRM has no object Reply__c.",
    ),
    (
        "no permission to create",
        {**CRM, "Task": replace(CRM["Task"], createable=False)},
        "the connector's user may not create Task.",
    ),
]


@pytest.mark.parametrize(("crm", "expected"), [c[1:] for c in CRM_CASES], ids=[c[0] for c in CRM_CASES])
def test_the_crm(small, crm, expected):
    lines = found(small, crm)
    assert lines == [] if expected is None else any(expected in line for line in lines), lines


CAPABILITIES = [
    (
        "a platform that cannot reply",
        {},
        {"can_reply": False},
        "replies: this platform's API cannot send replies. Remove the replies section.",
    ),
    (
        "a platform without conversations",
        {},
        {"readable": EVERY - {Kind.CONVERSATION}},
        "the platform does not show records of kind conversation",
    ),
    (
        "a platform that takes nothing",
        {},
        {"writable": frozenset()},
        "nothing can be written to a person on the platform. Make its lines direction: to_crm.",
    ),
    (
        "a CRM that takes no messages",
        {"writable": EVERY - {Kind.MESSAGE}},
        {},
        "the CRM takes no records of kind message",
    ),
    ("a CRM without replies", {"readable": EVERY - {Kind.REPLY}}, {}, "this CRM shows no replies"),
]


@pytest.mark.parametrize(
    ("crm", "platform", "expected"), [c[1:] for c in CAPABILITIES], ids=[c[0] for c in CAPABILITIES]
)
def test_capabilities(small, crm, platform, expected):
    lines = found(small, crm_can=replace(CAN, **crm), platform_can=replace(CAN, **platform))
    assert any(expected in line for line in lines), lines


def test_a_lead_needs_what_the_crm_requires_of_it(small):
    lead = small.replace(
        "  fields:\n    - {crm: LastName",
        "  nobody: lead\n  lead:\n    key: {field: Key__c, template: '{connection}:{id}'}\n  fields:\n    - {crm: LastName",
    )
    crm = {**CRM, "Lead": info("Lead", *PEOPLE, FieldInfo("Company", "text", length=255, required=True))}
    assert any("persons.lead.object: Lead needs Company." in line for line in found(lead, crm))
    assert found(small, crm) == []


def test_evidence_is_looked_for_on_leads_too(small):
    lead = small.replace("also: [Lead]", "also: []").replace(
        "  fields:\n    - {crm: LastName",
        "  nobody: lead\n  lead:\n    key: {field: Key__c, template: '{connection}:{id}'}\n  fields:\n    - {crm: LastName",
    )
    crm = {**CRM, "Lead": info("Lead", *(field for field in PEOPLE if field.name != "Email"))}
    assert any("evidence[0].crm: Lead has no field Email." in line for line in found(lead, crm))
    assert found(lead) == []


def test_evidence_in_a_record_of_its_own_is_looked_up_there(small):
    through = small.replace(
        "crm: [Email], compare: email", "through: {object: Ident__c, field: Key__c, person: [Contact__c]}"
    )
    assert any("the CRM has no object Ident__c." in line for line in found(through))
    crm = {**CRM, "Ident__c": info("Ident__c", KEY)}
    assert any("evidence[0].through.person: Ident__c has no field Contact__c." in line for line in found(through, crm))


def test_a_constant_longer_than_its_field_is_refused(small):
    crm = with_field("Task", "Status", length=4, choices=())
    assert any("is longer than Task.Status holds (4)." in line for line in found(small, crm))


def test_newest_needs_trustworthy_times_on_both_sides(small):
    newest = small.replace("rule: platform", "rule: newest")
    trusted = replace(CAN, trusted_times=frozenset((Kind.CONVERSATION,)))
    assert any("newest needs trustworthy times" in line for line in found(newest, crm_can=trusted))
    assert found(newest, crm_can=trusted, platform_can=trusted) == []


def test_a_platform_field_that_is_unknown_or_read_only(small):
    fields = {name: field for name, field in PLATFORM["person"].fields.items() if name != "phone"}
    unknown = {**PLATFORM, "person": replace(PLATFORM["person"], fields=fields)}
    assert any("this platform's person has no field phone" in line for line in found(small, platform=unknown))
    fields = {**PLATFORM["person"].fields, "phone": FieldInfo("phone", "text", updateable=False)}
    fixed = {**PLATFORM, "person": replace(PLATFORM["person"], fields=fields)}
    assert any("phone of a person cannot be written on this platform" in line for line in found(small, platform=fixed))


def test_types_that_need_a_transform_name_it(small):
    dated = small.replace("{crm: Network__c, platform: conversation.network}", "{crm: Network__c, platform: sent_at}")
    assert found(dated, with_field("Task", "Network__c", type="datetime")) == []
    assert any("Add transform: date." in line for line in found(dated, with_field("Task", "Network__c", type="date")))
    tagged = small.replace(
        "platform: status, direction: both, rule: platform, values: {open: Open, resolved: Closed}", "platform: tags"
    )
    assert any(
        "Add transform: tags." in line for line in found(tagged, with_field("Talk__c", "Status__c", type="text"))
    )


def test_labels_are_only_warned_about_in_a_short_field(small):
    tagged = small.replace(
        "platform: status, direction: both, rule: platform, values: {open: Open, resolved: Closed}",
        "platform: tags, transform: tags",
    )
    assert any(
        "may be longer than Talk__c.Status__c" in line
        for line in found(tagged, with_field("Talk__c", "Status__c", type="text", length=80))
    )
    assert found(tagged, with_field("Talk__c", "Status__c", type="longtext", length=4000)) == []


def test_a_user_transform_without_any_common_user_is_warned_about(small):
    assert any("nobody could be assigned" in line for line in found(small, users=()))
    assert found(small, users=None) == []


def test_a_filter_that_takes_in_what_comes_in_anyway_is_warned_about(small):
    ours = "    - {name: ours, when: {conversation.inbox: {is: Sales}}, take: true}\n"
    rest = "    - {name: the rest, when: {id: {present: true}}, take: false}\n"
    below = small.index("  fields:\n", small.index("  filters:\n"))
    alone = small[:below] + ours + small[below:]
    (warning,) = found(alone)
    assert warning.startswith("warning")
    assert "'ours' changes nothing" in warning
    assert "take: false" in warning
    assert found(alone.replace(ours, ours + rest)) == []
    assert len(found(alone.replace(ours, rest + ours))) == 1


# ------------------------------------------------------------------------------ the shipped mapping and the shipped fields

XML = "{http://soap.sforce.com/2006/04/metadata}"
SF_TYPES = {
    "Text": "text",
    "LongTextArea": "longtext",
    "Url": "url",
    "Picklist": "choice",
    "Lookup": "reference",
    "DateTime": "datetime",
    "Number": "number",
}


def deployed(object_: str) -> list[FieldInfo]:
    """The fields that the salesforce/ folder deploys on an object."""
    result = []
    for path in sorted((DEPLOYED / object_ / "fields").glob("*.xml")):
        root = ElementTree.parse(path).getroot()

        def text(name: str, root=root) -> str:
            return root.findtext(f"{XML}{name}") or ""

        kind = SF_TYPES[text("type")]
        result.append(
            FieldInfo(
                text("fullName"),
                kind,
                length=255 if kind == "url" else int(text("length") or 0),
                external_id=text("externalId") == "true",
                unique=text("unique") == "true",
                case_sensitive=text("caseSensitive") == "true",
                choices=tuple(value.text or "" for value in root.iterfind(f".//{XML}value/{XML}fullName")),
                restricted=root.findtext(f".//{XML}restricted") == "true",
            )
        )
    return result


def standard(name: str, type_: str, length: int = 0, *, write: bool = True, **more) -> FieldInfo:
    return FieldInfo(name, type_, length=length, createable=write, updateable=write, **more)


PERSON = [
    standard("Id", "reference", write=False),
    standard("FirstName", "text", 40),
    standard("LastName", "text", 80, required=True),
    standard("Name", "text", 121, write=False),
    standard("Email", "email", 80),
    standard("Phone", "phone", 40),
    standard("MobilePhone", "phone", 40),
    standard("Owner.Name", "text", write=False),
]
ACCOUNT = [standard(n, "text", write=False) for n in ("Account.Name", "Account.Rating")]
ORG = {
    "Contact": [*PERSON, *ACCOUNT, standard("OpenCaseCount", "integer", write=False), *deployed("Contact")],
    "Lead": [*PERSON, standard("Company", "text", 255, required=True), *deployed("Lead")],
    "Task": [
        *deployed("Activity"),
        standard("Subject", "choice", 255),
        standard("Description", "longtext", 32000),
        standard("ActivityDate", "date"),
        standard("Status", "choice", 40, required=True, choices=("Not Started", "Completed")),
        standard("Priority", "choice", 40, required=True, choices=("High", "Normal")),
        FieldInfo("TaskSubtype", "choice", length=40, updateable=False, choices=("Task", "Call"), restricted=True),
        standard("WhoId", "reference"),
        standard("WhatId", "reference"),
    ],
    "Social_Identity__c": [standard("Name", "text", 80), *deployed("Social_Identity__c")],
    "Social_Conversation__c": [standard("Name", "text", 80), *deployed("Social_Conversation__c")],
    "Social_Outbound__c": [*deployed("Social_Outbound__c")],
}


def test_the_shipped_mappings_fit_the_shipped_salesforce_fields(shipped):
    org = {name: info(name, *fields) for name, fields in ORG.items()}
    assert [str(problem) for problem in check(shipped, org, PLATFORM, CAN, CAN, ["a@crm.example"])] == []


def test_the_full_mapping_uses_every_field_that_is_deployed_for_it():
    mapping = load_mapping(ROOT / "mappings" / "chatwoot-salesforce.yaml")
    text = (ROOT / "mappings" / "chatwoot-salesforce.yaml").read_text()
    fields = {path.stem.removesuffix(".field-meta") for path in DEPLOYED.glob("*/fields/*.xml")}
    assert {name for name in fields if name not in text} == set()
    assert mapping.replies is not None
