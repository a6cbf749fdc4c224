"""The daemon: a worker per connection, the schedule that says what is due, and the web server. Ends when told to stop."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from connector.app import App, Plug, now
from connector.errors import ConnectorError
from connector.service.checking import check_schedule
from connector.service.listening import Listener
from connector.service.metrics import Metrics
from connector.service.web import Web
from connector.service.worker import Worker

log = structlog.get_logger("connector.daemon")


class Daemon:
    """Serves the connections of `plugs`. `stop` ends it from any thread. Raises ConfigError for a stream that does not exist
    and an address that cannot be used."""

    def __init__(self, app: App, plugs: list[Plug], holder: str) -> None:
        check_schedule(plugs, app.config)
        self._stop = threading.Event()
        self._listener = Listener(app.config.service)
        self._schedule = app.config.schedule
        self.workers = {plug.name: Worker(plug, self._stop, holder) for plug in plugs}
        self._web = Web(self.workers, Metrics(self.workers, now), self._schedule)

    @property
    def url(self) -> str:
        return self._listener.url

    def stop(self) -> None:
        """Workers finish the call under way; `run` returns."""
        self._stop.set()

    def run(self, ready: Callable[[str], None] = lambda url: None) -> None:
        """Until `stop`. `ready` is called with the address once the server listens. Raises ConnectorError when the web
        server ends by itself."""
        scheduler = reads(self.workers.values(), self._schedule)
        for worker in self.workers.values():
            worker.thread.start()
        scheduler.start()
        self._listener.start(self._web.app, self._stop.set)
        try:
            log.info("started", connections=sorted(self.workers), url=self.url)
            ready(self.url)
            self._stop.wait()
            log.info("stopping")
        finally:
            self._stop.set()
            scheduler.shutdown(wait=False)
            for worker in self.workers.values():
                worker.wake()
                worker.thread.join()
            self._listener.stop()
            log.info("stopped")
        if self._listener.broken:
            raise ConnectorError(
                f"The web server ended: {self._listener.broken}.", "Look at the log, then start again."
            )


def reads(workers: Iterable[Worker], schedule: Mapping[str, timedelta]) -> BackgroundScheduler:
    """What tells the workers that a stream is due: at the start, and as often as `schedule` and the adapters say."""
    scheduler = BackgroundScheduler(timezone=UTC)
    for worker in workers:
        for (side, stream), every in worker.plug.intervals(schedule).items():
            scheduler.add_job(
                worker.read,
                "interval",
                args=(side, stream),
                seconds=every.total_seconds(),
                next_run_time=datetime.now(UTC),
                coalesce=True,
                max_instances=1,
                # Two actors: a read is due once a day, and the machine sleeps over that moment. It is read late; by default it
                # would be given up when it is a second late, and the stream rest for another day.
                misfire_grace_time=None,
            )
    return scheduler
