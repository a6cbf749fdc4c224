"""A store with a history behind it moves to PostgreSQL and back; the connector goes on from each copy as if nothing had happened."""

from datetime import timedelta
from pathlib import Path

from databases import Databases, Files
from memory_world import Worlds
from promises import check
from simulation import Simulation

SEED, STEPS = 9, 300


def test_the_connector_goes_on_from_a_copy_as_if_nothing_had_happened(
    tmp_path: Path, postgresql_server: Databases
) -> None:
    files = Files(tmp_path)
    lived = Simulation(SEED, files)
    lived.run(STEPS)
    worlds = lived.worlds
    assert sum(worlds.written_by_us().values()) > 20
    for place in (postgresql_server, files):
        moves_to(worlds, place.create())
        lived.people.new_customer_writes("Bob", None, None, ["vip"], "hello", timedelta(0))
        lived.people.reply_is_written(0, "it is on its way", timedelta(0))
        before = worlds.written_by_us()
        worlds.quiet()
        check(worlds)
        assert worlds.written_by_us() > before, "it works on"
    worlds.store.close()


def moves_to(worlds: Worlds, url: str) -> None:
    journal = worlds.ledger.counts()
    before = worlds.written_by_us()
    worlds.store.copy_to(url)
    worlds.store.close()
    worlds.open(url)
    assert worlds.ledger.counts() == journal
    worlds.quiet()
    check(worlds)
    assert worlds.written_by_us() == before
