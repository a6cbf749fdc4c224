"""What Chatwoot's answers mean: refusals, broken answers, webhooks, limits. Answers are scripted and strict."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import responses

from connector.adapters.base import Window, Write
from connector.adapters.chatwoot import Chatwoot, webhook
from connector.errors import AuthError, RecordGone, Rejected, RemoteError, Transient, Unreadable
from connector.model import Kind, Receipt, Ref

URL = "https://chat.shop.example"
API = f"{URL}/api/v1/accounts/3"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "wh-demo-secret-0001"
REPLY = Write(Kind.MESSAGE, "message", {"text": "Hello"}, Ref("chatwoot", "conversation", "118"))


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def chatwoot(waits: list[float]) -> Chatwoot:
    return Chatwoot(URL + "/", 3, "t0ken-secret", webhook_secret=SECRET, clock=lambda: NOW, sleep=waits.append)


def answered(status: int, body: Any = None, text: str | None = None) -> dict[str, Any]:
    if text is not None:
        return {"status": status, "body": text, "content_type": "text/html"}
    return {"status": status, "json": body}


@pytest.mark.parametrize(
    ("answer", "error", "certain"),
    [
        (answered(401, {"error": "Invalid Access Token"}), AuthError, True),
        (answered(401, {"errors": ["You need to sign in or sign up before continuing."]}), AuthError, True),
        (answered(402, {"error": "Upgrade"}), Rejected, True),
        (answered(403, {"error": "no"}), Rejected, True),
        (answered(404, {"error": "Resource could not be found"}), RecordGone, True),
        (answered(404, text="<html>nginx</html>"), Unreadable, True),
        (answered(408, {"error": "timeout"}), Transient, False),
        (answered(422, {"error": "bad"}), Rejected, True),
        (answered(422, {"error": "Validation failed: Too many messages"}), Transient, True),
        (answered(429, text="Retry later"), Transient, True),
        (answered(500, {"error": "oops"}), Transient, False),
        (answered(502, text="<html>Bad gateway</html>"), Transient, False),
        (answered(200, text="<html>Log in</html>"), Unreadable, False),
        (answered(200, {"no": "id"}), Unreadable, False),
        (answered(200, []), Unreadable, False),
        ({"status": 200, "body": '{"id": 1, "cont', "content_type": "application/json"}, Transient, False),
        ({"status": 200, "body": "", "content_type": "application/json"}, Unreadable, False),
        ({"body": requests.exceptions.ReadTimeout()}, Transient, False),
        ({"body": requests.exceptions.ConnectionError("reset")}, Transient, False),
        ({"body": requests.exceptions.ConnectTimeout()}, Transient, True),
    ],
)
@responses.activate
def test_a_failed_reply_says_whether_it_may_have_left(
    chatwoot: Chatwoot, waits: list[float], answer: dict[str, Any], error: type[RemoteError], certain: bool
) -> None:
    responses.post(f"{API}/conversations/118/messages", **answer)
    with pytest.raises(error) as caught:
        chatwoot.send(REPLY, "token-1")
    assert caught.value.certain is certain
    assert (len(responses.calls), waits) == (1, [])
    assert "t0ken-secret" not in f"{caught.value!r} {vars(caught.value)}"


@responses.activate
def test_a_reply_carries_the_token_and_is_never_a_template(chatwoot: Chatwoot) -> None:
    responses.post(f"{API}/conversations/118/messages", status=401, json={"error": "no"})
    with pytest.raises(AuthError):
        chatwoot.send(
            Write(Kind.MESSAGE, "message", {"text": "Hi", "in_reply_to": "118-90412"}, REPLY.target), "token-1"
        )
    request = responses.calls[0].request
    assert request.headers["Api-Access-Token"] == "t0ken-secret"
    assert json.loads(request.body or "") == {
        "content": "Hi", "message_type": "outgoing", "private": False,
        "content_attributes": {"connector_token": "token-1", "in_reply_to": 90412},
    }  # fmt: skip


@responses.activate
def test_a_stored_reply_stays_sent_when_the_directory_cannot_be_read(chatwoot: Chatwoot) -> None:
    responses.post(f"{API}/conversations/118/messages", json={"id": 7, "created_at": 1, "message_type": 1})
    responses.get(f"{API}/inboxes", status=401, json={"error": "no"})
    sent = chatwoot.send(REPLY, "token-1")
    assert (sent.ref, sent.fields) == (Ref("chatwoot", "message", "118-7"), None)


@responses.activate
def test_a_unique_clash_names_our_field(chatwoot: Chatwoot) -> None:
    body = {"message": "Phone number has already been taken", "attributes": ["phone_number"]}
    responses.put(f"{API}/contacts/5", status=422, json=body)
    write = Write(Kind.PERSON, "person", {"phone": "+31612345678"}, Ref("chatwoot", "person", "5"))
    result = chatwoot.upsert([write])[0]
    assert isinstance(result, Rejected)
    assert result.fields == ("phone",)


@responses.activate
def test_the_rest_of_a_batch_is_not_tried_once_the_token_is_refused(chatwoot: Chatwoot) -> None:
    responses.put(f"{API}/contacts/5", status=401, json={"error": "Invalid Access Token"})
    write = Write(Kind.PERSON, "person", {"name": "Jet"}, Ref("chatwoot", "person", "5"))
    results = chatwoot.upsert([write] * 4)
    assert [type(result) for result in results] == [AuthError] * 4
    assert len(responses.calls) == 1


@responses.activate
def test_the_rest_of_a_batch_is_written_though_our_user_may_not_do_one_of_it(chatwoot: Chatwoot) -> None:
    responses.put(f"{API}/contacts/5", status=401, json={"error": "You are not authorized to do this action"})
    responses.put(f"{API}/contacts/6", json={"payload": {"id": 6, "name": "Jet"}})
    writes = [Write(Kind.PERSON, "person", {"name": "Jet"}, Ref("chatwoot", "person", id_)) for id_ in ("5", "6")]
    results = chatwoot.upsert(writes)
    assert [type(result) for result in results] == [AuthError, Receipt]


# ---- writes that are not repeated --------------------------------------------------------------------------------------

PERSON = Ref("chatwoot", "person", "5")
CONVERSATION = Ref("chatwoot", "conversation", "118")
UNCLEAR = [
    pytest.param({"body": requests.exceptions.ReadTimeout()}, id="no answer in time"),
    pytest.param({"body": requests.exceptions.ConnectionError("reset")}, id="a cut line"),
    pytest.param(answered(500, {"error": "oops"}), id="500"),
    pytest.param(answered(502, text="<html>Bad gateway</html>"), id="502"),
]


@pytest.mark.parametrize("answer", UNCLEAR)
@pytest.mark.parametrize(
    ("method", "path", "write"),
    [
        ("PUT", "/contacts/5", Write(Kind.PERSON, "person", {"name": "Jet"}, PERSON)),
        ("POST", "/contacts/5/labels", Write(Kind.PERSON, "person", {"tags": ["vip"]}, PERSON)),
        ("POST", "/contacts", Write(Kind.PERSON, "person", {"name": "Jet"})),
        ("POST", "/conversations/118/toggle_status", Write(Kind.CONVERSATION, "conversation", {"status": "open"}, CONVERSATION)),
        ("POST", "/conversations/118/labels", Write(Kind.CONVERSATION, "conversation", {"tags": ["vip"]}, CONVERSATION)),
    ],
    ids=["a contact", "its labels", "a new contact", "a status", "labels"],
)  # fmt: skip
@responses.activate
def test_a_write_whose_answer_is_lost_is_not_repeated(
    chatwoot: Chatwoot, waits: list[float], method: str, path: str, write: Write, answer: dict[str, Any]
) -> None:
    responses.get(f"{API}/contacts/5", json={"payload": {"id": 5, "name": "Jet"}})
    responses.get(f"{API}/contacts/5/labels", json={"payload": []})
    lost = responses.add(method, f"{API}{path}", **answer)
    (result,) = chatwoot.upsert([write])
    assert isinstance(result, Transient)
    assert not result.certain
    assert (lost.call_count, waits) == (1, [])


@responses.activate
def test_a_write_that_was_certainly_not_done_is_repeated(chatwoot: Chatwoot, waits: list[float]) -> None:
    refused = responses.put(f"{API}/contacts/5", status=429, body="Retry later", content_type="text/plain")
    lost = responses.put(f"{API}/contacts/5", body=requests.exceptions.ReadTimeout())
    (result,) = chatwoot.upsert([Write(Kind.PERSON, "person", {"name": "Jet"}, PERSON)])
    assert isinstance(result, Transient)
    assert not result.certain
    assert (refused.call_count, lost.call_count, len(waits)) == (1, 1, 1)


@pytest.mark.parametrize(
    "stops", [answered(429, text="Retry later"), answered(401, {"error": "You are not authorized"})]
)
@pytest.mark.parametrize("second", ["toggle_priority", "the read that ends it"])
@responses.activate
def test_a_write_that_stopped_half_way_is_in_doubt(chatwoot: Chatwoot, second: str, stops: dict[str, Any]) -> None:
    """An agent may have changed the status since: it must not be written once more unseen."""
    at = f"{API}/conversations/118"
    responses.post(f"{at}/toggle_status", json={})
    if second == "toggle_priority":
        responses.post(f"{at}/toggle_priority", **stops)
    else:
        responses.post(f"{at}/toggle_priority", json={})
        responses.get(at, **stops)
    fields = {"status": "resolved", "priority": "high"}
    (result,) = chatwoot.upsert([Write(Kind.CONVERSATION, "conversation", fields, CONVERSATION)])
    assert isinstance(result, RemoteError)
    assert not result.certain


@responses.activate
def test_a_part_that_is_refused_is_refused_though_another_one_is_written(chatwoot: Chatwoot) -> None:
    at = f"{API}/conversations/118"
    responses.post(f"{at}/toggle_status", json={})
    responses.post(f"{at}/toggle_priority", status=422, json={"error": "no such priority"})
    fields = {"status": "resolved", "priority": "highest"}
    (result,) = chatwoot.upsert([Write(Kind.CONVERSATION, "conversation", fields, CONVERSATION)])
    assert isinstance(result, Rejected)
    assert result.certain


@responses.activate
def test_reads_wait_out_the_limiter(chatwoot: Chatwoot, waits: list[float]) -> None:
    responses.get(f"{API}/agents", status=429, body="Retry later", content_type="text/plain")
    responses.get(f"{API}/agents", json=[{"id": 5, "email": "Sam@shop.example", "name": "Sam"}])
    assert [u.email for u in chatwoot.users()] == ["sam@shop.example"]
    assert len(waits) == 1
    assert waits[0] >= 20


@responses.activate
def test_a_read_gives_up_with_the_last_error(chatwoot: Chatwoot, waits: list[float]) -> None:
    responses.get(f"{API}/agents", status=503, body="<html>", content_type="text/html")
    with pytest.raises(Transient):
        chatwoot.users()
    assert len(waits) == 3


@responses.activate
def test_a_wrong_account_names_the_ones_that_work(chatwoot: Chatwoot) -> None:
    accounts = [{"id": 8, "name": "Noordzee Fietsen", "role": "agent"}]
    responses.get(f"{URL}/api/v1/profile", json={"id": 9, "email": "x@shop.example", "accounts": accounts})
    with pytest.raises(AuthError) as caught:
        chatwoot.check()
    assert "8 (Noordzee Fietsen)" in caught.value.way_out


@responses.activate
def test_an_address_that_is_not_chatwoot_is_unreadable(chatwoot: Chatwoot) -> None:
    responses.get(f"{URL}/api", json={"hello": "world"})
    with pytest.raises(Unreadable):
        list(chatwoot.pull("conversations", Window()))


def test_an_unknown_stream_is_a_programming_error(chatwoot: Chatwoot) -> None:
    with pytest.raises(ValueError, match="no stream"):
        chatwoot.pull("everything", Window())


# ---- webhooks ---------------------------------------------------------------------------------------------------------

BODY = b'{"event":"message_created","id":90412}'
SIGNATURE = "sha256=06987cf132d59006828bdf879e76652023e469618fce9b289be7430e821779f0"
HEADERS = {"x-chatwoot-timestamp": "1767225600", "X-CHATWOOT-SIGNATURE": SIGNATURE}


def test_the_documented_signature_fits() -> None:
    webhook.verify(HEADERS, BODY, SECRET, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "secret", "now"),
    [
        (HEADERS, BODY + b" ", SECRET, NOW),
        (HEADERS, BODY, "another secret", NOW),
        (HEADERS, BODY, None, NOW),
        (HEADERS | {"x-chatwoot-timestamp": "1767225601"}, BODY, SECRET, NOW),
        ({"x-chatwoot-timestamp": "1767225600"}, BODY, SECRET, NOW),
        (HEADERS, BODY, SECRET, NOW + timedelta(minutes=6)),
        (HEADERS, BODY, SECRET, NOW - timedelta(minutes=6)),
        ({"X-Chatwoot-Signature": "sha256=ü"}, BODY, SECRET, NOW),
    ],
    ids=["body", "secret", "no secret", "timestamp", "unsigned", "old", "future", "not ascii"],
)
def test_a_webhook_that_is_not_genuine_is_refused(
    headers: dict[str, str], body: bytes, secret: str | None, now: datetime
) -> None:
    with pytest.raises(AuthError) as caught:
        webhook.verify(headers, body, secret, now)
    assert caught.value.way_out
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "refs"),
    [
        ({"event": "message_updated", "id": 7, "conversation": {"id": 118}}, ["conversation:118", "message:118-7"]),
        ({"event": "conversation_updated", "id": 118}, ["conversation:118"]),
        (
            {"event": "conversation_created", "id": 118, "meta": {"sender": {"id": 5}}},
            ["person:5", "conversation:118"],
        ),
        ({"event": "contact_created", "id": 5}, ["person:5"]),
        ({"event": "contact_updated", "id": 5, "changed_attributes": [{"name": {}}, {"updated_at": {}}]}, ["person:5"]),
        ({"event": "contact_updated", "id": 5, "changed_attributes": None}, ["person:5"]),
        (
            {"event": "contact_updated", "id": 5, "changed_attributes": [{"last_activity_at": {}}, {"updated_at": {}}]},
            [],
        ),
        ({"event": "conversation_typing_on", "conversation": {"id": 118}}, []),
        ({"event": "inbox_updated", "id": 1}, []),
        ({"event": "conversation_updated", "id": 118, "account": {"id": 4}}, []),
    ],
)
def test_a_webhook_hints_at_refs_only(data: dict[str, Any], refs: list[str]) -> None:
    found = webhook.read(json.dumps(data).encode(), account=3)
    assert [str(hint.ref) for hint in found] == [f"chatwoot:{ref}" for ref in refs]


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"event":"message_created","id":1}', b"\xff"])
def test_a_genuine_but_broken_body_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        webhook.read(body, account=3)


HOOK = {"id": 9, "url": "https://sync.shop.example/webhooks/main", "secret": SECRET, "subscriptions": [*webhook.EVENTS]}


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        ([HOOK], None),
        ([HOOK | {"url": "https://other.example/webhooks/main/", "secret": "x"}, HOOK], None),
        ([{name: value for name, value in HOOK.items() if name != "secret"}], None),
        ([], "no webhook of Chatwoot leads to /webhooks/main"),
        ([HOOK | {"url": "https://me:pass@sync.shop.example"}], "no webhook of Chatwoot leads to /webhooks/main"),
        ([HOOK | {"url": "https://sync.shop.example/webhooks/mai"}], "no webhook of Chatwoot leads to /webhooks/main"),
        ([HOOK | {"secret": "another"}], "has another secret than webhook_secret"),
        ([HOOK | {"subscriptions": [*webhook.EVENTS[1:]]}], "does not tell of conversation_created."),
    ],
)
@responses.activate
def test_a_webhook_that_cannot_reach_the_connection_is_told(chatwoot: Chatwoot, hooks: Any, told: str | None) -> None:
    responses.get(f"{API}/webhooks", json={"payload": {"webhooks": hooks}})
    found = chatwoot.webhook_misfit("/webhooks/main")
    assert (found is None) if told is None else (found and told in found[0])
    assert not found or (found[1] and "pass" not in "".join(found) and SECRET not in "".join(found))


@responses.activate
def test_a_token_that_may_not_look_at_webhooks_tells_nothing_of_them(chatwoot: Chatwoot) -> None:
    responses.get(f"{API}/webhooks", status=401, json={"error": "You are not authorized to do this action"})
    assert chatwoot.webhook_misfit("/webhooks/main") is None
