"""The socket and the web server of a process that serves HTTP."""

import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from connector.config import Service
from connector.errors import ConfigError

GRACE = 10.0
"""Seconds the web server has to answer what it has begun."""


class Listener:
    """Serves `app` in a thread of its own from `start` to `stop`; `ended` is called when it ends, for whatever reason. Raises
    ConfigError when the address cannot be used."""

    def __init__(self, service: Service) -> None:
        # Bound here and not by the server, so that a taken port is one clear error before anything starts.
        host, port = service.host, service.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            message = f"{host}:{port} cannot be used: {error.strerror}."
            raise ConfigError([service.place.problem(message, "Choose another port.")]) from None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.broken = ""
        """Why the server ended by itself."""

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self, app: Starlette, ended: Callable[[], None]) -> None:
        self._server = server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=int(GRACE),
            )
        )

        def serve() -> None:
            try:
                server.run(sockets=[self._socket])
            except (Exception, SystemExit) as error:
                self.broken = type(error).__name__
            finally:
                ended()

        self._thread = threading.Thread(target=serve, name="web")
        self._thread.start()

    def stop(self) -> None:
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()
