"""`docs/commands.md` is current, and says something about every command and every option."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from connector.cli import app
from connector.cli.reference import commands, reference
from connector.cli.shared import EXIT_CODES, clean, span

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"
COMMANDS = dict(commands(get_command(app)))


def test_the_page_is_what_the_program_says():
    assert DOCS.read_text() == reference(), "run: python -m connector.cli.reference > docs/commands.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained_and_stands_in_the_page(name):
    page = DOCS.read_text()
    command = COMMANDS[name]
    assert f"## connector {name}" in page
    assert command.help
    for one in command.params:
        assert one.help, f"{name} {one.name} has no help"
        if one.name != "help" and one.param_type_name != "argument":
            assert all(f"`{option}`" in page for option in one.opts)
    assert CliRunner().invoke(app, [*name.split(), "--help"]).exit_code == 0


def test_every_exit_code_stands_in_the_page():
    assert all(f"| {code} | {meaning} |" in DOCS.read_text() for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[2Jcleared\x07", "[2Jcleared"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
        ("left \u202eright", "left right"),
        ("żółw 😀", "żółw 😀"),
        (["a", "b"], '["a", "b"]'),
    ],
)
def test_no_value_of_a_customer_rules_the_terminal(value, shown):
    assert clean(value) == shown


@given(st.text())
def test_every_text_is_shown_as_one_printable_line(text):
    shown = clean(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_spans_are_told_in_the_largest_unit_that_fits_twice(seconds, text):
    assert span(seconds) == text
