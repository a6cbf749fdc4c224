"""What the seam says of writing: upserts, removals, replies and their probes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from suite_world import Sight, World, receipt, unique

from connector.adapters.base import Lookup, Probe, Write
from connector.errors import RecordGone, RemoteError, Transient
from connector.model import Kind, Life, Receipt, Ref


class Writing:
    """What every adapter keeps while it is written to."""

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
