"""The shared HTTP helper against a real local server and strict stubs: time-outs, counting, meaning of failures, retries."""

import socket
import threading
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import responses

from connector.adapters import http
from connector.errors import AllowanceSpent, AuthError, Rejected, RemoteError, Transient, Unreadable


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        match self.path.partition("?")[0]:
            case "/ok":
                body = self.headers.get("Authorization", "").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            case "/cut":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"[{")
            case "/moved":
                self.send_response(302)
                self.send_header("Location", "/ok")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "/silent":
                self.server.silence.wait(10)
            case "/hangs-up":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            case unknown:
                raise AssertionError(unknown)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    running.silence = threading.Event()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.silence.set()
    running.shutdown()
    running.server_close()
    thread.join()


def failed(session, url) -> RemoteError:
    with pytest.raises(requests.RequestException) as caught:
        session.get(url, params={"q": "ana@example.com"})
    return http.failure("salesforce", caught.value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_calls_are_counted_and_the_authorization_header_is_left_alone(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with http.Session(partial(datetime.now, UTC), read=5) as session:
        for _ in range(3):
            assert session.get(f"{server}/ok", headers={"Authorization": "Bearer abc"}).text == "Bearer abc"
        assert session.calls == 3


@pytest.mark.parametrize("path", ["/cut", "/silent", "/hangs-up"])
def test_a_call_counts_when_it_may_have_arrived(server, path):
    with http.Session(partial(datetime.now, UTC), read=0.2) as session:
        failed(session, server + path)
        assert session.calls == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_call_for_which_there_was_no_connection_does_not_count(scheme):
    with http.Session(partial(datetime.now, UTC), read=5) as session:
        failed(session, f"{scheme}://127.0.0.1:{free_port()}/")
        assert session.calls == 0


@pytest.mark.parametrize(
    ("path", "error", "certain"),
    [
        ("/cut", Transient, False),
        ("/silent", Transient, False),
        ("/hangs-up", Transient, False),
        ("/moved", Unreadable, True),
    ],
)
def test_a_failed_exchange_is_certain_only_when_nothing_can_have_happened(server, path, error, certain):
    with http.Session(partial(datetime.now, UTC), read=0.2) as session:
        found = failed(session, server + path)
    assert type(found) is error
    assert found.certain is certain
    assert "ana" not in str(found)


@pytest.mark.parametrize(
    ("url", "error"),
    [("http://127.0.0.1:{free}/x", Transient), ("http://", Unreadable), ("ftp://127.0.0.1/", Unreadable)],
)
def test_a_request_that_never_left_is_certain(url, error):
    with http.Session(partial(datetime.now, UTC), read=5) as session:
        found = failed(session, url.format(free=free_port()))
    assert type(found) is error
    assert found.certain
    assert found.way_out


def test_an_untrusted_certificate_is_for_the_admin():
    error = requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    found = http.failure("salesforce", error)
    assert type(found) is AuthError
    assert "ca" in found.way_out


def answer(body: str, kind: str = "application/json", **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with responses.RequestsMock() as stub:
        stub.get("https://crm.example/", body=body, headers=named, content_type=kind)
        return requests.get("https://crm.example/", timeout=1)


@pytest.mark.parametrize(("body", "value"), [("", None), (" \n", None), ("[]", []), ('{"a": 1}', {"a": 1})])
def test_json_is_read(body, value):
    assert http.read_json("salesforce", answer(body)) == value


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [("[{", "application/json", Transient), ("<html>", "text/html; charset=utf-8", Unreadable)],
)
def test_an_answer_that_is_not_json_leaves_doubt(body, kind, error):
    with pytest.raises(error) as caught:
        http.read_json("salesforce", answer(body, kind))
    assert not caught.value.certain


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "-1"}, 0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "Thu, 01 Jan 2026 00:00:30 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 30),
    ],
)
def test_retry_after_is_seconds_or_a_date_on_the_servers_clock(headers, seconds):
    assert http.retry_after(answer("", **headers)) == seconds


def test_the_servers_time_is_read():
    assert http.server_time(answer("", Date="Thu, 01 Jan 2026 00:00:30 GMT")) == datetime(
        2026, 1, 1, 0, 0, 30, tzinfo=UTC
    )


class Script:
    """Raises the given errors one call after the other, then answers "done"."""

    def __init__(self, *errors: RemoteError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def transient(**options) -> Transient:
    return Transient("salesforce", "503", "busy", **options)


@pytest.mark.parametrize(
    ("errors", "reads", "slept"),
    [
        ([], True, []),
        ([transient()], True, [1]),
        ([transient(certain=False), transient(), transient()], True, [1, 2, 4]),
        ([transient(retry_after=17)], True, [17]),
        ([transient(retry_after=0)], False, [0]),
    ],
)
def test_transient_failures_are_repeated(errors, reads, slept):
    naps: list[float] = []
    script = Script(*errors)
    assert http.Retry(naps.append, jitter=lambda: 0)(script, reads=reads) == "done"
    assert naps == slept


@pytest.mark.parametrize(
    ("errors", "reads", "calls"),
    [
        ([transient(certain=False)], False, 1),
        ([transient() for _ in range(4)], True, 4),
        ([transient(retry_after=3600)], True, 1),
        ([Rejected("salesforce", "X", "no")], True, 1),
        ([AllowanceSpent("salesforce", "X", "no")], True, 1),
    ],
)
def test_other_failures_go_up(errors, reads, calls):
    script, last = Script(*errors), errors[-1]
    with pytest.raises(RemoteError) as caught:
        http.Retry(lambda _: None)(script, reads=reads)
    assert caught.value is last
    assert script.calls == calls
