"""A connection as the web server sees it, whoever takes its turns."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from connector.app import Plug
from connector.model import Hint, Ref


class Served(Protocol):
    plug: Plug

    @property
    def alive(self) -> bool:
        """Whether what this process does for the connection still goes on."""

    @property
    def rounds(self) -> int:
        """Of this process."""

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        """What a webhook names. Raises RemoteError."""

    async def look_at(self, refs: Sequence[Ref]) -> bool:
        """A webhook says: look at these. False when too many are waiting already."""
