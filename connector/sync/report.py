"""What a run did."""

from dataclasses import dataclass, field

from connector.errors import Refusal, RemoteError


@dataclass
class Report:
    """What a run did; `trouble` are the errors that cut something short, `unwritten` those of whole writes, which are tried again by
    themselves, `withheld` the guards that hold single writes back."""

    rounds: int = 0
    news: int = 0
    planned: int = 0
    written: int = 0
    failed: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    trouble: list[RemoteError] = field(default_factory=list)
    unwritten: list[RemoteError] = field(default_factory=list)
    withheld: list[Refusal] = field(default_factory=list)
    stopped_by: str | None = None

    def summary(self) -> dict[str, object]:
        """JSON-able, for the list of runs."""
        return {
            "rounds": self.rounds,
            "planned": self.planned,
            "written": self.written,
            "failed": self.failed,
            "calls": self.calls,
            "trouble": [str(error) for error in self.trouble],
            "withheld": [str(refusal) for refusal in self.withheld],
            "stopped_by": self.stopped_by,
        }
