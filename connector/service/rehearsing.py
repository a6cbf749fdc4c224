"""A run that is only rehearsed: the engine itself works on a copy of the store, between two stand-ins that answer as if every
write went through, and count the calls that the real adapters would make.

What the stand-ins cannot know is taken from the plan that was just made: what a read without news costs, and what lookups
answered.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from connector.adapters.base import (
    Account,
    Adapter,
    Capabilities,
    Lookup,
    ObjectInfo,
    Page,
    Probe,
    Usage,
    User,
    Window,
    Write,
)
from connector.errors import RemoteError
from connector.model import Fields, Hint, Kind, Observed, Receipt, Ref, Side, Value, stamp
from connector.store.store import Ledger, Store
from connector.sync.engine import Engine
from connector.sync.guards import GUARDS
from connector.sync.withheld import REASONS

T = TypeVar("T")
Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")


@dataclass
class Learned:
    """What a plan learned of one side, in calls: `start` until the first read, `reads` a read of each stream without news, a
    thorough one and one that is not. And what it was answered: the account, each lookup, each record."""

    account: Account
    start: int
    reads: dict[tuple[str, bool], int] = field(default_factory=dict)
    looked_up: dict[Lookup, list[Observed]] = field(default_factory=dict)
    fetched: dict[Ref, Observed] = field(default_factory=dict)
    asked: int = 0
    calls: int = 0

    def cost(self, questions: int) -> int:
        """Calls that so many lookups and records took, all in all."""
        return max(1, round(questions * self.calls / self.asked)) if questions and self.asked else 0


class Noting:
    """A real adapter whose answers to questions are noted. All else goes through."""

    def __init__(self, real: Adapter, learned: Learned) -> None:
        self._real = real
        self._learned = learned

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        answers = self._noted(len(lookups), lambda: self._real.find(lookups))
        self._learned.looked_up |= dict(zip(lookups, answers, strict=True))
        return answers

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        answers = self._noted(len(refs), lambda: self._real.fetch(refs))
        self._learned.fetched |= dict(zip(refs, answers, strict=True))
        return answers

    def _noted(self, questions: int, ask: Callable[[], T]) -> T:
        before = self._real.usage().calls
        answers = ask()
        self._learned.asked += questions
        self._learned.calls += self._real.usage().calls - before
        return answers


class StandIn:
    """One side of a rehearsal. Reads of records go to the copy of the store; what that does not know is asked for really."""

    def __init__(self, real: Adapter, learned: Learned, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self.system = real.system
        self.side = real.side
        self.calls = 0
        self._real = real
        self._learned = learned
        self._now = now
        self._written: dict[Ref, Observed] = {}
        self._unread: dict[str, dict[Ref, Observed]] = {stream.name: {} for stream in self.capabilities.streams}
        self._ledger = ledger
        self._numbers = count(1)

    @property
    def capabilities(self) -> Capabilities:
        return self._real.capabilities

    def check(self) -> Account:
        return self._learned.account

    def describe(self, object_: str) -> ObjectInfo:
        return self._real.describe(object_)

    def users(self) -> Sequence[User]:
        return self._real.users()

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        """What was written since the last read; how many more pages that takes is in the capabilities."""
        news, self._unread[stream] = self._unread[stream], {}
        objects = Counter(ref.object for ref in news)
        self.calls += self._learned.reads[stream, window.thorough]
        self.calls += sum(n // self.capabilities.page for n in objects.values())
        ordered = sorted(news.values(), key=lambda one: one.kind.rank)
        yield Page(tuple(ordered), watermark=self._now())

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        facts = self._ledger.facts(refs)
        known = {
            ref: Observed(ref, one.kind, one.fields, one.version, life=one.life, parent=one.parent)
            for ref, one in facts.items()
        } | {ref: self._written[ref] for ref in refs if ref in self._written}
        others = [ref for ref in dict.fromkeys(refs) if ref not in known]
        known |= self._answers(others, self._learned.fetched, self._real.fetch)
        return [known[ref] for ref in refs]

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        """What the plan was answered: nobody looks for what was made since, because it is linked."""
        known = self._answers(lookups, self._learned.looked_up, self._real.find)
        return [known[one] for one in lookups]

    def _answers(self, asked: Sequence[Q], noted: dict[Q, A], ask: Callable[[Sequence[Q]], Sequence[A]]) -> dict[Q, A]:
        """Each question with its answer; what the plan did not ask is asked really."""
        new = [one for one in asked if one not in noted]
        if new:
            before = self._real.usage().calls
            noted |= dict(zip(new, ask(new), strict=True))
            self.calls += self._real.usage().calls - before
        self.calls += self._learned.cost(len(asked) - len(new))
        return {one: noted[one] for one in asked}

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        self.calls += self._real.cost(writes)
        return [self._wrote(write) for write in writes]

    def _wrote(self, write: Write) -> Receipt:
        ref = write.target or Ref(self.system, write.object, f"rehearsed{next(self._numbers)}")
        before = self.fetch([ref])[0].fields if write.target else {}
        fields: Fields = {**before, **write.fields, **(dict([write.key]) if write.key else {})}
        if write.target is None:
            # Every system shows the id that it gave.
            fields = {**fields, "Id": ref.id, "id": ref.id}
        self._shows(Observed(ref, write.kind, fields, self._version(), changed_at=self._now(), ours=True))
        return Receipt(ref, created=write.target is None, fields=None if self.side is Side.CRM else fields)

    def send(self, write: Write, token: str) -> Receipt:
        self.calls += 1
        assert write.target is not None
        ref = Ref(self.system, Kind.MESSAGE.value, f"{write.target.id}-rehearsed{next(self._numbers)}")
        fields: dict[str, Value] = {
            "direction": "outbound", "type": "text", "author_type": "agent", "private": False, "deleted": False,
            "sent_at": stamp(self._now()), "text": write.fields.get("text"), "attachments": [], "delivery": "sent",
        }  # fmt: skip
        at, parent = self._now(), write.target
        self._shows(Observed(ref, Kind.MESSAGE, fields, self._version(), at, ours=True, parent=parent, token=token))
        return Receipt(ref, created=True, fields=fields)

    def _shows(self, seen: Observed) -> None:
        self._written[seen.ref] = seen
        for unread in self._unread.values():
            unread[seen.ref] = seen

    def _version(self) -> str:
        return f"rehearsed {next(self._numbers)}"

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        return self._real.probe(write, token, since)

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        self.calls += self._real.cost(writes, removes=True)
        return [Receipt(write.target) for write in writes if write.target]

    def cost(self, writes: Sequence[Write], *, removes: bool = False) -> int:
        return self._real.cost(writes, removes=removes)

    def hints(self, headers: Mapping[str, str], body: bytes) -> list[Hint]:
        return self._real.hints(headers, body)

    def usage(self) -> Usage:
        return Usage(self.calls)

    def allowance(self) -> Usage:
        return self.usage()

    def close(self) -> None:
        """The real adapter is closed by who opened it."""


def rehearse(engine: Engine, store: Store, learned: Mapping[Side, Learned], now: datetime) -> dict[Side, int]:
    """The calls that `Engine.sync` would make to each side from what the store holds now, its start included. Raises
    RemoteError and StoreError."""
    clock = Clock(now)
    with store.rehearsal(engine.name, clock) as ledger:
        ledger.approve(engine.mapping.digest)
        sides = {side: StandIn(adapter, learned[side], ledger, clock) for side, adapter in engine.adapters.items()}
        trial = Engine(
            engine.name,
            ledger,
            sides[Side.PLATFORM],
            sides[Side.CRM],
            engine.mapping,
            clock=clock,
            sleep=clock.sleep,
            # Of a copy without its finished messages every share is too large; the plan itself has been judged.
            allowed=set(GUARDS) - REASONS.keys(),
        )
        trial.sync()
    return {side: learned[side].start + one.calls for side, one in sides.items()}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
