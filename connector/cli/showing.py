"""`connector status`: where every connection stands."""

from typing import Any

import typer

from connector.app import now
from connector.cli.backfilling import as_data as backfill_data
from connector.cli.backfilling import line
from connector.cli.shared import LEFT_OVER, Json, counted, options, print_json, say, short, span, table
from connector.cli.syncing import account_line
from connector.model import Decision, Outcome, stamp
from connector.service.budget import LIVE, Budget, budget_data
from connector.service.status import Status, status
from connector.store.entries import Webhooks


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show where every message is, how far both sides were read, what waits, and what is wrong.

    Asks the store only, no system. Ends with 1 when somebody should look: holds, problems, an unapproved mapping.
    """
    given = options(context)
    with given.opened() as app:
        found = [status(plug, now()) for plug in app.chosen(given.connection)]
    if as_json:
        print_json([as_data(one) for one in found])
    else:
        for one in found:
            _show(one)
    if any(one.left_over for one in found):
        raise typer.Exit(LEFT_OVER)


def as_data(found: Status) -> dict[str, Any]:
    """The JSON of one connection; field values of records appear in `conflicts` only."""
    run = found.last_run
    return {
        "connection": found.connection,
        "seen": found.seen,
        "account": {state.value: count for state, count in found.account.items()},
        "reasons": found.reasons,
        "balanced": found.balanced,
        "streams": found.streams,
        "calls_today": found.calls_today,
        "crm_budget": budget_data(found.budget),
        "history": found.history,
        "backfill": backfill_data(found.backfill, found.backfill_rests),
        "intents": {state.value: count for state, count in found.intents.items()},
        "dirty": found.dirty,
        "holds": {kind.value: count for kind, count in found.holds.items()},
        "problems": found.problems,
        "mapping_approved": found.mapping_approved,
        "last_run": run,
        "webhooks": found.webhooks,
        "conflicts": [
            {
                "field": one.row.decision.field,
                "rule": one.row.decision.rule,
                "reason": one.row.decision.reason,
                "outcome": one.row.decision.outcome,
                "winner": one.row.decision.value if one.row.decision.outcome is not Outcome.KEEP else None,
                "loser": one.row.decision.lost if one.row.decision.outcome is not Outcome.KEEP else None,
                "platform": one.row.platform,
                "crm": one.row.crm,
                "at": one.decided_at,
            }
            for one in found.conflicts
        ],
        "left_over": found.left_over,
    }


def ending(decision: Decision) -> tuple[str, str]:
    """The value that stands and the one that was dropped; where the rule kept both, nobody lost."""
    if decision.outcome is Outcome.KEEP:
        return "both stay", ""
    return short(decision.value), short(decision.lost)


def webhooks_line(found: Webhooks | None) -> str:
    if found is None:
        return "No webhooks come in; messages are found by reading."
    return f"{counted(found.lost, 'webhook')} never came, of those since {stamp(found.since)}."


def budget_line(budget: Budget) -> str:
    if budget.allowance is None:
        return f"The CRM has told no daily limit; {counted(budget.ours, 'call')} of ours in the last 24 hours."
    return (
        f"CRM calls in 24 hours: {budget.allowance} allowed, {budget.others} used by others, {budget.ours} by us, "
        f"{budget.limit} our share, {budget.left(LIVE)} left."
    )


def _show(found: Status) -> None:
    say(f"connection {found.connection}", "bold")
    say(account_line(found.seen, {state.value: count for state, count in found.account.items()}))
    table("reasons", ("account", "messages"), list(found.reasons.items()))
    table(
        "streams",
        ("side", "stream", "read until", "lag", ""),
        [
            (
                one.side,
                one.stream,
                one.read_until or "never",
                span(one.lag) if one.lag is not None else "",
                "under way" if one.under_way else "",
            )
            for one in found.streams
        ],
    )
    table("API calls today", ("system", "calls"), list(found.calls_today.items()))
    say(budget_line(found.budget))
    if found.history:
        say(f"Messages sent before {stamp(found.history)} are not taken (connector backfill brings them in).")
    if found.backfill:
        say(f"Backfill: {line(found.backfill, found.backfill_rests)}")
    table("writes", ("state", "writes"), list(found.intents.items()))
    say(f"{found.dirty} records wait to be planned.")
    say(webhooks_line(found.webhooks))
    table("open holds (connector holds list)", ("type", "holds"), list(found.holds.items()))
    table(
        "problems",
        ("what", "message", "way out", "times", "last seen"),
        [(one.scope, one.message, one.way_out, one.count, one.last_seen) for one in found.problems],
    )
    table(
        "latest conflicts",
        ("record", "field", "rule", "stands", "was dropped", "when"),
        [
            (one.row.crm or one.row.platform, d.field, d.rule, *ending(d), one.decided_at)
            for one in found.conflicts
            for d in (one.row.decision,)
        ],
    )
    if not found.mapping_approved:
        say("The mapping has changed; nothing is synced until `connector plan --approve`.", "yellow")
    if found.last_run:
        at = found.last_run.ended_at
        ended = f"ended {stamp(at)}" if at else "not ended (under way, or killed)"
        say(f"Last run: {found.last_run.kind}, begun {stamp(found.last_run.started_at)}, {ended}.")
    else:
        say("Never run.")
