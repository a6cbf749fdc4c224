"""`connector check`: do config and mapping fit both systems?"""

import typer

from connector.cli.shared import CONFIG, LEFT_OVER, Json, counted, options, print_json, say, table
from connector.errors import ConfigError
from connector.service.checking import Checked, check_connection


def check(context: typer.Context, as_json: Json = False) -> None:
    """Check config, credentials, accounts, webhooks, and the mapping against the live schemas of both sides.

    Reads both systems and writes nothing. Every finding is shown at once, with file and line. Of webhooks it sees whether
    the platform has one that leads to this connection, with the right secret and events, where the token may look
    (administrators); whether a delivery gets through tells `connector status`.
    """
    given = options(context)
    try:
        with given.opened() as app:
            checked: list[Checked] = []
            for plug in app.chosen(given.connection):
                with plug.join() as joined:
                    checked.append(check_connection(joined, app.config.schedule, app.config.place))
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "problems": error.problems, "connections": []})
            raise typer.Exit(CONFIG) from None
        raise
    failed = any(one.errors for one in checked)
    if as_json:
        print_json({"ok": not failed, "problems": [], "connections": checked})
    else:
        for one in checked:
            _show(one)
    if failed:
        raise typer.Exit(LEFT_OVER)


def _show(checked: Checked) -> None:
    say(f"connection {checked.connection}", "bold")
    table(
        "",
        ("side", "system", "account", "name", "user", "version"),
        [(side, one.system, one.id, one.name, one.user, one.version) for side, one in checked.accounts.items()],
    )
    table(
        "",
        ("severity", "where", "what", "way out"),
        [(one.severity, one.where, f"{one.path}: {one.message}", one.way_out) for one in checked.findings],
    )
    warnings = len(checked.findings) - checked.errors
    say(f"{counted(checked.errors, 'error')}, {counted(warnings, 'warning')}")
