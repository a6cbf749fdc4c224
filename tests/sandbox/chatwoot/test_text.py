"""Liquid and Markdown of outgoing text, and the message window, as pure functions."""

from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.chatwoot.api_messages import window
from connector.sandbox.chatwoot.records import Message
from connector.sandbox.chatwoot.text import evaluate, render

PLAIN = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.text())
def test_no_text_makes_the_template_engine_or_the_renderer_fail(text: str) -> None:
    render(evaluate(text, {"contact": {"name": "x"}}), "Channel::Whatsapp")


@given(st.lists(PLAIN, min_size=1).map("\n\n".join))
def test_letters_and_numbers_in_paragraphs_arrive_unchanged_on_every_channel(text: str) -> None:
    for channel in ("Channel::Whatsapp", "Channel::Telegram", "Channel::Instagram"):
        assert render(text, channel) == text


@given(PLAIN)
def test_text_inside_backquotes_is_left_alone(name: str) -> None:
    content = "`{{ contact.name }}` {{ contact.name }}"
    assert evaluate(content, {"contact": {"name": name}}) == f"`{{{{ contact.name }}}}` {name}"


def _message(id: int, at: int) -> Message:
    return Message(id=id, conversation_id=1, inbox_id=1, created_at=at, content="", message_type=0)


ROWS = st.lists(st.integers(0, 50), max_size=150).map(lambda ats: [_message(i + 1, at) for i, at in enumerate(ats)])


@given(ROWS, st.integers(0, 160), st.integers(0, 160))
def test_a_window_holds_only_rows_within_its_cursors_and_oldest_first(
    rows: list[Message], after: int, before: int
) -> None:
    for found, low, high, most in (
        (window(rows, None, None), 0, 999, 20),
        (window(rows, None, before), 0, before - 1, 20),
        (window(rows, after, None), after + 1, 999, 100),
        (window(rows, after, before), after, before - 1, 1000),
    ):
        assert all(low <= m.id <= high for m in found)
        assert [m.created_at for m in found] == sorted(m.created_at for m in found)
        assert len(found) == min(most, sum(low <= m.id <= high for m in rows))
