"""`connector run`: the daemon."""

import typer

from connector.cli.shared import errors, holder, options
from connector.service import logs
from connector.service.daemon import Daemon
from connector.service.stopping import stop_signals


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
            daemon.run(
                lambda url: errors().print(f"The connector runs; webhooks, /health, /ready and /metrics at {url}")
            )
