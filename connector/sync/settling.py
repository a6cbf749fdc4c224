"""What stands in the store once a write has landed: link, snapshots, facts, account. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connector.mapping.compiled import Compiled, FieldRule
from connector.model import Fact, Fields, Intent, Kind, Life, Link, Op, Receipt, Ref, Side, Snapshot, State, Value
from connector.store.entries import NewLink, Settlement, Shown
from connector.sync.pairs import canonical
from connector.sync.placeholders import Linked, Waiting, resolve

WRITTEN = "written to the CRM"
"""The reason of every synced message."""
TYPED = "typed"
"""The field of a sent reply that keeps it as its author typed it in the CRM. No platform reports it."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A write that certainly happened; `fields` are the values that were sent. `found` is the record a lost creation made,
    as others have written to it since: it shows their values and confirms none of ours."""

    intent: Intent
    receipt: Receipt
    fields: Fields
    found: Fact | None = None


def settlement(
    landed: Landed,
    mapping: Compiled,
    facts: Mapping[Ref, Fact],
    links: Sequence[Link],
    linked: Linked,
) -> Settlement:
    """The rows of one landed write. What the target shows when read back is remembered, not what was sent; where the
    answer does not tell, the sent values stand as `unread` until the next pull."""
    action, receipt = landed.intent.action, landed.receipt
    if action.op is Op.SEND:
        return _sent(landed, mapping, facts)
    if action.kind is Kind.REPLY and action.target is None:
        # A note about a reply that did not leave stands for itself.
        return Settlement(landed.intent.id, receipt)
    if action.op is Op.REMOVE:
        gone = replace(facts[receipt.ref], life=Life.GONE, dirty=True) if receipt.ref in facts else None
        return Settlement(
            landed.intent.id,
            receipt,
            states={action.subject: (State.ERASED, "removed from the CRM, as the mapping says")},
            facts=(gone,) if gone else (),
        )
    link = next((one for one in links if one.kind is action.kind and one.platform == action.subject), None)
    rules = _rules(mapping, action.kind, receipt.ref if action.side is Side.CRM else link.crm if link else None)
    after = _after(landed, rules, linked)
    confirmed = receipt.fields is not None or landed.found is not None
    unread = tuple(after[Side.CRM]) if action.side is Side.CRM and not confirmed else ()
    states = (
        {action.subject: (State.SYNCED, WRITTEN)} if action.kind is Kind.MESSAGE and action.side is Side.CRM else {}
    )
    news = (landed.found or _fact(landed, facts),)
    if action.target is None:
        shown = (
            Shown(Side.PLATFORM, after[Side.PLATFORM]),
            Shown(Side.CRM, after[Side.CRM], unread=unread),
        )
        new = NewLink(action.kind, action.subject, receipt.ref, action.why, shown)
        return Settlement(landed.intent.id, receipt, links=(new,), states=states, facts=news)
    lines = (
        tuple(Snapshot(link.id, side, after[side], unread if side is Side.CRM else ()) for side in Side) if link else ()
    )
    return Settlement(landed.intent.id, receipt, snapshots=lines, states=states, facts=news)


def personas_beside(landed: Landed, links: Sequence[Link]) -> list[Link]:
    """The active links of the other persons of the platform who are the contact that was written to."""
    action, contact = landed.intent.action, landed.receipt.ref
    if action.kind is not Kind.PERSON or action.side is not Side.CRM:
        return []
    return [one for one in links if one.crm == contact and one.platform != action.subject and one.kind is Kind.PERSON]


def no_read_back(snapshots: Sequence[Mapping[Side, Snapshot]]) -> tuple[Snapshot, ...]:
    """The other personas' snapshots, which this write keeps from being read back.

    Two actors: two persons of the platform are one contact; we write Company for the first, then for the second. The version on
    show is ours, and it shows the second one's company. It confirms nothing of the first one's, to whom it is a change.
    """
    waiting = [some[Side.CRM] for some in snapshots if Side.CRM in some and some[Side.CRM].unread]
    return tuple(
        Snapshot(one.link, one.side, {name: one.fields[name] for name in one.unread if name in one.fields})
        for one in waiting
    )


def _sent(landed: Landed, mapping: Compiled, facts: Mapping[Ref, Fact]) -> Settlement:
    """A reply went out: the message it became is a fact of its own and is planned like any other message.

    Two actors: the answer of the send is lost, and a CRM user deletes the reply's record before we have looked. While nothing was
    linked there was nothing to end; now there is, so the record is looked at again.
    """
    action, receipt = landed.intent.action, landed.receipt
    reply = facts.get(action.subject)
    shown = canonical(mapping.replies.fields, Side.CRM, reply.fields, {}) if mapping.replies and reply else {}
    link = NewLink(Kind.REPLY, receipt.ref, action.subject, action.why, (Shown(Side.CRM, shown),))
    message = facts.get(receipt.ref) or Fact(
        receipt.ref,
        Side.PLATFORM,
        Kind.MESSAGE,
        dict(receipt.fields or {}),
        "",
        parent=action.target,
        token=landed.intent.token,
        state=State.OPEN,
    )
    rules = mapping.replies
    if rules and reply and rules.body(reply.fields) == landed.fields.get("text"):
        message = replace(message, fields={**message.fields, TYPED: reply.fields.get(rules.text)})
    gone = (replace(reply, dirty=True),) if reply and reply.life is not Life.LIVE else ()
    return Settlement(landed.intent.id, receipt, links=(link,), facts=(replace(message, dirty=True), *gone))


def _rules(mapping: Compiled, kind: Kind, crm: Ref | None) -> Sequence[FieldRule]:
    if kind is Kind.REPLY:
        return mapping.replies.fields if mapping.replies else ()
    rules = mapping.kind(kind)
    if rules is None:
        return ()
    return rules.on(crm.object) if crm else rules.fields


def _after(landed: Landed, rules: Sequence[FieldRule], linked: Linked) -> dict[Side, dict[str, Value]]:
    action, receipt = landed.intent.action, landed.receipt
    after: dict[Side, dict[str, Value]] = {}
    for side in Side:
        values = resolve(action.after.get(side, {}), linked)
        after[side] = {} if isinstance(values, Waiting) else values
    if receipt.fields is not None:
        shown = canonical(rules, action.side, receipt.fields, {})
        after[action.side] |= {name: value for name, value in shown.items() if name in after[action.side]}
    return after


def _fact(landed: Landed, facts: Mapping[Ref, Fact]) -> Fact:
    """The target as it stands now. Its version stays the one before the write, so that an overlapped read of that old
    version is recognised as old.

    Two actors: we write the labels of a conversation, and a person resolves it; the answer shows both. Only our own fields are
    taken over: were her status known already when it is read, it would be no news, and nobody would ever plan it.
    """
    action, receipt = landed.intent.action, landed.receipt
    read_back = receipt.fields or {}
    known = facts.get(receipt.ref)
    if known is None:
        return Fact(receipt.ref, action.side, action.kind, {**landed.fields, **read_back}, "", dirty=False)
    shown = {name: read_back.get(name, value) for name, value in landed.fields.items()}
    # Whose version it is, is not known until it is read: the old version's author must not confirm the new values.
    return replace(known, fields={**known.fields, **shown}, ours=None)
