"""The contract of the seam (`connector/adapters/base.py`), executable.

An adapter's test class inherits `Conformance` and gives a fixture `world`: an adapter, and ways to act behind its back. Tests
speak of the records they made themselves, so a world may hold others.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from connector.adapters.base import Adapter, Lookup, Probe, Stream, Window, Write
from connector.errors import AuthError, RecordGone, RemoteError, SchemaDrift, Transient, Unreadable
from connector.model import Cursor, Kind, Life, Observed, Period, Receipt, Ref, Side

_numbers = count(1)


@dataclass(frozen=True)
class Names:
    """The object that holds persons and its own names of four fields; `key` is one by which `upsert` finds a record."""

    object: str
    name: str
    email: str
    phone: str
    key: str


class World(ABC):
    """One system as the tests see it. `adapter` is under test; `stranger` is one whose credentials are refused, `nowhere`
    one whose address answers nobody; `secret` is what no error may show."""

    adapter: Adapter
    stranger: Adapter
    nowhere: Adapter | None = None
    secret: str
    names: Names
    formats_phones = True
    """The system keeps a phone number the way somebody typed it."""
    deletes_in_pull = True
    merges_in_fetch = True
    """`fetch` of a merged record names the winner; otherwise a pull does."""

    @abstractmethod
    def add_person(self, name: str, **fields: Any) -> Ref:
        """Somebody makes a person. Field names are the system's own."""

    @abstractmethod
    def edit_person(self, ref: Ref, **fields: Any) -> None: ...

    @abstractmethod
    def delete_person(self, ref: Ref) -> None: ...

    @abstractmethod
    def merge_persons(self, loser: Ref, winner: Ref) -> None: ...

    @abstractmethod
    def add_child(self, person: Ref, text: str) -> Ref:
        """A record below the person (a message, an activity) with this text."""

    @abstractmethod
    def twins(self) -> tuple[Lookup, set[Ref]]:
        """Two persons that one lookup finds."""

    @abstractmethod
    def failing(self, fault: str, call: str) -> AbstractContextManager[None]:
        """While inside, every `call` (read, write, send) meets the fault: lost_request, lost_answer, html."""

    @abstractmethod
    def tick(self) -> None:
        """Time passes, longer than the declared lag."""

    def say(self, sent_at: datetime, *, among: Ref | None = None) -> Ref:
        """A message that a customer sent at that time, a while ago; in the conversation of the message `among`, or in one of
        its own."""
        pytest.skip("this system has no messages")

    def commit_late(self, name: str) -> Callable[[], Ref]:
        """Starts a transaction that makes a person; calling the result commits it and answers the ref."""
        pytest.skip("this system cannot be made to commit late")

    def conversation(self) -> Ref:
        """A conversation into which a reply can be sent."""
        pytest.skip("this system has no conversations")

    def received(self, conversation: Ref) -> list[str]:
        """The texts that the customer of the conversation really received from us."""
        pytest.skip("this system has no conversations")

    def webhook(self) -> tuple[dict[str, str], bytes, Ref]:
        """Headers and body of a genuine webhook about a record, and that record."""
        pytest.skip("this system sends no webhooks")


@dataclass
class Sight:
    """Reads an adapter's streams the way the engine does: cursors, overlaps, positions, folding."""

    adapter: Adapter
    cursors: dict[str, Cursor] = field(default_factory=dict)
    positions: dict[tuple[str, str], str] = field(default_factory=dict)
    known: dict[Ref, dict[str, Any]] = field(default_factory=dict)
    life: dict[Ref, Observed] = field(default_factory=dict)
    order: list[Ref] = field(default_factory=list)

    def look(self, *, pages: int | None = None) -> list[Observed]:
        """Reads each stream to its end, or only so many pages of it. Answers what was shown, everything else remembered."""
        return [seen for stream in self.adapter.capabilities.streams for seen in self._read(stream, pages)]

    def finish(self, limit: int = 200) -> None:
        """Reads each stream to its end, stopping and going on after every page."""
        for stream in self.adapter.capabilities.streams:
            for _ in range(limit):
                self._read(stream, pages=1)
                if self.cursors[stream.name].resume is None:
                    break
            else:
                raise AssertionError(f"{stream.name} does not come to an end")

    def _read(self, stream: Stream, pages: int | None) -> list[Observed]:
        shown: list[Observed] = []
        cursor = self.cursors.get(stream.name, Cursor())
        if cursor.resume is None:
            cursor = Cursor(cursor.watermark, cursor.watermark and cursor.watermark - stream.overlap)
        window = Window(
            cursor.since, cursor.resume, lambda key: self.positions.get((stream.name, key)), linked=self._linked
        )
        for number, page in enumerate(self.adapter.pull(stream.name, window), start=1):
            assert (page.resume is None) != (page.watermark is None), "a page either goes on or closes the window"
            self._store(stream.name, page.observed, page.positions)
            shown += page.observed
            closed = page.resume is None
            cursor = Cursor(watermark=page.watermark) if closed else replace(cursor, resume=page.resume)
            self.cursors[stream.name] = cursor
            if number == pages:
                break
        return shown

    def _store(self, stream: str, observed: tuple[Observed, ...], positions: Mapping[str, str]) -> None:
        for seen in observed:
            self.known.setdefault(seen.ref, {}).update(seen.fields)
            self.life[seen.ref] = seen
            self.order.append(seen.ref)
        for key, value in positions.items():
            self.positions[stream, key] = value

    def _linked(self, after: str, limit: int) -> list[Ref]:
        """As if every record that was ever shown were linked, and not yet known to be gone."""
        refs = sorted((str(ref), ref) for ref, seen in self.life.items() if seen.life is Life.LIVE and str(ref) > after)
        return [ref for _, ref in refs[:limit]]

    def news(self) -> list[Observed]:
        """Reads on; what of it differs from what was known before."""
        before = {ref: dict(fields) for ref, fields in self.known.items()}
        life = {ref: seen.life for ref, seen in self.life.items()}
        return [
            seen
            for seen in self.look()
            if seen.ref not in before
            or life[seen.ref] is not seen.life
            or any(before[seen.ref].get(k, ...) != v for k, v in seen.fields.items())
        ]


class Conformance:
    """What every adapter keeps. `system` in the names below is the platform or the CRM."""

    @pytest.fixture
    def sight(self, world: World) -> Sight:
        return Sight(world.adapter)

    # ---- pull -------------------------------------------------------------------------------------------------------

    def test_the_first_pull_shows_every_record(self, world: World, sight: Sight) -> None:
        people = [world.add_person(unique("First")) for _ in range(5)]
        children = [world.add_child(person, "Hello") for person in people]
        sight.look()
        assert set(people + children) <= set(sight.known)
        assert all(sight.known[ref][world.names.name] for ref in people)

    def test_one_stream_shows_a_record_once_in_its_first_window(self, world: World) -> None:
        person = world.add_person(unique("Once"))
        child = world.add_child(person, "Hello")
        stream = world.adapter.capabilities.streams[0]
        shown = Counter(o.ref for page in world.adapter.pull(stream.name, Window()) for o in page.observed)
        assert (shown[person], shown[child]) == (1, 1)

    def test_parents_stand_before_their_children(self, world: World, sight: Sight) -> None:
        person = world.add_person(unique("Parent"))
        child = world.add_child(person, "Hello")
        sight.look()
        ancestors = list(self._ancestors(sight, child))
        assert person in ancestors
        assert all(sight.order.index(ref) < sight.order.index(child) for ref in ancestors)

    def _ancestors(self, sight: Sight, ref: Ref) -> Iterator[Ref]:
        while parent := sight.life[ref].parent:
            yield parent
            ref = parent

    def test_a_pull_that_is_stopped_after_every_page_loses_nothing(self, world: World, sight: Sight) -> None:
        people = [world.add_person(unique("Stop")) for _ in range(7)]
        children = [world.add_child(person, f"Line {n}") for person in people for n in range(3)]
        sight.finish()
        assert set(people + children) <= set(sight.known)

    def test_a_pull_stopped_before_its_page_was_stored_shows_that_page_again(self, world: World, sight: Sight) -> None:
        people = [world.add_person(unique("Again")) for _ in range(7)]
        stream = world.adapter.capabilities.streams[0].name
        next(iter(world.adapter.pull(stream, Window())))
        sight.look()
        assert set(people) <= set(sight.known)

    def test_a_record_made_in_the_same_moment_as_the_last_one_seen_is_not_missed(
        self, world: World, sight: Sight
    ) -> None:
        first = world.add_person(unique("Tie"))
        sight.look()
        second = world.add_person(unique("Tie"))
        sight.look()
        assert {first, second} <= set(sight.known)

    def test_a_window_read_again_brings_no_news(self, world: World, sight: Sight) -> None:
        world.add_child(world.add_person(unique("Quiet")), "Hello")
        sight.look()
        assert sight.news() == []

    def test_a_quiet_system_brings_no_news(self, world: World, sight: Sight) -> None:
        world.add_child(world.add_person(unique("Quiet")), "Hello")
        world.tick()
        sight.look()
        world.tick()
        sight.look()
        assert sight.news() == []

    def test_an_edit_is_news(self, world: World, sight: Sight) -> None:
        ref = world.add_person(unique("Edit"))
        world.add_child(ref, "Hello")
        sight.look()
        world.tick()
        name = unique("Edited")
        world.edit_person(ref, **{world.names.name: name})
        assert ref in {o.ref for o in sight.news()}
        assert sight.known[ref][world.names.name] == name

    def test_an_edit_of_one_field_blanks_no_other(self, world: World, sight: Sight) -> None:
        email = f"{unique('mail')}@mail.example"
        ref = world.add_person(unique("Partial"), **{world.names.email: email})
        sight.look()
        world.tick()
        world.edit_person(ref, **{world.names.name: unique("Renamed")})
        for seen in sight.look():
            if seen.ref == ref and world.names.email in seen.fields:
                assert seen.fields[world.names.email] == email

    def test_a_record_committed_late_is_caught_by_the_declared_overlap(self, world: World, sight: Sight) -> None:
        commit = world.commit_late(unique("Late"))
        world.add_person(unique("Punctual"))
        sight.look()
        ref = commit()
        sight.look()
        assert ref in sight.known

    def test_a_child_written_later_is_news(self, world: World, sight: Sight) -> None:
        person = world.add_person(unique("Talk"))
        sight.look()
        world.tick()
        child = world.add_child(person, "One more thing")
        assert child in {o.ref for o in sight.news()}

    def test_a_deleted_record_is_shown_as_gone(self, world: World, sight: Sight) -> None:
        if not world.deletes_in_pull:
            pytest.skip("this system does not show deletions")
        ref = world.add_person(unique("Leaver"))
        sight.look()
        world.tick()
        world.delete_person(ref)
        sight.look()
        assert sight.life[ref].life is Life.GONE

    # ---- the past ----

    def past(
        self,
        world: World,
        sent: Period,
        *,
        pages: int | None = None,
        known: Sight | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Sight:
        """Reads a slice to its end as a backfill does, stopping and going on after so many pages, when other things happen."""
        stream = world.adapter.capabilities.history
        if not stream:
            pytest.skip("this system has no history to read")
        sight, resume = Sight(world.adapter), None
        for _ in range(500):
            window = Window(
                resume=resume,
                sent=sent,
                position=lambda key: (
                    sight.positions.get((stream, key)) or (known.positions.get((stream, key)) if known else None)
                ),
            )
            for number, page in enumerate(world.adapter.pull(stream, window), start=1):
                sight._store(stream, page.observed, page.positions)
                resume = page.resume
                assert page.part is None or 0 <= page.part <= 1
                if number == pages:
                    break
            if resume is None:
                return sight
            meanwhile()
        raise AssertionError("the slice does not come to an end")

    def test_a_slice_of_the_past_shows_exactly_the_messages_sent_in_it(self, world: World) -> None:
        month = Period(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC))
        second = timedelta(seconds=1)
        inside = {world.say(at) for at in (month.start, month.start + timedelta(days=9), month.end - second)}
        outside = {world.say(at) for at in (month.start - second, month.end, month.end + timedelta(days=9))}
        shown = {ref for ref, seen in self.past(world, month).life.items() if seen.kind is Kind.MESSAGE}
        assert shown >= inside
        assert not shown & outside
        assert all(
            month.holds(datetime.fromisoformat(seen.fields["sent_at"]))
            for seen in self.past(world, month).life.values()
            if seen.kind is Kind.MESSAGE
        )

    def test_a_slice_takes_its_part_of_a_conversation_that_goes_on_and_shows_parents_first(self, world: World) -> None:
        may = datetime(2025, 5, 1, tzinfo=UTC)
        first = world.say(may)
        second, third = (world.say(may + timedelta(days=40 * n), among=first) for n in (1, 2))
        sight = self.past(world, Period(may + timedelta(days=30), may + timedelta(days=60)))
        assert second in sight.known
        assert not {first, third} & sight.known.keys()
        ancestors = list(self._ancestors(sight, second))
        assert ancestors
        assert all(sight.order.index(ref) < sight.order.index(second) for ref in ancestors)

    @pytest.mark.parametrize("pages", [1, 2])
    def test_a_slice_that_is_stopped_again_and_again_shows_what_one_read_at_once_shows(
        self, world: World, pages: int
    ) -> None:
        july = datetime(2025, 7, 1, tzinfo=UTC)
        first = world.say(july)
        said = {first, *(world.say(july + timedelta(hours=n), among=first) for n in range(1, 12))}
        said |= {world.say(july + timedelta(hours=n)) for n in range(6)}
        month = Period(july, july + timedelta(days=31))
        stopped, whole = self.past(world, month, pages=pages), self.past(world, month)
        assert said <= whole.known.keys()
        assert stopped.known.keys() == whole.known.keys()

    def test_what_moves_while_a_slice_is_read_is_shown_all_the_same(self, world: World) -> None:
        june = datetime(2025, 6, 1, tzinfo=UTC)
        said = [world.say(june + timedelta(hours=n)) for n in range(4)]

        def move() -> None:
            world.tick()
            for message in said:
                world.say(datetime.now(UTC), among=message)

        sight = self.past(world, Period(june, june + timedelta(days=30)), pages=1, meanwhile=move)
        assert set(said) <= sight.known.keys()

    def test_slices_after_one_another_show_each_message_once(self, world: World) -> None:
        sept = datetime(2025, 9, 1, tzinfo=UTC)
        first = world.say(sept)
        said = [first, *(world.say(sept + timedelta(days=n), among=first) for n in range(1, 30, 3))]
        newer = self.past(world, Period(sept + timedelta(days=15), sept + timedelta(days=30)))
        older = self.past(world, Period(sept, sept + timedelta(days=15)), known=newer)
        shown = Counter(ref for sight in (newer, older) for ref in sight.order)
        assert [shown[ref] for ref in said] == [1] * len(said)

    def test_a_stream_from_a_start_on_shows_every_message_sent_since(self, world: World) -> None:
        stream = world.adapter.capabilities.history
        if not stream:
            pytest.skip("this system has no history to read")
        start = datetime(2025, 11, 1, tzinfo=UTC)
        old, new = world.say(start - timedelta(days=1)), world.say(start)
        later = world.say(start + timedelta(days=1), among=old)
        shown = {o.ref for page in world.adapter.pull(stream, Window(sent=Period(start))) for o in page.observed}
        assert {new, later} <= shown
        assert old not in shown

    # ---- fetch and find ---------------------------------------------------------------------------------------------

    def test_fetch_shows_what_the_pull_shows(self, world: World, sight: Sight) -> None:
        person = world.add_person(unique("Fetch"))
        child = world.add_child(person, "Hello")
        sight.look()
        for seen in world.adapter.fetch([person, child]):
            assert seen.life is Life.LIVE
            assert seen.kind is sight.life[seen.ref].kind
            assert seen.parent == sight.life[seen.ref].parent
            assert dict(seen.fields) == sight.known[seen.ref]

    def test_fetch_answers_in_the_order_of_the_refs(self, world: World) -> None:
        people = [world.add_person(unique("Order")) for _ in range(3)]
        wanted = [people[2], people[0], people[1], people[0]]
        assert [o.ref for o in world.adapter.fetch(wanted)] == wanted

    def test_fetch_of_nothing_answers_nothing(self, world: World) -> None:
        assert world.adapter.fetch([]) == []

    def test_fetch_tells_gone_from_live(self, world: World) -> None:
        kept, lost = world.add_person(unique("Kept")), world.add_person(unique("Lost"))
        world.delete_person(lost)
        assert [o.life for o in world.adapter.fetch([kept, lost])] == [Life.LIVE, Life.GONE]

    def test_a_merge_names_the_winner(self, world: World, sight: Sight) -> None:
        loser, winner = world.add_person(unique("Loser")), world.add_person(unique("Winner"))
        sight.look()
        world.tick()
        world.merge_persons(loser, winner)
        if not world.adapter.capabilities.names_winners:
            assert world.adapter.fetch([loser])[0].life is Life.GONE
            return
        if world.merges_in_fetch:
            seen = world.adapter.fetch([loser])[0]
        else:
            sight.look()
            seen = sight.life[loser]
        assert (seen.life, seen.merged_into) == (Life.MERGED, winner)

    def test_the_children_of_a_merged_record_move_to_the_winner(self, world: World, sight: Sight) -> None:
        loser, winner = world.add_person(unique("Loser")), world.add_person(unique("Winner"))
        child = world.add_child(loser, "Hello")
        sight.look()
        world.tick()
        world.merge_persons(loser, winner)
        sight.look()
        assert winner in list(self._ancestors(sight, child))

    def test_find_answers_all_matches(self, world: World) -> None:
        lookup, twins = world.twins()
        assert {o.ref for o in world.adapter.find([lookup])[0]} == twins

    def test_find_compares_without_case(self, world: World) -> None:
        email = f"{unique('case')}@mail.example"
        ref = world.add_person(unique("case"), **{world.names.email: email})
        found = world.adapter.find([Lookup(world.names.object, world.names.email, email.upper())])[0]
        assert [o.ref for o in found] == [ref]

    def test_find_answers_each_lookup_in_its_place(self, world: World) -> None:
        emails = [f"{unique('place')}@mail.example" for _ in range(2)]
        refs = [world.add_person(unique("Place"), **{world.names.email: email}) for email in emails]
        missing = f"{unique('nobody')}@mail.example"
        lookups = [Lookup(world.names.object, world.names.email, e) for e in (emails[1], missing, emails[0])]
        assert [[o.ref for o in found] for found in world.adapter.find(lookups)] == [[refs[1]], [], [refs[0]]]

    @pytest.mark.parametrize("typed", ["{n}", "+{c} {a} {b}", "+{c}-{a}-{b}", "0{a}/{b}"])
    def test_find_by_phone_sees_through_formatting(self, world: World, typed: str) -> None:
        number = next(_numbers)
        local = f"{6_10_000_000 + number}"
        if not world.formats_phones and typed != "{n}":
            pytest.skip("this system keeps numbers in one form")
        stored = typed.format(n=f"+31{local}", c="31", a=local[:2], b=local[2:])
        ref = world.add_person(unique("Phone"), **{world.names.phone: stored})
        found = world.adapter.find([Lookup(world.names.object, world.names.phone, f"+31{local}", "phone")])[0]
        assert [o.ref for o in found] == [ref]

    @pytest.mark.parametrize(
        "hostile", ["o'hara@mail.example", 'a"b@mail.example', "100%@mail.example", "a\\b@mail.example"]
    )
    def test_find_takes_every_value_literally(self, world: World, hostile: str) -> None:
        world.add_person(unique("Plain"), **{world.names.email: f"{unique('plain')}@mail.example"})
        assert world.adapter.find([Lookup(world.names.object, world.names.email, hostile)]) == [[]]

    def test_find_ignores_deleted_records(self, world: World) -> None:
        email = f"{unique('past')}@mail.example"
        world.delete_person(world.add_person(unique("Past"), **{world.names.email: email}))
        assert world.adapter.find([Lookup(world.names.object, world.names.email, email)]) == [[]]

    # ---- upsert and remove ------------------------------------------------------------------------------------------

    def test_writing_twice_with_the_same_key_makes_one_record(self, world: World) -> None:
        write = self._create(world, unique("Twice"))
        first, second = receipt(world.adapter.upsert([write])[0]), receipt(world.adapter.upsert([write])[0])
        assert (first.ref, first.created, second.created) == (second.ref, True, False)

    def test_results_come_in_the_order_of_the_writes(self, world: World) -> None:
        names = [unique("Row") for _ in range(4)]
        results = world.adapter.upsert([self._create(world, name) for name in names])
        world.tick()
        shown = world.adapter.fetch([receipt(result).ref for result in results])
        assert [o.fields[world.names.name] for o in shown] == names

    def test_a_refused_row_does_not_harm_the_others(self, world: World) -> None:
        good = [self._create(world, unique("Good")) for _ in range(2)]
        bad = replace(
            self._create(world, unique("Bad")), target=Ref(world.adapter.system, world.names.object, self._dead(world))
        )
        results = world.adapter.upsert([good[0], replace(bad, key=None), good[1]])
        assert [isinstance(result, Receipt) for result in results] == [True, False, True]
        assert isinstance(results[1], RemoteError)

    def _dead(self, world: World) -> str:
        ref = world.add_person(unique("Dead"))
        world.delete_person(ref)
        return ref.id

    def test_a_write_to_a_deleted_record_says_that_it_is_gone(self, world: World) -> None:
        target = Ref(world.adapter.system, world.names.object, self._dead(world))
        write = Write(Kind.PERSON, world.names.object, {world.names.name: unique("Ghost")}, target)
        assert isinstance(world.adapter.upsert([write])[0], RecordGone)

    def test_a_write_to_an_unknown_field_is_refused(self, world: World) -> None:
        ref = world.add_person(unique("Known"))
        write = Write(Kind.PERSON, world.names.object, {"no_such_field__c": "x"}, ref)
        assert isinstance(world.adapter.upsert([write])[0], RemoteError)

    def test_an_update_touches_only_the_given_fields(self, world: World) -> None:
        email, name = f"{unique('keep')}@mail.example", unique("Touched")
        ref = world.add_person(unique("Untouched"), **{world.names.email: email})
        write = Write(Kind.PERSON, world.names.object, {world.names.name: name}, ref)
        receipt(world.adapter.upsert([write])[0])
        world.tick()
        shown = world.adapter.fetch([ref])[0].fields
        assert (shown[world.names.email], shown[world.names.name]) == (email, name)

    def test_an_update_can_empty_a_field(self, world: World) -> None:
        ref = world.add_person(unique("Empty"), **{world.names.email: f"{unique('empty')}@mail.example"})
        receipt(world.adapter.upsert([Write(Kind.PERSON, world.names.object, {world.names.email: None}, ref)])[0])
        world.tick()
        assert world.adapter.fetch([ref])[0].fields[world.names.email] is None

    def test_the_read_back_of_a_receipt_equals_the_next_pull(self, world: World, sight: Sight) -> None:
        ref = world.add_person(unique("Back"))
        world.add_child(ref, "Hello")
        sight.look()
        world.tick()
        write = Write(Kind.PERSON, world.names.object, {world.names.name: unique("Read Back")}, ref)
        told = receipt(world.adapter.upsert([write])[0])
        world.tick()
        sight.look()
        if told.fields is None:
            pytest.skip("this system's answers do not tell what was stored")
        assert {k: sight.known[ref].get(k) for k in told.fields} == dict(told.fields)

    def test_writing_the_same_update_again_changes_nothing(self, world: World, sight: Sight) -> None:
        ref = world.add_person(unique("Same"))
        write = Write(Kind.PERSON, world.names.object, {world.names.name: unique("Same Name")}, ref)
        world.adapter.upsert([write])
        world.tick()
        sight.look()
        world.adapter.upsert([write])
        world.tick()
        assert [o for o in sight.news() if o.ref == ref] == []

    def test_a_lost_answer_to_an_update_is_made_good_by_repeating_it(self, world: World) -> None:
        write = self._create(world, unique("Repeat"))
        with world.failing("lost_answer", "write"):
            try:
                results = world.adapter.upsert([write])
            except RemoteError as error:
                results = [error]
        if not isinstance(results[0], Receipt):
            assert not results[0].certain
            results = world.adapter.upsert([write])
        world.tick()
        field_, value = write.key or ("", "")
        found = world.adapter.find([Lookup(world.names.object, field_, value)])[0]
        assert [o.ref for o in found] == [receipt(results[0]).ref]

    def test_removing_twice_is_done_both_times(self, world: World) -> None:
        ref = world.add_person(unique("Removed"))
        write = Write(Kind.PERSON, world.names.object, {}, ref)
        assert [receipt(world.adapter.remove([write])[0]).ref for _ in range(2)] == [ref, ref]
        assert world.adapter.fetch([ref])[0].life is Life.GONE

    def _create(self, world: World, name: str) -> Write:
        key = (
            world.names.key,
            f"{unique('key')}@mail.example" if world.names.key == world.names.email else unique("key"),
        )
        return Write(Kind.PERSON, world.names.object, {world.names.name: name}, key=key)

    # ---- send and probe ---------------------------------------------------------------------------------------------

    def test_a_reply_reaches_the_customer_once(self, world: World, sight: Sight) -> None:
        conversation, token = self._conversation(world), unique("token")
        sent = world.adapter.send(self._reply(conversation, "On its way."), token)
        world.tick()
        assert world.received(conversation) == ["On its way."]
        sight.look()
        shown = sight.life[sent.ref]
        assert (shown.token, shown.parent, shown.fields["text"]) == (token, conversation, "On its way.")
        assert shown.ours is not False

    def test_a_reply_whose_answer_is_lost_is_found_by_the_probe(self, world: World) -> None:
        conversation, token, start = self._conversation(world), unique("token"), self._now(world)
        with world.failing("lost_answer", "send"), pytest.raises(RemoteError) as caught:
            world.adapter.send(self._reply(conversation, "Sent after all."), token)
        assert not caught.value.certain
        world.tick()
        found = world.adapter.probe(self._reply(conversation, "Sent after all."), token, start)
        assert world.adapter.fetch([receipt(found).ref])[0].token == token
        assert world.received(conversation) == ["Sent after all."]

    def test_a_reply_whose_request_is_lost_is_absent_for_the_probe(self, world: World) -> None:
        conversation, token, start = self._conversation(world), unique("token"), self._now(world)
        with world.failing("lost_request", "send"), pytest.raises(RemoteError) as caught:
            world.adapter.send(self._reply(conversation, "Never sent."), token)
        assert not caught.value.certain
        world.tick()
        assert world.adapter.probe(self._reply(conversation, "Never sent."), token, start) is Probe.ABSENT
        assert world.received(conversation) == []

    def test_an_unreadable_answer_to_a_reply_is_in_doubt(self, world: World) -> None:
        conversation = self._conversation(world)
        with world.failing("html", "send"), pytest.raises(RemoteError) as caught:
            world.adapter.send(self._reply(conversation, "Perhaps."), unique("token"))
        assert not caught.value.certain

    def test_a_probe_is_not_misled_by_an_equal_text(self, world: World) -> None:
        conversation, start = self._conversation(world), self._now(world)
        world.adapter.send(self._reply(conversation, "Thank you!"), unique("token"))
        world.tick()
        probed = world.adapter.probe(self._reply(conversation, "Thank you!"), unique("token"), start)
        assert probed is Probe.ABSENT

    def test_a_reply_that_could_not_even_connect_is_certainly_not_sent(self, world: World) -> None:
        conversation = self._conversation(world)
        if world.nowhere is None:
            pytest.skip("no adapter without a connection was given")
        with pytest.raises(Transient) as caught:
            world.nowhere.send(self._reply(conversation, "Hello?"), unique("token"))
        assert caught.value.certain

    def test_a_system_that_cannot_reply_refuses_to(self, world: World) -> None:
        if world.adapter.capabilities.can_reply:
            pytest.skip("this system can reply")
        with pytest.raises(RemoteError) as caught:
            world.adapter.send(self._reply(world.add_person(unique("Mute")), "Hello"), unique("token"))
        assert caught.value.certain

    def _conversation(self, world: World) -> Ref:
        if not world.adapter.capabilities.can_reply:
            pytest.skip("this system cannot reply")
        return world.conversation()

    def _reply(self, conversation: Ref, text: str) -> Write:
        return Write(Kind.MESSAGE, "message", {"text": text}, conversation)

    def _now(self, world: World) -> datetime:
        return datetime.now(UTC)

    # ---- errors, webhooks, descriptions -----------------------------------------------------------------------------

    def test_wrong_credentials_are_an_auth_error_with_a_way_out(self, world: World) -> None:
        with pytest.raises(AuthError) as caught:
            world.stranger.check()
        assert caught.value.way_out

    def test_a_web_page_instead_of_an_answer_is_a_typed_error(self, world: World, sight: Sight) -> None:
        with world.failing("html", "read"), pytest.raises(RemoteError):
            sight.look()

    def test_a_failed_pull_loses_nothing(self, world: World, sight: Sight) -> None:
        ref = world.add_person(unique("Resumed"))
        with world.failing("lost_answer", "read"), pytest.raises(RemoteError):
            sight.look()
        sight.look()
        assert ref in sight.known

    def test_no_error_shows_the_secret(self, world: World, sight: Sight) -> None:
        errors: list[RemoteError] = []
        for fault in ("html", "lost_answer", "lost_request"):
            with world.failing(fault, "read"), pytest.raises(RemoteError) as caught:
                sight.look()
            errors.append(caught.value)
        with pytest.raises(RemoteError) as caught:
            world.stranger.check()
        errors.append(caught.value)
        assert [e for e in errors if world.secret in f"{e} {e!r} {e.__cause__!r} {vars(e)}"] == []
        assert world.secret not in repr(world.adapter)

    def test_a_webhook_hints_at_a_record_that_fetch_knows(self, world: World) -> None:
        headers, body, ref = world.webhook()
        refs = [hint.ref for hint in world.adapter.hints(headers, body)]
        assert ref in refs
        assert all(o.life is Life.LIVE for o in world.adapter.fetch(refs))

    def test_a_webhook_that_was_tampered_with_is_refused(self, world: World) -> None:
        headers, body, _ = world.webhook()
        with pytest.raises(AuthError):
            world.adapter.hints(headers, body + b" ")

    def test_a_webhook_without_a_signature_is_refused(self, world: World) -> None:
        _, body, _ = world.webhook()
        with pytest.raises((AuthError, Unreadable)):
            world.adapter.hints({}, body)

    def test_describe_names_every_field_that_a_pull_shows(self, world: World, sight: Sight) -> None:
        world.add_child(world.add_person(unique("Described")), "Hello")
        sight.look()
        unknown = {
            (ref.object, name)
            for ref, fields in sight.known.items()
            for name in fields
            if world.adapter.describe(ref.object).field(name) is None
        }
        assert unknown == set()

    def test_describe_of_an_unknown_object_is_schema_drift(self, world: World) -> None:
        with pytest.raises(SchemaDrift):
            world.adapter.describe("NoSuchThing__c")

    def test_check_names_the_same_account_each_time(self, world: World) -> None:
        first, second = world.adapter.check(), world.adapter.check()
        assert first == second
        assert first.id
        assert first.system == world.adapter.system

    def test_users_are_known_by_lower_case_addresses(self, world: World) -> None:
        users = world.adapter.users()
        assert all(u.id and u.email == u.email.lower() for u in users)

    def test_every_call_is_counted(self, world: World) -> None:
        before = world.adapter.usage().calls
        world.adapter.check()
        assert world.adapter.usage().calls > before

    def test_asking_for_the_allowance_costs_one_call_at_most_and_tells_what_is_known_from_then_on(
        self, world: World
    ) -> None:
        world.adapter.check()
        before = world.adapter.usage()
        told = world.adapter.allowance()
        assert told == world.adapter.usage()
        assert told.calls - before.calls == (0 if told.allowance is None else 1)

    @pytest.mark.parametrize("count", [0, 1, 2, 7])
    def test_the_cost_of_writes_is_foreseen(self, world: World, count: int) -> None:
        people = [world.add_person(unique("Cost")) for _ in range(count)]
        edits = [
            Write(Kind.PERSON, world.names.object, {world.names.name: unique("Dear"), world.names.email: None}, person)
            for person in people
        ]
        if edits:
            # What is described once is kept.
            world.adapter.upsert(edits[:1])
        before = world.adapter.usage()
        foreseen = world.adapter.cost(edits)
        assert world.adapter.usage() == before, "nobody is asked"
        if edits:
            world.adapter.upsert(edits)
        assert world.adapter.usage().calls - before.calls == foreseen

    def test_the_cost_of_new_records_is_foreseen(self, world: World) -> None:
        def new() -> list[Write]:
            return [
                Write(
                    Kind.PERSON,
                    world.names.object,
                    {world.names.name: unique("New")},
                    key=(world.names.key, unique("k")),
                )
                for _ in range(3)
            ]

        world.adapter.upsert(new())
        writes = new()
        foreseen, before = world.adapter.cost(writes), world.adapter.usage().calls
        assert all(isinstance(one, Receipt) for one in world.adapter.upsert(writes))
        assert world.adapter.usage().calls - before == foreseen

    def test_capabilities_hold_together(self, world: World) -> None:
        has = world.adapter.capabilities
        assert has.streams
        assert has.batch >= 1
        assert has.writable <= has.readable
        assert world.adapter.side in Side


def unique(word: str) -> str:
    """A word that no other test uses."""
    return f"{word} {next(_numbers):05}" if word[0].isupper() else f"{word}{next(_numbers):05}"


def receipt(result: object) -> Receipt:
    assert isinstance(result, Receipt), result
    return result
