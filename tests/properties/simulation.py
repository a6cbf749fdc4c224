"""Two systems, their people, the network and the connector in virtual time, all drawn from one seed: the same seed does the
same, and `trace` proves it. What must hold is checked from outside, on the histories of both systems.

A step is one thing that happens: a person's deed, a call, a commit of the store, a webhook, a turn of the connector, its death.
"""

import hashlib
import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from databases import Databases, Files
from history import check_history
from memory_world import LATE, START, Clock, Worlds, copy_store, token_maker
from people import DEEDS, N, People
from presence import check_presence
from promises import check, every_written_value_was_typed
from told import Told
from wire import Network

from connector.errors import Refusal, RemoteError
from connector.model import Ref, Side
from connector.service import backfilling
from connector.store.store import Store
from connector.sync.engine import ALLOWED_ONCE, Engine
from connector.sync.guards import GUARDS
from connector.sync.history import HISTORY
from connector.sync.report import Report

EPISODE = 800
"""Steps of one world: long enough for a history, short enough that its lists stay small."""
SKEWS = [timedelta(0), timedelta(0), timedelta(minutes=3), timedelta(minutes=-3)]

SELDOM = (
    "contact_is_deleted",
    "contacts_are_merged",
    "conversation_is_deleted",
    "person_is_deleted",
    "persons_are_merged",
)
"""So that a world is not emptied as fast as it fills."""

UNGUARDED = GUARDS
GUARDED = ("double_replies",)
"""What is allowed for good. People of these worlds say the same thing often, and their replies are to keep their order."""


@dataclass
class Outcome:
    """What happened, by name; `violation` is what must never be."""

    seed: int
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)
    trace: str = ""
    violation: str | None = None


class Simulation:
    def __init__(self, seed: int, databases: Databases) -> None:
        self.rng = random.Random(seed)
        self.out = Outcome(seed)
        self._databases = databases
        self._digest = hashlib.sha256()
        self.clock = Clock(START + timedelta(seconds=self.rng.randint(0, 86_400)))
        self.network = Network(self.rng, self._called)
        self._skew = self.rng.choice(SKEWS)
        self._token = token_maker()
        store = self._opened(databases.create())
        self.worlds = Worlds(
            store,
            "sim",
            self.clock,
            reads_back=self.rng.random() < 0.5,
            marks_sends=self.rng.random() < 0.8,
            page_size=self.rng.choice([2, 3, 10]),
            batch=self.rng.choice([1, 3, 10]),
            wired=self.network.wire,
            allowed=UNGUARDED if self.rng.random() < 0.5 else GUARDED,
            skew=self._skew,
            commits=lambda: self._note("commit"),
        )
        if self._skew:
            self.network.fault("clock of the connector is wrong")
        self.people = People(self.worlds)
        self._hints: list[Ref] = []
        self._told = 0
        self._backups: list[tuple[str, Told]] = []
        self._busy = False
        self._many = self.rng.random() < 0.4
        self._standing: list[Engine] = []
        self._last = self.clock()
        self.worlds.restart()

    def _opened(self, url: str) -> Store:
        return Store.open(url, clock=self._connector_time, token=self._token)

    def _connector_time(self) -> Any:
        return self.clock() + self._skew

    # ---- what happens

    def run(self, steps: int) -> Outcome:
        """Until so many steps have happened; then everybody rests, and what must hold is checked. Raises AssertionError naming
        what is broken."""
        try:
            self.people.new_customer_writes("Ann", "ann@x.example", None, [], "hello", timedelta(0))
            if self.rng.random() < 0.4:
                self._months_pass()
            while self.out.steps < steps:
                self._step()
            self._rest()
        finally:
            self.out.faults += self.network.happened
            self.out.trace = self._digest.hexdigest()
            self.worlds.close()
        return self.out

    def _months_pass(self) -> None:
        """People were at work for long before there was a connector; it takes the last weeks of that, or nothing."""
        self.network.fault("world with a past")
        for _ in range(self.rng.randint(10, 40)):
            self._deed(self.rng.choice(["somebody_writes", "known_customer_opens_a_conversation", *sorted(DEEDS)]))
            self._pass(timedelta(days=self.rng.randint(0, 6)))
        begins = self.clock() - timedelta(days=self.rng.choice([0, 20]))
        self.worlds.ledger.remember(HISTORY, begins.isoformat())
        self.people.told.begins = begins

    def _step(self) -> None:
        self.network.odds = self.rng.choice([0.0, 0.03, 0.15])
        if self._many and self.rng.random() < 0.2:
            self._another_worker()
        draw = self.rng.random()
        if draw < 0.68:
            self._deed()
        elif draw < 0.69:
            self._several_replies()
        elif draw < 0.8:
            self._pass(timedelta(seconds=self.rng.choice([0, 1, 5, 60, 300, 5400])))
        elif draw < 0.805:
            self._night()
        elif draw < 0.84:
            self._webhooks()
        elif draw < 0.95:
            self._turn()
        elif draw < 0.97:
            self._dies()
        elif draw < 0.98:
            self._backup()
        elif draw < 0.983:
            self._restored()
        elif draw < 0.988:
            self._rest()
        else:
            self._syncs()

    def _note(self, what: str) -> None:
        self.out.steps += 1
        self._digest.update(f"{self.clock().isoformat()} {what}\n".encode())

    def _called(self, call: str) -> None:
        """While a call is under way people go on working."""
        self._note(call)
        if self.network.chance(0.5):
            self.network.fault("people work during a call")
            self._deed()

    def _night(self) -> None:
        """Somebody answers, and nobody is there to send it for more than a day."""
        self.network.fault("a night without the connector")
        if self.rng.random() < 0.5:
            self._deed("reply_is_written")
        self._pass(timedelta(hours=26))

    def _deed(self, name: str | None = None, **given: Any) -> None:
        name = name or self.rng.choice(sorted(DEEDS))
        if self._busy and name == "hold_is_settled":
            return
        drawn = {key: self.rng.choice(values) for key, values in DEEDS[name].items()} | given
        if name in SELDOM and self.rng.random() < 0.6:
            return
        self._note(f"{name} {drawn}")
        if self.clock() == self._last:
            self.network.fault("two deeds at one time")
        self._last = self.clock()
        self.out.deeds[name] += 1
        getattr(self.people, name)(**drawn)
        self._announce()

    def _several_replies(self) -> None:
        """Somebody answers in several short messages, one after the other."""
        self.network.fault("several replies in a row")
        conversation = self.rng.choice(N)
        for _ in range(self.rng.choice([2, 3])):
            self._deed("reply_is_written", n=conversation)
            self._pass(timedelta(seconds=self.rng.randint(1, 5)))

    def _announce(self) -> None:
        """The platform tells of its changes: some are lost, some come twice, and in any order."""
        fresh = list(self.worlds.platform.records)[self._told :]
        self._told = len(self.worlds.platform.records)
        for ref in fresh:
            fate = self.rng.random()
            if fate < 0.3:
                self.network.fault("webhook lost")
                continue
            self._hints.append(ref)
            if fate < 0.4:
                self.network.fault("webhook twice")
                self._hints.append(ref)
        if self.rng.random() < 0.3:
            self.network.fault("webhooks out of order")
            self.rng.shuffle(self._hints)

    def _pass(self, time: timedelta) -> None:
        self._note("time passes")
        self.clock.sleep(time.total_seconds())

    # ---- the connector at work, as its daemon works

    def _webhooks(self) -> None:
        hints, self._hints = self._hints[:10], self._hints[10:]
        if hints:
            self._note(f"webhooks {hints}")
            self._work(lambda engine: engine.look_at(list(dict.fromkeys(hints)), Side.PLATFORM), turn=True)

    def _turn(self) -> None:
        """What is due, and a piece of the past where somebody has asked for it."""
        self._note("turn")
        self._work(lambda engine: None, turn=True)
        self._work(self._piece, turn=False)

    def _piece(self, engine: Engine) -> None:
        if backfilling.piece(engine, self._connector_time):
            self.network.fault("piece of the past")

    def _syncs(self) -> None:
        self._note("sync")
        self._work(lambda engine: engine.sync(), turn=False)

    def _work(self, work: Any, *, turn: bool) -> None:
        """People may settle holds between two turns, not while the connector plans: the ledger refuses that."""
        engine = self.worlds.engine
        self._busy = True
        try:
            work(engine)
            if turn:
                self._round(engine)
        except RemoteError:
            self.network.fault("turn cut short")
        except Refusal:
            self.network.fault("turn refused by a guard")
            if self.rng.random() < 0.5:
                self.worlds.ledger.remember(ALLOWED_ONCE, GUARDS)
        finally:
            self._busy = False

    def _another_worker(self) -> None:
        """One of three workers on the same store takes the next turn. It remembers what it saw in turns of its own, and
        nothing of the others'."""
        self._note("another worker")
        self.network.fault("another worker's turn")
        if len(self._standing) < 2:
            self._standing.append(self.worlds.new_engine())
        at = self.rng.randrange(len(self._standing))
        self.worlds.engine, self._standing[at] = self._standing[at], self.worlds.engine

    def _round(self, engine: Engine) -> None:
        engine.begin()
        streams = [(side, stream.name) for side, stream in engine.streams() if self.rng.random() < 0.7]
        report = Report()
        moved = bool(engine.round(streams, report)) or not streams
        if moved:
            engine.write_on(report)
        if engine.withheld.refusals():
            self.network.fault("write held back")

    def _dies(self) -> None:
        self._note("death")
        self.network.fault("process killed")

        def work(engine: Engine) -> None:
            self._work(self.rng.choice([Engine.sync, self._piece]), turn=False)

        self.worlds.sync_killed(self.rng.randint(1, 60), work)

    def _backup(self) -> None:
        self._note("backup")
        self.worlds.close()
        self._backups.append((copy_store(self.worlds.store, self._databases), deepcopy(self.people.told)))

    def _restored(self) -> None:
        """The store is lost; an older copy takes its place, which takes longer than a sent message may stay invisible."""
        if not self._backups or not self.worlds.marks_sends:
            return
        self._note("restore")
        self.network.fault("older store restored")
        backup, told = self.rng.choice(self._backups)
        self.clock.sleep(LATE.total_seconds() + 60)
        self.worlds.restored = True
        self._standing.clear()
        self.worlds.restart(self._databases.create(backup))
        self.people.forgotten(told)

    def _rest(self) -> None:
        """Faults and people rest, the connector works until it is quiet, and the histories are judged."""
        self._note("rest")
        self.network.odds = 0.0
        with self._everything_allowed():
            self._judged()

    @contextmanager
    def _everything_allowed(self) -> Iterator[None]:
        """Somebody has looked at what was held back, and lets it go."""
        allowed = self.worlds.allowed
        if allowed == UNGUARDED:
            yield
            return
        self.worlds.allowed = UNGUARDED
        self.worlds.restart()
        yield
        self.worlds.allowed = allowed
        self.worlds.restart()

    def _judged(self) -> None:
        while backfilling.is_due(self.worlds.ledger):
            self._piece(self.worlds.engine)
        if not self.people.told.paused:
            self.people.told.came_to_its_end()
        self.worlds.quiet()
        check(self.worlds)
        every_written_value_was_typed(self.worlds, self.people.typed)
        self.people.lone_edits_stand()
        check_history(self.worlds)
        check_presence(self.worlds, self.people.told)
        self.people.agreed_now()


def simulate(seed: int, steps: int, databases: Databases) -> Outcome:
    """One world of so many steps, whose store and backups lie in these databases."""
    simulation = Simulation(seed, databases)
    try:
        simulation.run(steps)
    except Exception as error:  # whatever breaks is a finding; it is told with the seed that finds it again
        place = traceback.extract_tb(error.__traceback__)[-1]
        simulation.out.violation = (
            f"{type(error).__name__}: {error} (seed {seed}, step {simulation.out.steps} of {steps}, "
            f"{Path(place.filename).name}:{place.lineno})"
        )
    return simulation.out


if __name__ == "__main__":
    found = simulate(int(sys.argv[1]), int(sys.argv[2]), Files(Path(sys.argv[3])))
    print(found.violation or found.trace)
