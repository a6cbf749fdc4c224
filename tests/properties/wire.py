"""The network between the connector and a system on its bad days, and what people do meanwhile. Drawn from one random source,
so that the same seed does the same."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from memory_world import LATE

from connector.adapters.base import Page, Window, Write
from connector.errors import AuthError, RemoteError, Transient, Unreadable
from connector.model import Receipt

READS = ("fetch", "find", "probe", "check", "describe", "users")


class Network:
    """`odds` is the chance that a call goes wrong; 0 is a good day. `happens` is told of each call and lets people act."""

    def __init__(self, rng: random.Random, happens: Callable[[str], None]) -> None:
        self.odds = 0.0
        self.happened: Counter[str] = Counter()
        self._rng = rng
        self._happens = happens

    def wire(self, adapter: Any) -> "Wire":
        return Wire(adapter, self)

    def chance(self, share: float = 1.0) -> bool:
        return self._rng.random() < self.odds * share

    def fault(self, name: str) -> None:
        self.happened[name] += 1

    def call(self, system: str, method: str) -> None:
        self._happens(f"{system} {method}")

    def seconds(self, most: timedelta) -> timedelta:
        """Whole seconds, so that equal times are common."""
        return timedelta(seconds=self._rng.randint(0, int(most.total_seconds())))

    def pick(self, *names: str) -> str:
        return self._rng.choice(names)

    def before(self, system: str, *, writes: bool) -> None:
        """What can go wrong before the system has done anything. `certain` is what a client can know of it."""
        if not self.chance():
            return
        kind = self.pick("unreachable", "429", "429 with Retry-After", "request lost", "login refused")
        self.fault(kind)
        match kind:
            case "unreachable":
                raise Transient(system, "UNREACHABLE", "no connection")
            case "429":
                raise Transient(system, "429", "too many calls")
            case "429 with Retry-After":
                raise Transient(system, "429", "too many calls", retry_after=float(self._rng.choice([1, 30, 300])))
            case "login refused":
                raise AuthError(system, "401", "the token is over", "Log in again.")
            case _:
                raise Transient(system, "TIMEOUT", "no answer", certain=not writes)

    def after(self, system: str, *, writes: bool) -> None:
        """What can go wrong with the answer."""
        if not self.chance():
            return
        kind = self.pick("answer lost", "HTML page", "cut JSON", "500")
        self.fault(kind)
        if kind == "answer lost":
            raise Transient(system, "TIMEOUT", "no answer", certain=not writes)
        if kind == "500":
            raise Transient(system, "500", "internal error", certain=not writes)
        raise Unreadable(system, kind, "the answer is not what is documented", certain=not writes)


class Wire:
    """An adapter at the end of the network."""

    def __init__(self, adapter: Any, network: Network) -> None:
        self._adapter, self._network = adapter, network

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        if name not in READS:
            return found

        def read(*args: Any) -> Any:
            return self._call(name, lambda: found(*args), writes=False)

        return read

    def _call(self, method: str, effect: Callable[[], Any], *, writes: bool) -> Any:
        system = self._adapter.system
        self._network.call(system, method)
        self._network.before(system, writes=writes)
        answer = effect()
        self._network.after(system, writes=writes)
        return answer

    def pull(self, stream: str, window: Window) -> Iterator[Page]:
        """Pages, some of them twice; the token may be over in the middle; people change the list while it is read."""
        system = self._adapter.system
        self._network.call(system, "pull")
        self._network.before(system, writes=False)
        for page in self._adapter.pull(stream, window):
            yield page
            if page.resume is None:
                return
            self._network.call(system, "pull, next page")
            if self._network.chance():
                self._network.fault("page twice")
                yield page
            if self._network.chance():
                self._network.fault("token over in mid-page")
                raise AuthError(system, "401", "the token is over", "Log in again.")
            self._network.after(system, writes=False)

    def upsert(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        return self._call("upsert", lambda: self._rows(self._adapter.upsert, writes), writes=True)

    def remove(self, writes: Sequence[Write]) -> list[Receipt | RemoteError]:
        return self._call("remove", lambda: self._rows(self._adapter.remove, writes), writes=True)

    def send(self, write: Write, token: str) -> Receipt:
        self._commit_late()
        return self._call("send", lambda: self._adapter.send(write, token), writes=True)

    def _rows(self, method: Callable[[Sequence[Write]], list[Receipt | RemoteError]], writes: Sequence[Write]) -> list:
        """Some rows of a batch may not get through: their record is locked."""
        self._commit_late()
        locked = {number for number in range(len(writes)) if self._network.chance(0.5)}
        results = iter(method([one for number, one in enumerate(writes) if number not in locked]))
        answer: list[Receipt | RemoteError] = []
        for number in range(len(writes)):
            if number in locked:
                self._network.fault("row locked")
                answer.append(Transient(self._adapter.system, "LOCKED", "another transaction has the row"))
            else:
                answer.append(next(results))
        return answer

    def _commit_late(self) -> None:
        late = self._network.chance(2.0)
        if late:
            self._network.fault("late commit")
        self._adapter.world.commits_late_by = self._network.seconds(LATE) if late else timedelta(0)
