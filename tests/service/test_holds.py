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
from connector.model import Action, Fact, Hold, HoldType, Intent, IntentState, Kind, Op, Receipt, Ref, Side, State
from connector.service.settling import settle
from connector.store.entries import Entries, NewHold, NewLink, Settlement
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


OTHER_REPLY = Ref("salesforce", "Social_Outbound__c", "a025g00000AbCdFAAV")
SENT = intent(op=Op.SEND, kind=Kind.REPLY, subject=REPLY, target=CONVERSATION, fields={"text": "Hello"})
THREAD = [
    message(1, sent_at="2026-03-01T08:00:00Z"),
    message(2, direction="inbound"),
    message(3, text="Hello!"),
    message(4),
    message(5),
]


def test_a_sent_reply_is_the_only_message_that_fits():
    assert sent_as(SENT, THREAD, {THREAD[4].ref: OTHER_REPLY}, None) == THREAD[3].ref


@pytest.mark.parametrize(
    ("messages", "told", "way_out"),
    [
        (THREAD, "More than one fits", "chatwoot:message:3-5 (2026-03-01T09:00:01Z, 'Hello'); chatwoot:message:3-4 ("),
        (THREAD[:3], "None that is known has its text", "chatwoot:message:3-3 (2026-03-01T09:00:01Z, 'Hello!')"),
        ([], "None that is known has its text", "connector sync"),
        (
            [message(n) for n in range(10, 17)],
            "More than one fits",
            "3-12 (2026-03-01T09:00:01Z, 'Hello'); and 2 older",
        ),
    ],
)
def test_a_sent_reply_that_cannot_be_told_is_asked_for_with_those_it_may_be(messages, told, way_out):
    with pytest.raises(ConnectorError, match=told) as error:
        sent_as(SENT, messages, {}, None)
    assert way_out in error.value.way_out


@pytest.mark.parametrize(
    ("choice", "intents", "seen"),
    [
        ("drop", {"intent": intent(), "below": [BELOW, ELSEWHERE]}, {1: IntentState.HELD, 2: IntentState.READY}),
        ("retry", {"intent": intent()}, {1: IntentState.HELD}),
        ("retry", {"intent": intent(state=IntentState.DONE)}, {}),
    ],
)
def test_a_decision_names_the_state_in_which_each_write_that_it_changes_was_seen(choice, intents, seen):
    assert decided(hold(HoldType.REFUSED), choice, **intents).seen == seen


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
    settle(plug, held(plug, send(text="Hello"), HoldType.IN_DOUBT), "sent", "sam", "I saw it")
    (link,) = plug.ledger.links_of([REPLY])
    assert (link.platform, link.kind) == (MESSAGE, Kind.REPLY)
    assert plug.ledger.intent(1).state is IntentState.DONE
    assert plug.ledger.open_holds() == []


def test_a_reply_whose_message_is_unknown_stays_held(plug):
    facts(plug)
    id_ = held(plug, send(text="Bye"), HoldType.IN_DOUBT)
    with pytest.raises(ConnectorError, match="Which message"):
        settle(plug, id_, "sent", "sam", "I saw it")
    assert plug.ledger.intent(1).state is IntentState.HELD
    assert plug.ledger.hold(id_).choice is None


def send(reply=REPLY, **fields) -> Action:
    return action(Op.SEND, Kind.REPLY, reply, side=Side.PLATFORM, object="message", target=CONVERSATION, fields=fields)


def shown(id_: str, parent: Ref = CONVERSATION, token: str | None = None, **fields) -> Fact:
    given = {"direction": "outbound", "text": "On its way!", "sent_at": "2026-03-01T09:00:05Z"} | fields
    return Fact(
        Ref("chatwoot", "message", id_),
        Side.PLATFORM,
        Kind.MESSAGE,
        given,
        "1",
        parent=parent,
        token=token,
        dirty=False,
    )


def another_reply_that_was_sent_as(plug: Plug, message: Ref, *, linked: bool) -> None:
    (other,) = plug.ledger.journal(Entries(intents=[send(OTHER_REPLY, text="On its way!")]))
    plug.ledger.mark_sending([other.id], NOW)
    links = (NewLink(Kind.REPLY, message, OTHER_REPLY),) if linked else ()
    plug.ledger.settle([Settlement(other.id, Receipt(message, True), links)])


def another_reply_whose_link_ended(plug: Plug, message: Ref) -> None:
    another_reply_that_was_sent_as(plug, message, linked=True)
    (link,) = plug.ledger.links_of([message])
    plug.ledger.journal(Entries(ended=[(link.id, "deleted in the CRM")]))


def another_reply_that_is_still_unsure(plug: Plug, message: Ref) -> None:
    (other,) = plug.ledger.journal(Entries(intents=[send(OTHER_REPLY, text="On its way!")]))
    plug.ledger.mark_sending([other.id], NOW)
    plug.ledger.record([replace(plug.ledger.facts([message])[message], token=other.token)])


IT_CANNOT_BE = {
    "the customer's own": ([shown("3-90", direction="inbound")], None, "it came in, and a reply goes out"),
    "a private note": ([shown("3-90", private=True)], None, "it is a private note"),
    "one of another conversation": (
        [shown("3-90", parent=Ref("chatwoot", "conversation", "4"))],
        None,
        "it is no message that is known of",
    ),
    "one that nobody has read": ([], None, "it is no message that is known of chatwoot:conversation:3"),
    "one from before it was asked for": (
        [shown("3-90", sent_at="2026-03-01T08:49:59Z")],
        None,
        "it was sent at 2026-03-01T08:49:59Z, before",
    ),
    "another reply": (
        [shown("3-90")],
        lambda plug, ref: another_reply_that_was_sent_as(plug, ref, linked=True),
        f"it is what became of {OTHER_REPLY}",
    ),
    "another reply whose link clashed": (
        [shown("3-90")],
        lambda plug, ref: another_reply_that_was_sent_as(plug, ref, linked=False),
        f"it is what became of {OTHER_REPLY}",
    ),
    "another reply that is gone in the CRM": (
        [shown("3-90")],
        another_reply_whose_link_ended,
        f"it is what became of {OTHER_REPLY}",
    ),
    "a message with another reply's marker": (
        [shown("3-90")],
        another_reply_that_is_still_unsure,
        f"it is what became of {OTHER_REPLY}",
    ),
}


@pytest.mark.parametrize(("messages", "before", "wrong"), IT_CANNOT_BE.values(), ids=IT_CANNOT_BE.keys())
def test_a_message_that_cannot_be_the_reply_is_refused_with_those_that_can(plug, messages, before, wrong):
    facts(plug)
    plug.ledger.record([shown("3-91", text="It is on its way!"), *messages])
    named = Ref("chatwoot", "message", "3-90")
    id_ = held(plug, send(text="On its way!"), HoldType.IN_DOUBT)
    if before:
        before(plug, named)
    with pytest.raises(ConnectorError) as error:
        settle(plug, id_, "sent", "sam", "I saw it", named)
    assert str(error.value).startswith(f"{named} cannot be this reply: {wrong}")
    assert "chatwoot:message:3-91 (2026-03-01T09:00:05Z, 'It is on its way!')" in error.value.way_out
    assert str(named) not in error.value.way_out
    assert plug.ledger.intent(1).state is IntentState.HELD
    assert plug.ledger.hold(id_).choice is None
    assert plug.ledger.links_of([REPLY]) == []


@pytest.mark.parametrize("sent_at", ["2026-03-01T09:00:05Z", "2026-03-01T08:50:01Z"], ids=["after", "by a slow clock"])
def test_the_message_that_a_person_names_is_the_reply_though_the_network_changed_its_text(plug, sent_at):
    facts(plug)
    plug.ledger.record([shown("3-90", text="**On its way!**", sent_at=sent_at)])
    id_ = held(plug, send(text="On its way!"), HoldType.IN_DOUBT)
    settle(plug, id_, "sent", "sam", "I saw it", Ref("chatwoot", "message", "3-90"))
    (link,) = plug.ledger.links_of([REPLY])
    assert link.platform.id == "3-90"
    assert plug.ledger.hold(id_).choice == "sent"


def test_a_reply_that_was_recognised_meanwhile_is_settled_by_any_choice(plug):
    facts(plug)
    id_ = held(plug, send(text="Hello"), HoldType.IN_DOUBT)
    plug.ledger.settle([Settlement(1, Receipt(MESSAGE, True))])
    settle(plug, id_, "sent", "sam", "I saw it")
    assert (plug.ledger.hold(id_).choice, plug.ledger.intent(1).state) == ("sent", IntentState.DONE)


def test_a_write_that_leaves_while_a_person_decides_never_is_not_taken_out_of_its_call(plug, monkeypatch):
    """She has read what hangs on the person, and the engine sends it before her decision is written down."""
    facts(plug)
    below = action(
        kind=Kind.CONVERSATION,
        subject=CONVERSATION,
        fields={"Contact__c": placeholder(Kind.PERSON, PERSON, "Contact")},
    )
    (one,) = plug.ledger.journal(Entries(intents=[below], holds=[NewHold(HoldType.IDENTITY, PERSON, "?", {})]))
    read = plug.ledger.open_intents

    def then_it_leaves(refs):
        found = read(refs)
        plug.store.at("main").mark_sending([one.id], NOW)
        return found

    monkeypatch.setattr(plug.ledger, "open_intents", then_it_leaves)
    with pytest.raises(ConnectorError, match="under way") as error:
        settle(plug, 1, "never", "sam", "spam")
    assert "Try again in a moment" in error.value.way_out
    assert (plug.ledger.hold(1).choice, plug.ledger.intent(one.id).state) == (None, IntentState.SENDING)
    settle(plug, 1, "never", "sam", "spam")
    assert plug.ledger.intent(one.id).state is IntentState.SENDING, "what became of it is found out first"
