"""Persons who are merged or deleted on the platform, and what hung on them."""

import itertools

import pytest
from memory_world import Clock, Worlds
from people import AT_ONCE, People
from promises import check

from connector.model import HoldType, Kind, Ref, Side
from connector.store.store import Store

RUNS = itertools.count()
PHONE = "+31612345678"
NEW = "+31687654321"


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


@pytest.mark.parametrize("how", ["merged", "deleted"])
def test_a_number_that_the_platform_allows_once_goes_to_the_person_who_is_left(worlds: Worlds, how: str) -> None:
    """Two persons are one contact, each with a number; the contact shows the second one's, and then she is no more."""
    people = People(worlds)
    people.new_customer_writes("Ann", "ann@x.example", PHONE, [], "hello", AT_ONCE)
    worlds.quiet()
    (first,) = worlds.live(Side.PLATFORM, "person")
    people.new_customer_writes("Ann", None, None, [], "hello again", AT_ONCE)
    worlds.quiet()
    (second,) = worlds.live(Side.PLATFORM, "person").keys() - {first}
    contacts = {link.platform: link.crm for link in worlds.links(Kind.PERSON)}
    worlds.crm.merge(contacts[second], contacts[first])
    worlds.quiet()
    worlds.platform.person_edits(second, {"phone": NEW})
    worlds.quiet()
    assert worlds.fields(contacts[first])["Phone"] == NEW
    assert worlds.fields(first)["phone"] == PHONE
    if how == "merged":
        worlds.platform.merge(second, first)
    else:
        worlds.platform.delete(second)
    worlds.quiet()
    check(worlds)
    assert worlds.fields(first)["phone"] == worlds.fields(contacts[first])["Phone"]


def described(worlds: Worlds) -> list[str]:
    return sorted(str(fields["Description"]) for fields in worlds.live(Side.CRM, "Task").values())
