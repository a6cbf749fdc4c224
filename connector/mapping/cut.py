"""Cleaning text and cutting it to a length, as other systems count: in UTF-16 units, never through a character."""

import re
import unicodedata
from typing import Final

CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LONE_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
JOINER: Final = "\u200d"


def units(text: str) -> int:
    """The length in UTF-16 units (what Salesforce, JavaScript and Java count)."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def clean(text: str) -> str:
    """Line ends as LF, no control characters but LF and tab, no halves of surrogate pairs, no white space at the ends.

    A CRM does the same when it stores a text: what it would change is changed before, so that nothing differs after.
    """
    return holdable(text).strip()


def holdable(text: str) -> str:
    """The same but for the white space at the ends, which stays."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return LONE_SURROGATES.sub("\ufffd", CONTROLS.sub("", text))


def cut(text: str, limit: int, mark: str = "…") -> str:
    """The text in at most `limit` UTF-16 units; a cut text ends with `mark` (where the limit leaves room for it)."""
    if units(text) <= limit:
        return text
    if units(mark) >= limit:
        mark = ""
    room = limit - units(mark)
    # Half a surrogate pair at the end of the cut decodes to nothing.
    end = len(text.encode("utf-16-le", "surrogatepass")[: room * 2].decode("utf-16-le", "ignore"))
    whole = end
    while whole > 0 and _inside(text, whole):
        whole -= 1
    return text[: whole or end].rstrip() + mark


def _inside(text: str, at: int) -> bool:
    """Whether a cut at `at` would go through what a reader sees as one character."""
    if at >= len(text):
        return False
    before, after = text[at - 1], text[at]
    if (
        JOINER in (before, after)
        or unicodedata.category(after).startswith("M")
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    ):
        return True
    flags = 0
    while flags < at and "\U0001f1e6" <= text[at - 1 - flags] <= "\U0001f1ff":
        flags += 1
    return flags % 2 == 1 and "\U0001f1e6" <= after <= "\U0001f1ff"
