"""When nothing new is begun any more: our share, everybody's allowance, and the lower ceiling of a backfill."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.service.budget import BACKFILL, LIVE, LOOK_AGAIN, Budget, budget_data, pause

NOW = datetime(2026, 3, 1, 21, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("budget", "live", "backfill"),
    [
        pytest.param(Budget(10_000, None, None, 0.5), None, None, id="a CRM that tells no limit stops nothing"),
        pytest.param(Budget(0, 0, 1000, 0.5), None, None, id="a new day"),
        pytest.param(Budget(249, 300, 1000, 0.5), None, None, id="below half of our share"),
        pytest.param(Budget(250, 300, 1000, 0.5), None, "share_spent", id="half of our share stops the backfill alone"),
        pytest.param(Budget(499, 600, 1000, 0.5), None, "share_spent", id="the last call of our share is live"),
        pytest.param(Budget(500, 600, 1000, 0.5), "share_spent", "share_spent", id="our share is used up"),
        pytest.param(Budget(10, 799, 1000, 0.5), None, None, id="others leave a fifth"),
        pytest.param(Budget(10, 800, 1000, 0.5), None, "allowance_spent", id="others leave less than a fifth"),
        pytest.param(Budget(10, 950, 1000, 0.5), "allowance_spent", "allowance_spent", id="others leave a twentieth"),
        pytest.param(Budget(10, None, 1000, 0.5), None, None, id="the CRM did not tell what others use"),
    ],
)
def test_work_pauses_at_its_ceiling(budget, live, backfill):
    found = [pause(budget, ceiling, NOW) for ceiling in (LIVE, BACKFILL)]
    assert [one and one.code for one in found] == [live, backfill]
    assert [one is None for one in found] == [budget.left(ceiling) != 0 for ceiling in (LIVE, BACKFILL)]


def test_a_pause_tells_when_it_goes_on():
    assert pause(Budget(10, 960, 1000, 0.5), LIVE, NOW).until == NOW + LOOK_AGAIN
    eight, nine = NOW.replace(hour=8, minute=0), NOW.replace(hour=9, minute=0)
    hours = ((eight, 30), (nine, 470))
    assert pause(Budget(500, 600, 1000, 0.5, hours), LIVE, NOW).until == eight + timedelta(days=1) + HOUR
    assert pause(Budget(500, 600, 1000, 0.5, hours), BACKFILL, NOW).until == nine + timedelta(days=1) + HOUR
    assert pause(Budget(1200, 980, 1000, 0.5, hours), LIVE, NOW).until == NOW + timedelta(days=1)


def test_the_figures_add_up():
    told = budget_data(Budget(120, 400, 1000, 0.5))
    assert told == {"allowance": 1000, "others": 280, "ours": 120, "share": 500, "left": 380}
    assert budget_data(Budget(7, None, None, 0.5)) == dict.fromkeys(told) | {"ours": 7}


budgets = st.builds(Budget, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.floats(0.01, 1))


@given(budgets, st.integers(0, 1000), st.sampled_from([LIVE, BACKFILL]))
def test_using_more_calls_never_leaves_more(budget, more, ceiling):
    later = Budget(budget.ours + more, budget.used + more, budget.allowance, budget.share)
    assert 0 <= later.left(ceiling) <= budget.left(ceiling)


@given(budgets)
def test_a_backfill_always_stops_before_live_traffic_does(budget):
    assert budget.left(BACKFILL) <= budget.left(LIVE)
    assert pause(budget, BACKFILL, NOW) or not pause(budget, LIVE, NOW)


@given(budgets)
def test_whatever_is_left_can_be_spent_and_no_more(budget):
    left = budget.left(LIVE)
    spent = Budget(budget.ours + left, budget.used + left, budget.allowance, budget.share)
    assert pause(spent, LIVE, NOW)
    assert timedelta(0) < pause(spent, LIVE, NOW).until - NOW <= timedelta(days=1)
