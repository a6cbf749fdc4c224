"""The Chatwoot sandbox over HTTP: access, conversations, contacts, and what is refused."""

from typing import Any

import pytest
import requests

# Access -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["api_access_token", "api-access-token", "Api-Access-Token"])
def test_both_spellings_of_the_token_header_are_accepted(chatwoot: Any, header: str) -> None:
    token = (chatwoot.directory / "chatwoot-token").read_text()
    profile = requests.get(f"{chatwoot.url}/api/v1/profile", headers={header: token}).json()
    assert profile["email"] == "crm-sync@noordzee-fietsen.example"
    assert [(a["id"], a["role"]) for a in profile["accounts"]] == [(1, "administrator")]


@pytest.mark.parametrize(
    ("headers", "path", "body"),
    [
        ({}, "/api/v1/profile", {"errors": ["You need to sign in or sign up before continuing."]}),
        ({"api_access_token": "wrong"}, "/api/v1/profile", {"error": "Invalid Access Token"}),
        (
            {"Authorization": "Bearer x"},
            "/api/v1/accounts/1/inboxes",
            {"errors": ["You need to sign in or sign up before continuing."]},
        ),
    ],
    ids=["no_token", "unknown_token", "bearer_is_not_accepted"],
)
def test_a_bad_login_is_refused_with_401(chatwoot: Any, headers: Any, path: str, body: Any) -> None:
    answer = requests.get(chatwoot.url + path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, body)


def test_a_foreign_account_is_refused(chatwoot: Any) -> None:
    token = (chatwoot.directory / "chatwoot-token").read_text()
    answer = requests.get(f"{chatwoot.url}/api/v1/accounts/2/inboxes", headers={"api_access_token": token})
    assert (answer.status_code, answer.json()) == (401, {"error": "You are not authorized to access this account"})


def test_an_agent_may_not_do_what_only_administrators_may(chatwoot: Any) -> None:
    answer = chatwoot.call("GET", "/webhooks", token="chatwoot-agent-token")
    assert (answer.status_code, answer.json()) == (401, {"error": "You are not authorized to do this action"})


def test_an_agent_sees_only_conversations_of_inboxes_it_is_a_member_of(chatwoot: Any) -> None:
    closed = {
        "key": "i",
        "name": "Closed",
        "channel_type": "Channel::Sms",
        "members": ["crm-sync@noordzee-fietsen.example"],
    }
    person = {"key": "c", "name": "P", "identities": [{"inbox": "i", "source_id": "+12025550101"}]}
    given = {"inboxes": [closed], "contacts": [person], "conversations": [{"key": "v", "inbox": "i", "contact": "c"}]}
    given["inboxes"][0]["members"] = ["k"]
    given["agents"] = [{"key": "k", "name": "K", "email": "k@noordzee-fietsen.example"}]
    id = chatwoot.control("POST", "import", given)["conversations"]["v"]
    assert chatwoot.call("GET", f"/conversations/{id}").status_code == 200
    assert chatwoot.call("GET", f"/conversations/{id}", token="chatwoot-agent-token").status_code == 401


def test_secrets_are_readable_by_their_owner_only(chatwoot: Any) -> None:
    for name in ("chatwoot-token", "chatwoot-agent-token"):
        assert (chatwoot.directory / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/no_such_thing", None, 404),
        ("DELETE", "/conversations", None, 404),
        ("GET", "/conversations?updated_since=1", None, 501),
        ("POST", "/contacts", {"nmae": "typo"}, 501),
        ("GET", "/conversations?sort_by=updated_at", None, 501),
    ],
)
def test_what_the_server_does_not_know_is_refused_and_counted(
    chatwoot: Any, method: str, path: str, body: Any, status: int
) -> None:
    chatwoot.control("POST", "stats/reset")
    assert chatwoot.call(method, path, body).status_code == status
    assert sum(chatwoot.control("GET", "stats")["unknown"].values()) == 1


def test_the_version_needs_no_login(chatwoot: Any) -> None:
    assert requests.get(f"{chatwoot.url}/api").json()["version"] == "4.15.1"


# Listing conversations --------------------------------------------------------------------------------------------


def test_the_list_has_25_a_page_and_counts_all(chatwoot: Any) -> None:
    given: dict[str, Any] = {
        "inboxes": [{"key": "i", "name": "Paged", "channel_type": "Channel::Line"}],
        "contacts": [],
    }
    given["conversations"] = []
    for n in range(30):
        given["contacts"].append({"key": n, "name": str(n), "identities": [{"inbox": "i", "source_id": str(n)}]})
        first = {"type": "incoming", "at": 1767225600 + n, "text": "x"}
        given["conversations"].append({"key": n, "inbox": "i", "contact": n, "messages": [first]})
    ids = chatwoot.control("POST", "import", given)
    inbox = ids["inboxes"]["i"]
    seen = []
    for page in (1, 2, 3):
        data = chatwoot.ok("GET", f"/conversations?inbox_id={inbox}&sort_by=created_at_asc&page={page}")["data"]
        assert data["meta"]["all_count"] == 30
        seen.append([row["id"] for row in data["payload"]])
    assert [len(rows) for rows in seen] == [25, 5, 0]
    assert seen[0] + seen[1] == [ids["conversations"][str(n)] for n in range(30)]


def test_updated_within_is_unpaged_and_obeys_the_status(chatwoot: Any) -> None:
    ids = [chatwoot.conversation() for _ in range(30)]
    for id in ids:
        chatwoot.ok("POST", f"/conversations/{id}/toggle_status", {"status": "resolved"})
    open_ones = chatwoot.ok("GET", "/conversations?updated_within=600&page=2")["data"]["payload"]
    all_of_them = chatwoot.ok("GET", "/conversations?updated_within=600&status=all&page=2")["data"]["payload"]
    assert not {row["id"] for row in open_ones} & set(ids)
    assert set(ids) <= {row["id"] for row in all_of_them}


def test_imported_history_is_not_recently_updated(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    rows = chatwoot.ok("GET", "/conversations?updated_within=600&status=all")["data"]["payload"]
    assert id not in [row["id"] for row in rows]


MOVES = {
    "a_reply": ("POST", "/messages", {"content": "hi"}, True),
    "a_private_note": ("POST", "/messages", {"content": "hi", "private": True}, True),
    "the_status": ("POST", "/toggle_status", {"status": "pending"}, True),
    "snoozing": ("POST", "/toggle_status", {"status": "snoozed", "snoozed_until": 1999999999}, True),
    "the_priority": ("PATCH", "", {"priority": "high"}, True),
    "the_assignee": ("POST", "/assignments", {"assignee_id": 2}, True),
    "the_labels": ("POST", "/labels", {"labels": ["vip"]}, True),
    "custom_attributes": ("POST", "/custom_attributes", {"custom_attributes": {"a": 1}}, True),
    "a_read_mark": ("POST", "/update_last_seen", None, False),
    "the_same_labels": ("POST", "/labels", {"labels": []}, False),
}


@pytest.mark.parametrize(("method", "path", "body", "moves"), MOVES.values(), ids=MOVES.keys())
def test_updated_at_is_moved_by(chatwoot: Any, method: str, path: str, body: Any, moves: bool) -> None:
    id = chatwoot.conversation()
    before = chatwoot.show(id)["updated_at"]
    chatwoot.ok(method, f"/conversations/{id}{path}", body)
    assert (chatwoot.show(id)["updated_at"] > before) is moves


def test_edits_deletions_and_delivery_reports_do_not_move_updated_at(chatwoot: Any) -> None:
    id = chatwoot.conversation(count=2)
    (one, two) = [m["id"] for m in chatwoot.ok("GET", f"/conversations/{id}/messages")["payload"]]
    before = chatwoot.show(id)["updated_at"]
    chatwoot.control("POST", "network/edit", {"message_id": one, "text": "better"})
    chatwoot.control("POST", "network/delete", {"message_id": two})
    chatwoot.control("POST", "delivery", {"message_id": one, "status": "read"})
    rows = chatwoot.ok("GET", f"/conversations/{id}/messages")["payload"]
    assert [row["content"] for row in rows] == ["better", "This message was deleted"]
    assert rows[1]["content_attributes"] == {"deleted": True}
    assert chatwoot.show(id)["updated_at"] == before


def test_status_priority_and_labels_answer_in_the_documented_shapes(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    toggled = chatwoot.ok("POST", f"/conversations/{id}/toggle_status", {"status": "resolved"})
    assert toggled == {
        "meta": {},
        "payload": {"success": True, "conversation_id": id, "current_status": "resolved", "snoozed_until": None},
    }
    assert chatwoot.ok("POST", f"/conversations/{id}/labels", {"labels": ["a", "b"]}) == {"payload": ["a", "b"]}
    change = {"type": "Conversation", "ids": [id], "labels": {"add": ["c"], "remove": ["a"]}}
    assert chatwoot.ok("POST", "/bulk_actions", change) is None
    assert chatwoot.ok("GET", f"/conversations/{id}/labels") == {"payload": ["b", "c"]}


def test_custom_attributes_of_a_conversation_are_replaced_as_a_whole(chatwoot: Any) -> None:
    id = chatwoot.conversation(custom_attributes={"old": 1})
    chatwoot.ok("POST", f"/conversations/{id}/custom_attributes", {"custom_attributes": {"new": 2}})
    assert chatwoot.show(id)["custom_attributes"] == {"new": 2}


@pytest.mark.parametrize(
    ("token", "assignee"),
    [("chatwoot-agent-token", 2), ("chatwoot-token", None)],
    ids=["agent_takes", "admin_does_not"],
)
def test_opening_a_conversation_assigns_it_to_an_agent_only(chatwoot: Any, token: str, assignee: int | None) -> None:
    id = chatwoot.conversation(status="resolved")
    chatwoot.ok("POST", f"/conversations/{id}/toggle_status", {"status": "open"}, token=token)
    assert chatwoot.show(id)["meta"].get("assignee", {}).get("id") == assignee


def test_an_unknown_assignee_silently_unassigns(chatwoot: Any) -> None:
    id = chatwoot.conversation(assignee="sam@noordzee-fietsen.example")
    chatwoot.ok("POST", f"/conversations/{id}/assignments", {"assignee_id": 9999})
    assert "assignee" not in chatwoot.show(id)["meta"]


def test_a_customers_message_reopens_a_resolved_conversation(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::Email", status="resolved")
    inbox = chatwoot.show(id)["inbox_id"]
    body = {"inbox": inbox, "source_id": "again@mail.example", "text": "one more thing", "conversation": id}
    chatwoot.control("POST", "customer", body)
    assert chatwoot.show(id)["status"] == "open"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"attribute_key": "status", "filter_operator": "equal_to", "values": ["snoozed"]}, ["b"]),
        ({"attribute_key": "labels", "filter_operator": "equal_to", "values": ["zz-a", "zz-b"]}, ["a", "b"]),
        ({"attribute_key": "last_activity_at", "filter_operator": "is_less_than", "values": ["2001-01-02"]}, ["a"]),
        ({"attribute_key": "last_activity_at", "filter_operator": "is_less_than", "values": ["2001-01-01"]}, []),
    ],
    ids=["status", "any_of_the_labels", "a_later_day", "never_the_same_day"],
)
def test_the_filter_finds(chatwoot: Any, condition: Any, found: list[str]) -> None:
    # 2001-01-01T12:00:00Z and a day later.
    mine = {
        "a": chatwoot.conversation(labels=["zz-a"], messages=[{"type": "incoming", "at": 978350400, "text": "a"}]),
        "b": chatwoot.conversation(
            labels=["zz-b"], status="snoozed", messages=[{"type": "incoming", "at": 978436800, "text": "b"}]
        ),
    }
    first = {"attribute_key": "display_id", "filter_operator": "equal_to", "values": list(mine.values())}
    payload = [{**first, "query_operator": "AND"}, {**condition, "query_operator": None}]
    rows = chatwoot.ok("POST", "/conversations/filter", {"payload": payload})["payload"]
    assert sorted(name for name, id in mine.items() if id in [row["id"] for row in rows]) == found


@pytest.mark.parametrize(
    "condition",
    [
        {"attribute_key": "updated_at", "filter_operator": "is_greater_than", "values": ["2026-01-01"]},
        {"attribute_key": "status", "filter_operator": "contains", "values": ["open"]},
        {"attribute_key": "created_at", "filter_operator": "is_greater_than", "values": ["yesterday"]},
        {"attribute_key": "status", "filter_operator": "equal_to", "values": ["open"], "query_operator": "AND"},
    ],
    ids=["unknown_key", "unknown_operator", "no_date", "operator_after_the_last"],
)
def test_a_bad_filter_is_refused_with_422(chatwoot: Any, condition: Any) -> None:
    answer = chatwoot.call("POST", "/conversations/filter", {"payload": [condition]})
    assert answer.status_code == 422
    assert "error" in answer.json()


# Contacts ---------------------------------------------------------------------------------------------------------


def test_people_known_only_by_a_network_are_hidden_from_the_list_but_found_by_search_and_identity(
    chatwoot: Any,
) -> None:
    id = chatwoot.conversation("Channel::Instagram")
    sender = chatwoot.show(id)["meta"]["sender"]
    listed = chatwoot.ok("GET", "/contacts")
    assert sender["id"] not in [row["id"] for row in listed["payload"]]
    found = chatwoot.ok("GET", f"/contacts/search?q={sender['name']}")
    assert sender["id"] in [row["id"] for row in found["payload"]]
    own = chatwoot.ok("GET", f"/contacts/{sender['id']}")["payload"]["contact_inboxes"][0]
    wanted = {"inbox_id": own["inbox"]["id"], "source_id": own["source_id"]}
    assert chatwoot.ok("POST", "/contact_inboxes/filter", wanted)["id"] == sender["id"]
    chatwoot.ok("PATCH", f"/contacts/{sender['id']}", {"identifier": f"crm-{sender['id']}"})
    payload = [{"attribute_key": "identifier", "filter_operator": "equal_to", "values": [f"crm-{sender['id']}"]}]
    assert chatwoot.ok("POST", "/contacts/filter", {"payload": payload})["meta"]["count"] == 1


def test_an_unknown_identity_answers_404_without_a_body(chatwoot: Any) -> None:
    answer = chatwoot.call("POST", "/contact_inboxes/filter", {"inbox_id": 1, "source_id": "nobody"})
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize(
    ("first", "second", "message", "attribute"),
    [
        ({"email": "A@b.example"}, {"email": "a@B.example"}, "Email has already been taken", "email"),
        ({"phone_number": "+12025550111"}, {"phone_number": "+12025550111"}, "Phone number has already been taken", "phone_number"),
        ({"identifier": "crm-1"}, {"identifier": "crm-1"}, "Identifier has already been taken", "identifier"),
        ({}, {"phone_number": "0611"}, "Phone number should be in e164 format", "phone_number"),
        ({}, {"email": "nonsense"}, "Email is invalid", "email"),
    ],
)  # fmt: skip
def test_a_contact_is_refused(chatwoot: Any, first: Any, second: Any, message: str, attribute: str) -> None:
    chatwoot.ok("POST", "/contacts", {"name": "One", **first})
    answer = chatwoot.call("POST", "/contacts", {"name": "Two", **second})
    assert (answer.status_code, answer.json()) == (422, {"message": message, "attributes": [attribute]})


def test_a_refused_contact_leaves_nothing_behind(chatwoot: Any) -> None:
    box = {"key": "i", "name": "Mail", "channel_type": "Channel::Email"}
    inbox = chatwoot.control("POST", "import", {"inboxes": [box]})["inboxes"]["i"]
    before = len(chatwoot.control("GET", "dump")["contact"])
    assert chatwoot.call("POST", "/contacts", {"name": "No address", "inbox_id": inbox}).status_code == 422
    assert len(chatwoot.control("GET", "dump")["contact"]) == before


def test_contact_attributes_are_merged_at_their_top_level_only(chatwoot: Any) -> None:
    given = {
        "name": "P",
        "additional_attributes": {"city": "Delft", "social_profiles": {"instagram": "p", "tiktok": "p"}},
    }
    id = chatwoot.ok("POST", "/contacts", given)["payload"]["contact"]["id"]
    change = {"additional_attributes": {"social_profiles": {"instagram": "q"}}}
    after = chatwoot.ok("PUT", f"/contacts/{id}", change)["payload"]["additional_attributes"]
    assert after == {"city": "Delft", "social_profiles": {"instagram": "q"}}


def test_a_merge_moves_everything_to_the_base_and_the_other_is_gone(chatwoot: Any) -> None:
    one, two = chatwoot.conversation("Channel::Instagram"), chatwoot.conversation("Channel::FacebookPage")
    base, other = chatwoot.show(one)["meta"]["sender"]["id"], chatwoot.show(two)["meta"]["sender"]["id"]
    chatwoot.ok("PATCH", f"/contacts/{other}", {"email": f"m{other}@mail.example", "custom_attributes": {"a": 1}})
    chatwoot.ok("POST", f"/contacts/{other}/notes", {"content": "calls on Mondays"})
    merged = chatwoot.ok("POST", "/actions/contact_merge", {"base_contact_id": base, "mergee_contact_id": other})
    assert (merged["id"], merged["email"], merged["custom_attributes"]) == (base, f"m{other}@mail.example", {"a": 1})
    assert chatwoot.call("GET", f"/contacts/{other}").status_code == 404
    assert chatwoot.show(two)["meta"]["sender"]["id"] == base
    assert chatwoot.ok("GET", f"/conversations/{two}/messages")["payload"][0]["sender"]["id"] == base
    assert [n["content"] for n in chatwoot.ok("GET", f"/contacts/{base}/notes")] == ["calls on Mondays"]
    assert {c["id"] for c in chatwoot.ok("GET", f"/contacts/{base}/conversations")["payload"]} == {one, two}


def test_a_deleted_contact_takes_its_conversations_along(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    contact = chatwoot.show(id)["meta"]["sender"]["id"]
    assert chatwoot.call("DELETE", f"/contacts/{contact}", token="chatwoot-agent-token").status_code == 401
    chatwoot.ok("DELETE", f"/contacts/{contact}")
    assert chatwoot.call("GET", f"/conversations/{id}").json() == {"error": "Resource could not be found"}


def test_contacts_come_15_a_page_with_the_page_number_as_text(chatwoot: Any) -> None:
    for n in range(16):
        chatwoot.ok("POST", "/contacts", {"name": f"Paged {n}", "identifier": f"paged-{n}"})
    answer = chatwoot.ok("GET", "/contacts?page=1&sort=-created_at")
    assert len(answer["payload"]) == 15
    assert answer["meta"]["current_page"] == "1"
    assert answer["meta"]["count"] >= 16


def test_a_conversation_is_started_with_a_made_up_source_id_only_where_the_channel_can(chatwoot: Any) -> None:
    inboxes = {
        name: chatwoot.show(chatwoot.conversation(name))["inbox_id"] for name in ("Channel::Api", "Channel::Instagram")
    }
    contact = chatwoot.ok("POST", "/contacts", {"name": "Starter"})["payload"]["contact"]["id"]
    body = {"contact_id": contact, "inbox_id": inboxes["Channel::Api"], "message": {"content": "Welcome"}}
    started = chatwoot.ok("POST", "/conversations", body)
    assert started["messages"][0]["content"] == "Welcome"
    refused = chatwoot.call("POST", "/conversations", {**body, "inbox_id": inboxes["Channel::Instagram"]})
    assert refused.status_code == 500


def test_an_import_with_problems_lists_them_all_and_writes_nothing(chatwoot: Any) -> None:
    before = chatwoot.control("GET", "dump")
    given = {
        "inboxes": [{"key": "i", "name": "New", "channel_type": "Channel::Line"}],
        "contacts": [{"key": "c", "name": "P", "nick": "p", "identities": [{"inbox": "nope", "source_id": "1"}]}],
        "conversations": [
            {
                "key": "v",
                "inbox": "i",
                "contact": "c",
                "status": "shut",
                "messages": [{"type": "incoming", "at": "soon"}],
            }
        ],
    }
    answer = requests.post(f"{chatwoot.url}/__control/import", json=given)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert len(errors) == 4
    assert all(any(word in error for error in errors) for word in ("nick", "nope", "shut", "soon"))
    assert chatwoot.control("GET", "dump") == before
