"""The small install: an org without any custom object, only with our fields on tasks and contacts."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.sandbox.serve import Sandboxes, one

SOURCE = Path(__file__).parents[2] / "salesforce"
OBJECTS = "force-app/main/default/objects"
SMALL = ("Activity", "Contact", "Lead")


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Folder and address of an org in which only the fields of tasks, contacts and leads are deployed."""
    directory, schema = tmp_path_factory.mktemp("office"), tmp_path_factory.mktemp("small")
    shutil.copy(SOURCE / "sfdx-project.json", schema)
    for name in SMALL:
        shutil.copytree(SOURCE / OBJECTS / name, schema / OBJECTS / name)
    command = [sys.executable, "-m", "connector.sandbox.salesforce", "--dir", str(directory), "--schema", str(schema)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it tells its address once it answers
            yield directory, json.loads((directory / "salesforce.json").read_text())["url"]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def office(org: tuple[Path, str], open_office: Callable[..., Any]) -> Iterator[Any]:
    directory, url = org
    with one("chatwoot", directory) as chatwoot:
        sandboxes = Sandboxes(directory, chatwoot.told["url"], url, chatwoot.told["account_id"], ())
        office = open_office(sandboxes=sandboxes, mapping="chatwoot-salesforce-minimal.yaml")
        inbox = {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}
        office.control("import", inboxes=[inbox])
        yield office


@pytest.fixture(scope="module")
def thread(office: Any) -> int:
    """A conversation with a customer of whom the CRM knows nothing, synced."""
    thread = office.customer("Noa Quint", "31612345678", "Is it ready?\nMy bike, I mean.")
    office.sync()
    return int(thread)


def contact_of(office: Any, thread: int) -> dict[str, Any]:
    (id_,) = {row["WhoId"] for row in office.timeline(thread)}
    return dict(office.record("Contact", Id=id_))


@pytest.mark.parametrize("name", ["Social_Identity__c", "Social_Conversation__c", "Social_Outbound__c"])
def test_there_is_no_custom_object_in_this_org(office: Any, name: str) -> None:
    with pytest.raises(AssertionError, match="NOT_FOUND"):
        office.crm("GET", f"sobjects/{name}/describe")


def test_a_new_customer_becomes_a_contact_with_the_messages_on_its_timeline(office: Any, thread: int) -> None:
    assert [row["Description"] for row in office.timeline(thread)] == ["Is it ready?\r\nMy bike, I mean."]
    contact = contact_of(office, thread)
    assert (contact["FirstName"], contact["LastName"], contact["Phone"]) == ("Noa", "Quint", "+31612345678")
    person = office.person(office.conversation(thread)["meta"]["sender"]["id"])
    assert person["identifier"] == contact["Id"]
    assert person["custom_attributes"]["crm_owner"]


def test_a_known_customer_is_linked_by_the_phone_number(office: Any) -> None:
    known = office.crm("POST", "sobjects/Contact", LastName="Jong", FirstName="Mees", Phone="06 - 11 22 33 44")["id"]
    thread = office.customer("mees", "31611223344", "Hello?")
    person = office.conversation(thread)["meta"]["sender"]["id"]
    office.crm("PATCH", f"sobjects/Contact/{known}", MobilePhone="+31 6 1122 3344")
    office.sync()
    assert {row["WhoId"] for row in office.timeline(thread)} == {known}
    assert office.person(person)["name"] == "Mees Jong"


def test_a_corrected_phone_number_travels_both_ways(office: Any, thread: int) -> None:
    contact, person = contact_of(office, thread)["Id"], office.conversation(thread)["meta"]["sender"]["id"]
    office.crm("PATCH", f"sobjects/Contact/{contact}", Phone="+31 6 9999 8888")
    office.sync()
    assert office.person(person)["phone_number"] == "+31699998888"
    office.agent("PUT", f"contacts/{person}", phone_number="+31677776666")
    office.sync()
    assert office.record("Contact", Id=contact)["Phone"] == "+31677776666"


def test_an_answer_an_edit_and_a_deletion_on_the_platform_are_told_on_the_timeline(office: Any) -> None:
    thread = office.customer("Pim Vos", "31655554444", "I live in Delft")
    office.customer("Pim Vos", "31655554444", "and my secret is 42")
    office.agent("POST", f"conversations/{thread}/messages", content="Noted!")
    office.sync()
    rows = office.agent("GET", f"conversations/{thread}/messages")["payload"]
    first, second = [row["id"] for row in rows if row["message_type"] == 0]
    office.control("network/edit", message_id=first, text="I live in Den Haag")
    office.control("network/delete", message_id=second)
    office.sync()
    shown = [(row["Description"], row["SMM_Direction__c"], row.get("SMM_State__c")) for row in office.timeline(thread)]
    assert shown == [
        ("I live in Den Haag", "Inbound", "[edited]"),
        ("and my secret is 42", "Inbound", "[deleted]"),
        ("Noted!", "Outbound", None),
    ]


def test_a_second_sync_writes_nothing_on_either_side(office: Any, thread: int) -> None:
    office.sync()
    writes, platform = office.crm_stats()["writes"], office.dump()
    report = office.sync()
    assert (report.planned, report.written, report.trouble) == (0, 0, [])
    assert (office.crm_stats()["writes"], office.dump()) == (writes, platform)
    assert set(writes) == {"Contact", "Task"}
    assert set(office.account()) == {"synced"}
