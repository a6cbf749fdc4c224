"""The wiring: config file -> store, adapters, compiled mapping and an engine per connection.

The only place that knows concrete adapter classes.
"""

import gc
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import make_url

from connector import config as files
from connector.adapters import salesforce
from connector.adapters.base import Adapter, Capabilities, ObjectRead, Usage, User
from connector.adapters.chatwoot import Chatwoot
from connector.adapters.odoo import Odoo
from connector.adapters.salesforce import Salesforce
from connector.adapters.salesforce.ids import id18
from connector.config import Config, load_config
from connector.errors import ConfigError, Problem, StoreError
from connector.mapping.compiled import Compiled, Context, compile_mapping, reads
from connector.mapping.load import load_mapping
from connector.mapping.model import Mapping as MappingFile
from connector.model import Kind, Ref, Side
from connector.store.store import Ledger, Store
from connector.sync.engine import Engine, Progress
from connector.sync.history import HISTORY

CRMS: Mapping[str, type[Salesforce] | type[Odoo]] = {"salesforce": Salesforce, "odoo": Odoo}

LEASE = timedelta(seconds=30)
"""How long a connection stays locked after its process died. Renewed every third of it, so that two renewals may fail."""


YOUNG = 50_000
"""New objects before Python's collector looks for cycles among them. A batch is tens of thousands of facts and values that
live as long as the batch and form no cycles; with the default of 700 a fifth of the time goes into looking (`make bench`)."""


def spare_the_collector() -> None:
    """Once per process, before the work begins."""
    gc.set_threshold(YOUNG, 20, 20)


class LeaseTaken(StoreError):
    """Another process works on the connection."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Plug:
    """One connection as the config describes it: its mapping, and what is known of it in the store.

    `mapping` is compiled without the CRM's users, which is enough for everything that asks no system.
    """

    name: str
    config: files.Connection
    file: MappingFile
    mapping: Compiled
    ledger: Ledger
    store: Store

    def join(self, sleep: Callable[[float], None] = time.sleep) -> "Joined":
        """The connection with adapters for both sides. Calls nobody. Raises ConfigError when a secret is missing."""
        return Joined(self, self.platform(sleep), self.crm(reads(self.mapping), sleep))

    def platform(self, sleep: Callable[[float], None] = time.sleep) -> Adapter:
        given = self.config.platform
        return Chatwoot(
            given.url,
            given.account,
            given.token.reveal(),
            webhook_secret=given.webhook_secret.reveal() if given.webhook_secret else None,
            clock=now,
            sleep=sleep,
        )

    def crm(self, wanted: Mapping[str, ObjectRead], sleep: Callable[[float], None] = time.sleep) -> Adapter:
        given = self.config.crm
        ca = str(given.ca) if given.ca else None
        if isinstance(given, files.OdooCrm):
            return Odoo(
                given.url, given.database, given.login, given.key.reveal(), wanted, ca=ca, clock=now, sleep=sleep
            )
        return Salesforce(
            given.url,
            _auth(given.auth),
            wanted,
            api_version=given.api_version,
            ca=ca,
            clock=now,
            sleep=sleep,
            vault=salesforce.Vault(self.store.vault_get, self.store.vault_put),
        )

    @property
    def keys(self) -> list[tuple[str, Kind, str]]:
        """CRM object, kind and key field of everything that the connector creates."""
        persons = self.mapping.persons
        sections = [persons, persons.lead, self.mapping.identities, self.mapping.conversations, self.mapping.messages]
        return [(one.object, one.kind, one.key.field) for one in sections if one]

    @property
    def capabilities(self) -> dict[Side, Capabilities]:
        return {Side.PLATFORM: Chatwoot.capabilities, Side.CRM: CRMS[self.config.crm.type].capabilities}

    def intervals(self, schedule: Mapping[str, timedelta]) -> dict[tuple[Side, str], timedelta]:
        """How often each stream is read: what the config's schedule says, else what its adapter proposes."""
        return {
            (side, stream.name): schedule.get(stream.name, stream.every)
            for side, can in self.capabilities.items()
            for stream in can.streams
        }

    @property
    def systems(self) -> dict[Side, str]:
        return {Side.PLATFORM: self.config.platform.type, Side.CRM: self.config.crm.type}

    @property
    def crm_objects(self) -> list[str]:
        mapping = self.mapping
        parts = (mapping.identities, mapping.conversations, mapping.messages, mapping.replies)
        return [*mapping.persons.objects, *(one.object for one in parts if one)]

    def candidates(self, text: str) -> list[Ref]:
        """The records that a text may name: a whole reference, `object:id`, or an id alone."""
        platform, crm = self.systems[Side.PLATFORM], self.systems[Side.CRM]
        object_, _, id_ = text.partition(":")
        found = []
        if object_ in (platform, crm):
            one = Ref.parse(text)
            return [replace(one, id=self._crm_id(one.id)) if one.system == crm else one]
        if object_ in self.crm_objects and id_:
            found.append(Ref(crm, object_, self._crm_id(id_)))
        elif object_ in list(Kind) and id_:
            found.append(Ref(platform, object_, id_))
        found += [Ref(platform, kind.value, text) for kind in Kind if kind is not Kind.REPLY]
        return found + [Ref(crm, name, self._crm_id(text)) for name in self.crm_objects]

    def spelled(self, choice: str) -> str:
        """What a person chose, with a record's id as references hold it."""
        head, colon, id_ = choice.rpartition(":")
        return head + colon + self._crm_id(id_)

    def _crm_id(self, text: str) -> str:
        """An id as the CRM's references hold it: Salesforce's people know a shorter form of it as well."""
        return id18(text) if self.config.crm.type == Salesforce.system else text


@dataclass
class Joined:
    """A connection that can reach both sides. Leaving it counts the API calls that were made."""

    plug: Plug
    platform: Adapter
    crm: Adapter
    _more: list[Adapter] = field(default_factory=list)
    _counted: dict[int, int] = field(default_factory=dict)

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        return self.platform, self.crm, *self._more

    def close(self) -> None:
        for adapter in self.adapters:
            adapter.close()

    def keyed_crm(self) -> Adapter:
        """The CRM seen through our keys alone: a first pull reads every record that carries one. Its calls count like all."""
        made = self.plug.crm(
            {object_: ObjectRead(kind, (key,), key, initial=True) for object_, kind, key in self.plug.keys}
        )
        self._more.append(made)
        return made

    def crm_usage(self) -> Usage:
        """Of all our adapters for the CRM together; its own count as it was told last."""
        found = [one.usage() for one in (self.crm, *self._more)]
        told = max(found, key=lambda one: one.used or 0)
        return Usage(sum(one.calls for one in found), told.used, told.allowance)

    def engine(
        self,
        *,
        progress: Progress = lambda _what, _count: None,
        allowed: Collection[str] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> Engine:
        """Reads the CRM's users, so that agents and CRM users are known to each other. Before the first use it also settles
        since when messages are taken. Raises RemoteError."""
        ledger = self.plug.ledger
        if ledger.pins() is None and (since := begins(self.plug.config.history, now())):
            ledger.remember(HISTORY, since.isoformat())
        users = self.crm.users()
        context = Context(users_by_email(users), self.plug.name, contacts_by_email(users))
        mapping = compile_mapping(self.plug.file, context)
        return Engine(
            self.plug.name,
            ledger,
            self.platform,
            self.crm,
            mapping,
            clock=now,
            sleep=sleep,
            progress=progress,
            allowed=allowed,
        )

    def count(self) -> None:
        """Adds the API calls since the last count to those of this hour, and remembers what the CRM tells of its allowance."""
        ledger, news = self.plug.ledger, False
        for number, adapter in enumerate(self.adapters):
            calls = adapter.usage().calls
            if new := calls - self._counted.get(number, 0):
                ledger.usage_add(now(), adapter.system, new)
                self._counted[number] = calls
                news |= adapter is not self.platform
        told = self.crm_usage()
        if news and told.used is not None and told.allowance is not None:
            ledger.told_allowance(told.used, told.allowance)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.count()
        finally:
            self.close()


class App:
    """A config file that has been read, its store, and its connections. Use it as a context manager."""

    def __init__(self, config: Config, store: Store, plugs: dict[str, Plug]) -> None:
        self.config = config
        self.store = store
        self.plugs = plugs

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises ConfigError with the problems of the config and of all its mappings, and StoreError."""
        config, mappings = load(path)
        store = Store.open(store_url(config.store, path.parent), key=config.store.key.reveal(), clock=now)
        plugs = {
            name: Plug(
                name,
                connection,
                mappings[name],
                compile_mapping(mappings[name], Context(connection=name)),
                store.at(name),
                store,
            )
            for name, connection in config.connections.items()
        }
        return cls(config, store, plugs)

    def chosen(self, name: str | None) -> list[Plug]:
        """The named connection, or all of them. Raises ConfigError."""
        if name is None:
            return list(self.plugs.values())
        if name not in self.plugs:
            known = ", ".join(self.plugs)
            raise ConfigError(
                [Problem("--connection", 0, "", f"there is no connection {name!r}.", f"The config has {known}.")]
            )
        return [self.plugs[name]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.store.close()


def load(path: Path) -> tuple[Config, dict[str, MappingFile]]:
    """The config and the mapping of each connection. Raises ConfigError with the problems of all files."""
    config = load_config(path)
    mappings: dict[str, MappingFile] = {}
    problems: list[Problem] = []
    for name, connection in config.connections.items():
        try:
            mapping = load_mapping(connection.mapping, _shown(connection.mapping))
            found = _other_systems(name, connection, mapping)
        except ConfigError as error:
            found = error.problems
        else:
            mappings[name] = mapping
        problems += [problem for problem in found if problem not in problems]
    if problems:
        raise ConfigError(problems)
    return config, mappings


def _other_systems(name: str, connection: files.Connection, mapping: MappingFile) -> list[Problem]:
    """A mapping that was written for other systems than those of the connection. Pure."""
    pairs = (("platform", mapping.platform, connection.platform.type), ("crm", mapping.crm, connection.crm.type))
    return [
        mapping.place.at(side).problem(
            f"the mapping is for {written}, but the connection {name} has {given}.",
            f"Write {side}: {given}, or name another mapping in the config.",
        )
        for side, written, given in pairs
        if written != given
    ]


@contextmanager
def held_lease(ledger: Ledger, holder: str) -> Iterator[None]:
    """Keep other processes off the connection; renewed in a thread of its own until the block ends.

    Raises LeaseTaken, and another StoreError where the connection has moved to another store.
    """
    if not ledger.lease(holder, LEASE):
        if successor := ledger.successor():
            raise StoreError(
                f"The store of the connection {ledger.connection} has moved to {successor}; this one is a backup of it.",
                "Let the config name the new one (store.url, store.password), and restart whatever runs with the old config.",
            )
        raise LeaseTaken(
            f"Another process is working on the connection {ledger.connection}.",
            f"Stop it (`connector run`, `connector worker`?), or wait: a process that died is forgotten after {LEASE.seconds} seconds.",
        )
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(ledger, over), name=f"lease {ledger.connection}")
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        ledger.release()


def _renew(ledger: Ledger, over: threading.Event) -> None:
    # A long batch: the engine's thread waits a minute for one answer. Were the lease renewed between batches only, another
    # process would take it over in that minute, and this one's answer could not be stored.
    while not over.wait(LEASE.total_seconds() / 3):
        try:
            if not ledger.renew(LEASE):
                return
        except StoreError:
            # The next turn tries again; should the lease run out, every write of this ledger says so.
            continue


def _shown(path: Path) -> str:
    """A file as people know it: from where they are, if it lies there."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def begins(history: str | timedelta | date, at: datetime) -> datetime | None:
    """Since when messages are taken (UTC, whole seconds) by a connection that is used for the first time at `at`; None: from
    the beginning."""
    at = at.replace(microsecond=0)
    if isinstance(history, timedelta):
        # Further back than the calendar goes: everything.
        return at - history if history < at - datetime.min.replace(tzinfo=UTC) else None
    if isinstance(history, date):
        return datetime.combine(history, datetime.min.time(), UTC)
    return None if history == "all" else at


def users_by_email(users: Sequence[User]) -> dict[str, str]:
    """CRM user id by e-mail address; of several users with one address an active one."""
    return {user.email: user.id for user in sorted(users, key=lambda user: user.active) if user.email}


def contacts_by_email(users: Sequence[User]) -> dict[str, str]:
    """The id of a CRM user's own contact by e-mail address; of several users with one address an active one."""
    return {
        user.email: user.contact for user in sorted(users, key=lambda user: user.active) if user.contact and user.email
    }


def _auth(given: files.ClientCredentials | files.JwtBearer | files.RefreshToken) -> salesforce.Auth:
    match given:
        case files.ClientCredentials():
            return salesforce.ClientCredentials(given.client_id, given.client_secret.reveal())
        case files.JwtBearer():
            return salesforce.JwtBearer(given.client_id, given.username, given.private_key.reveal())
        case files.RefreshToken():
            secret = given.client_secret.reveal() if given.client_secret else None
            return salesforce.RefreshToken(given.client_id, given.refresh_token.reveal(), secret)


def store_url(given: files.Store, folder: Path) -> str:
    """The store's address: a relative SQLite file counts from the config's folder, a password comes by reference.

    Raises ConfigError when the password cannot be read."""
    url = make_url(given.url)
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        url = url.set(database=str((folder / url.database).absolute()))
    if given.password:
        url = url.set(password=given.password.reveal())
    return url.render_as_string(hide_password=False)
