"""From rows to a plan: who gets a record, what is held, what waits, and what must never be made again."""

import pytest

from connector.model import HoldType, Kind, Life, Op, Ref, Side, State
from connector.sync.identity import Candidate
from connector.sync.placeholders import MARK

PERSON, TALK, MESSAGE = (
    Ref("platform", kind, id_) for kind, id_ in (("person", "p1"), ("conversation", "t1"), ("message", "m1"))
)
CONTACT, THREAD, TASK = Ref("crm", "Contact", "c1"), Ref("crm", "Thread", "h1"), Ref("crm", "Task", "k1")


def writes(entries, kind=None):
    return [(one.op, one.side, one.kind) for one in entries.intents if kind in (None, one.kind)]


def by_kind(entries, kind, side=Side.CRM):
    return next(one for one in entries.intents if (one.kind, one.side) == (kind, side))


# ---- messages and the persons they need


def test_a_strangers_first_message_makes_contact_identity_thread_and_task_in_that_order(rows):
    person = rows.person(email="ann@x.example")
    rows.put(Side.PLATFORM, "identity", "instagram:7", person, network="instagram", handle="@Ann")
    message = rows.message(rows.conversation(person))
    entries = rows.plan(message)
    assert writes(entries) == [
        (Op.UPSERT, Side.CRM, kind) for kind in (Kind.PERSON, Kind.IDENTITY, Kind.CONVERSATION, Kind.MESSAGE)
    ]
    assert [one.key for one in entries.intents] == [
        ("Key", "main:p1"),
        ("Key", "instagram:7"),
        ("Key", "main:t1"),
        ("Key", "main:m1"),
    ]
    assert by_kind(entries, Kind.MESSAGE).fields["Thread"][MARK] == str(TALK)
    assert by_kind(entries, Kind.IDENTITY).fields["Contact"][MARK] == str(PERSON)
    assert message in entries.clean


def test_a_message_of_a_known_person_and_thread_is_one_write_with_their_ids(linked):
    entries = linked.plan(linked.message(TALK))
    task = by_kind(entries, Kind.MESSAGE)
    assert (task.fields["Contact"], task.fields["Thread"]) == ("c1", "h1")
    assert writes(entries, Kind.PERSON) == []


def test_a_message_that_a_filter_keeps_out_is_told_by_which_and_makes_nothing(rows):
    message = rows.message(rows.conversation(rows.person()), private=True)
    entries = rows.plan(message)
    assert entries.states == {message: (State.FILTERED, "private notes stay out")}
    assert not entries.intents


def test_a_message_deleted_before_it_was_synced_makes_nothing(rows):
    message = rows.message(rows.conversation(rows.person()), deleted=True)
    entries = rows.plan(message)
    assert entries.states[message][0] is State.ERASED
    assert not entries.intents


def test_a_message_whose_conversation_is_nowhere_to_be_found_is_held(rows):
    message = rows.message(Ref("platform", "conversation", "lost"))
    assert rows.plan(message).states[message][0] is State.HELD


def test_a_message_of_a_person_who_was_not_looked_up_yet_waits(rows):
    message = rows.message(rows.conversation(rows.person()))
    rows.candidates.clear()
    entries = rows.plan(message)
    assert not entries.intents
    assert message not in entries.clean


def test_a_doubtful_person_is_asked_about_and_the_message_is_held_with_it(rows):
    person = rows.person(email="ann@x.example")
    rows.candidates[person] = [
        Candidate(Ref("crm", "Contact", id_), {"Email": "ann@x.example"}) for id_ in ("c1", "c2")
    ]
    message = rows.message(rows.conversation(person))
    entries = rows.plan(message)
    (hold,) = entries.holds
    assert (hold.type, hold.subject) == (HoldType.IDENTITY, person)
    assert [one["ref"] for one in hold.details["candidates"]] == ["crm:Contact:c1", "crm:Contact:c2"]
    assert entries.states[message] == (State.HELD, f"identity of {person}")
    assert not entries.intents


def test_a_question_tells_the_candidates_apart_by_what_the_mapping_reads_of_them(rows):
    person = rows.person(email="ann@x.example")
    shown = {"Name": "Ann Visser", "Email": "ann@x.example", "Phone": None, "Company": "Visser BV"}
    rows.candidates[person] = [
        Candidate(Ref("crm", "Contact", "c1"), {**shown, "Key": "main:9", "Salary": 1}),
        Candidate(Ref("crm", "Contact", "c2"), {"Email": "ann@x.example"}),
    ]
    (hold,) = rows.plan(rows.message(rows.conversation(person))).holds
    assert [one["shows"] for one in hold.details["candidates"]] == [
        {"Name": "Ann Visser", "Email": "ann@x.example", "Company": "Visser BV"},
        {"Email": "ann@x.example"},
    ]


def test_a_strong_candidate_is_linked_with_the_reasons_and_its_blanks_are_filled(rows):
    person = rows.person(email="ann@x.example", city="Delft")
    contact = rows.crm("Contact", "c9", Name="Ann V.", Email="ann@x.example", City=None)
    rows.candidates[person] = [Candidate(contact, {"Email": "ann@x.example"})]
    entries = rows.plan(rows.message(rows.conversation(person)))
    (link,) = entries.links
    assert (link.kind, link.platform, link.crm) == (Kind.PERSON, person, contact)
    assert link.why == ("email agrees (+80)",)
    update = by_kind(entries, Kind.PERSON)
    assert (update.target, dict(update.fields)) == (contact, {"City": "Delft"})
    assert by_kind(entries, Kind.MESSAGE).fields["Contact"] == "c9"


def test_two_chats_of_one_customer_in_one_batch_make_one_contact_and_the_second_waits(rows):
    first, second = (rows.person(id_, email="ann@x.example") for id_ in ("p1", "p2"))
    one = rows.message(rows.conversation(first, "t1"), "m1")
    two = rows.message(rows.conversation(second, "t2"), "m2")
    entries = rows.plan(one, two)
    assert [action.subject for action in entries.intents if action.kind is Kind.PERSON] == [first]
    assert one in entries.clean
    assert two not in entries.clean


@pytest.mark.parametrize(("nobody", "state", "holds"), [("skip", State.FILTERED, 0), ("hold", State.HELD, 1)])
def test_a_person_nobody_knows_is_treated_as_the_mapping_says(rows_with, nobody, state, holds):
    rows = rows_with({"persons:\n": f"persons:\n  nobody: {nobody}\n"})
    message = rows.message(rows.conversation(rows.person()))
    entries = rows.plan(message)
    assert entries.states[message][0] is state
    assert len(entries.holds) == holds
    assert not entries.intents


@pytest.mark.parametrize(
    ("choice", "link", "made", "state"),
    [
        ("create", None, True, None),
        ("never", None, False, State.FILTERED),
        ("crm:Contact:c1", CONTACT, True, None),
    ],
)
def test_a_persons_choice_about_an_identity_is_followed(rows, choice, link, made, state):
    person = rows.person()
    rows.crm("Contact", "c1", Name="Ann")
    rows.hold(HoldType.IDENTITY, person, choice, ended=None)
    message = rows.message(rows.conversation(person))
    entries = rows.plan(message)
    assert [one.crm for one in entries.links] == ([link] if link else [])
    assert bool(writes(entries, Kind.MESSAGE)) is made
    assert entries.states.get(message, (None,))[0] is state


def test_a_chosen_record_that_is_gone_is_asked_about_again(rows):
    person = rows.person()
    rows.crm("Contact", "c1", life=Life.GONE)
    rows.hold(HoldType.IDENTITY, person, "crm:Contact:c1", ended=None)
    message = rows.message(rows.conversation(person))
    entries = rows.plan(message)
    assert entries.states[message][0] is State.HELD
    assert len(entries.holds) == 1
    assert not entries.links


def test_a_write_under_way_on_the_person_keeps_her_dirty_and_lets_the_message_wait_for_it(rows):
    person = rows.person()
    rows.busy.add(person)
    message = rows.message(rows.conversation(person))
    entries = rows.plan(message)
    assert by_kind(entries, Kind.MESSAGE).fields["Contact"][MARK] == str(person)
    assert writes(entries, Kind.PERSON) == []


# ---- edits of linked records


def test_an_edited_and_a_deleted_message_update_their_task(linked):
    task = linked.crm("Task", "k1", Subject="<- hello", Description="hello", Contact="c1", Thread="h1")
    linked.link(Kind.MESSAGE, linked.message(TALK), task)
    linked.edit(MESSAGE, text="hello again", edited=True)
    edited = by_kind(linked.plan(MESSAGE), Kind.MESSAGE)
    assert (edited.target, edited.fields["Description"]) == (TASK, "hello again")
    linked.edit(MESSAGE, deleted=True)
    deleted = by_kind(linked.plan(MESSAGE), Kind.MESSAGE)
    assert deleted.fields["State"].startswith("[deleted]")


@pytest.mark.parametrize(
    ("mode", "op", "text"), [("mark", Op.UPSERT, None), ("blank", Op.UPSERT, None), ("remove", Op.REMOVE, None)]
)
def test_a_message_deleted_on_its_network_is_treated_as_the_mapping_says(rows_with, mode, op, text):
    rows = rows_with({"  object: Task\n": f"  object: Task\n  deleted: {mode}\n"})
    person = rows.person()
    rows.link(Kind.PERSON, person, rows.crm("Contact", "c1", Name="Ann"))
    talk = rows.conversation(person)
    rows.link(Kind.CONVERSATION, talk, rows.crm("Thread", "h1", Contact="c1", Status="open"))
    message = rows.message(talk)
    rows.link(Kind.MESSAGE, message, rows.crm("Task", "k1", Description="hello"))
    rows.edit(message, deleted=True)
    action = by_kind(rows.plan(message), Kind.MESSAGE)
    assert (action.op, action.target) == (op, TASK)


def test_a_record_that_vanished_from_the_platform_counts_as_a_deleted_message(linked):
    linked.link(
        Kind.MESSAGE, linked.message(TALK), linked.crm("Task", "k1", Description="hello", Contact="c1", Thread="h1")
    )
    linked.edit(MESSAGE, life=Life.GONE)
    assert by_kind(linked.plan(MESSAGE), Kind.MESSAGE).fields["State"].startswith("[deleted]")


def test_a_conflict_is_asked_about_and_nothing_is_written(linked):
    linked.edit(PERSON, city="Breda")
    linked.edit(CONTACT, City="Gouda")
    entries = linked.plan(PERSON)
    (hold,) = entries.holds
    assert (hold.type, hold.field, hold.details["platform"], hold.details["crm"]) == (
        HoldType.CONFLICT,
        "City~city",
        "Breda",
        "Gouda",
    )
    assert not entries.intents


@pytest.mark.parametrize(
    ("choice", "side", "field", "value"),
    [("crm", Side.PLATFORM, "city", "Gouda"), ("platform", Side.CRM, "City", "Breda")],
)
def test_a_settled_conflict_is_written_as_long_as_both_sides_show_what_was_settled(linked, choice, side, field, value):
    linked.edit(PERSON, city="Breda")
    linked.edit(CONTACT, City="Gouda")
    linked.hold(HoldType.CONFLICT, PERSON, choice, "City~city", platform="Breda", crm="Gouda")
    assert by_kind(linked.plan(PERSON), Kind.PERSON, side).fields == {field: value}
    linked.edit(CONTACT, City="Leiden")
    assert len(linked.plan(PERSON).holds) == 1


def test_a_conflict_that_went_away_closes_its_hold(linked):
    hold = linked.hold(HoldType.CONFLICT, PERSON, None, "City~city", kind="person")
    linked.edit(PERSON, city="Breda")
    linked.edit(CONTACT, City="Breda")
    assert [one[0] for one in linked.plan(PERSON).closed_holds] == [hold.id]


def test_labels_added_on_both_sides_are_written_to_both(linked):
    linked.edit(PERSON, tags=["late", "vip"])
    linked.edit(CONTACT, Labels="new;vip")
    entries = linked.plan(PERSON)
    assert by_kind(entries, Kind.PERSON).fields == {"Labels": "late;new;vip"}
    assert by_kind(entries, Kind.PERSON, Side.PLATFORM).fields == {"tags": ["late", "new", "vip"]}


def test_a_change_in_the_crm_is_planned_through_the_linked_person(linked):
    linked.edit(CONTACT, City="Gouda")
    entries = linked.plan(CONTACT)
    assert by_kind(entries, Kind.PERSON, Side.PLATFORM).fields == {"city": "Gouda"}
    assert CONTACT in entries.clean


def test_nothing_is_planned_on_a_pair_with_a_write_under_way(linked):
    linked.edit(PERSON, city="Breda")
    linked.busy.add(CONTACT)
    entries = linked.plan(PERSON)
    assert not entries.intents
    assert PERSON not in entries.clean


def test_a_second_plan_without_news_is_empty(linked):
    entries = linked.plan(PERSON, CONTACT, TALK, THREAD)
    assert [*entries.intents, *entries.links, *entries.holds, *entries.ended, *entries.states] == []


def test_the_same_rows_give_the_same_plan(linked):
    linked.edit(PERSON, city="Breda", tags=[])
    message = linked.message(TALK)
    assert linked.plan(PERSON, message) == linked.plan(PERSON, message)


# ---- two personas of one contact


def test_an_email_address_stays_with_the_persona_that_has_it(linked):
    other = linked.person("p2")
    linked.link(Kind.PERSON, other, CONTACT, agreed=False)
    entries = linked.plan(other)
    assert all("email" not in action.fields for action in entries.intents if action.side is Side.PLATFORM)
    assert [action.fields for action in entries.intents] == [{"city": "Delft", "tags": ["vip"]}]


# ---- ended, moved and deleted


def test_a_person_whose_contact_was_deleted_is_unlinked_and_asked_about_never_made_again(linked):
    linked.edit(CONTACT, life=Life.GONE)
    assert [id_ for id_, _ in linked.plan(CONTACT).ended] == [1]
    message = linked.message(TALK)
    entries = linked.plan(message)
    assert writes(entries, Kind.PERSON) == []
    assert entries.states[message][0] is State.HELD
    assert [hold.type for hold in entries.holds] == [HoldType.IDENTITY]


def test_making_a_deleted_contact_again_is_another_write_than_making_it_first(rows):
    """The key of a write is unique for ever: were it the same one, the journal would skip the second creation."""
    person = rows.person()
    message = rows.message(rows.conversation(person))
    first = by_kind(rows.plan(message), Kind.PERSON)
    tombstone = rows.link(Kind.PERSON, person, CONTACT, active=False)
    rows.hold(HoldType.IDENTITY, person, "create", ended=tombstone.id)
    again = by_kind(rows.plan(message), Kind.PERSON)
    assert (again.fields, again.key, again.target) == (first.fields, first.key, None)
    assert again.unique != first.unique


@pytest.mark.parametrize("kind", [Kind.CONVERSATION, Kind.MESSAGE])
def test_a_record_that_was_deleted_in_the_crm_is_not_made_again(rows, kind):
    person = rows.person()
    rows.link(Kind.PERSON, person, rows.crm("Contact", "c1", Name="Ann"))
    talk = rows.conversation(person)
    message = rows.message(talk)
    rows.link(Kind.CONVERSATION, talk, THREAD, active=kind is not Kind.CONVERSATION, agreed=False)
    rows.link(Kind.MESSAGE, message, TASK, active=kind is not Kind.MESSAGE, agreed=False)
    entries = rows.plan(talk, message)
    assert not [action for action in entries.intents if action.kind is kind and action.target is None]
    if kind is Kind.MESSAGE:
        assert entries.states[message][0] is State.ERASED


def test_a_task_deleted_in_the_crm_ends_its_link_and_the_message_is_erased(linked):
    task = linked.crm("Task", "k1", Description="hello")
    linked.link(Kind.MESSAGE, linked.message(TALK), task)
    linked.edit(task, life=Life.GONE)
    entries = linked.plan(task)
    assert [id_ for id_, _ in entries.ended] == [3]
    assert entries.states[MESSAGE][0] is State.ERASED


def test_the_question_who_a_deleted_person_is_closes_once(rows):
    person = rows.person()
    rows.hold(HoldType.IDENTITY, person)
    rows.edit(person, life=Life.GONE)
    entries = rows.plan(person, rows.put(Side.PLATFORM, "identity", "instagram:1", parent=person))
    assert [id_ for id_, *_ in entries.closed_holds] == [1]


def test_a_conversation_deleted_on_the_platform_is_written_to_no_more_and_keeps_its_record(linked):
    linked.edit(TALK, life=Life.GONE)
    linked.edit(THREAD, Status="resolved")
    entries = linked.plan(TALK, THREAD)
    assert (entries.intents, entries.ended) == ([], [])


@pytest.mark.parametrize(
    ("life", "into", "ended", "moved"),
    [(Life.GONE, None, [1], []), (Life.MERGED, Ref("crm", "Contact", "c2"), [], [1])],
)
def test_a_write_that_is_held_does_not_keep_a_deletion_or_merge_from_being_followed(linked, life, into, ended, moved):
    linked.crm("Contact", "c2", Name="Ann")
    linked.edit(CONTACT, life=life, merged_into=into)
    linked.busy.add(PERSON)
    entries = linked.plan(CONTACT)
    assert ([id_ for id_, _ in entries.ended], [id_ for id_, *_ in entries.moved]) == (ended, moved)


def test_an_identity_record_deleted_in_the_crm_ends_its_link_even_when_the_person_has_no_contact_any_more(rows):
    person = rows.person()
    rows.link(Kind.PERSON, person, CONTACT, active=False)
    identity = rows.put(Side.PLATFORM, "identity", "instagram:7", person, network="instagram")
    record = rows.crm("Identity", "i1", life=Life.GONE)
    link = rows.link(Kind.IDENTITY, identity, record, agreed=False)
    assert [id_ for id_, _ in rows.plan(record).ended] == [link.id]


def test_the_link_moves_when_the_contact_was_merged_and_the_loser_is_not_made_again(linked):
    winner = linked.crm("Contact", "c2", Name="Ann")
    linked.edit(CONTACT, life=Life.MERGED, merged_into=winner)
    message = linked.message(TALK)
    entries = linked.plan(CONTACT, message)
    assert [(id_, crm) for id_, crm, _ in entries.moved] == [(1, winner)]
    # What the loser showed says nothing about the winner.
    assert [(one.side, one.fields) for one in entries.snapshots if one.link == 1] == [(Side.CRM, {})]
    assert not entries.ended
    assert by_kind(entries, Kind.MESSAGE).fields["Contact"] == "c2"
    assert PERSON in entries.redo


def test_a_person_who_vanished_from_the_platform_is_unlinked_and_the_contact_stays(linked):
    linked.edit(PERSON, life=Life.GONE)
    entries = linked.plan(PERSON)
    assert [id_ for id_, _ in entries.ended] == [1]
    assert not entries.intents


# ---- replies


def reply(rows, id_="o1", **fields):
    return rows.crm("Outbound", id_, **{"Thread": "h1", "Body": "we are on it", "Status": "Queued", **fields})


def test_a_queued_reply_is_sent_into_its_conversation_once_for_ever(linked):
    ref = reply(linked)
    (action,) = linked.plan(ref).intents
    assert (action.op, action.side, action.target, action.fields) == (
        Op.SEND,
        Side.PLATFORM,
        TALK,
        {"text": "we are on it"},
    )
    assert action.lane == str(TALK)
    linked.edit(ref, Body="we are really on it")
    assert linked.plan(ref).intents[0].unique == action.unique


@pytest.mark.parametrize("status", ["Draft", "Sent", None])
def test_a_reply_that_is_not_queued_is_left_alone(linked, status):
    assert not linked.plan(reply(linked, Status=status)).intents


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"Body": "  "}, "has no text"), ({"Thread": "h9"}, "not known"), ({"Thread": None}, "not known")],
)
def test_a_reply_that_cannot_be_sent_is_told_so_in_the_crm(linked, fields, error):
    ref = reply(linked, **fields)
    (action,) = linked.plan(ref).intents
    assert (action.op, action.side, action.target) == (Op.UPSERT, Side.CRM, ref)
    assert action.fields["Status"] == "Failed"
    assert error in action.fields["Error"]


def test_a_deleted_reply_is_not_sent(linked):
    assert not linked.plan(reply(linked, life=Life.GONE)).intents


def test_a_reply_into_a_thread_that_was_unlinked_fails(linked):
    linked.links[1] = linked.links[1].__class__(2, Kind.CONVERSATION, TALK, THREAD, False)
    assert linked.plan(reply(linked)).intents[0].fields["Status"] == "Failed"


def test_the_fate_of_a_sent_reply_comes_back_onto_its_record(linked):
    ref = reply(linked)
    message = linked.message(TALK, direction="outbound", text="we are on it", delivery="delivered")
    linked.link(Kind.REPLY, message, ref, agreed=False)
    outcome = by_kind(linked.plan(message), Kind.REPLY)
    assert (outcome.target, outcome.fields["Status"], outcome.fields["Message"]) == (ref, "Delivered", "main:m1")


def test_a_sent_reply_is_never_sent_again(linked):
    ref = reply(linked)
    linked.link(Kind.REPLY, linked.message(TALK, direction="outbound"), ref, agreed=False)
    assert not [action for action in linked.plan(ref).intents if action.op is Op.SEND]
