"""The demo tells the truth: it succeeds when everything arrived, and names what did not."""

import io
from pathlib import Path

import pytest
import requests
from rich.console import Console

from connector.config import load_config
from connector.model import State
from connector.sandbox.demo.deeds import do_in_the_crm, do_on_the_networks
from connector.sandbox.demo.pages import Pages
from connector.sandbox.demo.salesforce import stage
from connector.sandbox.demo.script import REPLY
from connector.sandbox.demo.stage import Stage, account_by_network, judge, unbalanced
from connector.sandbox.demo.story import play

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the whole demo prints; it has succeeded."""
    paper = io.StringIO()
    assert play(tmp_path_factory.mktemp("demo"), Pages(Console(file=paper, width=200, highlight=False, markup=False)))
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


def test_the_readme_quotes_the_demo(told: str) -> None:
    quoted = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("  ok ")]
    assert len(quoted) >= 5
    assert set(quoted) <= set(told.splitlines())


@pytest.mark.parametrize(
    "line",
    [
        ["whatsapp", "Outbound", REPLY[:20], "read"],
        ["instagram", "Inbound", "Top, dankjewel!", "[deleted]"],
        ["Jet de Boer", REPLY[:20], "Read"],
        ["Maya Carter", "outside of allowed window"],
        ["Emily Clarke", "Priority__c", "crm", "urgent", "low"],
        ["Sophie Martin", "Atelier Martin", "95"],
        ["per 1,000 records"],
    ],
    ids=["reply", "deleted message", "reply's record", "failed delivery", "conflict", "candidate", "cost"],
)
def test_the_tables_show_what_the_story_is_about(told: str, line: list[str]) -> None:
    assert any(all(part in row for part in line) for row in told.splitlines())


@pytest.fixture
def on(tmp_path: Path):
    with stage(tmp_path) as ready:
        yield ready


def test_what_has_not_been_synced_is_missing_and_arrives_with_the_sync(on: Stage) -> None:
    on.sync()
    deeds = do_in_the_crm(on.people)

    arrived, missing = judge(on, deeds)

    assert arrived == ["the account balances: every message is in exactly one state"]
    assert len(missing) == len(deeds) == 4
    assert "WhatsApp got []" in missing[0]
    assert "+12025550143" in missing[1]
    assert "open in Chatwoot" in missing[2]
    assert "low in Chatwoot and urgent in the CRM" in missing[3]

    on.sync()
    _, missing = judge(on, deeds[1:])
    assert missing == []


def test_a_message_nobody_has_read_yet_unbalances_the_account(on: Stage) -> None:
    on.sync()
    assert unbalanced(on) is None
    do_on_the_networks(on.people)
    assert unbalanced(on) is None
    url = f"{on.chatwoot_url}/__control/customer"
    news = {"inbox": "WhatsApp", "source_id": "491713920042", "text": "Hallo?"}
    requests.post(url, json=news, timeout=30).raise_for_status()
    assert "Chatwoot stores 130 messages, the connector has seen 129" in str(unbalanced(on))


def test_a_task_that_somebody_deleted_in_the_crm_unbalances_the_account(on: Stage) -> None:
    on.sync()
    task = on.people.crm.user.query("SELECT Id FROM Task WHERE SMM_Message_Key__c != null")[0]["Id"]
    on.people.crm.user.remove("Task", task)
    assert "but the CRM has" in str(unbalanced(on))
    on.sync()
    assert unbalanced(on) is None
    assert sum(states[State.ERASED] for states in account_by_network(on).values()) == 1


def test_the_demo_uses_the_example_config_with_other_addresses(on: Stage) -> None:
    written = load_config(on.directory.parent / "config.yaml")
    assert list(written.connections) == ["main"]
    assert written.connections["main"].platform.url == on.chatwoot_url
    assert written.connections["main"].crm.url == on.people.crm.user.url
