"""Chatwoot and a real Odoo: what people do on one side arrives on the other, exactly once. What stands in Odoo is read
through Odoo's own API, not through the adapter."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from bs4 import BeautifulSoup
from odoo_server import NOOR, Person

QUESTION = "Is my bike ready? <b>&amp;</b> 🚲"


def text(row: Any) -> str:
    """What a reader of the chatter sees."""
    return BeautifulSoup(row["body"], "html.parser").get_text()


def bodies(store: Any, partner: int) -> list[str]:
    return [text(row) for row in store.chatter(partner)]


def notes_under(store: Any, partner: int, comment: int) -> list[str]:
    return [text(row) for row in store.chatter(partner) if row["parent_id"] and row["parent_id"][0] == comment]


@pytest.fixture
def noor(store: Any) -> Person:
    """A salesperson; she is an agent in Chatwoot as well."""
    return store.server.person(NOOR)


@pytest.fixture
def talk(store: Any) -> tuple[int, int]:
    """A customer who asked something: the conversation and the contact."""
    conversation = store.customer("Lena Okafor", store.phone(), QUESTION)
    store.sync()
    return conversation, store.partner_of(conversation)


def test_a_message_stands_once_in_the_chatter_with_author_time_and_literal_text(store: Any, talk: Any) -> None:
    conversation, partner = talk
    (row,) = store.chatter(partner)
    assert row["body"] == "<p>Is my bike ready? &lt;b&gt;&amp;amp;&lt;/b&gt; 🚲</p>"
    assert row["author_id"][0] == partner
    message = store.agent("GET", f"conversations/{conversation}/messages")["payload"][-1]
    told = store.crm("mail.message", "search_read", [["id", "=", row["id"]]], ["date"])[0]["date"]
    assert told == _utc(message["created_at"])
    assert row["subtype_id"][1] == "Note"
    assert store.crm("mail.mail", "search_count", [["mail_message_id", "=", row["id"]]]) == 0
    again = store.sync()
    assert (again.planned, again.written) == (0, 0)
    assert len(store.chatter(partner)) == 1


def _utc(stamp: int) -> str:
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_an_agents_answer_has_the_agents_own_contact_as_its_author(store: Any, talk: Any) -> None:
    conversation, partner = talk
    agents = store.agent("GET", "agents")
    store.agent("POST", f"conversations/{conversation}/messages", content="It is!")
    store.sync()
    answer = store.chatter(partner)[-1]
    sent = store.agent("GET", f"conversations/{conversation}/messages")["payload"][-1]
    email = next(one["email"] for one in agents if one["id"] == sent["sender"]["id"])
    users = store.crm("res.users", "search_read", [["email", "=", email]], ["partner_id"])
    wanted = users[0]["partner_id"][0] if users else False
    assert (answer["author_id"] and answer["author_id"][0]) == wanted
    assert users or sent["sender"]["name"] in answer["email_from"]


def test_a_comment_of_a_colleague_reaches_the_customer_once_and_its_fate_stands_under_it(
    store: Any, talk: Any, noor: Person
) -> None:
    conversation, partner = talk
    comment = store.comment(partner, "Yes! Come by *before* {{ 18 }} o'clock_", noor)
    store.sync()
    store.sync()
    assert store.received(conversation) == ["Yes! Come by *before* {{ 18 }} o'clock_"]
    rows = store.chatter(partner)
    assert [row["id"] for row in rows].count(comment) == 1
    assert notes_under(store, partner, comment) == ["Delivered on whatsapp"]
    assert len(rows) == 3, "the question, the comment, and the note under it"
    assert store.account().keys() == {"synced"}
    quiet = store.sync()
    assert (quiet.planned, quiet.written) == (0, 0)
    assert len(store.received(conversation)) == 1


def test_an_agents_message_that_the_network_refused_says_so_in_the_chatter(store: Any, talk: Any) -> None:
    conversation, partner = talk
    store.control("delivery", message_id="next", status="failed", external_error="131047 - Re-engagement message")
    store.agent("POST", f"conversations/{conversation}/messages", content="A refund is on its way")
    store.sync()
    store.sync()
    assert bodies(store, partner)[-1] == "A refund is on its wayNot delivered: 131047 - Re-engagement message"


def test_log_notes_and_the_connectors_own_notes_never_go_out(store: Any, talk: Any, noor: Person) -> None:
    conversation, partner = talk
    store.comment(partner, "Customer is a regular", noor, subtype_xmlid="mail.mt_note")
    noor("res.partner", "write", [partner], {"function": "Cyclist"})
    store.comment(partner, "Posted by the connector's own user", store.server.person(store.server.bot))
    store.sync()
    assert store.received(conversation) == []


def test_a_reply_that_the_network_refuses_says_why_under_the_comment(store: Any, talk: Any, noor: Person) -> None:
    _conversation, partner = talk
    comment = store.comment(partner, "too late", noor)
    reason = "10 - This message is sent outside of allowed window."
    store.control("delivery", message_id="next", status="failed", external_error=reason)
    store.sync()
    store.sync()
    assert notes_under(store, partner, comment) == [f"Not delivered on whatsapp: {reason}"]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_reply_whose_answer_is_lost_arrives_once(store: Any, talk: Any, noor: Person, kind: str) -> None:
    conversation, partner = talk
    store.comment(partner, "only once", noor)
    store.control("faults", match={"method": "POST", "path": "/messages$"}, kind=kind, times=1)
    store.sync()
    store.sync()
    assert store.received(conversation) == ["only once"]


def test_of_two_open_conversations_the_one_with_the_newest_message_gets_the_reply(store: Any, noor: Person) -> None:
    phone = store.phone()
    first = store.customer("Lena Okafor", phone, "Hello?")
    store.sync()
    partner = store.partner_of(first)
    second = store.customer("lena", f"lena.{phone}", "Here as well", inbox="Instagram")
    store.sync()
    person = store.person_of(second)
    store.agent("PUT", f"contacts/{person}", email=f"lena.{phone}@mail.example")
    other = store.partner_of(second)
    store.server.merge(other, partner)
    store.sync()
    store.comment(partner, "Got both", noor)
    store.sync()
    assert (store.received(first), store.received(second)) == ([], ["Got both"])


def test_a_comment_without_an_open_conversation_is_held_and_goes_where_a_person_says(
    store: Any, talk: Any, noor: Person
) -> None:
    conversation, partner = talk
    store.agent("POST", f"conversations/{conversation}/toggle_status", status="resolved")
    store.sync()
    comment = store.comment(partner, "One more thing", noor)
    store.sync()
    assert store.received(conversation) == []
    (hold,) = [one for one in store.ledger.open_holds() if one.subject.id == str(comment)]
    assert hold.type.value == "conversation"
    assert notes_under(store, partner, comment) == ["Not sent yet: This contact has no open conversation."]
    store.decide(hold, f"chatwoot:conversation:{conversation}")
    store.sync()
    store.sync()
    assert store.received(conversation) == ["One more thing"]
    assert not [one for one in store.ledger.open_holds() if one.subject.id == str(comment)]


def test_a_held_comment_that_a_person_drops_is_told_and_never_sent(store: Any, talk: Any, noor: Person) -> None:
    conversation, partner = talk
    store.agent("POST", f"conversations/{conversation}/toggle_status", status="resolved")
    store.sync()
    comment = store.comment(partner, "Never mind", noor)
    store.sync()
    (hold,) = [one for one in store.ledger.open_holds() if one.subject.id == str(comment)]
    store.decide(hold, "drop")
    store.sync()
    assert notes_under(store, partner, comment)[-1] == "Not sent: dana decided: looked at both"
    assert store.received(conversation) == []


def test_merging_two_contacts_moves_the_link_and_loses_nothing(store: Any, talk: Any, noor: Person) -> None:
    conversation, loser = talk
    winner = store.crm("res.partner", "create", {"name": "Lena Okafor-Smit"})
    store.server.merge(loser, winner)
    assert bodies(store, winner) == [QUESTION], "Odoo has moved the note"
    contacts = store.crm("res.partner", "search_count", [])
    store.write_again(conversation, "Still there?")
    store.sync()
    store.sync()
    assert bodies(store, winner)[-1] == "Still there?"
    assert store.partner_of(conversation) == winner
    assert store.person(store.person_of(conversation))["name"] == "Lena Okafor-Smit"
    assert store.crm("res.partner", "search_count", []) == contacts, "the loser is not made again"
    store.comment(winner, "Yes", noor)
    store.sync()
    assert store.received(conversation) == ["Yes"]
    assert store.account().keys() == {"synced"}


def test_a_contact_deleted_in_odoo_is_not_made_again_and_nothing_is_deleted_on_the_platform(store: Any) -> None:
    conversation = store.customer("Gone Girl", store.phone(), "Hello")
    store.sync()
    partner = store.partner_of(conversation)
    store.crm("res.partner", "unlink", [partner])
    store.sync()
    store.write_again(conversation, "Anybody?")
    store.sync()
    assert store.crm("res.partner", "search_count", [["name", "=", "Gone Girl"]]) == 0
    person = store.person_of(conversation)
    (hold,) = [one for one in store.ledger.open_holds() if one.subject.id == str(person)]
    assert "deleted in the CRM" in hold.question
    store.decide(hold, "never")


def test_a_corrected_number_and_odoos_facts_reach_the_platform_and_tags_are_joined(
    store: Any, talk: Any, noor: Person
) -> None:
    conversation, partner = talk
    user = noor("res.users", "search", [["login", "=", NOOR]])[0]
    tag = store.crm("res.partner.category", "create", {"name": "loyal"})
    store.crm(
        "res.partner", "write", [partner], {"phone": "+31 6 9999 8888", "user_id": user, "category_id": [(4, tag)]}
    )
    person = store.person_of(conversation)
    store.agent("POST", f"contacts/{person}/labels", labels=["vip"])
    store.sync()
    shown = store.person(person)
    assert shown["phone_number"] == "+31699998888"
    assert shown["custom_attributes"]["crm_owner"] == "Noor Haddad"
    row = store.partner(partner, "phone", "category_id")
    assert row["phone"] == "+31 6 9999 8888", "as it was typed"
    tags = store.crm("res.partner.category", "read", row["category_id"], ["name"])
    assert sorted(one["name"] for one in tags) == ["loyal", "vip"]


def test_a_deleted_message_is_marked_and_an_edit_is_shown(store: Any, talk: Any) -> None:
    conversation, partner = talk
    message = store.agent("GET", f"conversations/{conversation}/messages")["payload"][-1]["id"]
    store.agent("DELETE", f"conversations/{conversation}/messages/{message}")
    store.sync()
    assert bodies(store, partner) == [f"[deleted] {QUESTION}"]


def test_a_known_contact_is_found_by_its_number_however_it_was_typed(store: Any) -> None:
    phone = store.phone()
    typed = f"+31 ({phone[2:4]}) {phone[4:7]} {phone[7:]}"
    partner = store.crm("res.partner", "create", {"name": "Piet Jansen", "phone": typed})
    conversation = store.customer("Piet", phone, "It is me")
    store.sync()
    assert store.partner_of(conversation) == partner
    assert bodies(store, partner) == ["It is me"]


def test_what_is_written_to_a_contact_without_a_platform_is_left_alone_even_when_it_gets_one(
    store: Any, noor: Person
) -> None:
    phone = store.phone()
    partner = store.crm("res.partner", "create", {"name": "Old Friend", "phone": f"+{phone}"})
    store.comment(partner, "An answer by mail, years ago", noor)
    store.sync()
    assert bodies(store, partner) == ["An answer by mail, years ago"]
    assert not [one for one in store.ledger.open_holds() if one.type.value == "conversation"]
    conversation = store.customer("Old Friend", phone, "Hi")
    store.sync()
    store.sync()
    assert store.partner_of(conversation) == partner
    assert store.received(conversation) == []
    assert not [one for one in store.ledger.open_holds() if one.type.value == "conversation"]


def test_a_merge_that_stamps_old_messages_anew_sends_none_of_them(store: Any, talk: Any, noor: Person) -> None:
    conversation, winner = talk
    loser = store.crm("res.partner", "create", {"name": "Lena O."})
    old = store.comment(loser, "An offer by mail", noor)
    with psycopg.connect(store.server.database_uri) as db:
        db.execute("UPDATE mail_message SET create_date = create_date - interval '1 day' WHERE id = %s", (old,))
    store.server.merge(loser, winner)
    store.sync()
    assert "An offer by mail" in bodies(store, winner)
    assert store.received(conversation) == []
    assert not [one for one in store.ledger.open_holds() if one.subject.id == str(old)]
