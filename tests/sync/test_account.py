"""The account as people read it: lines that add up, and reasons without the records they name."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import State
from connector.store.entries import Share
from connector.sync.account import UNKNOWN, account, rule_of, states_shown


def share(inbox="Instagram", day="2026-01-01", reason="written to the CRM", seen=None, **states):
    counts = dict.fromkeys(State, 0) | {State(name): count for name, count in states.items()}
    return Share(inbox, day, reason, sum(states.values()) if seen is None else seen, counts)


shares = st.builds(
    lambda inbox, day, reason, counts: share(
        inbox, day, reason, **{state.value: n for state, n in zip(State, counts, strict=True)}
    ),
    st.sampled_from(["Instagram", "WhatsApp", None]),
    st.sampled_from(["2026-01-01", "2026-01-02", None]),
    st.sampled_from(["spam", "identity of chatwoot:person:1", "identity of chatwoot:person:2", None]),
    st.tuples(*[st.integers(0, 9)] * len(State)),
)


@given(st.lists(shares, max_size=30))
def test_the_states_of_every_line_add_up_to_what_was_seen_however_it_is_told(parts):
    told = account(parts)
    lines = [told.total, *told.by_inbox(), *told.by_day()]
    assert all(sum(states_shown(line)) == line.seen for line in lines)
    seen = sum(one.seen for one in parts)
    assert told.total.seen == seen
    assert sum(line.seen for line in told.by_inbox()) == sum(line.seen for line in told.by_day()) == seen
    assert sum(count for *_, count in told.by_rule()) == seen
    assert told.finding().violations == 0


def test_a_line_that_does_not_add_up_breaks_the_promise():
    found = account([share(synced=1), share(day="2026-01-02", seen=3, synced=1, held=1)]).finding()
    assert (found.checked, found.violations) == (2, 1)
    assert found.first == ["Instagram on 2026-01-02: 3 seen, but 1 synced + 1 held"]


def test_lines_stand_by_name_days_by_the_latest_rules_by_the_largest():
    told = account(
        [
            share("B", "2026-01-01", synced=1),
            share("A", "2026-01-02", "rare", filtered=1),
            share("A", "2026-01-01", "spam", filtered=5),
            share(None, None, None, open=2),
        ]
    )
    assert [line.inbox for line in told.by_inbox()] == ["A", "B", UNKNOWN]
    assert [(line.day, line.inbox) for line in told.by_day()][1:] == [
        ("2026-01-02", "A"),
        ("2026-01-01", "B"),
        ("2026-01-01", "A"),
    ]
    assert told.by_rule() == [
        ("A", State.FILTERED, "spam", 5),
        ("A", State.FILTERED, "rare", 1),
        ("B", State.SYNCED, "written to the CRM", 1),
        (UNKNOWN, State.OPEN, "", 2),
    ]


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        (None, ""),
        ("private notes stay out", "private notes stay out"),
        ("identity of chatwoot:person:17", "identity of person"),
        ("salesforce:Task:00T5g0000000001EAA was deleted in the CRM", "Task was deleted in the CRM"),
        ("salesforce:Task:00T5g0000000001EAA: deleted in the CRM", "Task: deleted in the CRM"),
        ("odoo:mail.message:42: gone in the CRM", "mail.message: gone in the CRM"),
        ("chatwoot:identity:instagram:178 was given up. kim decided: no", "identity was given up. kim decided: no"),
        ("hold 12: Which CRM record is Ann Lee?", "waits for an open hold"),
        ("hold 3: two\nlines", "waits for an open hold"),
        ("kim decided: she called", "kim decided: she called"),
        ("refused: FIELD_INTEGRITY", "refused: FIELD_INTEGRITY"),
        ("no value for LastName, Company", "no value for LastName, Company"),
    ],
)
def test_a_reason_is_told_without_the_record_that_it_names(reason, rule):
    assert rule_of(reason) == rule


def test_a_thousand_persons_held_for_one_reason_are_one_line():
    told = account([share(reason=f"identity of chatwoot:person:{n}", held=1) for n in range(1000)])
    assert told.by_rule() == [("Instagram", State.HELD, "identity of person", 1000)]
    assert told.total.states == Counter({State.HELD: 1000})
