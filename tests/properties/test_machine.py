"""Customers, agents and CRM users at work in any order, with lost calls, kills and late commits in between: the promises
hold once it is quiet. The real engine, outbox and store, over two systems in memory."""

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from memory_world import Clock, Worlds
from people import AT_ONCE, DEEDS, EMAILS, TEXTS, People
from promises import check, every_written_value_was_typed

from connector.adapters.memory import Fault
from connector.model import Side
from connector.store.store import Store

RUNS = itertools.count()
READS = ["pull", "fetch", "find"]
WRITES = ["upsert", "upsert", "send"]


class TwoSides(RuleBasedStateMachine):
    """The deeds of people are added below."""

    store: Store
    clock: Clock

    @initialize(reads_back=st.booleans(), marks_sends=st.sampled_from([True, True, False]), late_writes=st.booleans())
    def begin(self, reads_back: bool, marks_sends: bool, late_writes: bool) -> None:
        self.worlds = Worlds(
            self.store,
            f"run{next(RUNS)}",
            self.clock,
            reads_back=reads_back,
            marks_sends=marks_sends,
            late_writes=late_writes,
        )
        self.people = People(self.worlds)
        self.people.new_customer_writes("Ann", EMAILS[0], None, [], TEXTS[0], AT_ONCE)
        self.worlds.engine.sync()

    # ---- the connector and its bad days

    @rule(
        side=st.sampled_from(list(Side)),
        method=st.sampled_from(READS + WRITES),
        faults=st.lists(st.sampled_from([None, *Fault]), min_size=1, max_size=3),
    )
    def calls_will_fail(self, side: Side, method: str, faults: list[Fault | None]) -> None:
        self.worlds.system(side).fail(method, *faults)

    @rule(_=st.sampled_from([0]))
    def connector_syncs_again(self, _: int) -> None:
        self.worlds.engine.sync()

    @rule()
    def connector_syncs(self) -> None:
        self.worlds.engine.sync()

    @rule(at=st.integers(1, 40))
    def connector_is_killed(self, at: int) -> None:
        self.worlds.sync_killed(at)

    @rule(minutes=st.sampled_from([0.1, 2, 90]))
    def time_passes(self, minutes: float) -> None:
        self.clock.sleep(60 * minutes)

    @precondition(lambda self: bool(self.worlds.platform.records))
    @rule()
    def everything_comes_to_rest(self) -> None:
        self.worlds.quiet()
        check(self.worlds)
        every_written_value_was_typed(self.worlds, self.people.typed)
        self.people.lone_edits_stand()
        self.people.agreed_now()

    def teardown(self) -> None:
        if hasattr(self, "worlds"):
            self.everything_comes_to_rest()
            self.worlds.close()


def deed(name: str) -> Callable[..., None]:
    def done(self: TwoSides, **drawn: Any) -> None:
        getattr(self.people, name)(**drawn)

    done.__name__ = name
    return done


for _name, _drawn in DEEDS.items():
    setattr(TwoSides, _name, rule(**{key: st.sampled_from(values) for key, values in _drawn.items()})(deed(_name)))


def test_promises_hold_whatever_people_and_networks_do(store: Store, clock: Clock, budget: settings) -> None:
    run_state_machine_as_test(type("Run", (TwoSides,), {"store": store, "clock": clock}), settings=budget)
