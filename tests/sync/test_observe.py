"""What becomes of a fact when its record is seen again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Kind, Life, Observed, Ref, Side, State
from connector.sync.observe import fold, fold_all

REF = Ref("platform", "message", "1")
PARENT = Ref("platform", "conversation", "1")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def seen(version="1", at=0, kind=Kind.MESSAGE, **fields):
    special = {name: fields.pop(name) for name in ("life", "ours", "parent", "token", "merged_into") if name in fields}
    return Observed(REF, kind, fields, version, NOON + timedelta(minutes=at), **special)


def first(side=Side.PLATFORM, **fields):
    fact = fold(None, seen(**fields), side)
    assert fact is not None
    return fact


def test_a_new_platform_message_is_open_and_dirty():
    fact = first(text="hi")
    assert (fact.state, fact.dirty, fact.edited) == (State.OPEN, True, False)


@pytest.mark.parametrize(("kind", "side"), [(Kind.PERSON, Side.PLATFORM), (Kind.MESSAGE, Side.CRM)])
def test_only_platform_messages_have_an_account(kind, side):
    assert fold(None, seen(kind=kind), side).state is None


def test_the_same_version_with_the_same_fields_is_no_news():
    assert fold(first(text="hi"), seen(text="hi"), Side.PLATFORM) is None


def test_two_edits_within_one_stamp_are_two_versions():
    fact = fold(first(text="hi"), seen(text="ho"), Side.PLATFORM)
    assert (fact.fields["text"], fact.edited, fact.dirty) == ("ho", True, True)


def test_an_older_version_is_no_news():
    newer = fold(first(text="hi"), seen("2", at=5, text="ho"), Side.PLATFORM)
    assert fold(newer, seen("1", at=0, text="hi"), Side.PLATFORM) is None


def test_an_older_stamp_with_another_life_is_news():
    fact = fold(first(text="hi", at=5), seen("1", at=0, life=Life.GONE), Side.PLATFORM)
    assert (fact.life, fact.dirty) == (Life.GONE, True)


def test_absent_fields_keep_their_value_and_null_empties_it():
    old = first(text="hi", delivery="sent", url="u")
    fact = fold(old, seen("2", at=1, text="hi", delivery=None), Side.PLATFORM)
    assert fact.fields == {"text": "hi", "delivery": None, "url": "u"}


def test_a_message_keeps_the_name_its_author_had():
    fact = fold(
        first(text="hi", author="Ann"), seen("2", at=1, text="hi", author="Ann Vos", delivery="read"), Side.PLATFORM
    )
    assert (fact.fields["author"], fact.fields["delivery"]) == ("Ann", "read")


def test_a_record_that_moved_to_another_parent_is_news_though_its_version_stayed():
    fact = fold(first(text="hi"), seen(text="hi", parent=PARENT), Side.PLATFORM)
    assert (fact.parent, fact.dirty) == (PARENT, True)


def test_a_text_that_is_seen_for_the_first_time_is_no_edit():
    """A sent reply is known before its text was read: the answer to `send` need not carry it."""
    assert not fold(first(delivery="sent"), seen("2", at=1, text="hi"), Side.PLATFORM).edited


@pytest.mark.parametrize(
    ("side", "ours", "dirty"), [(Side.CRM, None, True), (Side.CRM, False, False), (Side.PLATFORM, None, False)]
)
def test_a_moved_stamp_alone_is_planned_when_a_write_of_ours_was_not_read_yet(side, ours, dirty):
    old = replace(fold(None, seen("1", text="hi"), side), kind=Kind.PERSON, ours=ours, dirty=False)
    settled = fold(old, replace(seen("2", at=1, text="hi", ours=False), kind=Kind.PERSON), side)
    assert (settled.dirty, settled.ours) == (dirty, False)


@pytest.mark.parametrize(("ours", "dirty"), [(False, False), (None, False), (True, True)])
def test_a_moved_stamp_alone_is_planned_only_when_the_write_was_ours(ours, dirty):
    old = first(text="hi")
    settled = fold(replace(old, dirty=False), seen("2", at=1, text="hi", ours=ours), Side.PLATFORM)
    assert (settled.dirty, settled.version == old.version) == (dirty, False)


def test_a_message_deleted_on_its_network_keeps_what_it_said():
    fact = fold(
        first(text="hi", attachments=[{"url": "u"}]),
        seen("2", at=1, text="", attachments=[], deleted=True),
        Side.PLATFORM,
    )
    assert (fact.fields["text"], fact.fields["attachments"], fact.fields["deleted"]) == ("hi", [{"url": "u"}], True)
    assert not fact.edited


def test_a_gone_record_keeps_its_fields():
    fact = fold(first(text="hi"), seen("2", at=1, life=Life.GONE), Side.PLATFORM)
    assert (fact.fields, fact.life, fact.edited) == ({"text": "hi"}, Life.GONE, False)


def test_a_parent_that_the_answer_leaves_out_stays():
    fact = fold(first(text="hi", parent=PARENT), seen("2", at=1, text="ho"), Side.PLATFORM)
    assert fact.parent == PARENT


def test_a_token_once_seen_stays():
    fact = fold(first(text="hi", token="t1"), seen("2", at=1, text="ho"), Side.PLATFORM)
    assert fact.token == "t1"


def test_a_page_that_shows_a_record_twice_gives_one_fact_with_the_last_version():
    facts = fold_all({}, (seen(text="hi"), seen("2", at=1, text="ho")), Side.PLATFORM)
    assert [fact.fields["text"] for fact in facts] == ["ho"]


versions = st.lists(
    st.builds(
        lambda n, text, author: seen(
            str(n), at=n, **({"text": text} if text else {}), **({"author": author} if author else {})
        ),
        st.integers(0, 5),
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["", "x", "y"]),
    ),
    max_size=8,
)


@given(versions)
def test_an_overlapped_page_read_again_is_no_news(page):
    facts = {fact.ref: fact for fact in fold_all({}, tuple(page), Side.PLATFORM)}
    newest = max((one.changed_at for one in page), default=None)
    again = [one for one in page if one.changed_at == newest][-1:]
    assert [
        fact
        for fact in fold_all(facts, tuple(again), Side.PLATFORM)
        if fact.dirty and fact.fields != facts[fact.ref].fields
    ] == []


@given(versions, versions)
def test_the_time_of_a_fact_never_goes_back(one, two):
    fact = None
    for observation in [*one, *two]:
        after = fold(fact, observation, Side.PLATFORM) or fact
        assert fact is None or after.changed_at >= fact.changed_at
        fact = after
