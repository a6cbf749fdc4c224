"""Each guard of single writes trips one case above its limit, and not one case below; what is held back stays news."""

from datetime import UTC, datetime, timedelta

import pytest

from connector.model import Action, Fact, Kind, Op, Ref, Side
from connector.store.entries import Entries
from connector.sync.withheld import BURST, EXAMPLES, FLIPS, OLD, TWICE, Lately, Said, Withheld

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def ref(object_, n):
    return Ref("platform" if object_ in ("person", "conversation") else "crm", object_, str(n))


def reply(n, text=None, conversation=1):
    return Action(
        f"send:{n}",
        Op.SEND,
        Side.PLATFORM,
        Kind.REPLY,
        "message",
        {"text": f"text {n}" if text is None else text},
        ref("Outbound", n),
        ref("Outbound", n),
        ref("conversation", conversation),
        lane=f"lane {conversation}",
    )


def asked(n, at=NOW):
    return {ref("Outbound", n): Fact(ref("Outbound", n), Side.CRM, Kind.REPLY, {}, "1", changed_at=at)}


def thread(conversation, person):
    one = ref("conversation", conversation)
    return {one: Fact(one, Side.PLATFORM, Kind.CONVERSATION, {}, "1", parent=ref("person", person))}


def update(n=1, **fields):
    return Action(
        f"u{n}",
        Op.UPSERT,
        Side.CRM,
        Kind.PERSON,
        "Contact",
        fields,
        ref("person", n),
        ref("person", n),
        ref("Contact", n),
    )


def sift(actions, facts=(), said=(), written=(), withheld=None):
    withheld = withheld or Withheld("shop")
    entries = withheld.sift(Entries(intents=actions), Lately(NOW, dict(facts), said, dict(written)))
    return entries, {one.code: one for one in withheld.refusals()}


def left(entries):
    return [one.unique for one in entries.intents]


@pytest.mark.parametrize(("age", "leaves"), [(OLD, True), (OLD + SECOND, False)])
def test_a_reply_that_was_asked_for_too_long_ago_is_held_back(age, leaves):
    entries, refusals = sift([reply(1)], asked(1, NOW - age))
    assert (left(entries), list(refusals)) == (["send:1"], []) if leaves else ([], ["old_replies"])


@pytest.mark.parametrize(("count", "leave"), [(BURST, BURST), (BURST + 1, 0)])
def test_a_burst_of_replies_is_held_back_as_a_whole(count, leave):
    actions = [reply(n, conversation=n) for n in range(count)]
    entries, refusals = sift(actions, withheld=Withheld("shop", sends=count))
    assert (len(entries.intents), list(refusals)) == (leave, [] if leave else ["reply_burst"])


@pytest.mark.parametrize(("apart", "leaves"), [(TWICE + SECOND, True), (TWICE, False)])
def test_a_text_that_the_person_was_told_already_is_held_back_though_in_another_conversation(apart, leaves):
    facts = asked(1) | thread(1, 7)
    entries, refusals = sift([reply(1, "hello ")], facts, [Said(ref("person", 7), "hello", NOW - apart)])
    assert (left(entries), list(refusals)) == (["send:1"], []) if leaves else ([], ["double_replies"])


def test_the_same_text_to_another_person_leaves():
    facts = asked(1) | asked(2) | thread(1, 7) | thread(2, 8)
    entries, refusals = sift([reply(1, "hello"), reply(2, "hello", conversation=2)], facts)
    assert (left(entries), refusals) == (["send:1", "send:2"], {})


def test_the_same_text_twice_in_one_plan_leaves_once():
    facts = asked(1) | asked(2) | thread(1, 7)
    entries, refusals = sift([reply(1, "hello"), reply(2, "hello")], facts)
    assert (left(entries), list(refusals)) == (["send:1"], ["double_replies"])


def test_what_follows_a_double_does_not_wait_for_it():
    facts = asked(1) | asked(2) | asked(3) | thread(1, 7)
    entries, refusals = sift([reply(1, "ok"), reply(2, "ok"), reply(3, "your parcel is lost")], facts)
    assert (left(entries), list(refusals)) == (["send:1", "send:3"], ["double_replies"])


def test_what_follows_a_held_back_reply_waits_behind_it_but_another_conversation_goes_on():
    facts = asked(1, NOW - OLD - SECOND) | asked(2) | asked(3)
    entries, refusals = sift([reply(1), reply(2), reply(3, conversation=2)], facts)
    assert left(entries) == ["send:3"]
    assert len(refusals["old_replies"].examples) == 1, "what only waits is no case of its own"


@pytest.mark.parametrize(("times", "leaves"), [(FLIPS - 1, True), (FLIPS, False)])
def test_a_value_that_is_taken_back_again_and_again_is_not_written_once_more(times, leaves):
    written = {ref("Contact", 1): [{"City": "Delft"}] * times + [{"City": "Breda"}] * 9}
    entries, refusals = sift([update(City="Delft")], written=written)
    assert (left(entries), list(refusals)) == (["u1"], []) if leaves else ([], ["flip_flop"])


def test_the_other_half_of_a_pair_waits_with_it():
    written = {ref("Contact", 1): [{"City": "Delft"}] * FLIPS}
    other = Action(
        "p1",
        Op.UPSERT,
        Side.PLATFORM,
        Kind.PERSON,
        "person",
        {"phone": "1"},
        ref("person", 1),
        ref("person", 1),
        ref("person", 1),
    )
    entries, refusals = sift([update(City="Delft"), other, update(2, City="Delft")], written=written)
    assert (left(entries), len(refusals["flip_flop"].examples)) == (["u2"], 1)


def test_a_count_that_grows_is_no_flip_flop():
    written = {ref("Contact", 1): [{"Count": n} for n in range(50)]}
    assert left(sift([update(Count=51)], written=written)[0]) == ["u1"]


def test_what_is_held_back_stays_news_and_nothing_else_does():
    entries, _ = sift([reply(1), reply(2, conversation=2)], asked(1, NOW - OLD - SECOND) | asked(2))
    assert entries.kept == [ref("Outbound", 1)]


CASES = {
    "old_replies": {
        "actions": [reply(n, conversation=n) for n in range(5)],
        "facts": [asked(n, NOW - 2 * OLD) for n in range(5)],
    },
    "reply_burst": {"actions": [reply(n, conversation=n) for n in range(5)], "sends": BURST + 1},
    "double_replies": {"actions": [reply(n, "hello", 1) for n in range(5)]},
    "flip_flop": {
        "actions": [update(n, City="Delft") for n in range(5)],
        "written": {ref("Contact", n): [{"City": "Delft"}] * 9 for n in range(5)},
    },
}


@pytest.mark.parametrize("code", CASES)
def test_a_guard_shows_three_examples_and_the_command_that_allows_it_once(code):
    case = CASES[code]
    facts = {ref_: fact for some in case.get("facts", ()) for ref_, fact in some.items()}
    rest = {"facts": facts, "written": case.get("written", {})}
    _, refusals = sift(case["actions"], **rest, withheld=Withheld("shop", sends=case.get("sends", 0)))
    assert list(refusals) == [code]
    assert len(refusals[code].examples) == EXAMPLES
    assert f"connector --connection shop sync --allow {code}" in refusals[code].way_out
    entries, refusals = sift(case["actions"], **rest, withheld=Withheld("shop", {code}, case.get("sends", 0)))
    assert (left(entries), refusals) == ([one.unique for one in case["actions"]], {})


def test_the_oldest_replies_and_what_was_written_most_often_are_the_examples():
    ages = (2, 5, 3, 9, 4)
    facts = {ref_: fact for n, age in enumerate(ages) for ref_, fact in asked(n, NOW - age * OLD).items()}
    _, refusals = sift([reply(n, conversation=n) for n in range(5)], facts)
    assert [one.split()[0] for one in refusals["old_replies"].examples] == [str(ref("Outbound", n)) for n in (3, 1, 4)]

    written = {ref("Contact", n): [{"City": "Delft"}] * (FLIPS + times) for n, times in enumerate(ages)}
    _, refusals = sift([update(n, City="Delft") for n in range(5)], written=written)
    assert [one.split(": ")[0] for one in refusals["flip_flop"].examples] == [str(ref("Contact", n)) for n in (3, 1, 4)]
