"""What the planner reads: bulk, and in pieces that both databases accept."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from connector.errors import StoreError
from connector.model import Fact, Hold, HoldType, Intent, IntentState, Kind, Link, Op, Ref, Side, Snapshot, State
from connector.store import rows
from connector.store.bulk import Among, listed
from connector.store.database import Scoped
from connector.store.entries import ConversationStats
from connector.store.schema import facts, holds, intents, links, snapshots


class Reading(Scoped):
    def facts(self, refs: Iterable[Ref]) -> dict[Ref, Fact]:
        """The facts known of these refs."""
        query = select(facts).where(facts.c.connection == self.connection)
        found = self._in_chunks(refs, lambda some: query.where(some(facts.c.ref)))
        return {fact.ref: fact for fact in map(rows.fact_of, found)}

    def dirty(self, kinds: Iterable[Kind], limit: int, after: str | None = None) -> list[Fact]:
        """Facts that no plan has looked at, oldest first. `after` is `rows.order_key` of the last fact of the page before."""
        query = self._dirty(select(facts)).where(facts.c.kind.in_([kind.value for kind in kinds]))
        if after is not None:
            query = query.where(facts.c.order_key > after)
        return [rows.fact_of(row) for row in self._rows(query.order_by(facts.c.order_key).limit(limit))]

    def count_dirty(self) -> int:
        with self._reading() as db:
            return db.scalar(self._dirty(select(func.count()))) or 0

    def _dirty(self, query: Select[Any]) -> Select[Any]:
        return query.where(facts.c.connection == self.connection, facts.c.dirty.is_(True))

    def children(self, parents: Iterable[Ref], kind: Kind, states: Iterable[State] | None = None) -> list[Ref]:
        """Refs of the facts of this kind under these parents, oldest first within a parent."""
        query = select(facts.c.ref).where(facts.c.connection == self.connection, facts.c.kind == kind.value)
        if states is not None:
            query = query.where(facts.c.state.in_([state.value for state in states]))
        query = query.order_by(facts.c.parent, facts.c.order_key)
        found = self._in_chunks(parents, lambda some: query.where(some(facts.c.parent)))
        return [Ref.parse(row["ref"]) for row in found]

    def held_because(self, reasons: Iterable[str]) -> list[Ref]:
        """Messages that are held for one of these reasons."""
        query = select(facts.c.ref).where(
            facts.c.connection == self.connection,
            facts.c.kind == Kind.MESSAGE.value,
            facts.c.side == Side.PLATFORM.value,
            facts.c.state == State.HELD.value,
        )
        found = self._in_chunks(reasons, lambda some: query.where(some(facts.c.reason)))
        return [Ref.parse(row["ref"]) for row in found]

    def stats(self, conversations: Iterable[Ref]) -> dict[Ref, ConversationStats]:
        """Of the messages known: neither private notes nor erased ones count. Conversations without any are left out."""
        counted = and_(
            facts.c.connection == self.connection,
            facts.c.kind == Kind.MESSAGE.value,
            facts.c.private.is_(False),
            or_(facts.c.state.is_(None), facts.c.state != State.ERASED.value),
        )

        def query(some: Among) -> Select[Any]:
            groups = (
                select(
                    facts.c.parent,
                    func.count().label("count"),
                    func.min(facts.c.at).label("first_at"),
                    func.max(facts.c.at).label("last_at"),
                    func.max(facts.c.order_key).label("last"),
                )
                .where(counted, some(facts.c.parent))
                .group_by(facts.c.parent)
                .subquery()
            )
            mine = and_(facts.c.connection == self.connection, facts.c.kind == Kind.MESSAGE.value)
            last = and_(mine, facts.c.parent == groups.c.parent, facts.c.order_key == groups.c.last)
            return select(groups, facts.c.direction).join(facts, last)

        return {
            Ref.parse(row["parent"]): ConversationStats(row["count"], row["first_at"], row["last_at"], row["direction"])
            for row in self._in_chunks(conversations, query)
        }

    def links_of(self, refs: Iterable[Ref], *, kinds: Iterable[Kind] | None = None, active: bool = False) -> list[Link]:
        """Every link (with `active`, only those that have not ended) that has one of these refs on either side, in the order
        they were made."""
        query = select(links).where(links.c.connection == self.connection)
        if active:
            query = query.where(links.c.active.is_(True))
        if kinds is not None:
            query = query.where(links.c.kind.in_([kind.value for kind in kinds]))
        wanted = list(refs)
        found = [
            *self._in_chunks(wanted, lambda some: query.where(some(links.c.platform))),
            *self._in_chunks(wanted, lambda some: query.where(some(links.c.crm))),
        ]
        unique = {row["id"]: row for row in found}
        return [rows.link_of(unique[id_]) for id_ in sorted(unique)]

    def some_links(self, kind: Kind, limit: int) -> list[Link]:
        """Active links of this kind, so many of the oldest and of the newest ones: people who delete what came in lately, or long
        ago, leave the others."""
        query = select(links).where(links.c.connection == self.connection, links.c.active.is_(True))
        query = query.where(links.c.kind == kind.value)
        oldest = self._rows(query.order_by(links.c.id).limit(limit))
        newest = self._rows(query.order_by(links.c.id.desc()).limit(limit))
        return list({row["id"]: rows.link_of(row) for row in [*oldest, *newest]}.values())

    def linked_after(self, side: Side, after: str, limit: int) -> list[Ref]:
        """The records of a side that are linked, in the order of their references as text, so many after a given one."""
        ref = links.c.platform if side is Side.PLATFORM else links.c.crm
        query = select(ref).where(links.c.connection == self.connection, links.c.active.is_(True), ref > after)
        with self._reading() as db:
            return [Ref.parse(text) for text in db.scalars(query.distinct().order_by(ref).limit(limit))]

    def active_links(self, kind: Kind | None = None) -> int:
        """How many records are linked, of this kind or of all. Counts them one by one."""
        query = select(func.count()).where(links.c.connection == self.connection, links.c.active.is_(True))
        if kind is not None:
            query = query.where(links.c.kind == kind.value)
        with self._reading() as db:
            return db.scalar(query) or 0

    def snapshots(self, link_ids: Iterable[int]) -> dict[int, dict[Side, Snapshot]]:
        """By link and side; links without any are left out."""
        query = select(snapshots).where(snapshots.c.connection == self.connection)
        answer: dict[int, dict[Side, Snapshot]] = {}
        with self._reading() as db:
            for some in listed(db, sorted(set(link_ids))):
                for row in db.execute(query.where(some(snapshots.c.link))).mappings():
                    snapshot = rows.snapshot_of(row)
                    answer.setdefault(snapshot.link, {})[snapshot.side] = snapshot
        return answer

    def open_intents(self, refs: Iterable[Ref]) -> list[Intent]:
        """Intents not yet done, refused or dropped whose source, subject or target is one of these, in journal order."""
        query = select(intents).where(intents.c.connection == self.connection, intents.c.state.in_(rows.OPEN))
        found = self._in_chunks(
            refs,
            lambda some: query.where(or_(some(intents.c.source), some(intents.c.subject), some(intents.c.target))),
        )
        unique = {row["id"]: row for row in found}
        return [rows.intent_of(unique[id_]) for id_ in sorted(unique)]

    def replies_sent_as(self, messages: Iterable[Ref]) -> dict[Ref, Ref]:
        """Of these messages those that a reply became, with the reply."""
        query = select(intents.c.result, intents.c.subject).where(
            intents.c.connection == self.connection, intents.c.op == Op.SEND.value
        )
        found = self._in_chunks(messages, lambda some: query.where(some(intents.c.result)))
        return {Ref.parse(row["result"]): Ref.parse(row["subject"]) for row in found}

    def creating(self, kinds: Collection[Kind]) -> bool:
        """Whether the CRM is, or may be, making a record of these kinds whose answer is still to come."""
        query = select(intents.c.id).where(
            intents.c.connection == self.connection,
            intents.c.state.in_([IntentState.SENDING.value, IntentState.IN_DOUBT.value]),
            intents.c.side == Side.CRM.value,
            intents.c.target.is_(None),
            intents.c.kind.in_([kind.value for kind in kinds]),
        )
        with self._reading() as db:
            return db.scalar(query.limit(1)) is not None

    def being_created(self, kind: Kind) -> list[Ref]:
        """The platform records of this kind whose CRM record is under way: written down, not yet made."""
        query = select(intents.c.subject).where(
            intents.c.connection == self.connection,
            intents.c.kind == kind.value,
            intents.c.side == Side.CRM.value,
            intents.c.target.is_(None),
            intents.c.state.in_(rows.OPEN),
        )
        return [Ref.parse(row["subject"]) for row in self._rows(query)]

    def known(self, refs: Iterable[Ref]) -> set[Ref]:
        """Those that have a fact, a link (active or ended), or are the target of an open intent."""
        wanted = list(refs)

        def column(of: ColumnElement[str], *where: ColumnElement[bool]) -> Callable[[Among], Select[Any]]:
            return lambda some: select(of.label("ref")).where(*where, some(of))

        mine = links.c.connection == self.connection
        target = (intents.c.connection == self.connection, intents.c.state.in_(rows.OPEN))
        queries = [
            column(facts.c.ref, facts.c.connection == self.connection),
            column(links.c.platform, mine),
            column(links.c.crm, mine),
            column(intents.c.target, *target),
        ]
        return {Ref.parse(row["ref"]) for query in queries for row in self._in_chunks(wanted, query)}

    def open_holds(self, refs: Iterable[Ref] | None = None, type: HoldType | None = None) -> list[Hold]:
        """Oldest first; about these subjects and of this type, where given."""
        return self._holds(refs, type, holds.c.settled_at.is_(None))

    def settled_holds(self, refs: Iterable[Ref]) -> list[Hold]:
        """What people have decided about these subjects, oldest first."""
        return self._holds(refs, None, holds.c.settled_at.is_not(None))

    def hold(self, id: int) -> Hold:
        """Raises StoreError when the connection has no such hold."""
        found = self._rows(select(holds).where(holds.c.connection == self.connection, holds.c.id == id))
        if not found:
            raise StoreError(
                f"The connection {self.connection} has no hold {id}.", "List the open ones to find its number."
            )
        return rows.hold_of(found[0])

    def _holds(self, refs: Iterable[Ref] | None, type_: HoldType | None, where: ColumnElement[bool]) -> list[Hold]:
        query = select(holds).where(holds.c.connection == self.connection, where)
        if type_ is not None:
            query = query.where(holds.c.type == type_.value)
        if refs is None:
            found = self._rows(query)
        else:
            found = self._in_chunks(refs, lambda some: query.where(some(holds.c.subject)))
        return [rows.hold_of(row) for row in sorted(found, key=lambda row: row["id"])]
