"""Pins, cursors, positions, facts."""

from datetime import timedelta

import pytest

from connector.errors import StoreError
from connector.model import Cursor, Kind, Life, Side, State
from connector.store.entries import Entries, Pins


def test_a_new_connection_has_no_pins(ledger):
    assert ledger.pins() is None


def test_the_first_use_pins_accounts_and_mapping(ledger):
    pins = ledger.pin("chatwoot/1", "00D1", "abc")
    assert ledger.pins() == pins == Pins("chatwoot/1", "00D1", "abc")


def test_pinning_again_changes_nothing(ledger):
    first = ledger.pin("chatwoot/1", "00D1", "abc")
    assert ledger.pin("chatwoot/1", "00D1", "other") == first


@pytest.mark.parametrize("accounts", [("chatwoot/2", "00D1"), ("chatwoot/1", "00D2")])
def test_other_accounts_are_refused(ledger, accounts):
    first = ledger.pin("chatwoot/1", "00D1", "abc")
    with pytest.raises(StoreError, match="belongs to other accounts"):
        ledger.pin(*accounts, "abc")
    assert ledger.pins() == first


def test_approving_replaces_the_mapping_and_keeps_accounts(ledger):
    ledger.pin("chatwoot/1", "00D1", "abc")
    ledger.approve("def")
    assert ledger.pins() == Pins("chatwoot/1", "00D1", "def")


@pytest.mark.parametrize(
    ("accounts", "mismatches"),
    [
        ({Side.PLATFORM: "chatwoot/1", Side.CRM: "00D1"}, []),
        ({}, []),
        ({Side.CRM: "00D2"}, [(Side.CRM, "00D1", "00D2")]),
        (
            {Side.PLATFORM: "chatwoot/2", Side.CRM: "00D2"},
            [(Side.PLATFORM, "chatwoot/1", "chatwoot/2"), (Side.CRM, "00D1", "00D2")],
        ),
    ],
    ids=["the same", "nobody could be asked", "one side is another", "both are"],
)
def test_pins_name_every_account_that_is_another(accounts, mismatches):
    assert Pins("chatwoot/1", "00D1", "abc").mismatches(accounts) == mismatches


def test_approving_before_the_first_use_is_refused(ledger):
    with pytest.raises(StoreError, match="never used"):
        ledger.approve("abc")


def test_a_stream_that_was_never_read_has_an_empty_cursor(ledger):
    assert ledger.cursor(Side.CRM, "Task") == Cursor()
    assert ledger.position(Side.CRM, "Task", "1") is None


def places(ledger):
    return [ledger.position(Side.PLATFORM, "messages", key) for key in ("1", "2")]


def test_ingest_stores_facts_cursor_and_positions(ledger, make, clock):
    cursor = Cursor(clock(), clock() - timedelta(hours=1), "page 2")
    ledger.ingest(Side.PLATFORM, "messages", [make.message(1), make.message(2)], cursor, {"1": "90", "2": "91"})
    assert ledger.cursor(Side.PLATFORM, "messages") == cursor
    assert places(ledger) == ["90", "91"]
    assert ledger.seen() == 2
    ledger.ingest(Side.PLATFORM, "messages", [], Cursor(clock()), {"2": "95"})
    assert ledger.cursor(Side.PLATFORM, "messages") == Cursor(clock())
    assert places(ledger) == ["90", "95"]


def test_cursors_and_positions_are_kept_apart_by_side_and_stream(ledger, clock):
    ledger.ingest(Side.PLATFORM, "a", [], Cursor(clock()), {"k": "1"})
    assert ledger.cursor(Side.CRM, "a") == ledger.cursor(Side.PLATFORM, "b") == Cursor()
    assert ledger.position(Side.CRM, "a", "k") is ledger.position(Side.PLATFORM, "b", "k") is None


def test_a_page_that_cannot_be_stored_does_not_move_the_cursor(ledger, make, clock):
    broken = make.message(2, changed_at=clock().replace(tzinfo=None))
    with pytest.raises(StoreError):
        ledger.ingest(Side.PLATFORM, "messages", [make.message(1), broken], Cursor(clock()), {"1": "2"})
    assert ledger.cursor(Side.PLATFORM, "messages") == Cursor()
    assert places(ledger) == [None, None]
    assert ledger.facts([make.message(1).ref]) == {}


def test_a_position_that_cannot_be_stored_takes_the_facts_with_it(ledger, make, clock):
    with pytest.raises(StoreError):
        ledger.ingest(Side.PLATFORM, "messages", [make.message(1)], Cursor(clock()), {"1": None})
    assert ledger.seen() == 0
    assert ledger.cursor(Side.PLATFORM, "messages") == Cursor()


def test_a_newer_fact_replaces_the_whole_row(ledger, make, clock):
    old = make.fact(Kind.PERSON, 1, fields={"name": "Old", "email": "old@shop.example"}, by="agent 1", ours=True)
    new = make.fact(
        Kind.PERSON,
        1,
        fields={"name": "New"},
        version="v2",
        life=Life.MERGED,
        merged_into=make.platform(Kind.PERSON, 2),
    )
    ledger.record([old])
    ledger.record([new])
    assert ledger.facts([old.ref]) == {old.ref: new}


def test_the_last_of_two_facts_of_one_record_stands(ledger, make):
    ledger.record([make.message(1), make.message(1, version="v2")])
    assert ledger.facts([make.message(1).ref])[make.message(1).ref].version == "v2"


@pytest.mark.parametrize(
    ("states", "stands"),
    [
        ([State.SYNCED, None], State.SYNCED),
        ([None, State.SYNCED], State.SYNCED),
        ([State.SYNCED, None, State.HELD, None], State.HELD),
    ],
    ids=["told first", "told last", "told twice"],
)
def test_of_facts_of_one_record_the_last_version_and_the_last_account_stand(ledger, make, states, stands):
    ledger.record([make.message(1, version=str(place), state=state) for place, state in enumerate(states)])
    fact = ledger.facts([make.message(1).ref])[make.message(1).ref]
    assert (fact.version, fact.state) == (str(len(states) - 1), stands)


def test_fields_hold_what_no_text_of_a_database_can(ledger, make):
    strange = {
        "text": 'half a \ud83d smile, a nul \x00, "quoted" {braced} and \\',
        "list": [None, 1.5, {"": "\x00"}],
        "null": None,
    }
    facts = [make.message(number, fields=strange) for number in (1, 2)]
    ledger.record(facts)
    assert [ledger.facts([fact.ref])[fact.ref].fields for fact in facts] == [fact.fields for fact in facts]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, (State.FILTERED, "rule spam")),
        ({"state": State.OPEN}, (State.OPEN, None)),
        ({"state": State.HELD, "reason": "why"}, (State.HELD, "why")),
    ],
    ids=["none given: kept", "state given: replaced", "both given: replaced"],
)
def test_the_account_of_a_message_survives_new_versions(ledger, make, given, stored):
    ledger.record([make.message(1)])
    ledger.journal(Entries(states={make.message(1).ref: (State.FILTERED, "rule spam")}))
    ledger.record([make.message(1, version="v2", **given)])
    fact = ledger.facts([make.message(1).ref])[make.message(1).ref]
    assert (fact.version, fact.state, fact.reason) == ("v2", *stored)


def test_a_new_message_is_open_and_other_kinds_have_no_account(ledger, make):
    crm_message = make.fact(Kind.MESSAGE, 3, side=Side.CRM)
    ledger.record([make.message(1), make.fact(Kind.PERSON, 2), crm_message])
    found = ledger.facts([make.message(1).ref, make.platform(Kind.PERSON, 2), crm_message.ref])
    assert {ref.id: fact.state for ref, fact in found.items()} == {"1": State.OPEN, "2": None, "3": None}
