"""An escaped reply, sent through the platform's own Liquid and Markdown, arrives on each network as it was typed."""

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.mapping.texts import markdown_escape, markdown_to_text
from connector.sandbox.chatwoot.text import evaluate, render

TYPED = st.text(max_size=60) | st.text(alphabet="ab *_`#[](){}%<>&;\\|~+-=.1\n\t \u00a0!:", max_size=60)
CHANNELS = [None, "Channel::Whatsapp", "Channel::Telegram"]


@pytest.mark.parametrize("channel", CHANNELS)
@given(text=TYPED)
@settings(max_examples=150, deadline=None)
def test_a_reply_arrives_as_it_was_typed(channel, text):
    escaped = markdown_escape(text)
    sent = render(evaluate(escaped, {"contact": {"name": "Jet"}}), channel)
    # Telegram takes HTML, and shows the characters that its references stand for.
    shown = html.unescape(sent) if channel == "Channel::Telegram" else sent
    assert shown.strip("\n") == markdown_to_text(escaped)
