"""Bad records and odd input: refused rows, spent allowances, unclear sends, wrong clocks, people who go, strange texts."""

import re
from datetime import timedelta
from typing import Any

import pytest

from connector.errors import AllowanceSpent
from connector.model import Ref

# ---- rows and allowances that are refused -----------------------------------------------------------------------------


def test_a_spent_daily_allowance_pauses_the_writing_and_nothing_is_lost(desk: Any) -> None:
    threads = [desk.customer(f"Guest {number}", desk.phone(), "hello") for number in range(2)]
    engine = desk.engine()
    desk.crm_control("settings", daily_limit=desk.crm_stats()["used_calls"] + 8)
    report = engine.sync()
    assert {type(error) for error in report.trouble} == {AllowanceSpent}
    assert any("last 24 hours" in way_out for _, way_out in desk.problems().values())
    with pytest.raises(AllowanceSpent):
        engine.sync()
    desk.crm_control("settings", daily_limit=100_000)
    desk.sync()
    assert [desk.texts(thread) for thread in threads] == [["hello"], ["hello"]]
    assert desk.keys_are_unique()
    assert desk.problems() == {}


def test_a_locked_row_is_written_once_the_lock_is_gone_and_holds_up_nobody_else(desk: Any) -> None:
    locked = desk.customer("Noa Quint", desk.phone(), "wait for me")
    free = desk.customer("Mees Quint", desk.phone(), "go ahead")
    match = {"object": "Task", "field": "SMM_Conversation_Key__c", "value": f"shop:{locked}"}
    desk.crm_control("faults", kind="lock_row", match=match, times=None)
    desk.sync()
    assert (desk.texts(locked), desk.texts(free)) == ([], ["go ahead"])
    assert not [hold for hold in desk.ledger.open_holds() if hold.type.value == "refused"], "a lock is no refusal"
    desk.clear()
    desk.sync()
    assert desk.texts(locked) == ["wait for me"]


def test_a_validation_rule_holds_its_own_row_and_harms_no_other(desk: Any) -> None:
    bad = desk.customer("Noa Quint", desk.phone(), "refuse me")
    good = desk.customer("Mees Quint", desk.phone(), "take me")
    match = {"object": "Task", "field": "SMM_Conversation_Key__c", "value": f"shop:{bad}"}
    desk.crm_control("faults", kind="row_error", match=match, times=None, message="Say why", fields=["Description"])
    desk.sync()
    assert (desk.texts(bad), desk.texts(good)) == ([], ["take me"])
    (hold,) = desk.ledger.open_holds()
    assert (hold.type.value, hold.details["fields"]) == ("refused", ["Description"])
    assert "Say why" in hold.question
    assert desk.account()["held"] == 1
    desk.clear()
    desk.sync()
    assert desk.texts(bad) == [], "a no stays a no until somebody looks at it"
    desk.decide(hold, "retry")
    desk.sync()
    assert desk.texts(bad) == ["refuse me"]
    assert desk.ledger.open_holds() == []


@pytest.mark.parametrize("choice", ["link", "create", "never"])
def test_a_duplicate_rule_asks_who_it_is_and_a_person_settles_it(desk: Any, choice: str) -> None:
    mail = f"twice.{choice}@mail.example"
    hidden = desk.crm("POST", "sobjects/Contact", LastName="Hidden", Email=mail)["id"]
    number = desk.phone()
    thread = desk.customer("Noa Quint", number, "hello")
    desk.agent("PATCH", f"contacts/{desk.person_of(thread)}", email=mail)
    other = desk.customer("Mees Quint", desk.phone(), "take me")
    desk.crm_control("settings", duplicate_rule="block", invisible=[hidden])
    desk.sync()
    assert (desk.texts(thread), desk.texts(other)) == ([], ["take me"])
    (hold,) = desk.ledger.open_holds()
    assert hold.type.value == "identity"
    assert [one["ref"] for one in hold.details["candidates"]] == [f"salesforce:Contact:{hidden}"]
    desk.crm_control("settings", duplicate_rule="off", invisible=[])
    desk.decide(hold, hidden if choice == "link" else choice)
    desk.customer("Noa Quint", number, "still me", conversation=thread)
    desk.sync()
    assert desk.ledger.open_holds() == []
    owners = {row["WhoId"] for row in desk.timeline(thread)}
    if choice == "never":
        assert desk.texts(thread) == []
    else:
        assert desk.texts(thread) == ["hello", "still me"]
        assert (owners == {hidden}) is (choice == "link")
    report = desk.sync()
    assert (report.planned, report.written) == (0, 0)


# ---- replies that meet trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "status", "status": 500, "after": True}, id="500 although it was stored"),
        pytest.param({"kind": "html", "status": 502, "after": True}, id="page of a proxy although it was stored"),
        pytest.param({"kind": "cut"}, id="cut answer"),
        pytest.param({"kind": "empty"}, id="empty answer"),
        pytest.param({"kind": "status", "status": 429, "retry_after": 30}, id="too many requests"),
        pytest.param({"kind": "status", "status": 503}, id="503 and not stored"),
    ],
)
def test_a_reply_with_an_unclear_answer_reaches_the_customer_once(desk: Any, fault: dict[str, Any]) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    desk.sync()
    reply = desk.reply(thread, "exactly once")
    desk.control("faults", **fault, match={"method": "POST", "path": "/messages$"}, times=1)
    desk.sync()
    desk.sync()
    assert desk.received(thread) == ["exactly once"]
    assert desk.outbound(reply)["Status__c"] in ("Sent", "Delivered")
    assert desk.texts(thread) == ["hello", "exactly once"]


def test_a_reply_into_a_conversation_that_was_deleted_is_told_to_be_failed(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    desk.sync()
    reply = desk.reply(thread, "anybody there?")
    desk.as_administrator("DELETE", f"contacts/{desk.person_of(thread)}")
    desk.sync()
    row = desk.outbound(reply)
    assert row["Status__c"] == "Failed"
    assert row["Error__c"]


# ---- clocks, contacts that go, odd texts ------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock_of_our_machine_loses_nothing(desk: Any, hours: int) -> None:
    number = desk.phone()
    thread = desk.customer("Noa Quint", number, "before")
    desk.clock_off = timedelta(hours=hours)
    try:
        desk.sync()
        told = desk.problems()
        reply = desk.reply(thread, "answer by a wrong clock")
        desk.sync()
    finally:
        desk.clock_off = timedelta(0)
    assert {scope for scope, (code, _) in told.items() if code == "clock_skew"} == (
        {"clock of chatwoot", "clock of salesforce"} if hours < 0 else set()
    )
    desk.customer("Noa Quint", number, "after", conversation=thread)
    second = desk.reply(thread, "answer by the right clock")
    desk.sync()
    assert desk.texts(thread) == ["before", "answer by a wrong clock", "after", "answer by the right clock"]
    assert desk.received(thread) == ["answer by a wrong clock", "answer by the right clock"]
    assert {desk.outbound(id_)["Status__c"] for id_ in (reply, second)} <= {"Sent", "Delivered"}
    assert desk.problems() == {}


def test_a_contact_deleted_on_the_platform_is_unlinked_and_its_history_stays_in_the_crm(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "forget me")
    desk.sync()
    contact, person = desk.timeline(thread)[0]["WhoId"], desk.person_of(thread)
    desk.as_administrator("DELETE", f"contacts/{person}")
    report = desk.sync()
    assert report.written == 0
    assert desk.texts(thread) == ["forget me"]
    assert desk.record("Contact", Id=contact)
    (link,) = desk.ledger.links_of([Ref.parse(f"chatwoot:person:{person}")])
    assert (link.active, link.ended) == (False, "gone on the platform")


def test_what_is_changed_in_the_record_of_a_conversation_that_is_deleted_goes_nowhere(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "hello")
    desk.sync()
    desk.as_administrator("DELETE", f"contacts/{desk.person_of(thread)}")
    desk.sync()
    row = desk.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")
    desk.crm("PATCH", f"sobjects/Social_Conversation__c/{row['Id']}", Status__c="resolved")
    report = desk.sync()
    assert (report.planned, report.trouble) == (0, [])
    assert desk.problems() == {}
    assert desk.ledger.open_holds() == []


def test_a_contact_deleted_before_the_first_look_makes_nothing(desk: Any) -> None:
    thread = desk.customer("Noa Quint", desk.phone(), "too late")
    desk.as_administrator("DELETE", f"contacts/{desk.person_of(thread)}")
    report = desk.sync()
    assert (report.trouble, report.written, desk.texts(thread)) == ([], 0, [])


def test_contacts_merged_on_the_platform_bring_identity_conversation_and_messages_to_the_winner(desk: Any) -> None:
    number = desk.phone()
    base = desk.customer("Noa Quint", desk.phone(), "first account")
    lost = desk.customer("Mees Quint", number, "second account")
    desk.sync()
    winner = desk.timeline(base)[0]["WhoId"]
    merged = {"base_contact_id": desk.person_of(base), "mergee_contact_id": desk.person_of(lost)}
    desk.agent("POST", "actions/contact_merge", **merged)
    desk.sync()
    desk.customer("Mees Quint", number, "one of me", conversation=lost)
    desk.sync()
    assert [(row["Description"], row["WhoId"]) for row in desk.timeline(lost)] == [
        ("second account", winner),
        ("one of me", winner),
    ]
    assert desk.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{lost}")["Contact__c"] == winner
    assert desk.record("Social_Identity__c", SMM_Identity_Key__c=f"whatsapp:{number}")["Contact__c"] == winner


ODD_TEXTS = {
    "nul\x00 bell\x07 escape\x1b[31m": "nul bell escape[31m",
    "one\ntwo\r\nthree": "one\r\ntwo\r\nthree",
    '&amp; <b>\'; DROP--\\ "q" %_': '&amp; <b>\'; DROP--\\ "q" %_',
    "\u202eevil\u202c zero\u200bwidth": "\u202eevil\u202c zero\u200bwidth",
    "👩‍👩‍👧‍👦" * 300: "👩‍👩‍👧‍👦" * 300,
    "{{ 7 | times: 7 }} {% raw %}": "{{ 7 | times: 7 }} {% raw %}",
    "\x00\x01": None,
}


def test_odd_texts_arrive_and_do_not_come_again(desk: Any) -> None:
    threads = {text: desk.customer("Noa Quint", desk.phone(), text) for text in [*ODD_TEXTS, "@{r0.id}"]}
    desk.sync()
    shown = {text: [row.get("Description") for row in desk.timeline(thread)] for text, thread in threads.items()}
    reference = shown.pop("@{r0.id}")
    assert shown == {text: [kept] for text, kept in ODD_TEXTS.items()}
    assert len(reference) == 1, "what looks like a reference inside a composite call harms nobody"
    report = desk.sync()
    assert (report.planned, report.written) == (0, 0)
    assert not [hold for hold in desk.ledger.open_holds() if hold.type.value == "refused"]


def test_an_emoji_at_the_cut_of_the_subject_is_whole_or_gone(desk: Any) -> None:
    texts_ = ["x" * padding + "👩‍👩‍👧‍👦🇳🇱👍🏽" * 9 for padding in range(114, 122)]
    threads = [desk.customer("Noa", desk.phone(), text) for text in texts_]
    desk.sync()
    for text, thread in zip(texts_, threads, strict=True):
        subject = desk.timeline(thread)[0]["Subject"]
        tail = subject[subject.index("xxx") :].lstrip("x").removesuffix("…")
        assert re.sub("👩‍👩‍👧‍👦|🇳🇱|👍🏽", "", tail) == "", ascii(text)
        assert len(subject.encode("utf-16-le")) // 2 <= 255


ODD_NAMES = {
    "N" * 200: (None, "N" * 79 + "…"),
    "Anna " + "Wolfeschlegel" * 9: ("Anna", ("Wolfeschlegel" * 9)[:79] + "…"),
    "   ": (None, "Unknown"),
    "\x00\x01": (None, "Unknown"),
    'O\'Neil \\ "q"': ("O'Neil \\", '"q"'),
    "👩‍👩‍👧‍👦" * 40: (None, "👩‍👩‍👧‍👦" * 7 + "…"),
}


def test_odd_names_make_a_contact_and_do_not_come_again(desk: Any) -> None:
    threads = {name: desk.customer(name, desk.phone(), "hello") for name in ODD_NAMES}
    desk.sync()
    made = {name: desk.record("Contact", Id=desk.timeline(thread)[0]["WhoId"]) for name, thread in threads.items()}
    assert {name: (row.get("FirstName"), row["LastName"]) for name, row in made.items()} == ODD_NAMES
    report = desk.sync()
    assert (report.planned, report.written) == (0, 0)
    assert not [hold for hold in desk.ledger.open_holds() if hold.type.value == "refused"]
