"""The daemon: a worker per connection, the schedule that says what is due, and the web server. Ends when told to stop."""

import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler

from connector.app import App, Plug, now
from connector.config import Service
from connector.errors import ConfigError, ConnectorError
from connector.model import Side
from connector.service.checking import unknown_streams
from connector.service.metrics import Metrics
from connector.service.web import Web
from connector.service.worker import Worker

GRACE = 10.0
"""Seconds the web server has to answer what it has begun."""

log = structlog.get_logger("connector.daemon")


class Daemon:
    """Serves the connections of `plugs`. `stop` ends it from any thread."""

    def __init__(self, app: App, plugs: list[Plug], holder: str) -> None:
        self._stop = threading.Event()
        self._broken = ""
        self._config = app.config
        self._listener = _listen(app.config.service)
        self.workers = {plug.name: Worker(plug, self._stop, holder) for plug in plugs}
        adapters = [one for worker in self.workers.values() for one in (worker.joined.platform, worker.joined.crm)]
        problems = list(unknown_streams(adapters, app.config.schedule, app.config.place))
        if problems:
            self._listener.close()
            raise ConfigError(problems)
        every = intervals(self.workers, app.config.schedule)
        self._every = every
        self._web = Web(self.workers, Metrics(self.workers, now), every)

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def stop(self) -> None:
        """Workers finish the call under way; `run` returns."""
        self._stop.set()

    def run(self, ready: Callable[[str], None] = lambda url: None) -> None:
        """Until `stop`. `ready` is called with the address once the server listens. Raises ConnectorError when the web
        server ends by itself."""
        scheduler = BackgroundScheduler(timezone=UTC)
        for worker in self.workers.values():
            for side, stream in worker.streams():
                scheduler.add_job(
                    worker.read,
                    "interval",
                    args=(side, stream.name),
                    seconds=self._every[side, stream.name].total_seconds(),
                    next_run_time=datetime.now(UTC),
                    coalesce=True,
                    max_instances=1,
                )
        server = uvicorn.Server(
            uvicorn.Config(
                self._web.app,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=int(GRACE),
            )
        )
        serving = threading.Thread(target=self._serve, args=(server,), name="web")
        for worker in self.workers.values():
            worker.thread.start()
        scheduler.start()
        serving.start()
        try:
            log.info("started", connections=sorted(self.workers), url=self.url)
            ready(self.url)
            self._stop.wait()
            log.info("stopping")
        finally:
            self._stop.set()
            scheduler.shutdown(wait=False)
            server.should_exit = True
            for worker in self.workers.values():
                worker.wake()
                worker.thread.join()
            serving.join()
            self._listener.close()
            log.info("stopped")
        if self._broken:
            raise ConnectorError(f"The web server ended: {self._broken}.", "Look at the log, then start again.")

    def _serve(self, server: uvicorn.Server) -> None:
        try:
            server.run(sockets=[self._listener])
        except (Exception, SystemExit) as error:
            self._broken = type(error).__name__
        finally:
            self._stop.set()


def intervals(workers: Mapping[str, Worker], schedule: Mapping[str, timedelta]) -> dict[tuple[Side, str], timedelta]:
    """How often each stream is read: what the config says, else what its adapter proposes."""
    return {
        (side, stream.name): schedule.get(stream.name, stream.every)
        for worker in workers.values()
        for side, stream in worker.streams()
    }


def _listen(service: Service) -> socket.socket:
    """Bound here and not by the server, so that a taken port is one clear error before anything starts."""
    host, port = service.host, service.port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        message = f"{host}:{port} cannot be used: {error.strerror}."
        raise ConfigError([service.place.problem(message, "Choose another port.")]) from None
