"""`python -m connector.sandbox.salesforce`: serve one org over HTTPS until SIGTERM."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connector.sandbox.announcing import Announced, listen
from connector.sandbox.salesforce.app import TRANSPORT, Gateway
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.sfdx import SourceError
from connector.sandbox.salesforce.store import StateError
from connector.sandbox.salesforce.tls import certificate

ADDRESS_FILE = "salesforce.json"


class _Protocol(HttpToolsProtocol):
    """Hands the connection to the application, which cuts it when a scripted failure says so."""

    def shutdown(self) -> None:
        """A client that keeps an idle TLS connection never answers its polite end: at the end, do not wait for it."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]


def main(
    directory: Annotated[Path, typer.Option("--dir", help="Where state, certificates and secrets are kept.")],
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 0,
    schema: Annotated[
        Path | None, typer.Option(help="Folder with sfdx-project.json; default: the one shipped.")
    ] = None,
) -> None:
    """Serve a local stand-in of a Salesforce org over HTTPS."""
    if host not in ("127.0.0.1", "localhost"):
        raise typer.BadParameter("the sandbox listens on loopback only: 127.0.0.1 or localhost", param_hint="--host")
    # The server stops by itself on SIGTERM and then raises the signal again: end as a success, not as a kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        org = Org(directory, schema)
    except SourceError as error:
        raise typer.BadParameter(str(error), param_hint="--schema") from error
    except StateError as error:
        raise typer.BadParameter(str(error), param_hint="--dir") from error
    # The folder is ours now: an address that a killed process left behind must not be taken for ours.
    (directory / ADDRESS_FILE).unlink(missing_ok=True)
    chain, key = certificate(directory)
    try:
        listener = listen(host, port)
    except OSError as error:
        raise typer.BadParameter(f"cannot listen on {host}:{port}: {error.strerror}", param_hint="--port") from error
    url = f"https://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        Gateway(org, url),
        http=_Protocol,
        lifespan="off",
        log_level="warning",
        access_log=False,
        ssl_certfile=chain,
        ssl_keyfile=key,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    try:
        Announced(config, directory / ADDRESS_FILE, url).run(sockets=[listener])
    finally:
        org.store.flush()
        org.store.close()


if __name__ == "__main__":
    typer.run(main)
