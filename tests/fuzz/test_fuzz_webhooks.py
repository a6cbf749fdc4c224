"""Webhooks that nobody should send, to the real receiver with the real Chatwoot adapter: refused with a 4xx, or queued as
refs with whole numbers; never a 5xx, and never another record than the body names."""

import asyncio
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import SECRET, fuzz, scalars, texts, trees
from hypothesis import example, given
from hypothesis import strategies as st

from connector.adapters.chatwoot.webhook import EVENTS, MAX_AGE
from connector.app import App, now
from connector.model import Ref
from connector.service.metrics import Metrics
from connector.service.web import BODY_LIMIT, Web
from connector.service.worker import Worker

MAPPING = Path(__file__).parents[2] / "mappings/chatwoot-salesforce-minimal.yaml"
CONFIG = """\
store: {{url: "sqlite:///connector.db", key: "file:secret"}}
connections:
  main:
    platform: {{type: chatwoot, url: "https://chat.example", account: 1, token: "file:secret", webhook_secret: "file:secret"}}
    crm:
      type: salesforce
      url: https://acme.my.salesforce.example
      auth: {{flow: client_credentials, client_id: connector, client_secret: "file:secret"}}
    mapping: {mapping}
"""

Headers = list[tuple[bytes, bytes]]


class Receiver:
    """The service's HTTP application, called as a server calls it: with the names of headers in lower case."""

    def __init__(self, web: Web, worker: Worker) -> None:
        self._app = web.app
        self.worker = worker

    def post(
        self, body: bytes, headers: Headers, path: str = "/webhooks/main", method: str = "POST", pieces: int = 1
    ) -> tuple[int, bytes, list[Ref]]:
        """Status and body of the answer, and the refs that were queued."""
        self.worker.plug.ledger.looked_at(self.worker.plug.ledger.hints())
        size = max(1, -(-len(body) // pieces))
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return (
                {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
                if parts
                else {"type": "http.disconnect"}
            )

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            # Servers hand them on in lower case.
            "headers": [(name.lower(), value) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        asyncio.run(self._app(scope, receive, send))  # type: ignore[arg-type]
        told = b"".join(message.get("body", b"") for message in sent[1:])
        return int(sent[0]["status"]), told, list(self.worker.plug.ledger.hints())


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("webhooks")
    (folder / "secret").write_text(SECRET)
    (folder / "config.yaml").write_text(CONFIG.format(mapping=MAPPING))
    with App.open(folder / "config.yaml") as app:
        worker = Worker(app.plugs["main"], threading.Event(), "fuzz")
        workers = {"main": worker}
        yield Receiver(Web(workers, Metrics(workers, now), {}), worker)


def signature(body: bytes, stamp: bytes, secret: str = SECRET) -> bytes:
    return b"sha256=" + hmac.new(secret.encode(), stamp + b"." + body, hashlib.sha256).hexdigest().encode()


def signed(body: bytes, stamp: bytes | None = None) -> Headers:
    stamp = str(int(now().timestamp())).encode() if stamp is None else stamp
    return [(b"x-chatwoot-timestamp", stamp), (b"x-chatwoot-signature", signature(body, stamp))]


GENUINE: dict[str, dict[str, Any]] = {
    "message_created": {"id": 90, "conversation": {"id": 7}, "account": {"id": 1}, "content": "hello"},
    "message_updated": {"id": 91, "conversation": {"id": 8}, "account": {"id": 1}},
    "conversation_created": {"id": 9, "meta": {"sender": {"id": 5}}, "account": {"id": 1}},
    "conversation_updated": {"id": 9, "account": {"id": 1}, "changed_attributes": [{"status": {}}]},
    "conversation_status_changed": {"id": 9},
    "contact_created": {"id": 5, "account": {"id": 1}},
    "contact_updated": {"id": 5, "account": {"id": 1}, "changed_attributes": [{"name": {}}]},
}
ID = re.compile(r"[1-9][0-9]{0,18}")


def judged(status: int, told: bytes, refs: list[Ref]) -> None:
    assert 200 <= status < 500
    assert SECRET.encode() not in told
    if status == 202:
        assert json.loads(told)["queued"] >= len(refs)
    else:
        assert not refs
        assert status in (400, 401, 404, 405, 413)
        assert status == 405 or json.loads(told)["error"]
    for ref in refs:
        assert Ref.parse(str(ref)) == ref
        assert ref.object in ("person", "conversation", "message")
        thread, dash, number = ref.id.partition("-")
        assert ID.fullmatch(thread)
        assert bool(dash) is (ref.object == "message") is bool(ID.fullmatch(number))


# ---- who knocks --------------------------------------------------------------------------------------------------------

names = st.sampled_from(
    [
        "x-chatwoot-signature",
        "X-CHATWOOT-Signature",
        "x-chatwoot-timestamp",
        "X-Chatwoot-TIMESTAMP",
        "x_chatwoot_signature",
    ]
)
BODY = json.dumps({"event": "contact_created"} | GENUINE["contact_created"]).encode()


@fuzz(90)
@given(
    st.lists(
        st.tuples(
            names,
            st.one_of(
                st.binary(max_size=80),
                st.just(b"sha256="),
                st.just(str(int(now().timestamp())).encode()),
                st.just(b"sha256=" + b"0" * 64),
                texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
            ),
        ),
        max_size=5,
    ),
    st.one_of(st.just(BODY), st.binary(max_size=200)),
)
@example([("x-chatwoot-signature", b"sha256=\xff"), ("x-chatwoot-timestamp", b"\xb2")], BODY)
def test_a_webhook_that_is_not_signed_is_refused_whatever_it_says(
    receiver: Receiver, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    status, told, refs = receiver.post(body, [(name.encode(), value) for name, value in headers])
    judged(status, told, refs)
    assert (status, json.loads(told)) == (401, {"error": "the signature does not fit"})


@fuzz(36)
@given(
    st.sampled_from(
        [
            "wrong secret",
            "other body",
            "other time",
            "upper",
            "no prefix",
            "cut",
            "longer",
            "blank around",
            "too late",
            "too early",
        ]
    ),
    st.binary(min_size=1, max_size=30),
)
def test_a_signature_that_nearly_fits_is_refused(receiver: Receiver, fault: str, junk: bytes) -> None:
    stamp = str(int(now().timestamp())).encode()
    good = signature(BODY, stamp)
    away = int(now().timestamp() + (1 if fault == "too early" else -1) * (MAX_AGE.total_seconds() + 60))
    given_ = {
        "wrong secret": (signature(BODY, stamp, SECRET + "x"), stamp, BODY),
        "other body": (good, stamp, BODY + junk),
        "other time": (good, str(int(stamp) + 1).encode(), BODY),
        "upper": (good.upper(), stamp, BODY),
        "no prefix": (good.removeprefix(b"sha256="), stamp, BODY),
        "cut": (good[:-1], stamp, BODY),
        "longer": (good + junk, stamp, BODY),
        "blank around": (b" " + good + b" ", stamp, BODY),
    }.get(fault) or (signature(BODY, str(away).encode()), str(away).encode(), BODY)
    status, told, refs = receiver.post(
        given_[2], [(b"x-chatwoot-signature", given_[0]), (b"x-chatwoot-timestamp", given_[1])]
    )
    assert (status, refs) == (401, [])
    assert SECRET.encode() not in told


@fuzz(36)
@given(
    st.one_of(
        st.text("0123456789", max_size=6000),
        st.text("0123456789.+-eE _", max_size=20),
        st.sampled_from(["9" * 400, "9" * 5000, "", "\u00b2", "1e9"]),
    )
)
@example("9" * 5000)
@example("9" * 400)
def test_a_signed_time_that_is_none_is_refused(receiver: Receiver, stamp: str) -> None:
    status, told, refs = receiver.post(BODY, signed(BODY, stamp.encode("latin-1")))
    judged(status, told, refs)
    assert status == 401


@fuzz(36)
@given(st.permutations(["wrong", "right"]), st.booleans(), st.integers(1, 9))
def test_with_two_signatures_one_of_them_alone_decides_and_no_half_is_queued(
    receiver: Receiver, order: list[str], same_case: bool, pieces: int
) -> None:
    stamp = str(int(now().timestamp())).encode()
    values = {"wrong": b"sha256=" + b"0" * 64, "right": signature(BODY, stamp)}
    headers = [(b"x-chatwoot-timestamp", stamp)]
    headers += [
        (b"x-chatwoot-signature" if same_case or n == 0 else b"X-Chatwoot-Signature", values[name])
        for n, name in enumerate(order)
    ]
    status, told, refs = receiver.post(BODY, headers, pieces=pieces)
    judged(status, told, refs)
    assert (status == 202) is (refs == [Ref("chatwoot", "person", "5")])


def test_genuine_webhooks_are_queued_however_their_headers_are_written(receiver: Receiver) -> None:
    for event, data in GENUINE.items():
        body = json.dumps({"event": event} | data).encode()
        for headers in (
            signed(body),
            [(name.title(), value) for name, value in signed(body)],
            [(n.upper(), v) for n, v in signed(body)],
        ):
            status, told, refs = receiver.post(body, headers, pieces=7)
            judged(status, told, refs)
            assert status == 202
            assert refs


# ---- genuine senders, hostile content ---------------------------------------------------------------------------------

ids = st.one_of(
    scalars,
    trees,
    st.integers(-5, 10),
    st.sampled_from(["../../x", "1?admin=1", "1", "", "1/labels", 2**63, 2**63 - 1, 1.0, float("nan")]),
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    return [p for k, v in tree.items() for p in ((*path, k), *places(v, (*path, k)))] if isinstance(tree, dict) else []


@st.composite
def bodies(draw: Any) -> bytes:
    """A genuine body with up to three values of its own replaced, as JSON."""
    event = draw(st.sampled_from(sorted(GENUINE)))
    data = json.loads(json.dumps({"event": event} | GENUINE[event]))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(data)))
        parent: Any = data
        for key in path[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[path[-1]] = draw(ids)
        else:
            del parent[path[-1]]
        if not places(data):
            break
    return json.dumps(data).encode()


def body(event: str, **more: Any) -> bytes:
    return json.dumps({"event": event} | GENUINE[event] | more).encode()


@fuzz(150)
@given(bodies())
@example(body("contact_created", id="../../x"))
@example(body("contact_created", id="1?admin=1"))
@example(body("contact_created", id=""))
@example(body("contact_created", id="\ud800"))
@example(body("contact_created", id=float("nan")))
@example(body("contact_created", id=True))
@example(body("contact_created", id={"a": 1}))
@example(body("message_created", conversation={"id": "7-1"}))
@example(body("message_created", conversation={"id": "../../accounts/2/conversations/7"}))
@example(body("conversation_created", meta={"sender": {"id": "5/labels"}}))
@example(body("conversation_created", id=-1))
@example(body("contact_updated", changed_attributes=[[[]]]))
def test_a_signed_body_with_values_of_the_wrong_kind_queues_whole_numbers_or_is_refused(
    receiver: Receiver, body: bytes
) -> None:
    status, told, refs = receiver.post(body, signed(body))
    judged(status, told, refs)


@fuzz(60)
@given(
    st.one_of(
        trees.map(lambda tree: json.dumps(tree).encode()),
        st.binary(max_size=200),
        texts.map(lambda t: t.encode("utf-8", "surrogatepass")),
    )
)
@example(b"[" * 200_000)
@example(b'{"event":"contact_created","id":' + b"[" * 200_000)
@example(b'{"event":"contact_created","id":' + b"9" * 5000 + b"}")
@example(b'{"event":"contact_created","id":1,"account":' + b'{"a":' * 100_000)
@example(b"\xff\xfe" + '{"event":"contact_created","id":1}'.encode("utf-16-le"))
@example(b'\xef\xbb\xbf{"event":"contact_created","id":1}')
@example(b"NaN")
@example(b'{"event":"contact_created","event":"x","id":1,"id":"../x"}')
@example(b'{"event":["contact_created"],"id":1,"account":[]}')
def test_a_signed_body_that_is_no_webhook_is_refused_or_says_nothing(receiver: Receiver, body: bytes) -> None:
    judged(*receiver.post(body, signed(body)))


@fuzz(12)
@given(st.integers(-2, 3), st.integers(1, 5))
def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end(
    receiver: Receiver, over: int, pieces: int
) -> None:
    body = b" " * (BODY_LIMIT + over - len(BODY)) + BODY
    status, told, refs = receiver.post(body, signed(body), pieces=pieces)
    judged(status, told, refs)
    assert status == (413 if over > 0 else 202)


@fuzz(36)
@given(
    st.one_of(
        st.sampled_from(
            [
                "/webhooks/../main",
                "/webhooks/",
                "/webhooks",
                "/webhooks/main/",
                "/webhooks/main%2f..",
                "//webhooks/main",
            ]
        ),
        texts.map(lambda t: "/webhooks/" + t),
    ),
    st.sampled_from(["POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "X"]),
)
def test_another_path_or_method_queues_nothing(receiver: Receiver, path: str, method: str) -> None:
    status, _, refs = receiver.post(BODY, signed(BODY), path.encode("utf-8", "replace").decode(), method)
    assert (status, refs) != (202, [])
    assert refs == []
    assert 300 <= status < 500


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, str.swapcase])
def test_the_adapter_itself_does_not_mind_how_a_header_is_written(receiver: Receiver, spell: Any) -> None:
    headers = {spell(name.decode()): value.decode() for name, value in signed(BODY)}
    hints = receiver.worker.hints(headers, BODY)
    assert [str(hint.ref) for hint in hints] == ["chatwoot:person:5"]


def test_every_event_is_known_to_the_fuzzer() -> None:
    assert set(EVENTS) == set(GENUINE)
