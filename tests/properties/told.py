"""What people have told the connector, as they remember it themselves. A restored store knows only what it was told before the
backup; a copy of this that was made with the backup knows the same."""

from dataclasses import dataclass, field
from datetime import datetime

from connector.model import Ref


@dataclass
class Told:
    begins: datetime | None = None
    """Messages sent before were not wanted when the connection was made, nor by a backfill that has come to its end."""
    asked: datetime | None = None
    """Since when, by the backfill that is under way."""
    paused: bool = False
    reaches: datetime | None = None
    """Since when, by any backfill: what was sent between here and `begins` may be in, or not."""
    identities: dict[Ref, str] = field(default_factory=dict)
    """The last answer to the question who a person is."""
    given_up: dict[Ref, datetime] = field(default_factory=dict)
    """When the write of this record was given up; of a reply, that it shall not be sent."""

    def ask(self, since: datetime) -> None:
        """A backfill was accepted. The one before it, if it was another, is over."""
        if self.asked != since:
            self.came_to_its_end()
        self.asked, self.paused = since, False
        self.reaches = min(self.reaches or since, since)

    def came_to_its_end(self) -> None:
        """Everything that was asked for is in."""
        if self.asked and self.begins:
            self.begins = min(self.begins, self.asked)
        self.asked = None

    def wants(self, sent_at: datetime) -> bool | None:
        """Whether a message sent at that time has to be in; None: it may be."""
        if self.begins is None or sent_at >= self.begins:
            return True
        return None if self.reaches and sent_at >= self.reaches else False
