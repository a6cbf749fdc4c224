"""How many API calls the connector makes: per 1,000 new messages, per 1,000 edits, and in a tick without news. The CRM's daily
allowance is shared with all other programs of the company, so it is what a sync runs out of first.

Real HTTP against both sandboxes, and their own counts, not the adapters'. The rival is the script that people write: for each
message it looks the contact up and upserts a task by external id with simple-salesforce; for each edit it looks the contact up
and updates it. A read-back counts: it is the next read of the CRM after the write.
"""

from collections.abc import Callable

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
TURNS = 3
"""Reads of Salesforce after which each object was read."""
TICKS = 2 * TURNS
SCRIPTED = 200
"""Messages and edits of the rival: each one costs it as much as the one before."""
PLATFORM, CRM, SELDOM = "conversations", "changes", "recheck"
"""The streams: the first two are due every minute, the third four times an hour."""


def measure(full: bool) -> list[Measure]:
    return measured(messages=10_000 if full else 1_000, people=1_000)


def measured(messages: int, people: int) -> list[Measure]:
    """The measures of `messages` new messages and of an edit of each of the `people`."""
    with pair() as town:
        # What is loaded now is an hour old in a moment: no longer in what the next reads look at again.
        town.crm("POST", "__control/time", {"offset_s": -HOUR})
        town.customers(people, messages=1)
        with town.engine() as engine:
            until_quiet(engine, CRM)
            town.crm("POST", "__control/time", {"offset_s": 0})
            for _ in range(TURNS):
                turn(engine, CRM)
            seldom = spent(town, lambda: turn(engine, PLATFORM, CRM, SELDOM))
            ticks = [spent(town, lambda: turn(engine, PLATFORM, CRM)) for _ in range(TICKS)]
            written = new_messages(town, engine, messages, people)
            there = edits_in_the_crm(town, engine)
            here = edits_on_the_platform(town, engine)
            after = spent(town, lambda: turn(engine, PLATFORM, CRM))
        script = Script(town)
        beside = min(messages, people, SCRIPTED)
        rival_messages, rival_edits = script.messages(beside), script.edits(beside)
    return [
        Measure("Salesforce, new messages", "calls per 1,000", per_thousand(written.crm, messages), goal=MESSAGES_GOAL),
        Measure("Salesforce, edits in the CRM", "calls per 1,000", per_thousand(there.crm, people), goal=EDITS_GOAL),
        Measure(
            "Salesforce, edits on the platform", "calls per 1,000", per_thousand(here.crm, people), goal=EDITS_GOAL
        ),
        Measure(
            "Salesforce, all streams without news", "calls", max(one.crm for one in (seldom, *ticks)), goal=TICK_GOAL
        ),
        Measure("Salesforce, a tick within the overlap of those edits", "calls", after.crm),
        Measure(
            "new messages, beside a script",
            "calls per 1,000",
            per_thousand(written.crm, messages),
            "contact and task of each message",
            per_thousand(rival_messages, beside),
        ),
        Measure(
            "edits on the platform, beside a script",
            "calls per 1,000",
            per_thousand(here.crm, people),
            "contact and update of each edit",
            per_thousand(rival_edits, beside),
        ),
        Measure("Chatwoot, new messages", "calls per 1,000", per_thousand(written.platform, messages)),
        Measure("Chatwoot, edits in the CRM", "calls per 1,000", per_thousand(there.platform, people)),
        Measure("Chatwoot, edits on the platform", "calls per 1,000", per_thousand(here.platform, people)),
        Measure("Chatwoot, every minute without news", "calls", max(one.platform for one in ticks)),
        Measure(f"Chatwoot, every quarter of an hour, {people} conversations", "calls", seldom.platform),
    ]


def per_thousand(calls: int, things: int) -> float:
    return 1_000 * calls / things


def spent(town: Pair, work: Callable[[], object]) -> Calls:
    before = town.calls()
    work()
    return town.calls() - before


def until_quiet(engine: Engine, first: str) -> None:
    """Reads one side, then by turns the other, until such a read leads to no write any more."""
    one, other = first, PLATFORM if first == CRM else CRM
    turn(engine, one)
    while turn(engine, other).written:
        one, other = other, one


def new_messages(town: Pair, engine: Engine, messages: int, people: int) -> Calls:
    conversations = sorted(row["id"] for row in town.platform("GET", "__control/dump")["conversation"])
    for number in range(messages):
        town.write(number % people, conversations[number % people], text(number))
    town.settle()
    found = spent(town, lambda: until_quiet(engine, PLATFORM))
    tasks = town.crm("GET", "__control/stats")["writes"]["Task"]
    assert tasks == {"inserted": people + messages}, tasks
    return found


def edits_in_the_crm(town: Pair, engine: Engine) -> Calls:
    """Somebody mends the phone number of every contact."""
    contacts = town.crm("GET", "__control/records/Contact")["records"]
    script = Script(town)
    for row in contacts:
        script.org.Contact.update(row["Id"], {"Phone": row["Phone"].replace("+316", "+315")})
    found = spent(town, lambda: until_quiet(engine, CRM))
    shown = town.platform("GET", "__control/dump")["contact"]
    assert all(row["phone_number"].startswith("+315") for row in shown), shown[:1]
    return found


def edits_on_the_platform(town: Pair, engine: Engine) -> Calls:
    """Agents mend the phone number of every contact; webhooks name them."""
    contacts = town.platform("GET", "__control/dump")["contact"]
    for row in contacts:
        town.api("PUT", f"contacts/{row['id']}", {"phone_number": row["phone_number"].replace("+315", "+317")})
    refs = [Ref("chatwoot", "person", str(row["id"])) for row in contacts]

    def heard() -> None:
        engine.look_at(refs, Side.PLATFORM)
        turn(engine)
        until_quiet(engine, CRM)

    found = spent(town, heard)
    shown = town.crm("GET", "__control/records/Contact")["records"]
    assert all(row["Phone"].startswith("+317") for row in shown), shown[:1]
    return found


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
            session_id=grant.json()["access_token"],
            instance_url=sandboxes.salesforce_url,
            session=session,
            version="67.0",
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
