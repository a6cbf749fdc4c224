"""References, templates and transforms over hostile texts: within the field's length, and never an exception."""

import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hostile import fuzz, scalars, texts
from hypothesis import assume, example, given
from hypothesis import strategies as st

from connector.mapping.cut import clean, cut, units
from connector.mapping.lenses import Surroundings
from connector.mapping.template import TemplateError, parse_template, show
from connector.mapping.texts import MOST_OPEN, Text, html_to_text, markdown_escape, markdown_to_text, text_to_html
from connector.mapping.transforms import TRANSFORMS, build
from connector.model import Ref

ZONES = ("UTC", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati")
TIMES = (
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00+23:59",
    "2026-W01-1", "2026-01-01", "20260101T000000", "2026-01-01T24:00:00Z", "2026-13-01T00:00:00Z", "-001-01-01T00:00:00",
)  # fmt: skip

values = st.one_of(
    texts,
    scalars,
    st.sampled_from(TIMES),
    st.lists(st.one_of(texts, st.none(), st.integers(), st.dictionaries(texts, texts, max_size=2)), max_size=4),
    st.dictionaries(texts, texts, max_size=2),
)  # fmt: skip


# ---- references --------------------------------------------------------------------------------------------------------


@fuzz(80)
@given(
    texts.filter(lambda text: text and ":" not in text),
    texts.filter(lambda text: text and ":" not in text),
    texts.filter(bool),
)
@example("chatwoot", "identity", "telegram:1:2")
@example("chatwoot", "person", "\n")
def test_a_ref_reads_back_from_its_text(system: str, object_: str, id_: str) -> None:
    assert Ref.parse(str(Ref(system, object_, id_))) == Ref(system, object_, id_)


@fuzz(80)
@given(st.one_of(texts, st.lists(texts, max_size=4).map(":".join)))
@example("a::b")
@example("::")
@example("a:b:")
def test_a_text_is_a_ref_that_is_written_like_it_or_refused_with_an_example(text: str) -> None:
    try:
        assert str(Ref.parse(text)) == text
    except ValueError as error:
        assert "write system:object:id" in str(error)  # noqa: PT017
        assert text.count(":") < 2 or "" in text.split(":", 2)


# ---- templates ---------------------------------------------------------------------------------------------------------

forms = st.sampled_from(["", ":time", ":date", ":1", ":20", ":255", ":999999"])


@fuzz(80)
@given(
    st.lists(st.one_of(st.tuples(st.sampled_from("abc"), forms), texts), max_size=6),
    st.fixed_dictionaries(dict.fromkeys("abc", values)),
    st.sampled_from(ZONES),
)
@example([("a", ":time")], {"a": TIMES[0], "b": "", "c": ""}, "America/New_York")
@example([("a", ":date")], {"a": TIMES[2], "b": "", "c": ""}, "Asia/Tokyo")
@example([("a", "")], {"a": "{b}{b:time}", "b": "{c}", "c": ""}, "UTC")
def test_a_template_shows_values_as_they_are_and_reads_nothing_in_them(
    parts: list[str | tuple[str, str]], names: dict[str, Any], zone: str
) -> None:
    written, shown = "", ""
    for part in parts:
        if isinstance(part, str):
            written += part.replace("{", "{{").replace("}", "}}")
            shown += part
        else:
            written += f"{{{part[0]}{part[1]}}}"
            shown += parse_template(f"{{{part[0]}{part[1]}}}", ZoneInfo(zone)).render(names)
            if part[1][1:].isdigit():
                piece = parse_template(f"{{{part[0]}{part[1]}}}", ZoneInfo(zone)).render(names)
                assert units(piece) <= int(part[1][1:])
                assert len(piece.splitlines()) <= 1
            elif not part[1]:
                assert shown.endswith(show(names[part[0]]))
    assert parse_template(written, ZoneInfo(zone)).render(names) == shown


@fuzz(80)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["{", "}", "{{", "}}", "{a}", ":", "{a:", "0", "9" * 9, "{a.__class__}", "{a!r}", "{a[0]}", "{0}", "{}"]
            ),
            texts,
        ),
        max_size=6,
    ).map("".join)
)
@example("{a.__class__.__mro__}")
def test_a_template_that_is_none_says_where_and_one_that_is_renders(text: str) -> None:
    try:
        template = parse_template(text, ZoneInfo("UTC"))
    except TemplateError as error:
        assert re.search("lone|names nothing|after the colon", str(error))  # noqa: PT017
        return
    assert all(
        part == "" or isinstance(part, str)
        for part in [template.render({}), template.render(dict.fromkeys(template.names, "x"))]
    )
    assert template.render({"a": object()}).count("<class") == 0


# ---- lengths -----------------------------------------------------------------------------------------------------------

LENGTHY = st.one_of(
    texts, st.lists(texts, min_size=1, max_size=3).map(lambda parts: "".join(parts) * 30), st.text(max_size=300)
)


@fuzz(120)
@given(
    LENGTHY,
    st.integers(1, 300),
    st.sampled_from(["…", "", "\n[cut]", " … {url}", "{author}: {url}", "{url}{url}{url}"]),
    texts,
    texts,
)
@example("x" * 50, 20, "\n\n[cut]", "", "")
@example("x" * 50, 20, "{author}", "a\nb\nc", "")
@example("x" * 50, 20, "{author}", "\ud800\x00", "")
@example("x\ny\n" * 50, 21, "…", "", "")
def test_a_text_fits_its_field_as_salesforce_counts_it(text: str, limit: int, more: str, author: str, url: str) -> None:
    lens = Text(limit=limit, more=more).settle(Surroundings())
    made = lens.put(text, None, {"author": author, "url": url})
    if made is None:
        # Nothing was there, or not even its first character fits.
        assert units(clean(text)[:1]) > limit or not clean(text)
        return
    assert units(made.replace("\n", "\r\n")) <= limit
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", made)
    assert lens.same(made, lens.get(made))


@fuzz(80)
@given(LENGTHY, st.integers(1, 60), texts)
def test_a_cut_text_is_the_beginning_of_the_text_and_its_mark(text: str, limit: int, mark: str) -> None:
    made = cut(text, limit, mark)
    assert units(made) <= limit
    if made != text:
        kept = made.removesuffix(mark) if mark and units(mark) < limit else made
        assert text.startswith(kept)


# ---- transforms --------------------------------------------------------------------------------------------------------


@fuzz(120)
@given(st.sampled_from(sorted(TRANSFORMS)), values, values, st.sampled_from(ZONES))
@example("html_to_text", "&#" + "9" * 5000 + ";", "<i>&#" + "9" * 5000, "UTC")
@example("html_to_text", "<![x", "<!DOCTYPE", "UTC")
@example("datetime", TIMES[0], TIMES[2], "Pacific/Kiritimati")
def test_a_transform_takes_any_value_both_ways(name: str, value: Any, other: Any, zone: str) -> None:
    lens = build(name, None, Surroundings(zone=zone, region="NL", users={"a@b.example": "005"}))
    made = lens.put(value, None, {})
    lens.get(made)
    lens.get(value)
    lens.put(value, other, {})
    assert lens.same(value, value)
    assert lens.same(value, other) is lens.same(other, value)


@pytest.mark.parametrize(
    "piece",
    ["<b>x", "<a href='http://a.example'>x", "<!--", "<a ", "<a x='", "<?", "</b", "<font><a>", "<li>x</ul>", "<pre> "],
)
def test_html_of_tags_without_end_is_shown_as_it_was_typed(piece: str) -> None:
    """A parser would take minutes for it. A few of them are a page that somebody wrote carelessly, and read."""
    source = clean(piece * (MOST_OPEN + 1))
    assert html_to_text(source) == source
    assert html_to_text(piece * 20) != source


HTML = st.lists(
    st.one_of(
        st.sampled_from(["<b>", "</b>", "<p>", "</p>", "<br>", "<pre>", "</pre>", "<a href='http://a.example'>", "</a>", "<ul><li>", "</ul>", "<td>", "<!-- x -->", "<![x", "  ", "\n", "&nbsp;", "&#0;", "<script>", "</script>"]),
        texts,
    ),
    max_size=20,
).map("".join)  # fmt: skip


@fuzz(80)
@given(HTML)
@example("<pre>  a  b  \n  c</pre>  d")
@example("<pre>a\tb</pre>")
@example("<![x\xa0<b>")
@example("<a href='http://a.example'><b><!-- http -->http://a.example</b></a>")
def test_html_becomes_a_clean_text_and_stays_it(source: str) -> None:
    text = html_to_text(source)
    assert text == clean(text)
    assert html_to_text(text_to_html(text)) == text


@fuzz(80)
@given(texts)
@example("{{ 7 | times: 7 }} {% raw %}")
@example("&#" + "9" * 5000 + ";")
def test_an_escaped_reply_shows_what_was_typed_and_holds_no_liquid(text: str) -> None:
    escaped = markdown_escape(text)
    assert "{{" not in escaped
    assert "{%" not in escaped
    lines = [line.strip() for line in clean(text).split("\n")]
    assume(not any(one in text for one in ("\u2028", "\x85", "\xa0")))
    assert [line.strip() for line in markdown_to_text(escaped).split("\n") if line.strip()] == [
        line for line in lines if line
    ]
