"""What stands in the store once a write has landed or was given up. Every settlement is one transaction."""

from collections.abc import Sequence
from dataclasses import replace

from connector.mapping.compiled import Compiled
from connector.model import Fact, Intent, Kind, Link, Op, Ref
from connector.store.entries import Entries, Settlement
from connector.store.store import Ledger
from connector.sync.placeholders import Linked, parents
from connector.sync.settling import Landed, no_read_back, personas_beside, settlement


class Landing:
    def __init__(self, ledger: Ledger, mapping: Compiled) -> None:
        self._ledger = ledger
        self._mapping = mapping
        self.redone = False
        """Whether something was handed back to be decided anew; whoever asks sets it to false again."""

    def settle(self, landed: Sequence[Landed]) -> None:
        """Receipt, link, both snapshots, the target's fact and the message's account: one transaction."""
        if not landed:
            return
        subjects = [one.intent.action.subject for one in landed]
        contacts = [one.receipt.ref for one in landed if one.intent.action.kind is Kind.PERSON]
        links = self._ledger.links_of([*subjects, *contacts], active=True)
        replies = {one.intent.action.subject for one in landed if one.intent.action.op is Op.SEND}
        facts = self._ledger.facts({one.receipt.ref for one in landed} | replies)
        linked = parents_of(self._ledger, [one.intent for one in landed])
        settlements = [settlement(one, self._mapping, facts, links, linked) for one in landed]
        self._ledger.settle(self._with_personas(settlements, landed, links))
        if any(one.intent.attempts and one.intent.action.target is None for one in landed):
            # A record that was late has come: what waited for it need not wait its time out.
            self._ledger.wake()

    def _with_personas(
        self, settlements: Sequence[Settlement], landed: Sequence[Landed], links: Sequence[Link]
    ) -> list[Settlement]:
        """The settlements, with what they mean for other persons of the platform who are the same contact."""
        beside = [personas_beside(one, links) for one in landed]
        if not any(beside):
            return list(settlements)
        known = self._ledger.snapshots({link.id for others in beside for link in others})
        return [
            replace(one, snapshots=(*one.snapshots, *no_read_back([known.get(link.id, {}) for link in others])))
            for one, others in zip(settlements, beside, strict=True)
        ]

    def anew(self, intents: Sequence[Intent], why: str, seen: Sequence[Fact] = (), others: Sequence[Ref] = ()) -> None:
        """Give these writes up and decide them anew, with what was `seen` meanwhile; in one transaction."""
        if not intents:
            return
        redo = [ref for one in intents for ref in (one.action.source, one.action.subject)]
        dropped = [(intent.id, why) for intent in intents]
        self._ledger.journal(Entries(facts=seen, dropped=dropped, redo=[*redo, *others]))
        self.redone = True


def parents_of(ledger: Ledger, batch: Sequence[Intent]) -> Linked:
    """What the placeholders of these writes stand for by now."""
    wanted = {ref for intent in batch for _, ref in parents(intent.action.fields)}
    links = ledger.links_of(wanted, active=True) if wanted else []
    table = {(link.kind, link.platform): link.crm for link in links}
    return lambda kind, ref: table.get((kind, ref))
