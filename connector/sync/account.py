"""The account of every message: seen = synced + filtered + held + erased, and what is still open. Pure.

The store adds up by inbox, day and reason; here these parts are put together to the lines that people read.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from connector.model import State
from connector.store.entries import Share
from connector.sync.audit import Finding

UNKNOWN = "unknown"
"""Stands for the inbox of a conversation that is not known, and for the day of a message without a time."""
REFERENCE = re.compile(r"\b[a-z][a-z0-9_]*:([A-Za-z][A-Za-z0-9_.]*):[^\s:,;]+(?::[^\s:,;]+)*")
HOLD = re.compile(r"^hold \d+: .*", re.DOTALL)


class By(StrEnum):
    """What the account is told by, besides the inbox."""

    INBOX = "inbox"
    DAY = "day"
    RULE = "rule"


@dataclass
class Line:
    """One line of the account: of an inbox, of a day of an inbox (`day` None: of all), or a sum. `seen` is a count of its
    own."""

    inbox: str
    day: str | None = None
    seen: int = 0
    states: Counter[State] = field(default_factory=Counter)

    def add(self, share: Share) -> None:
        self.seen += share.seen
        self.states.update(share.states)

    @property
    def balanced(self) -> bool:
        """Whether every message seen is in one state, those included that are still open."""
        return self.seen == self.states.total()


@dataclass
class Account:
    """The account of one connection. `rules` counts the messages of an inbox by state and rule or reason."""

    total: Line = field(default_factory=lambda: Line("all inboxes"))
    inboxes: dict[str, Line] = field(default_factory=dict)
    days: dict[tuple[str, str], Line] = field(default_factory=dict)
    rules: Counter[tuple[str, State, str]] = field(default_factory=Counter)

    def add(self, share: Share) -> None:
        inbox, day = share.inbox or UNKNOWN, share.day or UNKNOWN
        self.total.add(share)
        self.inboxes.setdefault(inbox, Line(inbox)).add(share)
        self.days.setdefault((day, inbox), Line(inbox, day)).add(share)
        for state, count in share.states.items():
            if count:
                self.rules[inbox, state, rule_of(share.reason)] += count

    def by_inbox(self) -> list[Line]:
        return [self.inboxes[inbox] for inbox in sorted(self.inboxes)]

    def by_day(self) -> list[Line]:
        """The latest day first."""
        return [line for _, line in sorted(self.days.items(), key=lambda item: item[0], reverse=True)]

    def by_rule(self) -> list[tuple[str, State, str, int]]:
        """Inbox, state, rule and messages; the largest of an inbox first."""
        ordered = sorted(self.rules.items(), key=lambda item: (item[0][0], -item[1], item[0]))
        return [(inbox, state, rule, count) for (inbox, state, rule), count in ordered]

    def finding(self) -> Finding:
        """The promise that the lines add up."""
        found = Finding("seen = synced + filtered + held + erased, in every inbox and on every day")
        lines = self.by_day()
        found.add(len(lines), (_unbalanced(line) for line in lines if not line.balanced))
        return found


def account(shares: Iterable[Share]) -> Account:
    """Holds a line per inbox and day, however many messages they count."""
    made = Account()
    for share in shares:
        made.add(share)
    return made


def rule_of(reason: str | None) -> str:
    """A reason without the record that it names, so that a thousand persons who are held for one reason are one line."""
    if not reason:
        return ""
    if HOLD.match(reason):
        return "waits for an open hold"
    return REFERENCE.sub(lambda found: found[1], reason)


def _unbalanced(line: Line) -> str:
    told = " + ".join(f"{count} {state}" for state, count in line.states.items() if count)
    return f"{line.inbox} on {line.day}: {line.seen} seen, but {told or 'none in any state'}"


def states_shown(line: Line) -> Sequence[int]:
    """The numbers of a line in the order in which they are told: synced, filtered, held, erased, open."""
    order = (State.SYNCED, State.FILTERED, State.HELD, State.ERASED, State.OPEN)
    return [line.states[state] for state in order]
