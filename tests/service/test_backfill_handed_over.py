"""A backfill that is handed to a connector that runs: it works at it when nothing else is to do."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import requests
from typer.testing import CliRunner

from connector.cli import app
from connector.sandbox.serve import running

NOW = datetime.now(UTC)


@pytest.fixture
def own(tmp_path):
    """Sandboxes of this test: other tests count the messages of the shared ones."""
    with running(tmp_path / "own") as both:
        yield both


@pytest.fixture
def old(own):
    """Somebody wrote long ago: a message a month, in a conversation of its own."""
    months = range(1, 13)
    contacts = [
        {"key": str(n), "name": f"Old {n}", "identities": [{"inbox": "WhatsApp", "source_id": f"3161234{n:04}"}]}
        for n in months
    ]
    threads = [
        {
            "key": str(n),
            "inbox": "WhatsApp",
            "contact": str(n),
            "messages": [{"at": (NOW - timedelta(days=30 * n)).isoformat(), "type": "incoming", "text": f"month {n}"}],
        }
        for n in months
    ]
    inbox = {"key": "WhatsApp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}
    body = {"inboxes": [inbox], "contacts": contacts, "conversations": threads}
    requests.post(f"{own.chatwoot_url}/__control/import", json=body, timeout=30).raise_for_status()
    return [f"month {n}" for n in months]


def test_a_running_connector_brings_the_past_in_and_answers_webhooks_meanwhile(
    folder, start, wait, sandboxes, own, old, event
):
    config = folder / "config.yaml"
    text = config.read_text().partition("  broken:")[0].replace("  main:", "  late:")
    for name in ("chatwoot_url", "salesforce_url", "chatwoot_token", "salesforce_client_secret", "salesforce_ca"):
        text = text.replace(str(getattr(sandboxes, name)), str(getattr(own, name)))
    config.write_text(text + "    history: none\n")

    def connector(*args: str, code: int = 0):
        result = CliRunner().invoke(app, ["--config", str(config), *args, "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)[0]

    def texts() -> list[str]:
        url = f"{own.salesforce_url}/__control/records/Task"
        rows = requests.get(url, timeout=30, verify=str(own.salesforce_ca)).json()["records"]
        return [row["Description"] for row in sorted(rows, key=lambda row: row["Id"])]

    with start(folder) as daemon:
        wait(lambda: all(daemon.get("/health").json()["connections"]["late"]["seconds_since_read"].values()))
        since = f"{NOW - timedelta(days=400):%Y-%m-%d}"
        assert connector("backfill", "--since", since, "--oldest-first", code=1)["backfill"]
        body = {"inbox": "WhatsApp", "source_id": "31699999999", "text": "Anybody there while you dig?"}
        ids = requests.post(f"{own.chatwoot_url}/__control/customer", json=body, timeout=30).json()
        assert daemon.webhook(event(ids), to="late").status_code == 202
        wait(lambda: (connector_status(config) or {}).get("done"))
        assert "connector_backfill_part" in daemon.get("/metrics").text
        assert 'connector_api_left{connection="late"}' in daemon.get("/metrics").text
    found = texts()
    assert [one for one in found if one.startswith("month")] == old[::-1]
    assert found.count("Anybody there while you dig?") == 1
    assert found.index("Anybody there while you dig?") < len(found) - 1


def connector_status(config):
    result = CliRunner().invoke(app, ["--config", str(config), "status", "--json"])
    return json.loads(result.stdout)[0]["backfill"]
