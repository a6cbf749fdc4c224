"""The demo with a real Odoo tells the truth as well, and what it tells stands in Odoo afterwards."""

import io

import odoo_demo
import pytest
from odoo_server import Odoo
from rich.console import Console

from connector.sandbox.demo import odoo as demo
from connector.sandbox.demo.pages import Pages
from connector.sandbox.demo.script import REPLY
from connector.sandbox.demo.story import play


@pytest.fixture(scope="module")
def told(odoo: Odoo, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the whole demo prints; it has succeeded."""
    paper = io.StringIO()
    pages = Pages(Console(file=paper, width=200, highlight=False, markup=False))
    assert play(tmp_path_factory.mktemp("demo"), pages, demo.scene(odoo_demo.at(odoo)))
    odoo_demo.tell_where_to_look(odoo, pages)
    return paper.getvalue()


def test_the_whole_demo_succeeds_and_says_so(told: str) -> None:
    assert "MISSING" not in told
    assert "Everything arrived" in told


def test_the_account_is_printed_per_network_and_adds_up(told: str) -> None:
    (*networks, total) = [line.split() for line in told.splitlines() if line.count(" + ") == 3 and " = " in line][-9:]
    assert {row[0] for row in networks} >= {"instagram", "whatsapp", "facebook", "telegram", "email"}
    assert total[0] == "all"
    for row in (*networks, total):
        seen, *states = (int(cell) for cell in row[1:] if cell.isdigit())
        assert seen == sum(states)
    assert int(total[1]) == sum(int(row[1]) for row in networks)


@pytest.mark.parametrize(
    "line",
    [
        ["Noor Haddad", "Discussions", REPLY[:20]],
        ["CRM sync", "Note", "Read on whatsapp"],
        ["Instagram", "Jet de Boer", "[deleted] Top, dankjewel!"],
        ["Jet de Boer", REPLY[:20], "Read on whatsapp"],
        ["Maya Carter", "Not delivered on whatsapp", "outside of allowed window"],
        ["Emily Clarke", "phone", "crm", demo.CRM_PHONE, demo.AGENT_PHONE],
        ["Atelier Martin, Sophie Martin", "95"],
        ["per 1,000 records"],
    ],
    ids=["reply", "its fate", "deleted message", "reply and fate", "refused", "conflict", "candidate", "cost"],
)
def test_the_tables_show_what_the_story_is_about(told: str, line: list[str]) -> None:
    assert any(all(part in row for part in line) for row in told.splitlines())


def test_it_ends_with_the_page_of_a_contact_which_is_really_there(told: str, odoo: Odoo) -> None:
    (page,) = [line.removeprefix("  - ") for line in told.splitlines() if "/odoo/contacts/" in line]
    assert page.startswith(odoo.url)
    contact = int(page.rpartition("/")[2])
    (row,) = odoo.admin()("res.partner", "read", [contact], ["name"])
    assert row["name"] == "Jet de Boer"
    assert "login admin / password admin" in told
