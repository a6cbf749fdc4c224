"""How many API calls the connector makes: per 1,000 new messages, per 1,000 edits, and in a tick without news. The CRM's daily
allowance is shared with all other programs of the company, so it is what a sync runs out of first.

Real HTTP against both sandboxes, and their own counts, not the adapters'. The rival is the script that people write: for each
message it looks the contact up and upserts a task by external id with simple-salesforce; for each edit it looks the contact up
and updates it. A read-back counts: it is the next read of the CRM after the write.
"""

from simple_salesforce.api import Salesforce
from simple_salesforce.format import format_external_id, format_soql

from benchmarks.measure import Measure
from benchmarks.sandboxes import Calls, Pair, pair, phone, text, turn
from connector.model import Ref, Side
from connector.sync.engine import Engine

MESSAGES_GOAL = 3
EDITS_GOAL = 5
TICK_GOAL = 1
HOUR = 3600
TICKS = 12


def measure(full: bool) -> list[Measure]:
    return measured(messages=10_000 if full else 1_000, people=1_000)


def measured(messages: int, people: int) -> list[Measure]:
    """The measures of `messages` new messages and of an edit of each of the `people`."""
    with pair() as town:
        # The CRM of an hour ago: what is written now has left the overlap of its stream when the ticks are counted.
        town.crm("POST", "__control/time", {"offset_s": -HOUR})
        town.customers(people, messages=1)
        with town.engine() as engine:
            engine.sync()
            engine.sync()
            written = new_messages(town, engine, messages, people)
            there = edits_in_the_crm(town, engine)
            here = edits_on_the_platform(town, engine, people)
            town.crm("POST", "__control/time", {"offset_s": 0})
            turn(engine, list(Side))
            before = town.calls()
            for _ in range(TICKS):
                turn(engine, list(Side))
            idle = town.calls() - before
        script = Script(town)
        rival_messages, rival_edits = script.messages(min(messages, 1_000)), script.edits(people)
    return [
        Measure("Salesforce calls, new messages", "per 1,000", per_thousand(written.crm, messages), goal=MESSAGES_GOAL),
        Measure("Salesforce calls, edits in the CRM", "per 1,000", per_thousand(there.crm, people), goal=EDITS_GOAL),
        Measure("Salesforce calls, edits on the platform", "per 1,000", per_thousand(here.crm, people), goal=EDITS_GOAL),
        Measure("Salesforce calls, tick without news", "calls", idle.crm / TICKS, goal=TICK_GOAL),
        Measure(
            "new messages beside a script",
            "per 1,000",
            per_thousand(written.crm, messages),
            "a call for each contact and message",
            per_thousand(rival_messages, min(messages, 1_000)),
        ),
        Measure(
            "edits on the platform beside a script",
            "per 1,000",
            per_thousand(here.crm, people),
            "a call for each contact and edit",
            per_thousand(rival_edits, people),
        ),
        Measure("Chatwoot calls, new messages", "per 1,000", per_thousand(written.platform, messages)),
        Measure("Chatwoot calls, edits in the CRM", "per 1,000", per_thousand(there.platform, people)),
        Measure("Chatwoot calls, edits on the platform", "per 1,000", per_thousand(here.platform, people)),
        Measure("Chatwoot calls, tick without news", "calls", idle.platform / TICKS),
    ]


def per_thousand(calls: int, things: int) -> float:
    return 1_000 * calls / things


def until_quiet(town: Pair, engine: Engine, begin: Side) -> Calls:
    """The calls of a turn that reads one side, and of those that read back what was written to either, until nothing is."""
    before, side = town.calls(), begin
    while True:
        report = turn(engine, [side])
        if not report.written and side is not begin:
            return town.calls() - before
        side = Side.CRM if side is Side.PLATFORM else Side.PLATFORM


def new_messages(town: Pair, engine: Engine, messages: int, people: int) -> Calls:
    conversations = sorted(row["id"] for row in town.platform("GET", "__control/dump")["conversation"])
    for number in range(messages):
        town.write(number % people, conversations[number % people], text(number))
    town.settle()
    return until_quiet(town, engine, Side.PLATFORM)


def edits_in_the_crm(town: Pair, engine: Engine) -> Calls:
    """Somebody mends the phone number of every contact."""
    contacts = town.crm("GET", "__control/records/Contact")["records"]
    script = Script(town)
    for row in contacts:
        script.org.Contact.update(row["Id"], {"Phone": row["Phone"].replace("+316", "+315")})
    return until_quiet(town, engine, Side.CRM)


def edits_on_the_platform(town: Pair, engine: Engine, people: int) -> Calls:
    """Agents mend the phone number of every contact; webhooks name them."""
    contacts = town.platform("GET", "__control/dump")["contact"]
    assert len(contacts) == people, len(contacts)
    for row in contacts:
        town.api("PUT", f"contacts/{row['id']}", {"phone_number": row["phone_number"].replace("+316", "+317")})
    before = town.calls()
    engine.look_at([Ref("chatwoot", "person", str(row["id"])) for row in contacts], Side.PLATFORM)
    turn(engine, [])
    heard = town.calls() - before
    rest = until_quiet(town, engine, Side.CRM)
    return Calls(heard.crm + rest.crm, heard.platform + rest.platform)


class Script:
    """What people write today, on the same org, as a CRM user of its own."""

    def __init__(self, town: Pair) -> None:
        self._town = town
        sandboxes = town.sandboxes
        session = town.session()
        grant = session.post(
            f"{sandboxes.salesforce_url}/services/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_id": "crm-user",
                "client_secret": sandboxes.salesforce_user_secret.read_text().strip(),
            },
            timeout=30,
        )
        self.org = Salesforce(
            session_id=grant.json()["access_token"], instance_url=sandboxes.salesforce_url, session=session, version="67.0"
        )

    def messages(self, count: int) -> int:
        """The calls of so many messages."""
        contacts = self._town.crm("GET", "__control/records/Contact")["records"]
        before = self._town.calls()
        for number in range(count):
            contact = self._contact(contacts[number % len(contacts)]["Phone"])
            task = {"WhoId": contact, "Subject": text(number), "Status": "Completed", "Priority": "Normal"}
            self.org.Task.upsert(format_external_id("SMM_Message_Key__c", f"script:{number}"), task)
        return (self._town.calls() - before).crm

    def edits(self, count: int) -> int:
        """The calls of so many edited contacts."""
        contacts = self._town.crm("GET", "__control/records/Contact")["records"]
        before = self._town.calls()
        for number in range(count):
            contact = self._contact(contacts[number]["Phone"])
            self.org.Contact.update(contact, {"Phone": phone(number)})
        return (self._town.calls() - before).crm

    def _contact(self, phone_number: str) -> str:
        found = self.org.query(format_soql("SELECT Id FROM Contact WHERE Phone = {}", phone_number))
        return str(found["records"][0]["Id"])
