"""Where the stores of the worlds lie: SQLite files in a folder, or databases on a real PostgreSQL."""

import itertools
import sqlite3
from pathlib import Path
from typing import Protocol

KINDS = ("sqlite", "postgresql")
"""The first is the one of an ordinary run."""


class Databases(Protocol):
    def create(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one at the URL `template`, which nobody uses now."""

    def clear(self) -> None:
        """Removes all that were created."""


class Files:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def create(self, template: str | None = None) -> str:
        path = self._folder / f"{next(self._numbers)}.db"
        assert not path.exists(), "new means empty"
        if template:
            # As a backup does it: the file as it stands between two transactions.
            source, target = sqlite3.connect(template.removeprefix("sqlite:///")), sqlite3.connect(path)
            source.backup(target)
            source.close()
            target.close()
        return f"sqlite:///{path}"

    def clear(self) -> None:
        for path in self._folder.glob("*.db*"):
            path.unlink()
