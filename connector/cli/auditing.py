"""`connector audit`: are the promises kept?"""

import typer

from connector.app import counted_calls
from connector.cli.shared import LEFT_OVER, Json, options, print_json, say, table
from connector.service.auditing import audit_connection
from connector.sync.audit import Finding


def audit(context: typer.Context, as_json: Json = False) -> None:
    """Check the promises against both sides by reading them: nothing lost, nothing doubled, nothing orphaned.

    Writes nothing. Best run when the sync is quiet; what changes while it reads may show up. Ends with 1 on a violation.
    """
    given = options(context)
    found: dict[str, list[Finding]] = {}
    with given.opened() as app:
        for plug in app.chosen(given.connection):
            with plug.join() as joined, counted_calls(plug.ledger, joined.platform, joined.crm):
                found[plug.name] = audit_connection(joined)
    if as_json:
        print_json([{"connection": name, "promises": findings} for name, findings in found.items()])
    else:
        for name, findings in found.items():
            _show(name, findings)
    if any(one.violations for findings in found.values() for one in findings):
        raise typer.Exit(LEFT_OVER)


def _show(name: str, findings: list[Finding]) -> None:
    say(f"connection {name}", "bold")
    rows = [("kept" if not one.violations else "BROKEN", one.promise, one.checked, one.violations) for one in findings]
    table("", ("", "promise", "checked", "violations"), rows)
    for one in findings:
        for offender in one.first:
            say(f"- {offender}")
        if one.violations > len(one.first):
            say(f"- and {one.violations - len(one.first)} more")
