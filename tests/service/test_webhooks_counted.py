"""The daemon tells whether webhooks come in, and how many never came."""

import json
import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from typer.testing import CliRunner

from connector.app import App
from connector.cli import app
from connector.model import Cursor, Fact, Kind, Ref, Side, stamp
from connector.service.worker import Worker


def told(daemon, command, place):
    result = CliRunner().invoke(app, ["--config", str(daemon.folder / "config.yaml"), command, *place])
    return {one["connection"]: one for one in json.loads(result.stdout)}["main"]["webhooks"]


def test_webhooks_are_counted_from_the_first_that_names_a_message(daemon, customer, event, wait):
    wait(lambda: all(daemon.get("/health").json()["connections"]["main"]["seconds_since_read"].values()))
    assert told(daemon, "status", ["--json"]) is None
    assert "connector_lost_webhooks{" not in daemon.get("/metrics").text
    ids = customer("Is anybody there?")
    assert daemon.webhook(event(ids)).status_code == 202
    found = wait(lambda: told(daemon, "status", ["--json"]))
    assert found["lost"] == 0
    assert daemon.webhook(event(ids)).status_code == 202
    later = customer("Still not?")
    assert daemon.webhook(event(later)).status_code == 202
    wait(lambda: 'connector_messages{connection="main",state="open"} 0.0' in daemon.get("/metrics").text)
    assert 'connector_lost_webhooks{connection="main"} 0.0' in daemon.get("/metrics").text
    assert told(daemon, "status", ["--json"]) == found
    shown = CliRunner().invoke(app, ["--config", str(daemon.folder / "config.yaml"), "status"]).stdout
    assert "0 webhooks never came, of those since" in shown
    assert "No webhooks come in" in shown, "the connection `broken` has none"


def test_a_webhook_whose_record_could_not_be_looked_at_did_come(folder):
    """The record comes with a later read, which would wait for a webhook for ever."""
    with App.open(folder / "config.yaml") as opened:
        plug = opened.plugs["main"]
        worker = Worker(plug, threading.Event(), "test")
        plug.ledger.listen(datetime.now(UTC))
        named, other = (Ref("chatwoot", "message", f"1-{n}") for n in (1, 2))
        worker.turns._hear([named])
        later = stamp(datetime.now(UTC) + timedelta(hours=1))
        facts = [Fact(ref, Side.PLATFORM, Kind.MESSAGE, {"sent_at": later}, "v") for ref in (named, other)]
        plug.ledger.ingest(Side.PLATFORM, "conversations", facts, Cursor(), {})
        worker.turns._hear([])
        with plug.ledger._reading() as db:
            assert list(db.scalars(text("SELECT ref FROM awaited"))) == [str(other)]
        worker.turns.close()
