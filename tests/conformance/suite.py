"""The contract of the seam (`connector/adapters/base.py`), executable.

An adapter's test class inherits `Conformance` and gives a fixture `world`: an adapter, and ways to act behind its back. Tests
speak of the records they made themselves, so a world may hold others.
"""

import pytest
from suite_reading import Reading
from suite_world import Sight, World, unique
from suite_writing import Writing

from connector.adapters.base import Write
from connector.errors import AuthError, RemoteError, SchemaDrift, Unreadable
from connector.model import Kind, Life, Receipt, Side


class Conformance(Reading, Writing):
    """What every adapter keeps: reading, writing, and here errors, webhooks, descriptions and costs."""

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
