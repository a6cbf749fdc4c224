"""`connector migrate-store`: the store goes from SQLite to PostgreSQL, or back."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from connector.app import App, held_lease, store_url
from connector.cli.shared import errors, holder, options, say, table
from connector.config import Store, relocated
from connector.errors import ConfigError
from connector.store.moving import Contents


def migrate_store(
    context: typer.Context,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="The new, empty database, written as it will stand in the config (store.url): sqlite:///connector.db, "
            "counted from the config's folder, or postgresql://user@host/name.",
            metavar="URL",
        ),
    ],
    to_password: Annotated[
        str | None,
        typer.Option(
            "--to-password",
            help="The password of the PostgreSQL user, by reference: env:NAME or file:PATH (store.password).",
            metavar="SECRET",
        ),
    ] = None,
) -> None:
    """Copy the whole store to another, empty database: from SQLite to PostgreSQL, or back.

    Stop every daemon first: it has all connections to itself. Ends with 3, copying nothing, when another process works on
    one, when the new database holds anything, and when somebody writes into the store meanwhile. An interrupted copy leaves
    the new database empty; repeat it.

    All numbers of holds, links and writes stay, and so do the secrets, sealed with the same store.key. Both sides are compared
    row by row in the end. The old store stays as a backup on which nothing works any more; a daemon that was forgotten says
    so and does nothing. The config stays as it is: what to write into it is printed.
    """
    given = options(context)
    if given.connection:
        raise typer.BadParameter("a store moves as a whole; leave it out", param_hint="--connection")
    with given.opened() as app:
        section = _section(app, to, to_password, given.config.parent)
        contents = _copy(app, store_url(section, given.config.parent), section.url)
    rows = [(name, one.rows, one.digest[:16]) for name, one in contents.items()]
    table("the same on both sides", ("table", "rows", "SHA-256 (beginning)"), rows)
    _tell_what_is_next(section, given.config)


def _section(app: App, url: str, password: str | None, folder: Path) -> Store:
    try:
        return relocated(app.config.store, url, password, folder)
    except ConfigError as error:
        option = {"url": "--to", "password": "--to-password"}
        raise ConfigError([replace(one, file=option[one.path], path="") for one in error.problems]) from None


def _copy(app: App, url: str, shown_as: str) -> dict[str, Contents]:
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=errors(),
        disable=not sys.stderr.isatty(),
    )
    ledgers = [app.store.at(name) for name in sorted({*app.plugs, *app.store.worked_on()})]
    with ExitStack() as stack:
        for ledger in ledgers:
            stack.enter_context(held_lease(ledger, holder()))
        stack.enter_context(shown)
        task = shown.add_task("the store")
        copied = app.store.copy_to(
            url, lambda name, done, of: shown.update(task, description=name, completed=done, total=of)
        )
        if ledgers:
            ledgers[0].hand_over(shown_as, *ledgers[1:])
        return copied


def _tell_what_is_next(section: Store, config: Path) -> None:
    say(f"Let {config} say, and nothing else under store:", "bold")
    say("store:")
    say(f"  url: {section.url}")
    if section.password:
        say(f"  password: {section.password.reference}")
    say(f"  key: {section.key.reference}")
    say()
    say(
        "Then start the connector. The old store is a backup, and nothing works on it any more: two stores that serve one "
        "connection know nothing of each other."
    )
