"""What was read from the two sides: pins, cursors, positions, facts, aliases."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, select, update

from connector.errors import StoreError
from connector.model import Cursor, Fact, Ref, Side
from connector.store import rows
from connector.store.database import Scoped, upsert
from connector.store.entries import Pins
from connector.store.schema import Prose, Word, aliases, connections, cursors, facts, positions


class Observing(Scoped):
    def pins(self) -> Pins | None:
        """None until the connection was used for the first time."""
        found = self._rows(select(connections).where(connections.c.connection == self.connection))
        if not found:
            return None
        row = dict(found[0])
        del row["connection"]
        return Pins(**row)

    def pin(
        self, platform_account: str, crm_account: str, mapping_digest: str, keys: Mapping[str, str] | None = None
    ) -> Pins:
        """Remembers the accounts and the mapping of the first use. A later call changes nothing; it raises StoreError
        when the accounts are others."""
        now = self._clock()
        row = {
            "connection": self.connection,
            "platform_account": platform_account,
            "crm_account": crm_account,
            "mapping_digest": mapping_digest,
            "keys": dict(keys or {}),
            "pinned_at": now,
            "approved_at": now,
        }
        with self._writing() as db:
            upsert(db, connections, [row], **{name: connections.c[name] for name in row if name != "connection"})
        pins = self.pins()
        if pins is None or (pins.platform_account, pins.crm_account) != (platform_account, crm_account):
            raise StoreError(
                f"The connection {self.connection} belongs to other accounts than {platform_account} and {crm_account}.",
                "Correct the credentials, or give the new pair of accounts a connection of its own.",
            )
        return pins

    def approve(self, digest: str, keys: Mapping[str, str] | None = None) -> None:
        """The admin accepts a changed mapping (and its key templates, where given)."""
        values: dict[str, Any] = {"mapping_digest": digest, "approved_at": self._clock()}
        if keys is not None:
            values["keys"] = dict(keys)
        with self._writing() as db:
            done = db.execute(update(connections).where(connections.c.connection == self.connection).values(values))
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

    def position(self, side: Side, stream: str, key: str) -> str | None:
        query = select(positions.c.value).where(
            positions.c.connection == self.connection,
            positions.c.side == side.value,
            positions.c.stream == stream,
            positions.c.key == key,
        )
        with self._reading() as db:
            return db.scalar(query)

    def positions(self, side: Side, stream: str) -> dict[str, str]:
        """All positions of a stream by their keys."""
        query = select(positions.c.key, positions.c.value).where(
            positions.c.connection == self.connection, positions.c.side == side.value, positions.c.stream == stream
        )
        return {row["key"]: row["value"] for row in self._rows(query)}

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
            record_facts(db, self.connection, facts)
            self._place(db, side, stream, cursor, positions)

    def record(self, facts: Sequence[Fact]) -> None:
        """Facts that no stream brought, for example fetched because of a webhook."""
        with self._writing() as db:
            record_facts(db, self.connection, facts)

    def _place(self, db: Connection, side: Side, stream: str, cursor: Cursor, places: Mapping[str, str]) -> None:
        scope = {"connection": self.connection, "side": side.value, "stream": stream}
        place = {"watermark": cursor.watermark, "since": cursor.since, "resume": cursor.resume}
        upsert(db, cursors, [scope | place])
        upsert(db, positions, [{**scope, "key": key, "value": value} for key, value in places.items()])

    def alias(self, old: Ref, new: Ref) -> None:
        """The side answers to `new` where it knew `old` (a merge, a conversion)."""
        with self._writing() as db:
            upsert(db, aliases, [{"connection": self.connection, "old": str(old), "new": str(new)}])

    def resolve(self, ref: Ref) -> Ref:
        """The end of the chain of aliases that starts at `ref`; `ref` itself where there is none."""
        seen = {str(ref)}
        with self._reading() as db:
            while True:
                query = select(aliases.c.new).where(aliases.c.connection == self.connection, aliases.c.old == str(ref))
                new = db.scalar(query)
                # A record merged away and restored can point back at itself; the last one not yet seen stands.
                if new is None or new in seen:
                    return ref
                seen.add(new)
                ref = Ref.parse(new)


def record_facts(db: Connection, connection: str, seen: Sequence[Fact]) -> None:
    """Stores whole facts; one without `state` keeps the stored account of its message."""
    given_state = bindparam("given_state", type_=Word)
    upsert(
        db,
        facts,
        [
            {
                **rows.fact_row(connection, fact),
                "given_state": None if fact.state is None else fact.state.value,
                "given_reason": fact.reason,
            }
            for fact in seen
        ],
        state=func.coalesce(given_state, facts.c.state),
        reason=case((given_state.is_(None), facts.c.reason), else_=bindparam("given_reason", type_=Prose())),
    )
