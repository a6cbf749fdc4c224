"""What people do during the demo, and how to tell from the two systems alone whether it arrived on the other side."""

from dataclasses import dataclass

from connector.sandbox.demo.crm import Crm, Deed
from connector.sandbox.demo.people import Agent, Networks
from connector.sandbox.demo.script import ANSWERED, DELETED, EDITED, QUESTION, TAKEN_BACK


@dataclass(frozen=True)
class People:
    crm: Crm
    agent: Agent
    networks: Networks


def do_in_the_crm(people: People) -> list[Deed]:
    return people.crm.work(people.agent, people.networks)


def do_on_the_networks(people: People) -> list[Deed]:
    """What happens there beside the `later` steps of the samples, and what all of it must lead to in the CRM."""
    people.networks.take_back("jet_thanks")
    crm = people.crm
    return [
        Deed("the message that Jet took back is marked on her timeline", lambda: crm.marked(TAKEN_BACK)),
        Deed("so is the one that Claire deleted in an old conversation", lambda: crm.marked(DELETED)),
        Deed("Klaus's new question is on his timeline", lambda: crm.on_timeline(QUESTION)),
        Deed("Lea's edited message shows its new text", lambda: crm.on_timeline(EDITED)),
        Deed("the answer from the Facebook app is on Tom's timeline", lambda: crm.on_timeline(ANSWERED)),
    ]
