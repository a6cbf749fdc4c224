"""The Odoo adapter keeps the contract against a real server, through both of its transports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from faulty import Faulty, method_of
from odoo_server import Odoo as Server
from odoo_server import Person
from suite import Conformance
from suite_world import Names, World, unique

from connector.adapters.base import Lookup, ObjectRead
from connector.adapters.odoo import Odoo
from connector.model import Kind, Ref

READS = {
    "res.partner": ObjectRead(
        Kind.PERSON, ("name", "email", "phone", "user_id.name", "category_id", "external_id"), initial=True
    ),
    "mail.message": ObjectRead(
        Kind.MESSAGE, ("body", "date", "subtype_id", "author_type"), parent="res_id", initial=True
    ),
}
WRITES = ("create", "write", "load", "unlink", "action_feedback")


class OdooWorld(World):
    names = Names("res.partner", "name", "email", "phone", "external_id")
    deletes_in_pull = True

    def __init__(self, server: Server) -> None:
        self.server = server
        self.proxy = Faulty(server.url)
        self.secret = server.bot_key
        self.adapter = self._adapter(self.proxy.url, server.bot_key)
        self.stranger = self._adapter(server.url, "0" * 40)
        self.human: Person = server.admin()

    def _adapter(self, url: str, key: str) -> Odoo:
        return Odoo(
            url,
            self.server.database,
            self.server.bot,
            key,
            READS,
            clock=lambda: datetime.now(UTC),
            sleep=lambda _seconds: None,
        )

    def close(self) -> None:
        self.adapter.close()
        self.stranger.close()
        self.proxy.close()

    def tick(self) -> None:
        """A call has committed when it answers."""

    def add_person(self, name: str, **fields: Any) -> Ref:
        return Ref("odoo", "res.partner", str(self.human("res.partner", "create", {"name": name, **fields})))

    def edit_person(self, ref: Ref, **fields: Any) -> None:
        self.human("res.partner", "write", [int(ref.id)], fields)

    def delete_person(self, ref: Ref) -> None:
        self.human("res.partner", "unlink", [int(ref.id)])

    def merge_persons(self, loser: Ref, winner: Ref) -> None:
        self.server.merge(int(loser.id), int(winner.id))

    def add_child(self, person: Ref, text: str) -> Ref:
        made = self.human(
            "res.partner",
            "message_post",
            [int(person.id)],
            body=text,
            message_type="comment",
            subtype_xmlid="mail.mt_note",
        )
        return Ref("odoo", "mail.message", str(made[0] if isinstance(made, list) else made))

    def twins(self) -> tuple[Lookup, set[Ref]]:
        email = f"{unique('twin')}@mail.example"
        pair = {self.add_person(unique("Twin"), email=email) for _ in range(2)}
        return Lookup("res.partner", "email", email), pair

    def commit_late(self, name: str) -> Callable[[], Ref]:
        """A transaction begins and stamps its row, and commits after others have begun and ended."""
        db = psycopg.connect(self.server.database_uri)
        stamps = "now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'"
        shown = "complete_name" if self.server.version >= 17 else "display_name"
        made = db.execute(
            f"INSERT INTO res_partner (name, {shown}, active, type, create_uid, write_uid, create_date, write_date)"
            f" VALUES (%s, %s, true, 'contact', 2, 2, {stamps}) RETURNING id",
            (name, name),
        ).fetchone()
        assert made is not None
        id_ = made[0]

        def commit() -> Ref:
            db.commit()
            db.close()
            return Ref("odoo", "res.partner", str(id_))

        return commit

    @contextmanager
    def failing(self, fault: str, call: str) -> Iterator[None]:
        def spoils(path: str, body: bytes) -> str | None:
            return fault if (method_of(path, body) in WRITES) is (call == "write") else None

        with self.proxy.spoiling(spoils):
            yield


class TestOdooJson2(Conformance):
    """The newest version, through the transport that the adapter chooses for it."""

    @pytest.fixture
    def world(self, odoo: Server) -> Iterator[World]:
        world = OdooWorld(odoo)
        yield world
        world.close()


class TestOdoo14(Conformance):
    """The oldest version that can be run here, through JSON-RPC."""

    @pytest.fixture
    def world(self, old_odoo: Server) -> Iterator[World]:
        world = OdooWorld(old_odoo)
        yield world
        world.close()
