"""How a sandbox is served: on a socket of its own, and with a file that says where it is while it answers."""

import json
import os
import socket
from pathlib import Path

import uvicorn


def listen(host: str, port: int) -> socket.socket:
    """Port 0 takes a free one. Raises OSError when the address cannot be used."""
    listener = socket.create_server((host, port))
    # asyncio does this only for sockets it made itself; without it every answer waits 40 ms for the client's late ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Announced(uvicorn.Server):
    """Writes the file `announcement` once requests are answered, and takes it back at the end. It holds the `url`, the `pid`
    and what else is `told` of the sandbox."""

    def __init__(self, config: uvicorn.Config, announcement: Path, url: str, **told: object) -> None:
        super().__init__(config)
        self._announcement = announcement
        self._told = {"url": url, "pid": os.getpid(), **told}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Written aside and renamed: whoever waits for the file never reads half of it.
        aside = self._announcement.with_suffix(".tmp")
        aside.write_text(json.dumps(self._told))
        aside.replace(self._announcement)
        print(f"Sandbox: {self._told['url']}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._announcement.unlink(missing_ok=True)
        await super().shutdown(sockets)
