"""What is stored once a write has landed."""

import pytest

from connector.model import Action, Intent, IntentState, Kind, Life, Link, Op, Receipt, Ref, Side, Snapshot, State
from connector.sync.placeholders import placeholder
from connector.sync.settling import Landed, no_read_back, settlement

PERSON, CONTACT = Ref("platform", "person", "p1"), Ref("crm", "Contact", "c1")
TALK, MESSAGE = Ref("platform", "conversation", "t1"), Ref("platform", "message", "m1")
LINK = Link(1, Kind.PERSON, PERSON, CONTACT)


def landed(op, side, kind, subject, fields, receipt, target=None, after=None):
    object_ = {Kind.PERSON: "Contact", Kind.MESSAGE: "Task", Kind.REPLY: "message"}[kind]
    action = Action("u", op, side, kind, object_, fields, subject, subject, target, after=after or {})
    return Landed(Intent(7, action, IntentState.SENDING, "token-1"), receipt, fields)


def settle(rows, one, links=(), table=None):
    return settlement(one, rows.mapping, rows.facts, links, lambda kind, ref: (table or {}).get((kind, ref)))


def update(fields, after, shown, side=Side.CRM):
    target = CONTACT if side is Side.CRM else PERSON
    return landed(Op.UPSERT, side, Kind.PERSON, PERSON, fields, Receipt(target, fields=shown), target, after)


@pytest.fixture
def known(rows):
    rows.person(phone="+31612345678")
    rows.crm("Contact", "c1", Name="Ann", Phone="")
    return rows


def test_what_the_crm_shows_when_read_back_is_remembered_not_what_was_sent(known):
    after = {Side.PLATFORM: {"Company~company": "Acme"}, Side.CRM: {"Company~company": "Acme"}}
    done = settle(known, update({"Company": "Acme"}, after, {"Company": "ACME", "City": "Delft"}), [LINK])
    assert {one.side: (one.fields, one.unread) for one in done.snapshots} == {
        Side.PLATFORM: ({"Company~company": "Acme"}, ()),
        Side.CRM: ({"Company~company": "ACME"}, ()),
    }
    (fact,) = done.facts
    assert (fact.fields["Company"], fact.version) == ("ACME", "v1")


def test_without_a_read_back_the_sent_values_stand_as_unread(known):
    after = {Side.PLATFORM: {"Company~company": "Acme"}, Side.CRM: {"Company~company": "Acme"}}
    done = settle(known, update({"Company": "Acme"}, after, None), [LINK])
    assert {one.side: one.unread for one in done.snapshots} == {Side.PLATFORM: (), Side.CRM: ("Company~company",)}


def test_a_write_to_the_platform_leaves_nothing_unread_in_the_crm(known):
    after = {Side.PLATFORM: {"City~city": "Delft"}, Side.CRM: {"City~city": "Delft"}}
    done = settle(known, update({"city": "Delft"}, after, None, Side.PLATFORM), [LINK])
    assert all(one.unread == () for one in done.snapshots)


def test_a_new_task_is_linked_and_its_message_is_synced(rows):
    message = rows.message(rows.conversation(rows.person()))
    after = {Side.PLATFORM: {"Contact~person": placeholder(Kind.PERSON, PERSON)}, Side.CRM: {}}
    receipt = Receipt(Ref("crm", "Task", "k1"), True)
    one = landed(
        Op.UPSERT, Side.CRM, Kind.MESSAGE, message, {"Description": "hello", "Contact": "c1"}, receipt, None, after
    )
    done = settle(rows, one, table={(Kind.PERSON, PERSON): CONTACT})
    (link,) = done.links
    assert (link.kind, link.platform, link.crm) == (Kind.MESSAGE, message, receipt.ref)
    assert link.snapshots[0].fields == {"Contact~person": "c1"}
    assert done.states[message][0] is State.SYNCED
    assert [(fact.ref, fact.dirty) for fact in done.facts] == [(receipt.ref, False)]


def test_a_sent_reply_becomes_a_message_of_its_own_that_is_still_to_be_planned(rows):
    talk = rows.conversation(rows.person())
    reply = rows.crm("Outbound", "o1", Body="hi", Status="Queued")
    one = landed(
        Op.SEND, Side.PLATFORM, Kind.REPLY, reply, {"text": "hi"}, Receipt(MESSAGE, True, fields={"text": "hi"}), talk
    )
    done = settle(rows, one)
    assert [(link.kind, link.platform, link.crm) for link in done.links] == [(Kind.REPLY, MESSAGE, reply)]
    (fact,) = done.facts
    assert (fact.ref, fact.parent, fact.token, fact.state, fact.dirty) == (MESSAGE, talk, "token-1", State.OPEN, True)


def test_a_removed_task_is_gone_and_its_message_erased(rows):
    message = rows.message(rows.conversation(rows.person()))
    task = rows.crm("Task", "k1", Description="hello")
    done = settle(rows, landed(Op.REMOVE, Side.CRM, Kind.MESSAGE, message, {}, Receipt(task), task))
    assert done.states[message][0] is State.ERASED
    assert [(fact.ref, fact.life) for fact in done.facts] == [(task, Life.GONE)]


def test_a_write_for_one_persona_takes_from_the_others_what_waits_to_be_read_back():
    waiting = {
        Side.CRM: Snapshot(
            1, Side.CRM, {"Company~company": "Acme", "City~city": "Delft"}, ("Company~company", "Name~name")
        )
    }
    read = {Side.CRM: Snapshot(2, Side.CRM, {"City~city": "Delft"})}
    assert no_read_back([waiting, read, {}]) == (Snapshot(1, Side.CRM, {"Company~company": "Acme"}),)
