"""Records that come, go and move while something is under way about them: the conversation of a reply, the record of a
conversation, the person of a message."""

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest
from memory_world import LATE, MAPPING_FILE, Clock, Killed, Worlds
from people import decide
from promises import check

from connector.adapters.base import Adapter, Write
from connector.adapters.memory import Fault
from connector.errors import Rejected, Transient
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import parse_mapping
from connector.model import HoldType, Kind, Life, Ref, Side, State
from connector.store.store import Store
from connector.sync.report import Report

RUNS = itertools.count()
TWO = "+31687654321"
EVIDENCE = "      - {name: name, platform: name, crm: [Name], compare: name, weight: 15, search: false}\n"
PRIVATE = "    - {name: private notes stay out, when: {private: {is: true}}, take: false}\n"
ONLY_VIPS = """  filters:
    - {name: vips, when: {tags: {any_of: [vip]}}, take: true}
    - {name: others stay out, when: {id: {present: true}}, take: false}
"""


@pytest.fixture
def worlds(store: Store, clock: Clock) -> Worlds:
    return Worlds(store, f"lifetimes{next(RUNS)}", clock)


def mapped(worlds: Worlds, old: str, new: str) -> Worlds:
    """With another mapping."""
    text = MAPPING_FILE.read_text()
    assert text.count(old) == 1
    worlds.mapping = compile_mapping(parse_mapping(text.replace(old, new)), Context(connection=worlds.connection))
    worlds.engine = worlds.new_engine()
    return worlds


def customer(worlds: Worlds, number: int = 1, text: str = "hello", **fields: object) -> tuple[Ref, Ref]:
    """A person and her conversation, with one message."""
    person = worlds.platform.add("person", {"name": "Ann", "identity_keys": [f"instagram:{number}"]} | fields)
    conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
    writes(worlds, conversation, text)
    return person, conversation


def writes(worlds: Worlds, conversation: Ref, text: str, **fields: object) -> Ref:
    message = {"direction": "inbound", "text": text, "sent_at": "2026-03-02T09:00:00Z"}
    return worlds.platform.add("message", message | fields, parent=conversation)


def asked(worlds: Worlds, conversation: Ref, text: str) -> Ref:
    """A reply, written in the CRM on the record of a conversation."""
    threads = {link.platform: link.crm for link in worlds.links(Kind.CONVERSATION)}
    return worlds.crm.add("Outbound", {"Thread": threads[conversation].id, "Body": text, "Status": "Queued"})


def turn(worlds: Worlds) -> None:
    worlds.engine.begin()
    worlds.engine.round([(side, stream.name) for side, stream in worlds.engine.streams()], Report())


def state(worlds: Worlds, message: Ref) -> State | None:
    return worlds.facts()[message].state


# ---- replies


@pytest.mark.parametrize("text", ["Bob, your code is 4711", "Bob, your code is 4712"])
def test_a_reply_that_its_author_moves_before_it_leaves_goes_where_it_belongs_now(worlds: Worlds, text: str) -> None:
    (_, noa), (_, bob) = customer(worlds), customer(worlds, 2, name="Bob")
    worlds.quiet()
    reply = asked(worlds, noa, "Bob, your code is 4711")
    worlds.platform.fail("send", Fault.UNREACHABLE)
    turn(worlds)
    worlds.crm.person_edits(reply, {"Thread": Ref.parse(str(thread_of(worlds, bob))).id, "Body": text})
    worlds.quiet()
    check(worlds)
    assert [(sent.conversation, sent.text) for sent in worlds.platform.network_receives] == [(bob, text)]


def thread_of(worlds: Worlds, conversation: Ref) -> Ref:
    return next(link.crm for link in worlds.links(Kind.CONVERSATION) if link.platform == conversation)


def test_a_reply_that_was_sent_stays_on_the_timeline_as_it_left(worlds: Worlds) -> None:
    """Its author edits the record afterwards, and then the network tells that it was delivered."""
    _, conversation = customer(worlds)
    worlds.quiet()
    reply = asked(worlds, conversation, "We refund 100")
    worlds.quiet()
    (sent,) = worlds.platform.network_receives
    worlds.crm.person_edits(reply, {"Body": "We refund nothing"})
    worlds.quiet()
    worlds.platform.person_edits(sent.message, {"delivery": "delivered"})
    worlds.quiet()
    assert "We refund 100" in [task["Description"] for task in worlds.live(Side.CRM, "Task").values()]


def test_a_sent_reply_that_is_asked_for_once_more_says_again_that_it_was_sent(worlds: Worlds) -> None:
    """It stood there as one that is about to leave, for ever."""
    _, conversation = customer(worlds)
    worlds.quiet()
    reply = asked(worlds, conversation, "on its way")
    worlds.quiet()
    for status in ("Queued", "Draft", "Queued"):
        worlds.clock.sleep(60)
        worlds.crm.person_edits(reply, {"Status": status})
        worlds.engine.sync()
        assert worlds.fields(reply)["Status"] == ("Draft" if status == "Draft" else "Sent")
    worlds.quiet()
    check(worlds)
    assert [one.text for one in worlds.platform.network_receives] == ["on its way"]


def test_a_reply_that_is_given_up_does_not_say_afterwards_that_it_is_held(store: Store, clock: Clock) -> None:
    worlds = Worlds(store, f"lifetimes{next(RUNS)}", clock, marks_sends=False)
    _, conversation = customer(worlds)
    worlds.quiet()
    reply = asked(worlds, conversation, "on its way")
    worlds.platform.fail("send", Fault.LOST_ANSWER)
    worlds.crm.refuse = lambda write: (
        Transient("crm", "LOCKED", "somebody has the row") if write.target == reply else None
    )
    turn(worlds)
    worlds.clock.sleep(120)
    turn(worlds)
    worlds.crm.refuse = lambda write: None
    assert worlds.fields(reply)["Status"] == "Queued"
    (hold,) = worlds.ledger.open_holds(type=HoldType.IN_DOUBT)
    decide(worlds, hold, "drop")
    worlds.engine.round([], Report())
    assert worlds.fields(reply)["Status"] == "Failed"
    worlds.quiet()
    assert worlds.fields(reply)["Status"] == "Failed"


def test_a_reply_that_never_left_is_not_taken_for_another_message_with_its_words(worlds: Worlds) -> None:
    """An agent answers the same in the platform's own app, while we do not know what became of ours."""
    _, conversation = customer(worlds)
    worlds.quiet()
    reply = asked(worlds, conversation, "on its way")
    worlds.platform.fail("send", Fault.LOST_REQUEST)
    turn(worlds)
    writes(worlds, conversation, "on its way", direction="outbound")
    turn(worlds)
    worlds.quiet()
    check(worlds)
    assert [one.text for one in worlds.platform.network_receives] == ["on its way"]
    assert worlds.fields(reply)["Status"] == "Sent"


def test_a_reply_is_looked_for_as_long_after_a_crash_as_after_an_answer_that_was_lost(
    store: Store, clock: Clock
) -> None:
    """The platform stores it long after the connector died in the call; looked for by the time of the call's beginning, it
    would not be there yet, and leave twice."""
    dies: list[Callable[[], None]] = []
    worlds = Worlds(store, f"lifetimes{next(RUNS)}", clock, wired=lambda adapter: Dying(adapter, dies))
    _, conversation = customer(worlds)
    worlds.quiet()
    asked(worlds, conversation, "We are open until six")
    worlds.platform.commits_late_by = LATE + timedelta(seconds=20)

    def dies_in_the_call() -> None:
        worlds.clock.sleep((LATE - timedelta(seconds=5)).total_seconds())
        raise Killed

    dies.append(dies_in_the_call)
    with pytest.raises(Killed):
        turn(worlds)
    worlds.engine = worlds.new_engine()
    worlds.clock.sleep(10)
    turn(worlds)
    worlds.platform.commits_late_by = timedelta(0)
    worlds.quiet()
    assert len(worlds.platform.network_receives) == 1


class Dying:
    """An adapter whose next send is the last thing that the process does."""

    def __init__(self, adapter: Adapter, dies: list[Callable[[], None]]) -> None:
        self._adapter, self._dies = adapter, dies

    def __getattr__(self, name: str) -> object:
        return getattr(self._adapter, name)

    def send(self, write: Write, token: str) -> object:
        answer = self._adapter.send(write, token)
        if self._dies:
            self._dies.pop()()
        return answer


# ---- decisions of people


def test_what_a_person_decides_while_the_connector_plans_is_carried_out(worlds: Worlds) -> None:
    """The plan knows her contact as deleted and asks who she is; the admin answers before the plan is written down."""
    _, conversation = customer(worlds)
    worlds.quiet()
    (contact,) = worlds.live(Side.CRM, "Contact")
    worlds.crm.delete(contact)
    writes(worlds, conversation, "are you there?")
    worlds.quiet()
    (hold,) = worlds.ledger.open_holds(type=HoldType.IDENTITY)
    second = writes(worlds, conversation, "please answer")
    worlds.clock.sleep(60)
    worlds.engine.begin()
    worlds.engine.observe([(side, stream.name) for side, stream in worlds.engine.streams()])
    for _, entries in list(worlds.engine.batches()):
        if hold.choice is None:
            decide(worlds, hold, "create")
            hold = worlds.ledger.hold(hold.id)
        worlds.ledger.journal(entries)
    assert hold.choice == "create"
    worlds.quiet()
    assert state(worlds, second) is State.SYNCED


def refusing(text: str) -> Callable[[Write], Rejected | None]:
    return lambda write: Rejected("crm", "VALIDATION", "no") if text in str(write.fields) else None


@pytest.mark.parametrize("news", [{"delivery": "read"}, {"text": "spam, again"}])
def test_a_message_that_was_given_up_stays_out_whatever_becomes_of_it(worlds: Worlds, news: dict[str, str]) -> None:
    _, conversation = customer(worlds)
    worlds.quiet()
    worlds.crm.refuse = refusing("spam")
    message = writes(worlds, conversation, "spam", direction="outbound", delivery="sent")
    worlds.quiet()
    (hold,) = worlds.ledger.open_holds()
    decide(worlds, hold, "drop")
    worlds.quiet()
    worlds.crm.refuse = lambda write: None
    worlds.platform.person_edits(message, news)
    worlds.quiet()
    assert (state(worlds, message), worlds.ledger.open_holds()) == (State.FILTERED, [])


def test_a_person_who_was_given_up_stays_out_when_she_writes_again(worlds: Worlds) -> None:
    worlds.crm.refuse = refusing("Ann")
    _, conversation = customer(worlds)
    worlds.clock.sleep(60)
    turn(worlds)
    (hold,) = worlds.ledger.open_holds()
    decide(worlds, hold, "drop")
    worlds.quiet()
    worlds.crm.refuse = lambda write: None
    message = writes(worlds, conversation, "hello again")
    worlds.quiet()
    assert state(worlds, message) is State.FILTERED
    assert (worlds.live(Side.CRM, "Contact"), worlds.ledger.open_holds()) == ({}, [])


def test_a_change_that_was_given_up_is_not_asked_about_again_with_the_next_change(worlds: Worlds) -> None:
    person, _ = customer(worlds, phone=TWO)
    worlds.quiet()
    (contact,) = worlds.live(Side.CRM, "Contact")
    worlds.crm.refuse = refusing("Breda")
    worlds.platform.person_edits(person, {"city": "Breda"})
    worlds.quiet()
    (hold,) = worlds.ledger.open_holds()
    decide(worlds, hold, "drop")
    worlds.quiet()
    worlds.platform.person_edits(person, {"company": "Bolt"})
    worlds.quiet()
    assert worlds.ledger.open_holds() == []
    assert worlds.fields(contact)["Company"] == "Bolt"
    assert worlds.fields(contact).get("City") is None


def test_a_move_to_a_new_person_that_was_given_up_is_not_asked_about_again(worlds: Worlds) -> None:
    """When the move was planned her contact had no id yet."""
    _, conversation = customer(worlds)
    worlds.quiet()
    ((thread, shown),) = worlds.live(Side.CRM, "Thread").items()
    worlds.crm.refuse = lambda write: (
        Rejected("crm", "LOCKED_FIELD", "the contact stays")
        if write.target == thread and "Contact" in write.fields
        else None
    )
    bob = worlds.platform.add("person", {"name": "Bob", "identity_keys": ["instagram:2"]})
    worlds.platform._next(worlds.platform.records[conversation], by="somebody", parent=bob)
    worlds.quiet()
    (hold,) = worlds.ledger.open_holds()
    decide(worlds, hold, "drop")
    worlds.quiet()
    writes(worlds, conversation, "hello again")
    worlds.quiet()
    assert worlds.ledger.open_holds() == []
    assert worlds.fields(thread) == shown | {"Count": 2}


def test_a_person_may_choose_the_empty_value(worlds: Worlds) -> None:
    person, _ = customer(worlds, city="Delft")
    worlds.quiet()
    (contact,) = worlds.live(Side.CRM, "Contact")
    worlds.platform.person_edits(person, {"city": None})
    worlds.crm.person_edits(contact, {"City": "Gouda"})
    worlds.quiet()
    (hold,) = worlds.ledger.open_holds(type=HoldType.CONFLICT)
    decide(worlds, hold, "platform")
    worlds.quiet()
    assert worlds.fields(contact)["City"] is None


@pytest.mark.parametrize("gone", [Side.CRM, Side.PLATFORM])
def test_a_conflict_of_a_pair_that_is_no_more_needs_no_answer(worlds: Worlds, gone: Side) -> None:
    person, _ = customer(worlds, city="Delft")
    worlds.quiet()
    (contact,) = worlds.live(Side.CRM, "Contact")
    worlds.platform.person_edits(person, {"city": "Breda"})
    worlds.crm.person_edits(contact, {"City": "Gouda"})
    worlds.quiet()
    assert worlds.ledger.open_holds(type=HoldType.CONFLICT)
    worlds.system(gone).delete(contact if gone is Side.CRM else person)
    worlds.quiet()
    assert worlds.ledger.open_holds(type=HoldType.CONFLICT) == []


def test_a_message_that_lacked_a_value_comes_in_with_it_and_the_question_closes(worlds: Worlds) -> None:
    old = '    - {crm: Description, template: "{text}"}\n'
    mapped(worlds, old, old.replace("}\n", ", required: true}\n").replace('"{text}", ', '"{text}", '))
    _, conversation = customer(worlds)
    worlds.quiet()
    message = writes(worlds, conversation, "")
    worlds.quiet()
    assert [hold.type for hold in worlds.ledger.open_holds()] == [HoldType.REFUSED]
    worlds.platform.person_edits(message, {"text": "a caption"})
    worlds.quiet()
    assert (state(worlds, message), worlds.ledger.open_holds()) == (State.SYNCED, [])


# ---- records that go


def test_what_comes_after_a_conversations_record_was_deleted_lands_though_a_write_to_that_is_held(
    worlds: Worlds,
) -> None:
    _, conversation = customer(worlds)
    worlds.quiet()
    (thread,) = worlds.live(Side.CRM, "Thread")

    def refuse(write: Write) -> Rejected | None:
        if write.object == "Thread" and write.fields.get("Status") == "resolved":
            return Rejected("crm", "PICKLIST", "bad value")
        below = write.fields.get("Thread") if write.object == "Task" else None
        gone = below and worlds.crm.records[Ref("crm", "Thread", str(below))].latest.life is not Life.LIVE
        return Rejected("crm", "ENTITY_IS_DELETED", "the thread is deleted") if gone else None

    worlds.crm.refuse = refuse
    worlds.platform.person_edits(conversation, {"status": "resolved"})
    worlds.quiet()
    assert [hold.type for hold in worlds.ledger.open_holds()] == [HoldType.REFUSED]
    worlds.crm.delete(thread)
    message = writes(worlds, conversation, "anybody?")
    worlds.quiet()
    assert state(worlds, message) is State.SYNCED


def test_a_deleted_message_is_blanked_in_the_crm_whatever_its_lines_say_about_blanks(worlds: Worlds) -> None:
    mapped(worlds, "  object: Task\n", "  object: Task\n  deleted: blank\n")
    customer(worlds, text="my card is 1234")
    worlds.quiet()
    (message,) = worlds.live(Side.PLATFORM, "message")
    worlds.platform.person_edits(message, {"deleted": True, "text": ""})
    worlds.quiet()
    (task,) = worlds.live(Side.CRM, "Task").values()
    assert "1234" not in str(task)


def test_held_messages_that_name_a_merged_person_come_in_with_the_winner(worlds: Worlds) -> None:
    """As on Chatwoot: what was read before the merge names the loser for good, beyond the newest hundred."""
    known, _ = customer(worlds)
    worlds.quiet()
    for _ in range(2):
        worlds.crm.add("Contact", {"Name": "Bob", "Phone": TWO})
    loser = worlds.platform.add("person", {"name": "Bob", "phone": TWO, "identity_keys": ["instagram:9"]})
    conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=loser)
    message = writes(worlds, conversation, "it is me", person=str(loser))
    worlds.quiet()
    assert state(worlds, message) is State.HELD
    worlds.platform.merge(loser, known)
    worlds.quiet()
    assert (state(worlds, message), worlds.ledger.open_holds()) == (State.SYNCED, [])


def test_a_number_that_an_agent_types_while_another_persona_goes_is_hers_to_change(worlds: Worlds) -> None:
    """Two persons are one contact and agree on its number; one is deleted, and the other's number is changed at once."""
    (first, _), (second, _) = customer(worlds, phone="+31612345678"), customer(worlds, 2)
    worlds.quiet()
    contacts = {link.platform: link.crm for link in worlds.links(Kind.PERSON)}
    worlds.crm.merge(contacts[second], contacts[first])
    worlds.quiet()
    worlds.platform.delete(second)
    worlds.platform.person_edits(first, {"phone": TWO})
    worlds.quiet()
    assert (worlds.fields(first)["phone"], worlds.fields(contacts[first])["Phone"]) == (TWO, TWO)


# ---- filters


@pytest.mark.parametrize(
    ("after", "filters"),
    [
        (EVIDENCE, ONLY_VIPS),
        ("  object: Thread\n", ONLY_VIPS),
        ("  object: Thread\n", "  filters:\n    - {name: no Anns, when: {person.name: {is: Ann}}, take: false}\n"),
    ],
    ids=["persons by id", "conversations by id", "conversations by person"],
)
def test_a_filter_may_name_whatever_a_mapping_may_name(worlds: Worlds, after: str, filters: str) -> None:
    mapped(worlds, after, after + filters)
    customer(worlds)
    worlds.quiet()
    assert worlds.live(Side.CRM, "Task") == {}
    assert {fact.state for fact in worlds.facts().values() if fact.state} == {State.FILTERED}


def test_a_message_that_is_seen_before_its_conversation_is_filtered_by_what_that_shows(worlds: Worlds) -> None:
    ours = "    - {name: ours, when: {conversation.inbox: {is: Sales}}, take: true}\n"
    mapped(
        worlds, PRIVATE, PRIVATE + ours + "    - {name: others stay out, when: {id: {present: true}}, take: false}\n"
    )
    person = worlds.platform.add("person", {"name": "Ann", "identity_keys": ["instagram:1"]})
    thread = {"network": "instagram", "status": "open", "inbox": "Sales"}
    conversation = worlds.platform.add("conversation", thread, parent=person, late=timedelta(seconds=20))
    message = writes(worlds, conversation, "hello")
    worlds.engine.begin()
    worlds.engine.look_at([message], Side.PLATFORM)
    worlds.engine.round([(Side.CRM, "changes")], Report())
    worlds.quiet()
    assert state(worlds, message) is State.SYNCED, worlds.facts()[message].reason
