"""`connector worker`: one of many processes that look after the same connections, on one PostgreSQL.

Procrastinate's queue, on the same database, gives each look to one of them. It is used for nothing but that: a task that is lost,
doubled or late costs time and no data, because all that counts stands in the store, under leases with fences of its own.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import structlog
from procrastinate import App as Queue
from procrastinate import PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Status

from connector.app import App, Plug, now
from connector.errors import ConnectorError, StoreError
from connector.service.checking import check_schedule
from connector.service.listening import Listener
from connector.service.looking import Looker
from connector.service.metrics import Metrics
from connector.service.turns import RETRY
from connector.service.web import Web
from connector.store.queueing import SCHEMA

LOOKS = 8
"""Connections that one process looks at at once. A look waits for the network most of its time; beyond a handful, Python's one
running thread is what they share, and another process is what helps."""
EVERY_SECOND = "* * * * * *"
"""When the connections that are due are put into the queue, by one of the workers."""
POLL = 1.0
"""Seconds until a worker asks the queue without having been told of a task. The first task of all is told of before anybody listens,
and while it waits no other one is put beside it: with the library's own five seconds, workers begin that late."""
LOOK, SCHEDULE = "look", ":schedule"
"""The two tasks. A connection's tasks have its name for a queue and a lock, and no connection begins with a colon."""

log = structlog.get_logger("connector.crew")

# Every task would be a line of its log, every second.
logging.getLogger("procrastinate").setLevel(logging.WARNING)


class Member:
    """One worker process. `stop` ends it from any thread. `serves`: it also takes webhooks and answers /health, /ready and
    /metrics. Raises StoreError where the store is no PostgreSQL, ConfigError like the daemon."""

    def __init__(self, app: App, plugs: list[Plug], holder: str, *, serves: bool) -> None:
        check_schedule(plugs, app.config)
        self._stop = threading.Event()
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holder = holder
        self._store = app.store
        schedule = app.config.schedule
        self._lookers = {
            plug.name: Looker(plug, self._stop, holder, plug.intervals(schedule), self._wake) for plug in plugs
        }
        self._queue = self._tasks(app.store.queue())
        self._listener = Listener(app.config.service) if serves else None
        self._web = Web(self._lookers, Metrics(self._lookers, now), schedule)

    def stop(self) -> None:
        """What is looked at is finished up to a safe point; `run` returns."""
        self._stop.set()
        if self._loop:
            self._loop.call_soon_threadsafe(self._stopped.set)

    def run(self, ready: Callable[[str], None] = lambda url: None) -> None:
        """Until `stop`. `ready` is called with the address, empty where none is served. Raises ConnectorError when the web
        server ends by itself."""
        asyncio.run(self._run(ready))
        for looker in self._lookers.values():
            looker.close()
        log.info("stopped")
        if self._listener and self._listener.broken:
            raise ConnectorError(
                f"The web server ended: {self._listener.broken}.", "Look at the log, then start again."
            )

    async def _run(self, ready: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stop.is_set():
            # Told to stop before there was a loop that could be woken.
            return
        self._loop.set_default_executor(ThreadPoolExecutor(LOOKS + 2))
        if self._listener:
            for looker in self._lookers.values():
                looker.listen(now())
            self._listener.start(self._web.app, self.stop)
        working = asyncio.create_task(self._work())
        try:
            log.info("started", connections=sorted(self._lookers), worker=self._holder)
            ready(self._listener.url if self._listener else "")
            await self._stopped.wait()
            log.info("stopping")
        finally:
            self._stop.set()
            # The queue's own way to stop: it waits for the looks under way, which end at their next safe point.
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            if self._listener:
                await asyncio.to_thread(self._listener.stop)

    async def _work(self) -> None:
        """Take tasks; begin again when the database was away for a while."""
        while not self._stop.is_set():
            try:
                async with self._queue.open_async():
                    await self._queue.run_worker_async(
                        name=self._holder,
                        queues=[SCHEDULE, *self._lookers],
                        concurrency=LOOKS,
                        fetch_job_polling_interval=POLL,
                        delete_jobs="always",
                        install_signal_handlers=False,
                    )
            except (ConnectorException, psycopg.Error, OSError) as error:
                log.error("the queue cannot be used", error=type(error).__name__)
            await asyncio.sleep(RETRY.total_seconds())

    def _tasks(self, database: str) -> Queue:
        queue = Queue(
            connector=PsycopgConnector(
                conninfo=database, min_size=1, max_size=4, kwargs={"options": f"-c search_path={SCHEMA}"}
            )
        )

        @queue.task(name=LOOK)
        def look(connection: str) -> None:
            self._lookers[connection].look()

        @queue.periodic(cron=EVERY_SECOND)
        @queue.task(name=SCHEDULE, queue=SCHEDULE, queueing_lock=SCHEDULE, priority=1)
        async def schedule(timestamp: int) -> None:
            try:
                await self._bury()
                for name in await asyncio.to_thread(self._store.due, list(self._lookers)):
                    await self._put(name)
            except (ConnectorException, StoreError) as error:
                log.error("nothing was scheduled", error=type(error).__name__, why=str(error))

        return queue

    async def _put(self, connection: str) -> None:
        """Into the queue, if it does not stand there already. The lock keeps a second worker from waiting for the lease of the
        first one in vain."""
        task = self._queue.configure_task(LOOK, queue=connection, lock=connection, queueing_lock=connection)
        try:
            await task.defer_async(connection=connection)
        except AlreadyEnqueued:
            return

    async def _bury(self) -> None:
        """Take out of the queue what nobody works on any more: it holds its connection's lock.

        Two actors: a worker dies in a look; meanwhile the connection is due once more, and its next task waits behind the dead
        one. Tried again, the dead task would stand beside the waiting one, which the queue does not allow
        (Procrastinate #1446); nothing is lost with it, so it just goes. Or the worker lives, and its database was away in the
        moment when the task ended: the queue believes for ever that it is still at it.
        """
        for id_, connection in (await asyncio.to_thread(self._store.dead_tasks)).items():
            log.warning("a task was left behind", connection=connection)
            await self._queue.job_manager.finish_job_by_id_async(id_, Status.FAILED, delete_job=True)

    def _wake(self, connection: str) -> None:
        """From any thread. Should it fail, the schedule finds the connection a second later."""
        if self._loop and not self._stop.is_set():
            asyncio.run_coroutine_threadsafe(self._put(connection), self._loop)
