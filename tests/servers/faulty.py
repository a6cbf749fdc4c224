"""An HTTP proxy on loopback that spoils calls on demand: what stands between the connector and a real server."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

Spoils = Callable[[str, bytes], str | None]
"""What happens to a call with this path and body: lost_request, lost_answer, html, or None."""


class Faulty:
    """Forwards to `target`; `url` is where it listens."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.spoils: Spoils = lambda _path, _body: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def spoiling(self, spoils: Spoils) -> Iterator[None]:
        self.spoils = spoils
        try:
            yield
        finally:
            self.spoils = lambda _path, _body: None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def method_of(path: str, body: bytes) -> str:
    """The method of a call, in JSON-2 (its path) and in JSON-RPC (its arguments)."""
    if path.startswith("/json/2/"):
        return path.rpartition("/")[2]
    params = json.loads(body)["params"]
    return str(params["args"][4]) if params["service"] == "object" else str(params["method"])


def _handler(proxy: Faulty) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass_on(self, body: bytes) -> None:
            fault = proxy.spoils(self.path, body) if body else None
            if fault == "lost_request":
                self.close_connection = True
                return
            if fault == "html":
                self._answer(200, "text/html", b"<html>Maintenance</html>")
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
            }
            with requests.Session() as session:
                session.trust_env = False
                answer = session.request(
                    self.command, proxy.target + self.path, data=body, headers=headers, timeout=300
                )
            if fault == "lost_answer":
                self.close_connection = True
                return
            more = {name: answer.headers[name] for name in ("Date",) if name in answer.headers}
            self._answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.content, more)

        def _answer(self, status: int, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
            self.send_response_only(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler
