"""Planning conversations and messages: what comes in, where it hangs, what its record shows. Pure."""

from dataclasses import dataclass, replace

from connector.mapping.filters import passes
from connector.mapping.names import names
from connector.model import Action, Fact, Fields, HoldType, Kind, Life, Op, Ref, Side, State, Value, digest
from connector.sync.draft import Draft, Linker
from connector.sync.persons import choice, follow, given_up, newer, place_person
from connector.sync.replies import plan_result
from connector.sync.settling import TYPED, WRITTEN

NEVER_SYNCED = "deleted on its network before it was synced"


@dataclass(frozen=True, slots=True)
class Setting:
    """A message with the records around it, and the namespace of its filters and templates."""

    message: Fact
    conversation: Fact | None
    person: Ref | None
    names: Fields


def persons_of(draft: Draft, message: Fact) -> list[Ref]:
    """Whom a message needs in the CRM: the person it names, and the one of its conversation."""
    conversation = _conversation(draft, message)
    persons = (_person(draft, message, conversation), conversation.parent if conversation else None)
    return list(dict.fromkeys(ref for ref in persons if ref))


def _conversation(draft: Draft, message: Fact) -> Fact | None:
    return draft.view.facts.get(message.parent) if message.parent else None


def _person(draft: Draft, message: Fact, conversation: Fact | None) -> Ref | None:
    """Two actors: an agent merges the person who wrote into another one; the platform shows her newest messages as the winner's,
    and those beyond were read before and name the loser."""
    named = message.fields.get("person")
    person = Ref.parse(named) if named else conversation.parent if conversation else None
    seen: set[Ref] = set()
    while person and person not in seen and (fact := draft.view.facts.get(person)) and fact.merged_into:
        seen.add(person)
        person = fact.merged_into
    return person


def setting(draft: Draft, message: Fact) -> Setting:
    """The message as its filters and templates see it. One that vanished from the platform counts as deleted."""
    conversation = _conversation(draft, message)
    person = _person(draft, message, conversation)
    message = _as_typed(draft, message)
    if message.life is not Life.LIVE:
        message = replace(message, fields={**message.fields, "deleted": True})
    if _is_deleted(message) and draft.mapping.messages.deleted == "blank":
        message = replace(message, fields={**message.fields, "text": "", "attachments": []})
    stats = _derived(draft, conversation)
    return Setting(
        message,
        conversation,
        person,
        names(message, around(draft, person, conversation), connection=draft.connection, derived=stats),
    )


def _as_typed(draft: Draft, message: Fact) -> Fact:
    """A reply as its author had typed it in the CRM when it left: what the platform shows of it is escaped for its own markup. A
    note under the reply does not repeat it."""
    rules, typed = draft.mapping.replies, message.fields.get(TYPED)
    if not typed or message.edited or (rules and rules.note):
        return message
    return replace(message, fields={**message.fields, "text": typed})


def around(draft: Draft, person: Ref | None, conversation: Fact | None) -> list[Fact]:
    """The conversation, the person, and the person's identity on the conversation's network."""
    found = [conversation] if conversation else []
    if person and (fact := draft.view.facts.get(person)):
        found.append(fact)
        network = conversation.fields.get("network") if conversation else None
        own = [one for one in draft.view.identities(person) if one.fields.get("network") == network]
        found += own[:1]
    return found


def _derived(draft: Draft, conversation: Fact | None) -> dict[str, Value]:
    stats = draft.view.stats.get(conversation.ref) if conversation else None
    if stats is None:
        return {}
    return {
        "message_count": stats.count,
        "first_message_at": stats.first_at,
        "last_message_at": stats.last_at,
        "last_direction": stats.last_direction,
    }


def admits(draft: Draft, scene: Setting) -> tuple[bool, str]:
    """Whether the filters of messages and of conversations let a message in, and the rule that decided."""
    takes, rule = passes(draft.mapping.messages.filters, scene.names)
    threads = draft.mapping.conversations
    if takes and scene.conversation is not None and threads is not None and threads.filters:
        return passes(threads.filters, _space(draft, scene.conversation))
    return takes, rule


def _space(draft: Draft, conversation: Fact) -> Fields:
    """The namespace of a conversation's filters and templates."""
    nearby = around(draft, conversation.parent, conversation)[1:]
    return names(conversation, nearby, connection=draft.connection, derived=_derived(draft, conversation))


def plan_message(draft: Draft, message: Fact) -> None:
    """Decide one message: its account, its record on the timeline, and the reply it may be the result of."""
    if not draft.first_visit(Kind.MESSAGE, message.ref):
        return
    plan_result(draft, message)
    link = draft.view.link(Kind.MESSAGE, message.ref)
    if draft.busy(message.ref, link.crm if link else None):
        return
    scene = setting(draft, message)
    if link is None:
        _bring_in(draft, scene)
        return
    crm = draft.view.facts.get(link.crm)
    if crm and crm.life is not Life.LIVE:
        draft.end(link, f"{crm.life} in the CRM")
        draft.states[message.ref] = (State.ERASED, f"{link.crm} was deleted in the CRM")
        return
    if _is_deleted(message) and draft.mapping.messages.deleted == "remove":
        _remove(draft, message, link.crm)
        return
    _merge(draft, scene)
    draft.states[message.ref] = (State.SYNCED, WRITTEN)


def plan_conversation(draft: Draft, conversation: Fact, *, wanted: bool = False) -> bool:
    """Merge a linked conversation, or create its record when a message needs it (`wanted`). False: nothing hangs on it."""
    rules = draft.mapping.conversations
    if rules is None or conversation.parent is None:
        return False
    link = draft.view.link(Kind.CONVERSATION, conversation.ref)
    if link is None and (not wanted or draft.view.ended(Kind.CONVERSATION, conversation.ref)):
        return False
    if link is None and given_up(draft, conversation.ref):
        return False
    if not draft.first_visit(Kind.CONVERSATION, conversation.ref):
        return True
    # Before the busy check, as with persons: a refused write can be held for days, and what comes meanwhile would be written
    # below a record that is gone.
    crm = draft.view.facts.get(link.crm) if link else None
    if link and crm and crm.merged_into and not _is_taken(draft, crm.merged_into):
        follow(draft, link, crm.merged_into, rules.fields)
        return True
    if link and crm and crm.life is not Life.LIVE:
        draft.end(link, f"{crm.life} in the CRM")
        return False
    if draft.busy(conversation.ref, link.crm if link else None):
        return True
    if link and conversation.life is not Life.LIVE:
        # Two actors: an agent deletes the conversation, and a CRM user closes its record. The record keeps its history as it was
        # seen last; what is changed in it has nowhere to go, and a write that is refused each time is planned without end.
        return True
    if place_person(draft, conversation.parent).waits:
        draft.wait(conversation.ref)
        return True
    space = _space(draft, conversation)
    pair = draft.pair(
        conversation,
        link,
        space,
        Linker(draft, conversation.ref, conversation.parent),
        {**conversation.fields, **_derived(draft, conversation)},
        newer=newer(draft, conversation, crm),
        settled=choice(draft, conversation.ref),
    )
    key = (rules.key.field, rules.key.value(space))
    draft.merge_into_plan(Kind.CONVERSATION, rules.fields, pair, conversation, link=link, object_=rules.object, key=key)
    return True


def _is_taken(draft: Draft, record: Ref) -> bool:
    """Whether another conversation has this record: it was merged into that one's, or both into a third."""
    links = [link for link in draft.view.links_on(record) if link.kind is Kind.CONVERSATION]
    return bool(links) or any(crm == record for crm, _ in draft.moved.values())


def _bring_in(draft: Draft, scene: Setting) -> None:
    message = scene.message
    ended = draft.view.ended(Kind.MESSAGE, message.ref)
    if ended:
        draft.states[message.ref] = (State.ERASED, f"{ended.crm}: {ended.ended}")
        return
    dropped = given_up(draft, message.ref)
    if dropped:
        draft.states[message.ref] = (State.FILTERED, dropped)
        return
    if (scene.person is None or scene.conversation is None) and not _is_deleted(message):
        # What the filters would say of it is not known either: they may ask for its inbox.
        draft.states[message.ref] = (State.HELD, "its conversation is not to be found on the platform")
        draft.wait(message.ref)
        return
    takes, rule = admits(draft, scene)
    if not takes:
        draft.states[message.ref] = (State.FILTERED, rule)
        return
    if _is_deleted(message) or scene.person is None or scene.conversation is None:
        draft.states[message.ref] = (State.ERASED, NEVER_SYNCED)
        return
    place = place_person(draft, scene.person)
    if place.waits:
        draft.wait(message.ref)
        draft.states.update({message.ref: place.blocked} if place.blocked else {})
        return
    if place.blocked:
        draft.states[message.ref] = place.blocked
        if not place.planned:
            return
    if scene.conversation.parent and scene.conversation.parent != scene.person:
        owner = place_person(draft, scene.conversation.parent)
        if owner.waits:
            draft.wait(message.ref)
            return
    plan_conversation(draft, scene.conversation, wanted=True)
    _merge(draft, scene)


def _merge(draft: Draft, scene: Setting) -> None:
    message = scene.message
    rules, replies = draft.mapping.messages, draft.mapping.replies
    link = draft.view.link(Kind.MESSAGE, message.ref)
    linker = Linker(draft, message.parent, scene.person, message)
    blanked = _is_deleted(message) and draft.mapping.messages.deleted == "blank"
    pair = draft.pair(message, link, scene.names, linker, blanked=blanked)
    answer = replies is not None and replies.note and draft.view.link(Kind.REPLY, message.ref)
    result = draft.merge_into_plan(
        Kind.MESSAGE,
        replies.note if replies and answer else rules.fields,
        pair,
        message,
        link=link,
        object_=rules.object,
        key=(rules.key.field, rules.key.value(scene.names)),
    )
    if result.missing:
        lines = ", ".join(result.missing)
        draft.hold(
            HoldType.REFUSED, message.ref, f"No value for the required {lines}.", {"fields": list(result.missing)}
        )
        draft.states[message.ref] = (State.HELD, f"no value for {lines}")
    else:
        draft.close(draft.view.hold(HoldType.REFUSED, message.ref), "what was missing is there")


def _remove(draft: Draft, message: Fact, crm: Ref) -> None:
    draft.intents.append(
        Action(
            unique=f"message:{message.ref}:remove:{digest(str(crm))}",
            op=Op.REMOVE,
            side=Side.CRM,
            kind=Kind.MESSAGE,
            object=crm.object,
            fields={},
            source=message.ref,
            subject=message.ref,
            target=crm,
            why=("deleted on its network; the mapping says remove",),
        )
    )


def _is_deleted(message: Fact) -> bool:
    return bool(message.fields.get("deleted")) or message.life is not Life.LIVE
