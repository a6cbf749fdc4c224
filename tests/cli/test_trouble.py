"""What goes wrong ends with the documented code, one clear message and a way out, and writes nothing."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from connector.app import App
from connector.store.store import Store
from connector.sync.engine import ALLOWED_ONCE


def messages(result) -> str:
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def test_every_problem_of_the_config_is_told_at_once(site):
    site.edit("config.yaml", "port: 0", "prot: 0")
    site.edit("config.yaml", "file:store-key", "file:nowhere")
    found = site.json("check", code=2)
    assert not found["ok"]
    assert {problem["path"] for problem in found["problems"]} == {"store.key", "service.prot"}
    assert all(problem["line"] for problem in found["problems"])
    result = site.run("sync")
    assert result.exit_code == 2
    assert "prot" in messages(result)
    assert "nowhere" in messages(result)


def test_a_broken_mapping_ends_with_2_and_names_the_line(site):
    site.edit("mapping.yaml", "rule: fill_blank", "rule: fill_blanks")
    result = site.run("sync")
    assert result.exit_code == 2
    assert "mapping.yaml:" in messages(result)


def test_a_mapping_that_does_not_fit_the_crm_is_found_by_check(site):
    site.edit("mapping.yaml", "crm: SMM_Author__c", "crm: SMM_Autor__c")
    found = site.json("check", code=1)["connections"][0]["findings"]
    (error,) = [one for one in found if one["severity"] == "error"]
    assert "SMM_Autor__c" in error["message"]
    assert "SMM_Author__c" in error["way_out"]
    assert error["line"]


def test_an_unknown_stream_in_the_schedule_is_found_by_check_and_refused_by_run(site):
    (site.folder / "config.yaml").open("a").write("schedule:\n  chagnes: 5m\n")
    found = site.json("check", code=1)["connections"][0]["findings"]
    assert "Did you mean changes?" in [one["way_out"] for one in found]
    result = site.run("run")
    assert result.exit_code == 2
    assert "chagnes" in messages(result)


@pytest.mark.parametrize("command", ["sync", "plan"])
def test_wrong_credentials_end_with_5_and_never_show_the_secret(site, command):
    (site.folder / "token").write_text("not-the-token")
    site.edit("config.yaml", str(site.sandboxes.chatwoot_token), str(site.folder / "token"))
    result = site.run(command)
    assert result.exit_code == 5
    assert "chatwoot" in messages(result)
    assert "not-the-token" not in result.output
    findings = site.json("check", code=1)["connections"][0]["findings"]
    assert any("chatwoot" in one["message"] and one["way_out"] for one in findings)


@pytest.mark.parametrize("refused", ["chatwoot", "salesforce"])
def test_a_refused_login_does_not_hide_what_the_other_side_says_of_the_mapping(site, refused):
    secret = site.sandboxes.chatwoot_token if refused == "chatwoot" else site.sandboxes.salesforce_client_secret
    (site.folder / "wrong").write_text("not-the-secret")
    site.edit("config.yaml", str(secret), str(site.folder / "wrong"))
    site.edit("mapping.yaml", "crm: SMM_Author__c", "crm: SMM_Autor__c")
    site.edit("mapping.yaml", "platform: status, direction: both", "platform: url, direction: both")
    checked = site.json("check", code=1)["connections"][0]
    assert len(checked["accounts"]) == 1
    found = [(one["severity"], one["message"]) for one in checked["findings"]]
    assert ("warning", f"the mapping was not checked against {refused}, which could not be read.") in found
    told = [message for severity, message in found if severity == "error"]
    assert any("SMM_Autor__c" in message for message in told) is (refused == "chatwoot"), told
    assert any(message.startswith("url of a conversation") for message in told) is (refused == "salesforce"), told


def test_a_connection_that_another_process_works_on_ends_with_3(site):
    store = Store.open(f"sqlite:///{site.folder}/connector.db", clock=lambda: datetime.now(UTC))
    assert store.at("main").lease("somebody:1", timedelta(minutes=5))
    for command in ("sync", "plan"):
        result = site.run(command)
        assert result.exit_code == 3
        assert "Another process" in messages(result)
    store.close()


def test_a_worker_on_a_store_in_a_file_is_told_what_to_do(site):
    result = site.run("worker")
    assert result.exit_code == 3
    assert "connector migrate-store" in messages(result)
    assert "connector run" in messages(result)


def test_a_newer_store_ends_with_3(site):
    site.run("status")
    with sqlite3.connect(site.folder / "connector.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999_future'")
    db.close()
    result = site.run("status")
    assert result.exit_code == 3
    assert "newer version" in messages(result)


def test_a_fault_of_the_program_ends_with_70_and_without_a_traceback(site, monkeypatch):
    monkeypatch.setattr(App, "chosen", lambda self, name: 1 / 0)
    result = site.run("status")
    assert result.exit_code == 70
    assert "ZeroDivisionError" in messages(result)


def test_an_interrupt_ends_with_130(site, monkeypatch):
    def interrupted(self, name):
        raise KeyboardInterrupt

    monkeypatch.setattr(App, "chosen", interrupted)
    assert site.run("status").exit_code == 130


def test_an_unknown_connection_names_those_there_are(site):
    result = site.run("--connection", "mian", "status")
    assert result.exit_code == 2
    assert "main" in messages(result)


@pytest.mark.parametrize("text", ["nonsense", "chatwoot:person:", "chatwoot:person:99999", "003000000000000"])
def test_explain_of_something_unknown_says_how_to_write_it(used, text):
    result = used.run("explain", text)
    assert result.exit_code == 1
    assert "chatwoot:message:" in messages(result)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["check", "--connection", "main"], "connector --connection NAME check"),
        (["check", "--config", "other.yaml"], "connector --config FILE check"),
        (["holds", "list", "-c", "other.yaml"], "connector -c FILE holds list"),
        (["sync", "--debug"], "connector --debug sync"),
        (["check", "--conection", "main"], "No such option"),
    ],
)
def test_an_option_behind_the_command_is_told_where_it_stands(site, args, told):
    result = site.run(*args)
    assert result.exit_code == 2
    assert told in messages(result)


def test_a_guard_is_allowed_to_a_connector_that_is_running(used):
    store = Store.open(f"sqlite:///{used.folder}/connector.db", clock=lambda: datetime.now(UTC))
    ledger = store.at("main")
    try:
        assert ledger.lease("somebody:1", timedelta(minutes=5))
        allowed = used.run("sync", "--allow", "old_replies")
        assert allowed.exit_code in (0, 1)
        assert "The next run is allowed old_replies" in " ".join(allowed.stderr.split())
        used.run("sync", "--allow", "reply_burst")
        assert ledger.recall(ALLOWED_ONCE) == ["old_replies", "reply_burst"]
    finally:
        ledger.release()
        store.close()
    used.run("sync", "--allow", "reply_burst", "--allow", "old_replies")
    store = Store.open(f"sqlite:///{used.folder}/connector.db", clock=lambda: datetime.now(UTC))
    assert store.at("main").recall(ALLOWED_ONCE) is None, "once is once"
    store.close()


def test_a_guard_that_does_not_exist_is_named_with_those_that_do(used):
    refused = used.run("sync", "--allow", "everything")
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.replace("│", " ").split())
    assert "there is no guard everything" in said
    assert "mass_change" in said
