"""The judge of the simulated worlds on trial: shown a history in which a message is lost, a reply overtakes another or a value is
made up, it says so; and it lets pass what people saw to."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from databases import Databases
from history import check_history
from memory_world import LATE, Clock, Worlds
from people import AT_ONCE, People
from presence import check_presence
from simulation import Simulation

from connector.adapters.base import Page, Window
from connector.adapters.memory import Fault
from connector.model import HoldType, Life, Observed, Receipt, Ref, Side
from connector.store.entries import Entries, NewHold
from connector.store.store import Store

RUNS = itertools.count()
SHORT = 250
WORLDS = 6


@pytest.fixture
def people(store: Store, clock: Clock) -> People:
    """One customer, whose message stands on both sides."""
    return those_of(Worlds(store, f"judged{next(RUNS)}", clock))


def those_of(worlds: Worlds) -> People:
    people = People(worlds)
    people.new_customer_writes("Ann", "ann@x.example", None, [], "hello", AT_ONCE)
    worlds.quiet()
    judge(people)
    return people


def judge(people: People) -> None:
    check_history(people.worlds)
    check_presence(people.worlds, people.told)


def only(people: People, object_: str) -> Ref:
    side = Side.PLATFORM if object_.islower() else Side.CRM
    (ref,) = people.worlds.live(side, object_)
    return ref


# ---- messages


def test_a_lost_message_is_missed_whatever_the_connector_says_of_it(people: People) -> None:
    del people.worlds.crm.records[only(people, "Task")]
    with pytest.raises(AssertionError, match="is lost"):
        judge(people)


def test_a_message_that_stands_twice_is_one_too_many(people: People) -> None:
    shown = people.worlds.fields(only(people, "Task"))
    people.worlds.crm.add("Task", shown, by="connector")
    with pytest.raises(AssertionError, match="twice"):
        judge(people)


def test_a_record_that_nobody_wrote_is_made_up(people: People) -> None:
    shown = people.worlds.fields(only(people, "Task"))
    people.worlds.crm.add("Task", {**shown, "Key": f"{people.worlds.connection}:mes999999"}, by="connector")
    with pytest.raises(AssertionError, match="nobody wrote"):
        judge(people)


def test_a_message_that_shows_words_nobody_wrote_is_no_message(people: People) -> None:
    people.worlds.crm.person_edits(only(people, "Task"), {"Description": "good bye"}, by="connector")
    with pytest.raises(AssertionError, match="other words"):
        judge(people)


def test_a_private_note_that_came_in_is_told(people: People) -> None:
    people.worlds.platform.person_edits(only(people, "message"), {"private": True})
    with pytest.raises(AssertionError, match="private"):
        check_presence(people.worlds, people.told)


def private(people: People) -> None:
    people.somebody_writes(0, "between us", "outbound", True, AT_ONCE)


def deleted(people: People) -> None:
    people.somebody_writes(0, "oops", "inbound", False, AT_ONCE)
    people.worlds.platform.person_edits(max(people.worlds.live(Side.PLATFORM, "message")), {"deleted": True})


def taken_out(people: People) -> None:
    people.worlds.crm.delete(only(people, "Task"))


def without_a_contact(people: People) -> None:
    people.worlds.crm.delete(only(people, "Contact"))
    people.worlds.quiet()
    people.somebody_writes(0, "hello?", "inbound", False, AT_ONCE)


def of_somebody_unwanted(people: People) -> None:
    without_a_contact(people)
    people.worlds.quiet()
    people.hold_is_settled(0, ["create", "never"].index("never"))
    assert list(people.told.identities.values()) == ["never"]


def older_than_the_history(people: People) -> None:
    people.told.begins = people.worlds.clock() + timedelta(days=1)
    del people.worlds.crm.records[only(people, "Task")]


@pytest.mark.parametrize(
    "why", [private, deleted, taken_out, without_a_contact, of_somebody_unwanted, older_than_the_history]
)
def test_what_people_saw_to_is_not_missed(why: Callable[[People], None], people: People) -> None:
    why(people)
    if why is not older_than_the_history:
        people.worlds.quiet()
    judge(people)


def test_a_question_without_a_reason_is_no_excuse(people: People) -> None:
    hold = NewHold(HoldType.IDENTITY, only(people, "person"), "Who is it?", {})
    people.worlds.ledger.journal(Entries(holds=[hold]))
    del people.worlds.crm.records[only(people, "Task")]
    with pytest.raises(AssertionError, match="is lost"):
        judge(people)


# ---- replies


def two_replies(people: People, apart: timedelta, late: timedelta = AT_ONCE) -> None:
    """Both have left; then the network is said to have received them the other way round."""
    people.reply_is_written(0, "first", late)
    people.worlds.clock.sleep(apart.total_seconds())
    people.reply_is_written(0, "second", AT_ONCE)
    people.worlds.quiet()
    judge(people)
    assert [one.text for one in people.worlds.platform.network_receives] == ["first", "second"]
    people.worlds.platform.network_receives.reverse()


def test_a_reply_that_overtook_an_earlier_one_is_told(people: People) -> None:
    two_replies(people, timedelta(seconds=1))
    with pytest.raises(AssertionError, match="overtook"):
        judge(people)


@pytest.mark.parametrize(("apart", "late"), [(AT_ONCE, AT_ONCE), (LATE - timedelta(seconds=1), LATE)])
def test_nobody_can_tell_the_order_of_what_was_written_at_once_or_shows_late(
    apart: timedelta, late: timedelta, people: People
) -> None:
    two_replies(people, apart, late)
    judge(people)


def test_a_reply_that_fails_without_a_reason_is_told(people: People) -> None:
    people.reply_is_written(0, "on its way", AT_ONCE)
    people.worlds.quiet()
    people.worlds.platform.network_receives.clear()
    people.worlds.crm.person_edits(only(people, "Outbound"), {"Status": "Failed"}, by="connector")
    with pytest.raises(AssertionError, match="failed"):
        judge(people)


@pytest.mark.parametrize("named", [0, 1])
@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.LOST_REQUEST])
def test_people_say_the_truth_about_a_doubtful_reply(fault: Fault, named: int, store: Store, clock: Clock) -> None:
    """It is there and they say `sent`, or it is not and they say `again`: it leaves once in either case."""
    people = those_of(Worlds(store, f"judged{next(RUNS)}", clock, marks_sends=False))
    people.reply_is_written(0, "on its way", AT_ONCE)
    people.worlds.platform.fail("send", fault)
    people.worlds.engine.sync()
    people.worlds.quiet()
    judge(people)
    (hold,) = people.worlds.ledger.open_holds(type=HoldType.IN_DOUBT)
    people.hold_is_settled(0, 4 + named)
    assert people.worlds.ledger.hold(hold.id).choice == ("sent" if fault is Fault.LOST_ANSWER else "again")
    people.worlds.quiet()
    judge(people)
    assert [one.text for one in people.worlds.platform.network_receives] == ["on its way"]
    assert people.worlds.fields(only(people, "Outbound"))["Status"] == "Sent"


# ---- values of persons


def edited_and_taken_back(worlds: Worlds, platform: str | None) -> None:
    """We bring a city to the CRM, somebody types another one there (and on the platform, too), and ours comes back."""
    (person,), (contact,) = worlds.live(Side.PLATFORM, "person"), worlds.live(Side.CRM, "Contact")
    worlds.crm.person_edits(contact, {"City": "Breda"})
    if platform:
        worlds.platform.person_edits(person, {"city": platform})
    worlds.crm.person_edits(contact, {"City": "Delft"}, by="connector")


def moves_to_delft(people: People) -> None:
    people.worlds.platform.person_edits(only(people, "person"), {"city": "Delft"})
    people.worlds.clock.sleep(1)


def test_an_edit_of_a_person_that_was_taken_back_is_told(people: People) -> None:
    moves_to_delft(people)
    people.worlds.quiet()
    edited_and_taken_back(people.worlds, platform=None)
    with pytest.raises(AssertionError, match="taken back"):
        judge(people)


def test_an_edit_may_give_way_to_one_on_the_other_side(people: People) -> None:
    moves_to_delft(people)
    people.worlds.quiet()
    edited_and_taken_back(people.worlds, platform="Utrecht")
    judge(people)


def test_nobody_can_tell_whether_an_edit_came_before_a_write_whose_answer_was_lost(people: People) -> None:
    moves_to_delft(people)
    people.worlds.crm.fail("upsert", Fault.LOST_ANSWER)
    people.worlds.engine.sync()
    edited_and_taken_back(people.worlds, platform=None)
    judge(people)


def test_nobody_can_tell_it_where_the_process_died_with_the_answer(people: People, databases: Databases) -> None:
    """Of all the moments to die at exactly one is such: the write has landed, and is noted nowhere."""
    moves_to_delft(people)
    excused = 0
    for moment in range(1, 30):
        worlds = people.worlds.twin(databases)
        if not worlds.sync_killed(moment) or "City" not in worlds.fields(only(people, "Contact")):
            continue
        edited_and_taken_back(worlds, platform=None)
        with suppress(AssertionError):
            check_history(worlds)
            excused += 1
    assert excused == 1


# ---- values of conversations


@pytest.mark.parametrize(
    ("object_", "made_up"),
    [
        ("Thread", {"Status": "closed"}),
        ("Thread", {"Labels": "vip"}),
        ("Thread", {"Count": "7"}),
        ("conversation", {"status": "closed"}),
        ("conversation", {"tags": ["vip"]}),
    ],
)
def test_a_value_of_a_conversation_that_nobody_typed_is_told(
    object_: str, made_up: dict[str, Any], people: People
) -> None:
    people.new_customer_writes("Bob", None, None, [], "hello", AT_ONCE)
    people.worlds.quiet()
    ours, other = sorted(people.worlds.live(Side.PLATFORM, "conversation"))
    people.worlds.platform.person_edits(other, {"tags": ["vip"]})
    people.worlds.quiet()
    judge(people)
    system = people.worlds.platform if object_.islower() else people.worlds.crm
    system.person_edits(
        ours if object_.islower() else min(people.worlds.live(Side.CRM, "Thread")), made_up, by="connector"
    )
    with pytest.raises(AssertionError, match=r"nobody typed|there were"):
        judge(people)


# ---- whole worlds with something between the connector and a system that must not be there


class Between:
    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


class Losing(Between):
    """Some messages that are there are said to be gone, so that the connector has a reason of its own for leaving them out."""

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        for page in self._adapter.pull(stream, window):
            yield replace(page, observed=tuple(map(self._lost, page.observed)))

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        return [self._lost(one) for one in self._adapter.fetch(refs)]

    def _lost(self, seen: Observed) -> Observed:
        kept = seen.ref.object != "message" or int(seen.ref.id[3:]) % 3
        return seen if kept else replace(seen, life=Life.GONE, fields={})


class Reversing(Between):
    """What is sent last arrives first."""

    def send(self, *args: Any) -> Receipt:
        received = self._adapter.world.network_receives
        before = len(received)
        try:
            return self._adapter.send(*args)
        finally:
            if len(received) > before:
                received.insert(0, received.pop())


@pytest.mark.parametrize(("between", "told"), [(Losing, "is lost"), (Reversing, "overtook")])
def test_a_handful_of_worlds_finds_it(between: type[Between], told: str, databases: Databases) -> None:
    assert any(told in lived(seed, between, databases) for seed in range(1, WORLDS + 1))


def lived(seed: int, between: type[Between], databases: Databases) -> str:
    """What the judge says of this world."""
    simulation = Simulation(seed, databases)
    worlds, wire = simulation.worlds, simulation.worlds.wired
    worlds.wired = lambda adapter: between(wire(adapter))
    worlds.restart()
    try:
        simulation.run(SHORT)
    except AssertionError as error:
        return str(error)
    return ""
