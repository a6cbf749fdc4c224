"""From an HTTP request to a handler and back: routes as data, strict parameters, tokens, one transaction per request."""

from __future__ import annotations

import hmac
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.world import ACCOUNT_ID, World

NOT_FOUND = "Resource could not be found"
NOT_ALLOWED = "You are not authorized to do this action"
FILE_TYPES = ("image", "audio", "video")


class Refusal(Exception):
    """An answer other than 200; `body` None sends an empty one."""

    def __init__(self, status: int, body: r.Json | None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body

    @classmethod
    def error(cls, status: int, text: str) -> Refusal:
        return cls(status, {"error": text})

    @classmethod
    def invalid(cls, message: str, *attributes: str) -> Refusal:
        """422 as the models answer it."""
        return cls(422, {"message": message, "attributes": list(attributes)})


@dataclass
class Call:
    """One request as a handler sees it. Handlers run inside the world's lock and are committed together."""

    world: World
    user: r.Agent
    path: dict[str, Any]
    query: QueryParams
    body: r.Json
    stats: Stats

    def row(self, table: str, name: str = "id") -> Any:
        """The row whose id stands in the path; 404 when unknown."""
        found = self.world.tables[table].get(self.path[name])
        if found is None:
            raise Refusal.error(404, NOT_FOUND)
        return found

    def page(self) -> int:
        text = self.query.get("page", "1")
        return max(int(text), 1) if text.isdecimal() else 1

    def required(self, name: str) -> Any:
        if self.body.get(name) in (None, ""):
            raise Refusal.error(422, f"param is missing or the value is empty: {name}")
        return self.body[name]


Handler = Callable[[Call], Any]
Scope = Literal["account", "profile", "open", "control"]


@dataclass(frozen=True)
class Route:
    """One call the sandbox knows. `query` and `body` name every accepted parameter; anything else answers 501."""

    method: str
    path: str
    handler: Handler
    query: Iterable[str] = ()
    body: Iterable[str] | None = ()
    admin: bool = False
    scope: Scope = "account"

    @property
    def template(self) -> str:
        return f"/api/v1/accounts/{{account_id:int}}{self.path}" if self.scope == "account" else self.path


@dataclass
class Stats:
    """What happened since the last reset; counts, and `busy_s`: the seconds of work on answers, without delays that a fault
    adds."""

    busy_s: float = 0
    requests: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    limited: int = 0
    webhooks_sent: int = 0
    webhooks_failed: int = 0
    webhooks_dropped: int = 0

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


def endpoints(world: World, stats: Stats, routes: Iterable[Route]) -> list[StarletteRoute]:
    return [StarletteRoute(route.template, _endpoint(world, stats, route), methods=[route.method]) for route in routes]


def _endpoint(world: World, stats: Stats, route: Route) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = await _body(request)
        started = time.perf_counter()
        response = await run_in_threadpool(_answer, world, stats, route, request, body)
        if route.scope != "control":
            stats.busy_s += time.perf_counter() - started
        return response

    return answer


def _answer(world: World, stats: Stats, route: Route, request: Request, body: r.Json | Refusal) -> Response:
    with world.lock:
        name = f"{route.method} {route.path}"
        if route.scope != "control":
            stats.requests[name] += 1
        try:
            user = _user(world, route, request)
            if isinstance(body, Refusal):
                raise body
            _only_known(route, request.query_params, body)
            result = route.handler(Call(world, user, dict(request.path_params), request.query_params, body, stats))
            world.commit()
        except Refusal as refusal:
            world.rollback()
            if refusal.status == 501:
                stats.unknown[f"{name}: {(refusal.body or {}).get('error')}"] += 1
            if refusal.body is None:
                return Response(status_code=refusal.status)
            return JSONResponse(refusal.body, status_code=refusal.status)
        except BaseException:
            world.rollback()
            raise
    if isinstance(result, Response):
        return result
    return Response(status_code=200) if result is None else JSONResponse(result)


def unknown_route(world: World, stats: Stats) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        with world.lock:
            stats.unknown[f"{request.method} {request.url.path}"] += 1
        return JSONResponse({"error": NOT_FOUND, "sandbox": "no such route"}, status_code=404)

    return answer


def _user(world: World, route: Route, request: Request) -> r.Agent:
    nobody = r.Agent(id=0, name="", email="", role="none", token="")
    if route.scope in ("open", "control"):
        return nobody
    # A real server reads the header through its CGI name, where hyphen and underscore are the same.
    given = request.headers.get("api_access_token") or request.headers.get("api-access-token")
    if not given:
        raise Refusal(401, {"errors": ["You need to sign in or sign up before continuing."]})
    user = next((a for a in world.agents if hmac.compare_digest(a.token.encode(), given.encode())), None)
    if user is None:
        raise Refusal.error(401, "Invalid Access Token")
    if route.scope == "account" and request.path_params["account_id"] != ACCOUNT_ID:
        raise Refusal.error(401, "You are not authorized to access this account")
    if route.admin and user.role != "administrator":
        raise Refusal.error(401, NOT_ALLOWED)
    return user


def _only_known(route: Route, query: QueryParams, body: r.Json) -> None:
    unknown = sorted(set(query) - set(route.query))
    if route.body is not None:
        unknown += sorted(set(body) - set(route.body))
    if unknown:
        raise Refusal.error(501, f"parameter unknown to the sandbox: {', '.join(unknown)}")


async def _body(request: Request) -> r.Json | Refusal:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request)
    raw = await request.body()
    if not raw:
        return {}
    if kind != "application/json":
        return Refusal.error(501, f"a body of type {kind or 'none'}; send application/json")
    try:
        parsed = json.loads(raw)
    except ValueError:
        return Refusal.error(400, "Invalid JSON")
    return parsed if isinstance(parsed, dict) else {"_json": parsed}


async def _form(request: Request) -> r.Json:
    """Form fields as JSON values; uploads become {file_type, data_url, ...} under `attachments`."""
    body: r.Json = {}
    form = await request.form()
    for name, value in form.multi_items():
        key = name.removesuffix("[]")
        item: Any = value
        if isinstance(value, UploadFile):
            kind = (value.content_type or "").partition("/")[0]
            item = {
                "file_type": kind if kind in FILE_TYPES else "file",
                "content_type": value.content_type,
                "extension": (value.filename or "").rpartition(".")[2] or None,
                "data_url": f"{request.base_url}rails/active_storage/blobs/redirect/{value.filename}",
                "file_size": value.size or 0,
            }
        if name.endswith("[]"):
            body.setdefault(key, []).append(item)
        else:
            body[key] = item
    return body
