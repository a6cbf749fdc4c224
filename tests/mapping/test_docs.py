"""The documents say what the code does: tables are generated, rules complete, examples load."""

import re
from pathlib import Path

import pytest

from connector.mapping.filters import passes
from connector.mapping.load import parse_mapping
from connector.mapping.model import Blank, Rule
from connector.mapping.reference import refreshed
from connector.mapping.transforms import TRANSFORMS

DOCS = Path(__file__).parents[2] / "docs"
MAPPINGS = Path(__file__).parents[2] / "mappings"
COMMENTED = re.compile(r"^( *)# (- \{.*\})$", re.MULTILINE)


def test_the_reference_is_current():
    text = (DOCS / "mapping.md").read_text()
    assert refreshed(text) == text, "write it anew: python -m connector.mapping.reference docs/mapping.md"


def test_a_document_without_marks_is_refused():
    with pytest.raises(ValueError, match="needs the marks"):
        refreshed("# nothing")


def test_every_transform_says_what_it_does_and_what_it_loses():
    for lens in TRANSFORMS.values():
        assert lens.__doc__
        assert lens.loss


def test_every_rule_and_every_blank_is_in_the_conflicts_table():
    text = (DOCS / "conflicts.md").read_text()
    for word in (*Rule, *Blank):
        assert re.search(rf"^\| `{word}`", text, re.MULTILINE), word


def test_the_examples_load(small):
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "mapping.md").read_text(), re.DOTALL)
    line, filters = blocks
    start = small.index("    - {crm: Phone")
    end = small.index("\n", start) + 1
    assert parse_mapping(small[:start] + f"    {line}" + small[end:])
    start = small.index("  filters:\n")
    end = small.index("  fields:\n", start)
    indented = "".join(f"  {row}\n" for row in filters.splitlines())
    mapping = parse_mapping(small[:start] + indented + small[end:])
    assert [rule.take for rule in mapping.messages.filters] == [False, True, False]


@pytest.mark.parametrize("file", [path.name for path in MAPPINGS.glob("*.yaml") if COMMENTED.search(path.read_text())])
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, (True, "our inboxes")),
        ({"conversation.inbox": "Billing"}, (False, "other inboxes stay out")),
        ({"conversation.inbox": None}, (False, "other inboxes stay out")),
        ({"sent_at": "2025-12-31T23:59:59Z"}, (False, "nothing before the start")),
        ({"private": True}, (False, "private notes stay out")),
    ],
)
def test_the_filters_that_stand_in_comments_do_what_they_say(file, message, expected):
    mapping = parse_mapping(COMMENTED.sub(r"\1\2", (MAPPINGS / file).read_text()))
    usual = {"id": "118-90412", "private": False, "sent_at": "2026-01-01T00:00:00Z", "conversation.inbox": "Sales"}
    assert passes(mapping.messages.filters, usual | message) == expected
