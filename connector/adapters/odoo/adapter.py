"""The Odoo side of the seam: which part answers which method."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from connector.adapters import http
from connector.adapters.base import (
    Account,
    Capabilities,
    Lookup,
    ObjectInfo,
    ObjectRead,
    Page,
    Stream,
    Usage,
    User,
    Window,
    Write,
)
from connector.adapters.mute import Mute
from connector.adapters.odoo.errors import SYSTEM
from connector.adapters.odoo.reads import PAGE, Reads
from connector.adapters.odoo.schema import Schema
from connector.adapters.odoo.transport import READ_TIMEOUT, Client, Door, Name
from connector.adapters.odoo.vanished import pull_gone
from connector.adapters.odoo.writes import BATCH, Writes
from connector.errors import RemoteError, Unreadable
from connector.model import Hint, Kind, Observed, Receipt, Ref, Side

CAPABILITIES = Capabilities(
    streams=(
        # `write_date` is the start of a transaction; a worker may run for two minutes (odoo.md, section 5).
        Stream("changes", every=timedelta(seconds=60), overlap=timedelta(minutes=5)),
        Stream("gone", every=timedelta(minutes=15), overlap=timedelta(0)),
    ),
    readable=frozenset(Kind),
    writable=frozenset(Kind),
    batch=BATCH,
    upsert_by_key=True,
    can_reply=False,
    webhooks=False,
    # A call whose answer was lost may still be under way for as long as a worker lives.
    lag=timedelta(seconds=READ_TIMEOUT + 20),
    trusted_times=frozenset((Kind.PERSON, Kind.CONVERSATION)),
    names_winners=False,
    page=PAGE,
)


class Odoo(Mute):
    """One database, as one user.

    `secret` is the user's API key, `reads` what the mapping wants of each model, `ca` a file of certificate authorities,
    `clock` answers an aware UTC time, `sleep` takes seconds. `transport` is chosen by the server's version unless it is
    given. The constructor calls nobody.
    """

    system = SYSTEM
    side = Side.CRM
    capabilities = CAPABILITIES

    def __init__(
        self,
        url: str,
        database: str,
        login: str,
        secret: str,
        reads: Mapping[str, ObjectRead],
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        ca: str | None = None,
        transport: Name | None = None,
    ) -> None:
        self._session = http.Session(clock, read=READ_TIMEOUT, ca=ca)
        self._door = Door(url, database, login, secret, self._session)
        self._client = Client(self._door, sleep, transport)
        self._schema = Schema(self._client, reads, clock=clock)
        self._reads = Reads(self._client, self._schema, reads, self._user)
        self._writes = Writes(self._client, self._schema, self._reads)
        # Two threads that both need our user at the start would each ask for it.
        self._lock = threading.Lock()
        self._who: int | None = None

    def check(self) -> Account:
        """Logs in and reads our own user, which proves that the API is open to us."""
        with self._lock:
            self._who = self._client.user()
        row = self._client.rows("res.users", "read", ids=[self._who], fields=["name"])[0]
        host = self._door.url.partition("://")[2]
        name = f"{self._door.database} ({host})"
        return Account(SYSTEM, f"{host}/{self._door.database}", name, str(row["name"]), str(self._client.version))

    def describe(self, object_: str) -> ObjectInfo:
        return self._schema.describe(object_)

    def users(self) -> Sequence[User]:
        return self._schema.users()

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        if stream == "gone":
            return pull_gone(self._reads, window)
        if stream != "changes":
            raise ValueError(f"Odoo has no stream {stream!r}")
        return self._reads.changes(window)

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        return self._reads.fetch(refs)

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        return self._reads.find(lookups)

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        return self._writes.upsert(writes)

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        return self._writes.remove(writes)

    def cost(self, writes: Sequence[Write], *, removes: bool = False) -> int:
        return self._writes.cost(writes, removes=removes)

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        raise Unreadable(
            SYSTEM,
            "webhook",
            "this connector takes no webhooks of Odoo, which are unsigned.",
            "Remove the automation rule.",
        )

    def usage(self) -> Usage:
        return Usage(self._session.calls, kept=self._schema.asked)

    def allowance(self) -> Usage:
        return self.usage()

    def close(self) -> None:
        self._session.close()

    def _user(self) -> int:
        with self._lock:
            if self._who is None:
                self._who = self._client.user()
            return self._who
