"""`connector sandbox`: local stand-ins of Chatwoot and Salesforce, to try everything without an account anywhere."""

import json
import threading
from pathlib import Path
from typing import Annotated

import requests
import typer

from connector.cli.shared import say
from connector.errors import ConnectorError
from connector.sandbox import load as loading
from connector.sandbox import serve as serving
from connector.service.stopping import stop_signals

app = typer.Typer(
    help="Local stand-ins of Chatwoot and Salesforce, over real HTTP.", no_args_is_help=True, rich_markup_mode=None
)
Directory = Annotated[Path, typer.Option("--dir", help="Where the sandboxes keep their state and secrets.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]


@app.command("serve")
def serve(
    directory: Directory = Path(".sandbox"),
    chatwoot_port: Port = 8801,
    salesforce_port: Port = 8843,
    samples: Annotated[
        bool, typer.Option("--samples/--empty", help="Load a made-up shop into a sandbox that is still empty.")
    ] = True,
) -> None:
    """Serve both sandboxes until Ctrl-C. config.example.yaml fits them as they are."""
    stop = threading.Event()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with stop_signals(stop.set):
            serving.serve(
                directory,
                chatwoot_port=chatwoot_port,
                salesforce_port=salesforce_port,
                samples=samples,
                ready=_tell,
                stop=stop,
            )
    except (serving.SandboxError, OSError, requests.RequestException) as error:
        raise ConnectorError(f"The sandbox cannot run: {error}", "Choose other ports, or another --dir.") from None


@app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="A CSV with the columns of the data set Customer Support on Twitter.")],
    directory: Directory = Path(".sandbox"),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad rows out instead of loading nothing.")
    ] = False,
) -> None:
    """Load conversations from a CSV file into the running Chatwoot sandbox, all of it or nothing."""
    announcement = directory / "chatwoot.json"
    try:
        url = str(json.loads(announcement.read_text())["url"])
    except (OSError, ValueError, KeyError):
        raise ConnectorError(
            f"No sandbox runs on {directory}.", "Start it with `connector sandbox serve`, or name its --dir."
        ) from None
    try:
        report = loading.load_csv(file, url, skip_bad=skip_bad)
    except loading.LoadError as error:
        raise ConnectorError(
            str(error), "--skip-bad leaves bad rows out." if error.bad and not skip_bad else ""
        ) from None
    for row in report.bad:
        say(f"left out: {row}")
    say(
        f"{report.conversations} conversations, {report.messages} messages, {report.contacts} contacts, "
        f"{report.agents} agents loaded; {len(report.bad)} rows left out."
    )


def _tell(sandboxes: serving.Sandboxes) -> None:
    say(f"Chatwoot    {sandboxes.chatwoot_url}  account {sandboxes.account_id}")
    say(f"Salesforce  {sandboxes.salesforce_url}")
    say(f"Secrets and state lie in {sandboxes.directory}. Ctrl-C stops both.")
