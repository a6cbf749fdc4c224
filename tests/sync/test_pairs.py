"""All lines of a pair at once: what is written, what is remembered, what a read-back confirms."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.compiled import ABSENT
from connector.model import Fact, Kind, Ref, Side, Snapshot
from connector.sync.pairs import Pair, canonical, merge_pair

PERSON, CONTACT = Ref("platform", "person", "p1"), Ref("crm", "Contact", "c1")
LONG = "Acme Holding International"


def no_link(_rule):
    return ABSENT


def pair(platform, crm=None, bases=None, *, ours=False, unread=(), reserved=None, exists=True):
    record = None if crm is None else Fact(CONTACT, Side.CRM, Kind.PERSON, crm, "v1", ours=ours)
    extra = {"reserved": reserved} if reserved else {}
    if bases is not None:
        extra["platform_snapshot"] = Snapshot(link=1, side=Side.PLATFORM, fields=bases[0])
        extra["crm_snapshot"] = Snapshot(link=1, side=Side.CRM, fields=bases[1], unread=unread)
    return Pair(PERSON, platform, platform, no_link, record, exists=exists, **extra)


@pytest.fixture(scope="session")
def rules(mapping):
    return mapping.persons.fields


def base(platform, crm=None):
    return ({"Company~company": platform}, {"Company~company": platform if crm is None else crm})


def test_a_line_written_on_creation_is_not_touched_afterwards(rules):
    assert merge_pair(rules, pair({"name": "Ann"}, exists=False)).to_crm["Name"] == "Ann"
    assert "Name" not in merge_pair(rules, pair({"name": "Bob"}, {"Name": "Ann"}, ({}, {}))).to_crm


def test_a_default_stands_for_a_missing_required_value(rules):
    result = merge_pair(rules, pair({}, exists=False))
    assert (result.to_crm["Name"], result.missing) == ("Unknown", ())


def status(rows, platform, crm, bases):
    """The status line of replies: `default: sent`, values sent -> Sent."""
    return merge_pair(rows.mapping.replies.fields[:1], pair(platform, {"Status": crm}, bases)).to_crm


def test_a_platform_that_tells_no_delivery_turns_queued_into_sent_once_and_a_later_word_stands(rows):
    told_first = pair({}, {"Status": "Queued"})
    told_first = replace(told_first, crm_snapshot=Snapshot(link=1, side=Side.CRM, fields={"Status~delivery": "Queued"}))
    assert merge_pair(rows.mapping.replies.fields[:1], told_first).to_crm == {"Status": "Sent"}
    assert status(rows, {}, "Delivered", ({"Status~delivery": "sent"}, {"Status~delivery": "sent"})) == {}


def test_a_delivery_that_happens_to_be_the_default_is_a_real_value(rows):
    assert status(
        rows, {"delivery": "sent"}, "Failed", ({"Status~delivery": "failed"}, {"Status~delivery": "failed"})
    ) == {"Status": "Sent"}


def test_a_text_that_the_line_cuts_is_remembered_as_the_crm_will_show_it(rules):
    """Before the read-back somebody edits another field: the cut text must not look like that person's edit."""
    written = merge_pair(rules, pair({"company": LONG}, {"Company": None}, ({}, {})))
    assert written.to_crm == {"Company": "Acme Ho…"}
    assert written.after[Side.PLATFORM]["Company~company"] == LONG
    shown = {"Company": "Acme Ho…", "City": "Delft"}
    later = merge_pair(rules, pair({"company": LONG}, shown, (written.after[Side.PLATFORM], written.after[Side.CRM])))
    assert later.to_platform == {"city": "Delft"}


def test_our_own_version_confirms_what_we_wrote_as_the_crm_keeps_it(rules):
    """The CRM upper-cases what it stores; nobody edited anything."""
    result = merge_pair(
        rules, pair({"company": "Acme"}, {"Company": "ACME"}, base("Acme"), ours=True, unread=("Company~company",))
    )
    assert (result.to_platform, result.unread) == ({}, ())
    assert result.after[Side.CRM]["Company~company"] == "ACME"


def test_another_persons_edit_in_a_version_that_is_ours_is_still_a_change(rules):
    result = merge_pair(
        rules,
        pair(
            {"company": "Acme"},
            {"Company": "ACME", "City": "Delft"},
            base("Acme"),
            ours=True,
            unread=("Company~company",),
        ),
    )
    assert result.to_platform == {"city": "Delft"}


@pytest.mark.parametrize("ours", [False, None])
def test_a_version_that_is_not_ours_confirms_nothing(rules, ours):
    result = merge_pair(
        rules, pair({"company": "Acme"}, {"Company": "Bolt"}, base("Acme"), ours=ours, unread=("Company~company",))
    )
    assert result.to_platform == {"company": "Bolt"}
    assert result.unread == ("Company~company",)


def test_a_set_changed_on_both_sides_is_written_to_both_and_remembered_once(rules):
    bases = ({"Labels~tags": ["a"]}, {"Labels~tags": ["a"]})
    result = merge_pair(rules, pair({"tags": ["a", "b"]}, {"Labels": "a;c"}, bases))
    assert (result.to_crm, result.to_platform) == ({"Labels": "a;b;c"}, {"tags": ["a", "b", "c"]})
    assert result.after[Side.CRM]["Labels~tags"] == result.after[Side.PLATFORM]["Labels~tags"] == ["a", "b", "c"]


def test_a_value_that_another_persona_has_is_not_written(rules):
    def reserved(name, _value):
        return "p2 has it" if name == "phone" else None

    result = merge_pair(rules, pair({}, {"Phone": "+31612345678", "City": "Delft"}, ({}, {}), reserved=reserved))
    assert result.to_platform == {"city": "Delft"}


def test_a_conflict_that_asks_keeps_both_old_snapshots(rules):
    bases = ({"City~city": "Delft"}, {"City~city": "Delft"})
    result = merge_pair(rules, pair({"city": "Breda"}, {"City": "Gouda"}, bases))
    assert [(one.field, p, c) for one, p, c in result.held] == [("City~city", "Breda", "Gouda")]
    assert (result.after[Side.PLATFORM], result.after[Side.CRM]) == bases
    assert (result.to_crm, result.to_platform) == ({}, {})


def test_a_field_the_answer_left_out_keeps_its_snapshot(rules):
    result = merge_pair(rules, pair({"company": "Acme"}, {}, base("Acme")))
    assert result.after[Side.CRM]["Company~company"] == "Acme"
    assert not result.news


def test_canonical_reads_what_a_record_shows(rules):
    fields = {"Labels": "b;a", "Phone": "06 12345678", "Other": "x"}
    assert canonical(rules, Side.CRM, fields, {}) == {"Labels~tags": ["a", "b"], "Phone~phone": "+31612345678"}


platforms = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["ann@x.example", "bob@x.example", None]),
        "phone": st.sampled_from(["+31612345678", None]),
        "company": st.sampled_from(["Acme", LONG, None]),
        "tags": st.lists(st.sampled_from(["a", "b"]), unique=True).map(sorted),
    },
)
crms = st.fixed_dictionaries(
    {},
    optional={
        "Email": st.sampled_from(["Ann@X.example", "bob@x.example", "", None]),
        "Phone": st.sampled_from(["06 12345678", "+31201234567", None]),
        "Company": st.sampled_from(["Acme", "Acme Ho…", "Bolt", None]),
        "Labels": st.sampled_from(["", "a", "b;a", None]),
        "Rating": st.sampled_from(["gold", None]),
    },
)


@given(platforms, crms, platforms, crms)
def test_a_pair_that_was_written_is_quiet(rules, platform, crm, old_platform, old_crm):
    """Whatever the two sides show: after the writes have landed a second merge has nothing to write and nothing to store."""
    bases = (canonical(rules, Side.PLATFORM, old_platform, {}), canonical(rules, Side.CRM, old_crm, {}))
    first = merge_pair(rules, pair(platform, crm, bases))
    landed = pair(
        {**platform, **first.to_platform},
        {**crm, **first.to_crm},
        (first.after[Side.PLATFORM], first.after[Side.CRM]),
    )
    second = merge_pair(rules, landed)
    assert (second.to_crm, second.to_platform) == ({}, {})
    assert not second.news
