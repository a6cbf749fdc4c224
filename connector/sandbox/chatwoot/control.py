"""Control of the sandbox under /__control/ (no login): faults, counters, import, and what happens on the networks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from connector.sandbox.chatwoot import customers, views
from connector.sandbox.chatwoot import records as r
from connector.sandbox.chatwoot.api_messages import delete_message
from connector.sandbox.chatwoot.faults import Faults, Limits
from connector.sandbox.chatwoot.http import Call, Refusal, Route
from connector.sandbox.chatwoot.importer import Import
from connector.sandbox.chatwoot.network import Network, NextDelivery, set_status
from connector.sandbox.chatwoot.webhooks import WebhookSender


@dataclass
class Control:
    """The handlers, with the parts they steer."""

    faults: Faults
    limits: Limits
    network: Network
    webhooks: WebhookSender

    def routes(self) -> list[Route]:
        def route(method: str, path: str, handler: Any, query: tuple[str, ...] = ()) -> Route:
            return Route(method, f"/__control/{path}", handler, query=query, body=None, scope="control")

        return [
            route("GET", "faults", self.list_faults),
            route("POST", "faults", self.add_fault),
            route("DELETE", "faults", self.clear_faults),
            route("GET", "stats", self.stats),
            route("POST", "stats/reset", self.reset_stats),
            route("POST", "import", self.import_),
            route("POST", "customer", self.customer),
            route("POST", "echo", self.echo),
            route("GET", "network", self.received, ("conversation",)),
            route("POST", "network/edit", self.edit),
            route("POST", "network/delete", self.delete),
            route("POST", "network/rules", self.rules),
            route("POST", "delivery", self.delivery),
            route("POST", "webhooks", self.disorder),
            route("POST", "limits", self.set_limits),
            route("POST", "time", self.time),
            route("GET", "dump", self.dump),
        ]

    def list_faults(self, call: Call) -> list[r.Json]:
        return [asdict(fault) for fault in self.faults.active]

    def add_fault(self, call: Call) -> r.Json:
        return {"id": self.faults.add(call.body).id}

    def clear_faults(self, call: Call) -> r.Json:
        self.faults.active.clear()
        return {}

    def stats(self, call: Call) -> r.Json:
        return {**vars(call.stats), "messages": len(call.world.messages), "network": len(call.world.network)}

    def reset_stats(self, call: Call) -> r.Json:
        call.stats.reset()
        return {}

    def import_(self, call: Call) -> dict[str, dict[str, int]]:
        return Import(call.world, call.body).run()

    def customer(self, call: Call) -> r.Json:
        _known(call, "inbox", "source_id", "text", "name", "handle", "contact", "conversation", "attachments",
               "message_source_id", "in_reply_to")  # fmt: skip
        given = call.required("inbox")
        inbox = next((box for box in call.world.inboxes if given in (box.id, box.name)), None)
        if inbox is None:
            raise Refusal.error(404, f"inbox {given}")
        call.required("source_id")
        message = customers.customer_writes(call.world, inbox, call.body)
        return _where(call, message)

    def echo(self, call: Call) -> r.Json:
        _known(call, "conversation", "text", "message_source_id", "attachments")
        conversation = call.world.conversations.get(call.required("conversation"))
        if conversation is None:
            raise Refusal.error(404, f"conversation {call.body['conversation']}")
        return _where(call, customers.agent_writes_in_app(call.world, conversation, call.body))

    def received(self, call: Call) -> list[r.Json]:
        wanted = call.query.get("conversation")
        return [vars(item) for item in call.world.network if wanted in (None, str(item.conversation_id))]

    def edit(self, call: Call) -> r.Json:
        _known(call, "message_id", "text")
        message = _message(call)
        customers.customer_edits(call.world, message, call.required("text"))
        return views.message(call.world, message)

    def delete(self, call: Call) -> r.Json:
        _known(call, "message_id")
        message = _message(call)
        delete_message(call, message)
        return views.message(call.world, message)

    def rules(self, call: Call) -> r.Json:
        _known(call, "enforce_window")
        self.network.enforce_window = bool(call.body.get("enforce_window"))
        return {"enforce_window": self.network.enforce_window}

    def delivery(self, call: Call) -> r.Json:
        """What happens to one message: a stored one now, or with `message_id: next` the next that goes out."""
        _known(call, "message_id", "status", "external_error")
        status, error = call.required("status"), call.body.get("external_error")
        if status not in r.DELIVERY:
            raise Refusal.error(422, f"status {status} is none of {', '.join(r.DELIVERY)}")
        if call.required("message_id") == "next":
            self.network.next.append(NextDelivery(status, error))
            return {}
        message = _message(call)
        message.undelivered = False
        set_status(call.world, message, status, error)
        return views.message(call.world, message)

    def disorder(self, call: Call) -> r.Json:
        _known(call, "double", "drop", "reverse")
        for name, count in call.body.items():
            setattr(self.webhooks.disorder, name, int(count))
        return asdict(self.webhooks.disorder)

    def set_limits(self, call: Call) -> r.Json:
        _known(call, "per_minute", "contact_search", "conversations_meta")
        for name, limit in call.body.items():
            setattr(self.limits, name, limit)
        self.limits.used.clear()
        return {name: getattr(self.limits, name) for name in ("per_minute", "contact_search", "conversations_meta")}

    def time(self, call: Call) -> r.Json:
        _known(call, "offset")
        call.world.set("clock_offset", float(call.required("offset")))
        return {"now": call.world.now()}

    def dump(self, call: Call) -> r.Json:
        secret = {"token", "secret"}
        tables = {name: table for name, table in call.world.tables.items() if name != "setting"}
        return {
            name: [{k: v for k, v in vars(row).items() if k not in secret} for row in table]
            for name, table in tables.items()
        }


def _known(call: Call, *names: str) -> None:
    unknown = sorted(set(call.body) - set(names))
    if unknown:
        raise Refusal.error(422, f"unknown: {', '.join(unknown)}; known: {', '.join(names)}")


def _message(call: Call) -> r.Message:
    message = call.world.messages.get(call.required("message_id"))
    if message is None:
        raise Refusal.error(404, f"message {call.body['message_id']}")
    return message


def _where(call: Call, message: r.Message) -> r.Json:
    conversation = call.world.conversations.rows[message.conversation_id]
    return {"message_id": message.id, "conversation_id": conversation.id, "contact_id": conversation.contact_id}
