"""`connector explain`: the story of one record."""

from typing import Annotated, Any

import typer

from connector.cli.shared import Json, clean, options, print_json, say, short, table
from connector.cli.showing import ending
from connector.model import Decision, Fact
from connector.service.explaining import Explanation, find
from connector.service.explaining import explain as explain_ref


def explain(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="system:object:id, object:id, or an id alone where it is unambiguous.")],
    as_json: Json = False,
) -> None:
    """Explain one record of either side: what it is linked with and why, its account, and every decision and write.

    Asks the store only, no system.
    """
    given = options(context)
    with given.opened() as app:
        plug, found = find(app.chosen(given.connection), ref)
        story = explain_ref(plug, found)
    if as_json:
        print_json({"connection": plug.name, **as_data(story)})
    else:
        _show(story)


def as_data(story: Explanation) -> dict[str, Any]:
    fact = story.fact
    return {
        "ref": story.ref,
        "kind": fact.kind if fact else None,
        "life": fact.life if fact else None,
        "changed_at": fact.changed_at if fact else None,
        "by": fact.by if fact else None,
        "state": fact.state if fact else None,
        "reason": fact.reason if fact else None,
        "dirty": fact.dirty if fact else None,
        "fields": fact.fields if fact else {},
        "links": story.links,
        "decisions": [
            {
                "at": one.decided.decided_at,
                "field": one.decided.row.decision.field,
                "where": one.where,
                "outcome": one.decided.row.decision.outcome,
                "rule": one.decided.row.decision.rule,
                "reason": one.decided.row.decision.reason,
                "value": one.decided.row.decision.value,
                "lost": one.decided.row.decision.lost,
                "conflict": one.decided.row.decision.conflict,
                "source": one.decided.row.source,
                "intent": one.decided.intent,
            }
            for one in story.decisions
        ],
        "intents": [
            {
                "id": one.id,
                "op": one.action.op,
                "side": one.action.side,
                "state": one.state,
                "target": one.action.target,
                "fields": one.action.fields,
                "why": one.action.why,
                "attempts": one.attempts,
                "tried_at": one.tried_at,
                "not_before": one.not_before,
                "error": one.error,
                "planned_at": one.planned_at,
                "ended_at": one.ended_at,
            }
            for one in story.intents
        ],
        "holds": story.holds,
        "above": [as_data(one) for one in story.above],
    }


def _values(decision: Decision) -> tuple[str, str]:
    return ending(decision) if decision.conflict else (short(decision.value), short(decision.lost))


def _show(story: Explanation) -> None:
    say(str(story.ref), "bold")
    if story.fact:
        say(_standing(story.fact))
        table("shows", ("field", "value"), [(name, short(value, 120)) for name, value in story.fact.fields.items()])
    table(
        "links",
        ("platform", "crm", "since", "why", "ended", "because"),
        [(one.platform, one.crm, one.made_at, "; ".join(one.why), one.ended_at, one.ended) for one in story.links],
    )
    table(
        "decisions",
        ("when", "field", "mapping line", "outcome", "rule", "reason", "value", "lost"),
        [
            (one.decided.decided_at, d.field, one.where, d.outcome, d.rule, d.reason, *_values(d))
            for one in story.decisions
            for d in (one.decided.row.decision,)
        ],
    )
    table(
        "writes",
        ("id", "planned", "what", "target", "state", "attempts", "tried", "over", "error"),
        [
            (
                one.id,
                one.planned_at,
                f"{one.action.op} {one.action.side}",
                one.action.target or f"new {one.action.object}",
                one.state,
                one.attempts,
                one.tried_at,
                one.ended_at,
                one.error,
            )
            for one in story.intents
        ],
    )
    table(
        "holds",
        ("id", "type", "question", "choice", "by", "why"),
        [(one.id, one.type, one.question, one.choice or "open", one.by, one.why) for one in story.holds],
    )
    for parent in story.above:
        links = ", ".join(f"{one.crm}" for one in parent.links if one.active) or "not linked"
        holds = "".join(f", hold {one.id}: {one.question}" for one in parent.holds if one.choice is None)
        say(f"below {parent.ref}: {links}{holds}")


def _standing(fact: Fact) -> str:
    account = f", account {fact.state} ({fact.reason})" if fact.state else ""
    waits = ", waits to be planned" if fact.dirty else ""
    changed = f"changed {clean(fact.changed_at) or 'at an unknown time'}" + (f" by {fact.by}" if fact.by else "")
    return f"{fact.kind} on the {fact.side} side, {fact.life}, {changed}{account}{waits}"
