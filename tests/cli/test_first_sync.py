"""The first hour with the connector: check, plan, sync, status, holds, audit, in the order of a new admin."""

import pytest
from typer.testing import CliRunner

from connector import __version__
from connector.cli import app


def test_check_of_a_good_config_shows_both_accounts_and_ends_with_0(site):
    found = site.json("check")
    (one,) = found["connections"]
    assert found["ok"]
    assert set(one["accounts"]) == {"platform", "crm"}
    assert [problem["severity"] for problem in one["findings"]] == ["warning"]
    assert "webhook_secret" in one["findings"][0]["message"]


def test_plan_then_sync_then_settle_then_audit(site):
    planned = site.json("plan", "--limit", "0")[0]
    assert planned["approved"]
    assert planned["totals"]["crm upsert message"] > 100
    assert planned["crm_calls"]["write"] <= 5
    assert planned["refusals"] == []
    assert [hold["type"] for hold in planned["holds"]] == ["identity"]
    assert not [task for task in site.crm("Task") if task.get("SMM_Message_Key__c")]

    first = site.json("sync", code=1)[0]
    assert first["seen"] == sum(first["account"].values())
    assert first["account"]["held"] > 0
    assert first["account"]["open"] == 0
    assert first["holds_opened"] == 1
    assert first["done"] >= sum(planned["totals"].values())
    tasks = [task for task in site.crm("Task") if task.get("SMM_Message_Key__c")]
    assert len(tasks) == first["account"]["synced"]

    assert site.json("sync", code=1)[0]["planned"] == 0

    (hold,) = site.json("holds", "list")
    refused = site.run("holds", "settle", str(hold["id"]), "--choice", "perhaps", "--because", "no idea")
    assert refused.exit_code == 1
    assert all(choice in refused.stderr for choice in hold["choices"])
    assert "salesforce:Contact" in site.run("holds", "show", str(hold["id"])).stdout

    choice = hold["choices"][0].rpartition(":")[2]
    settled = site.run("holds", "settle", str(hold["id"]), "--choice", choice, "--because", "she called", "--by", "sam")
    assert settled.exit_code == 0
    assert site.json("holds", "list") == []
    again = site.run("holds", "settle", str(hold["id"]), "--choice", "never", "--because", "too late")
    assert again.exit_code == 1
    assert "settled by sam" in again.stderr

    last = site.json("sync")[0]
    assert last["account"]["held"] == 0
    story = site.json("explain", hold["subject"])
    assert [link["why"] for link in story["links"]] == [["sam decided: she called"]]
    assert [one["choice"] for one in story["holds"]] == [hold["choices"][0]]

    promises = site.json("audit")[0]["promises"]
    assert [one["violations"] for one in promises] == [0] * len(promises)
    assert all(one["checked"] for one in promises if "reply" not in one["promise"])

    broken = next(task for task in site.crm("Task") if task.get("SMM_Message_Key__c"))
    site.org("POST", "seed", {"object": "Task", "records": [{"Subject": "stray", "SMM_Message_Key__c": "main:stray"}]})
    found = site.json("audit", code=1)[0]["promises"]
    (stray,) = [one for one in found if one["violations"]]
    assert "without a link" in stray["promise"]
    assert "main:stray" in stray["first"][0]
    assert broken["Id"] not in stray["first"][0]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("version",), 0),
        (("schema", "config"), 0),
        (("schema", "mapping"), 0),
        (("schema", "store"), 2),
        (("no-such-command",), 2),
        (("sandbox", "load", "file.csv", "--dir", "nowhere"), 1),
        (("holds", "settle", "1"), 2),
        (("--config", "nowhere.yaml", "status"), 2),
    ],
)
def test_without_a_config_the_exit_code_is(args, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


def test_version_is_the_package_version():
    assert CliRunner().invoke(app, ["version"]).stdout.strip() == __version__


def test_the_config_is_found_by_the_environment_when_none_stands_here(synced, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_CONFIG", str(synced.folder / "config.yaml"))
    assert "main" in CliRunner().invoke(app, ["status"]).stdout
