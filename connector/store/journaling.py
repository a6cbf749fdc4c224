"""Writes a whole plan down before anything is sent: links, snapshots, intents, accounts, holds and decisions at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from connector.errors import StoreError
from connector.model import Action, HoldType, Intent, IntentState, Kind, Op, Outcome, Ref, Side, Snapshot, State
from connector.store import rows
from connector.store.bulk import change, insert, insert_all, insert_new, listed, upsert
from connector.store.database import Scoped
from connector.store.entries import DecisionRow, Entries, NewHold, NewLink, States
from connector.store.observing import record_facts
from connector.store.schema import decisions, facts, holds, intents, links, snapshots

LOOK_AGAIN = "Nothing was stored; plan again on what the store holds now."

UNDER_WAY = (IntentState.SENDING.value, IntentState.IN_DOUBT.value)
"""What became of such a write is found out by the engine; nobody decides about it meanwhile."""

NEW_LINKS = links.insert()
PLANNED = and_(
    facts.c.connection == bindparam("planned_in"),
    facts.c.ref == bindparam("planned_ref"),
    facts.c.version == bindparam("planned_version"),
    facts.c.settled == bindparam("planned_settled"),
)


class Journaling(Scoped):
    latest: Mapping[int, Action] = {}
    """What was journaled last, by intent: it is sent next, and need not be read back for that."""

    def journal(self, entries: Entries) -> list[Intent]:
        """One transaction. Answers the new intents in journal order; a key that the journal knows makes none.

        Raises StoreError, storing nothing, when the plan no longer fits: an unknown or ended link, a hold that somebody
        settled in the meantime, a write that is not any more as a person saw it, a ref that is linked to something else.
        """
        with self._writing() as db:
            journaled = self._journal(db, entries)
        if journaled:
            self.latest = {intent.id: intent.action for intent in journaled}
        return journaled

    def _journal(self, db: Connection, entries: Entries) -> list[Intent]:
        self._close_holds(db, entries.closed_holds)
        self._release(db, entries)
        record_facts(db, self.connection, entries.facts)
        self._end_links(db, entries.ended)
        self._move_links(db, entries.moved)
        shown, clashes = self._link(db, entries.links)
        if clashes:
            raise StoreError("; ".join(clashes) + ".", LOOK_AGAIN)
        self._snap(db, [*shown, *entries.snapshots])
        journaled, ids = self._add_intents(db, entries)
        self._set_states(db, entries.states)
        self._open_holds(db, entries.holds)
        self._decide(db, entries, ids)
        self._clean(db, entries.clean)
        self._redo(db, [*entries.redo, *entries.kept], settled=bool(entries.closed_holds))
        return journaled

    def _close_holds(self, db: Connection, closed: Iterable[tuple[int, str, str, str]]) -> None:
        for id_, choice, by, why in closed:
            # Two admins open the same hold; the second answer must not replace the first, which may be carried out by
            # now. Only an open hold can be settled.
            change = (
                update(holds)
                .where(holds.c.connection == self.connection, holds.c.id == id_, holds.c.settled_at.is_(None))
                .values(choice=choice, by=by, why=why, settled_at=self._clock())
            )
            if db.execute(change).rowcount != 1:
                raise StoreError(f"Hold {id_} is not open (any more) in {self.connection}.", LOOK_AGAIN)

    def _release(self, db: Connection, entries: Entries) -> None:
        """Intents that go out again, never, or were refused. Only one that is still open can change, and one that a person
        decided about only from the state in which she saw it.

        Two actors: a person gives up a write that waits, and the engine marks it as being sent in the same moment. Were it
        given up all the same, its record would stand in the CRM linked with nothing, and the settling of the call that it left
        in would fail for every write of that call. The update looks at the state and changes it in one, so that either the
        engine finds it given up, or she is told that it is under way.
        """
        changes = [(id_, {"state": IntentState.READY.value, "not_before": None}) for id_ in entries.requeued] + [
            (id_, {"state": IntentState.DROPPED.value, "error": why, "ended_at": self._clock()})
            for id_, why in entries.dropped
        ]
        changes += [
            (id_, {"state": IntentState.REFUSED.value, "error": error, "ended_at": self._clock()})
            for id_, error in entries.refused
        ]
        for id_, values in changes:
            change = update(intents).where(
                intents.c.connection == self.connection,
                intents.c.id == id_,
                intents.c.state.in_(_changeable(entries.seen.get(id_))),
            )
            if db.execute(change.values(**values)).rowcount != 1:
                raise self._gone_on(db, id_, entries)

    def _gone_on(self, db: Connection, id_: int, entries: Entries) -> StoreError:
        mine = (intents.c.connection == self.connection, intents.c.id == id_)
        state = db.scalar(select(intents.c.state).where(*mine))
        if id_ not in entries.seen or state is None:
            return StoreError(f"Intent {id_} is not open (any more) in {self.connection}.", LOOK_AGAIN)
        if state in UNDER_WAY:
            return StoreError(
                f"A write that this is about (intent {id_}) is under way.",
                "Nothing was changed. Try again in a moment: it will be known then what became of it.",
            )
        return StoreError(
            f"A write that this is about (intent {id_}) was {entries.seen[id_]} and is {state} by now.",
            "Nothing was changed. Look at the hold again, then decide.",
        )

    def _end_links(self, db: Connection, ended: Iterable[tuple[int, str]]) -> None:
        for id_, reason in ended:
            change = (
                update(links)
                .where(links.c.connection == self.connection, links.c.id == id_, links.c.active.is_(True))
                .values(active=False, ended=reason, ended_at=self._clock())
            )
            if db.execute(change).rowcount != 1:
                raise StoreError(f"Link {id_} is not active (any more) in {self.connection}.", LOOK_AGAIN)

    def _move_links(self, db: Connection, moved: Iterable[tuple[int, Ref, str]]) -> None:
        mine = (links.c.connection == self.connection, links.c.active.is_(True))
        for id_, crm, why in moved:
            reasons = db.scalar(select(links.c.why).where(*mine, links.c.id == id_))
            if reasons is None:
                raise StoreError(f"Link {id_} is not active (any more) in {self.connection}.", LOOK_AGAIN)
            db.execute(update(links).where(*mine, links.c.id == id_).values(crm=str(crm), why=[why, *reasons]))

    def _link(self, db: Connection, new: Sequence[NewLink]) -> tuple[list[Snapshot], list[str]]:
        """Makes the links that are not there yet. Answers the snapshots that are to be stored with them, and describes those
        that clash with another active link instead."""
        by_platform: dict[tuple[str, str], str] = {}
        by_crm: dict[tuple[str, str], str] = {}
        for column, refs in (
            (links.c.platform, {str(n.platform) for n in new}),
            (links.c.crm, {str(n.crm) for n in new}),
        ):
            for some in listed(db, sorted(refs)):
                query = select(links.c.kind, links.c.platform, links.c.crm).where(
                    links.c.connection == self.connection, links.c.active.is_(True), some(column)
                )
                for row in db.execute(query).mappings():
                    by_platform[row["kind"], row["platform"]] = row["crm"]
                    by_crm[row["kind"], row["crm"]] = row["platform"]
        fits: list[NewLink] = []
        missing = []
        clashes = []
        for pair in new:
            kind, platform, crm = pair.kind.value, str(pair.platform), str(pair.crm)
            has_crm = by_platform.get((kind, platform))
            has_platform = None if pair.kind is Kind.PERSON else by_crm.get((kind, crm))
            if has_crm not in (None, crm):
                clashes.append(f"{platform} cannot be linked to {crm}: it is linked to {has_crm}")
                continue
            if has_platform not in (None, platform):
                clashes.append(f"{crm} cannot be linked to {platform}: it is linked to {has_platform}")
                continue
            fits.append(pair)
            if has_crm is None:
                by_platform[kind, platform] = crm
                by_crm[kind, crm] = platform
                missing.append(
                    {
                        "connection": self.connection,
                        "kind": kind,
                        "platform": platform,
                        "crm": crm,
                        "active": True,
                        "why": list(pair.why),
                        "made_at": self._clock(),
                    }
                )
        insert_all(db, NEW_LINKS, missing)
        ids = self._active(db, fits)
        shown = [
            Snapshot(ids[pair.kind.value, str(pair.platform)], one.side, one.fields, one.unread)
            for pair in fits
            for one in pair.snapshots
        ]
        return shown, clashes

    def _active(self, db: Connection, pairs: Sequence[NewLink]) -> dict[tuple[str, str], int]:
        """The ids of the active links by kind and platform ref."""
        found: dict[tuple[str, str], int] = {}
        for some in listed(db, sorted({str(pair.platform) for pair in pairs})):
            query = select(links.c.kind, links.c.platform, links.c.id).where(
                links.c.connection == self.connection, links.c.active.is_(True), some(links.c.platform)
            )
            found.update({(row.kind, row.platform): row.id for row in db.execute(query)})
        return found

    def _snap(self, db: Connection, taken: Sequence[Snapshot]) -> None:
        upsert(db, snapshots, [rows.snapshot_row(self.connection, snapshot) for snapshot in taken])

    def _add_intents(self, db: Connection, entries: Entries) -> tuple[list[Intent], dict[str, int]]:
        """The new intents in journal order, and the id of every action's key, old or new."""
        if not entries.intents:
            return [], {}
        now = self._clock()
        new = [rows.intent_row(self.connection, action, rows.marker(action.unique), now) for action in entries.intents]
        known = self._renew(db, new)
        insert_new(db, intents, new, "connection", "unique")
        ids: dict[str, int] = {}
        for some in listed(db, dict.fromkeys(row["unique"] for row in new)):
            query = select(intents.c.unique, intents.c.id).where(
                intents.c.connection == self.connection, some(intents.c.unique)
            )
            ids.update({row.unique: row.id for row in db.execute(query)})
        made: dict[int, Intent] = {}
        for action, row in zip(entries.intents, new, strict=True):
            id_ = ids[action.unique]
            if action.unique not in known and id_ not in made:
                made[id_] = Intent(id_, action, IntentState.READY, row["token"], planned_at=now)
        return [made[id_] for id_ in sorted(made)], ids

    def _renew(self, db: Connection, new: list[dict[str, Any]]) -> set[str]:
        """Gives a key of its own to an action whose key belongs to something that is over and cannot be doubled by it. Answers
        the keys that stay taken.

        A key keeps one piece of news from being written down twice. It must not keep a value that went A, B, A from going
        to B again, nor a write that was given up from being asked for once more. A send that was done keeps its key for ever.
        """
        taken: set[str] = set()
        for some in listed(db, dict.fromkeys(row["unique"] for row in new)):
            query = select(intents.c.unique, intents.c.state, intents.c.op).where(
                intents.c.connection == self.connection, some(intents.c.unique)
            )
            known = db.execute(query).all()
            over = {
                row.unique
                for row in known
                if row.state in (IntentState.DROPPED.value, IntentState.REFUSED.value)
                or (row.state == IntentState.DONE.value and row.op != Op.SEND.value)
            }
            taken |= {row.unique for row in known} - over
            for row in new:
                if row["unique"] in over:
                    row["token"] = self._given_free(db, row["unique"], row["token"])
        return taken

    def _given_free(self, db: Connection, unique: str, token: str) -> str:
        """A finished intent gives its key free and keeps it with a mark behind. Answers the token of the next one of this key.

        Two actors: a reply is asked for, withdrawn, and asked for again; it leaves, and the store is lost. The backup has never
        heard of the second time, so the message must carry the token of the first. Only where a person gave up one that may have
        left, that one keeps its token: a message that carries it is not the next one's.
        """
        fresh = self._token()
        mine = (intents.c.connection == self.connection, intents.c.unique == unique)
        given_up = select(holds.c.intent).where(
            holds.c.connection == self.connection, holds.c.type == HoldType.IN_DOUBT.value, holds.c.intent.is_not(None)
        )
        db.execute(update(intents).where(*mine, intents.c.id.not_in(given_up)).values(token=fresh))
        db.execute(update(intents).where(*mine).values(unique=f"{unique}#{fresh}"))
        kept = select(intents.c.id).where(intents.c.connection == self.connection, intents.c.token == token)
        return self._token() if db.scalar(kept.limit(1)) else token

    def _set_states(self, db: Connection, states: States) -> None:
        groups = defaultdict(list)
        for ref, account in states.items():
            groups[account].append(str(ref))
        changed = 0
        for (state, reason), refs in groups.items():
            for some in listed(db, refs):
                change = (
                    update(facts)
                    .where(facts.c.connection == self.connection, some(facts.c.ref))
                    .values(state=state.value, reason=reason)
                )
                changed += db.execute(change).rowcount
        if changed != len(states):
            raise StoreError(
                f"{len(states) - changed} of {len(states)} messages to be accounted for are not in the store.",
                LOOK_AGAIN,
            )

    def _open_holds(self, db: Connection, new: Iterable[NewHold]) -> None:
        for hold in new:
            row = {
                "connection": self.connection,
                "type": hold.type.value,
                "subject": str(hold.subject),
                "field": hold.field,
                "question": hold.question,
                "details": dict(hold.details),
                "intent": hold.intent,
                "opened_at": self._clock(),
            }
            statement = insert(db, holds).values(row)
            db.execute(
                statement.on_conflict_do_update(
                    index_elements=["connection", "type", "subject", "field"],
                    index_where=holds.c.settled_at.is_(None),
                    set_={name: statement.excluded[name] for name in ("question", "details", "intent")},
                )
            )

    def _decide(self, db: Connection, entries: Entries, ids: Mapping[str, int]) -> None:
        carried = {
            (action.subject, action.source, action.side): ids[action.unique] for action in reversed(entries.intents)
        }
        if entries.decisions:
            now = self._clock()
            db.execute(
                decisions.insert(),
                [
                    {
                        "connection": self.connection,
                        "kind": row.kind.value,
                        "platform": str(row.platform),
                        "crm": rows.text(row.crm),
                        "source": str(row.source),
                        **rows.decision_data(row.decision),
                        "intent": _carrier(row, carried),
                        "decided_at": now,
                    }
                    for row in entries.decisions
                ],
            )

    def _clean(self, db: Connection, clean: Mapping[Ref, tuple[str, int]]) -> None:
        # The planner read version 1; while it planned, a webhook brought version 2 of the same record. Were the mark
        # taken off now, nobody would ever look at version 2. So it goes only from the version that was planned. Or a person
        # settled its hold meanwhile, which no command waits a plan out for: what she decided would never be carried out.
        planned = [
            {
                "planned_in": self.connection,
                "planned_ref": str(ref),
                "planned_version": version,
                "planned_settled": settled,
                "dirty": False,
            }
            for ref, (version, settled) in clean.items()
        ]
        change(db, facts, PLANNED, planned)

    def redo_linked(self) -> None:
        """Every record that is linked, or that a filter kept out, is dirty: the mapping has changed."""
        mine = facts.c.connection == self.connection
        active = select(links.c.platform).where(links.c.connection == self.connection, links.c.active.is_(True))
        out = facts.c.state == State.FILTERED.value
        with self._writing() as db:
            db.execute(update(facts).where(mine, or_(facts.c.ref.in_(active), out)).values(dirty=True))

    def _redo(self, db: Connection, redo: Iterable[Ref], *, settled: bool) -> None:
        # What the connector itself wants decided anew it knows of when it plans ahead; what a person settled, it does not.
        mark = {"dirty": True, "settled": facts.c.settled + 1} if settled else {"dirty": True}
        for some in listed(db, (str(ref) for ref in redo)):
            db.execute(update(facts).where(facts.c.connection == self.connection, some(facts.c.ref)).values(**mark))


def _changeable(seen: IntentState | None) -> list[str]:
    """The states that an intent may be taken from; `seen` is the one in which the person saw it who decided about it."""
    return rows.OPEN if seen is None else [state for state in (seen.value,) if state not in UNDER_WAY]


def _carrier(row: DecisionRow, carried: Mapping[tuple[Ref, Ref, Side], int]) -> int | None:
    """The intent that writes what was decided: the one of the same pair and news, on the side the value goes to."""
    side = {Outcome.TO_CRM: Side.CRM, Outcome.TO_PLATFORM: Side.PLATFORM}.get(row.decision.outcome)
    return None if side is None else carried.get((row.platform, row.source, side))
