"""What a reader of changes meets: stamps, deletes, undeletes, merges, conversions, late commits, replication."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


def changed_since(org: Any, name: str, stamp: str) -> list[str]:
    literal = stamp.replace(".000+0000", "Z")
    rows = org.query(f"SELECT Id FROM {name} WHERE SystemModstamp >= {literal} ORDER BY SystemModstamp, Id", "queryAll")
    return [row["Id"] for row in rows]


def test_rows_of_one_request_share_a_stamp_of_whole_seconds(org: Any) -> None:
    keys = org.seed("Lead", *[{"LastName": str(i), "Company": "Stamp"} for i in range(50)])
    stamps = {org.raw("Lead", key)["SystemModstamp"] for key in (keys[0], keys[49])}
    assert len(stamps) <= 2
    assert all(stamp.endswith(".000+0000") for stamp in stamps)


def test_a_background_process_moves_only_the_system_stamp(org: Any) -> None:
    key = org.contact()
    before = org.raw("Contact", key)
    org.control("POST", "time", {"advance_s": 30})
    org.control("POST", "touch", {"ids": [key]})
    after = org.raw("Contact", key)
    assert after["SystemModstamp"] > before["SystemModstamp"]
    assert after["LastModifiedDate"] == before["LastModifiedDate"]


def test_a_deleted_record_is_404_and_stays_visible_to_query_all(org: Any, error_codes: Any) -> None:
    key = org.contact()
    assert org.call("DELETE", f"sobjects/Contact/{key}").status_code == 204
    for method in ("GET", "DELETE"):
        answer = org.call(method, f"sobjects/Contact/{key}")
        assert (answer.status_code, error_codes(answer)) == (404, ["ENTITY_IS_DELETED"])
    assert org.query(f"SELECT IsDeleted FROM Contact WHERE Id = '{key}'", "queryAll")[0]["IsDeleted"] is True


def test_deleting_a_contact_takes_its_tasks_along_and_clears_its_conversations(org: Any) -> None:
    key = org.contact()
    task = org.seed("Task", {"Subject": "x", "WhoId": key})[0]
    conversation = org.seed("Social_Conversation__c", {"Name": "x", "Contact__c": key})[0]
    org.call("DELETE", f"sobjects/Contact/{key}")
    assert org.raw("Task", task)["IsDeleted"]
    assert "Contact__c" not in org.raw("Social_Conversation__c", conversation)
    org.control("POST", "undelete", {"ids": [key]})
    assert not org.raw("Task", task)["IsDeleted"]
    assert org.raw("Social_Conversation__c", conversation)["Contact__c"] == key


def test_undelete_brings_back_the_same_id_with_a_new_stamp(org: Any) -> None:
    key = org.contact()
    org.call("DELETE", f"sobjects/Contact/{key}")
    deleted = org.raw("Contact", key)["SystemModstamp"]
    org.control("POST", "time", {"advance_s": 5})
    org.control("POST", "undelete", {"ids": [key]})
    assert org.raw("Contact", key)["SystemModstamp"] > deleted
    assert org.call("GET", f"sobjects/Contact/{key}").status_code == 200


def test_the_bin_is_emptied_after_15_days(org: Any) -> None:
    key = org.contact()
    org.call("DELETE", f"sobjects/Contact/{key}")
    assert org.control("POST", "purge", {})["purged"] == 0
    org.control("POST", "time", {"advance_s": 16 * 86_400})
    assert org.control("POST", "purge", {})["purged"] >= 1
    assert org.query(f"SELECT Id FROM Contact WHERE Id = '{key}'", "queryAll") == []


def test_merged_losers_point_at_the_winner_and_children_move_without_a_stamp(org: Any) -> None:
    winner, loser, last = org.contact(), org.contact(SMM_Person_Key__c=org.unique("p")), org.contact()
    task = org.seed("Task", {"Subject": "x", "WhoId": loser})[0]
    identity = org.seed("Social_Identity__c", {"Name": "x", "Contact__c": loser})[0]
    before = org.raw("Task", task)["SystemModstamp"]
    org.control("POST", "time", {"advance_s": 60})
    org.control("POST", "merge", {"object": "Contact", "winner": winner, "losers": [loser]})
    gone = org.raw("Contact", loser)
    assert (gone["IsDeleted"], gone["MasterRecordId"]) == (True, winner)
    assert (org.raw("Task", task)["WhoId"], org.raw("Task", task)["SystemModstamp"]) == (winner, before)
    assert org.raw("Social_Identity__c", identity)["Contact__c"] == winner
    assert {winner, loser} <= set(changed_since(org, "Contact", gone["SystemModstamp"]))
    org.control("POST", "merge", {"object": "Contact", "winner": last, "losers": [winner]})
    assert org.raw("Contact", winner)["MasterRecordId"] == last
    assert org.raw("Contact", loser)["MasterRecordId"] == winner


def test_a_converted_lead_names_its_contact_moves_its_tasks_and_takes_no_more_writes(
    org: Any, error_codes: Any
) -> None:
    lead = org.lead(FirstName="Lea", Email="lea@x.example")
    task = org.seed("Task", {"Subject": "x", "WhoId": lead})[0]
    made = org.control("POST", "convert", {"lead": lead})
    row = org.raw("Lead", lead)
    assert (row["IsConverted"], row["ConvertedContactId"]) == (True, made["contact"])
    assert org.raw("Task", task)["WhoId"] == made["contact"]
    contact = org.raw("Contact", made["contact"])
    assert (contact["Email"], contact["AccountId"]) == ("lea@x.example", made["account"])
    answer = org.call("PATCH", f"sobjects/Lead/{lead}", json={"Title": "x"})
    assert error_codes(answer) == ["CANNOT_UPDATE_CONVERTED_LEAD"]
    assert error_codes(org.create("Task", {"WhoId": lead})) == ["CANNOT_UPDATE_CONVERTED_LEAD"]


def test_a_late_commit_shows_its_old_stamp_only_after_the_delay(org: Any, human: Any) -> None:
    key = org.contact(Title="before")
    stamp = org.raw("Contact", key)["SystemModstamp"]
    org.control("POST", "settings", {"commit_delay_s": 120})
    human.call("PATCH", f"sobjects/Contact/{key}", json={"Title": "after"})
    fresh = human.create("Contact", {"LastName": "New"}).json()["id"]

    def titles() -> list[str]:
        return [row["Title"] for row in org.query(f"SELECT Title FROM Contact WHERE Id = '{key}'")]

    assert titles() == ["before"]
    assert fresh not in changed_since(org, "Contact", stamp)
    written = org.raw("Contact", key)["SystemModstamp"]
    org.control("POST", "time", {"advance_s": 121})
    assert titles() == ["after"]
    assert {key, fresh} <= set(changed_since(org, "Contact", written))


def test_the_connectors_own_write_is_visible_when_it_is_answered(org: Any) -> None:
    org.control("POST", "settings", {"commit_delay_s": 120})
    key = org.create("Contact", {"LastName": "Now"}).json()["id"]
    assert org.call("GET", f"sobjects/Contact/{key}").status_code == 200


def window(before_s: int, after_s: int) -> str:
    moments = (datetime.now(UTC) + timedelta(seconds=s) for s in (-before_s, after_s))
    start, end = (m.strftime("%Y-%m-%dT%H:%M:%SZ") for m in moments)
    return f"?start={start}&end={end}"


def test_updated_and_deleted_list_the_ids_of_a_window(org: Any) -> None:
    kept, gone = org.lead(), org.lead()
    org.call("DELETE", f"sobjects/Lead/{gone}")
    updated = org.call("GET", f"sobjects/Lead/updated/{window(3600, 120)}").json()
    deleted = org.call("GET", f"sobjects/Lead/deleted/{window(3600, 120)}").json()
    assert kept in updated["ids"]
    assert gone not in updated["ids"]
    assert gone in [one["id"] for one in deleted["deletedRecords"]]
    assert set(deleted) == {"deletedRecords", "earliestDateAvailable", "latestDateCovered"}


@pytest.mark.parametrize(
    "query",
    ["", "?start=x&end=y", window(0, -60), window(0, 0), window(31 * 86_400, 0)],
    ids=["no window", "no dates", "end before start", "less than a minute", "more than 30 days back"],
)
def test_a_wrong_replication_window_is_refused(org: Any, error_codes: Any, query: str) -> None:
    answer = org.call("GET", f"sobjects/Lead/deleted/{query}")
    assert (answer.status_code, error_codes(answer)) == (400, ["INVALID_REPLICATION_DATE"])
