"""The account by inbox, day and reason, as the database adds it up; and what a store of the first schema becomes."""

import json
from collections import Counter

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

import connector.store.migrations
from connector.model import Kind, Ref, Side, State
from connector.store.database import connect, transaction
from connector.store.entries import Share
from connector.store.store import Store

HALF = "half a \ud83d smile, a nul \x00"


def thread(make, id_, inbox=None, **changed):
    return make.fact(Kind.CONVERSATION, id_, fields={"inbox": inbox} if inbox else {}, **changed)


def message(make, id_, conversation=1, at="2026-01-01T23:59:59Z", **changed):
    fields = {"sent_at": at} if at else {}
    return make.fact(
        Kind.MESSAGE, id_, fields=fields, parent=make.platform(Kind.CONVERSATION, conversation), version="v", **changed
    )


def share(inbox, day, reason, **states):
    counts = dict.fromkeys(State, 0) | {State(name): count for name, count in states.items()}
    return Share(inbox, day, reason, sum(states.values()), counts)


def told(ledger):
    return sorted(ledger.shares(), key=lambda one: (one.inbox or "", one.day or "", one.reason or ""))


def test_messages_are_counted_by_the_inbox_of_their_conversation_their_day_and_their_reason(ledger, make):
    ledger.record(
        [
            thread(make, 1, "Instagram"),
            thread(make, 2, "WhatsApp"),
            thread(make, 3),
            message(make, 1, state=State.SYNCED, reason="written"),
            message(make, 2, state=State.FILTERED, reason="spam"),
            message(make, 3, state=State.HELD, reason="spam"),
            message(make, 4, at="2026-01-02T00:00:00Z", state=State.SYNCED, reason="written"),
            message(make, 5, 2),
            message(make, 6, 3, at=None, state=State.ERASED, reason="gone"),
            message(make, 7, 99, state=State.SYNCED, reason="written"),
            make.fact(Kind.MESSAGE, 8, side=Side.CRM),
        ]
    )
    assert told(ledger) == [
        share(None, None, "gone", erased=1),
        share(None, "2026-01-01", "written", synced=1),
        share("Instagram", "2026-01-01", "spam", filtered=1, held=1),
        share("Instagram", "2026-01-01", "written", synced=1),
        share("Instagram", "2026-01-02", "written", synced=1),
        share("WhatsApp", "2026-01-01", None, open=1),
    ]


def test_an_inbox_that_is_renamed_takes_its_messages_with_it(ledger, make):
    ledger.record([thread(make, 1, "Old"), message(make, 1, state=State.SYNCED, reason="r")])
    ledger.record([thread(make, 1, "New")])
    assert [one.inbox for one in ledger.shares()] == ["New"]


def test_another_connection_s_conversations_and_messages_are_not_counted(store, make):
    store.at("other").record([thread(make, 1, "Theirs"), message(make, 2)])
    ledger = store.at("main")
    ledger.record([message(make, 1)])
    assert told(ledger) == [share(None, "2026-01-01", None, open=1)]


def test_an_empty_connection_has_no_share(ledger):
    assert list(ledger.shares()) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(State), st.sampled_from(["a", "b", None]), st.integers(0, 3), st.sampled_from(["01", "02"])
        ),
        max_size=40,
    )
)
def test_the_states_of_every_row_add_up_to_what_was_seen(ledger, make, drawn):
    ledger.record([thread(make, n, f"Inbox {n % 2}") for n in range(3)])
    with ledger._writing() as db:
        db.execute(text("DELETE FROM facts WHERE kind = 'message'"))
    ledger.record(
        [
            message(make, n, conversation, f"2026-01-{day}T10:00:00Z", state=state, reason=reason)
            for n, (state, reason, conversation, day) in enumerate(drawn)
        ]
    )
    shares = list(ledger.shares())
    assert all(one.seen == sum(one.states.values()) for one in shares)
    assert sum(one.seen for one in shares) == ledger.seen() == len(drawn)
    by_state = Counter(state for state, *_ in drawn)
    assert {state: sum(one.states[state] for one in shares) for state in State} == {s: by_state[s] for s in State}


def test_a_message_that_lost_its_state_is_seen_and_in_no_state(ledger, make):
    ledger.record([message(make, 1)])
    with ledger._writing() as db:
        db.execute(text("UPDATE facts SET state = NULL"))
    (one,) = ledger.shares()
    assert (one.seen, sum(one.states.values())) == (1, 0)


def test_more_rows_than_are_held_at_a_time_are_all_answered(ledger, make):
    ledger.record([message(make, n, n, state=State.HELD, reason=f"reason {n}") for n in range(1203)])
    assert sum(one.seen for one in ledger.shares()) == 1203


# -- a store that is older than the account


@pytest.fixture
def old_url(empty_url):
    """A database as the first version left it."""
    engine = connect(empty_url)
    config = Config()
    config.set_main_option("script_location", next(iter(connector.store.migrations.__path__)))
    with transaction(engine, writes=True) as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0001")
    engine.dispose()
    return empty_url


def test_an_older_store_gets_the_inboxes_of_the_conversations_it_knows(old_url, clock):
    engine = connect(old_url)
    rows = [
        ("main", "conversation", n, {"inbox": inbox} if inbox is not None else {})
        for n, inbox in enumerate(["Instagram", None, HALF, 7, *(f"Inbox {n}" for n in range(2100))])
    ]
    rows += [("other", "conversation", 1, {"inbox": "Theirs", "subject": HALF}), ("main", "person", 1, {"inbox": "no"})]
    with transaction(engine, writes=True) as db:
        db.execute(
            text(
                "INSERT INTO facts (connection, ref, side, kind, object, version, life, edited, dirty, fields, order_key,"
                " private) VALUES (:connection, :ref, 'platform', :kind, :kind, 'v', 'live', false, false, :fields, '', false)"
            ),
            [
                {"connection": of, "ref": f"chatwoot:{kind}:{n}", "kind": kind, "fields": json.dumps(fields)}
                for of, kind, n, fields in rows
            ],
        )
    engine.dispose()
    store = Store.open(old_url, clock=clock)
    with store.at("main")._reading() as db:
        found = {
            (row.connection, row.ref): row.inbox for row in db.execute(text("SELECT connection, ref, inbox FROM facts"))
        }
    store.close()
    assert found["main", "chatwoot:conversation:0"] == "Instagram"
    assert found["main", "chatwoot:conversation:1"] is found["main", "chatwoot:conversation:3"] is None
    assert found["main", "chatwoot:conversation:2"] == "half a \ufffd smile, a nul \ufffd"
    assert found["main", "chatwoot:conversation:2103"] == "Inbox 2099"
    assert found["other", "chatwoot:conversation:1"] == "Theirs"
    assert found["main", "chatwoot:person:1"] is None


def test_an_inbox_whose_name_no_database_can_hold_is_counted_with_marks(ledger, make):
    ledger.record([thread(make, 1, HALF), message(make, 1)])
    assert [one.inbox for one in ledger.shares()] == ["half a \ufffd smile, a nul \ufffd"]
    assert ledger.facts([Ref("chatwoot", "conversation", "1")])
