"""What the demo prints. Tables are drawn from what the CRM and the connector's store answer, never from the script."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from connector.app import Plug
from connector.model import HoldType, Outcome, Ref, State
from connector.sandbox.demo.crm import Crm, Table
from connector.sandbox.demo.stage import Run

WIDTH = 118
"""Columns where no terminal says how many there are."""
STATES = (State.SYNCED, State.FILTERED, State.HELD, State.ERASED)


class Pages:
    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False)
        if console is None and not self._console.is_terminal:
            self._console.width = WIDTH

    def say(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def step(self, text: str, *lines: str) -> None:
        self.say()
        self.say(text, "bold")
        for line in lines:
            self.say(f"  - {line}")

    def run(self, run: Run) -> None:
        report = run.report
        self.say(
            f"  {report.news} news read, {report.written} writes carried out, {report.failed} failed,"
            f" {run.crm_calls} CRM calls, rounds: {report.rounds}"
        )

    def account(self, total: Mapping[State, int], networks: Mapping[str, Counter[State]]) -> None:
        self.table(
            Table(
                "The account: every message the platform has shown is in exactly one state",
                ("", "seen", "=", *[cell for state in STATES for cell in (state.value, "+")][:-1]),
                [_account_row(name, networks[name]) for name in sorted(networks)] + [_account_row("all", total)],
            )
        )

    def conflicts(self, plug: Plug, crm: Crm) -> None:
        """Fields that both sides had changed."""
        rows: list[tuple[object, ...]] = []
        for one in plug.ledger.conflicts(10):
            decision = one.row.decision
            kept = decision.outcome is Outcome.KEEP
            stands, lost = ("both values", "") if kept else (decision.value, decision.lost)
            field = decision.field.partition("~")[0]
            name = crm.name_of(one.row.crm) if one.row.crm else ""
            rows.append((name, field, decision.rule, stands, lost, decision.reason))
        self.table(
            Table(
                "Both sides had a value of their own: what was decided, by which rule",
                ("record", "field", "rule", "stands", "lost", "why"),
                rows,
            )
        )

    def holds(self, plug: Plug, crm: Crm) -> None:
        rows: list[tuple[object, ...]] = []
        for hold in plug.ledger.open_holds(type=HoldType.IDENTITY):
            for candidate in hold.details["candidates"]:
                found = Ref.parse(candidate["ref"])
                rows.append(
                    (
                        hold.id,
                        hold.question,
                        crm.name_of(found),
                        found.id,
                        candidate["points"],
                        ", ".join(candidate["reasons"]),
                    )
                )
        self.table(
            Table(
                "A person has to decide (connector holds settle): the messages wait, nothing is guessed",
                ("hold", "question", "candidate", "id", "points", "because"),
                rows,
            )
        )

    def spent(self, runs: Sequence[Run], batch: int) -> None:
        """The last run is one without news."""
        calls, records = sum(run.crm_calls for run in runs), sum(run.crm_records for run in runs)
        self.step(f"CRM calls: {calls} in {len(runs)} runs, for {records} records written there.")
        self.say(
            f"  That is {1000 * calls / max(records, 1):.0f} per 1,000 records, of so few: a run without news took"
            f" {runs[-1].crm_calls}, and one call can write {batch:,} records."
        )

    def verdict(self, arrived: Sequence[str], missing: Sequence[str], seconds: float) -> None:
        self.step("Asked both systems themselves:")
        for line in arrived:
            self.say(f"  ok       {line}", "green")
        for line in missing:
            self.say(f"  MISSING  {line}", "bold red")
        self.say()
        total = len(arrived) + len(missing)
        if missing:
            self.say(f"{len(missing)} of {total} did not arrive, after {seconds:.0f} seconds.", "bold red")
        else:
            self.say(f"Everything arrived ({total} of {total}), after {seconds:.0f} seconds.", "bold green")

    def table(self, told: Table) -> None:
        drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in told.columns:
            drawn.add_column(column, overflow="fold")
        for row in told.rows:
            drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        self.step(told.title)
        self._console.print(drawn)


def _account_row(name: str, states: Mapping[State, int]) -> tuple[object, ...]:
    counts = [states.get(state, 0) for state in STATES]
    row: list[object] = [name, sum(states.values()), "="]
    for count in counts:
        row += [count, "+"]
    return tuple(row[:-1])
