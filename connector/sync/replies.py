"""Planning replies: a record written in the CRM becomes one message on the network, and its fate comes back. Pure."""

from connector.mapping.compiled import ReplyRules
from connector.mapping.names import names
from connector.model import Action, Fact, Kind, Life, Op, Ref, Side, Value, digest
from connector.sync.draft import Draft, Linker


def plan_reply(draft: Draft, reply: Fact) -> None:
    """Send a reply that is asked for. Its key is the CRM record itself: one record, one message, for ever."""
    rules = draft.mapping.replies
    if rules is None or not draft.first_visit(Kind.REPLY, reply.ref):
        return
    link = next((one for one in draft.view.links_on(reply.ref) if one.kind is Kind.REPLY), None)
    if link:
        message = draft.view.facts.get(link.platform)
        if reply.life is not Life.LIVE:
            draft.ended.append((link.id, f"{reply.life} in the CRM"))
        elif message:
            plan_result(draft, message)
        return
    if reply.life is not Life.LIVE or not rules.wanted(reply.fields):
        return
    if draft.busy(reply.ref):
        return
    conversation = _conversation(draft, reply)
    if conversation is None:
        draft.intents.append(outcome(rules, reply.ref, "failed", "The conversation is not known to the connector."))
        return
    text = rules.body(reply.fields)
    if not text.strip():
        draft.intents.append(outcome(rules, reply.ref, "failed", "The reply has no text."))
        return
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
            target=conversation,
            lane=str(conversation),
            why=(f"{reply.ref} asks for it: " + ", ".join(f"{n} is {v}" for n, v in rules.when.items()),),
        )
    )


def plan_result(draft: Draft, message: Fact) -> None:
    """Bring the fate of a sent message (sent, delivered, failed and why) back onto the reply it came from."""
    rules = draft.mapping.replies
    link = draft.view.link(Kind.REPLY, message.ref)
    if rules is None or link is None or not draft.first_visit(Kind.REPLY, message.ref):
        return
    crm = draft.view.facts.get(link.crm)
    if draft.busy(message.ref, link.crm) or (crm and crm.life is not Life.LIVE):
        return
    space = names(message, connection=draft.connection)
    pair = draft.pair(message, link, space, Linker(draft, message.parent, None))
    draft.merge_into_plan(Kind.REPLY, rules.fields, pair, message, link=link, object_=rules.object)


def outcome(rules: ReplyRules, reply: Ref, fate: str, error: str) -> Action:
    """Tell the CRM that a reply did not leave: `failed` for good, or `held` for a person."""
    words = rules.outcome
    fields: dict[str, Value] = {words.status: getattr(words, fate), words.error: error[:255]}
    return Action(
        unique=f"outcome:{reply}:{digest(fields)}",
        op=Op.UPSERT,
        side=Side.CRM,
        kind=Kind.REPLY,
        object=reply.object,
        fields=fields,
        source=reply,
        subject=reply,
        target=reply,
        why=(error,),
    )


def _conversation(draft: Draft, reply: Fact) -> Ref | None:
    rules = draft.mapping.replies
    conversations = draft.mapping.conversations
    id_ = reply.fields.get(rules.conversation) if rules else None
    if not id_ or conversations is None:
        return None
    record = Ref(reply.ref.system, conversations.object, str(id_))
    link = next((one for one in draft.view.links_on(record) if one.kind is Kind.CONVERSATION), None)
    return link.platform if link else None
