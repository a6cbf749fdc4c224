"""Each guard trips one case above its limit, and not one case below."""

import pytest

from connector.errors import Refusal
from connector.model import Action, Decision, Kind, Op, Outcome, Ref, Side
from connector.store.entries import Entries, Pins
from connector.sync.guards import EXAMPLES, HANDFUL, Tally, check_pins, judge
from connector.sync.merge import FIRST

PINS = Pins("cw-1", "sf-1", "digest-1")


def ref(n):
    return Ref("platform", "person", str(n))


def remove(n):
    return Action(f"r{n}", Op.REMOVE, Side.CRM, Kind.MESSAGE, "Task", {}, ref(n), ref(n), Ref("crm", "Task", str(n)))


def change(n, value="b", rule="changed", target=True, kind=Kind.PERSON):
    decision = Decision("City~city", Outcome.TO_CRM, rule, "told", value)
    where = Ref("crm", "Contact", str(n)) if target else None
    return Action(
        f"c{n}", Op.UPSERT, Side.CRM, kind, "Contact", {"City": value}, ref(n), ref(n), where, decisions=(decision,)
    )


def tally(make, count):
    made = Tally()
    # In two plans: the limit is one of the run, not of the batch.
    made.add(Entries(intents=[make(n) for n in range(count // 2)]))
    made.add(Entries(intents=[make(n) for n in range(count // 2, count)]))
    return made


def emptied(n):
    return change(n, "")


GUARDS = [
    ("mass_remove", remove, 0, HANDFUL),
    ("mass_remove", remove, 1000, 50),
    ("mass_change", change, 0, HANDFUL),
    ("mass_change", change, 1000, 300),
    ("blank_storm", emptied, 0, HANDFUL),
    ("blank_storm", emptied, 1000, 100),
]


@pytest.mark.parametrize(("code", "make", "links", "limit"), GUARDS)
def test_a_run_at_the_limit_passes(code, make, links, limit):
    judge(tally(make, limit), links)


@pytest.mark.parametrize(("code", "make", "links", "limit"), GUARDS)
def test_a_run_above_the_limit_is_refused_with_examples_and_the_way_out(code, make, links, limit):
    with pytest.raises(Refusal) as refusal:
        judge(tally(make, limit + 1), links)
    assert refusal.value.code == code
    assert len(refusal.value.examples) == EXAMPLES
    assert f"--allow {code}" in refusal.value.way_out


@pytest.mark.parametrize(("code", "make", "links", "limit"), GUARDS)
def test_a_guard_that_is_allowed_lets_the_run_pass(code, make, links, limit):
    judge(tally(make, limit + 1), links, {code, "mass_change"})


@pytest.mark.parametrize(
    "make",
    [
        lambda n: change(n, target=False),
        lambda n: change(n, rule=FIRST),
        lambda n: change(n, kind=Kind.REPLY),
    ],
    ids=["new records", "first contacts", "outcomes of replies"],
)
def test_ordinary_growth_never_trips_a_guard(make):
    judge(tally(make, 500), 10)


def test_the_first_use_of_a_connection_is_not_refused():
    check_pins(None, "cw-1", "sf-1", "digest-1")


def test_the_same_accounts_and_mapping_pass():
    check_pins(PINS, "cw-1", "sf-1", "digest-1")


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (("cw-2", "sf-1", "digest-1"), "wrong_account"),
        (("cw-1", "sf-2", "digest-1"), "wrong_account"),
        (("cw-1", "sf-1", "digest-2"), "changed_mapping"),
    ],
)
def test_another_account_or_mapping_is_refused(now, code):
    with pytest.raises(Refusal) as refusal:
        check_pins(PINS, *now)
    assert refusal.value.code == code
    assert refusal.value.way_out
