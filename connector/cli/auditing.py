"""`connector audit`: where every message is, and whether the promises are kept."""

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from connector.app import App, Plug, held_lease
from connector.cli.each import Told, each
from connector.cli.shared import LEFT_OVER, OK, Json, counted, holder, options, say, table
from connector.cli.showing import webhooks_line
from connector.model import State
from connector.service.auditing import Audit, whole_audit
from connector.service.mending import Mender
from connector.service.spending import started
from connector.sync.account import Account, By, Line, states_shown

STATES = ("synced", "filtered", "held", "erased", "still open")


def audit(
    context: typer.Context,
    by: Annotated[
        By, typer.Option("--by", help="Tell the account by inbox, by day, or by rule and reason.")
    ] = By.INBOX,
    repair: Annotated[
        bool, typer.Option("--repair", help="Hand what is broken back to the next sync, as far as it can mend it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Account for every message, and check the promises against both sides by reading them: nothing lost, nothing doubled,
    nothing orphaned, nothing drifted apart.

    Writes to neither side. Best run when the sync is quiet; what changes while it reads may show up. Ends with 1 on a
    violation. With --repair it has the connection to itself, as sync does, and ends with 1 when something remains that only
    a person can put right; sync, then audit again.
    """

    def work(_app: App, plug: Plug) -> Told:
        found = _audit(plug, repair=repair)
        if not as_json:
            _show(found, by, repair=repair)
        return Told(as_data(found), LEFT_OVER if found.remaining else OK)

    each(options(context), work, as_json=as_json)


def _audit(plug: Plug, *, repair: bool) -> Audit:
    with ExitStack() as stack:
        if repair:
            stack.enter_context(held_lease(plug.ledger, holder()))
        joined = stack.enter_context(plug.join())
        progress = started(joined)
        if not repair:
            return whole_audit(joined, progress=progress)
        engine = joined.engine(progress=progress)
        engine.prepare()
        return whole_audit(joined, Mender(engine), progress)


def as_data(found: Audit) -> dict[str, Any]:
    """The JSON of one connection: the account in all its parts, and the promises."""
    told = found.account
    return {
        "account": {
            **_numbers(told.total),
            "by_inbox": [{"inbox": line.inbox, **_numbers(line)} for line in told.by_inbox()],
            "by_day": [{"day": line.day, "inbox": line.inbox, **_numbers(line)} for line in told.by_day()],
            "by_rule": [
                {"inbox": inbox, "state": state, "rule": rule, "messages": count}
                for inbox, state, rule, count in told.by_rule()
            ],
        },
        "webhooks": found.webhooks,
        "promises": found.promises,
    }


def _numbers(line: Line) -> dict[str, int]:
    return {"seen": line.seen, **{state.value: line.states[state] for state in State}}


def _show(found: Audit, by: By, *, repair: bool) -> None:
    say(f"connection {found.connection}", "bold")
    _show_account(found.account, by)
    say(webhooks_line(found.webhooks))
    say()
    rows = [
        ("kept" if not one.violations else "BROKEN", one.promise, one.checked, one.violations)
        + ((one.handed_back, one.remaining) if repair else ())
        for one in found.promises
    ]
    table("", ("", "promise", "checked", "violations") + (("handed back", "for a person") if repair else ()), rows)
    for one in found.promises:
        shown, count = (one.left, one.remaining) if repair else (one.first, one.violations)
        for offender in shown:
            say(f"- {offender}")
        if count > len(shown):
            say(f"- and {count - len(shown)} more")
        if one.waiting:
            say(f"{counted(one.waiting, 'message')} came after the last read; the next sync brings them.")
    if repair and found.remaining < found.violations:
        say("The next sync mends what was handed back; audit again after it.")


def _show_account(told: Account, by: By) -> None:
    match by:
        case By.INBOX:
            lines = [(line.inbox, line.seen, *states_shown(line)) for line in (*told.by_inbox(), told.total)]
            table("account by inbox", ("inbox", "seen", *STATES), lines)
        case By.DAY:
            days = [(line.day, line.inbox, line.seen, *states_shown(line)) for line in told.by_day()]
            table("account by day (UTC)", ("day", "inbox", "seen", *STATES), days)
        case By.RULE:
            table("account by rule", ("inbox", "account", "rule or reason", "messages"), told.by_rule())
