"""Replies that somebody types under the messages of a contact: where they belong, when they are held, and what is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import HoldType, Kind, Life, Observed, Op, Ref, Side
from connector.store.entries import ConversationStats
from connector.sync.observe import moved_to

COMMENT = {"message_type": "comment", "subtype_id": "mail.mt_comment", "author_type": "user"}


class Chat:
    """A contact with conversations, and comments typed on it."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.person = rows.person("p1")
        self.contact = rows.crm("res.partner", "9", name="Ann")
        rows.link(Kind.PERSON, self.person, self.contact, agreed=False)

    def conversation(self, id_: str, last: str = "2026-01-01T00:00:00Z", status: str = "open") -> Ref:
        ref: Ref = self.rows.conversation(self.person, id_, status=status)
        self.rows.stats[ref] = ConversationStats(1, last, last, "inbound")
        return ref

    def comment(self, id_: str = "70", text: str = "<p>Hello <b>you</b></p>", **fields: Any) -> Ref:
        ref: Ref = self.rows.put(Side.CRM, "mail.message", id_, self.contact, **COMMENT, body=text, **fields)
        return ref

    def sent(self, comment: Ref) -> list[Any]:
        return [one for one in self.rows.plan(comment).intents if one.op is Op.SEND]

    def notes(self, comment: Ref) -> list[Any]:
        return [one for one in self.rows.plan(comment).intents if one.op is Op.UPSERT]


@pytest.fixture
def chat(chatter: Callable[..., Any]) -> Chat:
    return Chat(chatter())


def test_of_open_conversations_the_one_with_the_newest_message_gets_it(chat: Chat) -> None:
    chat.conversation("old", "2026-01-01T00:00:00Z")
    newest = chat.conversation("new", "2026-01-02T00:00:00Z")
    chat.conversation("closed", "2026-01-03T00:00:00Z", status="resolved")
    (sent,) = chat.sent(chat.comment())
    assert (sent.target, sent.lane, sent.fields) == (newest, str(newest), {"text": "Hello you"})


@pytest.mark.parametrize(
    ("conversations", "why"),
    [
        ([], "no conversation"),
        ([("1", "resolved")], "no open conversation"),
        ([("1", "open"), ("1", "open")], "equally new"),
    ],
    ids=["none", "none open", "two alike"],
)
def test_what_cannot_be_told_is_held_and_told_under_the_reply(chat: Chat, conversations: Any, why: str) -> None:
    for number, (day, status) in enumerate(conversations):
        chat.conversation(f"t{number}", f"2026-01-0{day}T00:00:00Z", status)
    comment = chat.comment()
    plan = chat.rows.plan(comment)
    (hold,) = plan.holds
    assert (hold.type, hold.subject) == (HoldType.CONVERSATION, comment)
    assert why in hold.question
    assert len(hold.details["candidates"]) == len(conversations)
    (note,) = plan.intents
    assert (note.op, note.kind, note.target, note.object) == (Op.UPSERT, Kind.REPLY, None, "mail.message")
    assert note.fields["parent_id"] == comment.id
    assert (note.fields["model"], note.fields["res_id"]) == ("res.partner", "9")
    assert note.fields["subtype_id"] == "mail.mt_note"
    assert note.fields["body"].startswith("Not sent yet: ")
    assert "author_id" not in note.fields


def test_a_held_reply_is_told_once(chat: Chat) -> None:
    comment = chat.comment()
    chat.rows.hold(HoldType.CONVERSATION, comment)
    plan = chat.rows.plan(comment)
    assert (plan.intents, plan.holds) == ([], [])


def test_a_held_reply_goes_where_a_person_says(chat: Chat) -> None:
    closed = chat.conversation("t1", status="resolved")
    comment = chat.comment()
    chat.rows.hold(HoldType.CONVERSATION, comment, choice=str(closed))
    assert [one.target for one in chat.sent(comment)] == [closed]


def test_a_held_reply_that_a_person_dropped_is_not_sent_and_not_asked_about_again(chat: Chat) -> None:
    comment = chat.comment()
    chat.rows.hold(HoldType.CONVERSATION, comment, choice="drop")
    plan = chat.rows.plan(comment)
    assert (plan.intents, plan.holds) == ([], [])


def test_what_is_written_to_a_contact_without_a_platform_is_left_alone(chat: Chat) -> None:
    chat.conversation("t1")
    other = chat.rows.crm("res.partner", "10", name="Bob")
    comment = chat.rows.put(Side.CRM, "mail.message", "71", other, **COMMENT, body="<p>An offer</p>")
    plan = chat.rows.plan(comment)
    assert (plan.intents, plan.holds) == ([], [])


@pytest.mark.parametrize(
    "changed",
    [{"subtype_id": "mail.mt_note"}, {"message_type": "email"}, {"author_type": "bot"}, {"author_type": "other"}],
    ids=lambda changed: str(next(iter(changed.values()))),
)
def test_log_notes_mails_our_own_and_portal_users_are_no_replies(chat: Chat, changed: dict[str, str]) -> None:
    chat.conversation("t1")
    comment = chat.comment()
    chat.rows.edit(comment, **changed)
    assert chat.sent(comment) == []


def test_a_reply_without_text_says_so(chat: Chat) -> None:
    chat.conversation("t1")
    (note,) = chat.notes(chat.comment(text="<p><br></p>"))
    assert note.fields["body"] == "Not sent: The reply has no text."


def test_an_answer_goes_into_the_conversation_of_the_message_it_answers(chatter: Callable[..., Any]) -> None:
    chat = Chat(chatter("{answered: parent_id}"))
    old = chat.conversation("old", "2026-01-01T00:00:00Z")
    chat.conversation("new", "2026-01-02T00:00:00Z")
    message = chat.rows.message(old, "m1")
    note = chat.rows.put(Side.CRM, "mail.message", "50", chat.contact)
    chat.rows.facts[note] = replace(chat.rows.facts[note], kind=Kind.MESSAGE)
    chat.rows.link(Kind.MESSAGE, message, note, agreed=False)
    assert [one.target for one in chat.sent(chat.comment(parent_id="50"))] == [old]
    plan = chat.rows.plan(chat.comment("71", parent_id="49"))
    assert [hold.type for hold in plan.holds] == [HoldType.CONVERSATION]
    assert len(plan.holds[0].details["candidates"]) == 2


def test_the_message_that_a_reply_became_is_a_note_under_it(chat: Chat) -> None:
    thread = chat.conversation("t1")
    comment = chat.comment()
    message = chat.rows.message(thread, "m9", direction="outbound", text="Hello you", delivery="read")
    chat.rows.link(Kind.REPLY, message, comment, agreed=False)
    (note,) = chat.rows.plan(message).intents
    assert (note.kind, note.subject, note.target) == (Kind.MESSAGE, message, None)
    assert note.fields["parent_id"] == comment.id
    assert note.fields["body"] == "Read on instagram"


# -- merged, and nobody says so


HOMES = st.sampled_from(["1", "2", "3", None])


@given(st.lists(st.tuples(HOMES, st.sampled_from(Life))))
def test_a_vanished_record_moved_only_where_all_living_children_agree(children: list[tuple[str | None, Life]]) -> None:
    loser = Ref("crm", "Contact", "1")
    seen = [
        Observed(
            Ref("crm", "Task", str(n)),
            Kind.MESSAGE,
            {},
            parent=Ref("crm", "Contact", home) if home else None,
            life=life,
        )
        for n, (home, life) in enumerate(children)
    ]
    homes = {home for home, life in children if life is Life.LIVE and home not in (None, "1")}
    assert moved_to(loser, seen) == (Ref("crm", "Contact", homes.pop()) if len(homes) == 1 else None)
