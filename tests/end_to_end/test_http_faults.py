"""The line between the connector and both systems loses, cuts, delays and limits calls. When it is well again both worlds are
as if it always had been."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from faulty import LOST_ANSWER, LOST_REQUEST, WHOLE, Call, Fault, Faulty
from switched import Story, Switched, is_read, is_send, is_write, opened

TIME_OUT = 0.25
"""Seconds that the connector waits for an answer, where a test needs it to run out of patience."""
ENOUGH = 8
"""Calls that a bad line has to spoil before it may become well again."""
REPLIES = int(os.environ.get("CONNECTOR_REPLIES", "60"))
"""500 take a minute and a half."""
LOOKED_AT = ("reply_burst", "double_replies", "mass_change")
"""What a person allows who knows that so many replies, some with one text, are meant, and that so many receipts may come
at once."""
THREADS = min(40, max(1, REPLIES // 6))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switched]:
    """Both systems behind their switches; each test has customers of its own."""
    with opened(tmp_path_factory.mktemp("line")) as office:
        yield office


@pytest.fixture
def own_line(tmp_path: Path) -> Iterator[Switched]:
    """The same for one test alone."""
    with opened(tmp_path) as office:
        yield office


def limit(seconds: int | None = None) -> Fault:
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return Fault(reaches=False, answer="page", status=429, headers=headers)


FAULTS = {
    "requests that never arrive": (0.2, [LOST_REQUEST]),
    "answers that get lost": (0.2, [LOST_ANSWER]),
    "answers that come late, and after the time-out": (0.06, [Fault(late=TIME_OUT / 10), Fault(late=TIME_OUT * 1.5)]),
    "half an answer": (0.2, [Fault(answer="cut"), Fault(answer="broken_off")]),
    "the page of a proxy": (0.2, [Fault(reaches=False, answer="page"), Fault(answer="page", status=504)]),
    "limits without a time": (0.2, [limit()]),
    "limits with a time": (0.2, [limit(7)]),
}


@pytest.fixture(scope="module")
def stories(line: Switched) -> dict[str, Story]:
    """A story for each kind of fault, and one without any, up to where both systems know all their customers."""
    told = {kind: Story(line, f"Story{number:02}") for number, kind in enumerate([*FAULTS, ""])}
    for story in told.values():
        story.begin()
    line.sync_to_quiet()
    return told


@pytest.fixture(scope="module")
def unspoilt(line: Switched, stories: dict[str, Story]) -> dict[str, Any]:
    """Both worlds at the end of the story, with a line that never failed."""
    stories[""].go_on()
    line.sync_to_quiet()
    world = stories[""].world()
    assert world["conversation 0"]["network"][-3:] == ["first answer", "second answer", "third answer"]
    assert [one["Status__c"] for one in world["conversation 0"]["replies"]] == ["Delivered"] * 3
    assert (world["conversation 0"]["status"], world["conversation 0"]["priority"]) == ("resolved", "low")
    assert world["conversation 0"]["labels"] == ["repair", "vip"]
    return world


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_line_changes_nothing_in_the_end(
    kind: str, line: Switched, stories: dict[str, Story], unspoilt: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (share, faults), story, before = FAULTS[kind], stories[kind], spoilt(line)
    story.go_on()
    with line.spoiling(kind, share, *faults), monkeypatch.context() as patch:
        if any(fault.late > TIME_OUT for fault in faults):
            impatient(patch)
        while spoilt(line) - before < ENOUGH:
            line.try_to_sync()
    line.sync_to_quiet()
    assert story.world() == unspoilt
    assert line.doubles() == []
    assert line.broken_promises() == []
    assert line.ledger.open_holds() == []
    assert line.problems() == {}


def spoilt(line: Switched) -> int:
    """How many calls were spoilt so far."""
    return sum(fault != WHOLE for switch in line.switches for _, fault in switch.calls)


def impatient(patch: pytest.MonkeyPatch) -> None:
    """Both adapters' time-outs, which are a minute and two, so short that a test can wait for them."""
    patch.setattr("connector.adapters.chatwoot.client.READ_TIMEOUT", TIME_OUT)
    patch.setattr("connector.adapters.salesforce.adapter.READ_TIMEOUT", TIME_OUT)


# ---- a system that asks to be left alone ------------------------------------------------------------------------------

PLATFORM, CRM = 0, 1
LISTED = (PLATFORM, lambda call: "updated_within=" in call.path)
CHANGED = (PLATFORM, lambda call: is_write(call) and not is_send(call))
SENT = (PLATFORM, is_send)
QUERIED = (CRM, lambda call: is_read(call) and b"SystemModstamp" in call.body)
WRITTEN = (CRM, is_write)
MOMENTS = [
    pytest.param(LISTED, 45, id="45 seconds, met by a list of conversations"),
    pytest.param(CHANGED, 45, id="45 seconds, met by a change of a conversation"),
    pytest.param(SENT, 45, id="45 seconds, met by a reply"),
    pytest.param(QUERIED, 45, id="45 seconds, met by a query of changes"),
    pytest.param(WRITTEN, 45, id="45 seconds, met by a bulk write"),
    pytest.param(LISTED, 300, id="five minutes, met by a list of conversations"),
    pytest.param(QUERIED, 300, id="five minutes, met by a query of changes"),
    pytest.param(WRITTEN, 300, id="five minutes, met by a bulk write"),
]
"""The adapters wait a minute at most inside a call; what asks for more goes up to the engine."""


@pytest.fixture(scope="module")
def small_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switched]:
    """Two conversations that both systems know."""
    with opened(tmp_path_factory.mktemp("small-line")) as office:
        for who in ("Noa", "Mees"):
            office.customer(f"{who} Quint", office.phone(), "hello")
        office.sync_to_quiet()
        yield office


@pytest.mark.parametrize(("moment", "seconds"), MOMENTS)
def test_a_system_that_names_a_time_is_not_called_again_before_it_is_over(
    moment: tuple[int, Callable[[Call], bool]], seconds: int, small_line: Switched
) -> None:
    office, (side, of) = small_line, moment
    before = {number: office.received(number) for number in (1, 2)}
    new = [f"one of {len(before[1])}", f"two of {len(before[1])}"]
    for number in (1, 2):
        for text in new:
            office.reply(number, text)
        thread = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{number}")
        priority = "high" if thread.get("Priority__c") == "low" else "low"
        office.crm("PATCH", f"sobjects/Social_Conversation__c/{thread['Id']}", Priority__c=priority)
        office.write_again(number, "something else")
    # One priority after the other within the hour: people do not do that.
    engine, switch = office.engine(allowed=["flip_flop"]), office.switches[side]
    first = len(switch.calls)
    with switch.meeting(once(of, limit(seconds))):
        engine.sync()
    met, hasty = too_early(switch, first, seconds)
    office.sync_to_quiet(allowed=["flip_flop"])
    assert met == 1
    assert hasty == []
    assert {number: office.received(number) for number in (1, 2)} == {
        number: [*texts, *new] for number, texts in before.items()
    }


def once(of: Callable[[Call], bool], fault: Fault) -> Callable[[Call], Fault | None]:
    left = [fault]
    return lambda call: left.pop() if left and of(call) else None


def too_early(switch: Faulty, first: int, seconds: int) -> tuple[int, list[str]]:
    """How many limits were met, and what was called before their time was over, both by the switch's own record."""
    calls = switch.calls[first:]
    limits = [call for call, fault in calls if fault.status == 429]
    return len(limits), [
        f"{call.method} {call.path} after {call.at - met.at}"
        for met in limits
        for call, _ in calls
        if call.number > met.number and call.at < met.at + timedelta(seconds=seconds)
    ]


# ---- a person's edit after a write of ours whose answer is lost --------------------------------------------------------


def test_what_an_agent_changes_after_a_change_of_ours_whose_answer_was_lost_stays(own_line: Switched) -> None:
    office = own_line
    number = office.customer("Noa Quint", office.phone(), "hello")
    office.sync_to_quiet()
    thread = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{number}")
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{thread['Id']}", Status__c="resolved")
    shown: list[str] = []

    def edit() -> None:
        shown.append(office.conversation(number)["status"])
        office.agent("POST", f"conversations/{number}/toggle_status", status="pending")

    lost = Fault(answer="none", then=edit)
    with office.platform_switch.meeting(once(lambda call: call.path.endswith("/toggle_status"), lost)):
        office.sync_to_quiet()
    assert shown == ["resolved"]
    assert office.conversation(number)["status"] == "pending"
    assert office.record("Social_Conversation__c", Id=thread["Id"])["Status__c"] == "pending"


def test_what_a_crm_user_changes_after_a_write_of_ours_whose_answer_was_lost_stays(own_line: Switched) -> None:
    office = own_line
    number = office.customer("Noa Quint", office.phone(), "hello")
    office.sync_to_quiet()
    thread = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{number}")
    office.agent("POST", f"conversations/{number}/toggle_priority", priority="high")
    shown: list[str] = []

    def edit() -> None:
        shown.append(office.record("Social_Conversation__c", Id=thread["Id"])["Priority__c"])
        office.crm("PATCH", f"sobjects/Social_Conversation__c/{thread['Id']}", Priority__c="urgent")

    lost = Fault(answer="none", then=edit)
    with office.crm_switch.meeting(once(lambda call: is_write(call) and b"Priority__c" in call.body, lost)):
        office.sync_to_quiet()
    assert shown == ["high"]
    assert office.record("Social_Conversation__c", Id=thread["Id"])["Priority__c"] == "urgent"
    assert office.conversation(number)["priority"] == "urgent"


# ---- many replies over a line that loses a third of all writes --------------------------------------------------------


def test_every_reply_reaches_its_customer_once_and_in_order_over_a_line_that_loses_a_third_of_all_writes(
    own_line: Switched,
) -> None:
    office = own_line
    threads = [office.customer(f"Guest {number}", office.phone(), "a question") for number in range(THREADS)]
    office.sync_to_quiet()
    typed = type_replies(office, threads, range(REPLIES - THREADS))
    with office.spoiling("a third of all writes", 0.3, LOST_REQUEST, LOST_ANSWER, of=is_write):
        office.sync_to_quiet(allowed=LOOKED_AT)
    met = [fault for switch in office.switches for call, fault in switch.calls if is_write(call)]
    assert min(met.count(LOST_REQUEST), met.count(LOST_ANSWER)) > REPLIES / 10
    # One more everywhere, and nothing but these: no page that is read for another reason shows what became of them.
    for thread, replies in type_replies(office, threads, range(REPLIES - THREADS, REPLIES)).items():
        typed[thread] |= replies
    sent: set[str] = set()
    with office.platform_switch.meeting(
        lambda call: LOST_ANSWER if is_send(call) and is_new(sent, call.path) else None
    ):
        office.sync_to_quiet(allowed=LOOKED_AT)
    assert len(sent) == THREADS

    for thread, replies in typed.items():
        assert office.received(thread) == list(replies.values())
    records = {row["Id"]: row for row in office.records("Social_Outbound__c")}
    assert len(records) == REPLIES
    assert {row["Status__c"] for row in records.values()} == {"Delivered"}
    told = {(row["SMM_Message_Key__c"], id_) for id_, row in records.items()}
    sends = office.sends()
    assert told == {(f"shop:{message.id}", reply.id) for reply, message in sends.items()}
    bodies = {f"{one['conversation_id']}-{one['id']}": one["content"] for one in office.dump()["message"]}
    assert all(bodies[message.id] == records[reply.id]["Body__c"] for reply, message in sends.items())
    assert office.doubles() == []
    assert office.broken_promises() == []


def is_new(seen: set[str], path: str) -> bool:
    """Whether this path is new, from now on not any more."""
    new = path not in seen
    seen.add(path)
    return new


def type_replies(office: Switched, threads: list[int], numbers: range) -> dict[int, dict[str, str]]:
    """Replies with these numbers, by turns in all conversations; every third has the text of others, as greetings have.
    Answers the texts by the id of their record, for each conversation in the order of the records."""
    rows = {row["SMM_Conversation_Key__c"]: row["Id"] for row in office.records("Social_Conversation__c")}
    typed: dict[int, dict[str, str]] = {thread: {} for thread in threads}
    for start in numbers[::200]:
        some = [number for number in numbers if start <= number < start + 200]
        texts = [(threads[one % THREADS], "Thank you!" if one % 3 == 0 else f"answer {one}") for one in some]
        records = [
            {
                "attributes": {"type": "Social_Outbound__c"},
                "Conversation__c": rows[f"shop:{thread}"],
                "Body__c": text,
                "Status__c": "Queued",
            }
            for thread, text in texts
        ]
        made = office.crm("POST", "composite/sobjects", allOrNone=True, records=records)
        for (thread, text), row in zip(texts, made, strict=True):
            typed[thread][row["id"]] = text
    return {thread: dict(sorted(replies.items())) for thread, replies in typed.items()}
