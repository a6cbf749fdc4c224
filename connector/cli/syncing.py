"""`connector sync`: one run until both sides are quiet."""

import sys
import threading
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from connector.app import LeaseTaken, Plug, held_lease
from connector.cli.shared import (
    LEFT_OVER,
    OK,
    Json,
    complain,
    counted,
    errors,
    holder,
    options,
    print_json,
    refusal_data,
    say,
    table,
)
from connector.errors import ConnectorError
from connector.model import OPEN_INTENTS, IntentState, State
from connector.service.spending import Spending
from connector.service.stopping import Stopped, stop_signals, stoppable
from connector.service.turns import RUNNING
from connector.sync.engine import ALLOWED_ONCE
from connector.sync.guards import GUARDS
from connector.sync.report import Report


@dataclass
class Outcome:
    """What one connection's run came to. `error` stopped it; `report.trouble` only cut parts of it short."""

    plug: Plug
    report: Report | None = None
    error: ConnectorError | None = None
    holds_before: int = 0
    code: int = OK
    summary: dict[str, Any] = field(default_factory=dict)


def sync(
    context: typer.Context,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            help="Allow once what this guard refused. A connector that is running takes it up in its next round. "
            "May be given again.",
            metavar="CODE",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Sync until both sides are quiet, then stop.

    A connection that fails does not keep the others from running. Ctrl-C stops after the call under way; nothing is lost.
    """
    given = options(context)
    unknown = sorted(set(allow or ()) - set(GUARDS))
    if unknown:
        raise typer.BadParameter(f"there is no guard {unknown[0]}; there are {', '.join(GUARDS)}", param_hint="--allow")
    stop = threading.Event()
    outcomes: list[Outcome] = []
    with given.opened() as app, stop_signals(stop.set):
        for plug in app.chosen(given.connection):
            outcome = Outcome(plug, holds_before=len(plug.ledger.open_holds()))
            outcomes.append(outcome)
            try:
                outcome.report = _run(plug, allow or [], stop)
            except Stopped:
                raise KeyboardInterrupt from None
            except LeaseTaken as error:
                if allow:
                    plug.ledger.remember(ALLOWED_ONCE, allow)
                    taken_up = f"It takes up {', '.join(allow)} in its next round."
                    complain(ConnectorError(f"Another process works on {plug.name}.", taken_up))
                else:
                    outcome.error = error
            except ConnectorError as error:
                if given.debug:
                    raise
                outcome.error = error
            _judge(outcome)
            if not as_json:
                _show(outcome)
    if as_json:
        print_json([outcome.summary for outcome in outcomes])
    raise typer.Exit(max(outcome.code for outcome in outcomes))


def _run(plug: Plug, allow: list[str], stop: threading.Event) -> Report:
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=errors(),
        disable=not sys.stderr.isatty(),
    )
    counts: dict[str, int] = {}
    with held_lease(plug.ledger, holder()), plug.join() as joined, shown:
        task = shown.add_task(plug.name)

        def tell(what: str, count: int) -> None:
            counts[what] = counts.get(what, 0) + count
            shown.update(task, description=f"{plug.name}: " + ", ".join(f"{n} {w}" for w, n in counts.items()))

        spending = Spending(joined)
        spending.begin()
        progress = spending.limited(stoppable(stop, tell))
        report = joined.engine(progress=progress, allowed=allow, sleep=lambda s: _nap(stop, s)).sync()
        plug.ledger.solved(RUNNING)
        return report


def _nap(stop: threading.Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise Stopped


def _judge(outcome: Outcome) -> None:
    ledger = outcome.plug.ledger
    account, counts = ledger.account(), ledger.counts()
    holds = sum(counts.holds.values())
    waiting = {state.value: counts.intents[state] for state in OPEN_INTENTS if counts.intents.get(state)}
    trouble: list[ConnectorError] = list(outcome.report.trouble) if outcome.report else []
    trouble += [outcome.error] if outcome.error else []
    left = holds or waiting or account.states[State.OPEN] or ledger.count_dirty()
    outcome.code = max((one.exit_code for one in trouble), default=LEFT_OVER if left else OK)
    outcome.summary = {
        "connection": outcome.plug.name,
        "seen": account.seen,
        "account": {state.value: count for state, count in account.states.items()},
        "news": outcome.report.news if outcome.report else 0,
        "planned": outcome.report.planned if outcome.report else 0,
        "failed": outcome.report.failed if outcome.report else 0,
        "rounds": outcome.report.rounds if outcome.report else 0,
        "calls": outcome.report.calls if outcome.report else {},
        "done": counts.intents.get(IntentState.DONE, 0),
        "waiting": waiting,
        "holds": {kind.value: count for kind, count in counts.holds.items()},
        "holds_opened": max(0, holds - outcome.holds_before),
        "withheld": [refusal_data(one) for one in outcome.report.withheld] if outcome.report else [],
        "errors": [{"message": one.message, "way_out": one.way_out, "exit_code": one.exit_code} for one in trouble],
        "exit_code": outcome.code,
    }


def _show(outcome: Outcome) -> None:
    found = outcome.summary
    say(f"connection {found['connection']}", "bold")
    say(account_line(found["seen"], found["account"]))
    say(
        f"{found['news']} news, {found['planned']} writes planned, {found['failed']} attempts failed, {found['rounds']} rounds."
    )
    if found["calls"]:
        say("API calls: " + ", ".join(f"{count} {system}" for system, count in found["calls"].items()))
    table("waiting writes", ("state", "writes"), list(found["waiting"].items()))
    table("open holds (connector holds list)", ("type", "holds"), list(found["holds"].items()))
    if found["holds_opened"]:
        say(f"{counted(found['holds_opened'], 'hold')} opened by this run.")
    for error in outcome.report.trouble if outcome.report else ():
        complain(error)
    for refusal in outcome.report.withheld if outcome.report else ():
        complain(refusal)
    if outcome.error:
        complain(outcome.error)


def account_line(seen: int, account: dict[str, int]) -> str:
    """`12 seen = 10 synced + 2 filtered + 0 held + 0 erased`, and those still under way."""
    parts = " + ".join(f"{account[state]} {state}" for state in ("synced", "filtered", "held", "erased"))
    return f"{seen} messages seen = {parts}" + (f" + {account['open']} under way" if account["open"] else "")
