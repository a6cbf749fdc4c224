"""Mapping files: every problem at once, each with its line and a way out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from connector.errors import ConfigError
from connector.mapping.load import load_mapping, parse_mapping, schema
from connector.mapping.source import parse


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse_mapping(text, "m.yaml")
    return [str(problem) for problem in refused.value.problems]


REFUSED = [
    ("values on a template", "transform: {text: {limit: 60}}", "values: {a: b}", "values translates a platform field"),
    (
        "a transform of a link",
        "{crm: WhoId, link: person}",
        "{crm: WhoId, link: person, transform: text}",
        "transform has no meaning with link",
    ),
    (
        "with_person without a link",
        "constant: Completed",
        "constant: Completed, with_person: Contact",
        "with_person belongs to a link",
    ),
    ("once, but back to the platform", "default: nobody", "on: create", "on: create is for lines that go to_crm"),
    (
        "required, but back to the platform",
        "default: nobody",
        "required: true",
        "required is for lines that go to the CRM",
    ),
    (
        "of on a line of messages",
        "constant: Completed",
        "constant: Completed, of: Lead",
        "of belongs to a link or to a line of persons",
    ),
    ("evidence that compares nothing", "crm: [Name], ", "", "evidence name compares with nothing"),
    (
        "evidence of the same name",
        "name: name, platform",
        "name: email, platform",
        "two pieces of evidence are called 'email'",
    ),
    ("replies without a condition", "when: {Status__c: Queued}", "when: {}", "every record would be sent"),
    ("a filter that holds for all", "when: {private: {is: true}}", "when: {}", "has no condition"),
    ("a slot without a name", "{text:12}", "{:12}", "names nothing"),
    ("a list where keys belong", "also: [Lead]", "also: Lead", "persons.also: needs a list."),
    (
        "two names for one step",
        "transform: phone",
        "transform: {phone: {}, text: {}}",
        "a step has one name. Write each transform as an item of its own.",
    ),
    ("an unknown key", "also: [Lead]", "alos: [Lead]", "m.yaml:8: persons.alos: unknown key. Did you mean also?"),
    (
        "an unknown key of a line",
        "default: Unknown,",
        "defualt: Unknown,",
        "m.yaml:15: persons.fields[0].defualt: unknown key. Did you mean default?",
    ),
    (
        "an unknown platform field",
        "platform: last_name",
        "platform: lastname",
        "m.yaml:15: persons.fields[0].platform: a person has no field 'lastname' on the platform. Did you mean last_name?",
    ),
    (
        "an unknown name in a template",
        "{text:12}",
        "{txt:12}",
        "m.yaml:33: messages.fields[0].template: there is no name {txt} here. Did you mean text?",
    ),
    ("a lone brace", "{text:12}", "{text:12", "a lone {"),
    ("a bad form in a template", "{text:12}", "{text:upper}", "after the colon write a length, time or date"),
    (
        "an unknown transform",
        "transform: phone",
        "transform: fone",
        "there is no transform 'fone'. Did you mean phone?",
    ),
    ("an unknown parameter", "{limit: 60}", "{limti: 60}", "text has no parameter 'limti'. Did you mean limit?"),
    (
        "an unknown name in a cut mark",
        "{limit: 60}",
        '{limit: 60, more: "{urll}"}',
        "there is no name {urll} here. Did you mean url?",
    ),
    (
        "both without a rule",
        "direction: both, rule: crm, transform: phone",
        "direction: both, transform: phone",
        "m.yaml:16: persons.fields[1]: direction both needs a rule",
    ),
    (
        "a rule on a one-way line",
        "platform: last_name,",
        "platform: last_name, rule: crm,",
        "only fill_blank has a meaning on a line that goes to_crm",
    ),
    (
        "two sources on one line",
        "constant: Completed",
        "constant: Completed, platform: text",
        "exactly one of platform, template, constant, link; here is platform and constant",
    ),
    ("no source on a line", ", constant: Completed", "", "here is none of them"),
    (
        "a template back to the platform",
        "transform: {text: {limit: 60}}",
        "direction: to_platform",
        "template only goes to the CRM",
    ),
    (
        "two lines write one CRM field",
        "crm: Network__c",
        "crm: Subject",
        "m.yaml:35: messages.fields[1].crm: Subject is already written by the line 32.",
    ),
    (
        "two lines write one platform field",
        "attributes.owner, direction: to_platform",
        "phone, direction: to_platform",
        "phone is already written by the line 16.",
    ),
    (
        "a field of another record is written",
        "crm: LastName",
        "crm: Account.Name",
        "is a field of another record and can only be read",
    ),
    (
        "a derived field is written back",
        "{crm: Count__c, platform: message_count}",
        "{crm: Count__c, platform: message_count, direction: both, rule: crm}",
        "message_count is derived or belongs to another record",
    ),
    ("an unknown rule", "rule: platform", "rule: plaftorm", "must be 'crm', 'platform'"),
    (
        "a union of what is no set",
        "direction: both, rule: platform",
        "direction: both, rule: union",
        "union joins sets",
    ),
    (
        "an unknown field in a filter",
        "when: {private:",
        "when: {privat:",
        "there is no name 'privat' here. Did you mean private?",
    ),
    ("a filter without condition", "{is: true}", "{}", "exactly one of is, contains, any_of, before, present"),
    ("a filter with two tests", "{is: true}", "{is: true, present: true}", "exactly one of is, contains"),
    ("a bad date in a filter", "{is: true}", "{before: soon}", "before needs a date"),
    ("a name that could link alone", "weight: 15", "weight: 80", "name alone would reach link_at 80"),
    ("holding above linking", "  match:\n", "  match:\n    hold_at: 90\n", "hold_at 90 is above link_at 80"),
    (
        "an unknown evidence field",
        "platform: email, crm",
        "platform: mail, crm",
        "a person has no field 'mail' on the platform. Did you mean email?",
    ),
    (
        "a key that records share",
        '{field: Key__c, template: "{connection}:{id}"}\n  match',
        '{field: Key__c, template: "{connection}"}\n  match',
        "a key needs {id}",
    ),
    ("an object for two kinds", "object: Talk__c", "object: Task", "Task already holds conversations."),
    (
        "a link to the wrong kind",
        "link: person, of: Contact",
        "link: conversation",
        "a conversation links to person, not to a conversation",
    ),
    (
        "a lead without telling how",
        "  fields:\n    - {crm: LastName",
        "  nobody: lead\n  fields:\n    - {crm: LastName",
        "nobody: lead needs a lead section",
    ),
    ("a bad time zone", "zone: Europe/Amsterdam", "zone: Amsterdam", "'Amsterdam' is no time zone"),
    ("a bad region", "region: NL", "region: Holland", "'Holland' is no country code"),
    ("another version", "version: 1", "version: 2", "m.yaml:1: version: must be 1."),
    ("a missing section", "messages:\n", "messages: ~\nzzz:\n", "m.yaml:26: messages: needs `key: value` lines."),
    ("a key twice", "region: NL", "region: NL\nregion: DE", "m.yaml:6: region: stands here twice, first in line 5."),
    ("broken YAML", "also: [Lead]", "also: [Lead", "broken YAML"),
    ("a tag that would build an object", "region: NL", "region: !!python/name:os.system", "the tag"),
]


@pytest.mark.parametrize(("old", "new", "expected"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(small, old, new, expected):
    assert old in small
    found = problems(small.replace(old, new, 1))
    assert any(expected in line for line in found), found


def test_replies_without_conversations_are_refused(small):
    start, end = small.index("conversations:\n"), small.index("messages:\n")
    found = problems(small[:start] + small[end:])
    assert any("links to conversations, but the mapping has no conversations" in line for line in found)
    assert any("replies are sent into conversations" in line for line in found)


def test_all_problems_come_at_once_in_the_order_of_the_file(small):
    faulty = small
    for old, new in (
        ("also:", "alos:"),
        ("transform: phone", "transform: fone"),
        ("{text:12}", "{txt:12}"),
        ("rule: platform, ", ""),
    ):
        faulty = faulty.replace(old, new, 1)
    assert [line.split(":")[1] for line in problems(faulty)] == ["8", "16", "23", "33"]


def test_what_a_line_lacks_does_not_hide_what_else_is_wrong_with_it(small):
    found = problems(
        small.replace("platform: status, direction: both, rule: platform,", "platform: stauts, direction: both,")
    )
    assert any("direction both needs a rule" in line for line in found), found
    assert any("has no field 'stauts'" in line and "Did you mean status?" in line for line in found), found


def test_lines_for_different_objects_may_write_the_same_field(small):
    two = small.replace(
        "    - {crm: Contact__c, link: person, of: Contact}\n",
        "    - {crm: Contact__c, link: person, of: Contact}\n    - {crm: Contact__c, link: person, of: Lead}\n",
    )
    assert len(parse_mapping(two).conversations.fields) == 5


def test_the_shipped_mappings_load(shipped):
    assert shipped.platform == "chatwoot"
    assert shipped.messages.fields[0].place.line > 1


def test_the_shipped_mappings_fit_the_schema_for_editors(shipped):
    Draft202012Validator.check_schema(schema())
    dumped = shipped.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert list(Draft202012Validator(schema()).iter_errors(dumped)) == []


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ('a: 1\nb:\n  c: "open\n  d: 2\ne: 3\n', 3, "in line 6, while scanning a quoted scalar that begins in line 3"),
        ("a:\n  x: 1\n  b 1\n  c: 2\n", 3, "in line 4, while scanning a simple key that begins in line 3"),
        ("a: [3\nb: 2\nc: 1\n", 2, "in line 2, while parsing a flow sequence that begins in line 1"),
        ("a:\n  b: 1\n c: 2\n", 3, "in line 3, while parsing a block mapping that begins in line 1"),
        ("a: b: c\n", 1, "mapping values are not allowed here."),
    ],
)
def test_broken_yaml_is_told_with_where_it_begins_and_where_the_parser_stopped(text, line, told):
    (problem,) = problems(text)
    assert problem.startswith(f"m.yaml:{line}: broken YAML: ")
    assert told in problem
    assert "Look at this line and above it" in problem


def test_a_missing_file_is_told_by_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file"):
        load_mapping(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_mapping(tmp_path / "m.yaml")


def test_aliases_that_repeat_each_other_without_end_are_refused():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    with pytest.raises(ConfigError, match="aliases that repeat each other"):
        parse(bomb, "m.yaml")


DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["persons", "fields", "crm", "match", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    data=st.dictionaries(st.sampled_from(["version", "persons", "messages", "platform", "replies"]), DATA, min_size=1)
)
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_the_file_the_answer_is_a_list_of_problems(data):
    import io

    text = io.StringIO()
    YAML(typ="safe").dump(data, text)
    assert problems(text.getvalue())
