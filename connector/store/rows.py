"""Model types to table rows and back. Pure: a row is a dict on the way in and a mapping on the way out."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.model import (
    OPEN_INTENTS,
    Action,
    Cursor,
    Decision,
    Fact,
    Hold,
    HoldType,
    Intent,
    IntentState,
    Kind,
    Life,
    Link,
    Op,
    Outcome,
    Ref,
    Side,
    Snapshot,
    State,
    stamp,
)
from connector.store.entries import Decided, DecisionRow

Row = Mapping[Any, Any]

OPEN = [state.value for state in OPEN_INTENTS]

COUNTED = timedelta(days=7)
"""How long calls are remembered by the hour: no allowance counts further back than a day."""


def hour_of(at: datetime) -> str:
    """`2026-01-02T03`, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H}"


def text(ref: Ref | None) -> str | None:
    return None if ref is None else str(ref)


def ref(value: str | None) -> Ref | None:
    return None if value is None else Ref.parse(value)


def at(fact: Fact) -> str | None:
    """When the thing happened: `sent_at` of its fields, else the side's time of the version (UTC text to the second)."""
    sent = fact.fields.get("sent_at")
    if isinstance(sent, str) and sent:
        return sent
    if fact.changed_at is None:
        return None
    return stamp(fact.changed_at)


def order_key(fact: Fact) -> str:
    """Sorts facts by time, then by id; a shorter id first, so that message 9 stands before message 10 of one second."""
    return f"{at(fact) or ''} {len(fact.ref.id):04} {fact.ref}"


def fact_row(connection: str, fact: Fact) -> dict[str, Any]:
    """Columns of `facts`. A platform message without an account is new, so it is open."""
    state = fact.state
    if state is None and fact.kind is Kind.MESSAGE and fact.side is Side.PLATFORM:
        state = State.OPEN
    direction, inbox = fact.fields.get("direction"), fact.fields.get("inbox")
    return {
        "connection": connection,
        "ref": str(fact.ref),
        "side": fact.side.value,
        "kind": fact.kind.value,
        "object": fact.ref.object,
        "parent": text(fact.parent),
        "version": fact.version,
        "changed_at": fact.changed_at,
        "by": fact.by,
        "ours": fact.ours,
        "life": fact.life.value,
        "merged_into": text(fact.merged_into),
        "token": fact.token,
        "edited": fact.edited,
        "dirty": fact.dirty,
        "state": None if state is None else state.value,
        "reason": fact.reason,
        "fields": dict(fact.fields),
        "order_key": order_key(fact),
        "at": at(fact),
        "direction": direction if isinstance(direction, str) else None,
        "private": fact.fields.get("private") is True,
        "inbox": inbox if fact.kind is Kind.CONVERSATION and isinstance(inbox, str) else None,
    }


def fact_of(row: Row) -> Fact:
    return Fact(
        ref=Ref.parse(row["ref"]),
        side=Side(row["side"]),
        kind=Kind(row["kind"]),
        fields=row["fields"],
        version=row["version"],
        changed_at=row["changed_at"],
        by=row["by"],
        ours=row["ours"],
        parent=ref(row["parent"]),
        life=Life(row["life"]),
        merged_into=ref(row["merged_into"]),
        token=row["token"],
        edited=row["edited"],
        dirty=row["dirty"],
        state=None if row["state"] is None else State(row["state"]),
        reason=row["reason"],
        settled=row["settled"],
    )


def cursor_of(row: Row) -> Cursor:
    return Cursor(row["watermark"], row["since"], row["resume"])


def link_of(row: Row) -> Link:
    return Link(
        id=row["id"],
        kind=Kind(row["kind"]),
        platform=Ref.parse(row["platform"]),
        crm=Ref.parse(row["crm"]),
        active=row["active"],
        why=tuple(row["why"]),
        ended=row["ended"],
        made_at=row["made_at"],
        ended_at=row["ended_at"],
    )


def snapshot_row(connection: str, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "connection": connection,
        "link": snapshot.link,
        "side": snapshot.side.value,
        "fields": dict(snapshot.fields),
        "unread": list(snapshot.unread),
    }


def snapshot_of(row: Row) -> Snapshot:
    return Snapshot(row["link"], Side(row["side"]), row["fields"], tuple(row["unread"]))


def decision_data(decision: Decision) -> dict[str, Any]:
    return {
        "field": decision.field,
        "outcome": decision.outcome.value,
        "rule": decision.rule,
        "reason": decision.reason,
        "value": decision.value,
        "lost": decision.lost,
        "conflict": decision.conflict,
    }


def decision_of(data: Row) -> Decision:
    return Decision(
        field=data["field"],
        outcome=Outcome(data["outcome"]),
        rule=data["rule"],
        reason=data["reason"],
        value=data["value"],
        lost=data["lost"],
        conflict=data["conflict"],
    )


def decided_of(row: Row) -> Decided:
    decision = DecisionRow(
        kind=Kind(row["kind"]),
        platform=Ref.parse(row["platform"]),
        crm=ref(row["crm"]),
        decision=decision_of(row),
        source=Ref.parse(row["source"]),
    )
    return Decided(decision, row["intent"], row["decided_at"])


def carried_decisions(row: Row) -> list[Decided]:
    """What the write of a row of `intents` was decided by. Of a write to the platform the table `decisions` tells."""
    action = action_of(row)
    if action.side is Side.PLATFORM:
        return []
    crm = action.target or ref(row["result"])
    return [
        Decided(DecisionRow(action.kind, action.subject, crm, one, action.source), row["id"], row["planned_at"])
        for one in action.decisions
    ]


def marker(unique: str) -> str:
    """The token of an intent with this key: 20 hex digits of SHA-256.

    Two actors: a reply is sent, and the store is lost; a backup knows nothing of the reply, which is still queued in the CRM. It
    is planned again under the same key, so its token is the one that the message on the platform carries already.
    """
    return hashlib.sha256(unique.encode()).hexdigest()[:20]


def intent_row(connection: str, action: Action, token: str, planned_at: datetime) -> dict[str, Any]:
    """Columns of `intents` for a new intent; what is never searched for goes into `body`."""
    return {
        "connection": connection,
        "unique": action.unique,
        "op": action.op.value,
        "side": action.side.value,
        "kind": action.kind.value,
        "rank": action.kind.rank,
        "lane": action.lane,
        "source": str(action.source),
        "subject": str(action.subject),
        "target": text(action.target),
        "body": {
            "object": action.object,
            "fields": dict(action.fields),
            "key": None if action.key is None else list(action.key),
            "after": {side.value: dict(fields) for side, fields in action.after.items()},
            "decisions": [decision_data(decision) for decision in action.decisions],
            "why": list(action.why),
        },
        "state": IntentState.READY.value,
        "token": token,
        "attempts": 0,
        "planned_at": planned_at,
    }


def action_of(row: Row) -> Action:
    body = row["body"]
    return Action(
        unique=row["unique"],
        op=Op(row["op"]),
        side=Side(row["side"]),
        kind=Kind(row["kind"]),
        object=body["object"],
        fields=body["fields"],
        source=Ref.parse(row["source"]),
        subject=Ref.parse(row["subject"]),
        target=ref(row["target"]),
        key=None if body["key"] is None else (body["key"][0], body["key"][1]),
        lane=row["lane"],
        after={Side(side): fields for side, fields in body["after"].items()},
        decisions=tuple(decision_of(data) for data in body["decisions"]),
        why=tuple(body["why"]),
    )


def intent_of(row: Row, action: Action | None = None) -> Intent:
    """`action` where it is known already, and the row has no `body`."""
    return Intent(
        id=row["id"],
        action=action or action_of(row),
        state=IntentState(row["state"]),
        token=row["token"],
        attempts=row["attempts"],
        tried_at=row["tried_at"],
        not_before=row["not_before"],
        error=row["error"],
        planned_at=row["planned_at"],
        ended_at=row["ended_at"],
    )


def hold_of(row: Row) -> Hold:
    return Hold(
        id=row["id"],
        type=HoldType(row["type"]),
        subject=Ref.parse(row["subject"]),
        question=row["question"],
        details=row["details"],
        field=row["field"],
        intent=row["intent"],
        choice=row["choice"],
        by=row["by"],
        why=row["why"],
        opened_at=row["opened_at"],
        settled_at=row["settled_at"],
    )
