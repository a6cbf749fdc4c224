"""A guard refuses before the journal: nothing is planned, nothing is written, and one command lets it pass once."""

import itertools
import re
from collections.abc import Callable

import pytest
from memory_world import Clock, Worlds
from promises import check

from connector.errors import Refusal
from connector.model import Kind, Ref, Side
from connector.store.store import Store
from connector.sync.engine import ALLOWED_ONCE
from connector.sync.guards import HANDFUL
from connector.sync.withheld import BURST, FLIPS

RUNS = itertools.count()
DAY = 24 * 3600


def worlds_with(store: Store, clock: Clock, customers: int, messages: int = 1) -> Worlds:
    worlds = Worlds(store, f"guarded{next(RUNS)}", clock, page_size=50, batch=50, allowed=())
    for number in range(customers):
        keys = {"name": f"Ann {number}", "company": "Acme", "identity_keys": [f"instagram:{number}"]}
        person = worlds.platform.add("person", keys)
        conversation = worlds.platform.add("conversation", {"network": "instagram", "status": "open"}, parent=person)
        fields = {"direction": "inbound", "text": "hello", "sent_at": "2026-03-02T09:00:00Z"}
        for _ in range(messages):
            worlds.platform.add("message", fields, parent=conversation)
    worlds.quiet()
    return worlds


def queue(worlds: Worlds, thread: Ref, text: str) -> Ref:
    return worlds.crm.add("Outbound", {"Thread": thread.id, "Body": text, "Status": "Queued"})


def too_old(worlds: Worlds) -> None:
    (thread,) = worlds.live(Side.CRM, "Thread")
    queue(worlds, thread, "are you still there?")
    worlds.clock.sleep(DAY + 3600)


def a_burst(worlds: Worlds) -> None:
    (thread,) = worlds.live(Side.CRM, "Thread")
    for number in range(BURST + 1):
        queue(worlds, thread, f"number {number}")


def the_same_twice(worlds: Worlds) -> None:
    (thread,) = worlds.live(Side.CRM, "Thread")
    queue(worlds, thread, "it is on its way")
    worlds.engine.sync()
    worlds.clock.sleep(60)
    queue(worlds, thread, "it is on its way")


def taken_back_again_and_again(worlds: Worlds) -> None:
    """An automation on each side, and they do not agree."""
    (contact,), (person,) = worlds.live(Side.CRM, "Contact"), worlds.live(Side.PLATFORM, "person")
    for _ in range(FLIPS):
        worlds.crm.person_edits(contact, {"Company": "Bolt"}, by="an automation")
        worlds.engine.sync()
        worlds.clock.sleep(60)
        worlds.platform.person_edits(person, {"company": "Acme"}, by="another")
        worlds.engine.sync()
        worlds.clock.sleep(60)
    worlds.crm.person_edits(contact, {"Company": "Bolt"}, by="an automation")


BACK = {
    "old_replies": too_old,
    "reply_burst": a_burst,
    "double_replies": the_same_twice,
    "flip_flop": taken_back_again_and_again,
}


@pytest.mark.parametrize("code", BACK)
def test_a_doubtful_write_is_held_back_until_it_is_allowed_once(code: str, store: Store, clock: Clock) -> None:
    worlds = worlds_with(store, clock, 1)
    BACK[code](worlds)
    before, journal = worlds.written_by_us(), sum(len(page) for page in worlds.ledger.all_intents())
    report = worlds.engine.sync()
    assert [one.code for one in report.withheld] == [code]
    assert (worlds.written_by_us(), sum(len(page) for page in worlds.ledger.all_intents())) == (before, journal)
    assert [one.code for one in worlds.ledger.problems()] == [code]

    worlds.ledger.remember(ALLOWED_ONCE, [code])
    report = worlds.engine.sync()
    assert (report.withheld, worlds.ledger.problems()) == ([], [])
    assert worlds.written_by_us() != before
    assert worlds.ledger.recall(ALLOWED_ONCE) is None, "once is once"
    worlds.quiet()
    check(worlds)


def all_gone(worlds: Worlds) -> None:
    for contact in worlds.live(Side.CRM, "Contact"):
        worlds.crm.delete(contact)


def many_gone(worlds: Worlds) -> None:
    """The oldest ones, so that those we look at first are still there."""
    links = sorted(worlds.links(Kind.PERSON), key=lambda link: link.id)
    for link in links[: HANDFUL + 1]:
        worlds.crm.delete(link.crm)


def many_changed(worlds: Worlds) -> None:
    for person in worlds.live(Side.PLATFORM, "person"):
        worlds.platform.person_edits(person, {"company": "Bolt"})


def many_emptied(worlds: Worlds) -> None:
    for person in worlds.live(Side.PLATFORM, "person"):
        worlds.platform.person_edits(person, {"company": None})


def all_history_gone(worlds: Worlds) -> None:
    for task in worlds.live(Side.CRM, "Task"):
        worlds.crm.delete(task)


DAMAGE = [
    ("empty_side", all_gone),
    ("mass_unlink", many_gone),
    ("mass_unlink", all_history_gone),
    ("mass_change", many_changed),
    ("blank_storm", many_emptied),
]


@pytest.mark.parametrize(("code", "happens"), DAMAGE, ids=[happens.__name__ for _, happens in DAMAGE])
def test_damage_on_a_large_scale_is_refused_until_it_is_allowed_once(
    code: str, happens: Callable[[Worlds], None], store: Store, clock: Clock
) -> None:
    worlds = worlds_with(store, clock, HANDFUL + 6, messages=6)
    happens(worlds)
    worlds.clock.sleep(60)
    before, journal = worlds.written_by_us(), sum(len(page) for page in worlds.ledger.all_intents())
    links = worlds.ledger.active_links()
    with pytest.raises(Refusal) as refused:
        worlds.engine.sync()
    assert refused.value.code == code
    assert len(refused.value.examples) == 3
    assert f"--allow {code}" in refused.value.way_out
    assert (worlds.written_by_us(), worlds.ledger.active_links()) == (before, links)
    assert sum(len(page) for page in worlds.ledger.all_intents()) == journal

    for _ in range(2):
        # The command that is printed leads out, after the second time at the latest: what is done before anything is planned
        # cannot know what the plan will meet.
        worlds.ledger.remember(ALLOWED_ONCE, re.findall(r"--allow (\w+)", refused.value.way_out))
        try:
            worlds.engine.sync()
            break
        except Refusal as error:
            refused.value.way_out = error.way_out
    assert (worlds.written_by_us(), worlds.ledger.active_links()) != (before, links)
