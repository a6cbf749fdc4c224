"""Values that wait for a parent's record."""

import pytest

from connector.model import Kind, Ref
from connector.sync.placeholders import Waiting, parents, placeholder, resolve

PERSON, TALK = Ref("platform", "person", "1"), Ref("platform", "conversation", "2")
CONTACT, LEAD, THREAD = Ref("crm", "Contact", "003"), Ref("crm", "Lead", "00Q"), Ref("crm", "Thread", "a01")


def resolved(value, **links):
    table = {(Kind.PERSON, PERSON): links.get("person"), (Kind.CONVERSATION, TALK): links.get("talk")}
    return resolve({"WhoId": value, "Subject": "hi"}, lambda kind, ref: table[kind, ref])


CASES = [
    ("a parent that has a record gives its id", placeholder(Kind.PERSON, PERSON), {"person": CONTACT}, "003"),
    (
        "a parent of the wanted object gives its id",
        placeholder(Kind.PERSON, PERSON, "Contact"),
        {"person": CONTACT},
        "003",
    ),
    ("a parent of another object gives null", placeholder(Kind.PERSON, PERSON, "Contact"), {"person": LEAD}, None),
    (
        "a conversation is linked when its person is of the wanted object",
        placeholder(Kind.CONVERSATION, TALK, None, ("Contact", PERSON)),
        {"person": CONTACT, "talk": THREAD},
        "a01",
    ),
    (
        "a conversation is not linked, and not waited for, when its person is of another object",
        placeholder(Kind.CONVERSATION, TALK, None, ("Contact", PERSON)),
        {"person": LEAD},
        None,
    ),
    ("a plain value stays", "003", {}, "003"),
    ("a mapping that is no placeholder stays", {"a": 1}, {}, {"a": 1}),
]
WAITS = [
    ("for the person", placeholder(Kind.PERSON, PERSON), {}, Waiting(Kind.PERSON, PERSON)),
    ("for the conversation", placeholder(Kind.CONVERSATION, TALK), {}, Waiting(Kind.CONVERSATION, TALK)),
    (
        "for the person on whose object it depends",
        placeholder(Kind.CONVERSATION, TALK, None, ("Contact", PERSON)),
        {"talk": THREAD},
        Waiting(Kind.PERSON, PERSON),
    ),
]


@pytest.mark.parametrize(("value", "links", "expected"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_resolving(value, links, expected):
    assert resolved(value, **links) == {"WhoId": expected, "Subject": "hi"}


@pytest.mark.parametrize(("value", "links", "missing"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS])
def test_waiting(value, links, missing):
    assert resolved(value, **links) == missing


def test_parents_are_all_that_the_placeholders_name():
    fields = {"a": placeholder(Kind.CONVERSATION, TALK, None, ("Contact", PERSON)), "b": "text"}
    assert parents(fields) == [(Kind.CONVERSATION, TALK), (Kind.PERSON, PERSON)]
