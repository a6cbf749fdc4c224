"""What the demo prints. Tables are drawn from what the CRM and the connector's store answer, never from the script."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connector.app import Plug
from connector.model import HoldType, Outcome, Ref, State
from connector.sandbox.demo.deeds import contact
from connector.sandbox.demo.people import CrmUser
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
        self._table(
            "The account: every message the platform has shown is in exactly one state",
            ("", "seen", "=", *[cell for state in STATES for cell in (state.value, "+")][:-1]),
            [_account_row(name, networks[name]) for name in sorted(networks)] + [_account_row("all", total)],
        )

    def timeline(self, crm: CrmUser) -> None:
        """Of the one who writes on two networks, as Salesforce answers a query for her activities."""
        who = contact(crm, "Jet", "de Boer")
        tasks = crm.query(
            "SELECT SMM_Sent_At__c, SMM_Network__c, SMM_Direction__c, Subject, SMM_Delivery__c, SMM_State__c"
            f" FROM Task WHERE WhoId = '{who}' ORDER BY SMM_Sent_At__c"
        )
        self._table(
            f"The timeline of the contact Jet de Boer in Salesforce ({who}), who writes on two networks",
            ("date", "network", "direction", "subject", "state"),
            [
                (
                    task["SMM_Sent_At__c"][:16].replace("T", " "),
                    task["SMM_Network__c"],
                    task["SMM_Direction__c"],
                    task["Subject"],
                    " ".join(filter(None, (task["SMM_Delivery__c"], task["SMM_State__c"]))),
                )
                for task in tasks
            ],
        )

    def replies(self, crm: CrmUser) -> None:
        found = crm.query(
            "SELECT Body__c, Status__c, Sent_At__c, Error__c, Conversation__r.Name FROM Social_Outbound__c"
        )
        self._table(
            "Replies written in Salesforce (Social_Outbound__c)",
            ("conversation", "reply", "status", "sent at"),
            [(one["Conversation__r"]["Name"], one["Body__c"], one["Status__c"], one["Sent_At__c"]) for one in found],
        )
        failed = crm.query("SELECT Subject, SMM_Delivery_Error__c, Who.Name FROM Task WHERE SMM_Delivery__c = 'failed'")
        self._table(
            "Messages that a network refused to deliver, as their tasks show it",
            ("customer", "message", "the network says"),
            [(one["Who"]["Name"], one["Subject"], one["SMM_Delivery_Error__c"]) for one in failed],
        )

    def conflicts(self, plug: Plug, crm: CrmUser) -> None:
        """Fields that both sides had changed."""
        rows: list[tuple[object, ...]] = []
        for one in plug.ledger.conflicts(10):
            decision = one.row.decision
            kept = decision.outcome is Outcome.KEEP
            stands, lost = ("both values", "") if kept else (decision.value, decision.lost)
            field = decision.field.partition("~")[0]
            rows.append((_name_of(crm, one.row.crm), field, decision.rule, stands, lost, decision.reason))
        self._table(
            "Both sides had a value of their own: what was decided, by which rule",
            ("record", "field", "rule", "stands", "lost", "why"),
            rows,
        )

    def holds(self, plug: Plug, crm: CrmUser) -> None:
        rows: list[tuple[object, ...]] = []
        for hold in plug.ledger.open_holds(type=HoldType.IDENTITY):
            for candidate in hold.details["candidates"]:
                found = Ref.parse(candidate["ref"])
                rows.append(
                    (
                        hold.id,
                        hold.question,
                        _name_of(crm, found),
                        found.id,
                        candidate["points"],
                        ", ".join(candidate["reasons"]),
                    )
                )
        self._table(
            "A person has to decide (connector holds settle): the messages wait, nothing is guessed",
            ("hold", "question", "candidate", "id", "points", "because"),
            rows,
        )

    def spent(self, runs: Sequence[Run]) -> None:
        """The last run is one without news."""
        calls, records = sum(run.crm_calls for run in runs), sum(run.crm_records for run in runs)
        self.step(f"CRM calls: {calls} in {len(runs)} runs, for {records} records written there.")
        self.say(
            f"  That is {1000 * calls / max(records, 1):.0f} per 1,000 records, of so few: a run without news took"
            f" {runs[-1].crm_calls}, and one call can write 1,000 records."
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

    def _table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        self.step(title)
        self._console.print(table)


def _account_row(name: str, states: Mapping[State, int]) -> tuple[object, ...]:
    counts = [states.get(state, 0) for state in STATES]
    row: list[object] = [name, sum(states.values()), "="]
    for count in counts:
        row += [count, "+"]
    return tuple(row[:-1])


def _name_of(crm: CrmUser, ref: Ref | None) -> str:
    """The record's name as the CRM shows it; a contact's with its account."""
    if ref is None:
        return ""
    fields = "Name, Account.Name" if ref.object == "Contact" else "Name"
    found = crm.one(f"SELECT {fields} FROM {ref.object} WHERE Id = '{ref.id}'")
    account = found.get("Account")
    return f"{found['Name']} ({account['Name']})" if account else str(found["Name"])
