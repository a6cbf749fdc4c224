"""Chatwoot and a real Odoo with an opportunity for each conversation."""

from collections.abc import Iterator
from typing import Any

import pytest
from bs4 import BeautifulSoup
from odoo_server import NOOR, Odoo
from offices import OdooOffice

from connector.sandbox.serve import one


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory, odoo: Odoo) -> Iterator[OdooOffice]:
    directory = tmp_path_factory.mktemp("sales")
    with one("chatwoot", directory) as chatwoot:
        office = OdooOffice(chatwoot.told, directory, odoo, "chatwoot-odoo-crm.yaml")
        # "Sales: own documents" would hide an opportunity from the connector as soon as it is somebody's.
        group = office.crm("ir.model.data", "check_object_reference", "sales_team", "group_sale_salesman_all_leads")[1]
        bot = office.crm("res.users", "search", [["login", "=", odoo.bot]])
        office.crm("res.users", "write", bot, {"group_ids": [(4, group)]})
        inbox = {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}
        office.control("import", inboxes=[inbox], labels=[{"key": "vip", "title": "vip"}])
        office.sync()
        yield office
        office.close()


@pytest.fixture
def lead(sales: OdooOffice) -> tuple[int, dict[str, Any]]:
    """A conversation and its opportunity."""
    conversation = sales.customer("Lena Okafor", sales.phone(), "How much is a cargo bike?")
    sales.sync()
    partner = sales.partner_of(conversation)
    (row,) = sales.crm("crm.lead", "search_read", [["partner_id", "=", partner]], ["name", "partner_id"])
    return conversation, row


def texts(sales: OdooOffice, lead: int) -> list[str]:
    return [BeautifulSoup(row["body"], "html.parser").get_text() for row in sales.chatter(lead, "crm.lead")]


def test_a_conversation_is_an_opportunity_of_its_contact_with_the_messages_in_its_chatter(
    sales: Any, lead: Any
) -> None:
    conversation, row = lead
    assert row["name"] == "Lena Okafor (whatsapp)"
    sales.write_again(conversation, "And in green?")
    sales.sync()
    assert texts(sales, row["id"]) == ["How much is a cargo bike?", "And in green?"]
    quiet = sales.sync()
    assert (quiet.planned, quiet.written) == (0, 0)


def test_a_comment_on_the_opportunity_goes_into_its_conversation_with_its_fate_under_it(sales: Any, lead: Any) -> None:
    conversation, row = lead
    noor = sales.server.person(NOOR)
    options = {"message_type": "comment", "subtype_xmlid": "mail.mt_comment"}
    noor("crm.lead", "message_post", [row["id"]], body="From 3,000 euros", **options)
    sales.sync()
    sales.sync()
    assert sales.received(conversation) == ["From 3,000 euros"]
    assert texts(sales, row["id"])[1:] == ["From 3,000 euros", "Delivered on whatsapp"]


def test_labels_and_tags_are_joined(sales: Any, lead: Any) -> None:
    conversation, row = lead
    tag = sales.crm("crm.tag", "create", {"name": f"cargo-{row['id']}"})
    sales.crm("crm.lead", "write", [row["id"]], {"tag_ids": [(4, tag)]})
    sales.agent("POST", f"conversations/{conversation}/labels", labels=["vip"])
    sales.sync()
    (now,) = sales.crm("crm.lead", "read", [row["id"]], ["tag_ids"])
    tags = sales.crm("crm.tag", "read", now["tag_ids"], ["name"])
    assert (sorted(one["name"] for one in tags), sales.problems(), sales.ledger.open_holds()) == (
        [f"cargo-{row['id']}", "vip"],
        {},
        [],
    )
    assert sorted(sales.conversation(conversation)["labels"]) == [f"cargo-{row['id']}", "vip"]


def test_an_opportunity_belongs_to_nobody_until_somebody_is_assigned_on_either_side(sales: Any, lead: Any) -> None:
    conversation, row = lead
    assert sales.crm("crm.lead", "read", [row["id"]], ["user_id"])[0]["user_id"] is False
    agent = sales.agent("GET", "agents")[-1]
    values = {"name": agent["name"], "login": agent["email"], "email": agent["email"]}
    user = sales.crm("res.users", "create", values, context={"no_reset_password": True})
    sales.crm("crm.lead", "write", [row["id"]], {"user_id": user})
    sales.sync()
    assert sales.conversation(conversation)["meta"]["assignee"]["id"] == agent["id"]


def test_what_comes_after_opportunities_were_merged_stands_with_the_winner_and_replies_leave_from_there(
    sales: Any, lead: Any
) -> None:
    conversation, row = lead
    own = sales.crm(
        "crm.lead",
        "create",
        {"name": "Website request", "partner_id": row["partner_id"][0], "type": "opportunity", "user_id": False},
    )
    (own,) = own if isinstance(own, list) else [own]
    last = sales.crm("crm.stage", "search", [], order="sequence desc", limit=2)[-1]
    sales.crm("crm.lead", "write", [own], {"stage_id": last})
    wizard = sales.crm("crm.merge.opportunity", "create", {"opportunity_ids": [(6, 0, [own, row["id"]])]})
    sales.crm("crm.merge.opportunity", "action_merge", wizard if isinstance(wizard, list) else [wizard])
    (left,) = sales.crm("crm.lead", "search", [["id", "in", [own, row["id"]]]])
    sales.sync()
    sales.write_again(conversation, "And in green?")
    sales.sync()
    assert texts(sales, left)[-1] == "And in green?"
    noor = sales.server.person(NOOR)
    options = {"message_type": "comment", "subtype_xmlid": "mail.mt_comment"}
    noor("crm.lead", "message_post", [left], body="In green as well", **options)
    sales.sync()
    assert sales.received(conversation) == ["In green as well"]
    assert (sales.problems(), sales.ledger.open_holds()) == ({}, [])


def test_after_an_opportunity_was_deleted_a_person_is_asked_and_other_customers_messages_arrive(
    sales: Any, lead: Any
) -> None:
    conversation, row = lead
    sales.crm("crm.lead", "unlink", [row["id"]])
    sales.sync()
    sales.write_again(conversation, "Anybody there?")
    other = sales.customer("Tom Bakker", sales.phone(), "Are you open today?")
    sales.sync()
    partner = sales.partner_of(other)
    (theirs,) = sales.crm("crm.lead", "search", [["partner_id", "=", partner]])
    assert texts(sales, theirs) == ["Are you open today?"]
    assert ["res_id" in hold.question for hold in sales.ledger.open_holds()] == [True]
