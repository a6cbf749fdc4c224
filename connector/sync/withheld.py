"""Single writes that a person has to look at first: held back from the plan before it is journaled, while all the rest goes
on. Pure.

What is held back stays news: it is decided again each time, and goes out once it is allowed, or when its reason is over.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import nlargest

from connector.errors import Refusal
from connector.model import Action, Fact, Fields, Op, Ref, Side
from connector.store.entries import Entries

OLD = timedelta(hours=24)
"""A reply that was asked for longer ago is no answer any more: networks close their free-text window after 24 hours
(WhatsApp, Instagram), and the customer has long been answered in another way."""
BURST = 100
"""Replies planned in one run. A team types a few in the minute between two polls; hundreds have piled up, or were made by a
bulk update."""
TWICE = timedelta(hours=1)
"""The same text to the same person within this time is one reply typed or triggered twice (two-way-sync, section 9)."""
FLIPS = 5
"""Writes of the same value into the same field of a record within `FLIP_TIME`: no two people take turns like that, but an
automation on the other side does that takes back what we write."""
FLIP_TIME = timedelta(hours=1)
EXAMPLES = 3

REASONS = {
    "old_replies": f"were asked for more than {OLD // timedelta(hours=1)} hours ago",
    "reply_burst": f"were asked for at once; more than {BURST} look like an accident",
    "double_replies": "say what the same person was told within the hour",
    "flip_flop": "would write once more what something on the other side keeps taking back",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that has left, or will: to whom, what, and when it was asked for."""

    person: Ref
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Lately:
    """What a plan is judged with: the replies and the conversations they go to, what their persons were told, and what was
    written into its records, each write's values on their own."""

    now: datetime
    facts: Mapping[Ref, Fact]
    said: Sequence[Said]
    written: Mapping[Ref, Sequence[Fields]]


def text_of(send: Action) -> str:
    """The words of a reply, by which two are the same."""
    return str(send.fields.get("text", "")).strip()


@dataclass(frozen=True, slots=True)
class Case:
    """What is told of a write that is held back, and the words of a reply, which are for the terminal of a person only. The heavier
    the worse: the older the reply (in seconds), the more often the value was written."""

    text: str
    weight: float
    words: str = ""


def allowing(connection: str, codes: Collection[str]) -> str:
    """The command that lets a run through these guards, once. It names all of them, and what was allowed for this run already: one
    that lets through the second guard alone is stopped by the first one again."""
    return f"`connector --connection {connection} sync " + " ".join(f"--allow {code}" for code in sorted(codes)) + "`"


@dataclass
class Withheld:
    """One run's judgement over all its batches. `sends` counts the replies of the whole run, `allowed` names guards that a
    person has allowed for it."""

    connection: str
    allowed: Collection[str] = ()
    sends: int = 0
    cases: dict[str, list[Case]] = field(default_factory=lambda: defaultdict(list))
    back: set[str] = field(default_factory=set)
    """The keys of what was held back."""
    _said: dict[tuple[Ref, str], list[Said]] = field(default_factory=lambda: defaultdict(list))
    _blocked: set[str] = field(default_factory=set)

    def sift(self, entries: Entries, lately: Lately) -> Entries:
        """The plan without what has to be looked at first."""
        for one in lately.said:
            self._heard(one)
        back: list[Action] = []
        for action in entries.intents:
            code, case = self._wrong(action, lately)
            if code:
                back.append(action)
                if case:
                    self.cases[code].append(case)
        # The other side's half of a pair waits with it: the pair stays news, and nothing is written to news.
        waiting, taken = {action.subject for action in back}, {id(action) for action in back}
        back += [one for one in entries.intents if one.subject in waiting and id(one) not in taken]
        self.back |= {action.unique for action in back}
        return _without(entries, back) if back else entries

    def refusals(self, *, in_full: bool = False) -> list[Refusal]:
        """One per guard that held something back, with the worst examples; `in_full`: with all of them, and the words of replies."""
        codes = {*self.cases, *(code for code in self.allowed if code in REASONS)}
        return [
            Refusal(
                code,
                f"{len(cases)} writes are held back: they {REASONS[code]}.",
                f"Look at them with `connector plan`; let them go with {allowing(self.connection, codes)}.",
                tuple(
                    f"{case.text}: {case.words}" if in_full and case.words else case.text
                    for case in nlargest(len(cases) if in_full else EXAMPLES, cases, key=lambda case: case.weight)
                ),
            )
            for code, cases in sorted(self.cases.items())
        ]

    def _wrong(self, action: Action, lately: Lately) -> tuple[str, Case | None]:
        """The guard that holds a write back and what to tell about it; what only waits behind another is not told."""
        if action.op is Op.SEND:
            return self._send(action, lately.now, lately.facts)
        if (
            action.op is Op.UPSERT
            and action.target
            and action.target in lately.written
            and "flip_flop" not in self.allowed
        ):
            return _flips(action, lately.written[action.target])
        return "", None

    def _send(self, action: Action, now: datetime, facts: Mapping[Ref, Fact]) -> tuple[str, Case | None]:
        """Two actors: a colleague's first reply is held back, his second is fine. Were it let out, it would overtake the first,
        so the rest of the conversation waits. It does not wait for what the customer was told already."""
        lane, reply = str(action.lane), facts.get(action.source)
        asked = (reply.changed_at if reply else None) or now
        conversation = facts.get(action.target) if action.target else None
        person = (conversation.parent if conversation else None) or action.target or action.source
        one = Said(person, text_of(action), asked)
        code, case = self._judged(action, one, now)
        if not code and lane in self._blocked:
            return "behind", None
        if code:
            if code != "double_replies":
                self._blocked.add(lane)
            return code, Case(case, (now - one.at).total_seconds(), one.text)
        self._heard(one)
        return "", None

    def _judged(self, action: Action, one: Said, now: datetime) -> tuple[str, str]:
        if self.sends > BURST and "reply_burst" not in self.allowed:
            return "reply_burst", f"{action.source} to {action.target}"
        if now - one.at > OLD and "old_replies" not in self.allowed:
            return "old_replies", f"{action.source} to {action.target}, asked for at {one.at:%Y-%m-%d %H:%M}"
        earlier = [said for said in self._said[one.person, one.text] if abs(said.at - one.at) <= TWICE]
        if earlier and "double_replies" not in self.allowed:
            return "double_replies", f"{action.source} to {one.person}, who was told so at {earlier[0].at:%H:%M}"
        return "", ""

    def _heard(self, one: Said) -> None:
        known = self._said[one.person, one.text]
        if one not in known:
            known.append(one)


def _flips(action: Action, written: Sequence[Fields]) -> tuple[str, Case | None]:
    counts = Counter(
        name for name, value in action.fields.items() for fields in written if name in fields and fields[name] == value
    )
    for name, count in counts.most_common(1):
        if count >= FLIPS:
            text = f"{action.target}: {name} was set to this value {count} times within the hour"
            return "flip_flop", Case(text, count)
    return "", None


def _without(entries: Entries, back: Sequence[Action]) -> Entries:
    """The decisions that the held-back writes would have carried go with them; their records stay news."""
    ids = {id(action) for action in back}
    decided = {(action.subject, action.source) for action in back if action.side is Side.PLATFORM}
    return replace(
        entries,
        intents=[action for action in entries.intents if id(action) not in ids],
        decisions=[row for row in entries.decisions if (row.platform, row.source) not in decided],
        kept=[*entries.kept, *sorted({action.subject for action in back})],
    )
