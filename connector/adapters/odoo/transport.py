"""One call to Odoo: JSON-2 for 19 and newer, JSON-RPC before, chosen once by asking for the version.

JSON-2 takes arguments by name only and answers with real statuses; JSON-RPC always answers 200 and carries errors inside.
Both run one transaction a call (odoo.md, section 1).
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

import requests

from connector.adapters import http
from connector.adapters.odoo import errors
from connector.adapters.odoo.errors import SYSTEM
from connector.errors import AuthError, SchemaDrift, Unreadable

Row: TypeAlias = dict[str, Any]

JSON_2_SINCE: Final = 19
READ_TIMEOUT: Final = 130.0
"""Seconds. A worker ends a call after 120 (Odoo's `limit_time_real`), so what lasts longer will not be answered."""
BY_PLACE: Final = frozenset(("create", "write", "load", "check_object_reference"))
"""Methods whose parameters are named differently from model to model in older versions; JSON-RPC passes them by place."""
CONTEXT: Final = {"active_test": False, "tz": "UTC", "lang": "en_US"}
"""Archived records exist; times are UTC in `load` as well, which would read them in the user's zone."""

DEFAULTS: Final[Mapping[str, Row]] = {"crm.lead": {"default_user_id": False}}
"""Without it a new opportunity would belong to our own user, and salespeople who see their own alone would not see it."""

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
"""A model's name is a part of the address."""

Name: TypeAlias = Literal["json2", "jsonrpc"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and the server's own time of it (None where it told none)."""

    body: Any
    time: datetime | None


class Transport(Protocol):
    def ask(
        self, model: str, method: str, ids: Sequence[int] | None, params: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Answer: ...

    def user(self) -> int:
        """The id of our own user. Raises AuthError."""


@dataclass(frozen=True)
class Door:
    """Where the database is and who asks; `secret` is an API key (or a password with JSON-RPC)."""

    url: str
    database: str
    login: str
    secret: str
    session: requests.Session

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> requests.Response:
        try:
            return self.session.post(f"{self.url}{path}", json=body, headers=dict(headers or {}))
        except requests.RequestException as error:
            raise http.failure(SYSTEM, error) from None

    def __repr__(self) -> str:
        return f"Door({self.url}, {self.database}, {self.login})"


@dataclass(frozen=True)
class Json2:
    door: Door

    def ask(
        self, model: str, method: str, ids: Sequence[int] | None, params: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Answer:
        if not NAME.fullmatch(model):
            raise SchemaDrift(SYSTEM, "model", f"{model!r} is no name of a model.", "Correct the mapping.")
        headers = {"Authorization": f"bearer {self.door.secret}", "X-Odoo-Database": self.door.database}
        body = {**params, "context": context, **({} if ids is None else {"ids": list(ids)})}
        response = self.door.post(f"/json/2/{model}/{method}", body, headers)
        if response.ok:
            return Answer(http.read_json(SYSTEM, response), http.server_time(response))
        told = _error(response)
        if told is None:
            raise errors.of_status(response.status_code, http.retry_after(response))
        raise errors.classify(told, status=response.status_code, retry_after=http.retry_after(response))

    def user(self) -> int:
        return _id(self.ask("res.users", "context_get", None, {}, {}).body.get("uid"))


class JsonRpc:
    def __init__(self, door: Door) -> None:
        self._door = door
        # Two threads that both start need the user's number; one login is enough.
        self._lock = threading.Lock()
        self._uid: int | None = None

    def ask(
        self, model: str, method: str, ids: Sequence[int] | None, params: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Answer:
        places: list[Any] = [] if ids is None else [list(ids)]
        named = {**params, "context": dict(context)}
        if method in BY_PLACE:
            places += params.values()
            named = {"context": dict(context)}
        elif method == "search":
            # Its first parameter is `args` before 16 and `domain` after.
            places.append(named.pop("domain"))
        door = self._door
        return self._call("object", "execute_kw", door.database, self.user(), door.secret, model, method, places, named)

    def user(self) -> int:
        with self._lock:
            if self._uid is None:
                door = self._door
                found = self._call("common", "authenticate", door.database, door.login, door.secret, {}).body
                if not found:
                    raise AuthError(
                        SYSTEM, "login", "the login was refused.", errors.MEANINGS["odoo.exceptions.AccessDenied"][1]
                    )
                self._uid = _id(found)
            return self._uid

    def version(self) -> int:
        told = self._call("common", "version").body
        return major(told)

    def _call(self, service: str, method: str, *args: Any) -> Answer:
        params = {"service": service, "method": method, "args": args}
        response = self._door.post("/jsonrpc", {"jsonrpc": "2.0", "method": "call", "id": 1, "params": params})
        if not response.ok:
            raise errors.of_status(response.status_code, http.retry_after(response))
        body = http.read_json(SYSTEM, response)
        if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
            raise Unreadable(SYSTEM, "answer", "the answer is no JSON-RPC.", "Check `url`.", certain=False)
        if "error" in body:
            error = body["error"]
            raise errors.classify(error.get("data") or error if isinstance(error, dict) else {})
        return Answer(body.get("result"), http.server_time(response))


def probe(door: Door) -> int:
    """The major version, asked without a login: newer servers tell it on a page, all others through JSON-RPC."""
    try:
        response = door.session.get(f"{door.url}/web/version")
    except requests.RequestException as error:
        raise http.failure(SYSTEM, error) from None
    if response.ok and "json" in response.headers.get("Content-Type", ""):
        return major(http.read_json(SYSTEM, response))
    if response.status_code == 429 or response.status_code >= 500:
        raise errors.of_status(response.status_code, http.retry_after(response))
    return JsonRpc(door).version()


def major(told: Any) -> int:
    """19 of `{"version_info": [19, 0, ...]}` (a page) or `server_version_info` (JSON-RPC); hosted versions are told as
    `saas~18`."""
    info = (told.get("version_info") or told.get("server_version_info")) if isinstance(told, dict) else None
    digits = "".join(c for c in str(info[0]).rpartition("~")[2].partition(".")[0] if c.isdigit()) if info else ""
    if not digits:
        raise Unreadable(SYSTEM, "version", "the server tells no version of Odoo.", "Check `url` in the config.")
    return int(digits)


class Client:
    """Calls with the retry policy. `transport` names one to use whatever the version is; left out, the version decides."""

    def __init__(self, door: Door, sleep: Callable[[float], None], transport: Name | None = None) -> None:
        self._door = door
        self._wanted = transport
        self._retry = http.Retry(sleep)
        # Two threads that make the first call at once would both ask for the version.
        self._lock = threading.Lock()
        self._found: tuple[int, Transport] | None = None

    @property
    def version(self) -> int:
        return self._connected()[0]

    def user(self) -> int:
        def ask() -> int:
            return self._connected()[1].user()

        return self._retry(ask, reads=True)

    def read(self, model: str, method: str, *, ids: Sequence[int] | None = None, **params: Any) -> Answer:
        """A call that changes nothing; repeated after transient faults."""
        return self._retry(lambda: self._reading(model, method, ids, params), reads=True)

    def write(self, model: str, method: str, *, ids: Sequence[int] | None = None, **params: Any) -> Any:
        """A call that changes something; repeated only where it certainly did not."""
        context = CONTEXT | DEFAULTS.get(model, {})
        return self._retry(lambda: self._connected()[1].ask(model, method, ids, params, context), reads=False).body

    def rows(self, model: str, method: str, *, ids: Sequence[int] | None = None, **params: Any) -> list[Row]:
        """The rows of a read. Raises Unreadable when the answer holds none."""
        return checked(self.read(model, method, ids=ids, **params).body, method)

    def _reading(self, model: str, method: str, ids: Sequence[int] | None, params: Mapping[str, Any]) -> Answer:
        return self._connected()[1].ask(model, method, ids, params, CONTEXT)

    def _connected(self) -> tuple[int, Transport]:
        with self._lock:
            if self._found is None:
                version = probe(self._door)
                name = self._wanted or ("json2" if version >= JSON_2_SINCE else "jsonrpc")
                self._found = version, Json2(self._door) if name == "json2" else JsonRpc(self._door)
            return self._found


def whole_numbers(body: Any, what: str, count: int | None = None) -> list[int]:
    """The ids of an answer, as many as were asked for. Raises Unreadable, and uncertain: what was asked may have been done."""
    fits = isinstance(body, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in body)
    if not fits or (count is not None and len(body) != count):
        raise Unreadable(SYSTEM, what, "the answer is not what the API documents.", certain=False)
    return list(body)


def checked(body: Any, what: str) -> list[Row]:
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise Unreadable(SYSTEM, what, "the answer is not what the API documents.", certain=False)
    return body


def _error(response: requests.Response) -> Row | None:
    """The error object of a JSON-2 answer, None where a proxy or a page answered instead."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and "name" in body else None


def _id(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(SYSTEM, "user", "the answer names no user.")
    return value
