"""`connector sync`: one run until both sides are quiet."""

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from connector.app import App, LeaseTaken, Plug, held_lease
from connector.cli.each import Told, each
from connector.cli.shared import (
    LEFT_OVER,
    OK,
    Json,
    complain,
    counted,
    errors,
    holder,
    options,
    refusal_data,
    say,
    table,
)
from connector.errors import ConnectorError, Refusal
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
    report: Report = field(default_factory=Report)
    error: ConnectorError | None = None
    holds_before: int = 0

    @property
    def trouble(self) -> list[ConnectorError]:
        return [*self.report.trouble, *([self.error] if self.error else [])]


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

    def work(_app: App, plug: Plug) -> Told:
        outcome = Outcome(plug, holds_before=len(plug.ledger.open_holds()))
        try:
            outcome.report = _run(plug, allow or [], stop)
        except LeaseTaken as error:
            if allow:
                plug.ledger.remember(ALLOWED_ONCE, sorted({*allow, *(plug.ledger.recall(ALLOWED_ONCE) or ())}))
                taken_up = (
                    f"The next run is allowed {', '.join(allow)}: the connector's, if one is running, or else yours."
                )
                complain(ConnectorError(f"Another process works on {plug.name}.", taken_up))
            else:
                outcome.error = error
        except ConnectorError as error:
            if given.debug:
                raise
            if isinstance(error, Refusal):
                # A job runs this at night, and who looks at `status` in the morning shall see it.
                plug.ledger.problem(RUNNING, error.code, error.message, error.way_out)
            outcome.error = error
        told = _judged(outcome)
        if not as_json:
            _show(outcome, told.data)
        return told

    with stop_signals(stop.set):
        each(given, work, as_json=as_json)


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
        spending.admit()
        progress = spending.limited(stoppable(stop, tell))
        report = joined.engine(progress=progress, allowed=allow, sleep=lambda s: _nap(stop, s)).sync()
        plug.ledger.solved(RUNNING)
        return report


def _nap(stop: threading.Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise Stopped


def _judged(outcome: Outcome) -> Told:
    ledger, report = outcome.plug.ledger, outcome.report
    account, counts = ledger.account(), ledger.counts()
    holds = sum(counts.holds.values())
    waiting = {state.value: counts.intents[state] for state in OPEN_INTENTS if counts.intents.get(state)}
    left = holds or waiting or account.states[State.OPEN] or ledger.count_dirty()
    found = {
        "seen": account.seen,
        "account": {state.value: count for state, count in account.states.items()},
        "news": report.news,
        "planned": report.planned,
        "failed": report.failed,
        "rounds": report.rounds,
        "calls": report.calls,
        "done": counts.intents.get(IntentState.DONE, 0),
        "waiting": waiting,
        "holds": {kind.value: count for kind, count in counts.holds.items()},
        "holds_opened": max(0, holds - outcome.holds_before),
        "withheld": [refusal_data(one) for one in report.withheld],
    }
    return Told(found, LEFT_OVER if left else OK, outcome.trouble)


def _show(outcome: Outcome, found: Mapping[str, Any]) -> None:
    say(f"connection {outcome.plug.name}", "bold")
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
    for refusal in outcome.report.withheld:
        complain(refusal, outcome.plug.name)


def account_line(seen: int, account: dict[str, int]) -> str:
    """`12 seen = 10 synced + 2 filtered + 0 held + 0 erased`, and those still under way."""
    parts = " + ".join(f"{account[state]} {state}" for state in ("synced", "filtered", "held", "erased"))
    return f"{seen} messages seen = {parts}" + (f" + {account['open']} under way" if account["open"] else "")
