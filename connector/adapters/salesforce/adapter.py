"""The Salesforce side of the seam: which part answers which method."""

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
from connector.adapters.salesforce.client import Client, Record
from connector.adapters.salesforce.ids import SYSTEM, id18
from connector.adapters.salesforce.reads import Reads
from connector.adapters.salesforce.schema import Schema
from connector.adapters.salesforce.soql import PAGE
from connector.adapters.salesforce.tokens import Auth, Tokens, Vault
from connector.adapters.salesforce.writes import BATCH, Writes
from connector.errors import AuthError, RemoteError, Unreadable
from connector.model import Hint, Kind, Observed, Receipt, Ref, Side

READ_TIMEOUT = 120.0
"""Seconds. A call of 1,000 rows through triggers and flows takes tens of seconds; the server itself gives up after ten
minutes (Salesforce Developer Limits Quick Reference, "API Requests Limits")."""

CAPABILITIES = Capabilities(
    # A transaction may run for ten minutes, and its records show the stamp of their writing, not of the commit.
    streams=(Stream("changes", every=timedelta(seconds=60), overlap=timedelta(minutes=10)),),
    readable=frozenset(Kind),
    writable=frozenset(Kind),
    batch=BATCH,
    upsert_by_key=True,
    can_reply=False,
    webhooks=False,
    # A call goes on when its line is cut, for as long as its triggers and flows take: as long as we would have waited for it,
    # and half a minute more.
    lag=timedelta(seconds=READ_TIMEOUT + 30),
    trusted_times=frozenset(Kind),
    page=PAGE,
)


class Salesforce(Mute):
    """One org, as one integration user.

    `url` is the login host or the My Domain address, `reads` what the mapping wants of each object, `ca` a file of
    certificate authorities, `clock` answers an aware UTC time, `sleep` takes seconds. The constructor calls nobody.
    """

    system = SYSTEM
    side = Side.CRM
    capabilities = CAPABILITIES

    def __init__(
        self,
        url: str,
        auth: Auth,
        reads: Mapping[str, ObjectRead],
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        api_version: str = "67.0",
        ca: str | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._session = http.Session(clock, read=READ_TIMEOUT, ca=ca)
        tokens = Tokens(url, auth, self._session, clock=clock, vault=vault)
        self._client = Client(tokens, self._session, api_version=api_version, sleep=sleep)
        self._schema = Schema(self._client, reads, clock=clock)
        self._reads = Reads(self._client, reads, user=self._user, target=self._schema.target)
        self._writes = Writes(self._client, self._reads.fetch, self._schema.create_only)
        self._version = api_version
        # Two threads that both need our user id at the start would each ask for it.
        self._lock = threading.Lock()
        self._who: Record | None = None

    def check(self) -> Account:
        """Logs in, asks who we are, and reads the organisation's name to prove that the API is open to us."""
        with self._lock:
            self._who = self._client.userinfo()
        organization = self._client.query(["SELECT Id, Name FROM Organization"])[0]
        if not organization:
            raise AuthError(
                SYSTEM,
                "access",
                "the integration user may not use the API.",
                "Assign the permission set SMM Sync Integration to it.",
            )
        return Account(SYSTEM, id18(organization[0]["Id"]), str(organization[0]["Name"]), self._user(), self._version)

    def describe(self, object_: str) -> ObjectInfo:
        return self._schema.describe(object_)

    def users(self) -> Sequence[User]:
        return self._schema.users()

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        if stream != "changes":
            raise ValueError(f"Salesforce has no stream {stream!r}")
        return self._reads.pull(window)

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
            SYSTEM, "webhook", "Salesforce sends no webhooks.", "Remove this address where it was entered."
        )

    def usage(self) -> Usage:
        return self._client.usage()

    def allowance(self) -> Usage:
        return self._client.allowance()

    def close(self) -> None:
        self._session.close()

    def _user(self) -> str:
        with self._lock:
            if self._who is None:
                self._who = self._client.userinfo()
            return id18(str(self._who["user_id"]))
