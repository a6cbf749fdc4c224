"""A real Odoo with the adapter under test on it, and a human administrator beside it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count

import pytest
from faulty import Faulty, method_of
from odoo_server import Odoo as Server

from connector.adapters.base import ObjectRead, Write
from connector.adapters.odoo import Odoo
from connector.adapters.odoo.transport import Name
from connector.model import Kind, Observed, Receipt, Ref

READS = {
    "res.partner": ObjectRead(
        Kind.PERSON, ("name", "email", "phone", "mobile", "function", "category_id", "external_id"), initial=True
    ),
    "mail.message": ObjectRead(
        Kind.MESSAGE,
        ("body", "date", "subtype_id", "author_id", "author_type", "message_id"),
        parent="res_id",
        initial=True,
    ),
    "mail.activity": ObjectRead(Kind.MESSAGE, ("summary", "user_id", "done", "external_id"), parent="res_id"),
}


class Desk:
    """The adapter, what people do behind its back, and the writes that the tests have in common. `watched` is the same
    adapter through a proxy, which sees its calls and can spoil them."""

    _numbers = count(1)

    def __init__(self, server: Server) -> None:
        self.server = server
        self.proxy = Faulty(server.url)
        self.human = server.admin()
        self.bot = server.person(server.bot)
        self._adapters: list[Odoo] = []
        self.adapter = self.another()
        self.watched = self.another(url=self.proxy.url)

    def another(
        self,
        transport: Name | None = None,
        *,
        secret: str | None = None,
        url: str | None = None,
        reads: Mapping[str, ObjectRead] = READS,
    ) -> Odoo:
        made = Odoo(
            url or self.server.url,
            self.server.database,
            self.server.bot,
            secret or self.server.bot_key,
            reads,
            clock=lambda: datetime.now(UTC),
            sleep=lambda _seconds: None,
            transport=transport,
        )
        self._adapters.append(made)
        return made

    def close(self) -> None:
        for adapter in self._adapters:
            adapter.close()
        self.proxy.close()

    def unique(self, word: str) -> str:
        return f"{word}{next(self._numbers):04}"

    # -- what people do

    def person(self, name: str = "Noor", **fields: object) -> Ref:
        return Ref("odoo", "res.partner", str(self.human("res.partner", "create", {"name": name, **fields})))

    def rows(self, model: str, domain: list, *fields: str) -> list[dict]:
        """What really stands there, archived records included, in the order of their ids."""
        return self.human(
            model, "search_read", domain, list(fields), order="id", context={"active_test": False, "lang": "en_US"}
        )

    def mails(self) -> int:
        """E-mails that were queued so far."""
        return self.human("mail.mail", "search_count", [])

    # -- what the connector does

    def keyed(self, key: str, **fields: object) -> Write:
        return Write(Kind.PERSON, "res.partner", fields, key=("external_id", key))

    def note(self, at: Ref, key: str, **fields: object) -> Write:
        values = {
            "model": at.object,
            "res_id": at.id,
            "body": "<p>Hello</p>",
            "message_type": "comment",
            "subtype_id": "mail.mt_note",
            **fields,
        }
        return Write(Kind.MESSAGE, "mail.message", values, key=("message_id", key))

    def message_id(self) -> str:
        return f"<{self.unique('note')}@connector.example>"

    def upsert(self, *writes: Write) -> list[Receipt]:
        results = self.adapter.upsert(writes)
        assert all(isinstance(result, Receipt) for result in results), results
        return results

    def fetch(self, ref: Ref) -> Observed:
        (seen,) = self.adapter.fetch([ref])
        return seen

    @contextmanager
    def watching(self, spoil: Callable[[str], str | None] = lambda _method: None) -> Iterator[list[str]]:
        """The methods that `watched` calls meanwhile; `spoil` answers the fault that a call of one meets."""
        called: list[str] = []

        def spoils(path: str, body: bytes) -> str | None:
            called.append(method_of(path, body))
            return spoil(called[-1])

        with self.proxy.spoiling(spoils):
            yield called


@pytest.fixture(scope="module")
def desk(odoo: Server) -> Iterator[Desk]:
    """Odoo 19."""
    made = Desk(odoo)
    yield made
    made.close()


@pytest.fixture(scope="module", params=["odoo", "old_odoo"], ids=["19", "14"])
def either(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Odoo 19, then 14, which speaks the older transport."""
    made = Desk(request.getfixturevalue(request.param))
    yield made
    made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which server a test with `either` uses is known only when it runs, so it is counted among them here."""
    for item in items:
        if "either" in getattr(item, "fixturenames", ()):
            item.add_marker("real_server")
