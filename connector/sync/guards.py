"""Is this plan safe as a whole? Judged before the journal, where refusing is free. Pure.

Sources of the thresholds: rclone bisync refuses when more than half of the files are deleted or when everything changed;
a customer's CRM deserves less. A handful is always allowed, because a small install would otherwise trip over one edit.
What is wrong with single writes, and holds only those back, is in `withheld`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Mapping as Map
from copy import deepcopy
from dataclasses import dataclass, field
from heapq import nsmallest
from types import MappingProxyType
from typing import Final, TypeAlias

from connector.errors import Refusal
from connector.mapping.lenses import is_blank
from connector.model import Action, Decision, Fact, Fields, Kind, Life, Link, Observed, Op, Ref, Side
from connector.store.entries import Entries, Pins
from connector.sync.merge import FIRST
from connector.sync.withheld import EXAMPLES, REASONS, allowing

GUARDS = ("empty_side", "mass_remove", "mass_unlink", "blank_storm", "mass_change", *REASONS)
"""What a person may allow once, by name. Another account or a changed mapping cannot be waved through."""
HANDFUL = 20
"""Fewer writes than this never trip a share guard."""
REMOVE_SHARE = 0.05
UNLINK_SHARE = 0.05
CHANGE_SHARE = 0.30
BLANK_SHARE = 0.10
COUNTED = frozenset(("message_count", "first_message_at", "last_message_at", "last_direction"))
"""What the connector counts of a conversation moves with every message that comes in. A thousand older ones that a backfill
brings are no accident, and must not keep live traffic waiting for a person."""
EMPTIED = 1000
"""Changed fields that weigh as much as an emptied one: more than any record has."""
NONE: Final[Map[Ref, Fact]] = MappingProxyType({})
CANARIES = 5
"""Of the oldest and of the newest linked records so many are looked at before anything is written: enough that people do not
delete them all by chance, few enough for one call."""


Case: TypeAlias = tuple[str, str]
"""A record, and what would become of it."""


@dataclass
class Tally:
    """What one run has planned so far, over all its batches. `removes` and `unlinks` hold the cases of each person who is
    concerned, `blanks` those of a kind, `changes` those of a field of a kind. `losses` says how much a record would lose."""

    removes: dict[Ref, list[str]] = field(default_factory=lambda: defaultdict(list))
    unlinks: dict[Ref, list[str]] = field(default_factory=lambda: defaultdict(list))
    blanks: dict[Kind, list[Case]] = field(default_factory=lambda: defaultdict(list))
    changes: dict[tuple[Kind, str], list[Case]] = field(default_factory=lambda: defaultdict(list))
    losses: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "Tally":
        return deepcopy(self)

    def add(
        self, entries: Entries, links: Iterable[Link] = (), facts: Map[Ref, Fact] = NONE, but: Collection[str] = ()
    ) -> None:
        """`links` are those that the plan looked at, `facts` the records; `but` the keys of actions that are counted already."""
        looked_at = {link.id: link for link in links}
        for id_, why in entries.ended:
            if id_ in looked_at:
                link = looked_at[id_]
                self.unlinks[_owner(link.platform, facts)].append(f"{link.platform} and {link.crm}: {why}")
        for action in entries.intents:
            if action.unique in but:
                continue
            if action.op is Op.REMOVE:
                self.removes[_owner(action.subject, facts)].append(f"{action.target} would be removed")
            elif action.op is Op.UPSERT and action.target is not None and action.kind is not Kind.REPLY:
                shown = facts[action.target].fields if action.target in facts else {}
                for decision in action.decisions:
                    self._decided(action, decision, shown)

    @property
    def small(self) -> bool:
        """Whether there is so little of everything that no share of any number of links could be too much."""
        return max(map(len, (self.removes, self.unlinks, *self.blanks.values(), *self.changes.values()))) <= HANDFUL

    def _decided(self, action: Action, decision: Decision, shown: Fields) -> None:
        """`shown` is what the record holds now: nothing is lost where a blank is filled, as the ids of new contacts are."""
        crm, source, *_ = decision.field.split("~")
        there = crm if action.side is Side.CRM else source
        if decision.rule == FIRST or source in COUNTED or (there in shown and is_blank(shown[there])):
            return
        record, emptied = str(action.target), is_blank(decision.value)
        self.losses[record] += EMPTIED if emptied else 1
        self.changes[action.kind, decision.field].append(
            (record, f"{record}: {decision.field} would become {decision.value!r}")
        )
        if emptied:
            self.blanks[action.kind].append((record, f"{record}: {decision.field} would be emptied"))

    def worst(self, cases: Iterable[Case]) -> tuple[str, ...]:
        """Of the records that would lose most, a case each."""
        records: dict[str, str] = {}
        for record, case in cases:
            records.setdefault(record, case)
        ranked = nsmallest(EXAMPLES, records, key=lambda record: (-self.losses[record], record))
        return tuple(records[record] for record in ranked)


def _owner(ref: Ref, facts: Map[Ref, Fact]) -> Ref:
    """The person to whom a platform record belongs; the record itself where that is not known.

    Two actors: a CRM user deletes one contact, and with it goes everything she ever wrote; a flow deletes all tasks of last year.
    The first is one case, the second are as many as there are persons.
    """
    fact = facts.get(ref)
    while fact and fact.kind is not Kind.PERSON:
        above = Ref.parse(fact.fields["person"]) if fact.fields.get("person") else fact.parent
        ref, fact = (above, facts.get(above)) if above else (ref, None)
    return ref


def check_pins(pins: Pins | None, platform_account: str, crm_account: str, digest: str) -> None:
    """Refuses another account than the pinned one, and a mapping nobody has looked at."""
    if pins is None:
        return
    for side, was, now in pins.mismatches({Side.PLATFORM: platform_account, Side.CRM: crm_account}):
        raise Refusal(
            "wrong_account",
            f"This connection belongs to the {side} account {was}, but the credentials lead to {now}.",
            "Use the right credentials, or give the other account a connection name of its own.",
        )
    if pins.mapping_digest != digest:
        raise Refusal(
            "changed_mapping",
            f"The mapping has changed (approved {pins.mapping_digest}, now {digest}).",
            "Look at what it would do with `connector plan`, then allow it with `connector plan --approve`.",
        )


def check_canaries(
    side: Side, shown: Sequence[Observed], persons: int, allowed: Collection[str] = (), *, connection: str
) -> None:
    """Refuses a side that has none of the records it had. `shown` are some linked persons as the side shows them now,
    `persons` says how many are linked.

    Two actors: a CRM admin takes the right to see contacts from the connector's user; to us every contact looks deleted, and
    we would unlink them all.
    """
    if persons < HANDFUL or any(one.life is not Life.GONE for one in shown) or "empty_side" in allowed:
        return
    raise Refusal(
        "empty_side",
        f"The {side} side shows none of {len(shown)} records that are linked: wrong account, missing rights, or a side that "
        "was emptied or restored.",
        "Give the connector's user the right to see them. If they are really gone, allow it once with "
        f"{allowing(connection, {*allowed, 'empty_side'})}.",
        tuple(f"{one.ref} is not to be seen" for one in shown[:EXAMPLES]),
    )


def judge(tally: Tally, links: Map[Kind, int], allowed: Collection[str] = (), *, connection: str) -> None:
    """Refuses a run that removes, unlinks, changes or empties too much. `links` counts the active links of each kind; `allowed`
    names guards that a person has allowed for this run.

    Each share is one of its own kind: a person has a dozen messages, and all persons together are no large part of all links.
    """
    tripped: dict[str, tuple[str, tuple[str, ...]]] = {}

    def limit(code: str, count: int, what: str, share: float, of: Kind, examples: tuple[str, ...]) -> None:
        most = max(HANDFUL, int(links[of] * share))
        if count > most and code not in allowed:
            message = (
                f"This run {what}; more than {most} ({share:.0%} of {links[of]} {of} links) looks like an accident."
            )
            tripped.setdefault(code, (message, examples))

    for code, persons, what, share in (
        ("mass_remove", tally.removes, "removes CRM records", REMOVE_SHARE),
        ("mass_unlink", tally.unlinks, "stops syncing records", UNLINK_SHARE),
    ):
        worst = nsmallest(EXAMPLES, persons, key=lambda person: (-len(persons[person]), str(person)))
        examples = tuple(f"{len(persons[one])} of {one}: {persons[one][0]}" for one in worst)
        limit(code, len(persons), f"{what} of {len(persons)} persons", share, Kind.PERSON, examples)
    for kind, cases in tally.blanks.items():
        limit("blank_storm", len(cases), f"empties {len(cases)} fields", BLANK_SHARE, kind, tally.worst(cases))
    for (kind, name), cases in sorted(tally.changes.items(), key=lambda item: len(item[1]), reverse=True):
        many = f"changes {name} {len(cases)} times"
        limit("mass_change", len(cases), many, CHANGE_SHARE, kind, tally.worst(cases))
    if tripped:
        code, (message, examples) = next(iter(tripped.items()))
        way_out = f"Look at it with `connector plan`; allow it once with {allowing(connection, {*allowed, *tripped})}."
        raise Refusal(code, message, way_out, examples)
