"""Transforms of text: length, HTML, Markdown. Pure."""

import html
import re
from collections import Counter
from collections.abc import Hashable
from itertools import islice
from typing import Annotated, ClassVar, Final
from zoneinfo import ZoneInfo

from bs4 import BeautifulSoup, ParserRejectedMarkup
from bs4.element import NavigableString, PreformattedString, Tag
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from pydantic import Field, field_validator

from connector.mapping.cut import clean, cut, holdable, units
from connector.mapping.lenses import Base, Surroundings
from connector.mapping.source import NotBoolean
from connector.mapping.template import parse_template, show
from connector.model import Fields, Value

UTC_ZONE: Final = ZoneInfo("UTC")


class Text(Base):
    """Text, cleaned as CRMs do (line ends, control characters, outer white space), cut at `limit` UTF-16 units.
    `more` is added to a cut text; it may name fields, for example `… [cut, full text: {url}]`."""

    loss: ClassVar[str] = (
        "Control characters and outer white space; everything beyond `limit`, which the text then says itself."
    )
    type: ClassVar[str] = "text"
    limit: Annotated[int | None, NotBoolean] = Field(
        None, ge=1, description="longest result, in UTF-16 units; a line break counts as two"
    )
    more: str = Field("…", description="text with {names}, put at the end of a cut text")
    _zone: ZoneInfo = UTC_ZONE

    @field_validator("more")
    @classmethod
    def _readable(cls, more: str) -> str:
        parse_template(more, UTC_ZONE)
        return more

    def settle(self, around: Surroundings) -> "Text":
        settled = self.model_copy()
        settled._zone = ZoneInfo(around.zone)
        return settled

    def to(self, value: Value, names: Fields) -> Value:
        text = clean(show(value))
        # Salesforce keeps a line break as two characters, and counts it so.
        stored = text.replace("\n", "\r\n")
        if self.limit is not None and units(stored) > self.limit:
            more = holdable(parse_template(self.more, self._zone).render(names)).replace("\n", "\r\n")
            text = cut(stored, self.limit, more).replace("\r\n", "\n")
        return text

    def back(self, value: Value) -> Value:
        return clean(show(value))

    def key(self, value: Value) -> Hashable:
        return clean(show(value))


class HtmlToText(Base):
    """The platform's text is HTML, the CRM's is plain; paragraphs, lists and links stay readable."""

    loss: ClassVar[str] = "Formatting and pictures; a link keeps its address in brackets."
    type: ClassVar[str] = "text"

    def to(self, value: Value, names: Fields) -> Value:
        return html_to_text(show(value))

    def back(self, value: Value) -> Value:
        return text_to_html(show(value))

    def key(self, value: Value) -> Hashable:
        return html_to_text(show(value))


class TextToHtml(Base):
    """The platform's text is plain, the CRM's field holds HTML; what was typed is shown literally."""

    loss: ClassVar[str] = "Tabs and no-break spaces become spaces; formatting made in the CRM does not come back."
    type: ClassVar[str] = "text"

    def to(self, value: Value, names: Fields) -> Value:
        return text_to_html(show(value))

    def back(self, value: Value) -> Value:
        return html_to_text(show(value))

    def key(self, value: Value) -> Hashable:
        """What comes back of it: `html_to_text(text_to_html(value))`, said without making and reading a page."""
        return _spaced(clean(show(value)))


class MarkdownToText(Base):
    """The platform's text is Markdown, the CRM's is plain. To the platform the text is escaped, see `markdown_escape`."""

    loss: ClassVar[str] = "Formatting; a link keeps its address in brackets. More than one blank line becomes one."
    type: ClassVar[str] = "text"

    def to(self, value: Value, names: Fields) -> Value:
        return markdown_to_text(show(value))

    def back(self, value: Value) -> Value:
        return markdown_escape(show(value))

    def key(self, value: Value) -> Hashable:
        return markdown_to_text(show(value))


class MarkdownEscape(MarkdownToText):
    """For replies: the customer sees exactly what was typed in the CRM. Markdown signs and the openers of Liquid
    templates (`{{`, `{%`) are escaped, so that neither formats, fills in or hides anything."""

    loss: ClassVar[str] = "More than one blank line becomes one; white space at line ends."


BLANKS: Final = re.compile(r"[ \t\n]+")
PARAGRAPHS: Final = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "pre", "blockquote"))
LINES: Final = frozenset(("div", "li", "tr", "section", "article", "header", "footer", "address", "dt", "dd", "hr"))
SILENT: Final = frozenset(("script", "style", "head", "title", "template"))
LINES_ALONE: Final = re.compile(r"(?:[^<&]|&(?:amp|lt|gt|nbsp);|<br>)*")
LINE: Final = "\x01"
PARAGRAPH: Final = "\x02"
MARKS: Final = re.compile(r"[\x01\x02](?:[ \x01\x02])*")
"""Blanks before a mark end a line, and go where lines are stripped."""
MOST_OPEN: Final = 1000
TAGS: Final = re.compile(r"<(/?)([A-Za-z][^\s/><]*)")
UNENDED: Final = re.compile(r"<(?=[^<>]*(?:<|\Z))")
VOID: Final = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"))


def html_to_text(value: str) -> str:
    """What a reader of the page sees. Line and paragraph boundaries are marked by control characters on the way, which
    `clean` keeps out of the input."""
    source = clean(value)
    if LINES_ALONE.fullmatch(source):
        # What `text_to_html` makes, which is most of what is read: no parser is needed for lines.
        return _settled("\n".join(BLANKS.sub(" ", html.unescape(line)) for line in source.split("<br>")))
    if _tangled(source):
        return _spaced(source)
    try:
        page = BeautifulSoup(source, "html.parser")
    except (ParserRejectedMarkup, ValueError):
        return _spaced(source)  # No parser reads it as HTML, so it is text that somebody typed.
    return _settled(_walked(page))


def _settled(text: str) -> str:
    text = MARKS.sub(lambda m: "\n\n" if PARAGRAPH in m[0] else "\n", text)
    text = "\n".join(line.strip(" ") for line in text.split("\n"))
    return _spaced(text)


def _spaced(text: str) -> str:
    """With the one kind of blank that comes back from a page."""
    return clean(text.replace("\t", " ").replace("\xa0", " "))


def _tangled(source: str) -> bool:
    """Whether so many tags are open at once that a parser would take minutes; no page that somebody wrote is like that."""
    names: Counter[str] = Counter()
    depth = deepest = 0
    for end, written in TAGS.findall(source):
        name = written.lower()
        if end and names[name]:
            names[name] -= 1
            depth -= 1
        elif not end and name not in VOID:
            names[name] += 1
            depth += 1
            deepest = max(deepest, depth)
    return deepest + len(UNENDED.findall(source)) > MOST_OPEN


def _walked(page: BeautifulSoup) -> str:
    """The texts of a page in reading order, with marks at the boundaries of lines and paragraphs."""
    out: list[str] = []
    stack: list[object] = [page]
    preserved = 0
    while stack:
        node = stack.pop()
        if isinstance(node, int):
            preserved -= node
        elif isinstance(node, str) and not isinstance(node, NavigableString):
            out.append(node)
        elif isinstance(node, NavigableString):
            if not isinstance(node, PreformattedString):
                out.append(str(node) if preserved else BLANKS.sub(" ", str(node)))
        elif isinstance(node, Tag) and node.name not in SILENT:
            before, after = _around(node)
            out.append(before)
            inside = int(node.name == "pre")
            preserved += inside
            stack += [after, inside, *reversed(node.contents)]
    return "".join(out)


def _around(tag: Tag) -> tuple[str, str]:
    """What stands before and after the content of a tag."""
    if tag.name == "br":
        return "\n", ""
    if tag.name == "a":
        href = str(tag.get("href") or "")
        extra = href.startswith(("http://", "https://")) and href.rstrip("/") != _shown(tag).rstrip("/")
        return "", f" ({href})" if extra else ""
    boundary = PARAGRAPH if tag.name in PARAGRAPHS else LINE if tag.name in LINES else ""
    return boundary + ("- " if tag.name == "li" else ""), boundary or (" " if tag.name in ("td", "th") else "")


def _shown(link: Tag) -> str:
    """How the text of a link begins; a link that shows its address has no more in it than that."""
    parts = islice(link.descendants, 50)
    texts = (part for part in parts if isinstance(part, NavigableString) and not isinstance(part, PreformattedString))
    return "".join(texts).strip()


def text_to_html(text: str) -> str:
    escaped = html.escape(clean(text).replace("\t", " ").replace("\xa0", " "), quote=False)
    return re.sub(r"(?<=[ \n]) | (?=\n)", "&nbsp;", escaped).replace("\n", "<br>")


MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


def markdown_to_text(text: str) -> str:
    """What a reader of the rendered Markdown sees, as plain text."""
    return _tidy(_blocks(SyntaxTreeNode(MARKDOWN.parse(clean(text))).children, "\n\n"))


def _tidy(text: str) -> str:
    """No white space at line ends, no two blank lines in a row: what Markdown cannot show."""
    lines = "\n".join(line.rstrip() for line in clean(text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines)


def _blocks(nodes: list[SyntaxTreeNode], gap: str) -> str:
    return gap.join(_block(node) for node in nodes)


def _block(node: SyntaxTreeNode) -> str:
    kind = node.type
    if kind in ("fence", "code_block"):
        return node.content.rstrip("\n")
    if kind == "hr":
        return "---"
    if kind in ("bullet_list", "ordered_list"):
        first = int(str(node.attrs.get("start", 1)))
        signs = ("-" if kind == "bullet_list" else f"{first + index}." for index in range(len(node.children)))
        items = (_blocks(item.children, "\n").replace("\n", "\n  ") for item in node.children)
        return "\n".join(f"{sign} {item}" for sign, item in zip(signs, items, strict=True))
    if kind == "blockquote":
        return "\n".join(f"> {line}".rstrip() for line in _blocks(node.children, "\n\n").split("\n"))
    if kind in ("thead", "tbody", "table"):
        return _blocks(node.children, "\n")
    if kind == "tr":
        return _blocks(node.children, " | ")
    return _inline(node.children)


def _inline(nodes: list[SyntaxTreeNode]) -> str:
    return "".join(_piece(node) for node in nodes)


def _piece(node: SyntaxTreeNode) -> str:
    if node.type in ("text", "code_inline", "text_special"):
        return node.content
    if node.type in ("softbreak", "hardbreak"):
        return "\n"
    if node.type == "image":
        return f"{node.content} ({node.attrs.get('src', '')})".strip()
    inner = _inline(node.children)
    if node.type == "link":
        href = str(node.attrs.get("href", ""))
        return inner if href.removeprefix("mailto:") == inner else f"{inner} ({href})"
    return inner


ALWAYS: Final = re.compile(r"[\\`*~\[\]<{%|]")
UNDERSCORES: Final = re.compile(r"(?<!_)_+(?!_)")
ENTITY: Final = re.compile(r"&(?=#?[0-9A-Za-z]+;)")
BLOCK_START: Final = re.compile(r"(?:[-+](?=\s|$)|-(?=[-\s]*$)|=(?==*\s*$)|#(?=#{0,5}(?:\s|$))|>|:(?=[-:\s]*$))")
NUMBER_START: Final = re.compile(r"(\d{1,9})([.)])(?=\s|$)")


def markdown_escape(text: str) -> str:
    """Markdown that renders as the text itself, with no Liquid opener in it.

    Signs that only count at the start of a line are escaped only there, and underscores inside a word stay, so that
    the escaped text can still be read. Leading white space becomes a character reference: Markdown would drop it.
    """
    return "\n".join(_escape_line(line) for line in _tidy(text).split("\n"))


def _escape_line(line: str) -> str:
    body = line.lstrip()
    indent = line[: len(line) - len(body)]
    start = BLOCK_START.match(body)
    number = NUMBER_START.match(body)
    body = ENTITY.sub(r"\\&", ALWAYS.sub(lambda m: "\\" + m[0], body))
    body = UNDERSCORES.sub(lambda m: m[0] if _inside_word(m) else m[0].replace("_", "\\_"), body)
    if start:
        body = "\\" + body
    elif number:
        body = f"{number[1]}\\{body[len(number[1]) :]}"
    # A reference to a control character is shown as a replacement sign; itself it stays, as Markdown takes it for no blank.
    return "".join(one if "\x7f" <= one <= "\x9f" else f"&#{ord(one)};" for one in indent) + body


def _inside_word(match: re.Match[str]) -> bool:
    text, start, end = match.string, match.start(), match.end()
    return start > 0 and end < len(text) and text[start - 1].isalnum() and text[end].isalnum()
