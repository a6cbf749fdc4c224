"""The Chatwoot adapter: one account of one installation behind the seam of `adapters.base`.

What moves inside, file by file: `client` calls, `reader` reads single things, `pull` and `recheck` are the two streams, `past`
a slice of the past, `writer` writes, `webhook` verifies, `canonical` and `networks` translate, `schema` describes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from connector.adapters.base import (
    Account,
    Capabilities,
    Lookup,
    ObjectInfo,
    Page,
    Probe,
    Stream,
    Usage,
    User,
    Window,
    Write,
)
from connector.adapters.chatwoot import webhook
from connector.adapters.chatwoot.client import READ_TIMEOUT, SYSTEM, Client, documented
from connector.adapters.chatwoot.past import pull_past
from connector.adapters.chatwoot.pull import pull_conversations
from connector.adapters.chatwoot.reader import Reader, account_of
from connector.adapters.chatwoot.recheck import pull_recheck
from connector.adapters.chatwoot.schema import FIELDS, MODELS, described
from connector.adapters.chatwoot.writer import Writer
from connector.errors import AuthError, RemoteError, SchemaDrift
from connector.model import Hint, Kind, Observed, Receipt, Ref, Side

__all__ = ["CAPABILITIES", "Chatwoot"]

CAPABILITIES = Capabilities(
    streams=(
        # Messages are committed before `updated_at` shows; five minutes cover slow transactions and clock differences.
        Stream("conversations", every=timedelta(seconds=60), overlap=timedelta(minutes=5)),
        Stream("recheck", every=timedelta(minutes=15), overlap=timedelta(0)),
    ),
    readable=frozenset({Kind.PERSON, Kind.IDENTITY, Kind.CONVERSATION, Kind.MESSAGE}),
    writable=frozenset({Kind.PERSON, Kind.CONVERSATION}),
    batch=100,
    upsert_by_key=True,
    can_reply=True,
    webhooks=True,
    # A message is stored before its call is answered, and readable from then on. How long a server that is overloaded keeps
    # a call whose caller has hung up, nobody promises: as long as we would have waited for it, and half a minute more.
    lag=timedelta(seconds=READ_TIMEOUT + 30),
    # None: a contact shows no time of change, a conversation's `updated_at` moves with every message, and a message's
    # `created_at` does not move with an edit.
    trusted_times=frozenset(),
    history="conversations",
    # A conversation that moved has its messages read, a contact that changed is read in full.
    page=1,
)


class Chatwoot:
    """One Chatwoot account.

    `url` is the installation (`https://chat.shop.example`), `account` the account's number, `token` an agent's or better an
    administrator's access token, `webhook_secret` the secret Chatwoot shows for our webhook (None: webhooks are refused).
    `clock` answers the current time (UTC) and is used for the age of webhooks only; `sleep` takes seconds. `page_rows` is
    the number of observations after which a page is handed on.
    """

    system = SYSTEM
    side = Side.PLATFORM
    capabilities = CAPABILITIES

    def __init__(
        self,
        url: str,
        account: int,
        token: str,
        *,
        webhook_secret: str | None = None,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        page_rows: int = 500,
    ) -> None:
        self._client = Client(url, account, token, sleep, clock)
        self._reader = Reader(self._client)
        self._writer = Writer(self._reader)
        self._webhook_secret = webhook_secret
        self._clock = clock
        self._page_rows = page_rows
        self._described: dict[str, ObjectInfo] = {}

    def check(self) -> Account:
        """Token, membership and version. Raises AuthError naming the accounts the token may use."""
        profile = self._client.profile()
        account = account_of(profile, self._client.account)
        _, version = self._client.server()
        host = urlsplit(self._client.url).hostname or ""
        with documented("profile"):
            user = f"{profile['email']} ({account['role']})"
        return Account(SYSTEM, f"{host}/{self._client.account}", str(account.get("name") or ""), user, version)

    def describe(self, object_: str) -> ObjectInfo:
        if object_ not in FIELDS:
            raise SchemaDrift(SYSTEM, "object", f"there is no {object_}.", f"There are {', '.join(FIELDS)}.")
        if object_ not in self._described:
            kind = Kind(object_)
            model = MODELS.get(kind)
            rows = self._client.get("/custom_attribute_definitions", {"attribute_model": model}) if model else []
            with documented("custom attribute definitions"):
                self._described[object_] = described(kind, rows)
        return self._described[object_]

    def users(self) -> Sequence[User]:
        return self._reader.users(fresh=True)

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        match stream:
            case "conversations" if window.sent.end is not None:
                return pull_past(self._reader, window, self._page_rows)
            case "conversations":
                return pull_conversations(self._reader, window, self._page_rows)
            case "recheck":
                return pull_recheck(self._reader, window, self._page_rows)
        raise ValueError(f"chatwoot has no stream {stream!r}")

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        return [self._reader.fetch(ref) for ref in refs]

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        return [self._reader.find(lookup) for lookup in lookups]

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        return self._writer.upsert(writes)

    def send(self, write: Write, token: str) -> Receipt:
        return self._writer.send(write, token)

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        return self._writer.probe(write, token, since)

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        results: list[Receipt | RemoteError] = []
        for write in writes:
            try:
                results.append(self._writer.remove(write))
            except RemoteError as error:
                results.append(error)
        return results

    def cost(self, writes: Sequence[Write], *, removes: bool = False) -> int:
        return len(writes) if removes else sum(map(self._writer.cost, writes))

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        webhook.verify(headers, body, self._webhook_secret, self._clock())
        return webhook.read(body, self._client.account)

    def webhook_misfit(self, path: str) -> tuple[str, str] | None:
        """See `TellsWebhooks`. Only administrators may look."""
        try:
            answer = self._client.get("/webhooks")
        except AuthError:
            return None
        with documented("webhooks"):
            return webhook.misfit(answer["payload"]["webhooks"], path, self._webhook_secret)

    def usage(self) -> Usage:
        return Usage(self._client.calls, kept=sum(kind in MODELS for kind in map(Kind, self._described)))

    def allowance(self) -> Usage:
        return self.usage()

    def close(self) -> None:
        self._client.close()
