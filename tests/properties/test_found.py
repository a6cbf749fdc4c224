"""Faults that the simulation has found, each as the shortest story that shows it; and a store that is older than the world."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from databases import Databases
from history import check_history
from memory_world import LATE, Clock, Worlds, copy_store
from people import People, decide
from promises import check

from connector.adapters.base import Write
from connector.adapters.memory import Fault
from connector.errors import Rejected
from connector.model import HoldType, IntentState, Kind, Receipt, Ref, Side
from connector.service import backfilling
from connector.store.entries import Entries
from connector.store.store import Store
from connector.sync.guards import GUARDS
from connector.sync.history import HISTORY
from connector.sync.report import Report

RUNS = itertools.count()


@pytest.fixture
def worlds(store: Store, clock: Clock) -> Worlds:
    return Worlds(store, f"found{next(RUNS)}", clock)


def customer(worlds: Worlds, number: int, **fields: object) -> tuple[Ref, Ref]:
    """A person and her conversation, with one message."""
    keys = {"name": "Ann", "identity_keys": [f"instagram:{number}"]}
    person = worlds.platform.add("person", keys | fields)
    identity = {"network": "instagram", "user_id": str(number), "handle": f"ann{number}"}
    worlds.platform.add("identity", identity, id_=f"instagram:{number}", parent=person)
    conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
    message = {"direction": "inbound", "text": "hello", "sent_at": "2026-03-02T09:00:00Z"}
    worlds.platform.add("message", message, parent=conversation)
    return person, conversation


def asked(worlds: Worlds, text: str) -> Ref:
    """A reply, written in the CRM on the conversation of a new customer."""
    customer(worlds, 1)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")
    return worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"})


def one_contact_of(worlds: Worlds, *persons: Ref) -> Ref:
    """What people do about doubles: they merge the contacts."""
    contacts = {link.platform: link.crm for link in worlds.links(Kind.PERSON)}
    winner = contacts[persons[0]]
    for person in persons[1:]:
        worlds.crm.merge(contacts[person], winner)
    worlds.quiet()
    return winner


def test_two_personas_of_a_contact_that_have_news_at_once_are_both_written(worlds: Worlds) -> None:
    (first, _), (second, _) = customer(worlds, 1), customer(worlds, 2)
    worlds.quiet()
    contact = one_contact_of(worlds, first, second)
    worlds.platform.person_edits(first, {"tags": ["late"]})
    worlds.platform.person_edits(second, {"tags": ["vip"]})
    worlds.crm.person_edits(contact, {"Rating": "gold"})
    worlds.quiet()
    check(worlds)
    assert worlds.fields(contact)["Labels"] == "late;vip"
    assert [worlds.fields(one)["attributes.tier"] for one in (first, second)] == ["gold", "gold"]


def a_refused_write_on(worlds: Worlds, person: Ref, contact: Ref) -> None:
    """The platform has the phone number on somebody else, which the plan cannot know."""
    worlds.platform.refuse = lambda write: (
        Rejected("platform", "TAKEN", "it is taken") if write.target == person else None
    )
    worlds.crm.person_edits(contact, {"City": "Delft"})
    worlds.quiet()
    assert [hold.subject for hold in worlds.ledger.open_holds(type=HoldType.REFUSED)] == [person]


def test_a_refused_write_of_one_persona_does_not_keep_the_others_from_their_contact(worlds: Worlds) -> None:
    (first, _), (second, _) = customer(worlds, 1), customer(worlds, 2)
    worlds.quiet()
    contact = one_contact_of(worlds, first, second)
    a_refused_write_on(worlds, first, contact)
    worlds.crm.person_edits(contact, {"Rating": "gold"})
    worlds.platform.person_edits(second, {"company": "Acme"})
    worlds.quiet()
    assert worlds.fields(contact)["Company"] == "Acme"
    assert worlds.fields(second)["attributes.tier"] == "gold"


def test_a_conversation_does_not_wait_for_a_contact_that_nobody_makes(worlds: Worlds) -> None:
    person, conversation = customer(worlds, 1)
    worlds.quiet()
    (contact,) = worlds.live(Side.CRM, "Contact")
    a_refused_write_on(worlds, person, contact)
    worlds.crm.delete(contact)
    worlds.platform.person_edits(conversation, {"status": "resolved"})
    worlds.quiet()
    assert worlds.ledger.open_holds(type=HoldType.IDENTITY)


def test_a_merged_contact_that_never_had_a_value_gets_the_one_of_the_platform(worlds: Worlds) -> None:
    person, _ = customer(worlds, 1, company="Acme")
    worlds.quiet()
    (loser,) = worlds.live(Side.CRM, "Contact")
    winner = worlds.crm.add("Contact", {"Name": "Ann"})
    worlds.crm.merge(loser, winner)
    worlds.quiet()
    check(worlds)
    assert worlds.fields(winner)["Company"] == "Acme"
    assert worlds.fields(person)["company"] == "Acme"


def test_what_somebody_changes_beside_our_write_is_not_lost_when_its_answer_is(worlds: Worlds) -> None:
    """The answer of our write is lost; when we look for it, the record shows our labels and her status."""
    _, conversation = customer(worlds, 1)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")
    worlds.crm.person_edits(thread, {"Labels": "vip"})
    worlds.platform.fail("upsert", Fault.LOST_ANSWER)
    worlds.engine.begin()
    worlds.engine.round([(Side.CRM, "changes")], Report())
    assert worlds.fields(conversation)["tags"] == ["vip"]
    worlds.clock.sleep(LATE.total_seconds() + 1)
    worlds.platform.person_edits(conversation, {"status": "resolved"})
    worlds.quiet()
    check(worlds)
    assert worlds.fields(thread)["Status"] == "resolved"


@pytest.mark.parametrize("moment", ["before the reply", "when it was planned", "when its answer was lost"])
def test_a_restored_store_sends_nothing_twice(moment: str, worlds: Worlds, databases: Databases) -> None:
    customer(worlds, 1)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")
    worlds = worlds.twin(databases)
    if moment == "before the reply":
        backup = copy_store(worlds.store, databases)
    worlds.crm.add("Outbound", {"Thread": thread.id, "Body": "it is on its way", "Status": "Queued"})
    if moment == "when it was planned":
        worlds.platform.fail("send", Fault.UNREACHABLE)
    if moment == "when its answer was lost":
        worlds.platform.fail("send", Fault.LOST_ANSWER)
    # The CRM is never told, so that the record still asks for it.
    worlds.crm.fail("upsert", *[Fault.UNREACHABLE] * 9)
    worlds.engine.sync()
    if moment != "before the reply":
        backup = copy_store(worlds.store, databases)
    worlds.clock.sleep(60)
    worlds.engine.sync()
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]

    worlds.store.close()
    worlds.clock.sleep(LATE.total_seconds() + 60)
    worlds.open(backup)
    worlds.restored = True
    worlds.quiet()
    check(worlds)
    check_history(worlds)
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]
    (reply,) = worlds.live(Side.CRM, "Outbound")
    assert worlds.fields(reply)["Status"] == "Sent"


def test_a_restored_store_sends_nothing_twice_that_was_withdrawn_and_asked_for_again(
    worlds: Worlds, databases: Databases
) -> None:
    customer(worlds, 1)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")
    worlds = worlds.twin(databases)
    backup = copy_store(worlds.store, databases)
    reply = worlds.crm.add("Outbound", {"Thread": thread.id, "Body": "it is on its way", "Status": "Queued"})
    worlds.platform.fail("send", *[Fault.UNREACHABLE] * 99)
    worlds.engine.sync()
    for status in ("Draft", "Queued"):
        worlds.crm.person_edits(reply, {"Status": status})
        worlds.platform._faults.clear()
        worlds.clock.sleep(120)
        # The CRM is never told, so that the record still asks for it.
        worlds.crm.fail("upsert", *[Fault.UNREACHABLE] * 9)
        worlds.engine.sync()
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]
    worlds.crm._faults.clear()
    worlds.store.close()
    worlds.clock.sleep(LATE.total_seconds() + 60)
    worlds.open(backup)
    worlds.restored = True
    worlds.quiet()
    check(worlds)
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]
    assert worlds.fields(reply)["Status"] == "Sent"


def test_a_reply_that_was_emptied_while_it_waited_does_not_leave(worlds: Worlds) -> None:
    reply = asked(worlds, "it is on its way")
    worlds.platform.fail("send", *[Fault.UNREACHABLE] * 99)
    worlds.engine.sync()
    worlds.platform._faults.clear()
    worlds.crm.person_edits(reply, {"Body": " "})
    worlds.clock.sleep(120)
    worlds.quiet()
    assert worlds.platform.network_receives == []
    assert (worlds.fields(reply)["Status"], worlds.fields(reply)["Error"]) == ("Failed", "The reply has no text.")


@dataclass
class Slow:
    """A platform that is at a reply for a minute. We give it up then; that it is stored shows only later."""

    adapter: Any
    clock: Clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    def send(self, write: Write, token: str) -> Receipt:
        self.clock.sleep(60)
        return self.adapter.send(write, token)


def test_a_reply_that_was_given_up_after_a_minute_and_stored_all_the_same_leaves_once(worlds: Worlds) -> None:
    asked(worlds, "it is on its way")
    worlds.platform.commits_late_by = LATE
    worlds.platform.fail("send", Fault.LOST_ANSWER)
    worlds.wired = lambda adapter: Slow(adapter, worlds.clock)
    worlds.restart()
    worlds.engine.sync()
    worlds.quiet()
    check(worlds)
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]


def test_a_reply_whose_record_is_deleted_while_it_is_in_doubt_is_linked_with_nothing(worlds: Worlds) -> None:
    reply = asked(worlds, "it is on its way")
    worlds.platform.commits_late_by = LATE
    worlds.platform.fail("send", Fault.LOST_ANSWER)
    one_turn(worlds)
    worlds.crm.delete(reply)
    one_turn(worlds)
    worlds.quiet()
    check(worlds)
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]
    assert worlds.links(Kind.REPLY) == []


def test_a_reply_that_the_platform_could_not_take_for_a_day_is_asked_about(worlds: Worlds) -> None:
    asked(worlds, "are you still there?")
    worlds.platform.fail("send", *[Fault.UNREACHABLE] * 99)
    worlds.engine.sync()
    worlds.platform._faults.clear()
    worlds.clock.sleep(timedelta(hours=25).total_seconds())
    report = worlds.engine.sync()
    assert [one.code for one in report.withheld] == ["old_replies"]
    assert worlds.platform.network_receives == []


def test_a_later_reply_does_not_overtake_one_that_waited_too_long(store: Store, clock: Clock) -> None:
    worlds = Worlds(store, f"found{next(RUNS)}", clock, allowed=GUARDS)
    customer(worlds, 1)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")
    worlds.platform.fail("send", *[Fault.UNREACHABLE] * 99)
    for text in ("are you still there?", "hello"):
        worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"})
        worlds.engine.sync()
        worlds.clock.sleep(timedelta(hours=13).total_seconds())
    worlds.platform._faults.clear()
    worlds.quiet()
    assert [one.text for one in worlds.platform.network_receives] == ["are you still there?", "hello"]


def test_a_doubtful_reply_that_a_person_wants_sent_again_leaves_however_long_she_took(
    store: Store, clock: Clock
) -> None:
    worlds = Worlds(store, f"found{next(RUNS)}", clock, marks_sends=False)
    asked(worlds, "it is on its way")
    worlds.platform.fail("send", Fault.LOST_REQUEST)
    worlds.engine.sync()
    worlds.quiet()
    (hold,) = worlds.ledger.open_holds(type=HoldType.IN_DOUBT)
    worlds.clock.sleep(timedelta(days=3).total_seconds())
    decide(worlds, hold, "again")
    worlds.quiet()
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]


def test_what_somebody_empties_on_a_contact_whose_creation_is_doubtful_is_emptied(worlds: Worlds) -> None:
    """The answer of its creation is lost; meanwhile another contact is merged into it, so that we write to it for that one."""
    first, _ = customer(worlds, 1)
    worlds.quiet()
    (loser,) = worlds.live(Side.CRM, "Contact")
    second, _ = customer(worlds, 2, language="nl")
    worlds.crm.fail("upsert", Fault.LOST_ANSWER)
    one_turn(worlds)
    (winner,) = worlds.live(Side.CRM, "Contact").keys() - {loser}
    worlds.crm.person_edits(winner, {"Language": None})
    worlds.crm.merge(loser, winner)
    worlds.platform.person_edits(first, {"tags": ["late"]})
    one_turn(worlds)
    one_turn(worlds)
    assert worlds.crm.records[winner].latest.by == "connector"
    worlds.quiet()
    check(worlds)
    assert worlds.fields(second)["language"] is None


def one_turn(worlds: Worlds) -> None:
    """Without waiting for what is doubtful."""
    worlds.engine.begin()
    worlds.engine.round([(side, stream.name) for side, stream in worlds.engine.streams()], Report())


def test_nothing_is_written_to_a_crm_that_was_never_read(worlds: Worlds) -> None:
    """A first read shows no deletions: a contact made before it, and deleted, would count as there for ever."""
    person, _ = customer(worlds, 1)
    worlds.crm.fail("pull", Fault.UNREACHABLE)
    one_turn(worlds)
    assert worlds.live(Side.CRM, "Contact") == {}
    worlds.quiet()
    (contact,) = worlds.live(Side.CRM, "Contact")
    worlds.crm.delete(contact)
    worlds.quiet()
    check(worlds)
    assert [link.active for link in worlds.ledger.links_of([person])] == [False]


def test_a_record_whose_creation_is_doubtful_is_found_though_its_contact_is_gone(worlds: Worlds) -> None:
    """The answer of its creation is lost, and a person deletes the contact that it hangs on."""
    customer(worlds, 1)
    (message,) = worlds.live(Side.PLATFORM, "message")
    persons_identities_and_threads = (None, None, None)
    worlds.crm.fail("upsert", *persons_identities_and_threads, Fault.LOST_ANSWER)
    one_turn(worlds)
    (contact,) = worlds.live(Side.CRM, "Contact")
    worlds.crm.delete(contact)
    worlds.crm.fail("find", Fault.UNREACHABLE)
    one_turn(worlds)
    worlds.quiet()
    check(worlds)
    (link,) = worlds.ledger.links_of([message])
    assert worlds.fields(link.crm)["Description"] == "hello"


def test_the_other_persona_gets_a_value_though_somebody_saved_the_contact_before_it_was_read(worlds: Worlds) -> None:
    (first, _), (second, _) = customer(worlds, 1), customer(worlds, 2)
    worlds.quiet()
    contact = one_contact_of(worlds, first, second)
    worlds.platform.person_edits(first, {"company": "Acme"})
    one_turn(worlds)
    assert worlds.fields(contact)["Company"] == "Acme"
    worlds.crm.person_edits(contact, {"Company": "Acme"})
    worlds.quiet()
    check(worlds)
    assert worlds.fields(second)["company"] == "Acme"


def test_two_personas_that_bring_different_values_at_once_end_with_the_same(store: Store, clock: Clock) -> None:
    """The CRM's answers do not show what it keeps; that is seen at the next read, after both were written."""
    worlds = Worlds(store, f"found{next(RUNS)}", clock, reads_back=False)
    (first, _), (second, _) = customer(worlds, 1), customer(worlds, 2)
    worlds.quiet()
    contact = one_contact_of(worlds, first, second)
    worlds.platform.person_edits(first, {"company": "Acme"})
    worlds.platform.person_edits(second, {"company": "Bikes"})
    one_turn(worlds)
    worlds.engine.round([], Report())
    worlds.quiet()
    check(worlds)
    company = worlds.fields(contact)["Company"]
    assert [worlds.fields(one)["company"] for one in (first, second)] == [company, company]


@pytest.mark.parametrize("platform", ["is not due", "cannot be read", "goes on at an old page and breaks off"])
def test_a_restored_store_sends_nothing_before_the_platform_was_read(
    platform: str, worlds: Worlds, databases: Databases
) -> None:
    """The daemon reads the CRM first, which asks for the reply that has left; only the platform shows that it has."""
    customer(worlds, 1)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")
    worlds = worlds.twin(databases)
    if platform == "goes on at an old page and breaks off":
        for name in ("Bea", "Cas", "Dee", "Eva"):
            worlds.platform.add("person", {"name": name})
        worlds.clock.sleep(60)
        worlds.platform.fail("pull", None, Fault.UNREACHABLE)
        worlds.engine.round([(Side.PLATFORM, "changes")], Report())
    backup = copy_store(worlds.store, databases)
    worlds.clock.sleep(60)
    worlds.crm.add("Outbound", {"Thread": thread.id, "Body": "it is on its way", "Status": "Queued"})
    worlds.crm.fail("upsert", *[Fault.UNREACHABLE] * 99)
    worlds.engine.sync()
    worlds.crm._faults.clear()
    assert len(worlds.platform.network_receives) == 1
    worlds.store.close()
    worlds.clock.sleep(LATE.total_seconds() + 60)
    worlds.open(backup)
    worlds.restored = True
    if platform == "cannot be read":
        worlds.platform.fail("pull", Fault.UNREACHABLE)
    if platform == "goes on at an old page and breaks off":
        worlds.platform.fail("pull", None, Fault.UNREACHABLE)
    worlds.engine.begin()
    worlds.engine.round([(Side.CRM, "changes")], Report())
    worlds.quiet()
    assert [one.text for one in worlds.platform.network_receives] == ["it is on its way"]
    check(worlds)


@pytest.mark.parametrize("count", [2, 1], ids=["one of the call", "the whole call"])
def test_what_a_person_gives_up_just_before_it_leaves_stays_and_the_rest_of_the_call_goes(
    count: int, worlds: Worlds
) -> None:
    _, conversation = customer(worlds, 1)
    worlds.quiet()
    for number in range(count):
        text = {"direction": "inbound", "text": f"message {number}", "sent_at": f"2026-03-02T09:01:0{number}Z"}
        worlds.platform.add("message", text, parent=conversation)
    ledger, given_up = worlds.engine.ledger, list[int]()
    mark = ledger.mark_sending

    def after_her(ids: Collection[int], now: datetime) -> set[int]:
        (*_, last) = (ledger.intent(id_) for id_ in sorted(ids))
        if last.action.kind is Kind.MESSAGE and not given_up:
            given_up.append(last.id)
            worlds.ledger.journal(Entries(dropped=[(last.id, "kim decided: spam")], seen={last.id: last.state}))
        return mark(ids, now)

    ledger.mark_sending = after_her  # type: ignore[method-assign]
    one_turn(worlds)
    assert [ledger.intent(id_).state for id_ in given_up] == [IntentState.DROPPED]
    written = [fields["Description"] for fields in worlds.live(Side.CRM, "Task").values()]
    assert sorted(written) == sorted(["hello", *[f"message {number}" for number in range(count - 1)]])


@pytest.mark.parametrize("meanwhile", ["it rests", "it is saved once more"])
def test_a_message_that_was_seen_before_its_person_comes_in_with_her(
    meanwhile: str, store: Store, clock: Clock
) -> None:
    """A webhook shows the message; the person it is from becomes readable a few seconds later, on one page with it."""
    worlds = Worlds(store, f"found{next(RUNS)}", clock, page_size=50)
    people = People(worlds)
    people.new_customer_writes("Ann", None, None, [], "hello", LATE)
    worlds.engine.begin()
    worlds.engine.look_at(list(worlds.live(Side.PLATFORM, "message")), Side.PLATFORM)
    for _conversation_and_person_are_missed in range(2):
        worlds.engine.round([(Side.CRM, "changes")], Report())
    if meanwhile == "it is saved once more":
        (message,) = worlds.live(Side.PLATFORM, "message")
        worlds.platform.person_edits(message, {"text": "hello"})
    worlds.quiet()
    assert worlds.live(Side.CRM, "Task")


def test_a_reply_on_a_conversation_whose_creation_is_doubtful_waits_for_it(worlds: Worlds) -> None:
    """The answer of its creation is lost; a CRM user sees the new record and answers at once."""
    people = People(worlds)
    people.new_customer_writes("Ann", None, None, [], "hello", timedelta(0))
    persons_and_identities = (None, None)
    worlds.crm.fail("upsert", *persons_and_identities, Fault.LOST_ANSWER)
    one_turn(worlds)
    assert worlds.live(Side.CRM, "Thread")
    people.reply_is_written(0, "hello Ann", timedelta(0))
    one_turn(worlds)
    worlds.quiet()
    assert [one.text for one in worlds.platform.network_receives] == ["hello Ann"]


def test_what_is_edited_after_its_part_of_the_past_is_in_shows_in_the_end(worlds: Worlds) -> None:
    """Oldest first: its month is in, younger ones are not. The live stream leaves out what is older than the history, which begins
    earlier only when all is in; then the edit is behind its place."""
    worlds.ledger.remember(HISTORY, worlds.clock().isoformat())
    customer(worlds, 1)
    (message,) = worlds.live(Side.PLATFORM, "message")
    sent_at = (worlds.clock() - timedelta(days=50)).isoformat()
    worlds.platform.person_edits(message, {"sent_at": sent_at})
    worlds.quiet()
    backfilling.ask(worlds.ledger, worlds.clock() - timedelta(days=60), None, oldest_first=True)
    while not worlds.live(Side.CRM, "Task"):
        backfilling.piece(worlds.engine, worlds.clock)
    assert backfilling.is_due(worlds.ledger)
    worlds.clock.sleep(3700)
    worlds.platform.person_edits(message, {"text": "hello again"})
    worlds.clock.sleep(3700)
    worlds.engine.sync()
    while backfilling.is_due(worlds.ledger):
        backfilling.piece(worlds.engine, worlds.clock)
    worlds.quiet()
    assert [fields["Description"] for fields in worlds.live(Side.CRM, "Task").values()] == ["hello again"]
