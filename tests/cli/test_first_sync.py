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


def test_check_tells_that_no_webhook_of_the_platform_leads_here(site):
    (site.folder / "webhook-secret").write_text("a-webhook-secret")
    site.edit("config.yaml", "    crm:\n", "      webhook_secret: file:webhook-secret\n    crm:\n")
    findings = site.json("check")["connections"][0]["findings"]
    (told,) = [one for one in findings if "webhook" in one["message"]]
    assert (told["severity"], told["path"]) == ("warning", "connections.main.platform.webhook_secret")
    assert "https://<public address of this service>/webhooks/main" in told["way_out"]


def test_plan_shows_everything_and_writes_nothing(site):
    before = site.crm("Task"), site.crm("Contact")
    planned = site.json("plan", "--limit", "0")[0]
    assert planned["approved"]
    assert planned["totals"]["crm upsert message"] > 100
    assert planned["totals"]["crm upsert message"] == sum(one["kind"] == "message" for one in planned["writes"])
    assert planned["crm_budget"]["allowance"] == 100_000
    assert planned["crm_budget"]["left"] < planned["crm_budget"]["share"] == 50_000
    assert planned["refusals"] == []
    assert planned["filtered"] == {"private notes stay out": 6}
    shown = site.run("plan", "--limit", "3").stdout
    assert "more field changes; --limit 0 shows all" in shown
    assert (site.crm("Task"), site.crm("Contact")) == before


def ours(site) -> list[dict]:
    return [task for task in site.crm("Task") if (task.get("SMM_Message_Key__c") or "").startswith("main:")]


def test_the_first_sync_accounts_for_every_message_and_the_second_writes_nothing(used):
    first = used.first
    assert first["seen"] == sum(first["account"].values())
    assert first["account"]["open"] == 0
    assert first["errors"] == []
    assert first["holds_opened"] == 1
    assert len(ours(used)) >= first["account"]["synced"] > 100
    assert used.json("sync", code=None)[0]["planned"] == 0


def test_a_settled_identity_brings_the_held_messages_in(used):
    (hold,) = used.json("holds", "list")
    assert hold["type"] == "identity"
    refused = used.run("holds", "settle", str(hold["id"]), "--choice", "perhaps", "--because", "no idea")
    assert refused.exit_code == 1
    assert all(choice in refused.stderr for choice in hold["choices"])
    shown = used.run("holds", "show", str(hold["id"]))
    contacts = {f"salesforce:Contact:{row['Id']}": row for row in used.crm("Contact")}
    for candidate in hold["details"]["candidates"]:
        contact = contacts[candidate["ref"]]
        assert candidate["shows"]["Email"] == contact["Email"]
        assert f"Name: {contact['FirstName']} {contact['LastName']}; Email: {contact['Email']}" in shown.stdout
        assert "Account.Name" in candidate["shows"]
    assert "@" not in shown.stderr, "people's data stays out of the log"

    choice = hold["choices"][0].rpartition(":")[2]
    settled = used.run("holds", "settle", str(hold["id"]), "--choice", choice, "--because", "she called", "--by", "sam")
    assert settled.exit_code == 0
    assert used.json("holds", "list") == []
    again = used.run("holds", "settle", str(hold["id"]), "--choice", "never", "--because", "too late")
    assert again.exit_code == 1
    assert "settled by sam" in again.stderr

    assert used.json("sync")[0]["account"]["held"] == 0
    story = used.json("explain", hold["subject"])
    assert [link["why"] for link in story["links"]] == [["sam decided: she called"]]
    assert [one["choice"] for one in story["holds"]] == [hold["choices"][0]]


def test_explain_tells_the_same_story_from_either_side(used):
    task = ours(used)[0]
    by_id = used.json("explain", task["Id"][:15])
    message = by_id["links"][0]["platform"]
    by_message = used.json("explain", message)
    assert by_message["state"] == "synced"
    assert by_id["ref"] == f"salesforce:Task:{task['Id']}"
    assert [one["ref"].split(":")[1] for one in by_message["above"]] == ["conversation", "person"]
    subject = next(one for one in by_message["decisions"] if one["field"] == "Subject~template")
    assert "mapping.yaml:" in subject["where"]
    assert subject["value"] == task["Subject"]
    write, link = by_message["intents"][0], by_message["links"][0]
    assert write["state"] == "done"
    assert write["planned_at"] <= write["tried_at"] <= write["ended_at"] <= link["made_at"]
    assert link["ended_at"] is None
    assert used.json("explain", message.partition(":")[2])["ref"] == message
    assert "writes" in used.run("explain", message).stdout


def test_status_answers_with_the_documented_shape(used):
    (found,) = used.json("status", code=None)
    assert found["balanced"]
    assert found["seen"] == sum(found["account"].values())
    assert set(found["account"]) == {"open", "synced", "filtered", "held", "erased"}
    assert {(one["side"], one["stream"]) for one in found["streams"]} == {
        ("platform", "conversations"),
        ("platform", "recheck"),
        ("crm", "changes"),
    }
    assert all(one["lag"] is not None and not one["under_way"] for one in found["streams"])
    assert found["calls_today"]["salesforce"] > 0
    assert found["last_run"]["kind"] == "sync"
    assert all({"field", "rule", "winner", "loser"} <= conflict.keys() for conflict in found["conflicts"])
    assert "messages seen =" in used.run("status").stdout


def test_a_changed_mapping_is_refused_until_its_plan_is_approved(used):
    used.edit("mapping.yaml", "{mark}{text:120}", "{mark}{text:100}")
    before = ours(used)
    refused = used.run("sync")
    assert refused.exit_code == 4
    assert "connector plan --approve" in " ".join(refused.stderr.split())
    found = used.json("status", code=1)[0]
    assert not found["mapping_approved"]
    assert "changed_mapping" in [one["code"] for one in found["problems"]], "who looks in the morning sees why"
    planned = used.json("plan", "--limit", "0", code=None)[0]
    assert not planned["approved"]
    changes = [change for write in planned["writes"] for change in write["changes"]]
    assert {change["field"] for change in changes} == {"Subject"}
    assert all(change["rule"] == "changed" and len(change["after"]) < len(change["before"]) for change in changes)
    assert ours(used) == before
    assert "The mapping is approved." in used.run("plan", "--approve").stdout
    assert used.json("status", code=None)[0]["mapping_approved"]
    assert used.run("sync").exit_code in (0, 1)
    after = {task["Id"]: task["Subject"] for task in ours(used)}
    assert sum(after[task["Id"]] != task["Subject"] for task in before) == len(changes)


def test_a_guard_refuses_a_mass_change_until_it_is_allowed(used):
    used.edit("mapping.yaml", "[{conversation.network}]", "({conversation.network})")
    assert [one["code"] for one in used.json("plan", "--approve", code=1)[0]["refusals"]] == ["mass_change"]
    before = ours(used)
    refused = used.run("sync")
    assert refused.exit_code == 4
    assert "--allow mass_change" in " ".join(refused.stderr.split())
    assert "would become" in refused.stderr
    assert ours(used) == before
    assert used.run("sync", "--allow", "mass_change").exit_code in (0, 1)
    assert all(task["Subject"].startswith("(") for task in ours(used))


def test_a_spent_share_of_the_daily_calls_stops_the_sync_and_the_next_one_goes_on(used):
    used.run("sync")
    used.customer(inbox="WhatsApp", source_id="61491570156", text="Is anybody there?")
    used.edit("config.yaml", "mapping: mapping.yaml", "mapping: mapping.yaml\n    crm_daily_share: 0.0001")
    stopped = used.json("sync", code=4)[0]
    assert "crm_daily_share" in stopped["errors"][0]["way_out"]
    assert not [task for task in ours(used) if "Is anybody there?" in task["Description"]]
    used.edit("config.yaml", "0.0001", "0.5")
    assert used.run("sync").exit_code in (0, 1)
    assert len([task for task in ours(used) if "Is anybody there?" in task["Description"]]) == 1


def test_audit_keeps_quiet_until_a_promise_is_broken(used):
    used.run("sync")
    before = used.json("status", code=None)[0]["calls_today"]
    promises = used.json("audit")[0]["promises"]
    after = used.json("status", code=None)[0]["calls_today"]
    assert all(after[system] > calls for system, calls in before.items())
    assert [one["violations"] for one in promises] == [0] * len(promises)
    assert all(one["checked"] for one in promises if "reply" not in one["promise"])

    used.org("POST", "seed", {"object": "Task", "records": [{"Subject": "stray", "SMM_Message_Key__c": "main:stray"}]})
    (stray,) = [one for one in used.json("audit", code=1)[0]["promises"] if one["violations"]]
    assert "without a link" in stray["promise"]
    assert "main:stray" in stray["first"][0]
    assert "BROKEN" in used.run("audit").stdout


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


def test_the_config_is_found_by_the_environment_when_none_stands_here(used, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_CONFIG", str(used.folder / "config.yaml"))
    assert "main" in CliRunner().invoke(app, ["status"]).stdout
