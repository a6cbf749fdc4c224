"""Reading both sides and the store for the audit, page by page; what the pages mean is decided by `sync.audit`."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from connector.adapters.base import Adapter, Lookup, Window
from connector.app import Joined
from connector.mapping.compiled import Compiled, KindRules
from connector.mapping.names import names
from connector.model import (
    OPEN_INTENTS,
    Fact,
    HoldType,
    Intent,
    IntentState,
    Kind,
    Life,
    Link,
    Observed,
    Op,
    Ref,
    Side,
    State,
)
from connector.service.mending import FETCH, Mender
from connector.service.status import webhooks
from connector.store.entries import Webhooks
from connector.sync import audit
from connector.sync.account import Account, account
from connector.sync.audit import Anew, Finding, Look, Offender
from connector.sync.drift import Resting, compared, decided_to_keep, told
from connector.sync.engine import Progress
from connector.sync.guards import HANDFUL, UNLINK_SHARE
from connector.sync.history import was_sent_in
from connector.sync.loading import load_history
from connector.sync.persons import PARTED, unwanted
from connector.sync.view import View

KEYED = (Kind.MESSAGE, Kind.CONVERSATION, Kind.IDENTITY)
"""Kinds whose CRM record is ours alone. A person's record is the company's and may be merged at any time."""
MERGED = (Kind.PERSON, Kind.CONVERSATION)
"""Kinds whose fields go both ways."""
HandBack = Callable[[Sequence[Offender]], list[Offender]]
"""Hands back to the engine what it can mend; answers the rest."""


def silent(_what: str, _count: int) -> None:
    """A progress that tells nobody."""


@dataclass
class Audit:
    """What was found out about one connection. `webhooks` is None where none come in."""

    connection: str
    account: Account
    promises: list[Finding] = field(default_factory=list)
    webhooks: Webhooks | None = None

    @property
    def violations(self) -> int:
        return sum(one.violations for one in self.promises)

    @property
    def remaining(self) -> int:
        """Of the violations those that a repair could not hand back."""
        return sum(one.remaining for one in self.promises)


def whole_audit(joined: Joined, mender: Mender | None = None, progress: Progress = silent) -> Audit:
    """The account with its promise, the promises that both sides are read for, and the webhooks. `progress` is called after each
    page, and may stop the audit there. Raises RemoteError."""
    told = account(joined.plug.ledger.shares())
    promises = [told.finding(), *audit_connection(joined, mender, progress)]
    return Audit(joined.plug.name, told, promises, webhooks(joined.plug))


def audit_connection(joined: Joined, mender: Mender | None = None, progress: Progress = silent) -> list[Finding]:
    """A finding per promise. Reads everything, so it takes its time; writes nothing but what is handed back. Raises
    RemoteError."""
    mapping = mender.mapping if mender else joined.engine().mapping
    return Auditor(joined, mapping, mender.hand_back if mender else None, progress).promises()


class Auditor:
    """Goes through everything once. `mapping` knows the CRM's users."""

    def __init__(self, joined: Joined, mapping: Compiled, hand_back: HandBack | None, progress: Progress) -> None:
        self._joined = joined
        self._plug = joined.plug
        self._ledger = joined.plug.ledger
        self._mapping = mapping
        self._hand_back = hand_back
        self._progress = progress

    def promises(self) -> list[Finding]:
        return [
            self._states(),
            self._single_links(),
            self._whole_writes(),
            self._all_seen(),
            self._records_once(),
            self._no_strays(),
            self._persons(Side.CRM, self._joined.crm),
            self._persons(Side.PLATFORM, self._joined.platform),
            self._replies(),
            self._no_drift(),
        ]

    def _add(self, found: Finding, checked: int, offenders: Sequence[Offender]) -> None:
        found.add(checked, (one.text for one in offenders))
        if self._hand_back and offenders:
            left = self._hand_back(offenders)
            found.mended(len(offenders) - len(left), (one.text for one in left))
        self._progress("audited", checked)

    # -- what the store alone can answer

    def _states(self) -> Finding:
        found, ledger = Finding("every message seen is in exactly one state"), self._ledger
        for messages in ledger.all_messages():
            refs = [one.ref for one in messages]
            linked = {link.platform for link in ledger.links_of(refs, kinds=[Kind.MESSAGE], active=True)}
            busy = {intent.action.subject for intent in ledger.open_intents(refs)}
            self._add(found, len(messages), audit.accounts(messages, linked, busy))
        return found

    def _single_links(self) -> Finding:
        found, ledger = Finding("at most one active link per record"), self._ledger
        for links in ledger.all_links():
            around = ledger.links_of([ref for link in links for ref in (link.platform, link.crm)], active=True)
            self._add(found, len(links), audit.doubles(around))
        return found

    def _whole_writes(self) -> Finding:
        found, ledger = Finding("no write is orphaned"), self._ledger
        holds = {hold.intent: hold for hold in ledger.open_holds() if hold.intent is not None}
        for page in ledger.all_intents():
            intents = [intent for intent, _ in page]
            known = ledger.known({one.action.source for one in intents})
            self._add(found, len(page), audit.orphans(intents, known, holds))
        return found

    # -- what the platform answers

    def _all_seen(self) -> Finding:
        """Every message that the platform shows, from where our history begins, is known; except what came after the last
        read."""
        found, platform, told = Finding("every message of the platform was seen"), self._joined.platform, set[Ref]()
        sent = load_history(self._ledger)
        overlap = max(stream.overlap for stream in platform.capabilities.streams)
        for stream in platform.capabilities.streams:
            read = self._ledger.cursor(Side.PLATFORM, stream.name).watermark
            for page in platform.pull(stream.name, Window(sent=sent)):
                messages = [one for one in page.observed if one.kind is Kind.MESSAGE and was_sent_in(sent, one)]
                shown = [one for one in messages if one.ref not in told]
                known = self._ledger.facts([one.ref for one in shown]).keys()
                missed, young = audit.unseen(shown, known, read - overlap if read else None)
                # Several streams may show one message. Only what is new is remembered, so that memory stays flat.
                told |= {one.ref for one in shown} - known
                found.waiting += young
                self._add(found, len(shown), missed)
        return found

    # -- what the CRM answers

    def _records_once(self) -> Finding:
        """Every record that we created is in the CRM exactly once, by its key."""
        found, ledger = Finding("every synced record is in the CRM exactly once"), self._ledger
        limit, gone = max(HANDFUL, int(ledger.active_links() * UNLINK_SHARE)), list[Offender]()
        for page in ledger.all_intents():
            made = {ref: one for one, ref in page if ref and _creates(one)}
            links = {link.crm: link for link in ledger.links_of(made, active=True)}
            keys = {
                ref: (one.action.object, *one.action.key)
                for ref, one in made.items()
                if ref in links and one.action.key
            }
            if not keys:
                continue
            answers = self._joined.crm.find([Lookup(*key) for key in keys.values()])
            others = {one.ref for answer in answers for one in answer} - keys.keys()
            taken = {link.crm for link in ledger.links_of(others, active=True)} | keys.keys()
            asked = {ref: (name, value) for ref, (_, name, value) in keys.items()}
            offenders = audit.records(asked, dict(zip(keys, answers, strict=True)), links, taken)
            missing = [one for one in offenders if isinstance(one.mend, Look)]
            found.add(0, (one.text for one in missing))
            gone += missing[: limit + 1 - len(gone)]
            self._add(found, len(asked), [one for one in offenders if not isinstance(one.mend, Look)])
        if self._hand_back and len(gone) > limit:
            # A CRM admin takes a right from the connector's user, and all our records look deleted. Looked at again they would
            # be accounted for as erased, for good.
            found.mended(
                0, [f"more than {limit} records are missing; that looks like a missing right, so none was looked at"]
            )
        elif self._hand_back and gone:
            left = self._hand_back(gone)
            found.mended(len(gone) - len(left), (one.text for one in left))
        return found

    def _no_strays(self) -> Finding:
        """Every record that carries a key of ours is linked."""
        found = Finding("no CRM record carries our key without a link")
        ledger = self._ledger
        # A note about a reply that did not leave stands for itself: no message is linked with it.
        busy = {
            intent.action.key[1]
            for page in ledger.all_intents()
            for intent, _ in page
            if intent.action.key and (intent.state in OPEN_INTENTS or intent.action.kind is Kind.REPLY)
        }
        rules = self._keyed()
        fields = {one.key.field for one in rules}
        crm = self._joined.keyed_crm()
        for stream in crm.capabilities.streams:
            for page in crm.pull(stream.name, Window()):
                ids = {one.ref: id_ for one in page.observed if (id_ := self._id_of(one, rules))}
                mine = [one for one in page.observed if one.ref in ids]
                links = ledger.links_of(ids)
                # A contact stays in the CRM when her person is merged away or deleted on the platform: she was linked rightly.
                linked = {link.crm for link in links if link.active or link.ended in PARTED.values()}
                owners = self._owners([one for one in mine if one.ref not in linked], ids, rules)
                out = self._kept_out(owners)
                self._add(found, len(mine), audit.strays(mine, linked, busy, fields, owners, out))
        return found

    def _keyed(self) -> list[KindRules]:
        mapping = self._mapping
        parts = (mapping.persons, mapping.persons.lead, mapping.identities, mapping.conversations, mapping.messages)
        return [one for one in parts if one]

    def _id_of(self, one: Observed, rules: Sequence[KindRules]) -> str | None:
        """The platform id in a record's key, None where it carries none of this connection's. Keys that are the same for all
        connections (identities) are nobody's in particular."""
        for rule in rules:
            value = one.fields.get(rule.key.field) if rule.object == one.ref.object else None
            if value and (id_ := audit.id_in(rule.key, self._plug.name, str(value))):
                return id_
        return None

    def _owners(self, strays: Sequence[Observed], ids: Mapping[Ref, str], rules: Sequence[KindRules]) -> dict[Ref, Ref]:
        """The platform records whose keys these are: known, with just that key, and without a CRM record of their own."""
        system = self._joined.platform.system
        named = {one.ref: Ref(system, one.kind.value, ids[one.ref]) for one in strays}
        claims = Counter(named.values())
        facts = self._ledger.facts([ref for ref, count in claims.items() if count == 1])
        linked = {(link.kind, link.platform) for link in self._ledger.links_of(facts, active=True)}
        return {
            one.ref: named[one.ref]
            for one in strays
            if (fact := facts.get(named[one.ref]))
            and (one.kind, fact.ref) not in linked
            and any(
                rule.object == one.ref.object
                and one.fields.get(rule.key.field) == rule.key.value(names(fact, connection=self._plug.name))
                for rule in rules
            )
        }

    def _kept_out(self, owners: Mapping[Ref, Ref]) -> dict[Ref, str]:
        """Those of the owners that shall not be in the CRM: filtered messages, and what is of a person whom somebody decided
        never to bring in."""
        ledger = self._ledger
        facts = ledger.facts(owners.values())
        above = ledger.facts({fact.parent for fact in facts.values() if fact.parent})
        persons = {ref: person for ref, fact in facts.items() if (person := audit.person_of(fact, above))}
        links = ledger.links_of(persons.values(), kinds=[Kind.PERSON])
        view = View({}, links, settled=ledger.settled_holds(persons.values()))
        out = {ref: str(fact.reason) for ref, fact in facts.items() if fact.state is State.FILTERED}
        for ref, person in persons.items():
            if hold := unwanted(view, person):
                out[ref] = f"{hold.by} decided about {person}: {hold.choice}"
        return out

    # -- what both answer

    def _persons(self, side: Side, adapter: Adapter) -> Finding:
        found = Finding(f"every linked person exists on the {side} side")
        for links in self._ledger.all_links():
            persons = [link for link in links if link.kind is Kind.PERSON]
            now = _fetched(adapter, sorted({link.on(side) for link in persons}))
            self._add(found, len(persons), audit.living(persons, side, now))
        return found

    def _replies(self) -> Finding:
        found = Finding("every sent reply is one message on the platform")
        for page in self._ledger.all_intents():
            done = audit.sent(page)
            shown = _fetched(self._joined.platform, sorted({ref for _, ref in done if ref}))
            marked = self._ledger.marked({one.token for one, _ in done})
            self._add(found, len(done), audit.sends(done, shown, marked))
        return found

    def _no_drift(self) -> Finding:
        """What the store knows of both sides is compared first; where it differs, both sides are asked."""
        found = Finding("two linked records that nobody changed show the same")
        person = self._joined.platform.describe(Kind.PERSON.value)
        unique = {name for name, info in person.fields.items() if info.unique}
        for links in self._ledger.all_links():
            pairs = [link for link in links if link.kind in MERGED]
            known = self._ledger.facts({ref for link in pairs for ref in (link.platform, link.crm)})
            resting = self._resting(pairs, known, unique)
            doubtful = [one for one in resting if one.drifted(known)]
            now = {
                **_fetched(self._joined.platform, sorted({one.link.platform for one in doubtful})),
                **_fetched(self._joined.crm, sorted({one.link.crm for one in doubtful})),
            }
            drifts = [(one.link, some) for one in doubtful if (some := one.drifted(now))]
            offenders = [
                Offender(told(link, some), Anew(link, tuple(one.line for one in some))) for link, some in drifts
            ]
            self._add(found, sum(len(one.rules) for one in resting), offenders)
        return found

    def _resting(self, links: Sequence[Link], known: Mapping[Ref, Fact], unique: Collection[str]) -> list[Resting]:
        """The pairs for which nothing is planned, under way or asked, with the lines in which they have to agree."""
        ledger, subjects = self._ledger, [link.platform for link in links]
        open_ = ledger.open_intents(known)
        moving = {ref for one in open_ for ref in (one.action.subject, one.action.target, one.action.source)}
        moving |= {ref for ref, fact in known.items() if fact.dirty or fact.life is not Life.LIVE}
        holds, settled = ledger.open_holds(subjects), ledger.settled_holds(subjects)
        moving |= {hold.subject for hold in holds if hold.type is HoldType.REFUSED}
        snapshots = ledger.snapshots([link.id for link in links])
        persons = Counter(
            link.crm for link in ledger.links_of([link.crm for link in links], kinds=[Kind.PERSON], active=True)
        )
        found = []
        for link in links:
            kind = self._mapping.kind(link.kind)
            if kind is None or {link.platform, link.crm} & moving or not {link.platform, link.crm} <= known.keys():
                continue
            asked = {hold.field for hold in holds if hold.subject == link.platform}
            rules = compared(kind.on(link.crm.object), shared=persons[link.crm] > 1, unique=unique, asked=asked)
            kept = decided_to_keep(settled, link.platform)
            found.append(Resting(link, rules, snapshots.get(link.id, {}), kept))
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
