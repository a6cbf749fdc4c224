"""What the demo needs of a CRM and of its people, whichever it is. What it answers is the CRM's own word."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from connector.model import Ref
from connector.sandbox.demo.people import Agent, Networks


@dataclass(frozen=True)
class Deed:
    """Something that was done on one side. `arrived` asks the other side and answers what is missing, None if nothing."""

    told: str
    arrived: Callable[[], str | None]


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Crm(Protocol):
    """A CRM with somebody at work in it."""

    name: str
    batch: int
    """Records that one call of the connector can write."""
    told: Sequence[str]
    """What `work` does, for the reader."""

    def work(self, agent: Agent, networks: Networks) -> list[Deed]:
        """The CRM user's deeds; with some of them an agent changes the same in Chatwoot at the same time."""

    def report(self, networks: Networks) -> str:
        """What the networks report of what was sent, done there and told to the reader."""

    def calls(self) -> int | None:
        """API calls that the CRM has counted, by anybody; None where it counts none."""

    def written(self) -> int:
        """Records written in the CRM since it was first asked, by anybody."""

    def stored(self) -> int:
        """Records that hold a message of the platform."""

    def on_timeline(self, text: str) -> str | None:
        """What is missing of a message with this text, which has to stand there once."""

    def marked(self, text: str) -> str | None:
        """What is missing of a message with this text, which has to be marked as deleted."""

    def timeline(self) -> Table:
        """Of Jet, who writes on two networks."""

    def replies(self) -> Sequence[Table]:
        """What was written to customers in the CRM, and what became of it."""

    def name_of(self, ref: Ref) -> str:
        """The record's name as the CRM's people know it."""
