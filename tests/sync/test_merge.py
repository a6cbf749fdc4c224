"""The decision table of one field, and the laws that hold for any values."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connector.mapping.compiled import ABSENT
from connector.mapping.lenses import PLAIN, is_blank
from connector.mapping.model import Blank, Direction, Rule
from connector.model import Outcome, Side
from connector.sync.merge import Terms, Values, merge

KEEP, TO_CRM, TO_PLATFORM, SAME, HOLD = Outcome.KEEP, Outcome.TO_CRM, Outcome.TO_PLATFORM, Outcome.SAME, Outcome.HOLD


def same(a, b):
    return a is b if a is ABSENT or b is ABSENT else PLAIN.same(a, b)


def terms(rule=Rule.HOLD, direction=Direction.BOTH, blank=Blank.IGNORE):
    return Terms("City~city", direction, rule, blank, same)


LINKED = [
    ("nothing changed", "a", "a", "a", "a", KEEP),
    ("a drift that both sides had when they last agreed is left alone", "a", "b", "a", "b", KEEP),
    ("the platform changed", "b", "a", "a", "a", TO_CRM),
    ("the CRM changed", "a", "b", "a", "a", TO_PLATFORM),
    ("both changed to the same", "b", "b", "a", "a", SAME),
    ("both changed, only white space apart", "b", " b ", "a", "a", SAME),
    ("both changed and differ", "b", "c", "a", "a", HOLD),
    ("the platform emptied it, empties are ignored", None, "a", "a", "a", KEEP),
    ("the CRM emptied it, empties are ignored", "a", "", "a", "a", KEEP),
    ("absent on the platform is no change", ABSENT, "a", "a", "a", KEEP),
    ("absent in the CRM is no change", "a", ABSENT, "a", "a", KEEP),
    ("absent on the platform, changed in the CRM", ABSENT, "b", "a", "a", TO_PLATFORM),
    ("changed on the platform, absent in the CRM", "b", ABSENT, "a", "a", TO_CRM),
    ("absent on both sides", ABSENT, ABSENT, "a", "a", KEEP),
    ("null and empty are both blank", None, "", "", None, KEEP),
    ("false is a value, not a blank", False, True, True, True, TO_CRM),
    ("zero is a value, not a blank", 0, 1, 1, 1, TO_CRM),
    ("another record took the CRM record's place, and is blank there", "a", None, "a", ABSENT, TO_CRM),
    ("another record took the CRM record's place, and does not show it", "a", ABSENT, "a", ABSENT, KEEP),
    ("another record took the CRM record's place, with a value of its own", "a", "b", "a", ABSENT, TO_PLATFORM),
]
FIRST = [
    ("both show the same", "a", "a", SAME),
    ("a blank platform takes the CRM's value", None, "a", TO_PLATFORM),
    ("a platform that does not show it takes the CRM's value", ABSENT, "a", TO_PLATFORM),
    ("a blank CRM takes the platform's value", "a", "", TO_CRM),
    ("a CRM record whose value was not read yet is not written blindly", "a", ABSENT, KEEP),
    ("two values are a conflict", "a", "b", HOLD),
    ("two blanks agree", None, "", SAME),
    ("nobody shows it", ABSENT, ABSENT, KEEP),
    ("a blank is not written onto a platform that does not show it", ABSENT, None, KEEP),
    ("a blank is not written onto a CRM that does not show it", "", ABSENT, KEEP),
]


@pytest.mark.parametrize(("p", "c", "bp", "bc", "outcome"), [row[1:] for row in LINKED], ids=[row[0] for row in LINKED])
def test_a_linked_field(p, c, bp, bc, outcome):
    assert merge(terms(), Values(p, c, bp, bc)).decision.outcome is outcome


@pytest.mark.parametrize(("p", "c", "outcome"), [row[1:] for row in FIRST], ids=[row[0] for row in FIRST])
@pytest.mark.parametrize("blanks", list(Blank))
def test_a_field_at_first_contact(p, c, outcome, blanks):
    assert merge(terms(blank=blanks), Values(p, c)).decision.outcome is outcome


def test_a_crm_record_that_is_still_to_be_made_takes_the_platforms_value():
    assert merge(terms(), Values("a", ABSENT, exists=False)).decision.outcome is TO_CRM


@pytest.mark.parametrize(
    ("p", "c", "outcome"), [("b", "a", KEEP), ("a", "b", KEEP), ("b", None, TO_CRM), (None, "b", TO_PLATFORM)]
)
def test_fill_blank_never_replaces_a_value_that_is_there(p, c, outcome):
    bases = ("a", "a") if p and c else (None, None)
    assert merge(terms(Rule.FILL_BLANK), Values(p, c, *bases)).decision.outcome is outcome


CONFLICTS = [
    (Rule.CRM, None, "c", TO_PLATFORM),
    (Rule.PLATFORM, None, "p", TO_CRM),
    (Rule.NEWEST, Side.CRM, "c", TO_PLATFORM),
    (Rule.NEWEST, Side.PLATFORM, "p", TO_CRM),
    (Rule.NEWEST, None, None, HOLD),
    (Rule.HOLD, Side.CRM, None, HOLD),
    (Rule.FILL_BLANK, None, "c", KEEP),
    (None, None, None, HOLD),
]


@pytest.mark.parametrize(("rule", "newer", "value", "outcome"), CONFLICTS)
@pytest.mark.parametrize("bases", [("a", "a"), (ABSENT, ABSENT)], ids=["linked", "first contact"])
def test_the_rule_decides_a_conflict_and_the_loser_is_told(rule, newer, value, outcome, bases):
    merged = merge(terms(rule), Values("p", "c", *bases), newer)
    decision = merged.decision
    assert (decision.outcome, decision.value, decision.conflict) == (outcome, value, True)
    if outcome in (TO_CRM, TO_PLATFORM):
        assert decision.lost == ({"p", "c"} - {value}).pop()
        assert decision.rule == rule.value
    else:
        assert (merged.to_crm, merged.to_platform) == (ABSENT, ABSENT)


@pytest.mark.parametrize(("choice", "outcome"), [("platform", TO_CRM), ("crm", TO_PLATFORM), ("keep", KEEP)])
@pytest.mark.parametrize("rule", [Rule.HOLD, Rule.CRM, Rule.FILL_BLANK, Rule.NEWEST])
def test_a_persons_choice_beats_the_rule(choice, outcome, rule):
    assert merge(terms(rule), Values("p", "c", "a", "a"), None, choice).decision.outcome is outcome


@pytest.mark.parametrize(("p", "c", "outcome"), [(None, "c", TO_PLATFORM), ("p", None, TO_CRM)])
def test_fill_blank_fills_the_side_that_was_emptied_when_both_changed(p, c, outcome):
    assert merge(terms(Rule.FILL_BLANK), Values(p, c, "a", "a")).decision.outcome is outcome


@pytest.mark.parametrize(
    ("direction", "p", "c", "outcome"),
    [
        (Direction.TO_CRM, "b", "a", TO_CRM),
        (Direction.TO_CRM, "a", "b", KEEP),
        (Direction.TO_CRM, "b", "c", TO_CRM),
        (Direction.TO_PLATFORM, "a", "b", TO_PLATFORM),
        (Direction.TO_PLATFORM, "b", "a", KEEP),
        (Direction.TO_PLATFORM, "b", "c", TO_PLATFORM),
    ],
)
def test_a_one_way_line_follows_its_source_only(direction, p, c, outcome):
    assert merge(terms(None, direction), Values(p, c, "a", "a")).decision.outcome is outcome


def test_a_one_way_fill_blank_line_leaves_a_value_that_is_there():
    line = terms(Rule.FILL_BLANK, Direction.TO_PLATFORM)
    assert merge(line, Values("app-user-1", "003", ABSENT, ABSENT)).decision.outcome is KEEP
    assert merge(line, Values(None, "003", ABSENT, ABSENT)).decision.outcome is TO_PLATFORM


@pytest.mark.parametrize(("p", "c", "outcome"), [(None, "a", TO_CRM), ("a", "", TO_PLATFORM)])
def test_an_emptied_value_empties_the_other_side_where_the_line_says_clear(p, c, outcome):
    merged = merge(terms(blank=Blank.CLEAR), Values(p, c, "a", "a"))
    assert merged.decision.outcome is outcome
    assert is_blank(merged.decision.value)


UNIONS = [
    ("an addition goes over", ["a", "b"], ["a"], ["a"], ["a"], ["a", "b"], ABSENT),
    ("a removal goes over", [], ["a"], ["a"], ["a"], [], ABSENT),
    ("additions on both sides are joined", ["a", "b"], ["a", "c"], ["a"], ["a"], ["a", "b", "c"], ["a", "b", "c"]),
    ("an addition here and a removal there both stand", ["a", "b"], [], ["a"], ["a"], ["b"], ["b"]),
    ("both removed the same", [], [], ["a"], ["a"], ABSENT, ABSENT),
    ("first contact joins", ["a"], ["b"], ABSENT, ABSENT, ["a", "b"], ["a", "b"]),
    ("a blank is the empty set", None, ["a"], ABSENT, ABSENT, ABSENT, ["a"]),
]


@pytest.mark.parametrize(
    ("p", "c", "bp", "bc", "to_crm", "to_platform"), [row[1:] for row in UNIONS], ids=[row[0] for row in UNIONS]
)
def test_sets_are_joined(p, c, bp, bc, to_crm, to_platform):
    merged = merge(terms(Rule.UNION, blank=Blank.CLEAR), Values(p, c, bp, bc))
    assert (merged.to_crm, merged.to_platform) == (to_crm, to_platform)


# ---- laws

value = st.sampled_from([ABSENT, None, "", "a", "b", "c", "A ", False, 0])
labels = st.one_of(st.just(ABSENT), st.none(), st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(sorted))
rules = st.sampled_from([*set(Rule) - {Rule.UNION}])
all_terms = st.one_of(
    st.builds(terms, rules, st.just(Direction.BOTH), st.sampled_from(Blank)),
    st.builds(
        terms,
        st.sampled_from([None, Rule.FILL_BLANK]),
        st.sampled_from([Direction.TO_CRM, Direction.TO_PLATFORM]),
        st.sampled_from(Blank),
    ),
)
choices = st.sampled_from([None, "platform", "crm", "keep"])
newer = st.sampled_from([None, *Side])
cases = st.one_of(
    st.tuples(all_terms, st.builds(Values, value, value, value, value)),
    st.tuples(
        st.builds(terms, st.just(Rule.UNION), st.just(Direction.BOTH), st.sampled_from(Blank)),
        st.builds(Values, labels, labels, labels, labels),
    ),
)


@given(cases, newer, choices)
def test_a_written_value_was_shown_by_the_other_side_or_is_a_union(case, newer, choice):
    line, values = case
    merged = merge(line, values, newer, choice)
    for written, other in ((merged.to_crm, values.platform), (merged.to_platform, values.crm)):
        if written is ABSENT:
            continue
        if line.rule is Rule.UNION and values.platform is not ABSENT and values.crm is not ABSENT:
            assert set(written) <= set(values.platform or []) | set(values.crm or [])
        else:
            assert written == other


@given(cases, newer, choices)
def test_merging_again_after_both_values_were_written_keeps(case, newer, choice):
    line, values = case
    merged = merge(line, values, newer, choice)
    assume(merged.decision.outcome is not HOLD)
    p = merged.to_platform if merged.to_platform is not ABSENT else values.platform
    c = merged.to_crm if merged.to_crm is not ABSENT else values.crm
    # What is remembered: what each side shows now, the old base where it does not show the field.
    bp = values.platform_base if p is ABSENT else p
    bc = values.crm_base if c is ABSENT else c
    again = merge(line, Values(p, c, bp, bc), newer, choice)
    assert (again.to_crm, again.to_platform) == (ABSENT, ABSENT)


@given(cases, newer, choices)
def test_a_blank_is_never_written_onto_a_blank(case, newer, choice):
    line, values = case
    merged = merge(line, values, newer, choice)
    for written, here in ((merged.to_crm, values.crm), (merged.to_platform, values.platform)):
        assert written is ABSENT or not is_blank(written) or here is ABSENT or not is_blank(here)


@given(cases, newer, choices)
def test_nothing_is_written_against_the_direction(case, newer, choice):
    line, values = case
    merged = merge(line, values, newer, choice)
    assert line.to_crm or merged.to_crm is ABSENT
    assert line.to_platform or merged.to_platform is ABSENT


@given(cases, newer, choices)
def test_a_side_that_does_not_show_a_linked_field_changes_nothing_on_the_other(case, newer, choice):
    line, values = case
    assume(values.platform_base is not ABSENT or values.crm_base is not ABSENT)
    merged = merge(line, values, newer, choice)
    assert values.platform is not ABSENT or merged.to_crm is ABSENT
    assert values.crm is not ABSENT or merged.to_platform is ABSENT


@given(cases, newer, choices)
def test_every_decision_has_a_reason_and_a_write_has_a_rule(case, newer, choice):
    merged = merge(*case, newer, choice)
    assert merged.decision.reason
    written = merged.to_crm is not ABSENT or merged.to_platform is not ABSENT
    assert written == (merged.decision.outcome in (TO_CRM, TO_PLATFORM))
    assert not written or merged.decision.rule != "none"


MIRROR_RULE = {Rule.CRM: Rule.PLATFORM, Rule.PLATFORM: Rule.CRM}
MIRROR_DIRECTION = {Direction.TO_CRM: Direction.TO_PLATFORM, Direction.TO_PLATFORM: Direction.TO_CRM}
MIRROR_OUTCOME = {TO_CRM: TO_PLATFORM, TO_PLATFORM: TO_CRM}
OTHER = {Side.PLATFORM: Side.CRM, Side.CRM: Side.PLATFORM}
MIRROR_CHOICE = {"platform": "crm", "crm": "platform"}


@given(cases, newer, choices)
def test_swapping_the_sides_swaps_the_outcome(case, newer, choice):
    line, values = case
    assume(line.rule is not Rule.UNION)
    # Only a record of the CRM becomes another one, of which one side alone is remembered.
    assume((values.platform_base is ABSENT) == (values.crm_base is ABSENT))
    values = values._replace(exists=False)
    merged = merge(line, values, newer, choice)
    mirrored = merge(
        Terms(
            line.field,
            MIRROR_DIRECTION.get(line.direction, line.direction),
            MIRROR_RULE.get(line.rule, line.rule),
            line.blank,
            line.same,
        ),
        Values(values.crm, values.platform, values.crm_base, values.platform_base, exists=False),
        OTHER.get(newer),
        MIRROR_CHOICE.get(choice, choice),
    )
    both_blank = all(v is ABSENT or is_blank(v) for v in (values.platform, values.crm))
    if not both_blank:
        assert mirrored.decision.outcome is MIRROR_OUTCOME.get(merged.decision.outcome, merged.decision.outcome)
        assert (mirrored.to_platform, mirrored.to_crm) == (merged.to_crm, merged.to_platform)
