"""Webhooks, faults and rate limits of the Chatwoot sandbox."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from connector.sandbox.chatwoot.webhooks import signature

EVENTS = ["message_created", "message_updated", "conversation_created", "conversation_updated"]
EVENTS += ["conversation_status_changed", "contact_created", "contact_updated"]


class Receiver:
    """A real HTTP server that keeps what it is sent; `status` is its answer."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver(chatwoot: Any) -> Iterator[Receiver]:
    """A subscribed receiver of all events; its `secret` signs them."""
    found = Receiver()
    hook = chatwoot.ok("POST", "/webhooks", {"name": "t", "url": found.url, "subscriptions": EVENTS})["payload"][
        "webhook"
    ]
    found.secret = hook["secret"]
    yield found
    chatwoot.ok("DELETE", f"/webhooks/{hook['id']}")
    chatwoot.control("POST", "webhooks", {"double": 0, "drop": 0, "reverse": 0})
    found.server.shutdown()
    found.server.server_close()


def test_the_published_example_signature_is_reproduced() -> None:
    body = b'{"event":"message_created","id":90412}'
    expected = "sha256=06987cf132d59006828bdf879e76652023e469618fce9b289be7430e821779f0"
    assert signature("wh-demo-secret-0001", "1767225600", body) == expected


def test_every_webhook_is_signed_over_time_and_raw_body(chatwoot: Any, receiver: Receiver) -> None:
    id = chatwoot.conversation()
    chatwoot.ok("POST", f"/conversations/{id}/messages", {"content": "Grüße 🚲"})
    chatwoot.control("GET", "settle")
    assert receiver.got
    for headers, body in receiver.got:
        signed = headers["X-Chatwoot-Timestamp"].encode() + b"." + body
        assert headers["X-Chatwoot-Signature"] == "sha256=" + hmac.new(receiver.secret.encode(), signed, hashlib.sha256).hexdigest()  # fmt: skip
    assert len({headers["X-Chatwoot-Delivery"] for headers, _ in receiver.got}) == len(receiver.got)


def test_a_reply_is_told_as_created_and_twice_updated_with_its_marker(chatwoot: Any, receiver: Receiver) -> None:
    id = chatwoot.conversation()
    body = {"content": "hi", "content_attributes": {"crm_event_id": "e9"}}
    sent = chatwoot.ok("POST", f"/conversations/{id}/messages", body)
    chatwoot.control("GET", "settle")
    told = [e for e in receiver.events() if e.get("id") == sent["id"] and e["event"].startswith("message_")]
    assert [e["event"] for e in told] == ["message_created", "message_updated", "message_updated"]
    assert told[0]["message_type"] == "outgoing"
    assert told[0]["sender"]["type"] == "user"
    assert told[0]["content_attributes"] == {"crm_event_id": "e9"}
    assert told[0]["conversation"]["id"] == id
    assert "status" not in told[0]
    assert told[0]["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("toggle_status", {"status": "resolved"}, ["conversation_status_changed", "conversation_updated"]),
        ("labels", {"labels": ["vip"]}, ["conversation_updated"]),
        ("update_last_seen", None, []),
    ],
)
def test_a_change_is_told_with_what_changed(
    chatwoot: Any, receiver: Receiver, path: str, body: Any, expected: Any
) -> None:
    id = chatwoot.conversation()
    chatwoot.ok("POST", f"/conversations/{id}/{path}", body)
    chatwoot.control("GET", "settle")
    told = [e for e in receiver.events() if e["event"].startswith("conversation_")]
    assert [e["event"] for e in told] == expected
    assert all(e["changed_attributes"] for e in told)


def test_a_customers_message_tells_a_sender_without_type_and_a_contact_update(
    chatwoot: Any, receiver: Receiver
) -> None:
    inbox = chatwoot.show(chatwoot.conversation("Channel::Telegram"))["inbox_id"]
    chatwoot.control("POST", "customer", {"inbox": inbox, "source_id": "tg-9", "text": "hello", "name": "T"})
    chatwoot.control("GET", "settle")
    told = {e["event"]: e for e in receiver.events()}
    assert {"contact_created", "conversation_created", "message_created", "contact_updated"} <= set(told)
    assert "type" not in told["message_created"]["sender"]
    assert list(told["contact_updated"]["changed_attributes"][0]) == ["last_activity_at"]


def test_nothing_is_told_about_activity_lines_imports_merges_and_deletions(chatwoot: Any, receiver: Receiver) -> None:
    one, two = chatwoot.conversation(), chatwoot.conversation()
    people = [chatwoot.show(id)["meta"]["sender"]["id"] for id in (one, two)]
    chatwoot.ok("POST", "/actions/contact_merge", {"base_contact_id": people[0], "mergee_contact_id": people[1]})
    chatwoot.ok("DELETE", f"/contacts/{people[0]}")
    chatwoot.control("GET", "settle")
    assert receiver.got == []


def test_a_failing_receiver_is_not_tried_again(chatwoot: Any, receiver: Receiver) -> None:
    receiver.status = 500
    chatwoot.control("POST", "stats/reset")
    id = chatwoot.conversation()
    chatwoot.control("POST", "network/edit", {"message_id": chatwoot.show(id)["messages"][0]["id"], "text": "edited"})
    chatwoot.control("GET", "settle")
    stats = chatwoot.control("GET", "stats")
    assert (len(receiver.got), stats["webhooks_sent"], stats["webhooks_failed"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("disorder", "texts"),
    [({"double": 1}, ["a", "a", "b", "c"]), ({"drop": 1}, ["b", "c"]), ({"reverse": 3}, ["c", "b", "a"])],
    ids=["doubled", "dropped", "out_of_order"],
)
def test_deliveries_can_be(chatwoot: Any, receiver: Receiver, disorder: Any, texts: list[str]) -> None:
    id = chatwoot.conversation(count=3)
    rows = chatwoot.ok("GET", f"/conversations/{id}/messages")["payload"]
    chatwoot.control("POST", "webhooks", disorder)
    for row, text in zip(rows, "abc", strict=True):
        chatwoot.control("POST", "network/edit", {"message_id": row["id"], "text": text})
    chatwoot.control("GET", "settle")
    assert [e["content"] for e in receiver.events()] == texts


@pytest.mark.parametrize(
    ("body", "attribute"),
    [
        ({"url": "ftp://x.example"}, "url"),
        ({"url": "https://x.example/h", "subscriptions": ["contact_deleted"]}, "subscriptions"),
    ],
)
def test_a_bad_webhook_is_refused(chatwoot: Any, body: Any, attribute: str) -> None:
    answer = chatwoot.call("POST", "/webhooks", body)
    assert (answer.status_code, answer.json()["attributes"]) == (422, [attribute])


# Faults -----------------------------------------------------------------------------------------------------------


def fault(chatwoot: Any, kind: str, **fields: Any) -> None:
    match = {"method": "POST", "path": "/messages$"}
    chatwoot.control("POST", "faults", {"match": match, "kind": kind, **fields})


def count(chatwoot: Any, id: int) -> int:
    return len(chatwoot.ok("GET", f"/conversations/{id}/messages")["payload"])


@pytest.mark.parametrize(("kind", "stored"), [("drop_before", 1), ("drop_after", 2)], ids=["lost_before", "lost_after"])
def test_a_dropped_connection_leaves_the_client_without_an_answer(chatwoot: Any, kind: str, stored: int) -> None:
    id = chatwoot.conversation()
    fault(chatwoot, kind)
    with pytest.raises(requests.ConnectionError):
        chatwoot.call("POST", f"/conversations/{id}/messages", {"content": "x"})
    assert count(chatwoot, id) == stored
    assert chatwoot.call("POST", f"/conversations/{id}/messages", {"content": "y"}).status_code == 200


def test_a_cut_answer_breaks_off_in_the_middle(chatwoot: Any) -> None:
    id = chatwoot.conversation()
    fault(chatwoot, "cut")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        chatwoot.call("POST", f"/conversations/{id}/messages", {"content": "x"})
    assert count(chatwoot, id) == 2


@pytest.mark.parametrize(
    ("kind", "fields", "status", "kept", "stored"),
    [
        ("status", {"status": 503, "retry_after": 7}, 503, "application/json", 1),
        ("status", {"status": 500, "after": True}, 500, "application/json", 2),
        ("html", {"status": 502}, 502, "text/html", 1),
        ("empty", {}, 200, "application/json", 2),
        ("slow", {"delay": 0.01}, 200, "application/json", 2),
    ],
    ids=["unavailable", "stored_but_500", "html_page", "empty_answer", "slow"],
)
def test_an_answer_can_be_broken(chatwoot: Any, kind: str, fields: Any, status: int, kept: str, stored: int) -> None:
    id = chatwoot.conversation()
    fault(chatwoot, kind, **fields)
    answer = chatwoot.call("POST", f"/conversations/{id}/messages", {"content": "x"})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (status, kept)
    assert answer.headers.get("retry-after") == (str(fields["retry_after"]) if "retry_after" in fields else None)
    assert (answer.content == b"") is (kind == "empty")
    assert count(chatwoot, id) == stored


def test_a_fault_happens_as_often_as_asked_and_can_be_cleared(chatwoot: Any) -> None:
    match = {"path": "/inboxes"}
    chatwoot.control("POST", "faults", {"match": match, "kind": "status", "status": 500, "times": 2})
    assert [chatwoot.call("GET", "/inboxes").status_code for _ in range(3)] == [500, 500, 200]
    chatwoot.control("POST", "faults", {"match": match, "kind": "status", "status": 500, "times": None})
    assert [chatwoot.call("GET", "/inboxes").status_code for _ in range(3)] == [500, 500, 500]
    chatwoot.control("DELETE", "faults")
    assert chatwoot.call("GET", "/inboxes").status_code == 200


@pytest.mark.parametrize("body", [{"kind": "explode"}, {"kind": "status", "often": 3}, {"kind": "status", "path": "("}])
def test_a_fault_that_makes_no_sense_is_refused(chatwoot: Any, body: Any) -> None:
    assert requests.post(f"{chatwoot.url}/__control/faults", json=body).status_code == 422


def test_the_rate_limiter_answers_429_as_text_without_retry_after(chatwoot: Any) -> None:
    chatwoot.control("POST", "limits", {"contact_search": 0})
    try:
        answer = chatwoot.call("GET", "/contacts/search?q=a")
        assert (answer.status_code, answer.text.strip()) == (429, "Retry later")
        assert "retry-after" not in answer.headers
        assert chatwoot.call("GET", "/inboxes").status_code == 200
    finally:
        chatwoot.control("POST", "limits", {"contact_search": None})
    assert chatwoot.call("GET", "/contacts/search?q=a").status_code == 200
