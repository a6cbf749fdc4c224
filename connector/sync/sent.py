"""What sending has done: a call that came back, and the report of a whole drain. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from connector.adapters.base import Write
from connector.errors import RemoteError
from connector.model import Action, Fields, Intent, Receipt, Ref, Side


@dataclass
class Drained:
    """What a drain did: writes that landed by side, those that failed, and the sides that had to stop early with the errors that made
    them."""

    done: Counter[Side] = field(default_factory=Counter)
    failed: int = 0
    stopped: set[Side] = field(default_factory=set)
    errors: list[RemoteError] = field(default_factory=list)

    def add(self, other: "Drained") -> None:
        self.done += other.done
        self.failed += other.failed
        self.stopped |= other.stopped
        self.errors += other.errors


@dataclass(frozen=True)
class Answered:
    """A call that has come back: what was sent, and the result of each row."""

    sent: Sequence[tuple[Intent, Fields]]
    results: Sequence[Receipt | RemoteError]

    def fits(self, action: Action) -> bool:
        """Whether a write of this action may go out before this call is settled: it hangs on nothing that the call wrote."""
        return alike(self.sent[0][0].action, action)


def alike(one: Action, other: Action) -> bool:
    """Whether two writes do the same to records of one kind on one side: such records never hang on one another."""
    return (one.side, one.op, one.kind) == (other.side, other.op, other.kind)


def coming(intents: Iterable[Intent]) -> frozenset[Ref]:
    """The platform records whose CRM record is being made. Another write under way (a value for the platform that was refused,
    say) makes none, and what hangs on the record would wait for ever."""
    return frozenset(one.action.subject for one in intents if one.action.side is Side.CRM and one.action.target is None)


def as_write(intent: Intent, fields: Fields) -> Write:
    """The intent as an adapter takes it, with the ids of its parents in `fields`."""
    action = intent.action
    return Write(action.kind, action.object, fields, action.target, action.key)
