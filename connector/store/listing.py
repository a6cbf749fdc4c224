"""Walking over everything the store holds of one connection, page by page, for the audit."""

from collections.abc import Collection, Iterator

from sqlalchemy import func, select

from connector.model import Fact, Intent, Kind, Link, Ref, Side
from connector.store import rows
from connector.store.bulk import listed
from connector.store.database import Scoped
from connector.store.schema import facts, intents, links

PAGE = 1000
"""Rows held at a time."""


class Listing(Scoped):
    def all_messages(self) -> Iterator[list[Fact]]:
        """Every message seen on the platform, in pages."""
        after = ""
        while True:
            query = (
                select(facts)
                .where(
                    facts.c.connection == self.connection,
                    facts.c.kind == Kind.MESSAGE.value,
                    facts.c.side == Side.PLATFORM.value,
                    facts.c.ref > after,
                )
                .order_by(facts.c.ref)
                .limit(PAGE)
            )
            found = self._rows(query)
            if not found:
                return
            yield [rows.fact_of(row) for row in found]
            after = found[-1]["ref"]

    def all_links(self) -> Iterator[list[Link]]:
        """Every active link, in pages."""
        after = 0
        while True:
            query = (
                select(links)
                .where(links.c.connection == self.connection, links.c.active.is_(True), links.c.id > after)
                .order_by(links.c.id)
                .limit(PAGE)
            )
            found = [rows.link_of(row) for row in self._rows(query)]
            if not found:
                return
            yield found
            after = found[-1].id

    def all_intents(self) -> Iterator[list[tuple[Intent, Ref | None]]]:
        """Every intent with the record it made, in pages."""
        after = 0
        while True:
            query = (
                select(intents)
                .where(intents.c.connection == self.connection, intents.c.id > after)
                .order_by(intents.c.id)
                .limit(PAGE)
            )
            found = [(rows.intent_of(row), rows.ref(row["result"])) for row in self._rows(query)]
            if not found:
                return
            yield found
            after = found[-1][0].id

    def carrier(self, conversation: Ref, token: str) -> Ref | None:
        """The message of this conversation that carries the marker, None where none is known."""
        query = select(facts.c.ref).where(
            facts.c.connection == self.connection,
            facts.c.parent == str(conversation),
            facts.c.kind == Kind.MESSAGE.value,
            facts.c.token == token,
        )
        found = self._rows(query)
        return Ref.parse(found[0]["ref"]) if found else None

    def marked(self, tokens: Collection[str]) -> dict[str, int]:
        """How many records carry each marker of a send."""
        counts: dict[str, int] = {}
        with self._reading() as db:
            for some in listed(db, sorted(tokens)):
                query = (
                    select(facts.c.token, func.count().label("count"))
                    .where(facts.c.connection == self.connection, some(facts.c.token))
                    .group_by(facts.c.token)
                )
                counts |= {row.token: row.count for row in db.execute(query)}
        return counts
