"""Real conversations in bulk into a real Odoo: each of 2,664 public tweets stands exactly once in the chatter of the right
contact, with the right author and time, read back through Odoo's own API.

The file is the one of test_tweets.py; nothing of it is kept here, and without it these tests are skipped.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from odoo_server import Odoo
from offices import OdooOffice

from connector.sandbox.load import load_csv
from connector.sandbox.serve import one
from connector.sync.report import Report

FILE = Path(os.environ.get("CONNECTOR_TWEETS") or Path(__file__).parents[3] / "shared/data/customer-support-tweets.csv")
COLUMNS = ["res_id", "author_id", "email_from", "date", "body", "message_id", "subtype_id", "create_uid"]
INBOUND = 0
COLLEAGUES = 3
"""Agents who work in Odoo as well."""


@dataclass
class City:
    """The office with the tweets in it: Chatwoot's own tables, and what Odoo holds after the first sync, by message key."""

    office: OdooOffice
    report: Report
    messages: dict[str, dict[str, Any]]
    contacts: dict[int, int]
    """Odoo's id of each of Chatwoot's contacts."""
    owner: dict[int, int]
    """Chatwoot's contact of each conversation."""
    agents: dict[int, dict[str, Any]]
    colleagues: dict[str, int]
    """The own contact in Odoo of agents who work there, by address."""
    notes: list[dict[str, Any]]

    @property
    def by_key(self) -> dict[str, dict[str, Any]]:
        return {row["message_id"]: row for row in self.notes}


def read_notes(office: OdooOffice) -> list[dict[str, Any]]:
    domain = [["model", "=", "res.partner"], ["message_type", "=", "comment"]]
    return list(office.crm("mail.message", "search_read", domain, COLUMNS, order="id"))


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, odoo: Odoo) -> Iterator[City]:
    if not FILE.is_file():
        pytest.skip(f"there is no {FILE.name}: name it in CONNECTOR_TWEETS to run these tests")
    directory: Path = tmp_path_factory.mktemp("city")
    with one("chatwoot", directory) as chatwoot:
        office = OdooOffice(chatwoot.told, directory, odoo)
        load_csv(FILE, office.chatwoot_url)
        agents = {row["id"]: row for row in office.dump()["agent"]}
        busiest = Counter(row["sender_id"] for row in office.dump()["message"] if row["message_type"] != INBOUND)
        for id_, _ in busiest.most_common(COLLEAGUES):
            email = agents[id_]["email"]
            values = {"name": agents[id_]["name"], "login": email, "email": email}
            office.crm("res.users", "create", values, context={"no_reset_password": True})
        users = office.crm("res.users", "search_read", [["email", "ilike", "@brands.example"]], ["email", "partner_id"])
        report = office.sync()
        dump = office.dump()
        yield City(
            office,
            report,
            {f"<shop.{row['conversation_id']}-{row['id']}@social-crm-connector>": row for row in dump["message"]},
            {row["id"]: int(row["identifier"]) for row in dump["contact"]},
            {row["id"]: row["contact_id"] for row in dump["conversation"]},
            agents,
            {row["email"]: row["partner_id"][0] for row in users},
            read_notes(office),
        )
        office.close()


def test_every_message_stands_exactly_once_in_a_chatter(city: City) -> None:
    assert city.office.account() == {"synced": len(city.messages)}
    assert city.report.failed == 0
    assert Counter(row["message_id"] for row in city.notes) == Counter(city.messages.keys())


def test_every_note_is_on_the_contact_who_wrote_it_or_whom_it_answers(city: City) -> None:
    wanted = {
        key: city.contacts[row["sender_id"] if row["message_type"] == INBOUND else city.owner[row["conversation_id"]]]
        for key, row in city.messages.items()
    }
    assert {key: row["res_id"] for key, row in city.by_key.items()} == wanted
    assert len(set(city.contacts.values())) == len(city.contacts), "nobody shares a contact"


def test_every_note_has_its_author_a_contact_a_colleague_or_the_agents_name(city: City) -> None:
    assert len(city.colleagues) == COLLEAGUES
    seen: Counter[str] = Counter()
    for key, row in city.messages.items():
        note = city.by_key[key]
        author = note["author_id"][0] if note["author_id"] else None
        if row["message_type"] == INBOUND:
            assert author == city.contacts[row["sender_id"]]
            seen["customer"] += 1
            continue
        agent = city.agents[row["sender_id"]]
        assert author == city.colleagues.get(agent["email"])
        if author is None:
            assert note["email_from"] == agent["name"]
        seen["colleague" if author else "agent"] += 1
    assert min(seen.values()) > 50, seen


def test_every_note_has_the_time_and_the_text_of_its_tweet(city: City) -> None:
    for key, row in city.messages.items():
        note = city.by_key[key]
        assert note["date"] == datetime.fromtimestamp(row["created_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        page = BeautifulSoup(note["body"], "html.parser")
        for line in page.find_all("br"):
            line.replace_with("\n")
        assert " ".join(page.get_text().split()) == " ".join(row["content"].split())


def test_all_notes_are_internal_and_nobody_gets_a_mail(city: City) -> None:
    assert {row["subtype_id"][1] for row in city.notes} == {"Note"}
    assert city.office.crm("mail.mail", "search_count", []) == 0
    assert city.office.crm("mail.notification", "search_count", []) == 0


def test_a_second_sync_writes_nothing(city: City) -> None:
    stamps = city.office.crm("mail.message", "search_read", [], ["write_date"], order="id")
    partners = city.office.crm("res.partner", "search_read", [], ["write_date"], order="id")
    second = city.office.sync()
    assert (second.planned, second.written) == (0, 0)
    assert city.office.crm("mail.message", "search_read", [], ["write_date"], order="id") == stamps
    assert city.office.crm("res.partner", "search_read", [], ["write_date"], order="id") == partners


def test_the_first_sync_reads_and_writes_in_large_calls(city: City) -> None:
    """Odoo counts no calls, but each is a transaction and a worker's time."""
    calls, records = city.report.calls["odoo"], len(city.messages) + len(city.contacts)
    print(f"\nfirst sync: {records} records in {calls} calls, {1000 * calls / records:.1f} per 1,000")
    assert 1000 * calls / records <= 20
