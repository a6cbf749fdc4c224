"""What must hold once both sides are quiet. Looks at the two systems and the store from outside, never into the engine."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from memory_world import CRM_OBJECTS, Worlds

from connector.mapping.compiled import FieldRule
from connector.mapping.lenses import is_blank
from connector.mapping.model import Blank, Direction, Rule
from connector.model import Fact, Fields, HoldType, IntentState, Kind, Life, Link, Op, Period, Ref, Side, State, Value
from connector.service import backfilling
from connector.sync import audit
from connector.sync.drift import drifted
from connector.sync.loading import load_history
from connector.sync.pairs import UNIQUE


def check(worlds: Worlds) -> None:
    """Raises AssertionError naming the first promise that is broken."""
    every_message_is_in_exactly_one_state(worlds)
    synced_messages_have_one_record_with_their_text(worlds)
    no_key_is_held_twice(worlds)
    at_most_one_active_link_per_ref(worlds)
    replies_left_exactly_once_and_in_order(worlds)
    both_sides_agree_or_a_person_is_asked(worlds)


def every_message_is_in_exactly_one_state(worlds: Worlds) -> None:
    facts, history = worlds.facts(), load_history(worlds.ledger)
    brought = backfilling.standing(worlds.ledger)
    if brought and brought.done:
        assert history.holds(brought.asked.since), "a backfill that ended left a gap"
    for ref, record in worlds.platform.records.items():
        # One that vanished before anybody looked was never there for us.
        wanted = record.latest.life is Life.LIVE and sent_in(history, record.latest.fields)
        if ref.object == "message" and (ref in facts or wanted):
            assert ref in facts, f"{ref} was never seen"
            assert facts[ref].state not in (None, State.OPEN), f"{ref} is {facts[ref].state}"
            assert facts[ref].reason is not None, f"{ref} is {facts[ref].state}, and nobody knows why"
    account = worlds.ledger.account()
    assert sum(account.states.values()) == worlds.ledger.seen()


def sent_in(history: Period, fields: Fields) -> bool:
    return "sent_at" in fields and history.holds(datetime.fromisoformat(fields["sent_at"]))


def synced_messages_have_one_record_with_their_text(worlds: Worlds) -> None:
    tasks = worlds.live(Side.CRM, "Task")
    by_key: dict[str, list[Ref]] = {}
    for ref, fields in tasks.items():
        by_key.setdefault(fields["Key"], []).append(ref)
    linked = {link.platform: link.crm for link in worlds.links(Kind.MESSAGE) if link.active}
    for ref, fact in worlds.facts().items():
        if fact.kind is not Kind.MESSAGE or fact.side is not Side.PLATFORM:
            continue
        records = by_key.get(f"{worlds.connection}:{ref.id}", [])
        if fact.state is State.SYNCED:
            assert records == [linked[ref]], f"{ref} should be one record, linked as {linked.get(ref)}: {records}"
            shown = tasks[records[0]]
            # An older store does not know of an edit that was synced and has been taken back since.
            assert worlds.restored or shown["Description"] in texts(worlds, fact), f"{ref}: {shown}"
            deleted = fact.fields.get("deleted") or fact.life is not Life.LIVE
            assert worlds.restored or (shown.get("State") == "[deleted]") == bool(deleted), f"{ref}: {shown}"
        elif fact.state in (State.FILTERED, State.HELD) and not worlds.restored:
            assert not records, f"{ref} is {fact.state}, but has {records}"


def texts(worlds: Worlds, fact: Fact) -> list[str]:
    """What the record of a message may show: its text; of a reply of ours that was edited or deleted before anybody read it
    back, also what was sent."""
    history = worlds.platform.records[fact.ref].history
    sent = [history[0].fields.get("text")] if fact.token and not fact.edited else []
    return [str(text).strip() for text in [fact.fields.get("text", history[-1].fields.get("text")), *sent]]


def no_key_is_held_twice(worlds: Worlds) -> None:
    for object_ in CRM_OBJECTS:
        keys = Counter(fields["Key"] for fields in worlds.live(Side.CRM, object_).values() if fields.get("Key"))
        assert all(count == 1 for count in keys.values()), f"{object_}: {keys}"


def at_most_one_active_link_per_ref(worlds: Worlds) -> None:
    links = [link for page in worlds.ledger.all_links() for link in page]
    assert audit.doubles(links) == []
    for link in links:
        crm = worlds.crm.records[link.crm].latest
        platform = worlds.platform.records[link.platform].latest
        assert crm.life is Life.LIVE, f"{link} is active, but the CRM record is {crm.life}"
        if link.kind in (Kind.PERSON, Kind.IDENTITY):
            assert platform.life is Life.LIVE, f"{link} is active, but the platform record is {platform.life}"


def replies_left_exactly_once_and_in_order(worlds: Worlds) -> None:
    intents = [one for page in worlds.ledger.all_intents() for one in page]
    sends = [(intent, result) for intent, result in intents if intent.action.op is Op.SEND]
    made = Counter(result for intent, result in sends if intent.state is IntentState.DONE)
    delivered = [one.message for one in worlds.platform.network_receives]
    if not worlds.restored:
        # What cannot be told is held for a person, who may have given it up since; it may have left.
        doubtful = Counter(
            (intent.action.target, intent.action.fields["text"])
            for intent, _ in sends
            if intent.state in (IntentState.HELD, IntentState.DROPPED) and intent.attempts
        )
        told_wrong = Counter(
            (one.conversation, one.text) for one in worlds.platform.network_receives if one.message not in made
        )
        assert not made - Counter(delivered), "the journal says that a reply was sent which never left"
        assert told_wrong <= doubtful, "a reply left that the journal knows nothing of"
        assert max(Counter(delivered).values(), default=1) == 1
    # One that waited too long, or was withdrawn, is given up before it left, and one that failed did not leave; both are planned
    # anew when they are asked for again.
    over = (IntentState.DROPPED, IntentState.REFUSED)
    sources = Counter(intent.action.source for intent, _ in sends if intent.state not in over)
    assert all(count == 1 for count in sources.values()), f"a reply was planned twice: {sources}"
    behind = {intent.action.lane for intent, _ in sends if intent.state is IntentState.HELD}
    waits = {intent.action.source for intent, _ in sends if intent.action.lane in behind}
    for ref, fields in worlds.live(Side.CRM, "Outbound").items():
        assert fields["Status"] != "Queued" or ref in waits, f"{ref} was forgotten"
        if fields["Status"] in ("Sent", "Delivered") and not worlds.restored:
            assert sources[ref] == 1, f"{ref} says it was sent"
    if worlds.restored:
        # What an older store recognises as sent was journaled when it was asked for once more.
        return
    # Per conversation in the order of the journal; the journal is in the order in which the CRM showed the replies.
    place = {result: number for number, (_, result) in enumerate(sends)}
    for conversation in {one.conversation for one in worlds.platform.network_receives}:
        here = [one for one in worlds.platform.network_receives if one.conversation == conversation]
        order = [place[one.message] for one in here if one.message in place]
        assert order == sorted(order), f"{conversation}: replies overtook each other"


def both_sides_agree_or_a_person_is_asked(worlds: Worlds) -> None:
    asked = {(hold.subject, hold.field) for hold in worlds.ledger.open_holds(type=HoldType.CONFLICT)}
    refused = {hold.subject for hold in worlds.ledger.open_holds(type=HoldType.REFUSED)}
    over = worlds.ledger.settled_holds(worlds.platform.records)
    settled = {(hold.subject, hold.field) for hold in over if hold.type is HoldType.CONFLICT}
    # A person has given the write up, so both sides stay as they are.
    refused |= {hold.subject for hold in over if hold.type is HoldType.REFUSED and hold.choice == "drop"}
    for kind in (Kind.PERSON, Kind.CONVERSATION):
        links = [link for link in worlds.links(kind) if link.active]
        personas = Counter(link.crm for link in links)
        for link in links:
            if link.platform in refused or worlds.platform.records[link.platform].latest.life is not Life.LIVE:
                continue
            for rule in worlds.mapping.kind(kind).fields:  # type: ignore[union-attr]
                if rule.direction is not Direction.BOTH or (link.platform, rule.name) in asked | settled:
                    continue
                if rule.crm in ("Email", "Phone") and (personas[link.crm] > 1 or taken(worlds, rule, link)):
                    continue
                assert agree(worlds, rule, link) or (worlds.restored and is_listed(worlds, rule, link)), disagreement(
                    worlds, rule, link
                )


def taken(worlds: Worlds, rule: FieldRule, link: Link) -> bool:
    """Whether the platform, which allows the value once, shows it on somebody else."""
    _, crm = shown(worlds, rule, link)
    others = worlds.live(Side.PLATFORM, "person")
    here = any(same(rule, fields.get(rule.platform), crm) for ref, fields in others.items() if ref != link.platform)
    return here or was_taken(worlds, rule, link)


def was_taken(worlds: Worlds, rule: FieldRule, link: Link) -> bool:
    """Whether the last decision tells that the value stayed with somebody who is another contact. That it is free by now is told
    by nobody; an audit lists the pair. Of one who was the same contact it has to come back."""
    made = [one for one in worlds.ledger.decisions_for(link.platform) if one.row.decision.field == rule.name]
    # Time stands still while a round decides, so there may be several last ones.
    last = [one.row.decision for one in made if one.decided_at == made[-1].decided_at]
    mates = {one.platform for one in worlds.ledger.links_of([link.crm])}
    return any(one.rule == UNIQUE and Ref.parse(one.reason.rpartition(" ")[2]) not in mates for one in last)


def is_listed(worlds: Worlds, rule: FieldRule, link: Link) -> bool:
    """Whether an audit lists the pair. What we wrote after the backup reads back as if the older store had written it."""
    fields = worlds.fields(link.platform), worlds.fields(link.crm)
    return bool(drifted([rule], *fields, worlds.ledger.snapshots([link.id])[link.id]))


def agree(worlds: Worlds, rule: FieldRule, link: Link) -> bool:
    """The same up to the declared loss; a blank that the mapping says to leave alone is no disagreement."""
    platform, crm = shown(worlds, rule, link)
    if is_blank(platform) or is_blank(crm):
        return rule.blank is Blank.IGNORE or is_blank(platform) == is_blank(crm)
    return same(rule, platform, crm) or rule.rule is Rule.FILL_BLANK


def same(rule: FieldRule, platform: Value, crm: Value) -> bool:
    return rule.same(platform, crm) or rule.same(rule.lens.get(rule.to_crm(platform)), crm)


def shown(worlds: Worlds, rule: FieldRule, link: Link) -> tuple[Value, Value]:
    return (
        worlds.fields(link.platform).get(rule.platform),
        rule.lens.get(worlds.fields(link.crm).get(rule.crm)),
    )


def disagreement(worlds: Worlds, rule: FieldRule, link: Link) -> str:
    platform, crm = shown(worlds, rule, link)
    return f"{rule.name} of {link.platform} and {link.crm}: {platform!r} and {crm!r}"


def every_written_value_was_typed(worlds: Worlds, typed: dict[str, list[Value]]) -> None:
    """`typed` holds what people typed by CRM field, canonical; of sets each member."""
    by_crm = {rule.crm: rule for rule in worlds.mapping.persons.fields}
    by_platform = {rule.platform: rule for rule in worlds.mapping.persons.fields}
    for system, rules in ((worlds.platform, by_platform), (worlds.crm, by_crm)):
        for record in system.records.values():
            if record.kind is not Kind.PERSON:
                continue
            for name, value in written_by_us(record.history):
                rule = rules.get(name)
                if rule is None or is_blank(value):
                    continue
                canonical = rule.lens.get(value) if system is worlds.crm else value
                if rule.rule is Rule.UNION:
                    assert set(canonical) <= set(typed[rule.crm]), f"{record.ref}.{name}: nobody typed {canonical}"
                else:
                    assert any(same(rule, one, canonical) for one in [*typed[rule.crm], rule.default]), (
                        f"{record.ref}.{name}: nobody typed {canonical!r}"
                    )


def written_by_us(history: Iterable) -> Iterable[tuple[str, Value]]:
    before: dict = {}
    for version in history:
        if version.by == "connector":
            yield from ((name, value) for name, value in version.fields.items() if before.get(name) != value)
        before = dict(version.fields)
