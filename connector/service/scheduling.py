"""Which streams are to be read now. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from connector.model import Side


def due(
    every: Mapping[tuple[Side, str], timedelta], reads: Mapping[tuple[Side, str], datetime], at: datetime
) -> list[tuple[Side, str]]:
    """The streams whose interval is over at `at`; `reads` says when each was last read to its end."""
    return [stream for stream, interval in every.items() if stream not in reads or reads[stream] + interval <= at]
