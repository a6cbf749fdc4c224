"""What the seam says of reading: pulls, the past, fetches, merges, lookups."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from suite_world import Sight, World, numbers, unique

from connector.adapters.base import Lookup, Window
from connector.model import Kind, Life, Period, Ref


class Reading:
    """What every adapter keeps while it is read."""

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
        number = next(numbers)
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
