"""People change their minds while the connector waits: what goes out is what stands when it goes."""

from typing import Any

import pytest

from connector.model import Side
from connector.sync.report import Report

UNAVAILABLE = {"match": {"method": "POST", "path": "/messages$"}, "kind": "status", "status": 503, "times": None}


def waiting_reply(office: Any) -> tuple[int, str]:
    """A reply that could not leave, because the platform answers 503 to every message."""
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    office.control("faults", **UNAVAILABLE)
    reply = office.reply(thread, "first thought")
    office.sync()
    assert office.received(thread) == []
    office.clear()
    return thread, reply


def test_a_reply_corrected_while_it_waited_leaves_with_its_new_text(office: Any) -> None:
    thread, reply = waiting_reply(office)
    office.crm("PATCH", f"sobjects/Social_Outbound__c/{reply}", Body__c="second thought")
    office.sync()
    office.sync()
    assert office.received(thread) == ["second thought"]


@pytest.mark.parametrize("how", ["deleted", "set back to draft"])
def test_a_reply_withdrawn_while_it_waited_never_leaves(office: Any, how: str) -> None:
    thread, reply = waiting_reply(office)
    if how == "deleted":
        office.crm("DELETE", f"sobjects/Social_Outbound__c/{reply}")
    else:
        office.crm("PATCH", f"sobjects/Social_Outbound__c/{reply}", Status__c="Draft")
    office.sync()
    office.sync()
    assert office.received(thread) == []


def test_a_reply_that_was_refused_can_be_queued_again(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    refused = {"kind": "status", "status": 422, "times": 1}
    office.control("faults", match={"method": "POST", "path": "/messages$"}, **refused)
    reply = office.reply(thread, "please")
    office.sync()
    assert office.outbound(reply)["Status__c"] == "Failed"
    office.crm("PATCH", f"sobjects/Social_Outbound__c/{reply}", Status__c="Queued")
    office.sync()
    assert office.received(thread) == ["please"]


def test_an_address_changed_on_the_platform_does_not_replace_the_one_in_the_crm(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    person = office.conversation(thread)["meta"]["sender"]["id"]
    office.agent("PATCH", f"contacts/{person}", email="noa@quint.example")
    office.sync()
    assert office.record("Contact", LastName="Quint")["Email"] == "noa@quint.example"
    office.agent("PATCH", f"contacts/{person}", email="other@quint.example")
    office.sync()
    assert office.record("Contact", LastName="Quint")["Email"] == "noa@quint.example"


def test_a_value_that_goes_back_and_forth_between_two_reads_of_the_crm_arrives(office: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    engine, streams = office.engine(), [(Side.PLATFORM, "conversations")]
    for status in ("resolved", "open", "resolved"):
        office.agent("POST", f"conversations/{thread}/toggle_status", status=status)
        engine.round(streams, Report())
    row = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")
    assert row["Status__c"] == "resolved"


def test_a_new_mapping_line_does_not_overwrite_what_the_crm_holds(office: Any, tmp_path: Any) -> None:
    thread = office.customer("Noa Quint", "31612345678", "Hello?")
    office.sync()
    contact = office.record("Contact", LastName="Quint")
    office.crm("PATCH", f"sobjects/Contact/{contact['Id']}", Title="Director")
    person = office.conversation(thread)["meta"]["sender"]["id"]
    office.agent("PATCH", f"contacts/{person}", custom_attributes={"title": "intern"})
    office.sync()
    text = office.mapping_file.read_text().replace(
        "    - {crm: Name, platform: name, direction: to_platform}\n",
        "    - {crm: Name, platform: name, direction: to_platform}\n"
        "    - {crm: Title, platform: attributes.title, direction: both, rule: crm}\n",
    )
    office.mapping_file = tmp_path / "mapping.yaml"
    office.mapping_file.write_text(text)
    office.engine().approve()
    office.sync()
    assert office.record("Contact", Id=contact["Id"])["Title"] == "Director"
    assert office.person(person)["custom_attributes"]["title"] == "Director"
