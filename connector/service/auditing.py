"""Reading both sides and the store for the audit, page by page; what the pages mean is decided by `sync.audit`."""

from collections.abc import Sequence

from connector.adapters.base import Adapter, Lookup, Window
from connector.app import Joined, counted_calls
from connector.model import OPEN_INTENTS, Intent, IntentState, Kind, Observed, Op, Ref, Side
from connector.sync import audit
from connector.sync.audit import Finding

FETCH = 100
"""Records fetched together: a platform may take one call for each."""
KEYED = (Kind.MESSAGE, Kind.CONVERSATION, Kind.IDENTITY)
"""Kinds whose CRM record is ours alone. A person's record is the company's and may be merged at any time."""


def audit_connection(joined: Joined) -> list[Finding]:
    """A finding per promise. Reads everything, so it takes its time; writes nothing. Raises RemoteError."""
    return [
        *_inside(joined),
        _records_once(joined),
        _no_strays(joined),
        _persons(joined, Side.CRM, joined.crm),
        _persons(joined, Side.PLATFORM, joined.platform),
        _replies(joined),
    ]


def _inside(joined: Joined) -> list[Finding]:
    """The promises that the store alone can answer."""
    ledger = joined.plug.ledger
    states = Finding("every message seen is in exactly one state")
    for messages in ledger.all_messages():
        refs = [one.ref for one in messages]
        linked = {link.platform for link in ledger.links_of(refs, kinds=[Kind.MESSAGE], active=True)}
        busy = {intent.action.subject for intent in ledger.open_intents(refs)}
        states.add(len(messages), audit.accounts(messages, linked, busy))
    single = Finding("at most one active link per record")
    for links in ledger.all_links():
        around = ledger.links_of([ref for link in links for ref in (link.platform, link.crm)], active=True)
        single.add(len(links), audit.doubles(around))
    whole = Finding("no write is orphaned")
    holds = {hold.intent: hold for hold in ledger.open_holds() if hold.intent is not None}
    for page in ledger.all_intents():
        intents = [intent for intent, _ in page]
        whole.add(len(page), audit.orphans(intents, ledger.known({one.action.source for one in intents}), holds))
    return [states, single, whole]


def _records_once(joined: Joined) -> Finding:
    """Every record that we created is in the CRM exactly once, by its key."""
    found = Finding("every synced record is in the CRM exactly once")
    ledger = joined.plug.ledger
    for page in ledger.all_intents():
        made = {ref: one for one, ref in page if ref and _creates(one)}
        active = {link.crm for link in ledger.links_of(made, active=True)}
        asked = {
            ref: (one.action.object, *one.action.key) for ref, one in made.items() if ref in active and one.action.key
        }
        answers = joined.crm.find([Lookup(*key) for key in asked.values()]) if asked else []
        found.add(
            len(asked),
            audit.records(
                {ref: (name, value) for ref, (_, name, value) in asked.items()}, dict(zip(asked, answers, strict=True))
            ),
        )
    return found


def _no_strays(joined: Joined) -> Finding:
    """Every record that carries a key of ours is linked."""
    found = Finding("no CRM record carries our key without a link")
    plug = joined.plug
    busy = {
        intent.action.key[1]
        for page in plug.ledger.all_intents()
        for intent, _ in page
        if intent.state in OPEN_INTENTS and intent.action.key
    }
    fields = {field for _, _, field in plug.keys}
    crm = plug.keyed_crm()
    try:
        with counted_calls(plug.ledger, crm):
            for stream in crm.capabilities.streams:
                for page in crm.pull(stream.name, Window()):
                    mine = [one for one in page.observed if _ours(one, fields, plug.name)]
                    linked = {link.crm for link in plug.ledger.links_of([one.ref for one in mine], active=True)}
                    found.add(len(mine), audit.strays(mine, linked, busy, fields))
    finally:
        crm.close()
    return found


def _ours(one: Observed, fields: set[str], connection: str) -> bool:
    """Keys begin with the connection's name, except those that are the same for all connections (identities)."""
    keys = [str(one.fields[name]) for name in fields if one.fields.get(name)]
    return any(key.startswith(f"{connection}:") for key in keys)


def _persons(joined: Joined, side: Side, adapter: Adapter) -> Finding:
    found = Finding(f"every linked person exists on the {side} side")
    for links in joined.plug.ledger.all_links():
        persons = [link for link in links if link.kind is Kind.PERSON]
        now = _fetched(adapter, sorted({link.on(side) for link in persons}))
        found.add(len(persons), audit.living(persons, side, now))
    return found


def _replies(joined: Joined) -> Finding:
    found = Finding("every sent reply is one message on the platform")
    ledger = joined.plug.ledger
    for page in ledger.all_intents():
        done = audit.sent(page)
        shown = _fetched(joined.platform, sorted({ref for _, ref in done if ref}))
        found.add(len(done), audit.sends(done, shown, ledger.marked({one.token for one, _ in done})))
    return found


def _fetched(adapter: Adapter, refs: Sequence[Ref]) -> dict[Ref, Observed]:
    found: dict[Ref, Observed] = {}
    for start in range(0, len(refs), FETCH):
        some = refs[start : start + FETCH]
        found |= dict(zip(some, adapter.fetch(some), strict=True))
    return found


def _creates(intent: Intent) -> bool:
    action = intent.action
    return (
        intent.state is IntentState.DONE
        and action.op is Op.UPSERT
        and action.side is Side.CRM
        and action.target is None
        and action.kind in KEYED
    )
