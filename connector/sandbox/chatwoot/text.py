"""What happens to the text of an outgoing message: Liquid when it is stored, Markdown when it goes to the network.

Source: Chatwoot 4.15.1, `app/models/concerns/liquidable.rb` and `app/services/messages/markdown_renderer_service.rb`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from liquid import Environment
from liquid.exceptions import LiquidError
from markdown_it import MarkdownIt
from markdown_it.token import Token

_LIQUID = Environment()
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")

# What surrounds a piece of text: (opening, closing) per Markdown element.
Marks = Mapping[str, tuple[str, str]]
PLAIN: Marks = {}
WHATSAPP: Marks = {"strong": ("*", "*"), "em": ("_", "_"), "s": ("~", "~"), "code": ("`", "`")}
TELEGRAM: Marks = {
    "strong": ("<strong>", "</strong>"),
    "em": ("<em>", "</em>"),
    "s": ("<del>", "</del>"),
    "code": ("<code>", "</code>"),
}
CHANNEL_MARKS: Mapping[str, Marks] = {
    "Channel::Whatsapp": WHATSAPP,
    "Channel::TwilioSms": WHATSAPP,
    "Channel::Telegram": TELEGRAM,
}


def evaluate(content: str, values: Mapping[str, Any]) -> str:
    """The content with its Liquid evaluated. Text inside backquotes is left alone; a faulty template stays as it is."""
    guarded = re.sub(r"`(.*?)`", r"{% raw %}`\1`{% endraw %}", content, flags=re.DOTALL)
    try:
        return _LIQUID.from_string(guarded).render(**values)
    except LiquidError:
        return content


def render(content: str, channel_type: str | None) -> str:
    """Markdown as the channel sends it; None as channel gives what a reader sees, without any mark."""
    marks = CHANNEL_MARKS.get(channel_type or "", PLAIN)
    return "".join(_blocks(_MARKDOWN.parse(content), marks)).strip("\n")


def _blocks(tokens: list[Token], marks: Marks) -> list[str]:
    out: list[str] = []
    lists: list[int | None] = []
    quotes = 0
    for token in tokens:
        if token.type == "bullet_list_open":
            lists.append(None)
        elif token.type == "ordered_list_open":
            lists.append(int(token.attrGet("start") or 1))
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            lists.pop()
            out.append("\n" if not lists else "")
        elif token.type == "list_item_open":
            number = lists[-1]
            out.append("  " * (len(lists) - 1) + ("- " if number is None else f"{number}. "))
            if number is not None:
                lists[-1] = number + 1
        elif token.type in ("blockquote_open", "blockquote_close"):
            quotes += 1 if token.type == "blockquote_open" else -1
        elif token.type == "inline":
            text = _inline(token.children or [], marks)
            out.append(_quoted(text, quotes) + ("\n" if lists else "\n\n"))
        elif token.type in ("fence", "code_block"):
            out.append(_quoted(_text(token.content, marks).rstrip("\n"), quotes) + "\n\n")
        elif token.type == "hr":
            out.append("---\n\n")
    return out


def _quoted(text: str, depth: int) -> str:
    return "\n".join("> " * depth + line for line in text.split("\n")) if depth else text


def _text(text: str, marks: Marks) -> str:
    return escape(text, quote=False) if marks is TELEGRAM else text


def _inline(tokens: list[Token], marks: Marks) -> str:
    out: list[str] = []
    targets: list[tuple[str, int]] = []
    for token in tokens:
        if token.type == "text":
            out.append(_text(token.content, marks))
        elif token.type in ("softbreak", "hardbreak"):
            out.append("\n")
        elif token.type == "code_inline":
            opening, closing = marks.get("code", ("", ""))
            out.append(opening + _text(token.content, marks) + closing)
        elif token.type == "link_open":
            targets.append((str(token.attrGet("href") or ""), len(out)))
        elif token.type == "link_close":
            href, start = targets.pop()
            label = "".join(out[start:])
            out[start:] = [href if label in (href, "") else f"{label} ({href})"]
        elif token.type == "image":
            out.append(str(token.attrGet("src") or ""))
        else:
            name, _, side = token.type.rpartition("_")
            out.append(marks.get(name, ("", ""))[0 if side == "open" else 1])
    return "".join(out)
