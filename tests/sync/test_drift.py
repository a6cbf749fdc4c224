"""Drift: which differences of two linked records nobody would ever put right."""

from dataclasses import replace
from typing import Any

import pytest

from connector.mapping.lenses import is_blank
from connector.model import Fact, Hold, HoldType, Kind, Life, Link, Ref, Side, Snapshot
from connector.sync.drift import Drift, Resting, compared, decided_to_keep, drifted, told, without

NAME = {
    "email": "Email~email",
    "phone": "Phone~phone",
    "city": "City~city",
    "company": "Company~company",
    "language": "Language~language",
    "tags": "Labels~tags",
}
CRM = {
    "email": "Email",
    "phone": "Phone",
    "city": "City",
    "company": "Company",
    "language": "Language",
    "tags": "Labels",
}
"""The rules are: email fill_blank, phone crm, city hold, company platform (blank: clear), language newest, tags union."""
PERSON, CONTACT = Ref("platform", "person", "p1"), Ref("crm", "Contact", "c1")
UNSET: Any = object()


def lines(mapping, *, shared=False, unique=(), asked=()):
    return compared(mapping.persons.fields, shared=shared, unique=unique, asked=asked)


def snapshots(rules, field, platform, crm):
    (rule,) = [one for one in rules if one.platform == field]
    bases = {Side.PLATFORM: platform, Side.CRM: rule.lens.get(crm) if crm is not UNSET else UNSET}
    return {side: Snapshot(1, side, {} if base is UNSET else {rule.name: base}) for side, base in bases.items()}


def found(mapping, field, platform, crm, *, bases=None, kept=()):
    """The drift of one field that both sides show (with these snapshots: by default, what they show)."""
    rules = lines(mapping)
    stored = snapshots(rules, field, *(bases or (platform, crm)))
    return drifted(rules, {field: platform}, {CRM[field]: crm}, stored, kept)


@pytest.mark.parametrize(
    ("field", "platform", "crm"),
    [
        ("city", "Delft", "Leiden"),
        ("phone", "+31612345678", "+31687654321"),
        ("company", "Acme", "Apex"),
        ("company", "Acme", None),
        ("company", None, "Acme"),
        ("language", "nl", "en"),
        ("tags", ["vip"], "repair"),
        ("tags", ["vip"], None),
    ],
)
def test_two_values_that_differ_though_neither_changed_have_drifted(mapping, field, platform, crm):
    (one,) = found(mapping, field, platform, crm)
    assert one.line == NAME[field]


@pytest.mark.parametrize(
    ("field", "platform", "crm"),
    [
        ("city", "Delft", "Delft"),
        ("city", "Delft", " Delft "),
        ("phone", "+31612345678", "06-12345678"),
        ("company", "Acme Holding International", "Acme Ho…"),
        ("tags", ["repair", "vip"], "vip;repair"),
        ("city", None, ""),
        # blank: ignore leaves the other side as it is
        ("city", "Delft", None),
        ("city", None, "Delft"),
        # only blanks are filled
        ("email", "ann@x.example", "ann@y.example"),
    ],
)
def test_what_the_line_calls_the_same_or_allows_has_not_drifted(mapping, field, platform, crm):
    assert found(mapping, field, platform, crm) == []


@pytest.mark.parametrize(
    "bases",
    [("Gouda", "Leiden"), ("Delft", "Gouda"), (UNSET, UNSET), ("Delft", UNSET), (UNSET, "Leiden")],
)
def test_what_changed_since_both_agreed_is_news_and_no_drift(mapping, bases):
    assert found(mapping, "city", "Delft", "Leiden", bases=bases) == []


def test_a_side_that_does_not_show_the_field_has_not_drifted(mapping):
    rules = lines(mapping)
    stored = snapshots(rules, "city", "Delft", "Leiden")
    assert drifted(rules, {}, {"City": "Leiden"}, stored) == []
    assert drifted(rules, {"city": "Delft"}, {}, stored) == []


def test_a_default_does_not_stand_against_a_real_value(rows_with):
    mapping = rows_with(
        {
            "{crm: City, platform: city, direction: both, rule: hold}": "{crm: City, platform: city, direction: both, rule: hold, default: Delft}"
        }
    ).mapping
    assert found(mapping, "city", None, "Leiden") == []
    assert found(mapping, "city", "Delft", "Leiden") != []


def test_lines_that_go_one_way_are_written_once_or_that_a_person_is_asked_about_are_not_compared(mapping):
    assert {rule.name for rule in lines(mapping)} == set(NAME.values())
    assert "City~city" not in {rule.name for rule in lines(mapping, asked=["City~city"])}


def test_of_a_value_that_the_platform_allows_once_only_one_of_several_personas_has_to_show_it(mapping):
    names = {rule.platform for rule in lines(mapping, shared=True, unique={"email", "phone"})}
    assert names == {"city", "company", "language", "tags"}
    assert {rule.platform for rule in lines(mapping, unique={"email", "phone"})} >= {"email", "phone"}


def hold(id_, choice, platform, crm, type_=HoldType.CONFLICT, subject=PERSON):
    details = {"platform": platform, "crm": crm}
    return Hold(id_, type_, subject, "?", details, field="City~city", choice=choice)


@pytest.mark.parametrize(
    ("settled", "count"),
    [
        ([hold(1, "keep", "Delft", "Leiden")], 0),
        ([hold(1, "keep", "Delft", "Gouda")], 1),
        ([hold(1, "crm", "Delft", "Leiden")], 1),
        ([hold(1, "keep", "Delft", "Leiden", HoldType.REFUSED)], 1),
        ([hold(1, "keep", "Delft", "Leiden", subject=CONTACT)], 1),
    ],
)
def test_what_a_person_chose_to_keep_is_no_drift_as_long_as_both_show_it(mapping, settled, count):
    assert len(found(mapping, "city", "Delft", "Leiden", kept=decided_to_keep(settled, PERSON))) == count


def test_after_the_lines_are_taken_out_of_the_snapshots_the_line_s_rule_decides(linked):
    """Phone: the CRM leads; City: a person is asked; tags: both are joined."""
    values = {"phone": "+31612345678", "city": "Delft", "tags": ["vip"], "email": "ann@x.example"}
    contact = {"Phone": "+31687654321", "City": "Leiden", "Labels": "repair", "Email": "ann@x.example"}
    linked.edit(person := Ref("platform", "person", "p1"), **values)
    linked.edit(crm := Ref("crm", "Contact", "c1"), **contact)
    link = linked.links[0]
    linked.agree(link)
    stored = linked.snapshots[link.id]
    rules = lines(linked.mapping)
    drifts = drifted(rules, linked.facts[person].fields, linked.facts[crm].fields, stored)
    assert {one.line for one in drifts} == {"Phone~phone", "City~city", "Labels~tags"}
    linked.snapshots[link.id] = {side: without(one, [drift.line for drift in drifts]) for side, one in stored.items()}
    planned = linked.plan(person)
    written = {(one.side, name): value for one in planned.intents for name, value in one.fields.items()}
    assert written[Side.PLATFORM, "phone"] == "+31687654321"
    assert sorted(written[Side.PLATFORM, "tags"]) == ["repair", "vip"]
    assert [one.field for one in planned.holds] == ["City~city"]
    assert not any(is_blank(value) for value in written.values())


def test_a_snapshot_without_a_line_keeps_the_others():
    one = Snapshot(1, Side.CRM, {"a": 1, "b": 2}, ("a", "b"))
    assert without(one, ["a"]) == replace(one, fields={"b": 2}, unread=("b",))


@pytest.mark.parametrize("gone", ["platform", "crm"])
def test_a_record_that_is_gone_has_not_drifted(mapping, gone):
    rules = lines(mapping)
    link = Link(1, Kind.PERSON, PERSON, CONTACT)
    facts = {
        PERSON: Fact(PERSON, Side.PLATFORM, Kind.PERSON, {"city": "Delft"}, "1"),
        CONTACT: Fact(CONTACT, Side.CRM, Kind.PERSON, {"City": "Leiden"}, "1"),
    }
    resting = Resting(link, rules, snapshots(rules, "city", "Delft", "Leiden"), ())
    assert resting.drifted(facts) == [Drift("City~city", "Delft", "Leiden")]
    ref = PERSON if gone == "platform" else CONTACT
    assert resting.drifted({**facts, ref: replace(facts[ref], life=Life.GONE)}) == []


def test_values_are_told_cut_to_a_readable_length():
    text = told(Link(1, Kind.PERSON, PERSON, CONTACT), [Drift("City~city", "x" * 200, None)])
    assert "platform:person:p1 and crm:Contact:c1" in text
    assert "City~city" in text
    assert len(text) < 200
