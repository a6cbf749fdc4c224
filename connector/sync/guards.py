"""Is this plan safe as a whole? Judged before the journal, where refusing is free. Pure.

Sources of the thresholds: rclone bisync refuses when more than half of the files are deleted or when everything changed;
a customer's CRM deserves less. A handful is always allowed, because a small install would otherwise trip over one edit.
"""

from collections import Counter
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field

from connector.errors import Refusal
from connector.mapping.lenses import is_blank
from connector.model import Action, Decision, Kind, Op, Side
from connector.store.entries import Entries, Pins
from connector.sync.merge import FIRST

HANDFUL = 20
"""Fewer writes than this never trip a share guard."""
REMOVE_SHARE = 0.05
CHANGE_SHARE = 0.30
BLANK_SHARE = 0.10
EXAMPLES = 3


@dataclass
class Tally:
    """What one run has planned so far, over all its batches."""

    removes: list[str] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    blanks: list[str] = field(default_factory=list)
    updates: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def copy(self) -> "Tally":
        return deepcopy(self)

    def add(self, entries: Entries) -> None:
        for action in entries.intents:
            if action.op is Op.REMOVE:
                self.removes.append(f"{action.target} would be removed")
            elif action.op is Op.UPSERT and action.target is not None and action.kind is not Kind.REPLY:
                self.updates += 1
                for decision in action.decisions:
                    self._decided(action, decision)

    def _decided(self, action: Action, decision: Decision) -> None:
        if decision.rule == FIRST:
            return
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


def judge(tally: Tally, links: int, allowed: Collection[str] = ()) -> None:
    """Refuses a run that removes, changes or empties too much. `links` counts the active links, `allowed` names guards that
    a person has allowed for this run."""
    _limit("mass_remove", tally.removes, links, REMOVE_SHARE, allowed, "removes records in the CRM")
    _limit("blank_storm", tally.blanks, links, BLANK_SHARE, allowed, "empties fields")
    for name, count in tally.changes.most_common(1):
        _limit("mass_change", tally.examples[name][:count], links, CHANGE_SHARE, allowed, f"changes {name}")


def _limit(code: str, cases: list[str], links: int, share: float, allowed: Collection[str], what: str) -> None:
    limit = max(HANDFUL, int(links * share))
    if len(cases) > limit and code not in allowed:
        raise Refusal(
            code,
            f"This run {what} in {len(cases)} cases; more than {limit} ({share:.0%} of {links} links) looks like an accident.",
            f"Look at it with `connector plan`; allow it once with `connector sync --allow {code}`.",
            tuple(cases[:EXAMPLES]),
        )
