"""The daemon over real HTTP and with real signals: webhooks, health, metrics, trouble in one connection, a clean stop."""

import json
import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from typer.testing import CliRunner

from connector.app import App
from connector.cli import app
from connector.service.daemon import reads
from connector.service.web import BODY_LIMIT
from connector.service.worker import Worker
from connector.store.store import Store

TEXT = "My parcel is late again, says somebody-private@mail.example"


def read_once(daemon) -> bool:
    ages = daemon.get("/health").json()["connections"]["main"]["seconds_since_read"]
    return all(age is not None for age in ages.values())


def status(daemon) -> dict[str, dict]:
    result = CliRunner().invoke(app, ["--config", str(daemon.folder / "config.yaml"), "status", "--json"])
    return {one["connection"]: one for one in json.loads(result.stdout)}


def test_a_webhook_brings_a_message_into_the_crm_without_a_poll(daemon, customer, tasks, event, wait):
    wait(lambda: read_once(daemon))
    ids = customer(TEXT)
    answer = daemon.webhook(event(ids))
    assert (answer.status_code, answer.json()) == (202, {"queued": 2})
    wait(lambda: any(TEXT in (task["Description"] or "") for task in tasks()))
    wait(lambda: status(daemon)["main"]["balanced"] and status(daemon)["main"]["account"]["synced"])


def test_the_same_webhook_twice_makes_one_task(daemon, customer, tasks, event, wait):
    wait(lambda: read_once(daemon))
    ids = customer("Twice")
    for _ in range(2):
        assert daemon.webhook(event(ids)).status_code == 202
    later = customer("And then")
    daemon.webhook(event(later))
    wait(lambda: any("And then" in (task["Description"] or "") for task in tasks()))
    assert sum("Twice" in (task["Description"] or "") for task in tasks()) == 1


def test_a_read_that_is_hours_late_is_not_left_out(folder, wait):
    with App.open(folder / "config.yaml") as opened:
        worker = Worker(opened.plugs["main"], threading.Event(), "here:1")
        every = {"conversations": timedelta(days=1), "recheck": timedelta(days=1), "changes": timedelta(days=1)}
        scheduler = reads([worker], every)
        for job in scheduler.get_jobs():
            job.modify(next_run_time=datetime.now(UTC) - timedelta(hours=3))
        scheduler.start()
        try:
            wait(lambda: worker._due == worker.plug.intervals(every).keys())
        finally:
            scheduler.shutdown()
            worker.turns.close()


BODY = b'{"event": "message_created", "id": 1, "conversation": {"id": 1}, "account": {"id": 1}}'


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (202, {}),
        (202, {"body": b'{"event": "conversation_typing_on", "account": {"id": 1}}'}),
        (401, {"secret": "another-secret"}),
        (401, {"at": time.time() - 3600}),
        (401, {"at": time.time() + 3600}),
        (400, {"body": b"not json"}),
        (400, {"body": b"[]"}),
        (400, {"body": b'{"event": "message_created"}'}),
        (413, {"body": b" " * (BODY_LIMIT + 1)}),
        (404, {"to": "nobody"}),
    ],
)
def test_a_webhook_is_answered_with(daemon, code, options):
    answer = daemon.webhook(**{"body": BODY} | options)
    assert answer.status_code == code
    assert ("error" in answer.json()) == (code != 202)


def test_a_webhook_without_a_signature_is_refused_and_told_nothing(daemon):
    answer = requests.post(f"{daemon.url}/webhooks/main", data=BODY, timeout=30)
    assert (answer.status_code, answer.json()) == (401, {"error": "the signature does not fit"})


def test_a_body_without_a_length_is_cut_off_at_the_limit(daemon):
    chunks = (b"x" * 65_536 for _ in range(BODY_LIMIT // 65_536 + 2))
    answer = requests.post(f"{daemon.url}/webhooks/main", data=chunks, timeout=30)
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/", "/webhooks/main", "/docs", "/health/../metrics2"])
def test_nothing_else_is_served(daemon, path):
    assert daemon.get(path).status_code in (404, 405)


def test_a_broken_connection_is_told_and_does_not_stop_the_other(daemon, wait):
    wait(lambda: read_once(daemon))
    found = daemon.get("/health")
    assert (found.status_code, found.json()["live"], found.json()["ready"]) == (200, True, True)
    ready = daemon.get("/ready")
    assert ready.status_code == 200, "webhooks of the other connection are taken"
    connections = ready.json()["connections"]
    assert (connections["main"]["late"], "crm.changes" in connections["broken"]["late"]) == ([], True)
    wait(lambda: status(daemon)["broken"]["problems"])
    both = status(daemon)
    (problem,) = both["broken"]["problems"]
    assert problem["scope"] == "running"
    assert problem["way_out"]
    assert both["main"]["problems"] == []
    assert both["broken"]["seen"] == 0


def test_metrics_count_and_name_nobody(daemon, wait):
    wait(lambda: read_once(daemon))
    text = daemon.get("/metrics").text
    for line in (
        'connector_messages{connection="main",state="held"} 0.0',
        'connector_problems{connection="main"} 0.0',
        'connector_balanced{connection="main"}',
        'connector_lag_seconds{connection="main",side="crm",stream="changes"}',
        'connector_last_success_seconds{connection="main",side="platform",stream="conversations"}',
        'connector_api_calls_today{connection="main",system="salesforce"}',
        'connector_intents{connection="main",state="in_doubt"} 0.0',
        'connector_webhooks_total{connection="main",result="bad_signature"}',
        'connector_rounds_total{connection="main"}',
    ):
        assert line in text
    assert "mail.example" not in text


def test_the_log_holds_no_text_no_address_and_no_secret(daemon):
    log = "".join(daemon.log)
    assert '"event": "connected"' in log
    secrets = [(daemon.folder / name).read_text() for name in ("webhook-secret", "bad-token", "store-key")]
    for word in ("parcel", "mail.example", "Oliver", "61491570156", *secrets):
        assert word not in log
    assert all(json.loads(line)["level"] for line in daemon.log if line.startswith("{"))


def test_sigterm_ends_it_cleanly_and_frees_the_connection(folder, start, wait):
    with start(folder) as daemon:
        wait(lambda: read_once(daemon))
        store = Store.open(f"sqlite:///{folder}/connector.db", clock=lambda: datetime.now(UTC))
        assert not store.at("main").lease("me", timedelta(minutes=1))
        assert daemon.stop(signal.SIGTERM) == 0
        assert store.at("main").lease("me", timedelta(minutes=1))
        store.close()
    assert any("stopped" in line for line in daemon.log)


def test_a_second_daemon_stands_by_and_is_no_problem(folder, start, wait):
    with start(folder) as first:
        wait(lambda: read_once(first))
        with start(folder) as second:
            wait(lambda: any("another process works on it" in line for line in second.log))
            assert second.get("/health").json()["live"]
            assert status(first)["main"]["problems"] == []
            assert second.stop(signal.SIGINT) == 0
        assert first.get("/health").json()["live"]


def test_a_port_that_is_taken_is_one_clear_error(folder, daemon):
    port = daemon.url.rpartition(":")[2]
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("port: 0", f"port: {port}"))
    result = CliRunner().invoke(app, ["--config", str(folder / "config.yaml"), "run"])
    assert result.exit_code == 2
    assert port in result.stderr
    assert "Traceback" not in result.output
