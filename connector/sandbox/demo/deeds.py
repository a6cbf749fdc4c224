"""What people do during the demo, and how to tell from the two systems alone whether it arrived on the other side."""

from collections.abc import Callable
from dataclasses import dataclass

from connector.sandbox.demo.people import Agent, CrmUser, Networks, Record

REPLY = "Hoi Jet! De inbussleutel 6 ligt vandaag op de post, *gratis* natuurlijk 🔧"
"""With asterisks: the customer has to see them as they were typed, though Chatwoot formats text."""
PHONE_TYPED, PHONE = "+1 (202) 555-0177", "+12025550177"
AGENT_PRIORITY, CRM_PRIORITY = "low", "urgent"
QUESTION = "Noch eine Frage: gilt die Garantie auch für das Ladegerät?"
EDITED = "Könnt ihr mir eine in L zurücklegen?"
TAKEN_BACK = "Top, dankjewel!"
DELETED = "Voici mon adresse"
ANSWERED = "It's put aside, Tom. See you on Saturday!"


@dataclass(frozen=True)
class People:
    crm_user: CrmUser
    agent: Agent
    networks: Networks


@dataclass(frozen=True)
class Deed:
    """Something that was done on one side. `arrived` asks the other side and answers what is missing, None if nothing."""

    told: str
    arrived: Callable[[], str | None]


def do_in_the_crm(people: People) -> list[Deed]:
    """The CRM user's four deeds; at the last one an agent changes the same field in Chatwoot at the same time."""
    return [_reply(people), _correct_phone(people), _close(people), _change_priority(people)]


def do_on_the_networks(people: People) -> list[Deed]:
    """What happens there beside the `later` steps of the samples, and what all of it must lead to in the CRM."""
    people.networks.take_back("jet_thanks")
    crm = people.crm_user
    return [
        Deed("the message that Jet took back is marked on her timeline", lambda: _marked(crm, TAKEN_BACK)),
        Deed("so is the one that Claire deleted in an old conversation", lambda: _marked(crm, DELETED)),
        Deed("Klaus's new question is on his timeline", lambda: _on_timeline(crm, QUESTION)),
        Deed("Lea's edited message shows its new text", lambda: _on_timeline(crm, EDITED)),
        Deed("the answer from the Facebook app is on Tom's timeline", lambda: _on_timeline(crm, ANSWERED)),
    ]


def read_reply(people: People) -> None:
    """The customer reads the reply on her phone, and WhatsApp reports it."""
    crm = people.crm_user
    jets = _conversation(crm, contact(crm, "Jet", "de Boer"), "whatsapp")
    (reply,) = people.networks.received(_number(jets))
    people.networks.report_read(reply["message_id"])


def contact(crm: CrmUser, first: str, last: str) -> str:
    """The id of the contact. Raises LookupError."""
    return str(crm.one(f"SELECT Id FROM Contact WHERE FirstName = '{first}' AND LastName = '{last}'")["Id"])


def _reply(people: People) -> Deed:
    crm, networks = people.crm_user, people.networks
    jets = _conversation(crm, contact(crm, "Jet", "de Boer"), "whatsapp")
    reply = crm.create("Social_Outbound__c", Conversation__c=jets["Id"], Body__c=REPLY, Status__c="Queued")

    def arrived() -> str | None:
        texts = [one["text"] for one in networks.received(_number(jets))]
        if texts != [REPLY]:
            return f"WhatsApp got {texts}, not the reply as it was typed, once"
        status = crm.one(f"SELECT Status__c FROM Social_Outbound__c WHERE Id = '{reply}'")["Status__c"]
        if status != "Read":
            return f"the reply's record says {status}, not Read"
        return _on_timeline(crm, REPLY)

    return Deed(
        "Jet got the reply on WhatsApp, once; it is on her timeline, and its record says that she has read it", arrived
    )


def _correct_phone(people: People) -> Deed:
    crm, agent = people.crm_user, people.agent
    maya = contact(crm, "Maya", "Carter")
    person = agent.conversation(_number(_conversation(crm, maya, "whatsapp")))["meta"]["sender"]["id"]
    crm.change("Contact", maya, Phone=PHONE_TYPED)

    def arrived() -> str | None:
        shown = agent.contact(person)["phone_number"]
        if shown != PHONE:
            return f"Chatwoot shows Maya's number as {shown}, not as {PHONE}"
        typed = crm.one(f"SELECT Phone FROM Contact WHERE Id = '{maya}'")["Phone"]
        return None if typed == PHONE_TYPED else f"the number typed in the CRM was rewritten to {typed}"

    return Deed("Maya's corrected number is in Chatwoot, and in the CRM it stays as it was typed", arrived)


def _close(people: People) -> Deed:
    crm, agent = people.crm_user, people.agent
    olivers = _conversation(crm, contact(crm, "Oliver", "Hughes"), "whatsapp")
    crm.change("Social_Conversation__c", olivers["Id"], Status__c="resolved")

    def arrived() -> str | None:
        status = agent.conversation(_number(olivers))["status"]
        return None if status == "resolved" else f"Oliver's conversation is {status} in Chatwoot, not resolved"

    return Deed("Oliver's conversation is resolved in Chatwoot", arrived)


def _change_priority(people: People) -> Deed:
    crm, agent = people.crm_user, people.agent
    emilys = _conversation(crm, contact(crm, "Emily", "Clarke"), "instagram")
    agent.set_priority(_number(emilys), AGENT_PRIORITY)
    crm.change("Social_Conversation__c", emilys["Id"], Priority__c=CRM_PRIORITY)

    def arrived() -> str | None:
        platform = agent.conversation(_number(emilys))["priority"]
        in_crm = crm.one(f"SELECT Priority__c FROM Social_Conversation__c WHERE Id = '{emilys['Id']}'")["Priority__c"]
        if (platform, in_crm) == (CRM_PRIORITY, CRM_PRIORITY):
            return None
        return f"the priority is {platform} in Chatwoot and {in_crm} in the CRM; the rule says {CRM_PRIORITY} in both"

    return Deed("Emily's conversation has the CRM user's priority on both sides, as the rule says", arrived)


def _conversation(crm: CrmUser, contact: str, network: str) -> Record:
    return crm.one(
        "SELECT Id, SMM_Conversation_Key__c FROM Social_Conversation__c"
        f" WHERE Contact__c = '{contact}' AND Network__c = '{network}'"
    )


def _number(conversation: Record) -> int:
    """The conversation's number in Chatwoot, which its key ends with."""
    return int(conversation["SMM_Conversation_Key__c"].rpartition(":")[2])


def _on_timeline(crm: CrmUser, text: str) -> str | None:
    found = [task for task in _tasks(crm) if (task["Description"] or "").startswith(text)]
    return None if len(found) == 1 else f"{len(found)} tasks instead of one show {text!r}"


def _marked(crm: CrmUser, text: str) -> str | None:
    marks = [task["SMM_State__c"] for task in _tasks(crm) if (task["Description"] or "").startswith(text)]
    good = [str(mark).strip() for mark in marks] == ["[deleted]"]
    return None if good else f"the deleted message {text!r} is marked {marks}"


def _tasks(crm: CrmUser) -> list[Record]:
    """Long texts cannot be searched for in a query, in no org."""
    return crm.query("SELECT Description, SMM_State__c FROM Task WHERE SMM_Message_Key__c != null")
