"""Connection after connection: one that fails does not keep the others from their turn, and the highest exit code counts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from connector.app import App, Plug
from connector.cli.shared import OK, Options, complain, print_json
from connector.errors import ConnectorError
from connector.service.stopping import Stopped


@dataclass(frozen=True)
class Told:
    """What came of one connection: `data` for the JSON. `errors` are those that are still to be told, the highest of their codes
    and `code` counts."""

    data: Mapping[str, Any]
    code: int = OK
    errors: Sequence[ConnectorError] = ()

    @property
    def exit_code(self) -> int:
        return max([self.code, *(one.exit_code for one in self.errors)])


def each(given: Options, work: Callable[[App, Plug], Told], *, as_json: bool) -> None:
    """Does the work for every chosen connection, tells its errors with its name, prints the JSON and ends with the exit code.
    With --debug an error goes up at once; Ctrl-C ends the whole command."""
    codes: list[int] = []
    shown: list[dict[str, Any]] = []
    with given.opened() as app:
        for plug in app.chosen(given.connection):
            try:
                told = work(app, plug)
            except Stopped:
                raise KeyboardInterrupt from None
            except ConnectorError as error:
                if given.debug:
                    raise
                told = Told({}, errors=[error])
            codes.append(told.exit_code)
            errors = [
                {"message": one.message, "way_out": one.way_out, "exit_code": one.exit_code} for one in told.errors
            ]
            shown.append({"connection": plug.name, **told.data, "errors": errors, "exit_code": told.exit_code})
            if not as_json:
                for one in told.errors:
                    complain(one, plug.name)
    if as_json:
        print_json(shown)
    raise typer.Exit(max(codes))
