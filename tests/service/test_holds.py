"""What a person's choice means: pure decisions, then the same carried out on a real store."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.app import Plug
from connector.errors import ConnectorError
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.model import Action, Fact, Hold, HoldType, Intent, IntentState, Kind, Op, Ref, Side, State
from connector.service.settling import settle
from connector.store.entries import Entries, NewHold
from connector.store.store import Store
from connector.sync.holds import CHOICES, Around, choices, decide, read_choice, sent_as
from connector.sync.placeholders import placeholder

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
FILE = load_mapping(Path(__file__).parents[2] / "mappings" / "chatwoot-salesforce.yaml")
MAPPING = compile_mapping(FILE, Context(connection="main"))
PERSON = Ref("chatwoot", "person", "7")
IDENTITY = Ref("chatwoot", "identity", "whatsapp:61491570156")
CONVERSATION = Ref("chatwoot", "conversation", "3")
MESSAGE = Ref("chatwoot", "message", "3-41")
REPLY = Ref("salesforce", "Social_Outbound__c", "a025g00000AbCdEAAV")
JET = "salesforce:Contact:0035g0000000001AAA"
OBJECTS = ("Contact", "Lead")


def hold(type_: HoldType, subject: Ref = PERSON, **details) -> Hold:
    return Hold(1, type_, subject, "?", details)


def action(op: Op = Op.UPSERT, kind: Kind = Kind.PERSON, subject: Ref = PERSON, **extra) -> Action:
    given = {
        "unique": f"{op}:{subject}",
        "side": Side.CRM,
        "object": "Contact",
        "fields": {"LastName": "Lind"},
        "source": subject,
    }
    return Action(op=op, kind=kind, subject=subject, **(given | extra))


def intent(id_: int = 1, state: IntentState = IntentState.HELD, **extra) -> Intent:
    return Intent(id_, action(**extra), state, f"token{id_}", tried_at=NOW)


BELOW = intent(
    2,
    IntentState.READY,
    kind=Kind.CONVERSATION,
    subject=CONVERSATION,
    fields={"Contact__c": placeholder(Kind.PERSON, PERSON, "Contact")},
)
ELSEWHERE = intent(
    3, IntentState.READY, kind=Kind.IDENTITY, subject=IDENTITY, fields={"Contact__c": "0035g0000000001AAA"}
)


@pytest.mark.parametrize("type_", HoldType)
def test_every_type_has_choices_and_each_is_read_as_itself(type_):
    for choice in CHOICES[type_]:
        assert read_choice(hold(type_), choice, "salesforce", OBJECTS) == choice


CANDIDATES = [{"ref": JET, "points": 80, "reasons": []}, {"ref": "salesforce:Lead:00Q5g0000000009AAA", "points": 80}]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (JET, JET),
        ("0035g0000000001AAA", JET),
        ("salesforce:Lead:00Q5g0000000009AAA", "salesforce:Lead:00Q5g0000000009AAA"),
        ("salesforce:Contact:0035g0000000077AAA", "salesforce:Contact:0035g0000000077AAA"),
    ],
)
def test_a_crm_record_settles_an_identity(text, read):
    assert read_choice(hold(HoldType.IDENTITY, candidates=CANDIDATES), text, "salesforce", OBJECTS) == read


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (HoldType.IDENTITY, "chatwoot:person:9"),
        (HoldType.IDENTITY, "salesforce:Task:00T5g0000000009AAA"),
        (HoldType.IDENTITY, "0035g0000000099AAA"),
        (HoldType.IDENTITY, "retry"),
        (HoldType.CONFLICT, "newest"),
        (HoldType.REFUSED, JET),
        (HoldType.IN_DOUBT, ""),
    ],
)
def test_any_other_choice_is_refused_with_those_allowed(type_, text):
    given = hold(type_, candidates=CANDIDATES)
    with pytest.raises(ConnectorError) as error:
        read_choice(given, text, "salesforce", OBJECTS)
    assert all(choice in error.value.way_out for choice in choices(given))


def decided(given: Hold, choice: str, **around) -> Entries:
    return decide(given, choice, "sam", "because", Around(**around), MAPPING)


def test_an_identity_makes_the_person_and_the_waiting_messages_due():
    entries = decided(hold(HoldType.IDENTITY), JET, messages=[MESSAGE])
    assert (entries.closed_holds, entries.redo) == ([(1, JET, "sam", "because")], [PERSON, MESSAGE])
    assert (list(entries.dropped), list(entries.requeued)) == ([], [])


@pytest.mark.parametrize(
    ("choice", "requeued", "dropped"), [("create", [1], []), (JET, [], [1]), ("never", [], [1, 2])]
)
def test_a_new_person_that_the_crm_took_for_a_duplicate(choice, requeued, dropped):
    entries = decided(hold(HoldType.IDENTITY), choice, intent=intent(), below=[BELOW, ELSEWHERE], messages=[MESSAGE])
    assert (list(entries.requeued), [id_ for id_, _ in entries.dropped]) == (requeued, dropped)


def test_a_conflict_makes_the_pair_due():
    entries = decided(hold(HoldType.CONFLICT, CONVERSATION), "crm")
    assert entries == Entries(closed_holds=[(1, "crm", "sam", "because")], redo=[CONVERSATION])


def test_retry_decides_a_refused_write_anew_with_what_both_sides_show_now():
    message = intent(kind=Kind.MESSAGE, subject=MESSAGE)
    entries = decided(hold(HoldType.REFUSED, MESSAGE), "retry", intent=message)
    assert (entries.requeued, [id_ for id_, _ in entries.dropped], entries.redo) == ((), [1], [MESSAGE])
    assert entries.states == {MESSAGE: (State.OPEN, "sam decided: because")}


@pytest.mark.parametrize("kind", [Kind.PERSON, Kind.CONVERSATION])
def test_retry_sends_a_refused_parent_again_because_others_wait_for_it(kind):
    entries = decided(hold(HoldType.REFUSED), "retry", intent=intent(kind=kind))
    assert (entries.requeued, list(entries.dropped)) == ((1,), [])


def test_retry_without_a_write_plans_the_record_again():
    entries = decided(hold(HoldType.REFUSED, MESSAGE), "retry")
    assert (entries.redo, entries.requeued) == ([MESSAGE], ())


def test_drop_gives_up_the_write_and_what_waits_for_its_record():
    entries = decided(hold(HoldType.REFUSED), "drop", intent=intent(), below=[BELOW, ELSEWHERE], messages=[MESSAGE])
    assert [id_ for id_, _ in entries.dropped] == [1, 2]
    assert entries.states[MESSAGE][0] is State.FILTERED


def test_drop_of_an_update_leaves_the_messages_alone():
    update = intent(target=Ref.parse(JET))
    entries = decided(hold(HoldType.REFUSED), "drop", intent=update, below=[BELOW], messages=[MESSAGE])
    assert (entries.states, [id_ for id_, _ in entries.dropped]) == ({}, [1])


@pytest.mark.parametrize(("state", "dropped"), [(IntentState.READY, [2]), (IntentState.IN_DOUBT, [])])
def test_never_gives_up_what_waits_but_not_what_may_stand_there(state, dropped):
    entries = decided(hold(HoldType.IDENTITY), "never", below=[replace(BELOW, state=state)], messages=[MESSAGE])
    assert [id_ for id_, _ in entries.dropped] == dropped


def test_again_sends_the_reply_again():
    reply = intent(op=Op.SEND, kind=Kind.REPLY, subject=REPLY)
    assert decided(hold(HoldType.IN_DOUBT, REPLY), "again", intent=reply).requeued == (1,)


def test_a_dropped_reply_is_told_in_the_crm():
    reply = intent(op=Op.SEND, kind=Kind.REPLY, subject=REPLY)
    asked = Fact(REPLY, Side.CRM, Kind.REPLY, {"Status__c": "Held"}, "1")
    entries = decided(hold(HoldType.IN_DOUBT, REPLY), "drop", intent=reply, reply=asked)
    (told,) = entries.intents
    assert (told.target, told.fields["Status__c"]) == (REPLY, "Failed")
    assert [id_ for id_, _ in entries.dropped] == [1]


@pytest.mark.parametrize(("type_", "choice"), [(HoldType.REFUSED, "retry"), (HoldType.IN_DOUBT, "drop")])
def test_a_write_that_went_through_in_the_meantime_is_left_alone(type_, choice):
    entries = decided(hold(type_), choice, intent=intent(state=IntentState.DONE))
    assert (entries.requeued, list(entries.dropped)) == ((), [])


def message(number: int, **fields) -> Fact:
    shown = {"direction": "outbound", "text": "Hello", "sent_at": "2026-03-01T09:00:01Z"} | fields
    return Fact(Ref("chatwoot", "message", f"3-{number}"), Side.PLATFORM, Kind.MESSAGE, shown, "1")


SENT = intent(op=Op.SEND, kind=Kind.REPLY, subject=REPLY, target=CONVERSATION, fields={"text": "Hello"})
THREAD = [
    message(1, sent_at="2026-03-01T08:00:00Z"),
    message(2, direction="inbound"),
    message(3, text="Hello!"),
    message(4),
    message(5),
]


def test_a_sent_reply_is_the_only_message_that_fits():
    assert sent_as(SENT, THREAD, {THREAD[4].ref}, None) == THREAD[3].ref


@pytest.mark.parametrize(
    ("messages", "named"),
    [(THREAD, None), (THREAD[:3], None), ([], None), (THREAD, Ref("chatwoot", "message", "9-9"))],
)
def test_a_sent_reply_that_cannot_be_told_is_asked_for(messages, named):
    with pytest.raises(ConnectorError, match=r"Which message|not a known message"):
        sent_as(SENT, messages, set(), named)


@given(
    st.sampled_from(HoldType).flatmap(lambda type_: st.tuples(st.just(type_), st.sampled_from(CHOICES[type_]))),
    st.sampled_from(IntentState),
    st.booleans(),
)
def test_any_choice_closes_the_hold_once_and_never_both_sends_and_drops(chosen, state, known):
    type_, choice = chosen
    mine = intent(state=state, op=Op.SEND if type_ is HoldType.IN_DOUBT else Op.UPSERT) if known else None
    entries = decided(hold(type_), choice, intent=mine, below=[BELOW], messages=[MESSAGE])
    assert entries.closed_holds == [(1, choice, "sam", "because")]
    assert not set(entries.requeued) & {id_ for id_, _ in entries.dropped}
    if state in (IntentState.DONE, IntentState.REFUSED, IntentState.DROPPED):
        assert 1 not in [*entries.requeued, *(id_ for id_, _ in entries.dropped)]


# -- on a real store


@pytest.fixture
def plug(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/connector.db", clock=lambda: NOW)
    config = SimpleNamespace(crm=SimpleNamespace(type="salesforce"))
    yield Plug("main", config, FILE, MAPPING, store.at("main"), store)
    store.close()


def facts(plug: Plug) -> None:
    plug.ledger.record(
        [
            Fact(PERSON, Side.PLATFORM, Kind.PERSON, {"name": "Jet"}, "1", dirty=False),
            Fact(CONVERSATION, Side.PLATFORM, Kind.CONVERSATION, {}, "1", parent=PERSON, dirty=False),
            Fact(
                MESSAGE,
                Side.PLATFORM,
                Kind.MESSAGE,
                {"direction": "outbound", "text": "Hello", "sent_at": "2026-03-01T09:00:01Z"},
                "1",
                parent=CONVERSATION,
                dirty=False,
                state=State.HELD,
                reason="identity",
            ),
            Fact(REPLY, Side.CRM, Kind.REPLY, {"Status__c": "Held"}, "1", dirty=False),
        ]
    )


def held(plug: Plug, given: Action, type_: HoldType) -> int:
    (one,) = plug.ledger.journal(Entries(intents=[given]))
    plug.ledger.mark_sending([one.id], NOW)
    plug.ledger.hold_intent(one.id, "no", NewHold(type_, given.subject, "?", {}))
    return plug.ledger.open_holds()[0].id


def test_settling_an_identity_wakes_the_person_and_its_messages(plug):
    facts(plug)
    plug.ledger.journal(Entries(holds=[NewHold(HoldType.IDENTITY, PERSON, "?", {})]))
    settled = settle(plug, 1, "create", "sam", "new customer")
    assert (settled.choice, settled.by, settled.why) == ("create", "sam", "new customer")
    assert {fact.ref for fact in plug.ledger.dirty(Kind, 10)} == {PERSON, MESSAGE}


def test_settling_twice_changes_nothing(plug):
    facts(plug)
    plug.ledger.journal(Entries(holds=[NewHold(HoldType.IDENTITY, PERSON, "?", {})]))
    settle(plug, 1, "create", "sam", "new customer")
    with pytest.raises(ConnectorError, match="settled by sam"):
        settle(plug, 1, "never", "noor", "spam")
    assert plug.ledger.hold(1).choice == "create"


@pytest.mark.parametrize(("choice", "state"), [("retry", IntentState.READY), ("drop", IntentState.DROPPED)])
def test_settling_a_refused_write(plug, choice, state):
    facts(plug)
    id_ = held(plug, action(key=("SMM_Person_Key__c", "main:7")), HoldType.REFUSED)
    settle(plug, id_, choice, "sam", "fixed")
    assert plug.ledger.intent(1).state is state
    account = plug.ledger.facts([MESSAGE])[MESSAGE]
    assert account.state is (State.FILTERED if choice == "drop" else State.HELD)


def test_settling_a_reply_as_sent_links_it_with_its_message(plug):
    facts(plug)
    given = action(
        Op.SEND, Kind.REPLY, REPLY, side=Side.PLATFORM, object="message", target=CONVERSATION, fields={"text": "Hello"}
    )
    settle(plug, held(plug, given, HoldType.IN_DOUBT), "sent", "sam", "I saw it")
    (link,) = plug.ledger.links_of([REPLY])
    assert (link.platform, link.kind) == (MESSAGE, Kind.REPLY)
    assert plug.ledger.intent(1).state is IntentState.DONE
    assert plug.ledger.open_holds() == []


def test_a_reply_whose_message_is_unknown_stays_held(plug):
    facts(plug)
    given = action(
        Op.SEND, Kind.REPLY, REPLY, side=Side.PLATFORM, object="message", target=CONVERSATION, fields={"text": "Bye"}
    )
    id_ = held(plug, given, HoldType.IN_DOUBT)
    with pytest.raises(ConnectorError, match="Which message"):
        settle(plug, id_, "sent", "sam", "I saw it")
    assert plug.ledger.intent(1).state is IntentState.HELD
    assert plug.ledger.hold(id_).choice is None
