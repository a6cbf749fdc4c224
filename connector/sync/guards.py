"""Is this plan safe as a whole? Judged before the journal, where refusing is free. Pure.

Sources of the thresholds: rclone bisync refuses when more than half of the files are deleted or when everything changed;
a customer's CRM deserves less. A handful is always allowed, because a small install would otherwise trip over one edit.
What is wrong with single writes, and holds only those back, is in `withheld`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from heapq import nsmallest

from connector.errors import Refusal
from connector.mapping.lenses import is_blank
from connector.model import Action, Decision, Kind, Life, Link, Observed, Op, Side
from connector.store.entries import Entries, Pins
from connector.sync.merge import FIRST
from connector.sync.withheld import EXAMPLES, REASONS

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
CANARIES = 5
"""Linked records that are looked at before anything is written: enough that people do not delete them all by chance, few enough
for one call."""


@dataclass
class Tally:
    """What one run has planned so far, over all its batches."""

    removes: list[str] = field(default_factory=list)
    unlinks: list[str] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    blanks: list[str] = field(default_factory=list)
    examples: dict[str, list[str]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    """By record: how many fields would be changed; an emptied one counts as `EMPTIED`."""

    def copy(self) -> "Tally":
        return deepcopy(self)

    def add(self, entries: Entries, links: Iterable[Link] = (), but: Collection[str] = ()) -> None:
        """`links` are those that the plan looked at; `but` the keys of actions that are counted already."""
        persons = {link.id: link for link in links if link.kind is Kind.PERSON}
        self.unlinks += [
            f"{persons[id_].platform} and {persons[id_].crm}: {why}" for id_, why in entries.ended if id_ in persons
        ]
        for action in entries.intents:
            if action.unique in but:
                continue
            if action.op is Op.REMOVE:
                self.removes.append(f"{action.target} would be removed")
            elif action.op is Op.UPSERT and action.target is not None and action.kind is not Kind.REPLY:
                for decision in action.decisions:
                    self._decided(action, decision)

    @property
    def small(self) -> bool:
        """Whether there is so little of everything that no share of any number of links could be too much."""
        return max(map(len, (self.removes, self.unlinks, self.blanks, *self.examples.values()))) <= HANDFUL

    def worst(self, cases: Iterable[str]) -> tuple[str, ...]:
        """Of the records that would lose most, a case each. A removed or unlinked one loses everything, like all in its list."""
        records: dict[str, str] = {}
        for case in cases:
            records.setdefault(case.partition(": ")[0], case)
        ranked = nsmallest(EXAMPLES, records, key=lambda record: (-self.lost[record], record))
        return tuple(records[record] for record in ranked)

    def _decided(self, action: Action, decision: Decision) -> None:
        if decision.rule == FIRST or decision.field.partition("~")[2] in COUNTED:
            return
        self.lost[str(action.target)] += EMPTIED if is_blank(decision.value) else 1
        name = f"{action.kind} {decision.field}"
        self.changes[name] += 1
        self.examples.setdefault(name, []).append(f"{action.target}: {decision.field} would become {decision.value!r}")
        if is_blank(decision.value):
            self.blanks.append(f"{action.target}: {decision.field} would be emptied")


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


def check_canaries(side: Side, shown: Sequence[Observed], persons: int, allowed: Collection[str] = ()) -> None:
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
        "`connector sync --allow empty_side`.",
        tuple(f"{one.ref} is not to be seen" for one in shown[:EXAMPLES]),
    )


def judge(tally: Tally, links: int, persons: int, allowed: Collection[str] = ()) -> None:
    """Refuses a run that removes, unlinks, changes or empties too much. `links` counts the active links, `persons` those of
    persons; `allowed` names guards that a person has allowed for this run."""
    _limit(tally, "mass_remove", tally.removes, links, REMOVE_SHARE, allowed, "removes records in the CRM")
    _limit(
        tally,
        "mass_unlink",
        tally.unlinks,
        persons,
        UNLINK_SHARE,
        allowed,
        "stops syncing persons whose records are gone",
    )
    _limit(tally, "blank_storm", tally.blanks, links, BLANK_SHARE, allowed, "empties fields")
    for name, count in tally.changes.most_common(1):
        _limit(tally, "mass_change", tally.examples[name][:count], links, CHANGE_SHARE, allowed, f"changes {name}")


def _limit(
    tally: Tally, code: str, cases: list[str], links: int, share: float, allowed: Collection[str], what: str
) -> None:
    limit = max(HANDFUL, int(links * share))
    if len(cases) > limit and code not in allowed:
        raise Refusal(
            code,
            f"This run {what} in {len(cases)} cases; more than {limit} ({share:.0%} of {links} links) looks like an accident.",
            f"Look at it with `connector plan`; allow it once with `connector sync --allow {code}`.",
            tally.worst(cases),
        )
