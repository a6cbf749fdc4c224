"""What was read from the two sides: pins, cursors, positions, facts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, select, update

from connector.errors import StoreError
from connector.model import Cursor, Fact, Side
from connector.store import rows
from connector.store.announcing import Announcing
from connector.store.bulk import upsert
from connector.store.entries import Pins
from connector.store.schema import connections, cursors, facts, positions

ACCOUNT = {"state": facts.c.state, "reason": facts.c.reason}
"""A fact that says nothing of its message's account leaves the stored one as it is."""


class Observing(Announcing):
    def pins(self) -> Pins | None:
        """None until the connection was used for the first time."""
        found = self._rows(select(connections).where(connections.c.connection == self.connection))
        if not found:
            return None
        row = dict(found[0])
        del row["connection"]
        return Pins(**row)

    def pin(self, platform_account: str, crm_account: str, mapping_digest: str) -> Pins:
        """Remembers the accounts and the mapping of the first use. A later call changes nothing; it raises StoreError
        when the accounts are others."""
        row = {
            "connection": self.connection,
            "platform_account": platform_account,
            "crm_account": crm_account,
            "mapping_digest": mapping_digest,
        }
        with self._writing() as db:
            upsert(db, connections, [row], **{name: connections.c[name] for name in row if name != "connection"})
        pins = self.pins()
        if pins is None or pins.mismatches({Side.PLATFORM: platform_account, Side.CRM: crm_account}):
            raise StoreError(
                f"The connection {self.connection} belongs to other accounts than {platform_account} and {crm_account}.",
                "Correct the credentials, or give the new pair of accounts a connection of its own.",
            )
        return pins

    def approve(self, digest: str) -> None:
        """The admin accepts a changed mapping."""
        change = update(connections).where(connections.c.connection == self.connection).values(mapping_digest=digest)
        with self._writing() as db:
            done = db.execute(change)
            if done.rowcount != 1:
                raise StoreError(
                    f"The connection {self.connection} was never used, so there is no mapping to replace.",
                    "Run it once.",
                )

    def cursor(self, side: Side, stream: str) -> Cursor:
        """An empty cursor for a stream that was never read."""
        query = select(cursors).where(
            cursors.c.connection == self.connection, cursors.c.side == side.value, cursors.c.stream == stream
        )
        found = self._rows(query)
        return rows.cursor_of(found[0]) if found else Cursor()

    def reads(self) -> dict[tuple[Side, str], datetime]:
        """When each stream was last read to its end."""
        query = select(cursors).where(cursors.c.connection == self.connection, cursors.c.read_at.is_not(None))
        return {(Side(row["side"]), row["stream"]): row["read_at"] for row in self._rows(query)}

    def position(self, side: Side, stream: str, key: str) -> str | None:
        """One position of a stream. A platform has several for each of its conversations: to load them all for every tick would
        cost the more the longer the connector has been in use."""
        query = select(positions.c.value).where(
            positions.c.connection == self.connection,
            positions.c.side == side.value,
            positions.c.stream == stream,
            positions.c.key == key,
        )
        with self._reading() as db:
            return db.scalar(query)

    def ingest(
        self,
        side: Side,
        stream: str,
        facts: Sequence[Fact],
        cursor: Cursor,
        positions: Mapping[str, str],
    ) -> None:
        """One page, in one transaction: were the cursor stored first, a crash would lose the page's facts for ever.

        A fact without `state` keeps the stored account of its message; a new message is open.
        """
        with self._writing() as db:
            self._await(db, side, facts)
            record_facts(db, self.connection, facts)
            self._place(db, side, stream, cursor, positions)

    def record(self, facts: Sequence[Fact]) -> None:
        """Facts that no stream brought, for example fetched because of a webhook."""
        with self._writing() as db:
            record_facts(db, self.connection, facts)

    def _place(self, db: Connection, side: Side, stream: str, cursor: Cursor, places: Mapping[str, str]) -> None:
        scope = {"connection": self.connection, "side": side.value, "stream": stream}
        place: dict[str, object] = {"watermark": cursor.watermark, "since": cursor.since, "resume": cursor.resume}
        if cursor.resume is None:
            place["read_at"] = self._clock()
        upsert(db, cursors, [scope | place])
        upsert(db, positions, [{**scope, "key": key, "value": value} for key, value in places.items()])


def record_facts(db: Connection, connection: str, seen: Sequence[Fact]) -> None:
    """Stores whole facts; one without `state` keeps the stored account of its message."""
    for told, some in groupby(seen, lambda fact: fact.state is not None):
        upsert(db, facts, [rows.fact_row(connection, fact) for fact in some], **({} if told else ACCOUNT))
