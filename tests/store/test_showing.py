"""What people ask: accounts, explanations, problems, runs, usage."""

from datetime import UTC, date, datetime, timedelta

import pytest

from connector.errors import StoreError
from connector.model import Decision, HoldType, IntentState, Kind, Outcome, Side, State
from connector.store.entries import Balance, Counts, DecisionRow, Entries, NewHold, Run


def test_every_message_seen_is_in_exactly_one_state(ledger, make):
    ledger.record(
        [
            make.message(1),
            make.message(2, state=State.FILTERED, reason="rule spam"),
            make.message(3, state=State.FILTERED, reason="rule spam"),
            make.message(4, state=State.FILTERED, reason="rule old"),
            make.message(5, state=State.SYNCED),
            make.fact(Kind.PERSON, 6),
            make.fact(Kind.MESSAGE, 7, side=Side.CRM),
        ]
    )
    account = ledger.account()
    assert account == Balance(
        {State.OPEN: 1, State.SYNCED: 1, State.FILTERED: 3, State.HELD: 0, State.ERASED: 0},
        {
            (State.OPEN, None): 1,
            (State.SYNCED, None): 1,
            (State.FILTERED, "rule spam"): 2,
            (State.FILTERED, "rule old"): 1,
        },
    )
    assert ledger.seen() == account.seen == 5
    assert ledger.states() == account.states
    assert not account.balanced


def test_an_empty_connection_shows_zeros(ledger):
    assert ledger.account() == Balance(dict.fromkeys(State, 0), {})
    assert ledger.account().balanced
    assert ledger.states() == dict.fromkeys(State, 0)
    assert ledger.seen() == ledger.count_dirty() == 0
    assert ledger.counts() == Counts({}, {})
    assert ledger.problems() == ledger.last_runs(5) == ledger.conflicts(5) == []


def row(make, n: int, *, conflict: bool = False) -> DecisionRow:
    decision = Decision("email", Outcome.KEEP, "crm", f"reason {n}", {"n": n}, None, conflict)
    return DecisionRow(Kind.PERSON, make.platform(Kind.PERSON, n), make.crm(n, "Contact"), decision, make.crm("s"))


def test_decisions_are_found_by_either_record_and_by_their_source(ledger, make, clock):
    made = [row(make, 1), row(make, 2)]
    ledger.journal(Entries(decisions=made))
    for ref, expected in [(made[0].platform, made[:1]), (made[1].crm, made[1:]), (make.crm("s"), made)]:
        found = ledger.decisions_for(ref)
        assert [one.row for one in found] == expected
        assert {one.decided_at for one in found} == {clock()}
    assert ledger.decisions_for(make.crm("other")) == []


def test_conflicts_come_newest_first(ledger, make):
    ledger.journal(Entries(decisions=[row(make, n, conflict=n != 2) for n in range(5)]))
    assert [one.row.decision.value for one in ledger.conflicts(3)] == [{"n": 4}, {"n": 3}, {"n": 1}]


def test_intents_are_found_by_all_the_records_they_touch(ledger, make, sending):
    source, subject, target = make.crm("s"), make.platform(Kind.PERSON, 1), make.crm("t")
    (intent,) = sending(make.action("a", source=source, subject=subject, target=target))
    ledger.settle([make.settlement(intent, "made")])
    for ref in (source, subject, target, make.crm("made")):
        assert [found.id for found in ledger.intents_for(ref)] == [intent.id]
    assert ledger.intents_for(make.crm("other")) == []


def test_a_problem_seen_again_counts_up_and_keeps_its_first_time(ledger, clock):
    first = clock()
    ledger.problem("salesforce", "auth", "The token is refused.", "Connect again.")
    clock.pass_(hours=1)
    ledger.problem("salesforce", "auth", "The token is refused again.", "Connect again.")
    (problem,) = ledger.problems()
    assert (problem.count, problem.first_seen, problem.last_seen) == (2, first, clock())
    assert problem.message == "The token is refused again."


def test_problems_are_shown_latest_first_until_they_are_solved(ledger, clock):
    ledger.problem("a", "1", "m", "w")
    ledger.problem("a", "2", "m", "w")
    clock.pass_(hours=1)
    ledger.problem("b", "1", "m", "w")
    assert [(one.scope, one.code) for one in ledger.problems()] == [("b", "1"), ("a", "1"), ("a", "2")]
    ledger.solved("a")
    assert [one.scope for one in ledger.problems()] == ["b"]
    ledger.solved("never seen")


def test_text_that_no_database_can_hold_is_shown_with_marks(ledger):
    ledger.problem("a", "1", "half a \ud83d smile, a nul \x00, a whole \U0001f600", "w")
    (problem,) = ledger.problems()
    assert problem.message == "half a \ufffd smile, a nul \ufffd, a whole \U0001f600"


def test_runs_are_listed_newest_first_a_killed_one_without_end(ledger, clock):
    began = clock()
    killed = ledger.begin_run("tick")
    clock.pass_(minutes=1)
    done = ledger.begin_run("backfill")
    clock.pass_(minutes=1)
    ledger.end_run(done, {"seen": 3, "by": {"crm": 1}})
    assert ledger.last_runs(5) == [
        Run(done, "backfill", ledger.last_runs(1)[0].started_at, clock(), {"seen": 3, "by": {"crm": 1}}),
        Run(killed, "tick", began, None, None),
    ]
    assert [run.id for run in ledger.last_runs(1)] == [done]


def test_a_run_ends_once(ledger):
    run = ledger.begin_run("tick")
    ledger.end_run(run, {})
    with pytest.raises(StoreError, match="not under way"):
        ledger.end_run(run, {"other": 1})
    assert ledger.last_runs(1)[0].summary == {}


def test_usage_adds_up_by_day_and_system(ledger):
    day = datetime(2026, 1, 2, tzinfo=UTC)
    for hour, calls in ((0, 3), (0, 4), (23, 5)):
        ledger.usage_add(day + timedelta(hours=hour), "salesforce", calls)
    ledger.usage_add(day, "chatwoot", 1)
    ledger.usage_add(day + timedelta(days=1), "salesforce", 9)
    assert ledger.usage(date(2026, 1, 2)) == {"salesforce": 12, "chatwoot": 1}
    assert ledger.usage(date(2026, 1, 4)) == {}


def test_calls_of_long_ago_are_forgotten(ledger):
    day = datetime(2026, 1, 2, tzinfo=UTC)
    for at in (day, day + timedelta(days=1), day + timedelta(days=8)):
        ledger.usage_add(at, "salesforce", 1)
    assert ledger.account_calls(day, "salesforce") == {day + timedelta(days=1): 1, day + timedelta(days=8): 1}


@pytest.mark.parametrize("value", [{"a": [1, None]}, [], "text", 0, False, None])
def test_small_values_are_remembered(ledger, value):
    ledger.remember("key", "before")
    ledger.remember("key", value)
    assert ledger.recall("key") == value


def test_what_was_never_remembered_is_none(ledger):
    assert ledger.recall("key") is None


def test_counts_tell_intents_and_open_holds_by_what_they_are(ledger, make, sending, planned):
    persons = [make.platform(Kind.PERSON, n) for n in (1, 2)]
    ledger.journal(Entries(holds=[NewHold(HoldType.IDENTITY, person, "Who?", {}) for person in persons]))
    ledger.journal(Entries(closed_holds=[(ledger.open_holds()[0].id, "skip", "jo", "")]))
    sending(make.action("a"))
    planned(make.action("b"), make.action("c"))
    assert ledger.counts() == Counts({IntentState.SENDING: 1, IntentState.READY: 2}, {HoldType.IDENTITY: 1})
