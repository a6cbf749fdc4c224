"""`connector schema` and `connector version`: what editors and people ask of the program itself."""

from enum import StrEnum
from typing import Annotated

import typer

from connector import __version__, config
from connector.cli.shared import print_json, say
from connector.mapping import load


class File(StrEnum):
    CONFIG = "config"
    MAPPING = "mapping"


def schema(file: Annotated[File, typer.Argument(help="Of which file.")]) -> None:
    """Print the JSON Schema of the config or of mapping files, for editors."""
    print_json(config.schema() if file is File.CONFIG else load.schema())


def version() -> None:
    """Print the version of the connector."""
    say(__version__)
