"""The compiled mapping: what a line shows, writes and reads back; keys, names, filters and what is to be read."""

import contextlib
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.compiled import ABSENT, Context, compile_mapping, reads
from connector.mapping.filters import holds, passes
from connector.mapping.load import parse_mapping
from connector.mapping.model import Condition
from connector.mapping.names import CANONICAL, DERIVED, known_names, names
from connector.mapping.template import TemplateError, parse_template
from connector.model import Kind


def line(rules, name):
    return next(rule for rule in rules.fields if rule.name == name)


@pytest.fixture
def space(make_fact):
    person = make_fact(Kind.PERSON, "7", name="Jet")
    talk = make_fact(Kind.CONVERSATION, "12", network="instagram", status="open")
    message = make_fact(
        Kind.MESSAGE,
        "9",
        direction="inbound",
        author="@jet",
        text="Hello  there,\nall of you",
        sent_at="2026-01-02T13:05:00Z",
        attachments=[{"type": "image", "url": "https://x.example/1.png"}],
    )
    return names(message, [person, talk], connection="main", derived={"message_count": 3})


def test_a_template_is_rendered_in_the_zone_of_the_mapping(compiled, space):
    rule = line(compiled.messages, "Subject~template")
    assert rule.from_platform({}, space) == "[instagram] 14:05 <- @jet: Hello there…"
    assert rule.to_crm("x" * 99) == "x" * 59 + "…"


def test_names_hold_the_record_itself_and_those_around_it(space):
    assert space["connection"] == "main"
    assert space["id"] == "9"
    assert space["person.name"] == "Jet"
    assert space["conversation.id"] == "12"
    assert space["conversation.message_count"] == 3
    assert space["attachment_lines"] == "\n\nimage: https://x.example/1.png"


@pytest.mark.parametrize(
    ("fields", "edited", "mark"),
    [
        ({}, False, ""),
        ({}, True, "[edited] "),
        ({"deleted": True}, True, "[deleted] "),
        ({"deleted": False}, False, ""),
    ],
)
def test_the_mark_says_what_happened_to_a_message(make_fact, fields, edited, mark):
    assert names(make_fact(Kind.MESSAGE, "1", edited, **fields), connection="m")["mark"] == mark


def test_every_name_that_the_namespace_gives_is_known(space):
    assert space.keys() - known_names(Kind.MESSAGE) == set()


def test_a_line_may_take_a_field_of_a_record_around_it(compiled, space):
    assert line(compiled.messages, "Network__c~conversation.network").from_platform({}, space) == "instagram"
    assert line(compiled.conversations, "Count__c~message_count").from_platform({}, {"message_count": 4}) == 4


def test_absent_is_not_null(compiled):
    status = line(compiled.conversations, "Status__c~status")
    assert status.from_platform({}) is ABSENT
    assert status.from_platform({"status": None}) is None
    assert status.from_crm({}) is ABSENT
    assert status.from_crm({"Status__c": None}) is None
    assert status.same(ABSENT, ABSENT)
    assert not status.same(ABSENT, None)
    assert not ABSENT


def test_values_go_both_ways(compiled):
    status = line(compiled.conversations, "Status__c~status")
    assert status.to_crm("resolved") == "Closed"
    assert status.from_crm({"Status__c": "Closed"}) == "resolved"


def test_an_agent_becomes_a_crm_user_whatever_the_case_of_the_address(compiled):
    assignee = line(compiled.conversations, "Assignee__c~assignee")
    assert assignee.to_crm("anna@CRM.example") == "005A"
    assert assignee.from_crm({"Assignee__c": "005A"}) == "anna@crm.example"


def test_what_the_crm_holds_stays_while_it_says_the_same(compiled):
    phone = line(compiled.persons, "Phone~phone")
    assert phone.to_crm("+31612345678", "06 12345678") == "06 12345678"
    assert phone.to_crm("+31612345678", ABSENT) == "+31612345678"


def test_a_default_stands_for_a_blank_on_the_source_side(compiled):
    last, owner = line(compiled.persons, "LastName~last_name"), line(compiled.persons, "Owner.Name~attributes.owner")
    assert [last.from_platform(f) for f in ({}, {"last_name": ""}, {"last_name": "Berg"})] == [
        "Unknown",
        "Unknown",
        "Berg",
    ]
    assert last.from_crm({"LastName": None}) is None
    assert owner.from_crm({"Owner.Name": None}) == "nobody"
    assert owner.from_crm({}) is ABSENT


def test_links_constants_and_directions(compiled):
    assert line(compiled.messages, "WhoId~person").from_platform({"person": "x"}) is ABSENT
    assert line(compiled.messages, "Status~constant").from_platform({}) == "Completed"
    owner = line(compiled.persons, "Owner.Name~attributes.owner")
    assert (owner.to_crm_allowed, owner.to_platform_allowed) == (False, True)
    assert owner.where == "mapping:17"


def test_a_key_is_hashed_where_it_is_too_long(compiled):
    key = compiled.messages.key
    assert key.value({"connection": "main", "id": "9"}) == "main:9"
    long = key.value({"connection": "main", "id": "😀" * 126})
    assert long.startswith("sha256:")
    assert len(long) == 71


def test_a_reply_is_wanted_by_its_values_and_escaped(compiled):
    replies = compiled.replies
    assert replies.wanted({"Status__c": "Queued"})
    assert not replies.wanted({"Status__c": "Sent"})
    assert not replies.wanted({})
    assert replies.body({"Body__c": "*hi* {{x}}"}) == r"\*hi\* \{\{x}}"
    assert replies.body({"Body__c": None}) == ""


def test_the_digest_follows_the_meaning_not_the_layout(small):
    def digest(text):
        return compile_mapping(parse_mapping(text), Context()).digest

    same = "# a comment\n" + small.replace("also: [Lead]", "also:\n    - Lead   # leads, too")
    assert digest(same) == digest(small)
    assert digest(small.replace("rule: platform", "rule: crm")) != digest(small)


def test_lines_of_persons_hold_for_their_object_only(small):
    only = small.replace("direction: to_platform, default: nobody", "direction: to_platform, of: Contact")
    persons = compile_mapping(parse_mapping(only), Context()).persons
    assert [rule.crm for rule in persons.on("Contact")] == ["LastName", "Phone", "Owner.Name"]
    assert [rule.crm for rule in persons.on("Lead")] == ["LastName", "Phone"]


def test_persons_in_an_object_that_the_mapping_no_longer_names_keep_the_common_lines(small):
    persons = compile_mapping(parse_mapping(small), Context()).persons
    assert "Account" not in persons.objects
    assert persons.on("Account") == tuple(rule for rule in persons.fields if rule.of is None) != ()


def test_a_lead_has_lines_of_its_own(small):
    lead = small.replace(
        "  fields:\n    - {crm: LastName",
        "  nobody: lead\n  lead:\n    key: {field: Key__c, template: '{connection}:{id}'}\n    fields:\n"
        "      - {crm: Company, constant: Unknown}\n  fields:\n    - {crm: LastName",
    )
    persons = compile_mapping(parse_mapping(lead), Context()).persons
    assert [rule.crm for rule in persons.on("Lead")] == ["LastName", "Phone", "Owner.Name", "Company"]
    assert persons.objects == ("Contact", "Lead")


def test_reads_name_what_is_compared_and_brought_back(compiled):
    found = reads(compiled)
    assert found["Contact"].fields == ("Key__c", "Phone", "Owner.Name", "Email", "Name")
    assert found["Contact"].key is None
    assert found["Talk__c"].fields == ("Key__c", "Contact__c", "Status__c", "Assignee__c")
    assert (found["Talk__c"].key, found["Talk__c"].parent) == ("Key__c", "Contact__c")
    assert (found["Task"].key, found["Task"].parent) == ("Key__c", "WhatId")
    assert found["Reply__c"].fields == ("Talk__c", "Body__c", "Status__c", "Error__c", "Sent__c")
    assert [read.kind for read in found.values()] == [
        Kind.PERSON,
        Kind.PERSON,
        Kind.CONVERSATION,
        Kind.MESSAGE,
        Kind.REPLY,
    ]


def test_names_of_lines_are_unique_in_every_shipped_mapping(shipped):
    compiled = compile_mapping(shipped, Context())
    for rules in (compiled.persons, compiled.identities, compiled.conversations, compiled.messages, compiled.replies):
        lines = [rule.name for rule in rules.fields] if rules else []
        assert len(lines) == len(set(lines))


CONDITIONS = [
    ({"is": True}, True, True),
    ({"is": True}, None, False),
    ({"is": ["a", "b"]}, "b", True),
    ({"is": 1}, True, False),
    ({"contains": "HELP"}, "please help me", True),
    ({"contains": "x"}, None, False),
    ({"any_of": ["VIP"]}, ["vip", "new"], True),
    ({"any_of": ["vip"]}, [], False),
    ({"before": "2026-01-01"}, "2025-12-31T23:59:59Z", True),
    ({"before": "2026-01-01"}, "2026-01-01T00:00:00Z", False),
    ({"before": "2026-01-01"}, None, False),
    ({"present": True}, "x", True),
    ({"present": False}, "", True),
    ({"present": False}, False, False),
]


@pytest.mark.parametrize(("condition", "value", "expected"), CONDITIONS)
def test_conditions(condition, value, expected):
    assert holds(Condition.model_validate(condition), value) is expected


def test_the_first_filter_whose_conditions_hold_decides(compiled):
    assert passes(compiled.messages.filters, {"private": True}) == (False, "no notes")
    assert passes(compiled.messages.filters, {"private": False}) == (True, "")


UTC = ZoneInfo("UTC")
TEMPLATES = [
    ("{{literal}} {a}", {"a": 1}, "{literal} 1"),
    ("{gone}|{none}|{empty}", {"none": None, "empty": ""}, "||"),
    ("{t:date} {t:time}", {"t": "2026-01-02T03:04:05Z"}, "2026-01-02 03:04"),
    ("{t:time}", {"t": "soon"}, "soon"),
    ("{a:3}", {"a": "ab\ncd"}, "ab…"),
    ("{a}", {"a": ["x", "y"]}, "x, y"),
    ("{a} {b}", {"a": True, "b": "{a}"}, "true {a}"),
    ("{a.__class__}", {"a": 1}, ""),
]


@pytest.mark.parametrize(("template", "values", "expected"), TEMPLATES)
def test_templates(template, values, expected):
    assert parse_template(template, UTC).render(values) == expected


@given(text=st.text(alphabet="ab{}: 1", max_size=20))
def test_any_text_is_a_template_or_is_refused(text):
    with contextlib.suppress(TemplateError):
        assert isinstance(parse_template(text, UTC).render({"a": "x"}), str)


@given(text=st.text(max_size=30))
def test_a_text_with_doubled_braces_renders_as_itself(text):
    assert parse_template(text.replace("{", "{{").replace("}", "}}"), UTC).render({}) == text


def test_derived_names_never_hide_canonical_ones():
    for kind, derived in DERIVED.items():
        assert not derived.keys() & CANONICAL[kind].keys()
