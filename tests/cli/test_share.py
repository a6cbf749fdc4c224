"""What the commands do when the connector's share of the CRM's daily calls is used up."""

import re

import pytest


@pytest.fixture
def spent(site):
    """A site that has synced without its past, and whose share is used up to the last call."""
    site.edit("config.yaml", "mapping: mapping.yaml", "mapping: mapping.yaml\n    history: none")
    site.run("sync")
    told = site.json("status", code=None)[0]["crm_budget"]
    set_share(site, told["ours"] / told["allowance"])
    return site


def set_share(site, share: float) -> None:
    site.edit("config.yaml", "mapping: mapping.yaml", f"mapping: mapping.yaml\n    crm_daily_share: {share}")


def calls(site) -> dict[str, int]:
    return site.json("status", code=None)[0]["calls_today"]


@pytest.mark.parametrize(
    "command",
    [("sync",), ("plan",), ("audit",), ("audit", "--repair"), ("backfill", "--since", "2020-01-01")],
    ids=" ".join,
)
def test_a_used_up_share_stops_every_command_before_it_calls_anybody(spent, command):
    before = calls(spent)
    result = spent.run(*command)
    assert result.exit_code == 4
    said = " ".join(result.stderr.split())
    assert said.count("share_spent") == 1
    assert re.search(r"Raise crm_daily_share, or wait until 20\d\d-\d\d-\d\d \d\d:00 UTC", said)
    assert calls(spent) == before


def test_status_tells_of_a_sync_that_was_stopped_until_one_runs_again(spent):
    spent.run("sync")
    (problem,) = spent.json("status", code=1)[0]["problems"]
    assert (problem["scope"], problem["code"]) == ("allowance", "share_spent")
    share = re.search("crm_daily_share: .*", (spent.folder / "config.yaml").read_text())[0]
    spent.edit("config.yaml", share, "crm_daily_share: 0.5")
    spent.run("sync")
    assert spent.json("status", code=None)[0]["problems"] == []


@pytest.mark.parametrize("command", ["sync", "plan", "audit"])
def test_a_share_that_ends_on_the_way_stops_the_command_with_one_message(site, command):
    site.run("sync")
    told = site.json("status", code=None)[0]["crm_budget"]
    set_share(site, (told["ours"] + 3) / told["allowance"])
    result = site.run(command)
    assert result.exit_code == 4
    assert " ".join(result.stderr.split()).count("share_spent") == 1
    assert "reading" not in str(site.json("status", code=None)[0]["problems"])
    assert calls(site)["salesforce"] - told["ours"] < 12


def test_a_plan_warns_of_a_sync_that_will_not_get_through(site):
    site.run("sync")
    forecast = site.json("plan", code=None)[0]["calls"]["crm"]
    told = site.json("status", code=None)[0]["crm_budget"]
    assert forecast["forecast"] > 2
    set_share(site, (told["ours"] + forecast["plan"] + 2) / told["allowance"])
    planned = site.run("plan")
    assert planned.exit_code == 0
    assert "That is more than is left" in planned.stdout
