"""Each guard trips one case above its limit, and not one case below."""

from dataclasses import replace
from functools import partial

import pytest

from connector.errors import Refusal
from connector.model import Action, Decision, Fact, Kind, Life, Link, Observed, Op, Outcome, Ref, Side
from connector.store.entries import Entries, Pins
from connector.sync import guards
from connector.sync.guards import EXAMPLES, HANDFUL, Tally, check_pins
from connector.sync.merge import FIRST

judge = partial(guards.judge, connection="shop")
check_canaries = partial(guards.check_canaries, connection="shop")

PINS = Pins("cw-1", "sf-1", "digest-1")


def ref(n):
    return Ref("platform", "person", str(n))


def remove(n):
    return Action(f"r{n}", Op.REMOVE, Side.CRM, Kind.MESSAGE, "Task", {}, ref(n), ref(n), Ref("crm", "Task", str(n)))


def change(n, value="b", rule="changed", target=True, kind=Kind.PERSON, field="City~city"):
    decision = Decision(field, Outcome.TO_CRM, rule, "told", value)
    where = Ref("crm", "Contact", str(n)) if target else None
    return Action(
        f"c{n}", Op.UPSERT, Side.CRM, kind, "Contact", {"City": value}, ref(n), ref(n), where, decisions=(decision,)
    )


def tally(make, count):
    made = Tally()
    # In two plans: the limit is one of the run, not of the batch.
    for numbers in (range(count // 2), range(count // 2, count)):
        if make is unlink:
            made.add(Entries(ended=[(n, "deleted in the CRM") for n in numbers]), [link(n) for n in numbers])
        else:
            made.add(Entries(intents=[make(n) for n in numbers]))
    return made


def link(n, kind=Kind.PERSON):
    return Link(n, kind, ref(n), Ref("crm", "Contact", str(n)))


def all_of(links):
    """So many links of every kind."""
    return dict.fromkeys(Kind, links)


def unlink(n):
    """Marks a case that ends a link instead of writing."""


def emptied(n):
    return change(n, "")


GUARDS = [
    ("mass_remove", remove, 0, HANDFUL),
    ("mass_remove", remove, 1000, 50),
    ("mass_unlink", unlink, 0, HANDFUL),
    ("mass_unlink", unlink, 1000, 50),
    ("mass_change", change, 0, HANDFUL),
    ("mass_change", change, 1000, 300),
    ("blank_storm", emptied, 0, HANDFUL),
    ("blank_storm", emptied, 1000, 100),
]


@pytest.mark.parametrize(("code", "make", "links", "limit"), GUARDS)
def test_a_run_at_the_limit_passes(code, make, links, limit):
    judge(tally(make, limit), all_of(links))


@pytest.mark.parametrize(("code", "make", "links", "limit"), GUARDS)
def test_a_run_above_the_limit_is_refused_with_examples_and_the_way_out(code, make, links, limit):
    with pytest.raises(Refusal) as refusal:
        judge(tally(make, limit + 1), all_of(links))
    assert refusal.value.code == code
    assert len(refusal.value.examples) == EXAMPLES
    assert f"--allow {code}" in refusal.value.way_out


def test_the_way_out_names_every_guard_that_the_run_trips_and_those_that_are_allowed_already():
    made = tally(remove, HANDFUL + 1)
    made.unlinks = tally(unlink, HANDFUL + 1).unlinks
    with pytest.raises(Refusal) as refusal:
        judge(made, all_of(10), {"empty_side"})
    assert "--allow empty_side --allow mass_remove --allow mass_unlink`" in refusal.value.way_out


@pytest.mark.parametrize(("code", "make", "links", "limit"), GUARDS)
def test_a_guard_that_is_allowed_lets_the_run_pass(code, make, links, limit):
    judge(tally(make, limit + 1), all_of(links), {code, "mass_change"})


@pytest.mark.parametrize(
    "make",
    [
        lambda n: change(n, target=False),
        lambda n: change(n, rule=FIRST),
        lambda n: change(n, kind=Kind.REPLY),
        lambda n: change(n, kind=Kind.CONVERSATION, field="Message_Count__c~message_count"),
    ],
    ids=["new records", "first contacts", "outcomes of replies", "counts of messages"],
)
def test_ordinary_growth_never_trips_a_guard(make):
    judge(tally(make, 500), all_of(10))


def test_filling_what_is_blank_never_trips_a_guard():
    made, facts = Tally(), {}
    for n in range(500):
        action = replace(change(n, field="Id~identifier"), side=Side.PLATFORM, target=ref(n))
        facts[ref(n)] = Fact(ref(n), Side.PLATFORM, Kind.PERSON, {"identifier": None}, "1")
        made.add(Entries(intents=[action]), facts=facts)
    judge(made, all_of(10))


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


def history(persons, each):
    """Links and facts of persons with a conversation each and so many messages in it."""
    links, facts = [], {}
    for person in map(ref, range(persons)):
        thread = Ref("platform", "conversation", person.id)
        facts[person] = Fact(person, Side.PLATFORM, Kind.PERSON, {}, "1")
        facts[thread] = Fact(thread, Side.PLATFORM, Kind.CONVERSATION, {}, "1", parent=person)
        messages = [Ref("platform", "message", f"{person.id}-{n}") for n in range(each)]
        facts |= {one: Fact(one, Side.PLATFORM, Kind.MESSAGE, {}, "1", parent=thread) for one in messages}
        links += [Link(len(links) + n, Kind.MESSAGE, one, Ref("crm", "Task", one.id)) for n, one in enumerate(messages)]
    return links, facts


def vanished(links):
    return Entries(ended=[(link.id, "deleted in the CRM") for link in links])


def removed(links):
    return Entries(
        intents=[
            Action(str(link.id), Op.REMOVE, Side.CRM, Kind.MESSAGE, "Task", {}, link.platform, link.platform, link.crm)
            for link in links
        ]
    )


@pytest.mark.parametrize("what", [vanished, removed])
def test_all_messages_of_a_few_persons_may_go(what):
    links, facts = history(persons=HANDFUL, each=50)
    made = Tally()
    made.add(what(links), links, facts)
    judge(made, {**all_of(60), Kind.MESSAGE: 3000})


@pytest.mark.parametrize(("what", "code"), [(vanished, "mass_unlink"), (removed, "mass_remove")])
def test_messages_of_many_persons_may_not_go_unasked(what, code):
    links, facts = history(persons=HANDFUL + 1, each=2)
    made = Tally()
    made.add(what(links), links, facts)
    with pytest.raises(Refusal) as refusal:
        judge(made, {**all_of(60), Kind.MESSAGE: 3000})
    assert refusal.value.code == code
    assert "21 persons" in refusal.value.message


@pytest.mark.parametrize(("make", "code"), [(change, "mass_change"), (emptied, "blank_storm")])
def test_the_share_is_one_of_the_own_kind_however_many_messages_are_linked(make, code):
    with pytest.raises(Refusal) as refusal:
        judge(tally(make, 60), {**all_of(60), Kind.MESSAGE: 100_000})
    assert refusal.value.code == code


def test_what_was_held_back_a_round_ago_is_no_further_change():
    made = tally(change, HANDFUL)
    made.add(Entries(intents=[change(n) for n in range(HANDFUL)]), but={f"c{n}" for n in range(HANDFUL)})
    judge(made, all_of(10))


def canaries(*lives):
    return [Observed(Ref("crm", "Contact", str(n)), Kind.PERSON, {}, life=life) for n, life in enumerate(lives)]


GONE, LIVE, MERGED = Life.GONE, Life.LIVE, Life.MERGED


@pytest.mark.parametrize(
    ("lives", "persons"),
    [((GONE, GONE, LIVE), 1000), ((GONE, GONE, MERGED), 1000), ((GONE, GONE, GONE), HANDFUL - 1)],
)
def test_a_side_that_shows_one_of_its_records_or_never_had_many_is_not_empty(lives, persons):
    check_canaries(Side.CRM, canaries(*lives), persons)


def test_a_side_that_shows_none_of_its_records_is_refused_with_examples_and_the_way_out():
    with pytest.raises(Refusal) as refusal:
        check_canaries(Side.CRM, canaries(*[GONE] * 5), HANDFUL)
    assert refusal.value.code == "empty_side"
    assert len(refusal.value.examples) == EXAMPLES
    assert "connector --connection shop sync --allow empty_side" in refusal.value.way_out
    check_canaries(Side.CRM, canaries(*[GONE] * 5), HANDFUL, {"empty_side"})


def loses(n, *values):
    """A write that gives a record's first, second, ... field these values."""
    decisions = tuple(
        Decision(f"F{i}~f{i}", Outcome.TO_CRM, "changed", "told", value) for i, value in enumerate(values)
    )
    where = Ref("crm", "Contact", f"{n:03}")
    return Action(f"c{n}", Op.UPSERT, Side.CRM, Kind.PERSON, "Contact", {}, ref(n), ref(n), where, decisions=decisions)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_examples_are_the_records_that_would_lose_most_in_whatever_order_they_were_planned(backwards):
    worse = {40: ("", "b"), 30: ("", "", "b"), 20: ("b", "b", "b")}
    writes = [loses(n, *worse.get(n, ("b",))) for n in range(50)]
    made = Tally()
    made.add(Entries(intents=writes[::-1] if backwards else writes))
    with pytest.raises(Refusal) as refusal:
        judge(made, all_of(0))
    assert [one.partition(": ")[0] for one in refusal.value.examples] == [
        "crm:Contact:030",
        "crm:Contact:040",
        "crm:Contact:020",
    ]


def test_a_record_that_loses_many_fields_is_one_example_and_equal_ones_are_told_in_the_order_of_their_names():
    made = Tally()
    made.add(Entries(intents=[loses(n, *[""] * (9 if n == 7 else 1)) for n in reversed(range(50))]))
    with pytest.raises(Refusal) as refusal:
        judge(made, all_of(0))
    assert refusal.value.code == "blank_storm"
    assert [one.partition(": ")[0] for one in refusal.value.examples] == [
        "crm:Contact:007",
        "crm:Contact:000",
        "crm:Contact:001",
    ]
