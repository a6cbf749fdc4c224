"""HTTP as every adapter needs it: a session with time-outs that cannot be forgotten and a call counter, the reading of
answers, and the one retry policy. What an error *means* in a system's own words lives in that system's adapter.

A failure is `certain` when the request surely had no effect. Messages name the host and what went wrong, never the
address that was called: query strings hold customers' data.
"""

import json
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from connector.errors import AuthError, RemoteError, Transient, Unreadable

T = TypeVar("T")

# At debug level urllib3 logs every address with its query string.
logging.getLogger("urllib3").setLevel(logging.INFO)

ASKING = (429, 503)
"""Statuses whose Retry-After means the whole system (RFC 9110, 10.2.3; RFC 6585, 4)."""
LONGEST_WAIT = 60.0
"""Seconds an adapter waits inside a call; when a system asks for more, the error goes up and the schedule waits."""
CONNECT_TIMEOUT = 10.0
"""Seconds until a server that does not take the connection is given up."""


class Session(requests.Session):
    """A session whose every call has a time-out. `calls` counts the requests that may have arrived.

    `clock` answers an aware time; `connect` and `read` are seconds; `ca` is a file with the certificate authorities to trust,
    None for the public ones. A system that asks for time (Retry-After) gets it from every call: until then none goes out.
    Redirects are refused: followed, they turn a POST into a GET and a maintenance page into an answer.
    """

    def __init__(
        self, clock: Callable[[], datetime], *, read: float, connect: float = CONNECT_TIMEOUT, ca: str | None = None
    ) -> None:
        super().__init__()
        self.max_redirects = 0
        self.auth = _unchanged
        self._transport = _Transport(clock, (connect, read), ca)
        self.mount("https://", self._transport)
        self.mount("http://", self._transport)

    @property
    def calls(self) -> int:
        return self._transport.calls


class AskedToWait(requests.RequestException):
    """The system asked for time; this call did not go out. `seconds` are still to wait."""

    def __init__(self, seconds: float, request: requests.PreparedRequest) -> None:
        super().__init__("the system asked for time", request=request)
        self.seconds = seconds


class _Transport(HTTPAdapter):
    def __init__(self, clock: Callable[[], datetime], timeouts: tuple[float, float], ca: str | None) -> None:
        super().__init__()
        self._clock = clock
        self._until: datetime | None = None
        self._timeouts = timeouts
        self._ca = ca
        # Two threads share one session; an unlocked `calls += 1` of both would count one call.
        self._lock = threading.Lock()
        self.calls = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        with self._lock:
            # Two threads: one call is told to come back in a minute; the other, to the same system, is just about to go out. It
            # would be refused as well, and some systems then lengthen the minute.
            rest = (self._until - self._clock()).total_seconds() if self._until else 0
            if rest > 0:
                raise AskedToWait(rest, request)
            self.calls += 1
        options["timeout"] = options.get("timeout") or self._timeouts
        # The file named in the config wins over REQUESTS_CA_BUNDLE, which requests would prefer to session.verify.
        options["verify"] = self._ca or options.get("verify", True)
        try:
            response = super().send(request, *args, **options)
        except requests.RequestException as error:
            if _never_arrived(error):
                with self._lock:
                    self.calls -= 1
            raise
        asked = retry_after(response) if response.status_code in ASKING else None
        if asked:
            with self._lock:
                self._until = self._clock() + timedelta(seconds=asked)
        return response


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stands where requests would otherwise put a password from ~/.netrc over our Authorization header."""
    return request


def failure(system: str, error: requests.RequestException) -> RemoteError:
    """What a failed exchange means. Raise the result `from None`: the original text quotes the address."""
    host = urlsplit((error.request.url if error.request else "") or "").netloc or "the server"
    name = type(error).__name__
    if isinstance(error, AskedToWait):
        return Transient(system, name, f"{host} asked for time.", retry_after=error.seconds)
    if isinstance(error, requests.TooManyRedirects):
        return Unreadable(
            system,
            "redirect",
            f"{host} redirects to another address.",
            "Put the final address of the API into the config.",
        )
    if _untrusted(error):
        return AuthError(
            system,
            "certificate",
            f"{host} shows a certificate that is not trusted.",
            "Check the address, or name the certificate authority's file under `ca` in the config.",
        )
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.JSONDecodeError):
        return Unreadable(system, name, "the address is not a valid URL.", "Correct `url` in the config.")
    if _never_arrived(error):
        return Transient(system, name, f"{host} cannot be reached.", "Check the address and the network.")
    return Transient(system, name, f"{host} did not answer completely.", certain=False)


def _never_arrived(error: requests.RequestException) -> bool:
    """Whether no connection was made on which the request could have gone out."""
    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else None
    unreached = isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError)
    return unreached or isinstance(reason, NewConnectionError) or _untrusted(error)


def _untrusted(error: requests.RequestException) -> bool:
    return isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def read_json(system: str, response: requests.Response) -> Any:
    """The JSON of an answer, None for an empty body. Raises Transient on JSON that is cut off, Unreadable on anything
    else (a login or maintenance page); both uncertain, since the request did arrive."""
    if not response.content.strip():
        return None
    status, kind = str(response.status_code), response.headers.get("Content-Type", "no content type")
    try:
        return whole(response.json(), response.content)
    except RecursionError:
        raise Unreadable(system, status, "the answer is nested too deeply.", certain=False) from None
    except ValueError:
        pass
    if "json" in kind:
        raise Transient(system, status, "the answer is cut off.", certain=False)
    raise Unreadable(
        system,
        status,
        f"the answer is {kind.partition(';')[0]}, not JSON.",
        "Check the address in the config, and whether a proxy or a maintenance page stands in between.",
        certain=False,
    )


def whole(body: Any, content: bytes) -> Any:
    """The answer with U+FFFD for each half of a surrogate pair: JSON can spell one, no store or address can hold it."""
    if b"\\ud" not in content.lower():
        return body
    text = json.dumps(body, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def server_time(response: requests.Response) -> datetime | None:
    """The answering server's own clock (UTC, whole seconds) from the Date header."""
    return _http_date(response.headers.get("Date"))


def retry_after(response: requests.Response) -> float | None:
    """Seconds to wait from the Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    until, now = _http_date(text), server_time(response)
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _http_date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Retry:
    """The retry policy: only Transient errors, 1, 2, 4 ... seconds apart or as long as the system asked, with jitter so
    that many workers do not come back together. `sleep` takes seconds; `jitter` answers 0 to 1.

    Two actors: our write lands and its answer is lost; a person edits the same field; a second attempt of ours overwrites
    her edit. So a write is repeated only after a failure that is certain; any other goes up, and the engine looks first.
    """

    sleep: Callable[[float], None]
    attempts: int = 4
    jitter: Callable[[], float] = random.random

    def __call__(self, call: Callable[[], T], *, reads: bool) -> T:
        """Runs `call`, again after transient failures; unless it only `reads`, of these only after those that are certain."""

        def again(error: BaseException) -> bool:
            return (
                isinstance(error, Transient) and (reads or error.certain) and (error.retry_after or 0) <= LONGEST_WAIT
            )

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, RemoteError) else None
            return (
                asked if asked is not None else min(2.0 ** (state.attempt_number - 1), LONGEST_WAIT)
            ) + self.jitter()

        policy = tenacity.Retrying(
            retry=tenacity.retry_if_exception(again),
            wait=wait,
            stop=tenacity.stop_after_attempt(self.attempts),
            sleep=self.sleep,
            reraise=True,
        )
        return policy(call)
