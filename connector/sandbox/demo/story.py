"""The demo from beginning to end: sync, people at work on both sides, sync again, and the judgement."""

import time
from pathlib import Path

from connector.sandbox import samples
from connector.sandbox.demo.deeds import do_in_the_crm, do_on_the_networks, read_reply
from connector.sandbox.demo.pages import Pages
from connector.sandbox.demo.stage import Stage, account_by_network, judge, stage, sync_idle


def play(directory: Path, pages: Pages) -> bool:
    """The whole story in an empty directory; whether everything arrived."""
    started = time.monotonic()
    pages.step("A Chatwoot and a Salesforce stand-in start on this machine, with the sample shop Noordzee Fietsen.")
    with stage(directory) as on:
        people, plug = on.people, on.plug
        pages.step("First sync: every conversation of the platform comes into the CRM.")
        pages.run(on.sync())
        _account(on, pages)

        later = samples.play_later(on.sandboxes.chatwoot_url, on.sandboxes.directory)
        deeds = do_on_the_networks(people)
        pages.step("Meanwhile on the networks", *later, "Jet takes one of her messages back")
        deeds += do_in_the_crm(people)
        pages.step(
            "Meanwhile a CRM user, in Salesforce",
            "writes a reply to Jet, for WhatsApp",
            "corrects Maya's phone number",
            "closes Oliver's conversation",
            "sets the priority of Emily's conversation to urgent, while an agent in Chatwoot sets it to low",
        )
        pages.step("Second sync: both directions.")
        pages.run(on.sync())

        people.networks.settle()
        read_reply(people)
        pages.step("Third sync: WhatsApp has reported that Jet has read the reply.")
        pages.run(on.sync())

        _account(on, pages)
        pages.timeline(people.crm_user)
        pages.replies(people.crm_user)
        pages.conflicts(plug, people.crm_user)
        pages.holds(plug, people.crm_user)
        pages.step("Fourth sync: nothing has happened since.")
        idle = sync_idle(on)
        pages.run(on.runs[-1])
        pages.spent(on.runs)
        arrived, missing = judge(on, [*deeds, idle])
    pages.verdict(arrived, missing, time.monotonic() - started)
    return not missing


def _account(on: Stage, pages: Pages) -> None:
    pages.account(on.plug.ledger.account().states, account_by_network(on))
