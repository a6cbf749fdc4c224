"""Messages of the Chatwoot sandbox: reading, replying, the network behind an inbox, and the customer's own API."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from connector.sandbox import serve
from connector.sandbox.chatwoot import talk
from connector.sandbox.chatwoot.records import OUTGOING
from connector.sandbox.chatwoot.world import World


def messages(chatwoot: Any, id: int, query: str = "") -> list[Any]:
    return chatwoot.ok("GET", f"/conversations/{id}/messages{query}")["payload"]


def reply(chatwoot: Any, id: int, content: str, **fields: Any) -> Any:
    return chatwoot.ok("POST", f"/conversations/{id}/messages", {"content": content, **fields})


def settled(chatwoot: Any, id: int) -> list[Any]:
    """What the network received of this conversation, once everything under way has arrived."""
    chatwoot.control("GET", "settle")
    return chatwoot.control("GET", f"network?conversation={id}")


# Reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "first", "last", "count"),
    [
        ("", 130, 149, 20),
        ("?before={50}", 30, 49, 20),
        ("?after={0}", 1, 100, 100),
        ("?after={100}", 101, 149, 49),
        ("?after={10}&before={140}", 10, 139, 130),
    ],
    ids=["the_newest_20", "20_before", "100_after", "what_is_left_after", "between_from_after_on"],
)
def test_messages_are_cut_by_the_cursor(chatwoot: Any, query: str, first: int, last: int, count: int) -> None:
    id = chatwoot.conversation(count=150)
    start = chatwoot.show(id)["messages"][0]["id"] - 149
    for n in (0, 10, 50, 100, 140):
        query = query.replace(f"{{{n}}}", str(start + n))
    rows = [m["id"] - start for m in messages(chatwoot, id, query)]
    assert (rows[0], rows[-1], len(rows)) == (first, last, count)


def test_a_newer_message_with_an_older_time_is_missed_by_the_newest_20(chatwoot: Any) -> None:
    id = chatwoot.conversation(count=25)
    chatwoot.control("POST", "time", {"offset": -1_000_000_000})
    late = reply(chatwoot, id, "stored last, dated first")["id"]
    chatwoot.control("POST", "time", {"offset": 0})
    assert late not in [m["id"] for m in messages(chatwoot, id)]
    assert messages(chatwoot, id, f"?after={late - 1}")[0]["id"] == late


def test_messages_of_the_same_second_come_in_no_useful_order(chatwoot: Any) -> None:
    id = chatwoot.conversation(messages=[{"type": "incoming", "at": 1767225600, "text": t} for t in "abc"])
    rows = messages(chatwoot, id)
    assert [m["content"] for m in sorted(rows, key=lambda m: m["id"])] == ["a", "b", "c"]
    assert [m["content"] for m in rows] == ["c", "b", "a"]


def test_internal_messages_can_be_left_out(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    reply(chatwoot, id, "just for us", private=True)
    chatwoot.ok("POST", f"/conversations/{id}/toggle_status", {"status": "resolved"})
    assert [m["message_type"] for m in messages(chatwoot, id)] == [0, 1, 2]
    assert [m["content"] for m in messages(chatwoot, id, "?filter_internal_messages=true")] == ["m0"]


# Replying ---------------------------------------------------------------------------------------------------------


def test_a_reply_reaches_the_network_once_and_is_reported_delivered(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::Instagram")
    answer = reply(chatwoot, id, "It left this morning.", content_attributes={"crm_event_id": "e1"}, echo_id="mine")
    assert (answer["status"], answer["source_id"], answer["echo_id"]) == ("sent", None, "mine")
    assert [item["text"] for item in settled(chatwoot, id)] == ["It left this morning."]
    stored = messages(chatwoot, id)[-1]
    assert (stored["status"], stored["content_attributes"]) == ("delivered", {"crm_event_id": "e1"})
    assert stored["source_id"]
    assert "echo_id" not in stored


def test_the_echo_id_is_no_key(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    one, two = (reply(chatwoot, id, "again", echo_id="same")["id"] for _ in range(2))
    assert one != two
    assert len(settled(chatwoot, id)) == 2


@pytest.mark.parametrize(
    "fields", [{"private": True}, {"source_id": "abc"}], ids=["a_private_note", "with_a_source_id"]
)
def test_it_is_stored_and_never_sent(chatwoot: Any, fields: Any) -> None:
    id = chatwoot.conversation()
    assert reply(chatwoot, id, "hello", **fields)["id"]
    assert settled(chatwoot, id) == []


@pytest.mark.parametrize(
    ("channel", "content", "text", "wire"),
    [
        ("Channel::Whatsapp", "**now** and _soon_", "now and soon", "*now* and _soon_"),
        ("Channel::Telegram", "**a < b**", "a < b", "<strong>a &lt; b</strong>"),
        ("Channel::Instagram", "2 * 3 * 4 and snake_case", "2 * 3 * 4 and snake_case", "2 * 3 * 4 and snake_case"),
        ("Channel::Instagram", "*gone*", "gone", "gone"),
        ("Channel::Instagram", r"\*kept\*", "*kept*", "*kept*"),
        ("Channel::Instagram", "a\nb\n\nc", "a\nb\n\nc", "a\nb\n\nc"),
        ("Channel::Instagram", "Dear {{ contact.name }},", "Dear Ada,", "Dear Ada,"),
        ("Channel::Instagram", "{% raw %}{{ contact.name }}{% endraw %}", "{{ contact.name }}", "{{ contact.name }}"),
        ("Channel::Instagram", "broken {% if %} {{", "broken {% if %} {{", "broken {% if %} {{"),
    ],
)
def test_the_text_is_a_template_and_markdown(chatwoot: Any, channel: str, content: str, text: str, wire: str) -> None:
    id = chatwoot.conversation(channel)
    chatwoot.ok("PATCH", f"/contacts/{chatwoot.show(id)['meta']['sender']['id']}", {"name": "Ada"})
    reply(chatwoot, id, content)
    assert [(item["text"], item["wire"]) for item in settled(chatwoot, id)] == [(text, wire)]


def test_a_failed_delivery_is_reported_on_the_message_and_a_retry_clears_it(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::Whatsapp")
    reason = "10 - This message is sent outside of allowed window."
    chatwoot.control("POST", "delivery", {"message_id": "next", "status": "failed", "external_error": reason})
    sent = reply(chatwoot, id, "too late")
    assert settled(chatwoot, id) == []
    stored = messages(chatwoot, id)[-1]
    assert (stored["status"], stored["content_attributes"]) == ("failed", {"external_error": reason})
    chatwoot.ok("POST", f"/conversations/{id}/messages/{sent['id']}/retry")
    assert [item["text"] for item in settled(chatwoot, id)] == ["too late"]
    assert messages(chatwoot, id)[-1]["content_attributes"] == {}


def test_the_reply_window_is_shown_and_enforced_on_demand(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::FacebookPage")
    assert chatwoot.show(id)["can_reply"] is False
    chatwoot.control("POST", "network/rules", {"enforce_window": True})
    try:
        reply(chatwoot, id, "anybody there?")
        assert settled(chatwoot, id) == []
    finally:
        chatwoot.control("POST", "network/rules", {"enforce_window": False})
    assert messages(chatwoot, id)[-1]["status"] == "failed"


def test_the_201st_message_within_a_minute_is_refused(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    for n in range(200):
        reply(chatwoot, id, str(n), private=True)
    refused = chatwoot.call("POST", f"/conversations/{id}/messages", {"content": "one more"})
    assert (refused.status_code, refused.json()) == (422, {"error": "Validation failed: Too many messages"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"content": "x", "message_type": "incoming"}, 422),
        ({"content": "x" * 150_001}, 422),
        ({"content": "x", "content_attributes": "no json"}, 422),
        ({"content": "x", "template_params": {"language": "nl"}}, 422),
        ({"content": "x", "client_id": "1"}, 501),
    ],
    ids=["incoming_outside_api_inboxes", "too_long", "attributes_no_object", "template_without_name", "unknown_field"],
)
def test_a_reply_is_refused(chatwoot: Any, body: Any, status: int) -> None:
    id = chatwoot.conversation()
    assert chatwoot.call("POST", f"/conversations/{id}/messages", body).status_code == status
    assert len(messages(chatwoot, id)) == 1


def test_a_human_reply_ends_the_wait(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    assert chatwoot.show(id)["waiting_since"] > 0
    reply(chatwoot, id, "here I am")
    after = chatwoot.show(id)
    assert after["waiting_since"] == 0
    assert after["first_reply_created_at"] > 0


def test_attachments_are_uploaded_as_multipart(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    headers = {"api_access_token": (chatwoot.directory / "chatwoot-token").read_text()}
    answer = requests.post(
        f"{chatwoot.url}/api/v1/accounts/1/conversations/{id}/messages",
        headers=headers,
        data={"content": "see here", "content_attributes": '{"crm_event_id": "e2"}'},
        files=[("attachments[]", ("bike.png", b"png", "image/png"))],
    ).json()
    assert answer["content_attributes"] == {"crm_event_id": "e2"}
    assert [(a["file_type"], a["extension"], a["file_size"]) for a in answer["attachments"]] == [("image", "png", 3)]


def test_a_deleted_message_is_not_recalled_at_the_network(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    sent = reply(chatwoot, id, "oops")
    assert len(settled(chatwoot, id)) == 1
    chatwoot.ok("DELETE", f"/conversations/{id}/messages/{sent['id']}")
    assert messages(chatwoot, id)[-1]["content"] == "This message was deleted"
    assert [item["text"] for item in settled(chatwoot, id)] == ["oops"]


def test_replies_sent_at_the_same_time_get_ids_of_their_own_and_all_arrive(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: reply(chatwoot, id, f"r{n}")["id"], range(40)))
    assert len(set(sent)) == 40
    assert sorted(item["text"] for item in settled(chatwoot, id)) == sorted(f"r{n}" for n in range(40))


# Out on the network -----------------------------------------------------------------------------------------------


def test_a_reply_written_in_the_networks_app_arrives_as_an_echo(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::Instagram")
    chatwoot.control("POST", "echo", {"conversation": id, "text": "from my phone"})
    echo = messages(chatwoot, id)[-1]
    assert (echo["message_type"], echo["status"], echo["content_attributes"]) == (
        1,
        "delivered",
        {"external_echo": True},
    )
    assert "sender" not in echo
    assert settled(chatwoot, id) == []


@pytest.mark.parametrize(
    ("channel", "source_id", "handle", "expected"),
    [
        ("Channel::Whatsapp", "4917604069099", None, {"phone_number": "+4917604069099"}),
        ("Channel::Email", "New@Mail.example", None, {"email": "new@mail.example"}),
        ("Channel::Instagram", "178900", "jet", {"additional_attributes": {"social_instagram_user_name": "jet", "social_profiles": {"instagram": "jet"}}}),
        ("Channel::TwitterProfile", "90", "ben", {"additional_attributes": {"screen_name": "ben"}}),
    ],
)  # fmt: skip
def test_a_new_customer_becomes_a_contact_with_what_the_network_tells(
    chatwoot: Any, channel: str, source_id: str, handle: str | None, expected: Any
) -> None:
    inbox = chatwoot.show(chatwoot.conversation(channel))["inbox_id"]
    body = {"inbox": inbox, "source_id": source_id, "text": "hello", "name": "New"}
    told = chatwoot.control("POST", "customer", body | ({"handle": handle} if handle else {}))
    contact = chatwoot.ok("GET", f"/contacts/{told['contact_id']}")["payload"]
    assert {name: contact[name] for name in expected} == expected
    assert messages(chatwoot, told["conversation_id"])[-1]["content"] == "hello"


def test_after_a_resolved_conversation_a_customer_starts_a_new_one(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::Telegram")
    shown = chatwoot.show(id)
    contact = chatwoot.ok("GET", f"/contacts/{shown['meta']['sender']['id']}")["payload"]
    body = {"inbox": shown["inbox_id"], "source_id": contact["contact_inboxes"][0]["source_id"], "text": "hi"}
    assert chatwoot.control("POST", "customer", body)["conversation_id"] == id
    chatwoot.ok("POST", f"/conversations/{id}/toggle_status", {"status": "resolved"})
    again = chatwoot.control("POST", "customer", body)
    assert again["conversation_id"] != id
    assert again["contact_id"] == contact["id"]


# The customer's own API -------------------------------------------------------------------------------------------


def test_a_customer_of_an_api_inbox_writes_and_reads_the_answer(chatwoot: Any) -> None:
    given = {"inboxes": [{"key": "i", "name": "App", "channel_type": "Channel::Api", "inbox_identifier": "app-1"}]}
    chatwoot.control("POST", "import", given)
    base = f"{chatwoot.url}/public/api/v1/inboxes/app-1/contacts"
    person = requests.post(base, json={"name": "Nina", "email": "nina@mail.example"}).json()
    mine = f"{base}/{person['source_id']}/conversations"
    id = requests.post(mine, json={}).json()["id"]
    requests.post(f"{mine}/{id}/messages", json={"content": "help"})
    sent = reply(chatwoot, id, "coming")
    reply(chatwoot, id, "poor thing", private=True)
    assert [m["content"] for m in requests.get(f"{mine}/{id}/messages").json()] == ["help", "coming"]
    chatwoot.control("GET", "settle")
    assert messages(chatwoot, id)[1]["source_id"] is None
    status = {"status": "failed", "external_error": "app was removed"}
    patched = chatwoot.ok("PATCH", f"/conversations/{id}/messages/{sent['id']}", status)
    assert (patched["status"], patched["content_attributes"]) == ("failed", {"external_error": "app was removed"})


def test_the_status_of_a_message_can_be_set_in_api_inboxes_only(chatwoot: Any) -> None:
    id = chatwoot.conversation("Channel::Instagram", count=1)
    path = f"/conversations/{id}/messages/{messages(chatwoot, id)[0]['id']}"
    assert chatwoot.call("PATCH", path, {"status": "read"}).status_code == 403


@pytest.mark.parametrize("path", ["nobody/contacts", "nobody/contacts/x/conversations"])
def test_an_unknown_inbox_identifier_answers_404(chatwoot: Any, path: str) -> None:
    assert requests.post(f"{chatwoot.url}/public/api/v1/inboxes/{path}", json={}).status_code == 404


# Restart ----------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_everything_and_ids_go_on_rising(chatwoot: Any, tmp_path: Any) -> None:
    client = type(chatwoot)
    with serve.one("chatwoot", tmp_path) as running:
        first = client(running.told["url"], tmp_path)
        id = first.conversation()
        last = reply(first, id, "to be continued")["id"]
        gone = first.ok("POST", "/contacts", {"name": "Gone"})["payload"]["contact"]["id"]
        first.ok("DELETE", f"/contacts/{gone}")
        settled(first, id)
        first.control("POST", "time", {"offset": 3600})
        token, dump = (tmp_path / "chatwoot-token").read_text(), first.control("GET", "dump")
    assert running.process.returncode == 0
    assert not (tmp_path / "chatwoot.json").exists()
    with serve.one("chatwoot", tmp_path) as running:
        second = client(running.told["url"], tmp_path)
        assert second.control("GET", "dump") == dump
        assert (tmp_path / "chatwoot-token").read_text() == token
        assert reply(second, id, "here")["id"] == last + 1
        assert second.ok("POST", "/contacts", {"name": "New"})["payload"]["contact"]["id"] == gone + 1
        assert messages(second, id)[-1]["created_at"] - messages(second, id)[-2]["created_at"] >= 3600


def test_a_killed_sandbox_has_lost_nothing_it_answered(chatwoot: Any, tmp_path: Any) -> None:
    client = type(chatwoot)
    with serve.one("chatwoot", tmp_path) as running:
        first = client(running.told["url"], tmp_path)
        id = first.conversation()
        sent = [reply(first, id, f"r{n}")["id"] for n in range(5)]
        running.process.kill()
    with serve.one("chatwoot", tmp_path) as running:
        second = client(running.told["url"], tmp_path)
        assert [m["id"] for m in messages(second, id)[1:]] == sent
        assert sorted(item["text"] for item in settled(second, id)) == [f"r{n}" for n in range(5)]


def test_a_reply_stored_before_the_end_is_delivered_after_the_next_start(chatwoot: Any, tmp_path: Any) -> None:
    client = type(chatwoot)
    with serve.one("chatwoot", tmp_path) as running:
        id = client(running.told["url"], tmp_path).conversation()
    world = World(tmp_path / "chatwoot.db")
    talk.post(world, world.conversations.rows[id], "left over", message_type=OUTGOING)
    world.commit()
    world.close()
    with serve.one("chatwoot", tmp_path) as running:
        second = client(running.told["url"], tmp_path)
        assert [item["text"] for item in settled(second, id)] == ["left over"]


def test_two_sandboxes_cannot_share_one_state(chatwoot: Any) -> None:
    directory, token = chatwoot.directory, (chatwoot.directory / "chatwoot-token").read_text()
    command = [sys.executable, "-m", "connector.sandbox.chatwoot", "--dir", str(directory)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "is another sandbox running on it?" in second.stderr
    assert (directory / "chatwoot.json").exists()
    assert (directory / "chatwoot-token").read_text() == token
