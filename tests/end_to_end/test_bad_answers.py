"""Bad answers of both systems, fields that are taken away, wrong credentials: shown with a way out, and nothing is lost or
doubled once it is over."""

from pathlib import Path
from typing import Any

import pytest

from connector.errors import AuthError, Refusal, RemoteError

# ---- a field that is taken away ---------------------------------------------------------------------------------------


def test_a_field_taken_away_between_two_runs_stops_only_its_object_and_its_return_brings_everything(desk: Any) -> None:
    number = desk.phone()
    thread = desk.customer("Noa Quint", number, "before")
    engine = desk.engine()
    engine.sync()
    desk.crm_control("settings", hidden_fields=["Task.Type", "Task.SMM_Author__c"])
    desk.customer("Noa Quint", number, "without the field", conversation=thread)
    newcomer = desk.customer("Mees Quint", desk.phone(), "I am new")
    engine.sync()
    code, way_out = desk.problems()["writing Task"]
    assert code == "INVALID_FIELD"
    assert "Deploy the field" in way_out
    assert desk.texts(thread) == ["before"]
    assert desk.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{newcomer}"), "the rest goes on"
    desk.crm_control("settings", hidden_fields=["Task.Type"])
    desk.sync()
    assert desk.texts(thread) == ["before", "without the field"]
    assert desk.texts(newcomer) == ["I am new"]
    assert desk.problems() == {}


def test_a_field_that_cannot_be_read_any_more_stops_the_reading_of_the_crm_and_nothing_else(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    desk.sync()
    contact = desk.timeline(thread)[0]["WhoId"]
    desk.crm("PATCH", f"sobjects/Contact/{contact}", Phone="+31 6 1111 2222")
    desk.crm_control("settings", hidden_fields=["Task.Type", "Social_Conversation__c.Priority__c"])
    newcomer = desk.customer("Mees Quint", desk.phone(), "I am new")
    report = desk.sync()
    assert [error.code for error in report.trouble] == ["INVALID_FIELD"]
    assert "Deploy the field" in desk.problems()["reading salesforce changes"][1]
    assert desk.texts(newcomer) == ["I am new"]
    desk.crm_control("settings", hidden_fields=["Task.Type"])
    desk.sync()
    assert desk.person(desk.person_of(thread))["phone_number"] == "+31611112222"
    assert desk.problems() == {}


# ---- answers that are none --------------------------------------------------------------------------------------------

CHATWOOT_READ = {"path": "/conversations"}
SALESFORCE_CALL = {"path": ".*/composite"}
SALESFORCE_WRITE = {"path": ".*/composite", "body": "PATCH"}
BROKEN = [
    pytest.param("chatwoot", {"kind": "html", "status": 502, "match": CHATWOOT_READ}, id="page of a proxy from the platform"),
    pytest.param("chatwoot", {"kind": "cut", "match": CHATWOOT_READ}, id="cut JSON from the platform"),
    pytest.param("chatwoot", {"kind": "status", "status": 429, "match": CHATWOOT_READ}, id="429 of the platform"),
    pytest.param(
        "chatwoot", {"kind": "status", "status": 429, "retry_after": 3, "match": CHATWOOT_READ}, id="429 of the platform, with a time"
    ),
    pytest.param("salesforce", {"kind": "html", "status": 502, "match": SALESFORCE_CALL}, id="page of a proxy from the CRM"),
    pytest.param("salesforce", {"kind": "cut", "match": SALESFORCE_CALL}, id="cut JSON from the CRM"),
    pytest.param("salesforce", {"kind": "status", "status": 429, "match": SALESFORCE_WRITE}, id="429 of the CRM"),
    pytest.param(
        "salesforce", {"kind": "status", "status": 429, "retry_after": 3, "match": SALESFORCE_WRITE}, id="429 of the CRM, with a time"
    ),
]  # fmt: skip


def add_fault(office: Any, side: str, fault: dict[str, Any], times: int | None) -> None:
    call = office.control if side == "chatwoot" else office.crm_control
    call("faults", **fault, times=times)


@pytest.mark.parametrize("side", ["chatwoot", "salesforce"])
def test_one_bad_answer_of_each_kind_after_the_other_is_waited_out(desk: Any, side: str) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    engine = desk.engine()
    for fault in [param.values[1] for param in BROKEN if param.values[0] == side]:
        add_fault(desk, side, fault, 1)
    report = engine.sync()
    while report.trouble:
        report = engine.sync()
    assert desk.texts(thread) == ["hello"]
    assert desk.keys_are_unique()


# Of two that are alike (pages and cut answers, limits with and without a time) one; the test above meets them all.
@pytest.mark.parametrize(("side", "fault"), BROKEN[::2])
def test_bad_answers_without_end_cut_the_run_short_and_the_next_one_brings_everything(
    desk: Any, side: str, fault: dict[str, Any]
) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    engine = desk.engine()
    add_fault(desk, side, fault, None)
    stopped = told_to_stop(desk, engine)
    assert stopped or desk.problems()
    assert all(way_out for _, way_out in desk.problems().values())
    desk.clear()
    desk.sync()
    desk.sync()
    assert desk.texts(thread) == ["hello"]
    assert desk.keys_are_unique()
    assert desk.problems() == {}


def told_to_stop(office: Any, engine: Any) -> bool:
    """Whether the run ended with an error, which then stands in the list of runs. Otherwise only a part was cut short."""
    try:
        engine.sync()
    except RemoteError as error:
        return bool(office.ledger.last_runs(1)[0].summary["stopped_by"] == str(error))
    return False


def test_a_write_whose_answer_is_always_cut_is_looked_for_and_lands_once(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    engine = desk.engine()
    add_fault(desk, "salesforce", {"kind": "cut", "match": SALESFORCE_WRITE}, None)
    engine.sync()
    desk.clear()
    desk.sync()
    assert desk.texts(thread) == ["hello"]
    assert desk.keys_are_unique()
    assert desk.problems() == {}


# ---- credentials and accounts -----------------------------------------------------------------------------------------


def test_tokens_that_expire_between_the_pages_are_renewed_and_nothing_is_lost(desk: Any) -> None:
    threads = [desk.customer(f"Guest {number}", desk.phone(), f"text {number}") for number in range(3)]
    engine = desk.engine()
    desk.crm_control("settings", token_uses=2)
    report = engine.sync()
    assert report.trouble == []
    assert [desk.texts(thread) for thread in threads] == [["text 0"], ["text 1"], ["text 2"]]


def test_a_401_that_no_new_token_cures_stops_with_advice_and_without_a_flood_of_logins(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    engine = desk.engine()
    desk.crm_control("stats/reset")
    desk.crm_control("faults", kind="permanent_401")
    with pytest.raises(AuthError) as caught:
        engine.sync()
    assert "session policies" in caught.value.way_out
    stats = desk.crm_stats()
    assert stats["logins"] <= 1
    assert stats["writes"] == {}
    desk.clear()
    desk.sync()
    assert desk.texts(thread) == ["hello"]


def test_a_refusal_of_the_platform_to_read_names_the_rights_that_are_missing(desk: Any) -> None:
    fault = {"kind": "status", "status": 401, "body": {"error": "You are not authorized to do this action"}}
    desk.control("faults", **fault, match=CHATWOOT_READ, times=None)
    report = desk.sync()
    assert {type(error) for error in report.trouble} == {AuthError}
    assert "its role" in desk.problems()["reading chatwoot conversations"][1]
    desk.clear()
    desk.sync()
    assert desk.problems() == {}


def test_wrong_credentials_are_told_with_the_way_out_and_nothing_is_written(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    before = desk.crm_stats()["writes"]
    for name in ("chatwoot-token", "salesforce-client-secret"):
        file = desk.directory / name
        right = file.read_text()
        file.write_text("not-the-secret")
        try:
            with pytest.raises(AuthError) as caught:
                desk.sync()
        finally:
            file.write_text(right)
        assert caught.value.way_out
        assert "not-the-secret" not in str(caught.value)
    assert desk.crm_stats()["writes"] == before
    desk.sync()
    assert desk.texts(thread) == ["hello"]


def test_another_account_than_the_pinned_one_is_refused_before_anything_is_read(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    engine = desk.engine()
    engine.prepare()
    ours = desk.chatwoot_url
    desk.chatwoot_url = ours.replace("127.0.0.1", "localhost")
    try:
        with pytest.raises(Refusal) as caught:
            desk.sync()
    finally:
        desk.chatwoot_url = ours
    assert caught.value.code == "wrong_account"
    assert "localhost/1" in caught.value.message
    assert "right credentials" in caught.value.way_out
    assert desk.texts(thread) == []
    desk.sync()
    assert desk.texts(thread) == ["hello"]


def test_a_changed_mapping_waits_until_somebody_approves_it(desk: Any, tmp_path: Path) -> None:
    original = desk.mapping_file
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    changed = tmp_path / "changed.yaml"
    changed.write_text(original.read_text().replace("Priority, constant: Normal", "Priority, constant: High"))
    desk.mapping_file = changed
    try:
        with pytest.raises(Refusal) as caught:
            desk.sync()
        assert caught.value.code == "changed_mapping"
        assert "plan --approve" in caught.value.way_out
        assert desk.texts(thread) == []
        engine = desk.engine(allowed=["mass_change"])
        engine.approve()
        engine.sync()
        assert {row["Priority"] for row in desk.records("Task")} == {"High"}
    finally:
        desk.mapping_file = original
        desk.engine().approve()
    desk.sync(allowed=["mass_change"])
    assert {row["Priority"] for row in desk.records("Task")} == {"Normal"}
