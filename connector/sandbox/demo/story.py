"""The demo from beginning to end: sync, people at work on both sides, sync again, and the judgement."""

import time
from pathlib import Path

from connector.sandbox import samples
from connector.sandbox.demo.deeds import do_in_the_crm, do_on_the_networks
from connector.sandbox.demo.pages import Pages
from connector.sandbox.demo.salesforce import SCENE
from connector.sandbox.demo.stage import Scene, Stage, account_by_network, judge, sync_idle


def play(directory: Path, pages: Pages, scene: Scene = SCENE) -> bool:
    """The whole story in an empty directory; whether everything arrived."""
    started = time.monotonic()
    pages.step(scene.opening)
    with scene.stage(directory) as on:
        people, plug, crm = on.people, on.plug, on.people.crm
        pages.step("First sync: every conversation of the platform comes into the CRM.")
        pages.run(on.sync())
        _account(on, pages)

        later = samples.play_later(on.chatwoot_url, on.directory)
        deeds = do_on_the_networks(people)
        pages.step("Meanwhile on the networks", *later, "Jet takes one of her messages back")
        deeds += do_in_the_crm(people)
        pages.step(f"Meanwhile a CRM user, in {crm.name}", *crm.told)
        pages.step("Second sync: both directions.")
        pages.run(on.sync())

        people.networks.settle()
        pages.step(f"Third sync: {crm.report(people.networks)}")
        pages.run(on.sync())

        _account(on, pages)
        for table in (crm.timeline(), *crm.replies()):
            pages.table(table)
        pages.conflicts(plug, crm)
        pages.holds(plug, crm)
        pages.step("Fourth sync: nothing has happened since.")
        idle = sync_idle(on)
        pages.run(on.runs[-1])
        pages.spent(on.runs, crm.batch)
        arrived, missing = judge(on, [*deeds, idle])
    pages.verdict(arrived, missing, time.monotonic() - started)
    return not missing


def _account(on: Stage, pages: Pages) -> None:
    pages.account(on.plug.ledger.account().states, account_by_network(on))
