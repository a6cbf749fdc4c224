"""Failure on demand: an ASGI layer in front of the API that loses, breaks, delays and limits requests.

Control calls (/__control/) pass through untouched.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connector.sandbox.chatwoot.http import Refusal, Stats

KINDS = ("status", "html", "empty", "cut", "drop_before", "drop_after", "slow")
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass
class Fault:
    """What to break: requests whose method equals `method` and whose path `path` (a regular expression) finds.

    `times` None means until cleared. `after` lets the request be carried out before `status` is answered: Chatwoot
    under load can answer 500 though the message was stored. `delay` and `retry_after` are seconds.
    """

    id: int
    kind: str
    method: str | None = None
    path: str = ""
    status: int = 500
    times: int | None = 1
    retry_after: int | None = None
    delay: float = 1.0
    after: bool = False
    body: Any = None


@dataclass
class Limits:
    """Requests a minute, as in Chatwoot's `config/initializers/rack_attack.rb`; None is off."""

    per_minute: int | None = None
    contact_search: int | None = None
    conversations_meta: int | None = None
    used: Counter[tuple[str, int]] = field(default_factory=Counter)

    def exceeded(self, path: str, now: float) -> bool:
        rules = [("all", self.per_minute, True)]
        rules.append(("search", self.contact_search, path.endswith("/contacts/search")))
        rules.append(("meta", self.conversations_meta, path.endswith("/conversations/meta")))
        over = False
        for name, limit, applies in rules:
            if limit is not None and applies:
                key = (name, int(now) // 60)
                self.used[key] += 1
                over = over or self.used[key] > limit
        return over


class Faults:
    """The faults in force, in the order they were added."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        self.last_id = 0

    def add(self, given: dict[str, Any]) -> Fault:
        """Raises Refusal (422) naming what is wrong with the description."""
        match = given.get("match", {})
        fields = {k: v for k, v in given.items() if k != "match"} | dict(match)
        unknown = set(fields) - set(Fault.__dataclass_fields__) | (set(fields) & {"id"})
        if unknown or given.get("kind") not in KINDS:
            raise Refusal.error(
                422, f"fault: unknown {sorted(unknown) or 'kind ' + str(given.get('kind'))}; kinds: {KINDS}"
            )
        try:
            re.compile(str(fields.get("path", "")))
        except re.error as error:
            raise Refusal.error(422, f"fault: path is not a regular expression: {error}") from None
        self.last_id += 1
        fault = Fault(id=self.last_id, **fields)
        self.active.append(fault)
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        for fault in self.active:
            if fault.method in (None, method) and re.search(fault.path, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.active.remove(fault)
                return fault
        return None


class Gate:
    """The ASGI layer. `now` gives the sandbox's Unix seconds."""

    def __init__(self, app: ASGIApp, faults: Faults, limits: Limits, stats: Stats, now: Callable[[], float]) -> None:
        self.app, self.faults, self.limits, self.stats, self.now = app, faults, limits, stats, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/__control/"):
            await self.app(scope, receive, send)
            return
        if self.limits.exceeded(scope["path"], self.now()):
            self.stats.limited += 1
            await _respond(send, 429, b"Retry later\n", "text/plain")
            return
        fault = self.faults.take(scope["method"], scope["path"])
        if fault is None:
            await self.app(scope, receive, send)
            return
        self.stats.faults[fault.kind] += 1
        await self._break(fault, scope, receive, send)

    async def _break(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "drop_before":
            await _hang_up(receive, send)
        elif fault.kind == "slow":
            await asyncio.sleep(fault.delay)
            await self.app(scope, receive, send)
        elif fault.kind in ("status", "html"):
            if fault.after:
                await self._carry_out(scope, receive)
            if fault.kind == "html":
                await _respond(send, fault.status, HTML, "text/html", fault.retry_after)
            else:
                body = {"error": "sandbox fault"} if fault.body is None else fault.body
                await _respond(send, fault.status, json.dumps(body).encode(), "application/json", fault.retry_after)
        else:
            status, body = await self._carry_out(scope, receive)
            if fault.kind == "drop_after":
                await _hang_up(receive, send)
            elif fault.kind == "empty":
                await _respond(send, status, b"", "application/json")
            else:
                await _start(send, status, len(body) + 1, "application/json")
                await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
                await _hang_up(receive, send)

    async def _carry_out(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        status, chunks = 500, []

        async def keep(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                chunks.append(message.get("body", b""))

        await self.app(scope, receive, keep)
        return status, b"".join(chunks)


async def _start(send: Send, status: int, length: int, kind: str, retry_after: int | None = None) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(length).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _respond(send: Send, status: int, body: bytes, kind: str, retry_after: int | None = None) -> None:
    await _start(send, status, len(body), kind, retry_after)
    await send({"type": "http.response.body", "body": body})


async def _hang_up(receive: Receive, send: Send) -> None:
    """Close the connection under the request. ASGI has no word for it, so uvicorn's transport is asked directly."""
    send.__self__.transport.close()  # type: ignore[attr-defined]
    while (await receive())["type"] != "http.disconnect":
        pass
