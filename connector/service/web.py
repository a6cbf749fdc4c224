"""What the service answers over HTTP: webhooks of platforms, health, readiness, metrics."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.app import Plug, now
from connector.errors import AuthError, RemoteError, StoreError
from connector.model import Side
from connector.service.metrics import Metrics
from connector.service.served import Served

BODY_LIMIT = 1 << 20
"""Bytes. A message of Chatwoot holds at most 150,000 characters (its `content` limit); with its conversation around it a
webhook stays far below this."""
LATE = 5
"""A stream that was not read for this many of its intervals is late."""

log = structlog.get_logger("connector.web")


class Web:
    """The handlers. `schedule` is the one of the config."""

    def __init__(self, served: Mapping[str, Served], metrics: Metrics, schedule: Mapping[str, timedelta]) -> None:
        self._served = served
        self._metrics = metrics
        self._every = {name: one.plug.intervals(schedule) for name, one in served.items()}
        self.app = Starlette(
            routes=[
                Route("/webhooks/{connection}", self.webhook, methods=["POST"]),
                Route("/health", self.health),
                Route("/ready", self.ready),
                Route("/metrics", self.metrics),
            ]
        )

    async def webhook(self, request: Request) -> Response:
        """Verify, note which refs to look at, answer at once: a platform that waits may give up and send again."""
        name = request.path_params["connection"]
        served = self._served.get(name)
        if served is None:
            return _told(404, "there is no such connection")
        body = await _limited(request)
        if body is None:
            return self._refused(name, "too_large", 413, f"the body is larger than {BODY_LIMIT} bytes")
        try:
            hints = served.hints(dict(request.headers), body)
        except AuthError:
            # Whoever knocks without the secret is told nothing about it.
            return self._refused(name, "bad_signature", 401, "the signature does not fit")
        except RemoteError:
            return self._refused(name, "unreadable", 400, "the body cannot be read")
        if not await served.look_at([hint.ref for hint in hints]):
            return self._refused(name, "busy", 503, "too many webhooks are waiting")
        self._metrics.webhooks.labels(name, "accepted").inc()
        return JSONResponse({"queued": len(hints)}, 202)

    async def health(self, _request: Request) -> Response:
        """200 while this process does its part for every connection."""
        found = await run_in_threadpool(self._health, now())
        return JSONResponse(found, 200 if found["live"] else 503)

    async def ready(self, _request: Request) -> Response:
        """200 while webhooks are taken, for which the store has to answer.

        Two actors: the token of one tenant runs out, and another tenant's customer writes. A load balancer that asks here must
        not take the webhooks of all from this process; what is wrong with one stands in the answer.
        """
        found = await run_in_threadpool(self._health, now())
        return JSONResponse(found, 200 if found["ready"] else 503)

    async def metrics(self, _request: Request) -> Response:
        return Response(await run_in_threadpool(self._metrics.render), media_type=CONTENT_TYPE_LATEST)

    def _health(self, at: datetime) -> dict[str, object]:
        live = all(one.alive for one in self._served.values())
        try:
            ages = {name: self._ages(one.plug, at) for name, one in self._served.items()}
        except StoreError as error:
            log.error("the store does not answer", error=type(error).__name__)
            return {"live": live, "ready": False, "connections": {}}
        return {
            "live": live,
            "ready": True,
            "connections": {
                name: {
                    "late": late(streams, self._every[name]),
                    "seconds_since_read": {f"{side}.{stream}": age for (side, stream), age in streams.items()},
                }
                for name, streams in ages.items()
            },
        }

    def _ages(self, plug: Plug, at: datetime) -> dict[tuple[Side, str], float | None]:
        """Seconds since the last successful read of each stream, None before the first."""
        reads = plug.ledger.reads()
        return {one: (at - reads[one]).total_seconds() if one in reads else None for one in self._every[plug.name]}

    def _refused(self, connection: str, result: str, code: int, message: str) -> Response:
        self._metrics.webhooks.labels(connection, result).inc()
        log.warning("webhook refused", connection=connection, result=result)
        return _told(code, message)


def late(ages: Mapping[tuple[Side, str], float | None], every: Mapping[tuple[Side, str], timedelta]) -> list[str]:
    """The streams that were not read within their time, as `side.stream`. Pure."""
    return [
        f"{side}.{stream}"
        for (side, stream), age in ages.items()
        if age is None or age > LATE * every[side, stream].total_seconds()
    ]


async def _limited(request: Request) -> bytes | None:
    """The body, None as soon as it turns out too large: a length that is announced can be a lie."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_LIMIT:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)


def _told(code: int, message: str) -> Response:
    return JSONResponse({"error": message}, code)
