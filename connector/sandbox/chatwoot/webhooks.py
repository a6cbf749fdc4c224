"""Webhooks as Chatwoot 4.15.1 sends them: signed, one attempt, no retry, built when the job runs (not when it happened)."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import threading
import uuid
from dataclasses import dataclass

import requests

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot import views
from connector.sandbox.chatwoot.http import Stats
from connector.sandbox.chatwoot.world import Event, World

TIMEOUT = 5.0  # seconds, for connecting and for each read: WEBHOOK_TIMEOUT's default
EVENTS = (
    "conversation_created",
    "conversation_status_changed",
    "conversation_updated",
    "conversation_typing_on",
    "conversation_typing_off",
    "message_created",
    "message_updated",
    "contact_created",
    "contact_updated",
    "inbox_created",
    "inbox_updated",
    "webwidget_triggered",
)


@dataclass
class Disorder:
    """How many of the next deliveries to send twice, to lose, or to collect and send in reverse."""

    double: int = 0
    drop: int = 0
    reverse: int = 0


@dataclass(frozen=True)
class Delivery:
    url: str
    secret: str
    body: bytes


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC-SHA256 over ``<timestamp>.<body>``."""
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


class WebhookSender(threading.Thread):
    """Sends events one after the other in its own thread, so that a slow receiver never delays a request."""

    def __init__(self, world: World, stats: Stats) -> None:
        super().__init__(name="webhooks", daemon=True)
        self.world, self.stats, self.disorder = world, stats, Disorder()
        self.jobs: queue.Queue[Event | None] = queue.Queue()
        self.late: list[Delivery] = []
        self.session = requests.Session()
        self.session.trust_env = False

    def run(self) -> None:
        while (event := self.jobs.get()) is not None:
            try:
                for delivery in self._deliveries(event):
                    self._dispatch(delivery)
            except Exception:  # the thread must live on; whoever waits for it would wait for ever
                logging.getLogger(__name__).exception("webhook %s was not sent", event.name)
            finally:
                self.jobs.task_done()

    def stop(self) -> None:
        """Drop what waits and end after the delivery under way."""
        with self.jobs.mutex:
            self.jobs.queue.clear()
        self.jobs.put(None)

    def _deliveries(self, event: Event) -> list[Delivery]:
        with self.world.lock:
            hooks = [h for h in self.world.webhooks if event.name in h.subscriptions]
            payload = self._payload(event) if hooks else None
            return [Delivery(h.url, h.secret, json.dumps(payload).encode()) for h in hooks] if payload else []

    def _payload(self, event: Event) -> r.Json | None:
        """None when the record is gone meanwhile: such a delivery is silently discarded."""
        row = self.world.tables[event.kind].get(event.id)
        if row is None:
            return None
        if event.kind == "message":
            shape = views.push_message(self.world, row)
        elif event.kind == "conversation":
            shape = views.push_conversation(self.world, row)
        elif event.kind == "contact":
            shape = views.push_contact(row)
        else:
            shape = views.inbox(row)
        if event.name in ("conversation_updated", "conversation_status_changed", "contact_updated"):
            shape["changed_attributes"] = event.changed
        return {"event": event.name, **shape}

    def _dispatch(self, delivery: Delivery) -> None:
        disorder = self.disorder
        if disorder.drop > 0:
            disorder.drop -= 1
            self.stats.webhooks_dropped += 1
            return
        if disorder.reverse > 0:
            disorder.reverse -= 1
            self.late.append(delivery)
            if disorder.reverse == 0:
                while self.late:
                    self._send(self.late.pop())
            return
        if disorder.double > 0:
            disorder.double -= 1
            self._send(delivery)
        self._send(delivery)

    def _send(self, delivery: Delivery) -> None:
        timestamp = str(int(self.world.now()))
        headers = {
            "Content-Type": "application/json",
            "X-Chatwoot-Delivery": str(uuid.uuid4()),
            "X-Chatwoot-Timestamp": timestamp,
            "X-Chatwoot-Signature": signature(delivery.secret, timestamp, delivery.body),
        }
        try:
            answer = self.session.post(delivery.url, data=delivery.body, headers=headers, timeout=TIMEOUT)
            ok = 200 <= answer.status_code < 300
        except requests.RequestException:
            ok = False
        self.stats.webhooks_sent += ok
        self.stats.webhooks_failed += not ok
