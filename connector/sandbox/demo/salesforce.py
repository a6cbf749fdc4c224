"""Salesforce on the stage: its stand-in, its user, what she does, and what she reads there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector.model import Ref
from connector.sandbox.demo.crm import Deed, Table
from connector.sandbox.demo.people import Agent, Networks, Person, Record, read_reply
from connector.sandbox.demo.script import PHONE, PHONE_TYPED, REPLY
from connector.sandbox.demo.stage import Scene, Stage, set_up
from connector.sandbox.serve import Sandboxes, running

API = "/services/data/v67.0"
AGENT_PRIORITY, CRM_PRIORITY = "low", "urgent"


class CrmUser(Person):
    """A person who works in Salesforce."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        super().__init__(sandboxes.salesforce_url, str(sandboxes.salesforce_ca))
        login = {
            "grant_type": "client_credentials",
            "client_id": "crm-user",
            "client_secret": sandboxes.salesforce_user_secret.read_text().strip(),
        }
        token = self._call("POST", "/services/oauth2/token", data=login)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def query(self, soql: str) -> list[Record]:
        return list(self._call("GET", f"{API}/query", params={"q": soql})["records"])

    def one(self, soql: str) -> Record:
        """The only record that fits. Raises LookupError."""
        found = self.query(soql)
        if len(found) != 1:
            raise LookupError(f"{len(found)} records instead of one: {soql}")
        return found[0]

    def create(self, object_: str, **fields: Any) -> str:
        return str(self._call("POST", f"{API}/sobjects/{object_}", json=fields)["id"])

    def change(self, object_: str, id_: str, **fields: Any) -> None:
        self._call("PATCH", f"{API}/sobjects/{object_}/{id_}", json=fields)

    def remove(self, object_: str, id_: str) -> None:
        self._call("DELETE", f"{API}/sobjects/{object_}/{id_}")

    def contact(self, first: str, last: str) -> str:
        """The id of the contact. Raises LookupError."""
        return str(self.one(f"SELECT Id FROM Contact WHERE FirstName = '{first}' AND LastName = '{last}'")["Id"])

    def stats(self) -> Record:
        """What the org has counted."""
        return dict(self._call("GET", "/__control/stats"))


class Salesforce:
    """Its user at work. It is a `Crm`."""

    name = "Salesforce"
    batch = 1000
    told: Sequence[str] = (
        "writes a reply to Jet, for WhatsApp",
        "corrects Maya's phone number",
        "closes Oliver's conversation",
        "sets the priority of Emily's conversation to urgent, while an agent in Chatwoot sets it to low",
    )

    def __init__(self, user: CrmUser) -> None:
        self.user = user

    def work(self, agent: Agent, networks: Networks) -> list[Deed]:
        return [
            self._reply(networks),
            self._correct_phone(agent),
            self._close(agent),
            self._change_priority(agent),
        ]

    def _reply(self, networks: Networks) -> Deed:
        crm = self.user
        jets = self._conversation(crm.contact("Jet", "de Boer"), "whatsapp")
        reply = crm.create("Social_Outbound__c", Conversation__c=jets["Id"], Body__c=REPLY, Status__c="Queued")

        def arrived() -> str | None:
            texts = [one["text"] for one in networks.received(_number(jets))]
            if texts != [REPLY]:
                return f"WhatsApp got {texts}, not the reply as it was typed, once"
            status = crm.one(f"SELECT Status__c FROM Social_Outbound__c WHERE Id = '{reply}'")["Status__c"]
            if status != "Read":
                return f"the reply's record says {status}, not Read"
            return self.on_timeline(REPLY)

        return Deed(
            "Jet got the reply on WhatsApp, once; it is on her timeline, and its record says that she has read it",
            arrived,
        )

    def _correct_phone(self, agent: Agent) -> Deed:
        crm = self.user
        maya = crm.contact("Maya", "Carter")
        person = agent.person(_number(self._conversation(maya, "whatsapp")))
        crm.change("Contact", maya, Phone=PHONE_TYPED)

        def arrived() -> str | None:
            shown = agent.contact(person)["phone_number"]
            if shown != PHONE:
                return f"Chatwoot shows Maya's number as {shown}, not as {PHONE}"
            typed = crm.one(f"SELECT Phone FROM Contact WHERE Id = '{maya}'")["Phone"]
            return None if typed == PHONE_TYPED else f"the number typed in the CRM was rewritten to {typed}"

        return Deed("Maya's corrected number is in Chatwoot, and in the CRM it stays as it was typed", arrived)

    def _close(self, agent: Agent) -> Deed:
        crm = self.user
        olivers = self._conversation(crm.contact("Oliver", "Hughes"), "whatsapp")
        crm.change("Social_Conversation__c", olivers["Id"], Status__c="resolved")

        def arrived() -> str | None:
            status = agent.conversation(_number(olivers))["status"]
            return None if status == "resolved" else f"Oliver's conversation is {status} in Chatwoot, not resolved"

        return Deed("Oliver's conversation is resolved in Chatwoot", arrived)

    def _change_priority(self, agent: Agent) -> Deed:
        crm = self.user
        emilys = self._conversation(crm.contact("Emily", "Clarke"), "instagram")
        agent.set_priority(_number(emilys), AGENT_PRIORITY)
        crm.change("Social_Conversation__c", emilys["Id"], Priority__c=CRM_PRIORITY)

        def arrived() -> str | None:
            platform = agent.conversation(_number(emilys))["priority"]
            asked = f"SELECT Priority__c FROM Social_Conversation__c WHERE Id = '{emilys['Id']}'"
            in_crm = crm.one(asked)["Priority__c"]
            if (platform, in_crm) == (CRM_PRIORITY, CRM_PRIORITY):
                return None
            return (
                f"the priority is {platform} in Chatwoot and {in_crm} in the CRM; the rule says {CRM_PRIORITY} in both"
            )

        return Deed("Emily's conversation has the CRM user's priority on both sides, as the rule says", arrived)

    def _conversation(self, contact: str, network: str) -> Record:
        return self.user.one(
            "SELECT Id, SMM_Conversation_Key__c FROM Social_Conversation__c"
            f" WHERE Contact__c = '{contact}' AND Network__c = '{network}'"
        )

    def report(self, networks: Networks) -> str:
        read_reply(networks)
        return "WhatsApp has reported that Jet has read the reply."

    # -- what stands in the org

    def calls(self) -> int | None:
        return int(self.user.stats()["calls"])

    def written(self) -> int:
        return sum(sum(kinds.values()) for kinds in self.user.stats()["writes"].values())

    def stored(self) -> int:
        return len(self._tasks())

    def on_timeline(self, text: str) -> str | None:
        found = [task for task in self._tasks() if (task["Description"] or "").startswith(text)]
        return None if len(found) == 1 else f"{len(found)} tasks instead of one show {text!r}"

    def marked(self, text: str) -> str | None:
        marks = [task["SMM_State__c"] for task in self._tasks() if (task["Description"] or "").startswith(text)]
        good = [str(mark).strip() for mark in marks] == ["[deleted]"]
        return None if good else f"the deleted message {text!r} is marked {marks}"

    def _tasks(self) -> list[Record]:
        """Long texts cannot be searched for in a query, in no org."""
        return self.user.query("SELECT Description, SMM_State__c FROM Task WHERE SMM_Message_Key__c != null")

    def timeline(self) -> Table:
        who = self.user.contact("Jet", "de Boer")
        tasks = self.user.query(
            "SELECT SMM_Sent_At__c, SMM_Network__c, SMM_Direction__c, Subject, SMM_Delivery__c, SMM_State__c"
            f" FROM Task WHERE WhoId = '{who}' ORDER BY SMM_Sent_At__c"
        )
        return Table(
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

    def replies(self) -> Sequence[Table]:
        crm = self.user
        found = crm.query(
            "SELECT Body__c, Status__c, Sent_At__c, Error__c, Conversation__r.Name FROM Social_Outbound__c"
        )
        failed = crm.query("SELECT Subject, SMM_Delivery_Error__c, Who.Name FROM Task WHERE SMM_Delivery__c = 'failed'")
        return (
            Table(
                "Replies written in Salesforce (Social_Outbound__c)",
                ("conversation", "reply", "status", "sent at"),
                [
                    (one["Conversation__r"]["Name"], one["Body__c"], one["Status__c"], one["Sent_At__c"])
                    for one in found
                ],
            ),
            Table(
                "Messages that a network refused to deliver, as their tasks show it",
                ("customer", "message", "the network says"),
                [(one["Who"]["Name"], one["Subject"], one["SMM_Delivery_Error__c"]) for one in failed],
            ),
        )

    def name_of(self, ref: Ref) -> str:
        """A contact's with its account."""
        fields = "Name, Account.Name" if ref.object == "Contact" else "Name"
        found = self.user.one(f"SELECT {fields} FROM {ref.object} WHERE Id = '{ref.id}'")
        account = found.get("Account")
        return f"{found['Name']} ({account['Name']})" if account else str(found["Name"])


def _number(conversation: Record) -> int:
    """The conversation's number in Chatwoot, which its key ends with."""
    return int(conversation["SMM_Conversation_Key__c"].rpartition(":")[2])


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Both sandboxes with the sample shop, and a fresh store, in an empty directory.

    Raises SandboxError when a sandbox does not come up, and ConfigError.
    """

    def own_address(connection: dict[str, Any]) -> None:
        connection["crm"]["url"] = sandboxes.salesforce_url

    with running(directory / ".sandbox", samples=True) as sandboxes:
        crm = Salesforce(CrmUser(sandboxes))
        with set_up(directory, sandboxes.chatwoot_url, sandboxes.account_id, crm, own_address) as on:
            yield on


SCENE = Scene(
    "A Chatwoot and a Salesforce stand-in start on this machine, with the sample shop Noordzee Fietsen.", stage
)
