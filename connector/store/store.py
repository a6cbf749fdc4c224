"""The store: one database for all connections, and the ledger, which is the store as one connection sees it."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import Self

from sqlalchemy import Engine, select

from connector.errors import StoreError
from connector.store import moving
from connector.store.bulk import upsert
from connector.store.copying import copy_connection
from connector.store.database import connect, migrate, transaction
from connector.store.intents import Intents
from connector.store.leasing import Leasing
from connector.store.listing import Listing
from connector.store.observing import Observing
from connector.store.queueing import dead_tasks, prepare_queue
from connector.store.reading import Reading
from connector.store.schema import leases, vault
from connector.store.sharing import Sharing
from connector.store.showing import Showing
from connector.store.turning import Turning, due
from connector.store.vault import seal, unseal


class Ledger(Observing, Reading, Intents, Showing, Sharing, Listing, Turning, Leasing):
    """Everything the connector knows about one connection. Cheap to make; safe to use from several threads."""


class Store:
    """Made by `Store.open`. Safe to use from several threads and processes."""

    def __init__(
        self, engine: Engine, key: str | None, clock: Callable[[], datetime], token: Callable[[], str]
    ) -> None:
        self._engine = engine
        self._key = key
        self._clock = clock
        self._token = token

    @classmethod
    def open(
        cls,
        url: str,
        *,
        key: str | None = None,
        clock: Callable[[], datetime],
        token: Callable[[], str] = lambda: secrets.token_hex(10),
    ) -> Self:
        """Opens the database and brings its schema up to date. Raises StoreError.

        `url` is `sqlite:////folder/connector.db` or `postgresql://user@host/database`; `key` the secret that guards the
        vault; `clock` answers an aware time; `token` makes the marker of an intent whose key was used before (20 random hex digits); otherwise it is a digest of the
        key (`rows.marker`).
        """
        engine = connect(url)
        try:
            migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, key, clock, token)

    def close(self) -> None:
        self._engine.dispose()

    def at(self, connection: str) -> Ledger:
        """The store as this connection sees it; no other connection's rows can be read or written through it, only the sums
        that connections of one CRM account share."""
        return Ledger(self._engine, connection, self._clock, self._token)

    def due(self, connections: Sequence[str]) -> list[str]:
        """Those of the connections that a worker should look at now, the one that waits longest first."""
        return due(self._engine, connections, self._clock())

    def queue(self) -> str:
        """How to connect to the task queue, which is made where there is none. Raises StoreError where the store is SQLite."""
        return prepare_queue(self._engine)

    def dead_tasks(self) -> dict[int, str | None]:
        """Tasks in the queue that nobody works on any more, each with its connection."""
        return dead_tasks(self._engine)

    def worked_on(self) -> list[str]:
        """Every connection whose lease was ever taken in this store."""
        with transaction(self._engine, writes=False) as db:
            return list(db.scalars(select(leases.c.connection).order_by(leases.c.connection)))

    def copy_to(self, url: str, tell: moving.Tell = lambda _table, _done, _of: None) -> dict[str, moving.Contents]:
        """Copies everything to another, empty database, as `moving.copy` tells. The caller holds the leases of all
        connections; the vault is copied sealed, for the same key."""
        return moving.copy(self._engine, url, tell)

    @contextmanager
    def rehearsal(self, connection: str, clock: Callable[[], datetime]) -> Iterator[Ledger]:
        """A copy of a connection's rows to try a run on; it is gone with the end of the block. Raises StoreError."""
        with TemporaryDirectory(prefix="connector-") as folder:
            other = Store.open(f"sqlite:///{folder}/rehearsal.db", clock=clock, token=self._token)
            try:
                copy_connection(self._engine, connection, other._engine)
                yield other.at(connection)
            finally:
                other.close()

    def vault_put(self, name: str, text: str) -> None:
        """Keeps a secret, encrypted, replacing the one before. Raises StoreError when the store has no key."""
        salt, sealed = seal(self._vault_key(name), text)
        with transaction(self._engine, writes=True) as db:
            upsert(db, vault, [{"name": name, "salt": salt, "secret": sealed, "stored_at": self._clock()}])

    def vault_get(self, name: str) -> str | None:
        """None where there is none. Raises StoreError when the key is missing or wrong."""
        with transaction(self._engine, writes=False) as db:
            row = db.execute(select(vault.c.salt, vault.c.secret).where(vault.c.name == name)).one_or_none()
        return None if row is None else unseal(self._vault_key(name), name, row.salt, row.secret)

    def _vault_key(self, name: str) -> str:
        if not self._key:
            raise StoreError(
                f"The store has no key, so the secret {name!r} can neither be kept nor read.",
                "Give it one: a long random text, by reference (env:NAME or file:PATH).",
            )
        return self._key
