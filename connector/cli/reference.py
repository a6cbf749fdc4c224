"""`docs/commands.md`, out of the commands themselves: `python -m connector.cli.reference > docs/commands.md`."""

import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from connector.cli import app
from connector.cli.shared import EXIT_CODES

HEAD = """# Commands

This page is made from the program (`python -m connector.cli.reference > docs/commands.md`); do not edit it.

    connector [options] command [options of the command]

Options that all commands share stand before the command: `connector --connection main status`.
`check`, `plan`, `sync`, `run`, `worker`, `backfill` and `audit` talk to both systems; none of the others does.
"""


def reference() -> str:
    """The whole page as Markdown."""
    root = get_command(app)
    parts = [HEAD, "## Options of all commands\n", _options(root), "## Exit codes\n", "| code | meaning |\n|---|---|"]
    parts += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    parts.append(
        "\nA connection that fails does not keep the others from their turn; the highest code of them all is given.\n"
    )
    for name, command in commands(root):
        arguments = "".join(f" {one.name.strip('_').upper()}" for one in _arguments(command))
        parts.append(f"## connector {name}{arguments}\n")
        parts.append(f"{_text(command.help)}\n")
        parts.append(_options(command))
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, in the order of the help."""
    for name, command in group.commands.items():
        whole = f"{above} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, whole)
        else:
            yield whole, command


def _options(command: Any) -> str:
    rows = []
    for one in command.params:
        if one.name == "help":
            continue
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        if one.param_type_name == "argument":
            names = f"`{one.name.strip('_').upper()}`"
        rows.append(f"| {names} | {_text(getattr(one, 'help', ''))} | {_default(one)} |")
    return "\n".join(["| option | meaning | default |", "|---|---|---|", *rows, ""]) if rows else ""


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if one.default is None or one.default is False or callable(one.default) or one.default == []:
        return ""
    if one.default is True:
        return f"`{one.opts[0]}`"
    return f"`{one.default}`"


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "argument"]


def _text(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")).strip().replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
