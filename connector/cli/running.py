"""`connector run`, the daemon of one machine, and `connector worker`, one of many."""

from typing import Annotated

import typer

from connector.cli.shared import errors, holder, options
from connector.service import logs
from connector.service.crew import Member
from connector.service.daemon import Daemon
from connector.service.stopping import stop_signals

SERVING = "webhooks, /health, /ready and /metrics at"


def run(context: typer.Context) -> None:
    """Run the daemon: sync on schedule, receive webhooks, serve /health, /ready and /metrics.

    Stops cleanly on SIGTERM and Ctrl-C: the call under way is finished, nothing is lost. A connection that fails is tried
    again and does not stop the others; its trouble stands in `connector status`.
    """
    given = options(context)
    with given.opened() as app:
        logs.configure(app.config.log)
        daemon = Daemon(app, app.chosen(given.connection), holder())
        with stop_signals(daemon.stop):
            daemon.run(lambda url: errors().print(f"The connector runs; {SERVING} {url}"))


def worker(
    context: typer.Context,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Also receive webhooks and serve /health, /ready and /metrics, as `connector run` does."
        ),
    ] = False,
) -> None:
    """Run one of many workers, which share the connections of one config. Needs a store in PostgreSQL.

    Start as many as you like, on as many machines as you like, and stop any of them at any time: nothing has to be told to
    the others. One that dies is replaced by the rest within a minute. Let at least one --serve where webhooks come in. Stops
    cleanly on SIGTERM and Ctrl-C.
    """
    given = options(context)
    with given.opened() as app:
        logs.configure(app.config.log)
        member = Member(app, app.chosen(given.connection), holder(), serves=serve)
        with stop_signals(member.stop):
            member.run(lambda url: errors().print(f"A worker runs{f'; {SERVING} {url}' if url else ''}"))
