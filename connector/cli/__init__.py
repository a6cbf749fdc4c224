"""The command line: `main` is the entry point. The commands decide nothing; each module holds one group of them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from connector.app import spare_the_collector
from connector.cli.auditing import audit
from connector.cli.backfilling import backfill
from connector.cli.checking import check
from connector.cli.explaining import explain
from connector.cli.holding import app as holds
from connector.cli.moving import migrate_store
from connector.cli.planning import plan
from connector.cli.running import run, worker
from connector.cli.sandboxing import app as sandbox
from connector.cli.schemas import schema, version
from connector.cli.shared import FAULT, INTERRUPTED, Options, complain, errors
from connector.cli.showing import show as status
from connector.cli.syncing import sync
from connector.errors import ConnectorError

CONFIG = "config.yaml"


class Guarded(TyperGroup):
    """Every error becomes one clear message and a documented exit code; `--debug` lets the traceback through."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            errors().print("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except ConnectorError as error:
            if _debug(ctx):
                raise
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if misplaced := self._misplaced(error):
                raise typer.BadParameter(misplaced, ctx=getattr(error, "ctx", None)) from None
            if _debug(ctx) or type(error).__module__.startswith(("click", "typer")):
                raise
            errors().print(
                f"This is a fault in the program: {type(error).__name__}. Run it again with --debug to see where."
            )
            raise typer.Exit(FAULT) from None

    def _misplaced(self, error: Exception) -> str | None:
        """Of an option that exists, but before the command: where it stands."""
        name, where = getattr(error, "option_name", None), getattr(error, "ctx", None)
        known = next((one for one in self.params if name in one.opts), None)
        if known is None or where is None:
            return None
        value = "" if getattr(known, "is_flag", False) else f" {known.metavar}"
        program, _, command = where.command_path.partition(" ")
        return f"{name} stands before the command: {program} {name}{value} {command} …"


def _debug(ctx: Any) -> bool:
    return isinstance(ctx.obj, Options) and ctx.obj.debug


app = typer.Typer(
    name="connector",
    help="Two-way sync between a social media management platform and a CRM.",
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def common(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help=f"The config file. Default: ./{CONFIG}, else $CONNECTOR_CONFIG.", metavar="FILE"
        ),
    ] = None,
    connection: Annotated[
        str | None,
        typer.Option("--connection", help="Only this connection of the config. Default: all.", metavar="NAME"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    context.obj = Options(config or _default_config(), connection, debug)


def _default_config() -> Path:
    here = Path(CONFIG)
    named = os.environ.get("CONNECTOR_CONFIG")
    return here if here.exists() or not named else Path(named)


COMMANDS: dict[str, Callable[..., None]] = {
    "check": check,
    "plan": plan,
    "sync": sync,
    "run": run,
    "worker": worker,
    "backfill": backfill,
    "status": status,
    "explain": explain,
    "audit": audit,
    "migrate-store": migrate_store,
    "schema": schema,
    "version": version,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(holds, name="holds")
app.add_typer(sandbox, name="sandbox")


def main() -> None:
    spare_the_collector()
    sys.exit(app())
