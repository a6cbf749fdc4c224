"""`connector plan`: what would be written, and the approval of a changed mapping."""

from typing import Annotated, Any

import typer

from connector.app import App, Plug, held_lease, now
from connector.cli.each import Told, each
from connector.cli.shared import (
    LEFT_OVER,
    OK,
    Json,
    counted,
    holder,
    options,
    refusal_data,
    say,
    short,
    table,
)
from connector.cli.showing import budget_line
from connector.model import Side, Value
from connector.service.budget import LIVE, Budget, budget_data
from connector.service.planning import Preview, Write, preview
from connector.service.spending import budget_of, started
from connector.service.turns import RUNNING
from connector.sync.placeholders import MARK


def plan(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="Show this many field changes; 0 shows all.", min=0)] = 50,
    approve: Annotated[
        bool, typer.Option("--approve", help="Allow the changed mapping, after showing what it would do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a sync would write, without writing it.

    Reads both systems, remembers what was read, and writes to neither. Works with a changed mapping, which sync refuses
    until it is approved. Ends with 1 when a guard would stop the sync or hold something back.
    """

    def work(_app: App, plug: Plug) -> Told:
        with held_lease(plug.ledger, holder()), plug.join() as joined:
            engine = joined.engine(progress=started(joined))
            found = preview(engine, plug.store, now())
            joined.count()
            budget = budget_of(plug, now())[0]
            if not as_json:
                _show(found, budget, limit)
            if approve and not found.approved:
                engine.approve()
                plug.ledger.solved(RUNNING)
                found.approved = True
                if not as_json:
                    say("The mapping is approved.", "bold")
        return Told(_as_json(found, budget, limit), LEFT_OVER if found.refusals else OK)

    each(options(context), work, as_json=as_json)


def _show(found: Preview, budget: Budget, limit: int) -> None:
    say(f"connection {found.connection}", "bold")
    rows = [
        (write.kind, write.target or f"new {write.object} for {write.subject}", *line)
        for write in found.writes
        for line in _lines(write)
    ]
    table("changes", ("kind", "record", "field", "before", "after", "rule", "reason"), rows[: limit or None])
    if limit and len(rows) > limit:
        say(f"{len(rows) - limit} more field changes; --limit 0 shows all.")
    table("totals", ("write", "records"), list(found.totals.items()))
    table(
        "holds that would be opened",
        ("type", "record", "question"),
        [(hold.type, hold.subject, short(hold.question, 100)) for hold in found.holds[: limit or None]],
    )
    table("filtered messages", ("filter", "messages"), found.filtered.most_common())
    table("held messages", ("reason", "messages"), found.held.most_common(limit or None))
    links, holds = counted(found.links, "link"), counted(len(found.holds), "hold")
    say(f"{counted(len(found.writes), 'write')}, {links} to existing records, {holds}.")
    forecast, used = found.forecast, found.used
    say(
        f"A sync would now use about {forecast[Side.CRM]} calls to the CRM and {forecast[Side.PLATFORM]} to the platform; "
        f"this plan took {used[Side.CRM]} and {used[Side.PLATFORM]}."
    )
    say(budget_line(budget))
    left = budget.left(LIVE)
    if left is not None and forecast[Side.CRM] > left:
        say(
            "That is more than is left: the sync would stop on the way. Raise crm_daily_share, or sync later.", "yellow"
        )
    for refusal in found.refusals:
        say(f"A guard: {refusal}", "red")
        for example in refusal.examples[: limit or None]:
            say(f"- {example}")
        if limit and len(refusal.examples) > limit:
            say(f"{len(refusal.examples) - limit} more; --limit 0 shows all.")
    if not found.approved:
        say("The mapping has changed; nothing is synced until `connector plan --approve`.", "yellow")


def _lines(write: Write) -> list[tuple[object, ...]]:
    why = "; ".join(write.why)
    if not write.changes:
        return [(f"({write.op})", "", "", "", why)]
    return [
        (one.field, short(one.before), short(_after(one.after)), one.rule, one.reason or why) for one in write.changes
    ]


def _after(value: Value) -> Value:
    """A link to a record that the same plan creates is shown by the record it will point at."""
    return f"the record of {value[MARK]}" if isinstance(value, dict) and MARK in value else value


def _as_json(found: Preview, budget: Budget, limit: int) -> dict[str, Any]:
    return {
        "approved": found.approved,
        "totals": found.totals,
        "writes": found.writes[: limit or None],
        "holds": found.holds,
        "filtered": found.filtered,
        "held": found.held,
        "links": found.links,
        "calls": {side: {"forecast": found.forecast[side], "plan": found.used[side]} for side in Side},
        "crm_budget": budget_data(budget),
        "refusals": [refusal_data(one) for one in found.refusals],
    }
