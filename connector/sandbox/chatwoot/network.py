"""The fake network behind the inboxes: delivers outgoing messages in its own thread and remembers what it received."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from dataclasses import dataclass

from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.talk import NETWORK_GIVES_NO_ID, can_reply
from connector.sandbox.chatwoot.text import render
from connector.sandbox.chatwoot.world import World

OUTSIDE_WINDOW = "10 - This message is sent outside of allowed window."
FAILS_FOR_CONTACT = "sandbox_delivery_error"


@dataclass
class NextDelivery:
    """What shall happen to the next message that goes out."""

    status: str
    external_error: str | None = None


class Network(threading.Thread):
    """Sends message ids put into `jobs`; None ends it. Success is two updates (source id, then delivered)."""

    def __init__(self, world: World) -> None:
        super().__init__(name="network", daemon=True)
        self.world = world
        self.jobs: queue.Queue[int | None] = queue.Queue()
        self.next: list[NextDelivery] = []
        self.enforce_window = False

    def run(self) -> None:
        while (message_id := self.jobs.get()) is not None:
            try:
                self._deliver(message_id)
            except Exception:  # the thread must live on; whoever waits for it would wait for ever
                logging.getLogger(__name__).exception("message %d was not delivered", message_id)
            finally:
                self.jobs.task_done()

    def stop(self) -> None:
        with self.jobs.mutex:
            self.jobs.queue.clear()
        self.jobs.put(None)

    def resume(self) -> None:
        """Queue what a stopped process had stored and not delivered."""
        for message in self.world.messages:
            if message.undelivered:
                self.jobs.put(message.id)

    def _deliver(self, message_id: int) -> None:
        world = self.world
        with world.lock:
            message = world.messages.get(message_id)
            if message is None or not message.undelivered:
                return
            message.undelivered = False
            outcome = self._outcome(message)
            if outcome.status == "failed":
                set_status(world, message, "failed", outcome.external_error)
                world.commit()
                return
            self._receive(message)
            if world.inboxes.rows[message.inbox_id].channel_type in NETWORK_GIVES_NO_ID:
                world.messages.save(message)
                world.commit()
                return
            message.source_id = f"net-{uuid.uuid4().hex}"
            world.messages.save(message)
            world.emit("message_updated", "message", message.id)
            world.commit()
        with world.lock:
            if outcome.status != "sent":
                set_status(world, message, outcome.status)
                world.commit()

    def _outcome(self, message: r.Message) -> NextDelivery:
        if self.next:
            return self.next.pop(0)
        conversation = self.world.conversations.rows[message.conversation_id]
        contact = self.world.contacts.rows[conversation.contact_id]
        marked = contact.additional_attributes.get(FAILS_FOR_CONTACT)
        if marked:
            return NextDelivery("failed", str(marked))
        if self.enforce_window and not can_reply(self.world, conversation):
            return NextDelivery("failed", OUTSIDE_WINDOW)
        return NextDelivery("delivered")

    def _receive(self, message: r.Message) -> None:
        self.world.network.new(
            inbox_id=message.inbox_id,
            conversation_id=message.conversation_id,
            message_id=message.id,
            text=render(message.content or "", None),
            wire=render(message.content or "", self.world.inboxes.rows[message.inbox_id].channel_type),
            at=self.world.now(),
            attachments=message.attachments,
        )


def set_status(world: World, message: r.Message, status: str, external_error: str | None = None) -> None:
    """A delivery report. It does not move the conversation's `updated_at`."""
    message.status = status
    if status == "failed":
        message.content_attributes = {**message.content_attributes, "external_error": external_error}
    world.messages.save(message)
    world.emit("message_updated", "message", message.id)
