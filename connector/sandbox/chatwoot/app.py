"""The sandbox put together: state, workers, routes and the fault layer as one ASGI application."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from connector.sandbox.chatwoot import api_account, api_contacts, api_conversations, api_messages, api_public
from connector.sandbox.chatwoot.control import Control
from connector.sandbox.chatwoot.faults import Faults, Gate, Limits
from connector.sandbox.chatwoot.http import Stats, endpoints, unknown_route
from connector.sandbox.chatwoot.network import Network
from connector.sandbox.chatwoot.webhooks import WebhookSender
from connector.sandbox.chatwoot.world import Event, World

INTEGRATION = ("CRM sync", "crm-sync@noordzee-fietsen.example", "administrator", "chatwoot-token")
AGENT = ("Sam Visser", "sam@noordzee-fietsen.example", "agent", "chatwoot-agent-token")


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    path.chmod(0o600)


def _settle(network: Network, webhooks: WebhookSender) -> StarletteRoute:
    """Answers once every delivery and every webhook caused so far is done, so that tests need not wait by the clock."""

    async def answer(request: Request) -> Response:
        await run_in_threadpool(network.jobs.join)
        await run_in_threadpool(webhooks.jobs.join)
        return JSONResponse({})

    return StarletteRoute("/__control/settle", answer, methods=["GET"])


def build(directory: Path) -> ASGIApp:
    """The application with its state in `directory`; writes the token files. Raises OSError, sqlite3.Error."""
    world, stats = World(directory / "chatwoot.db"), Stats()
    network, webhooks = Network(world), WebhookSender(world, stats)

    def hand_out(events: list[Event], outbound: list[int]) -> None:
        for message_id in outbound:
            network.jobs.put(message_id)
        for event in events:
            webhooks.jobs.put(event)

    world.on_commit = hand_out
    for name, email, role, file in (INTEGRATION, AGENT):
        user = next((a for a in world.agents if a.email == email), None)
        user = user or world.agents.new(name=name, email=email, role=role, token=secrets.token_hex(12))
        write_secret(directory / file, user.token)
    world.commit()

    faults, limits = Faults(), Limits()
    control = Control(faults, limits, network, webhooks)
    routes = [
        *api_account.ROUTES,
        *api_conversations.ROUTES,
        *api_messages.ROUTES,
        *api_contacts.ROUTES,
        *api_public.ROUTES,
        *control.routes(),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        network.start()
        webhooks.start()
        network.resume()
        yield
        network.stop()
        webhooks.stop()
        network.join()
        webhooks.join(timeout=6)
        world.close()

    everything = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    unknown = StarletteRoute("/{path:path}", unknown_route(world, stats), methods=everything)
    settle = _settle(network, webhooks)
    app = Starlette(routes=[*endpoints(world, stats, routes), settle, unknown], lifespan=lifespan)
    return Gate(app, faults, limits, stats, world.now)
