"""The web application: from an HTTP request to the org and back, with the scripted failures in between."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from email.utils import format_datetime
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from connector.sandbox.salesforce import dml
from connector.sandbox.salesforce.auth import Auth, OAuthError, Session
from connector.sandbox.salesforce.calls import (
    NEWEST,
    OLDEST,
    Answer,
    Call,
    parse_body,
    parse_params,
    read_version,
    refusal,
    split_path,
)
from connector.sandbox.salesforce.control import Control
from connector.sandbox.salesforce.errors import Refused, refuse
from connector.sandbox.salesforce.faults import Fault
from connector.sandbox.salesforce.org import Caller, Org
from connector.sandbox.salesforce.rest import Rest

MOST_URI_BYTES = 16_384  # "Status Codes and Error Responses", REST API guide: 414, with headers 431, beyond
TRANSPORT = "connector.transport"  # where the server puts the connection, so that a failure can cut it

Raw = tuple[int, bytes, dict[str, str]]


class Gateway:
    """The ASGI application of one org that clients reach at `url`."""

    def __init__(self, org: Org, url: str) -> None:
        self._org = org
        self._auth = Auth(org, url)
        self._rest = Rest(org)
        self._control = Control(org, self._auth)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, partial(self._dated, send))

    async def _dated(self, send: Send, message: Message) -> None:
        """The Date header tells the org's time, which control may have moved."""
        if message["type"] == "http.response.start":
            message["headers"].append((b"date", format_datetime(self._org.now(), usegmt=True).encode()))
        await send(message)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        raw_path: str = scope["raw_path"].decode("ascii").partition("?")[0]
        if raw_path.startswith("/__control/"):
            status, payload, headers = await run_in_threadpool(self._controlled, scope, raw_path, body)
            await _send(send, status, payload, headers)
            return
        fault = self._org.faults.take(scope["method"], raw_path, body)
        work = partial(self._answer, scope, raw_path, body, fault)
        if fault is None or fault.kind in ("expire_token", "permanent_401"):
            await _send(send, *await run_in_threadpool(work))
        elif fault.kind == "slow":
            # The answer is late, not the work: a client that gives up has had its write done.
            result = await run_in_threadpool(work)
            try:
                await asyncio.wait_for(_disconnected(receive), fault.seconds)
            except TimeoutError:
                await _send(send, *result)
        elif fault.kind in ("drop_before", "drop_after"):
            if fault.kind == "drop_after":
                await run_in_threadpool(work)
            scope[TRANSPORT].abort()
            await _disconnected(receive)
        elif fault.kind == "cut":
            status, payload, headers = await run_in_threadpool(work)
            await _send(send, status, payload, headers, cut=True)
            scope[TRANSPORT].abort()
            await _disconnected(receive)
        else:
            await _send(send, *_scripted(fault))

    def _controlled(self, scope: Scope, raw_path: str, body: bytes) -> Raw:
        path = raw_path.removeprefix("/__control/").strip("/")
        params = parse_params(scope["query_string"].decode())
        with self._org.lock:
            answer = self._whole(lambda: self._control.answer(scope["method"], path, params, parse_body(body)))
        return _render(answer)

    def _answer(self, scope: Scope, raw_path: str, body: bytes, fault: Fault | None) -> Raw:
        """One request, alone on the org: everything it wrote is in the file before it is answered."""
        with self._org.lock:
            if fault and fault.kind == "expire_token":
                self._auth.expire_all()
            if fault and fault.kind == "permanent_401":
                return _unauthorised(fault)
            started = time.perf_counter()
            answer = self._whole(lambda: self._route(scope, raw_path, body))
            self._org.stats.busy_s += time.perf_counter() - started
            usage = f"api-usage={self._org.used_calls()}/{self._org.settings.daily_limit}"
        return _render(answer, {"Sforce-Limit-Info": usage} if raw_path.startswith("/services/data/") else {})

    def _whole(self, work: Callable[[], Answer]) -> Answer:
        """Do the work and keep it, or keep nothing of it when it is refused or fails."""
        store = self._org.store
        mark = store.mark()
        try:
            answer = work()
        except Refused as refused:
            store.rollback(mark)
            answer = refusal(refused)
        except dml.ChunkFailed as failed:
            store.rollback(mark)
            answer = refusal(failed.refused)
        except BaseException:
            store.rollback(mark)
            raise
        finally:
            store.flush()
        return answer

    def _route(self, scope: Scope, raw_path: str, body: bytes) -> Answer:
        query = scope["query_string"].decode("ascii")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method: str = scope["method"]
        if len(raw_path) + len(query) + 1 > MOST_URI_BYTES:
            raise refuse("URI_TOO_LONG", f"The URI is longer than {MOST_URI_BYTES} bytes")
        if len(raw_path) + len(query) + sum(len(n) + len(v) for n, v in scope["headers"]) > MOST_URI_BYTES:
            message = f"The URI and the headers are longer than {MOST_URI_BYTES} bytes"
            raise refuse("REQUEST_HEADER_TOO_LARGE", message, status=431)
        segments = split_path(raw_path)
        if segments[:2] == ("services", "oauth2"):
            return self._oauth(method, segments, headers, body)
        if segments[:2] != ("services", "data"):
            return self._unknown(method, raw_path)
        if len(segments) == 2:
            return Answer(200, _versions())
        version = read_version(segments[2])
        if self._org.settings.instance_host not in ("", headers.get("host", "").partition(":")[0]):
            raise refuse("NOT_FOUND", "The org has moved to another instance")
        session = self._auth.session(headers.get("authorization"))
        self._org.count_call()
        call = Call(
            method,
            segments[3:] or ("",),
            parse_params(query),
            headers,
            parse_body(body),
            self._caller(session, version, headers),
        )
        try:
            pattern, handler, named = self._rest.routes.find(method, call.segments)
        except Refused:
            self._org.stats.unknown += 1
            raise
        self._org.stats.requests[f"{method} /{pattern}"] += 1
        return handler(call, **named)

    def _caller(self, session: Session, version: float, headers: dict[str, str]) -> Caller:
        rule_header = headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower()
        allow_save = "allowsave=true" in rule_header
        auto_assign = headers.get("sforce-auto-assign", "").strip().lower() != "false"
        integration = session.client == "connector"
        return Caller(session.user_id, version, allow_save, auto_assign, integration)

    def _unknown(self, method: str, raw_path: str) -> Answer:
        self._org.stats.unknown += 1
        raise refuse("NOT_IMPLEMENTED", f"The sandbox has no {method} {raw_path}")

    def _oauth(self, method: str, segments: tuple[str, ...], headers: dict[str, str], body: bytes) -> Answer:
        resource = "/".join(segments[2:])
        self._org.stats.requests[f"{method} /services/oauth2/{resource}"] += 1
        if resource == "token" and method == "POST":
            form = {name: values[-1] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
            try:
                return Answer(200, self._auth.token(form, headers.get("authorization")))
            except OAuthError as error:
                return Answer(error.status, {"error": error.error, "error_description": error.description})
        if resource == "userinfo" and method in ("GET", "POST"):
            user = self._org.row(self._auth.session(headers.get("authorization")).user_id) or {}
            return Answer(
                200,
                {
                    "user_id": user["Id"],
                    "organization_id": self._auth.organization_id,
                    "preferred_username": user["Username"],
                    "name": user["Name"],
                    "email": user["Email"],
                    "active": user["IsActive"],
                },
            )
        return self._unknown(method, "/" + "/".join(segments))


def _versions() -> list[dict[str, str]]:
    return [
        {"label": f"API {n}.0", "url": f"/services/data/v{n}.0", "version": f"{n}.0"} for n in range(OLDEST, NEWEST + 1)
    ]


def _render(answer: Answer, headers: Mapping[str, str] = MappingProxyType({})) -> Raw:
    merged = {**answer.headers, **headers}
    if answer.body is None:
        return answer.status, b"", merged
    payload = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return answer.status, payload, merged | {"Content-Type": "application/json;charset=UTF-8"}


def _unauthorised(fault: Fault) -> Raw:
    """The 401 bodies seen in the wild: the documented array, a bare object, a page."""
    problem = {"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}
    if fault.body == "html":
        return 401, b"<html><body><h1>Unauthorized</h1></body></html>", {"Content-Type": "text/html"}
    return _render(Answer(401, problem if fault.body == "object" else [problem]))


def _scripted(fault: Fault) -> Raw:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if fault.kind == "empty":
        return fault.status, b"", headers
    if fault.kind == "html":
        page = f"<html><head><title>{fault.status}</title></head><body><h1>Service unavailable</h1></body></html>"
        return fault.status, page.encode(), headers | {"Content-Type": "text/html"}
    problem: dict[str, Any] = {"message": fault.message, "errorCode": fault.code}
    if fault.fields:
        problem["fields"] = list(fault.fields)
    return _render(Answer(fault.status, [problem], headers))


async def _send(send: Send, status: int, payload: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
    """Send an answer; with `cut`, promise all of it and deliver half."""
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    if status not in (204, 304):
        pairs.append((b"content-length", str(len(payload)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send(
        {"type": "http.response.body", "body": payload[: len(payload) // 2] if cut else payload, "more_body": cut}
    )


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
