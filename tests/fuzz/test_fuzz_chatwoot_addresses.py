"""No ref, name or id, whoever it came from, changes which address of Chatwoot is called."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import responses
from hostile import SECRET, fuzz, scalars, texts
from hypothesis import example, given
from hypothesis import strategies as st

from connector.adapters.base import Lookup, Window, Write
from connector.adapters.chatwoot import Chatwoot
from connector.errors import RecordGone, RemoteError
from connector.model import Kind, Life, Receipt, Ref

ACCOUNT = "/api/v1/accounts/3"
PATHS = re.compile(
    r"/api|/api/v1/profile|"
    + ACCOUNT
    + r"/(inboxes|agents|teams|contacts|contacts/filter|contact_inboxes/filter|conversations|custom_attribute_definitions"
    r"|contacts/[0-9]{1,18}(/labels)?"
    r"|conversations/[0-9]{1,18}(/(messages(/[0-9]{1,18})?|labels|custom_attributes|toggle_status|toggle_priority|assignments))?)"
)
PARAMS = {"page", "after", "before", "status", "sort_by", "updated_within", "attribute_model"}
AGENT = {"id": 4, "email": "agent@shop.example", "name": "Agent", "accounts": [{"id": 3, "role": "administrator"}]}


class Server:
    """A Chatwoot that judges every call; its records show `id`, `name` and the time `at`, whatever they are."""

    def __init__(self) -> None:
        self.id: Any = 7
        self.name = "Noor"
        self.at: Any = 1
        self.calls: list[tuple[str, str]] = []

    def __call__(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(str(request.url))
        assert parts.netloc == "chat.example"
        assert PATHS.fullmatch(parts.path), parts.path
        assert {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} <= PARAMS
        self.calls.append((str(request.method), parts.path))
        told = json.dumps(self._answer(str(request.method), parts.path.removeprefix(ACCOUNT)))
        return 200, {"Content-Type": "application/json", "Date": "Fri, 02 Jan 2026 03:04:05 GMT"}, told

    def _answer(self, method: str, path: str) -> Any:
        contact = {"id": self.id, "name": self.name, "email": "noor@mail.example", "contact_inboxes": []}
        row = {
            "id": self.id, "conversation_id": 7, "inbox_id": 1, "status": "open", "created_at": self.at, "updated_at": self.at, "message_type": 0,
            "content": "x", "meta": {"sender": contact, "channel": "Channel::Api"}, "sender": contact | {"type": "contact"},
        }  # fmt: skip
        match path.strip("/").split("/"):
            case ["api"]:
                return {"version": "4.15.1"}
            case ["api", "v1", "profile"]:
                return AGENT
            case ["agents"]:
                return [AGENT]
            case ["inboxes"]:
                return {"payload": [{"id": 1, "name": "Shop", "channel_type": "Channel::Telegram"}]}
            case ["teams"] | ["custom_attribute_definitions"]:
                return []
            case ["contacts", "filter"]:
                return {"payload": [contact]}
            case [*_, "labels"]:
                return {"payload": []}
            case ["contacts"] if method == "POST":
                return {"payload": {"contact": contact}}
            case ["contacts", *_] | ["contact_inboxes", *_]:
                return {"payload": contact}
            case ["conversations"]:
                return {"data": {"payload": [row], "meta": {"all_count": 1}}}
            case ["conversations", _, "messages"]:
                return {"payload": [row]} if method == "GET" else row
        return row


@pytest.fixture
def server() -> Iterator[Server]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        server = Server()
        for method in (responses.GET, responses.POST, responses.PUT, responses.PATCH, responses.DELETE):
            mocked.add_callback(method, re.compile(".*"), server)
        yield server


@pytest.fixture
def chatwoot(server: Server) -> Chatwoot:
    return Chatwoot(
        "https://chat.example", 3, SECRET, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC), sleep=lambda _: None
    )


ODD = (
    "../../x",
    "../../../profile",
    "1?admin=1",
    "1#x",
    "1/labels",
    "filter",
    "1/../2",
    "",
    "..",
    "%2e%2e",
    "1%2f..",
    "٣",
    "9" * 5000,
    "7",
    "-1",
    "1-2",
    "1-../x",
    "x-1",
)
ids = st.one_of(st.sampled_from(ODD), texts)
NUMBER = re.compile("[0-9]{1,18}")


@fuzz(45)
@given(st.sampled_from(["person", "conversation", "message", "identity"]), ids)
@example("person", "../../x")
@example("person", "1?admin=1")
@example("person", "filter")
@example("conversation", "1/../2")
@example("message", "9" * 5000 + "-1")
@example("message", "٣-٣")
def test_a_ref_that_names_no_record_is_gone_and_not_asked_for(
    server: Server, chatwoot: Chatwoot, kind: str, id_: str
) -> None:
    server.calls, server.id = [], 7
    (found,) = chatwoot.fetch([Ref("chatwoot", kind, id_)])
    assert found.ref == Ref("chatwoot", kind, id_) or found.life is Life.LIVE
    if kind != "identity" and not all(NUMBER.fullmatch(part) for part in id_.split("-", 1 if kind == "message" else 0)):
        assert (found.life, server.calls) == (Life.GONE, [])


@fuzz(45)
@given(st.sampled_from(["person", "conversation", "message"]), ids, texts, ids)
@example("conversation", "../../contacts/5", "hi", "1")
@example("person", "1/labels", "hi", "1")
@example("conversation", "7", "hi", "1-" + "9" * 5000)
def test_a_write_to_a_ref_that_names_no_record_reaches_nobody(
    server: Server, chatwoot: Chatwoot, kind: str, id_: str, text: str, quoted: str
) -> None:
    server.calls, server.id = [], 7
    target = Ref("chatwoot", kind, id_)
    fields = (
        {"name": text, "tags": [text], "attributes.x": text}
        if kind == "person"
        else {"status": text, "tags": [text], "attributes.x": text}
    )
    results: list[Any] = [
        *chatwoot.upsert([Write(Kind(kind), kind, fields, target)]),
        *chatwoot.remove([Write(Kind(kind), kind, {}, target)]),
    ]
    reply = Write(Kind.MESSAGE, "message", {"text": text, "in_reply_to": quoted}, target)
    try:
        results += [chatwoot.send(reply, "token"), chatwoot.probe(reply, "token", datetime(2026, 1, 2, tzinfo=UTC))]
    except RecordGone as error:
        results.append(error)
    if kind != "message" and not NUMBER.fullmatch(id_):
        assert server.calls == []
        assert not any(isinstance(result, Receipt) for result in results)


@fuzz(30)
@given(
    st.one_of(scalars, ids, st.sampled_from([7, True, 7.0, 2**63, -1, ["7"], {"a": 1}])),
    ids,
    st.one_of(st.just(1), st.just(1), scalars),
)
@example("../../x", "telegram:1", 1)
@example("1?admin=1", "telegram:../x", 1)
@example("\ud800", "telegram:\ud800", 1)
@example(float("inf"), "1", 1)
@example(7, "1", 10**30)
@example(7, "1", -(10**17))
def test_an_id_that_the_server_answers_never_becomes_another_address(
    server: Server, chatwoot: Chatwoot, id_: Any, value: str, at: Any
) -> None:
    server.id, server.name, server.at = id_, "Noor", at
    calls: tuple[Callable[[], object], ...] = (
        # What moved lately: this server shows the same page of all conversations for ever.
        lambda: list(chatwoot.pull("conversations", Window(datetime(2026, 1, 2, tzinfo=UTC)))),
        lambda: chatwoot.find(
            [Lookup("person", "email", value), Lookup("person", "identity_keys", "telegram:" + value)]
        ),
        lambda: chatwoot.upsert(
            [Write(Kind.PERSON, "person", {"name": value, "tags": ["x"]}, key=("identifier", value))]
        ),
        lambda: chatwoot.upsert(
            [Write(Kind.PERSON, "person", {"name": "x", "tags": ["x"]}, Ref("chatwoot", "person", "7"))]
        ),
    )
    for call in calls:
        with suppress(RemoteError):
            call()


@fuzz(30)
@given(texts)
@example("Noor \ud83d")
@example("\udc00\ud800")
def test_what_a_server_answers_is_handed_on_as_text_that_can_be_stored(
    server: Server, chatwoot: Chatwoot, name: str
) -> None:
    server.id, server.name, server.at = 7, name, 1
    pages = list(chatwoot.pull("conversations", Window(datetime(2026, 1, 2, tzinfo=UTC))))
    found = [one for page in pages for one in page.observed] + chatwoot.fetch([Ref("chatwoot", "person", "7")])
    assert {one.ref.object for one in found} >= {"person", "conversation"}
    for one in found:
        json.dumps(one.fields, ensure_ascii=False).encode()
