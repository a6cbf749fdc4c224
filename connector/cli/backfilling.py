"""`connector backfill`: older messages for a connection that began without its whole past."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from connector.app import App, LeaseTaken, Plug, held_lease, now
from connector.cli.each import Told, each
from connector.cli.shared import LEFT_OVER, OK, Json, counted, errors, holder, options, say, span
from connector.model import Side
from connector.service import backfilling
from connector.service.backfilling import Standing, resting, told
from connector.service.budget import Pause
from connector.service.spending import Spending, budget_of
from connector.service.stopping import Stopped, stop_signals, stoppable

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No network that a platform is connected with has messages from the last century."""


def _day(text: str) -> datetime:
    """The beginning of a day, UTC."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write it like {now():%Y-%m-%d}") from None


def backfill(
    context: typer.Context,
    since: Annotated[
        datetime | None,
        typer.Option("--since", parser=_day, help="Bring in what was sent from this day on (UTC).", metavar="DATE"),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--until",
            parser=_day,
            help="And before this day. Default: where the history begins now.",
            metavar="DATE",
        ),
    ] = None,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="Begin with the oldest month. Default: with the newest.")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Let it rest, also in a connector that is running.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let a connector that is running go on with it.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Give it up; what is in stays in.")] = False,
    as_json: Json = False,
) -> None:
    """Bring older messages into the CRM, behind all live traffic; without options, show how far it is.

    The newest month comes first. Ctrl-C pauses it, and the same command goes on. While a connector is running it is handed to
    that one, which reads a piece of the past whenever nothing else is to do. It stops before it uses up half of the
    connector's share of the CRM's daily calls. As they come back a running connector goes on by itself; without one, give the
    same command again. Ends with 1 while something is left to bring in.
    """
    given = options(context)
    if sum((since is not None, pause, resume, stop)) > 1:
        raise typer.BadParameter("give one of --since, --pause, --resume and --stop")
    if since is None and (until or oldest_first):
        raise typer.BadParameter("is wanted with --until and --oldest-first", param_hint="--since")
    if since and since < EARLIEST:
        raise typer.BadParameter(f"lies before {EARLIEST:%Y-%m-%d}; no message can be as old", param_hint="--since")
    if since and since > now():
        raise typer.BadParameter("lies in the future", param_hint="--since")
    if since and until and until <= since:
        raise typer.BadParameter("is not later than --since", param_hint="--until")

    def work(app: App, plug: Plug) -> Told:
        if not as_json:
            say(f"connection {plug.name}", "bold")
        if since:
            every = plug.intervals(app.config.schedule)
            found = _bring_in(plug, every, since, until, oldest_first=oldest_first)
            nothing = f"Nothing to bring in: what was sent since {since:%Y-%m-%d} is in already, or comes with the live traffic."
        elif pause or resume:
            found = backfilling.pause(plug.ledger, paused=pause)
            nothing = f"Nothing to {'pause' if pause else 'resume'}: no backfill is under way."
        elif stop:
            found = backfilling.stop(plug.ledger)
            nothing = "Nothing to give up: no backfill is under way."
        else:
            found = backfilling.standing(plug.ledger)
            nothing = "No backfill was asked for."
        rest = resting(found, budget_of(plug, now())[0], now())
        if not as_json:
            say(nothing if found is None else "Given up; what is in stays in." if stop else line(found, rest))
        waiting = found.waiting if found else 0
        left = found and (waiting or not found.done) and not stop
        return Told({"backfill": as_data(found, rest), "waiting": waiting}, LEFT_OVER if left else OK)

    each(given, work, as_json=as_json)


def _bring_in(
    plug: Plug,
    every: Mapping[tuple[Side, str], timedelta],
    since: datetime,
    until: datetime | None,
    *,
    oldest_first: bool,
) -> Standing | None:
    """Does it here, or hands it to the process that works on the connection."""
    stop = threading.Event()

    def ask() -> Standing | None:
        return backfilling.ask(plug.ledger, since, until, oldest_first=oldest_first)

    try:
        with stop_signals(stop.set), held_lease(plug.ledger, holder()), plug.join() as joined:
            # Before its first use a connection does not know where its history begins; afterwards nobody has to be called.
            used = plug.ledger.pins() is not None
            found = ask() if used else None
            if used and (found is None or (found.done and not backfilling.waiting(plug.ledger))):
                return found
            spending = Spending(joined)
            spending.begin()
            spending.check()
            nap = partial(_nap, stop)
            engine = joined.engine(progress=spending.limited(stoppable(stop)), sleep=nap)
            engine.prepare()
            if not used and ask() is None:
                return None
            with _shown(plug.name) as tell:
                return backfilling.bring_in(engine, spending, every, now, tell, nap)
    except Stopped:
        # A connector that starts later must not go on with what somebody has just stopped.
        backfilling.pause(plug.ledger, paused=True)
        errors().print("Paused. The same command goes on with it; so does a running connector after --resume.")
        raise
    except LeaseTaken:
        found = ask()
        if found and not found.done:
            errors().print(f"Another process works on {plug.name}; it reads a piece whenever nothing else is to do.")
        return found


def _nap(stop: threading.Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise Stopped


@contextmanager
def _shown(name: str) -> Iterator[Callable[[Standing], None]]:
    """A bar on a terminal, a line per piece elsewhere."""
    if not sys.stderr.isatty():
        yield lambda found: errors().print(f"{name}: {line(found)}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rest]}"))
    with Progress(*columns, console=errors()) as bar:
        task = bar.add_task(name, total=1.0, rest="")
        yield lambda found: bar.update(task, completed=found.part, rest=pace(found))


def line(found: Standing, rest: Pause | None = None) -> str:
    """Where a backfill stands, in one line. `rest` is why the CRM's daily calls want a pause."""
    if found.waiting:
        waits, them = ("write waits", "it") if found.waiting == 1 else ("writes wait", "them")
        goes_on = f"the same command goes on with {them}"
        return f"All is read of what was sent {told(found.asked)}, but {found.waiting} {waits}; {goes_on}."
    if found.done:
        return f"All is in of what was sent {told(found.asked)}: {counted(found.messages, 'message')}."
    edge = "up to" if found.asked.oldest_first else "back to"
    text = f"{found.part:.0%} of what was sent {told(found.asked)}, {edge} {found.reached:%Y-%m-%d}; {pace(found)}."
    if found.paused:
        return f"{text} Paused; --resume lets it go on."
    if rest:
        goes_on = f"it may go on at {rest.until:%Y-%m-%d %H:%M} UTC (a running connector does by itself)"
        return f"{text} It rests: {rest.why}, for a backfill; {goes_on}."
    return text


def pace(found: Standing) -> str:
    """`1204 messages, 310 a minute, about 12 min left`."""
    parts = [counted(found.messages, "message")]
    if found.per_minute is not None:
        parts.append(f"{found.per_minute:.0f} a minute")
    if found.seconds_left is not None and not found.done:
        parts.append(f"about {span(found.seconds_left)} left")
    return ", ".join(parts)


def as_data(found: Standing | None, rest: Pause | None = None) -> dict[str, Any] | None:
    """The JSON of a backfill; None where there is none."""
    if found is None:
        return None
    return {
        **found.asked.data(),
        "reached": found.reached,
        "part": found.part,
        "messages": found.messages,
        "per_minute": found.per_minute,
        "seconds_left": found.seconds_left,
        "paused": found.paused,
        "done": found.done,
        "rests": rest,
    }
