"""A call of which only some rows were written: what becomes of the others, and who is told."""

from typing import Any

import pytest
from memory_world import LATE, Clock, Worlds
from scenarios import known

from connector.adapters.base import Write
from connector.adapters.memory import Fault
from connector.errors import AllowanceSpent, AuthError, Rejected, RemoteError, Transient, Unreadable
from connector.model import IntentState, Kind, Side
from connector.store.store import Store
from connector.sync.report import Report


class Refusing:
    """An adapter that does not write the last row of each call with several ones, while `error` is set. `silent`: it has no answer
    to the next question."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self.error: RemoteError | None = None
        self.silent = False
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def upsert(self, writes: list[Write]) -> Any:
        self.calls += 1
        if self.error is None or len(writes) < 2:
            return self._adapter.upsert(writes)
        return [*self._adapter.upsert(writes[:-1]), self.error]

    def fetch(self, refs: Any) -> Any:
        if self.silent:
            self.silent = False
            raise Transient("crm", "502", "it is restarting")
        return self._adapter.fetch(refs)


def office(store: Store, clock: Clock, name: str) -> tuple[Worlds, Refusing]:
    made: list[Refusing] = []

    def wired(adapter: Any) -> Any:
        made.append(Refusing(adapter))
        return made[-1]

    return Worlds(store, f"refused rows {name}", clock, wired=wired), made[1]


def decided(worlds: Worlds) -> None:
    """One round without waiting for what becomes due later."""
    worlds.engine.begin()
    worlds.engine.observe([(side, stream.name) for side, stream in worlds.engine.streams()])
    worlds.engine.decide()


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        pytest.param(AuthError("crm", "401", "not allowed", "Give the user the right."), 8, id="a right is missing"),
        pytest.param(Unreadable("crm", "shape", "no such answer"), 8, id="its answer is not what the API documents"),
        pytest.param(AllowanceSpent("crm", "STORAGE", "full", "Free space."), 5, id="the storage is full"),
    ],
)
def test_what_only_a_person_can_mend_is_told_though_it_met_one_row(
    store: Store, clock: Clock, error: RemoteError, calls: int
) -> None:
    worlds, crm = office(store, clock, error.code)
    write = known(worlds)
    write(20)
    crm.error, crm.calls = error, 0
    decided(worlds)
    assert [(one.scope, one.code, one.way_out) for one in worlds.ledger.problems()] == [
        ("writing crm", error.code, error.way_out)
    ]
    # The conversation, and twenty messages in seven calls. Where no call helps, the one that is on its way already is the last, here
    # and when all that is left is sent at the end.
    assert crm.calls == calls
    crm.error = None
    clock.sleep(3600)
    worlds.engine.sync()
    assert worlds.ledger.problems() == []
    assert len(worlds.live(Side.CRM, "Task")) == 21


def test_rows_that_landed_are_settled_though_nobody_answers_what_became_of_another(store: Store, clock: Clock) -> None:
    worlds, crm = office(store, clock, "unanswered")
    write = known(worlds)
    write(3)
    crm.error, crm.silent = Rejected("crm", "no", "not this one"), True
    decided(worlds)
    intents = [one for page in worlds.ledger.all_intents() for one, _ in page if one.action.kind is Kind.MESSAGE]
    assert [one.state for one in intents] == [*[IntentState.DONE] * 3, IntentState.READY]


def test_a_write_without_an_answer_stays_a_problem_until_it_is_looked_at(store: Store, clock: Clock) -> None:
    worlds, _ = office(store, clock, "in doubt")
    write = known(worlds)
    write(1)
    worlds.crm.fail("upsert", Fault.LOST_ANSWER, Fault.LOST_ANSWER)
    decided(worlds)
    for seconds, problems in ((1, ["writing crm"]), (LATE.total_seconds(), [])):
        clock.sleep(seconds)
        worlds.engine.round([], Report())
        assert [one.scope for one in worlds.ledger.problems()] == problems
