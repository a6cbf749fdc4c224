"""Planning replies: a record written in the CRM becomes one message on the network, and its fate comes back. Pure."""

from dataclasses import dataclass, replace

from connector.mapping.compiled import ABSENT, FieldRule, ReplyRules
from connector.mapping.names import names, unsent
from connector.model import Action, Fact, Fields, HoldType, Kind, Life, Op, Ref, Side, Value, digest
from connector.sync.draft import Draft, Linker

DROP = "drop"
CLOSED = "resolved"
"""The one status in which a conversation is not open."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """It cannot be told where a reply belongs: why, and the conversations it may be."""

    why: str
    candidates: tuple[Fact, ...] = ()


def plan_reply(draft: Draft, reply: Fact) -> None:
    """Send a reply that is asked for. Its key is the CRM record itself: one record, one message, for ever."""
    rules = draft.mapping.replies
    if rules is None or not draft.first_visit(Kind.REPLY, reply.ref):
        return
    link = next((one for one in draft.view.links_on(reply.ref) if one.kind is Kind.REPLY), None)
    if link:
        message = draft.view.facts.get(link.platform)
        if reply.life is not Life.LIVE:
            draft.end(link, f"{reply.life} in the CRM")
        elif message:
            plan_result(draft, message)
        return
    hold = draft.view.hold(HoldType.CONVERSATION, reply.ref)
    if reply.life is not Life.LIVE or not rules.wanted(reply.fields):
        draft.close(hold, "its author took it back")
        return
    if draft.busy(reply.ref) or not _meant(draft, rules, reply):
        return
    text = rules.body(reply.fields)
    if not text.strip():
        draft.close(hold, "it has no text any more")
        draft.intents.append(outcome(rules, reply, "failed", "The reply has no text."))
        return
    settled = draft.view.settlement(HoldType.CONVERSATION, reply.ref)
    if settled and settled.choice == DROP:
        return
    found = Ref.parse(settled.choice) if settled and settled.choice else _conversation(draft, rules, reply)
    if not isinstance(found, Ref) and draft.view.doubtful:
        # Two actors: we make the record of a conversation, and the answer is lost; a CRM user sees it and answers on it.
        draft.wait(reply.ref)
        return
    if isinstance(found, Doubt):
        _ask(draft, rules, reply, found)
        return
    if found is None:
        unknown = "The conversation is not known to the connector."
        draft.intents.append(outcome(rules, reply, "failed", unknown))
        return
    draft.close(hold, f"it belongs to {found}")
    draft.intents.append(
        Action(
            unique=f"send:{draft.connection}:{reply.ref}",
            op=Op.SEND,
            side=Side.PLATFORM,
            kind=Kind.REPLY,
            object="message",
            fields={"text": text},
            source=reply.ref,
            subject=reply.ref,
            target=found,
            lane=str(found),
            why=(f"{reply.ref} asks for it: " + ", ".join(f"{n} is {v}" for n, v in rules.when.items()),),
        )
    )


def plan_result(draft: Draft, message: Fact) -> None:
    """Bring the fate of a sent message (sent, delivered, failed and why) back onto the reply it came from. Where it is told by
    a note, that note is the message's own record."""
    rules = draft.mapping.replies
    link = draft.view.link(Kind.REPLY, message.ref)
    if rules is None or rules.note or link is None or not draft.first_visit(Kind.REPLY, message.ref):
        return
    crm = draft.view.facts.get(link.crm)
    if draft.busy(message.ref, link.crm) or (crm and crm.life is not Life.LIVE):
        return
    space = names(message, connection=draft.connection)
    pair = draft.pair(message, link, space, Linker(draft, message.parent, None))
    if crm and rules.wanted(crm.fields):
        # Its author asks once more for what has left. One record is one message, so its fate is told as if for the first time;
        # it would show for ever that it is about to be sent.
        pair = replace(pair, platform_snapshot=None)
    draft.merge_into_plan(Kind.REPLY, rules.fields, pair, message, link=link, object_=rules.object)


def outcome(rules: ReplyRules, reply: Fact, fate: str, error: str) -> Action:
    """Tell the CRM that a reply did not leave: `failed` for good, or `held` for a person. Told in the reply's own fields, or
    by a note under it."""
    target: Ref | None = reply.ref
    key: tuple[str, str] | None = None
    if rules.outcome:
        words = rules.outcome
        fields: Fields = {words.status: getattr(words, fate), words.error: error[:255]}
    else:
        target = None
        fields = _note(rules, reply, f"{'Not sent' if fate == 'failed' else 'Not sent yet'}: {error}")
        key = (
            rules.key.field,
            rules.key.value({"connection": rules.connection, "id": f"{reply.ref.id}-{digest(fields)}"}),
        )
    return Action(
        unique=f"outcome:{reply.ref}:{digest(fields)}",
        op=Op.UPSERT,
        side=Side.CRM,
        kind=Kind.REPLY,
        object=reply.ref.object,
        fields=fields,
        source=reply.ref,
        subject=reply.ref,
        target=target,
        key=key,
        why=(error,),
    )


def _note(rules: ReplyRules, reply: Fact, fate: str) -> Fields:
    """The lines of a note that can be told without a message: links to the reply and to the record it was written on, fixed
    values, and the fate."""
    space = unsent(rules.connection, fate)
    fields: dict[str, Value] = {}
    for rule in rules.note:
        value = _known(rule, reply, space)
        if value is not ABSENT:
            fields[rule.crm] = value if rule.link else rule.to_crm(value, names=space)
    return fields


def _known(rule: FieldRule, reply: Fact, space: Fields) -> Value:
    if rule.link == "reply":
        return reply.ref.id
    if rule.link == "person":
        return reply.parent.id if reply.parent else ABSENT
    if rule.template is not None and "fate" not in rule.template.names:
        return ABSENT
    return rule.from_platform({}, space) if rule.template is not None or rule.constant is not None else ABSENT


def _ask(draft: Draft, rules: ReplyRules, reply: Fact, doubt: Doubt) -> None:
    if draft.view.hold(HoldType.CONVERSATION, reply.ref):
        return
    candidates = [
        {"ref": str(one.ref), "points": 0, "reasons": [f"{one.fields.get('network')}, {one.fields.get('status')}"]}
        for one in doubt.candidates
    ]
    details = {"text": rules.body(reply.fields), "candidates": candidates}
    draft.hold(HoldType.CONVERSATION, reply.ref, f"{doubt.why} Which conversation does this reply belong to?", details)
    draft.intents.append(outcome(rules, reply, "held", doubt.why))


def _conversation(draft: Draft, rules: ReplyRules, reply: Fact) -> Ref | Doubt | None:
    """The platform's conversation, None where the record that the reply names is not ours."""
    way = rules.conversation
    if isinstance(way, str):
        return _named(draft, reply, way)
    return _answered(draft, reply, way.answered) if way.answered else _newest_open(draft, reply)


def _named(draft: Draft, reply: Fact, field: str) -> Ref | None:
    id_ = reply.fields.get(field)
    conversations = draft.mapping.conversations
    if not id_ or conversations is None:
        return None
    record = Ref(reply.ref.system, conversations.object, str(id_))
    link = next((one for one in draft.view.links_on(record) if one.kind is Kind.CONVERSATION), None)
    return link.platform if link else None


def _meant(draft: Draft, rules: ReplyRules, reply: Fact) -> bool:
    """Whether a reply can be for one of our conversations: a record made for it always is; what is typed on a record only
    where that one is linked, for what colleagues write to other contacts is no affair of ours."""
    if isinstance(rules.conversation, str):
        return True
    return reply.parent is not None and bool(draft.view.links_on(reply.parent))


def _answered(draft: Draft, reply: Fact, field: str) -> Ref | Doubt:
    """The conversation of the message that the reply answers; that may be an earlier reply from the CRM."""
    id_ = reply.fields.get(field)
    links = draft.view.links_on(Ref(reply.ref.system, reply.ref.object, str(id_))) if id_ else []
    message = next((draft.view.facts.get(one.platform) for one in links), None)
    if message and message.parent:
        return message.parent
    return Doubt("It does not answer a message of a conversation.", tuple(_threads(draft, reply)))


def _newest_open(draft: Draft, reply: Fact) -> Ref | Doubt:
    links = draft.view.links_on(reply.parent) if reply.parent else []
    own = next((one.platform for one in links if one.kind is Kind.CONVERSATION), None)
    if own:
        return own
    threads = _threads(draft, reply)
    open_ = [one for one in threads if one.fields.get("status") != CLOSED]
    if not open_:
        why = "This contact has no open conversation." if threads else "This contact has no conversation."
        return Doubt(why, tuple(threads))
    newest = [one for one in open_ if _last(draft, one) == _last(draft, open_[0])]
    return newest[0].ref if len(newest) == 1 else Doubt("Two open conversations are equally new.", tuple(newest))


def _threads(draft: Draft, reply: Fact) -> list[Fact]:
    """The conversations of the contact that the reply is written on, the one with the newest message first."""
    links = draft.view.links_on(reply.parent) if reply.parent else []
    persons = {one.platform for one in links if one.kind is Kind.PERSON}
    found = [
        fact
        for fact in draft.view.facts.values()
        if fact.kind is Kind.CONVERSATION and fact.side is Side.PLATFORM and fact.parent in persons
    ]
    live = [one for one in found if one.life is Life.LIVE]
    return sorted(live, key=lambda one: (_last(draft, one), str(one.ref)), reverse=True)


def _last(draft: Draft, conversation: Fact) -> str:
    stats = draft.view.stats.get(conversation.ref)
    return (stats.last_at if stats else None) or str(conversation.fields.get("opened_at") or "")
