"""An HTTP proxy on loopback that spoils calls on demand: what stands between the connector and a server."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3

PAGE = b"<html><body><h1>Bad Gateway</h1></body></html>"
HOP = {"connection", "content-encoding", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}
"""Headers that speak of one connection, or that the proxy writes itself."""


@dataclass(frozen=True)
class Call:
    """A call as it arrived: the how-many-eth of this proxy, and when, by the proxy's clock."""

    number: int
    method: str
    path: str
    body: bytes
    at: datetime


@dataclass(frozen=True)
class Fault:
    """What happens to a call. `reaches`: the server carries it out. `answer`: what the caller gets of the server's answer:
    the `whole` of it; `none`, the line goes dead; `cut`, half of it as if it were all; `broken_off`, the line goes dead
    in its middle; or a `page` of the proxy's own, with `status` and `headers`. `late` are seconds by which the answer
    is held back. `then` is called once the server has done what it does, before the caller learns anything."""

    reaches: bool = True
    answer: str = "whole"
    status: int = 502
    headers: Mapping[str, str] = field(default_factory=dict)
    late: float = 0
    then: Callable[[], None] = lambda: None


LOST_REQUEST = Fault(reaches=False, answer="none")
LOST_ANSWER = Fault(answer="none")
WHOLE = Fault()

Spoils = Callable[[str, bytes], str | None]
"""What happens to a call with this path and body: lost_request, lost_answer, html, or None."""

NAMED = {
    "lost_request": LOST_REQUEST,
    "lost_answer": LOST_ANSWER,
    "html": Fault(reaches=False, answer="page", status=200),
}


class Faulty:
    """Forwards to `target`; `url` is where it listens. With a `certificate` (chain and key) it speaks TLS; `ca` is the
    file with the authorities to trust of the target. `clock` is the target's, as its answers tell it; without one the
    target tells it itself."""

    def __init__(
        self,
        target: str,
        *,
        certificate: tuple[Path, Path] | None = None,
        ca: str | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.target = target
        self.clock = clock
        self.spoils: Spoils = lambda _path, _body: None
        self.meets: Callable[[Call], Fault | None] = self._spoilt
        self.calls: list[tuple[Call, Fault]] = []
        """Every call and what happened to it, in the order in which they arrived."""
        self._scheme = "https" if certificate else "http"
        self._moved = threading.Condition()
        self._busy = 0
        self._closing = threading.Event()
        self._pool = urllib3.connection_from_url(target, maxsize=16, **({"ca_certs": ca} if ca else {}))
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is made by the connection's own thread: a slow client must not keep the others out.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def spoiling(self, spoils: Spoils) -> Iterator[None]:
        self.spoils = spoils
        try:
            yield
        finally:
            self.spoils = lambda _path, _body: None

    @contextmanager
    def meeting(self, meets: Callable[[Call], Fault | None]) -> Iterator[None]:
        """Inside, a call meets the fault that `meets` answers, None for none; asked one call after the other."""
        self.meets = meets
        try:
            yield
        finally:
            self.meets = self._spoilt

    def quiet(self) -> None:
        """Wait until no call is under way any more."""
        with self._moved:
            assert self._moved.wait_for(lambda: self._busy == 0, 60), "a call never came to its end"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._pool.close()

    def _spoilt(self, call: Call) -> Fault | None:
        name = self.spoils(call.path, call.body) if call.body else None
        return NAMED[name] if name else None

    @contextmanager
    def _under_way(self, method: str, path: str, body: bytes) -> Iterator[Fault]:
        with self._moved:
            self._busy += 1
            call = Call(len(self.calls) + 1, method, path, body, (self.clock or _now)())
            fault = self.meets(call) or WHOLE
            self.calls.append((call, fault))
        try:
            yield fault
        finally:
            with self._moved:
                self._busy -= 1
                self._moved.notify_all()


def _now() -> datetime:
    return datetime.now(UTC)


def method_of(path: str, body: bytes) -> str:
    """The method of a call, in JSON-2 (its path) and in JSON-RPC (its arguments)."""
    if path.startswith("/json/2/"):
        return path.rpartition("/")[2]
    params = json.loads(body)["params"]
    return str(params["args"][4]) if params["service"] == "object" else str(params["method"])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A caller that hung up, or was killed, is no error of the proxy's."""


def _handler(proxy: Faulty) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"] or 0)))

        do_PUT = do_PATCH = do_DELETE = do_POST

        def _pass_on(self, body: bytes) -> None:
            with proxy._under_way(self.command, self.path, body) as fault:
                answer = self._carried_out(body) if fault.reaches else None
                fault.then()
                proxy._closing.wait(fault.late)
                # A caller who did not wait for it has hung up.
                with suppress(OSError):
                    self._tell(fault, answer)

        def _carried_out(self, body: bytes) -> urllib3.BaseHTTPResponse:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            return proxy._pool.urlopen(
                self.command, self.path, body or None, headers, retries=False, redirect=False, timeout=300
            )

        def _tell(self, fault: Fault, answer: urllib3.BaseHTTPResponse | None) -> None:
            if fault.answer == "none":
                self.close_connection = True
            elif fault.answer == "page" or answer is None:
                self._answer(fault.status, [("Content-Type", "text/html"), *fault.headers.items()], PAGE)
            else:
                told = {"date"} if proxy.clock is None else set()
                headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP - told]
                whole = answer.data
                if self.path.endswith("/oauth2/token"):
                    # The address for all further calls: the proxy stays in between.
                    whole = whole.replace(proxy.target.encode(), proxy.url.encode())
                half = whole[: len(whole) // 2]
                shown = whole if fault.answer == "whole" else half
                self._answer(answer.status, headers, shown, len(half) if fault.answer == "cut" else len(whole))
                self.close_connection |= fault.answer == "broken_off"

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if proxy.clock:
                self.send_header("Date", format_datetime(proxy.clock(), usegmt=True))
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler
