"""Persons who are merged on the platform, by an agent who sees that they are one."""

import itertools

import pytest
from memory_world import Clock, Worlds
from people import AT_ONCE, People
from promises import check

from connector.model import HoldType, Ref, Side
from connector.store.store import Store

RUNS = itertools.count()
PHONE = "+31612345678"


@pytest.fixture
def worlds(store: Store, clock: Clock) -> Worlds:
    return Worlds(store, f"merged{next(RUNS)}", clock)


def test_messages_that_are_held_for_a_person_come_in_with_the_one_she_is_merged_into(worlds: Worlds) -> None:
    """Two contacts have her number, so people are asked who she is; an agent knows, and nobody needs to answer any more."""
    people = People(worlds)
    people.new_customer_writes("Ann", None, None, [], "hello", AT_ONCE)
    worlds.quiet()
    (known,) = worlds.live(Side.PLATFORM, "person")
    for _ in range(2):
        worlds.crm.add("Contact", {"Name": "Bob", "Phone": PHONE})
    people.new_customer_writes("Bob", None, PHONE, [], "it is me, Ann", AT_ONCE)
    worlds.quiet()
    assert described(worlds) == ["hello"]
    (hold,) = worlds.ledger.open_holds(type=HoldType.IDENTITY)
    worlds.platform.merge(Ref.parse(str(hold.subject)), known)
    worlds.quiet()
    check(worlds)
    assert described(worlds) == ["hello", "it is me, Ann"]
    assert len({fields["Contact"] for fields in worlds.live(Side.CRM, "Task").values()}) == 1
    assert worlds.ledger.open_holds() == []


def described(worlds: Worlds) -> list[str]:
    return sorted(str(fields["Description"]) for fields in worlds.live(Side.CRM, "Task").values())
