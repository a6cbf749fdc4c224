"""Calls to one Chatwoot account: address, token, what its refusals mean, retries. Knows no record types.

Facts: Chatwoot 4.15.1 source (`access_token_auth_helper.rb`, `request_exception_handler.rb`, `rack_attack.rb`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import requests

from connector.adapters.http import Retry, Session, failure, read_json, retry_after, server_time
from connector.errors import AuthError, RecordGone, Rejected, RemoteError, Transient, Unreadable

Json: TypeAlias = dict[str, Any]

SYSTEM = "chatwoot"

READ_TIMEOUT = 60.0
"""Seconds until an answer that does not come is given up."""
LIMITER_WAIT = 20.0
"""Seconds to wait after a 429. The limiter counts per minute and sends no Retry-After, so three waits span a minute."""

PERMISSION = (
    "Chatwoot answers 401 both to a wrong token and to an action the token's user may not do: check the token, that its "
    "user is a member of the account, and its role (docs/chatwoot.md names what each role is needed for)."
)


class Client:
    """JSON calls below `/api/v1/accounts/<account>`. `url` is the installation's address, `sleep` takes seconds, `clock` answers an aware time.

    All calls raise RemoteError; `certain` says whether a write surely had no effect.
    """

    def __init__(
        self, url: str, account: int, token: str, sleep: Callable[[float], None], clock: Callable[[], datetime]
    ) -> None:
        self.url = url.rstrip("/")
        self.account = account
        self._base = f"{self.url}/api/v1/accounts/{account}"
        self._session = Session(clock, read=READ_TIMEOUT)
        # The hyphen form: proxies drop header names with underscores (nginx does by default).
        self._session.headers["Api-Access-Token"] = token
        self._retry = Retry(sleep)

    @property
    def calls(self) -> int:
        return self._session.calls

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a read, which is repeated after transient failures."""
        return self._retry(lambda: self._json("GET", self._base + path, params=params), reads=True)

    def query(self, path: str, body: Json, params: Mapping[str, Any] | None = None) -> Any:
        """A read that Chatwoot spells as POST (filters)."""
        return self._retry(lambda: self._json("POST", self._base + path, params=params, body=body), reads=True)

    def write(self, method: str, path: str, body: Json | None = None) -> Any:
        """A write, repeated only when it certainly had no effect."""
        return self._retry(lambda: self._json(method, self._base + path, body=body), reads=False)

    def once(self, path: str, body: Json) -> Any:
        """A write that reaches a customer: never repeated here."""
        return self._json("POST", self._base + path, body=body)

    def profile(self) -> Any:
        return self._retry(lambda: self._json("GET", f"{self.url}/api/v1/profile"), reads=True)

    def server(self) -> tuple[datetime, str]:
        """The server's own clock (UTC, whole seconds) and version."""
        response = self._retry(lambda: self._exchange("GET", f"{self.url}/api"), reads=True)
        answer = read_json(SYSTEM, response)
        now = server_time(response)
        if now is None or not isinstance(answer, dict) or "version" not in answer:
            raise Unreadable(
                SYSTEM, "api", f"{self.url}/api does not answer like Chatwoot.", "Check `url` in the config."
            )
        return now.astimezone(UTC), str(answer["version"])

    def _json(self, method: str, url: str, *, params: Mapping[str, Any] | None = None, body: Json | None = None) -> Any:
        return read_json(SYSTEM, self._exchange(method, url, params=params, body=body))

    def _exchange(
        self, method: str, url: str, *, params: Mapping[str, Any] | None = None, body: Json | None = None
    ) -> requests.Response:
        try:
            response = self._session.request(method, url, params=params, json=body)
        except requests.RequestException as error:
            raise failure(SYSTEM, error) from None
        if not response.ok:
            raise refusal(response)
        return response

    def close(self) -> None:
        self._session.close()


def refusal(response: requests.Response) -> RemoteError:
    """What an answer other than 2xx means. 5xx is never certain: Chatwoot can store a record and fail afterwards."""
    status = response.status_code
    code = str(status)
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    said = _said(body)
    if status == 429:
        wait = retry_after(response)
        return Transient(SYSTEM, code, "too many requests.", retry_after=LIMITER_WAIT if wait is None else wait)
    if status == 408 or status >= 500:
        return Transient(SYSTEM, code, said or "the server failed.", certain=False, retry_after=retry_after(response))
    if status == 401:
        return AuthError(SYSTEM, code, said or "not allowed.", PERMISSION)
    if body is None and response.content.strip():
        return Unreadable(SYSTEM, code, "the answer is not JSON.", "Check `url` in the config, and proxies in between.")
    if status == 404:
        return RecordGone(SYSTEM, code, said or "there is no such record.")
    if status == 422 and "too many messages" in said.lower():
        # 200 messages a conversation and minute; nothing was stored.
        return Transient(SYSTEM, code, said, retry_after=60.0)
    attributes = body.get("attributes") if isinstance(body, dict) else None
    fields = tuple(_OURS.get(str(name), str(name)) for name in attributes) if isinstance(attributes, list) else ()
    way_out = "The installation's plan does not include this." if status == 402 else ""
    return Rejected(SYSTEM, code, said or "the request was refused.", way_out, fields=fields)


def is_of_the_action(error: AuthError) -> bool:
    """Whether Chatwoot turned down what was asked for, not who asked (chatwoot.md, section 2)."""
    return error.detail == "You are not authorized to do this action"


_OURS = {"phone_number": "phone"}


def _said(body: object) -> str:
    if not isinstance(body, dict):
        return ""
    found = body.get("error") or body.get("message") or body.get("errors") or ""
    return "; ".join(map(str, found)) if isinstance(found, list) else str(found)


@contextmanager
def documented(what: str) -> Iterator[None]:
    """Inside, an answer is taken apart; one without the documented shape raises Unreadable instead of a KeyError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, OSError) as error:
        raise Unreadable(
            SYSTEM, "shape", f"{what}: the answer lacks {error} or has it in another form.",
            "Check that the address is a Chatwoot of version 4.11 or later.", certain=False,
        ) from error  # fmt: skip
