"""What people do on one side arrives on the other, exactly once, over real HTTP."""

from typing import Any

import pytest


def messages(office: Any, conversation: int) -> list[dict[str, Any]]:
    return office.agent("GET", f"conversations/{conversation}/messages")["payload"]


def link_of(office: Any, kind: str, platform: str) -> Any:
    from connector.model import Kind, Ref

    links = office.ledger.links_of([Ref.parse(platform)], kinds=[Kind(kind)])
    active = [one for one in links if one.active]
    assert len(active) == 1, links
    return active[0]


def test_every_sample_message_is_in_one_state_and_a_second_sync_writes_nothing(shop: Any) -> None:
    shop.sync()
    account = shop.account()
    assert sum(account.values()) == shop.ledger.seen()
    assert "open" not in account
    before = shop.crm_stats()["writes"]
    second = shop.sync()
    assert (second.planned, second.written) == (0, 0)
    assert shop.crm_stats()["writes"] == before


def test_a_person_on_two_networks_is_one_contact_and_the_ambiguous_one_is_held(shop: Any) -> None:
    shop.sync()
    jet = shop.record("Contact", FirstName="Jet", LastName="de Boer")
    identities = [row for row in shop.records("Social_Identity__c") if row.get("Contact__c") == jet["Id"]]
    assert {row["Network__c"] for row in identities} == {"instagram", "whatsapp"}
    holds = shop.ledger.open_holds()
    assert [hold.type.value for hold in holds] == ["identity"]
    assert len(holds[0].details["candidates"]) == 2


def test_a_reply_typed_in_the_crm_reaches_the_customer_once_and_its_delivery_comes_back(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Is it ready?")
    office.sync()
    reply = office.reply(thread, "Yes! Come by *before* {{ 18 }} o'clock_")
    office.sync()
    office.sync()
    assert office.received(thread) == ["Yes! Come by *before* {{ 18 }} o'clock_"]
    assert office.outbound(reply)["Status__c"] == "Delivered"
    tasks = office.timeline(thread)
    assert [row["SMM_Direction__c"] for row in tasks] == ["Inbound", "Outbound"]
    assert tasks[1]["Description"] == "Yes! Come by *before* {{ 18 }} o'clock_"
    office.sync()
    assert len(office.received(thread)) == 1


def test_replies_of_a_conversation_arrive_in_the_order_in_which_they_were_written(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    for number in range(5):
        office.reply(thread, f"answer {number}")
    office.sync()
    assert office.received(thread) == [f"answer {number}" for number in range(5)]


def test_a_reply_that_the_network_refuses_is_failed_with_the_networks_reason(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    reply = office.reply(thread, "too late")
    office.control(
        "delivery",
        message_id="next",
        status="failed",
        external_error="10 - This message is sent outside of allowed window.",
    )
    office.sync()
    office.sync()
    row = office.outbound(reply)
    assert row["Status__c"] == "Failed"
    assert "outside of allowed window" in row["Error__c"]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_reply_whose_answer_is_lost_is_looked_for_and_arrives_once(office: Any, kind: str) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    reply = office.reply(thread, "only once")
    office.control("faults", match={"method": "POST", "path": "/messages$"}, kind=kind, times=1)
    office.sync()
    office.sync()
    assert office.received(thread) == ["only once"]
    assert office.outbound(reply)["Status__c"] in ("Sent", "Delivered")


def test_a_text_that_is_only_blank_is_told_to_be_failed_and_never_sent(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    reply = office.reply(thread, "   \n ")
    office.sync()
    assert office.received(thread) == []
    assert office.outbound(reply)["Status__c"] == "Failed"


def test_a_corrected_phone_number_goes_to_the_platform_and_crm_facts_with_it(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    person = office.conversation(thread)["meta"]["sender"]["id"]
    contact = link_of(office, "person", f"chatwoot:person:{person}").crm.id
    office.crm("PATCH", f"sobjects/Contact/{contact}", Phone="+31 6 9999 8888")
    office.sync()
    shown = office.person(person)
    assert shown["phone_number"] == "+31699998888"
    assert shown["identifier"] == contact
    assert shown["custom_attributes"]["crm_owner"]


def test_closing_in_the_crm_resolves_and_a_customer_who_writes_again_reopens(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    row = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{row['Id']}", Status__c="resolved")
    office.sync()
    assert office.conversation(thread)["status"] == "resolved"
    office.customer("Noa Quint", "31612345678", "One more thing", conversation=thread)
    office.sync()
    row = office.record("Social_Conversation__c", Id=row["Id"])
    assert (row["Status__c"], int(row["Message_Count__c"])) == ("open", 2)


def test_both_sides_change_the_priority_and_the_rule_and_the_losing_value_are_told(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    row = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{row['Id']}", Priority__c="urgent")
    office.agent("POST", f"conversations/{thread}/toggle_priority", priority="low")
    office.sync()
    assert office.conversation(thread)["priority"] == "urgent"
    told = [one.row.decision for one in office.ledger.conflicts(50) if one.row.decision.field.startswith("Priority")]
    assert [(one.rule, one.value, one.lost) for one in told] == [("crm", "urgent", "low")]


def test_labels_added_on_both_sides_are_joined(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    row = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{row['Id']}", Labels__c="vip")
    office.agent("POST", f"conversations/{thread}/labels", labels=["repair"])
    office.sync()
    assert sorted(office.conversation(thread)["labels"]) == ["repair", "vip"]
    shown = office.record("Social_Conversation__c", Id=row["Id"])["Labels__c"]
    assert sorted(shown.split(";")) == ["repair", "vip"]


def test_an_edited_and_a_deleted_message_are_marked_on_the_same_task(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "I live in Delft")
    office.customer("Noa Quint", "31612345678", "and my secret is 42")
    office.sync()
    first, second = [one["id"] for one in messages(office, thread) if one["message_type"] == 0]
    office.control("network/edit", message_id=first, text="I live in Den Haag")
    office.control("network/delete", message_id=second)
    office.sync()
    tasks = office.timeline(thread)
    assert len(tasks) == 2
    assert "[edited]" in tasks[0]["Subject"]
    assert tasks[0]["Description"] == "I live in Den Haag"
    assert "[deleted]" in tasks[1]["Subject"]
    assert tasks[1]["Description"] == "and my secret is 42"


def test_a_task_deleted_in_the_crm_is_not_made_again(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Forget me")
    office.sync()
    office.crm("DELETE", f"sobjects/Task/{office.timeline(thread)[0]['Id']}")
    office.sync()
    message = next(one["id"] for one in messages(office, thread) if one["message_type"] == 0)
    office.control("network/edit", message_id=message, text="Forget me please")
    office.sync()
    assert office.timeline(thread) == []
    assert office.account()["erased"] == 1


def test_a_contact_deleted_in_the_crm_is_unlinked_and_new_messages_are_held(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    person = office.conversation(thread)["meta"]["sender"]["id"]
    contact = link_of(office, "person", f"chatwoot:person:{person}").crm.id
    held = office.account().get("held", 0)
    office.crm("DELETE", f"sobjects/Contact/{contact}")
    office.sync()
    office.customer("Noa Quint", "31612345678", "Still there?")
    office.sync()
    assert office.account()["held"] == held + 1
    assert not [row for row in office.records("Contact") if row.get("LastName") == "Quint"]


def test_contacts_merged_in_the_crm_take_the_link_along_and_new_messages_land_on_the_winner(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    person = office.conversation(thread)["meta"]["sender"]["id"]
    loser = link_of(office, "person", f"chatwoot:person:{person}").crm.id
    winner = office.crm("POST", "sobjects/Contact", LastName="Quint", FirstName="Noa", Email="noa@quint.example")["id"]
    office.crm_control("merge", object="Contact", winner=winner, losers=[loser])
    office.customer("Noa Quint", "31612345678", "Did you merge me?")
    office.sync()
    assert link_of(office, "person", f"chatwoot:person:{person}").crm.id == winner
    assert {row["WhoId"] for row in office.timeline(thread)} == {winner}
    assert [row["Id"] for row in office.records("Contact") if row.get("LastName") == "Quint"] == [winner]
    assert office.person(person)["identifier"] == winner


def test_a_converted_lead_is_followed_to_its_contact(office: Any) -> None:
    lead = office.crm("POST", "sobjects/Lead", LastName="Quint", Company="Quint BV", Phone="+31 6 1234 5678")["id"]
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.agent(
        "PATCH", f"contacts/{office.conversation(thread)['meta']['sender']['id']}", phone_number="+31612345678"
    )
    office.sync()
    assert {row["WhoId"] for row in office.timeline(thread)} == {lead}
    contact = office.crm_control("convert", lead=lead)["contact"]
    office.customer("Noa Quint", "31612345678", "Am I a customer now?")
    office.sync()
    assert office.timeline(thread)[-1]["WhoId"] == contact
    row = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")
    assert (row.get("Contact__c"), row.get("Lead__c")) == (contact, None)


def test_an_agents_reply_in_the_networks_own_app_is_a_real_message(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.control("echo", conversation=thread, text="Answered from the phone")
    office.sync()
    tasks = office.timeline(thread)
    assert [row["Description"] for row in tasks] == ["Hello?", "Answered from the phone"]
    assert tasks[1]["SMM_Direction__c"] == "Outbound"


def test_a_text_over_the_limit_is_cut_with_a_mark_and_the_link(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "long " * 9000)
    office.sync()
    text = office.timeline(thread)[0]["Description"]
    assert len(text) <= 32000
    assert "cut" in text[-200:]
    assert f"/conversations/{thread}" in text[-200:]


def test_braces_and_markup_of_a_customer_arrive_as_they_are(office: Any) -> None:
    text = "Use @{ref.id} or {{ contact.name }} & <b>'quotes'</b> \\ \n*stars* 🚲"
    thread = office.customer("Noa Quint", "31612345678", text)
    office.customer("Noa Quint", "31612345678", "and a plain one")
    office.sync()
    shown = [row["Description"].replace("\r\n", "\n") for row in office.timeline(thread)]
    assert shown == [text, "and a plain one"]


def test_a_long_text_full_of_line_breaks_still_fits(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "a\n" * 16000)
    office.sync()
    assert "cut" in office.timeline(thread)[0]["Description"][-200:]


def test_two_chats_of_one_new_customer_in_one_batch_make_one_contact(office: Any) -> None:
    first = office.customer("Noa Quint", "31612345678", "On WhatsApp")
    second = office.customer("noaq", "17841400000999", "On Instagram", inbox="Instagram")
    for thread, mail in ((first, "noa@quint.example"), (second, None)):
        person = office.conversation(thread)["meta"]["sender"]["id"]
        if mail:
            office.agent("PATCH", f"contacts/{person}", email=mail)
    office.sync()
    people = [
        row for row in office.records("Contact") if "uint" in str(row.get("LastName")) or row.get("LastName") == "noaq"
    ]
    assert len(people) == 2


def test_a_lost_answer_of_a_bulk_write_makes_no_second_record(office: Any) -> None:
    office.customer("Noa Quint", "31612345678", "Hello?")
    office.crm_control("faults", match={"method": "POST", "path": "/composite$"}, kind="drop_after", times=3)
    office.sync()
    office.sync()
    keys = [row["SMM_Message_Key__c"] for row in office.records("Task")]
    assert len(keys) == len(set(keys))
    people = [row["SMM_Person_Key__c"] for row in office.records("Contact") if row.get("SMM_Person_Key__c")]
    assert len(people) == len(set(people))
    assert "open" not in office.account()
