"""The transforms, as tables of single cases and as laws that hold for any input."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from connector.mapping.cut import clean, cut, units
from connector.mapping.lenses import PLAIN, Lens, Surroundings, is_blank
from connector.mapping.texts import TextToHtml, html_to_text, markdown_escape, markdown_to_text, text_to_html
from connector.mapping.transforms import TRANSFORMS, TransformError, build

AROUND = Surroundings("Europe/Amsterdam", "NL", {"anna@crm.example": "005A", "Bo@crm.example": "005B"})


def lens(transform, values=None) -> Lens:
    return build(transform, values, AROUND)


PUT = [
    ("text loses outer white space and control characters", "text", " a\x00b\r\nc ", "ab\nc"),
    ("text of white space only is blank", "text", " \n ", None),
    ("a long text is cut with the mark", {"text": {"limit": 5}}, "abcdefgh", "abcd…"),
    ("a text of exactly the limit is whole", {"text": {"limit": 5}}, "abcde", "abcde"),
    ("an emoji counts as two units", {"text": {"limit": 4}}, "ab😀😀", "ab…"),
    ("half an emoji pair is replaced", "text", "a\ud83d", "a\ufffd"),
    (
        "html keeps paragraphs and link targets",
        "html_to_text",
        "<p>Hi <b>you</b></p><p><a href='https://x.example'>here</a></p>",
        "Hi you\n\nhere (https://x.example)",
    ),
    ("html scripts are silent", "html_to_text", "a<script>alert(1)</script><!-- no -->b", "ab"),
    ("html lists become lines", "html_to_text", "<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
    ("text becomes literal html", "text_to_html", "1 < 2\n  & 3", "1 &lt; 2<br>&nbsp;&nbsp;&amp; 3"),
    (
        "markdown loses its marks",
        "markdown_to_text",
        "**bold** and [here](https://x.example)",
        "bold and here (https://x.example)",
    ),
    ("markdown lists stay lists", "markdown_to_text", "- one\n- two", "- one\n- two"),
    ("an agent becomes the CRM user", "user", "ANNA@crm.example", "005A"),
    ("an agent who is no CRM user is nobody", "user", "cy@crm.example", None),
    ("a national number gets its country", "phone", "06 12345678", "+31612345678"),
    ("another region by parameter", {"phone": {"region": "US"}}, "(415) 555-2671", "+14155552671"),
    ("what is no phone number stays as typed", "phone", "call me", "call me"),
    ("an address is lower-case", "email", "Jet@Mail.EXAMPLE ", "jet@mail.example"),
    ("what is no address is left out", "email", "jet at home", None),
    ("a handle has no @", "handle", "@Jet.B", "jet.b"),
    ("a time is UTC to the second", "datetime", "2026-01-02T03:04:05.678+0100", "2026-01-02T02:04:05Z"),
    ("a time without a zone is local", "datetime", "2026-07-01T12:00:00", "2026-07-01T10:00:00Z"),
    ("a date is the local calendar date", "date", "2026-01-01T23:30:00Z", "2026-01-02"),
    ("a date stays a date", "date", "2026-01-01", "2026-01-01"),
    ("tags are joined", "tags", ["b", "a", "a"], "a;b"),
    ("a separator inside a tag becomes a space", "tags", ["a;b"], "a b"),
    ("a whole number is an integer", "number", "12.0", 12),
    ("what is no number stays as typed", "number", "many", "many"),
    ("yes is true", "boolean", "Yes", True),
    ("what is no boolean stays as typed", "boolean", "maybe", "maybe"),
    ("a chain goes from platform to CRM", ["handle", {"text": {"limit": 3}}], "@JETBOER", "je…"),
]


@pytest.mark.parametrize(("transform", "value", "expected"), [c[1:] for c in PUT], ids=[c[0] for c in PUT])
def test_put(transform, value, expected):
    assert lens(transform).put(value) == expected


GET = [
    ("the CRM user becomes the agent's address", "user", "005B", "bo@crm.example"),
    ("an unknown CRM user is nobody", "user", "005Z", None),
    ("a formatted number becomes E.164", "phone", "(06) 123-456 78", "+31612345678"),
    ("joined tags become a set", "tags", "b; a;;b", ["a", "b"]),
    ("a Salesforce time is read", "datetime", "2026-01-02T03:04:05.000+0000", "2026-01-02T03:04:05Z"),
    ("typed Markdown is escaped", "markdown_escape", "*5* {{ name }} {% raw %}", r"\*5\* \{\{ name }} \{\% raw \%}"),
    ("an underscore inside a word stays", "markdown_escape", "snake_case _x_", r"snake_case \_x\_"),
    (
        "a list sign at the start of a line is escaped",
        "markdown_escape",
        "- a\n1. b\n# c\n-5 d",
        "\\- a\n1\\. b\n\\# c\n-5 d",
    ),
]


@pytest.mark.parametrize(("transform", "value", "expected"), [c[1:] for c in GET], ids=[c[0] for c in GET])
def test_get(transform, value, expected):
    assert lens(transform).get(value) == expected


def test_a_value_map_translates_both_ways_and_passes_what_is_not_listed():
    status = lens(None, {"open": "Working", "resolved": "Closed", "done": "Closed"})
    assert [status.put(v) for v in ("open", "done", "odd")] == ["Working", "Closed", "odd"]
    assert [status.get(v) for v in ("Working", "Closed", "odd")] == ["open", "resolved", "odd"]


def test_a_chain_leaves_what_still_says_the_same():
    both = lens(["markdown_to_text", {"text": {"limit": 9}}])
    assert both.put("**Hello**", " Hello ") == " Hello "
    assert both.put("**Hello you there**", "Hello") == "Hello yo…"


def test_a_number_that_a_crm_user_formatted_is_not_written_anew():
    assert lens("phone").put("+31612345678", "06-1234 5678") == "06-1234 5678"
    assert lens("phone").put("+31687654321", "06-1234 5678") == "+31687654321"


def test_the_mark_of_a_cut_text_names_fields_and_stays_inside_the_limit():
    text = lens({"text": {"limit": 30, "more": "… [{url}]"}}).put("x" * 99, None, {"url": "https://x.example"})
    assert text.endswith("… [https://x.example]")
    assert units(text) == 30


@pytest.mark.parametrize(
    ("transform", "message", "way_out"),
    [
        ("fone", "no transform 'fone'", "phone"),
        ({"text": {"limt": 3}}, "no parameter 'limt'", "limit"),
        ({"text": {"limit": 0}}, "text.limit", ""),
        ({"email": {"x": 1}}, "no parameter 'x'", "no parameters"),
        ({"text": {"more": "{"}}, "text.more", ""),
        ({"phone": {"region": "XX"}}, "phone.region", ""),
        ({"date": {"zone": "Mars/Base"}}, "date.zone", ""),
        ({"text": {}, "email": {}}, "one name", "item"),
    ],
)
def test_a_faulty_transform_is_refused_with_a_way_out(transform, message, way_out):
    with pytest.raises(TransformError) as refused:
        lens(transform)
    assert message in str(refused.value)
    assert way_out in refused.value.way_out


# ---------------------------------------------------------------------------------------------------------- laws

TEXTS = st.text(max_size=60) | st.text(alphabet="ab@ *_`#[](){}%<>&;\\|~+-=.1\n\t \u00a0!:", max_size=60)
TIMES = st.datetimes().map(lambda t: t.isoformat()) | st.datetimes().map(
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
)
VALUES = {
    "text": TEXTS,
    "html_to_text": TEXTS
    | st.sampled_from(["<p>a</p><br>b", "<div>a<div>b</div></div>", "&lt;b&gt;", "<pre> a\n  b</pre>"]),
    "text_to_html": TEXTS,
    "markdown_to_text": TEXTS,
    "markdown_escape": TEXTS,
    "user": st.sampled_from(["anna@crm.example", "Bo@CRM.example"]),
    "phone": TEXTS | st.from_regex(r"\+31[0-9]{9}", fullmatch=True) | st.from_regex(r"0[0-9 -]{9,12}", fullmatch=True),
    "email": TEXTS | st.emails(),
    "handle": TEXTS,
    "datetime": TIMES | TEXTS,
    "date": TIMES | TEXTS | st.dates().map(str),
    "tags": st.lists(TEXTS),
    "number": st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    "boolean": st.booleans() | TEXTS,
    "plain": TEXTS | st.booleans() | st.integers() | st.lists(TEXTS) | st.none(),
}
CHAINS = {
    "markdown, then text": (["markdown_to_text", "text"], TEXTS),
    "html, then text": (["html_to_text", {"text": {}}], TEXTS),
    "handle, then text": (["handle", "text"], TEXTS),
    "number, then text": (["number", "text"], st.integers()),
}
VALUES |= {name: values for name, (_, values) in CHAINS.items()}
EVERY = pytest.mark.parametrize("name", [*VALUES])


def by_name(name: str) -> Lens:
    return PLAIN if name == "plain" else lens(CHAINS[name][0] if name in CHAINS else name)


def test_every_transform_has_laws_to_keep():
    assert VALUES.keys() - CHAINS.keys() - {"plain"} == TRANSFORMS.keys()


@EVERY
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_what_was_put_comes_back_the_same(name, data):
    value, one = data.draw(VALUES[name]), by_name(name)
    if name == "email" and one.put(value) is None:
        return  # the declared loss: text that is no address
    assert one.same(one.get(one.put(value)), value)


@EVERY
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_nothing_is_written_when_nothing_changed(name, data):
    one = by_name(name)
    crm = data.draw(st.sampled_from(["005A", "005B"])) if name == "user" else one.put(data.draw(VALUES[name]))
    assert one.put(one.get(crm), crm) == crm


@EVERY
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_same_is_an_equivalence(name, data):
    one = by_name(name)
    a, b, c = (data.draw(VALUES[name] | st.none()) for _ in range(3))
    assert one.same(a, a)
    assert one.same(a, b) == one.same(b, a)
    assert not (one.same(a, b) and one.same(b, c)) or one.same(a, c)
    assert one.same(None, "")


@given(text=TEXTS, limit=st.integers(1, 40))
@example(text="👩‍👩‍👧‍👧x", limit=5)
@example(text="🇳🇱🇧🇪🇩🇪", limit=7)
@example(text="e\u0301" * 5, limit=4)
def test_a_cut_text_fits_and_is_a_beginning(text, limit):
    short = cut(text, limit)
    assert units(short) <= limit
    assert short == text or (text.startswith(short.removesuffix("…")))


@given(text=TEXTS)
def test_cleaning_is_done_once(text):
    assert clean(clean(text)) == clean(text)


PLAIN_RENDER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


def rendered(markdown: str) -> str:
    """The text content of the rendered HTML, paragraphs separated by a blank line."""
    html = PLAIN_RENDER.render(markdown)
    assert not re.search(r"<(?!/?p>|br)", html), f"formatted: {html}"
    text = re.sub(r"</p>\n<p>", "\n\n", html.strip()).removeprefix("<p>").removesuffix("</p>")
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return text


def as_typed(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in clean(text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines)


@given(text=TEXTS)
@settings(max_examples=400, deadline=None)
@example(text="a\n===")
@example(text="a\n- - -")
@example(text="a\n    b")
@example(text="|a|b|\n|-|-|\n|1|2|")
@example(text="a\nb|c\n-|-\n")
@example(text="&amp; &#32; &x")
@example(text="~~~\ncode\n~~~")
@example(text="\\{{ x }}")
@example(text="[a]: https://x.example")
@example(text="a  \nb\\\nc")
def test_the_customer_sees_exactly_what_was_typed(text):
    escaped = markdown_escape(text)
    assert rendered(escaped) == as_typed(text)
    assert markdown_to_text(escaped) == as_typed(text)
    assert "{{" not in escaped
    assert "{%" not in escaped


@given(value=st.none() | st.just("") | st.just([]))
def test_blank_stays_blank(value):
    for name in VALUES:
        assert is_blank(by_name(name).put(value))
        assert is_blank(by_name(name).get(value))


PAGES = st.lists(
    st.sampled_from(
        [
            "<br>",
            "&amp;",
            "&lt;",
            "&nbsp;",
            " ",
            "\n",
            "\t",
            "a",
            "b;",
            "#x27",
            "amp;",
            "\xa0",
            "\x01",
            "\x85",
            "\r",
            "<",
            "&",
            "🚲",
        ]
    ),
    max_size=12,
).map("".join)


@given(PAGES)
def test_what_was_typed_comes_back_from_html_as_its_key_says(typed: str) -> None:
    assert TextToHtml().key(typed) == html_to_text(text_to_html(typed))


@given(PAGES.filter(lambda page: re.search(r"<(?!br>)|&(?!(?:amp|lt|nbsp);)", page) is None))
def test_lines_are_read_without_a_parser_as_with_one(page: str) -> None:
    assert html_to_text(page) == html_to_text(f"{page}<i></i>")
