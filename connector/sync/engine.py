"""The seven steps in one readable file: observe, match, merge, plan, guard, journal, apply.

Deciding lives in the pure modules beside this one; here rows are fetched, handed over, and the answers stored.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from connector.adapters.base import Account, Adapter, Page, Stream
from connector.errors import ConnectorError, RemoteError, SoftStop
from connector.mapping.compiled import Compiled
from connector.model import Cursor, Fact, Kind, Life, Observed, Op, Period, Ref, Side, State
from connector.store.entries import Entries
from connector.store.rows import order_key
from connector.store.store import Ledger
from connector.sync import cursor as cursors
from connector.sync.ahead import Coming, read_ahead, simple
from connector.sync.doubts import Doubts
from connector.sync.failures import Failures
from connector.sync.finding import find_candidates
from connector.sync.guards import CANARIES, HANDFUL, Tally, check_canaries, check_pins, judge
from connector.sync.history import was_sent_in
from connector.sync.identity import Candidate
from connector.sync.landing import Landing
from connector.sync.loading import load_history, load_lately, load_view, with_followers
from connector.sync.observe import fold_all
from connector.sync.outbox import Outbox, nothing
from connector.sync.patience import SPENT, advice
from connector.sync.persons import not_found
from connector.sync.plan import lookups_needed, make_plan
from connector.sync.report import Report
from connector.sync.sent import Drained
from connector.sync.view import View, chosen, missing_parents
from connector.sync.whereabouts import Whereabouts
from connector.sync.withheld import REASONS, Withheld

BATCH = 2000
"""Facts planned together: enough to fill a bundle of 1,000 rows per kind, few enough to keep memory flat."""
PATIENCE = timedelta(minutes=3)
"""How long `sync` waits for intents that become due later before it leaves them to the next run: longer than it takes until a
write whose line broke is looked at, on any system we know (two and a half minutes)."""
ALLOWED_ONCE = "allowed once"
"""Where the store remembers the guards that a person has allowed for the next turn of a running connector."""
TURN = 20
"""Rounds of one turn at most; what is left then waits for the next turn."""
ROUNDS = 50
"""Of one `sync`. Quiet takes three or four; a run that never gets there is told of and ends."""


Progress = Callable[[str, int], None]


class Engine:
    """One connection. Not to be used by two threads at once: the ledger's lease keeps other processes out."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        platform: Adapter,
        crm: Adapter,
        mapping: Compiled,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        progress: Progress = lambda _what, _count: None,
        allowed: Collection[str] = (),
        hands: Callable[[], Executor] = partial(ThreadPoolExecutor, 1, thread_name_prefix="call"),
    ) -> None:
        """`hands` makes what runs a call to a side while this thread goes on; one that runs it at once makes two runs of the
        same seed take the same steps."""
        self.name = name
        self.ledger = ledger
        self.adapters: dict[Side, Adapter] = {Side.PLATFORM: platform, Side.CRM: crm}
        self.mapping = mapping
        self._clock = clock
        self._sleep = sleep
        self._progress = progress
        self._hands = hands
        self._allowed_for_good = self._allowed = set(allowed)
        self._allowed_once = set[str]()
        self._held_back: set[str] = set(REASONS)
        self._thorough = False
        self._redone = False
        self._calls_told: Mapping[str, int] = {}
        self._unique: frozenset[str] | None = None
        self._tally = Tally()
        self._accounts: dict[Side, Account] | None = None
        self.withheld = Withheld(name)
        self._whereabouts = Whereabouts(ledger, self.adapters)
        fetch = self._whereabouts.fetch
        self._landing = Landing(ledger, mapping)
        failures = Failures(ledger, self.adapters, self._landing, mapping, clock, fetch)
        self._doubts = Doubts(ledger, self.adapters, self._landing, failures, clock, fetch)
        self._unheard = self._telling()
        self._outbox = Outbox(ledger, self.adapters, mapping, self._landing, failures, clock, progress, hands)

    # -- before anything: are these the accounts and the mapping that somebody looked at?

    def prepare(self) -> dict[Side, Account]:
        """Check both sides and the pins; the first use of a connection pins them. Raises Refusal and RemoteError."""
        accounts = self._accounts = {side: adapter.check() for side, adapter in self.adapters.items()}
        self.begin()
        if self.ledger.pins() is None:
            self.ledger.pin(accounts[Side.PLATFORM].id, accounts[Side.CRM].id, self.mapping.digest)
        persons = self.ledger.active_links(Kind.PERSON)
        if persons >= HANDFUL:
            some = self.ledger.some_links(Kind.PERSON, CANARIES)
            for side, adapter in self.adapters.items():
                shown = adapter.fetch(sorted({link.on(side) for link in some}))
                check_canaries(side, shown, persons, self._allowed, connection=self.name)
        return accounts

    def approve(self) -> None:
        """A person has looked at the plan of a changed mapping: every linked record is decided anew under it, with the CRM's
        records read once more, because the mapping may look at fields that were never read before."""
        for links in self.ledger.all_links():
            self.look_at([link.crm for link in links if link.kind in (Kind.PERSON, Kind.CONVERSATION)], Side.CRM)
        self.ledger.redo_linked()
        self.ledger.approve(self.mapping.digest)

    def begin(self) -> None:
        """A new turn: the guards count from zero, and what a person has allowed meanwhile is allowed for this turn. Raises
        Refusal.

        Two actors: an admin changes the mapping on one machine and approves it; a worker on another machine still has the old
        one. It must not write by a mapping that is not in force.
        """
        if self._accounts:
            platform, crm = (self._accounts[side].id for side in Side)
            check_pins(self.ledger.pins(), platform, crm, self.mapping.digest)
        self._tally = Tally()
        self._allowed_once = set(self.ledger.recall(ALLOWED_ONCE) or ())
        self._allowed = self._allowed_for_good | self._allowed_once

    def _carried_out(self) -> None:
        """What was allowed once is done with the end of this turn; what was allowed during it, with the end of the next."""
        if self._allowed_once:
            left = set(self.ledger.recall(ALLOWED_ONCE) or ()) - self._allowed_once
            self.ledger.remember(ALLOWED_ONCE, sorted(left) or None)
            self._allowed_once = set()

    # -- observe

    def observe(self, streams: Collection[tuple[Side, str]], *, thorough: bool = False) -> int:
        """Pull these streams; facts and cursor are stored together, page by page. Answers how many records had news. A
        `thorough` read leaves nothing for the next ones."""
        wanted = [(side, stream) for side, stream in self.streams() if (side, stream.name) in streams]
        return sum(self._pull(side, stream, thorough) for side, stream in wanted)

    def streams(self) -> list[tuple[Side, Stream]]:
        return [(side, stream) for side in Side for stream in self.adapters[side].capabilities.streams]

    def _telling(self) -> set[tuple[Side, str]]:
        """The streams that show messages we have sent."""
        told = self.adapters[Side.PLATFORM].capabilities
        names = [told.history] if told.history else [one.name for one in told.streams]
        return {(Side.PLATFORM, name) for name in names}

    def look_at(self, refs: Sequence[Ref], side: Side) -> int:
        """Fetch records that a hint, a link or a plan asked for, and fold them like any page."""
        if not refs:
            return 0
        seen = self._whereabouts.fetch(side, refs)
        facts = self._folded(side, seen, load_history(self.ledger))
        self._doubts.recognise(seen)
        self.ledger.record(facts)
        return len(facts)

    def _pull(self, side: Side, stream: Stream, thorough: bool) -> int:
        adapter, news = self.adapters[side], 0
        cursor = self.ledger.cursor(side, stream.name)
        resumed = cursor.resume is not None
        position = partial(self.ledger.position, side, stream.name)
        thorough &= cursor.watermark is not None
        linked = partial(self.ledger.linked_after, side)
        sent = load_history(self.ledger)
        window = cursors.window(cursor, stream, position, thorough=thorough, linked=linked, sent=sent)
        with self._hands() as hands:
            for page in read_ahead(adapter.pull(stream.name, window), hands):
                facts = self._folded(side, self._whereabouts.followed(side, page.observed), sent)
                self._doubts.recognise(page.observed)
                cursor = cursors.advance(cursor, window, self._in_time(adapter, page))
                self.ledger.ingest(side, stream.name, facts, cursor, page.positions)
                news += sum(fact.dirty for fact in facts)
                self._progress(f"read {adapter.system}", len(page.observed))
        self.ledger.solved(f"reading {adapter.system} {stream.name}")
        if not resumed:
            self._unheard.discard((side, stream.name))
            self._outbox.heard = not self._unheard
        # A window that was broken off is read to its end as it was begun; what became visible behind its place meanwhile is
        # in the next one.
        return news + self._pull(side, stream, thorough) if resumed else news

    def _in_time(self, adapter: Adapter, page: Page) -> Page:
        """The page, without its watermark where the side's clock cannot be right."""
        if cursors.skewed(page, self._clock()):
            self.ledger.problem(
                f"clock of {adapter.system}",
                "clock_skew",
                f"{adapter.system} says it is {page.watermark}, far ahead of this machine.",
                "Set the clock of this machine; nothing is remembered as read until then.",
            )
            return replace(page, watermark=None)
        if page.watermark:
            self.ledger.solved(f"clock of {adapter.system}")
        return page

    def read_past(self, place: str, sent: Period, page: Page, cursor: Cursor) -> list[Fact]:
        """A page of a slice of the platform's past, sent in this period: its facts, its positions and how far it has come
        (`cursor`, kept under the name `place`) are stored together. Answers the facts that changed."""
        facts = self._folded(Side.PLATFORM, page.observed, sent)
        self._doubts.recognise(page.observed)
        self.ledger.ingest(Side.PLATFORM, place, facts, cursor, page.positions)
        self._progress("read of the past", len(page.observed))
        return facts

    def _folded(self, side: Side, seen: Sequence[Observed], sent: Period) -> list[Fact]:
        """The facts that changed. Of a CRM only what concerns us is kept: a company's other contacts are not ours, nor what
        is written to them. Of the platform's messages those not known yet have to be sent in this period."""
        if side is Side.CRM:
            ours = self.ledger.known([ref for one in seen for ref in (one.ref, one.parent) if ref])
            seen = [one for one in seen if one.ref in ours or (one.kind is Kind.REPLY and self._is_ours(one, ours))]
        known = self.ledger.facts([one.ref for one in seen])
        facts = fold_all(known, tuple(one for one in seen if one.ref in known or was_sent_in(sent, one)), side)
        return self._with_waiting(facts, known)

    def _with_waiting(self, facts: Sequence[Fact], known: Mapping[Ref, Fact]) -> list[Fact]:
        """Together with the messages that are held because of a person who was not to be found and is there now, or who is not
        the one their conversation belongs to any more.

        Two actors: a webhook shows a message before the platform shows the person who wrote it; we ask for her and find nobody.
        Her messages are news again in the transaction that brings her. And: people are asked who somebody is, and an agent merges
        her into a person whom the CRM knows; nobody would ever answer for the one who is no more.
        """
        back = [
            not_found(one.ref)
            for one in facts
            if one.kind is Kind.PERSON
            and one.life is Life.LIVE
            and one.ref in known
            and known[one.ref].life is not Life.LIVE
        ]
        moved = [
            one.ref
            for one in facts
            if one.kind is Kind.CONVERSATION and one.ref in known and known[one.ref].parent not in (None, one.parent)
        ]
        waiting = [*self.ledger.held_because(back), *self.ledger.children(moved, Kind.MESSAGE, [State.HELD])]
        held = self.ledger.facts(waiting) if waiting else {}
        folded = {one.ref: one for one in facts}
        again = {ref: replace(folded.get(ref, one), dirty=True) for ref, one in held.items()}
        return list((folded | again).values())

    def _is_ours(self, reply: Observed, known: Collection[Ref]) -> bool:
        """A record of an object for replies asks for one; a message in a CRM's chatter only where the record it is written
        on is linked."""
        rules = self.mapping.replies
        return rules is not None and (isinstance(rules.conversation, str) or reply.parent in known)

    # -- match, merge, plan

    def batches(self) -> Iterator[tuple[list[Fact], Entries]]:
        """Every batch of dirty facts with its plan, messages (and what they need) first. Writes nothing to either side."""
        for work in self._dirty():
            yield work, self._sifted(self._plan(work))

    def _sifted(self, entries: Entries) -> Entries:
        return self.withheld.sift(entries, load_lately(self.ledger, entries, self._clock()))

    def _dirty(self, first: int = BATCH) -> Iterator[list[Fact]]:
        """What is dirty, batch by batch, `first` facts at most in the first."""
        limit = first
        for kinds in ((Kind.MESSAGE,), tuple(kind for kind in Kind if kind is not Kind.MESSAGE)):
            after: str | None = None
            while work := self.ledger.dirty(kinds, limit, after):
                after, limit = order_key(work[-1]), BATCH
                yield work

    def _first_batch(self) -> int:
        """A CRM that counts no calls has no need to wait until more is planned than the first one can carry. One that counts them
        has: what changes with each of its messages, as a conversation does, is written once for a batch."""
        crm = self.adapters[Side.CRM]
        return min(BATCH, crm.capabilities.batch) if crm.usage().allowance is None else BATCH

    def _plan(self, work: Sequence[Fact]) -> Entries:
        view = self._view(work, {})
        missing = missing_parents(view, work)
        if missing and self.look_at(sorted(missing), Side.PLATFORM):
            view = self._view(work, {})
        crm = self.adapters[Side.CRM]
        seen: list[Observed] = []
        persons = lookups_needed(view, work, self.mapping, self.name)
        if persons:
            candidates, seen = find_candidates(persons, self.mapping, crm)
            view = self._view(work, candidates)
        unread = chosen(view)
        if unread:
            seen += self._whereabouts.fetch(Side.CRM, unread)
        found = {fact.ref: fact for fact in fold_all({}, tuple(seen), Side.CRM)}
        view = replace(view, facts={**found, **view.facts}, found=frozenset(found.keys() - view.facts.keys()))
        return make_plan(view, work, self.mapping, self.name)

    def _plan_unasked(self, work: Sequence[Fact]) -> Entries | None:
        """The plan of facts for which neither side has to be asked anything, None where one has to be."""
        view = self._view(work, {})
        if missing_parents(view, work) or lookups_needed(view, work, self.mapping, self.name) or chosen(view):
            return None
        return make_plan(view, work, self.mapping, self.name)

    def _view(self, work: Sequence[Fact], candidates: Mapping[Ref, list[Candidate]]) -> View:
        platform, crm = (self.adapters[side].capabilities for side in Side)
        if self._unique is None:
            person = self.adapters[Side.PLATFORM].describe(Kind.PERSON.value)
            self._unique = frozenset(name for name, info in person.fields.items() if info.unique)
        return load_view(
            self.ledger,
            work,
            candidates=candidates,
            unique=self._unique,
            trusted_times=platform.trusted_times & crm.trusted_times,
            mapping=self.mapping,
        )

    # -- guard, journal, apply

    def decide(self) -> tuple[int, Drained]:
        """Plan, guard and journal everything that is dirty, and send batch by batch. Answers how many intents were new and
        what was sent."""
        planned, sent = 0, Drained()

        def in_passing(work: Sequence[Fact]) -> bool:
            nonlocal planned
            entries = self._plan_unasked(work)
            if entries is None or not simple(entries):
                return False
            planned += self._journal(self._sifted(entries))
            return True

        self.guard()
        coming = Coming(self._dirty(self._first_batch()), in_passing)
        while work := coming.taken():
            entries = self._plan(work)
            planned += self._journal(self._sifted(entries))
            # A CRM that has just turned us away is not called anew for each batch.
            if Side.CRM not in sent.stopped:
                sent.add(self._outbox.drain(coming.look if simple(entries) else nothing))
        sent.add(self._outbox.drain())
        self._tell_withheld()
        self._carried_out()
        return planned, sent

    def _tell_withheld(self) -> None:
        refusals = self.withheld.refusals()
        for one in refusals:
            self.ledger.problem(f"guard {one.code}", one.code, f"{one.message} {'; '.join(one.examples)}.", one.way_out)
        for code in self._held_back - {one.code for one in refusals}:
            self.ledger.solved(f"guard {code}")
        self._held_back = {one.code for one in refusals}

    def guard(self) -> None:
        """Judge the whole of what is dirty before anything is journaled. Only records that are linked already can be damaged,
        so persons without a link need not be looked up for it. Raises Refusal."""
        tally, sends = self._tally.copy(), 0
        for work in self._dirty():
            linked = self._linked_part(work)
            if linked:
                view = self._view(linked, {})
                entries = make_plan(view, linked, self.mapping, self.name)
                # What was held back a round ago is planned again, but it is no further change.
                tally.add(entries, view.links, view.facts, but=self.withheld.back)
                sends += sum(action.op is Op.SEND for action in entries.intents)
        self.withheld = Withheld(self.name, self._allowed, sends)
        if not tally.small:
            # Not for every tick: a database counts its links one by one.
            links = {kind: self.ledger.active_links(kind) for kind in Kind}
            judge(tally, links, self._allowed, connection=self.name)
        self._tally = tally

    def _linked_part(self, work: Sequence[Fact]) -> list[Fact]:
        """What of the work may change a record that exists: new messages change none but their conversations, which show how
        many there are."""
        messages = [fact for fact in work if fact.kind is Kind.MESSAGE and fact.side is Side.PLATFORM]
        linked = {link.platform for link in self.ledger.links_of([one.ref for one in messages])}
        new = {one.ref: one.parent for one in messages if one.ref not in linked}
        threads = self.ledger.facts({parent for parent in new.values() if parent} if self.mapping.conversations else ())
        rest = [fact for fact in work if fact.ref not in new]
        return [*rest, *(thread for ref, thread in threads.items() if ref not in {fact.ref for fact in rest})]

    def _journal(self, entries: Entries) -> int:
        entries = with_followers(self.ledger, entries)
        journaled = self.ledger.journal(entries)
        self._redone |= bool(entries.redo)
        if entries.links:
            # Linked to a record that was there already: what waited for it need not wait its time out.
            self.ledger.wake()
        self.look_at(sorted({crm for _, crm, _ in entries.moved}), Side.CRM)
        self._progress("planned", len(journaled))
        return len(journaled)

    # -- runs

    def round(self, streams: Collection[tuple[Side, str]], report: Report) -> set[Side]:
        """One turn of the seven steps over these streams, and those that have to be read before the first reply leaves.
        Answers the sides that were written to."""
        report.rounds += 1
        self._redone = self._landing.redone = False
        self._doubts.recover()
        for stream in [*sorted(self._unheard - set(streams)), *streams]:
            try:
                report.news += self.observe([stream], thorough=self._thorough)
            except SoftStop as error:
                # Whatever comes next would be stopped as well.
                self._trouble(report, SPENT, error)
                return set()
            except RemoteError as error:
                self._trouble(report, f"reading {self.adapters[stream[0]].system} {stream[1]}", error)
        if not self._crm_read():
            return set()
        try:
            planned, sent = self.decide()
        except RemoteError as error:
            self._trouble(report, SPENT if isinstance(error, SoftStop) else "deciding", error)
            return set()
        self.ledger.solved("deciding")
        report.withheld = self.withheld.refusals()
        report.planned += planned
        report.written += sum(sent.done.values())
        report.failed += sent.failed
        report.unwritten += sent.errors
        return set(sent.done)

    def write_on(self, report: Report) -> None:
        """Rounds without a read until nothing is left to write, for records that wait for one another."""
        while report.rounds < TURN and not report.trouble and self.round([], report):
            continue

    def _crm_read(self) -> bool:
        """Whether the CRM was read to its end at least once; until then nothing is written.

        Two actors: the first read of the CRM fails, we make a contact, a person deletes it; the first read, which shows no
        deletions, comes after. Nobody would ever know.
        """
        streams = self.adapters[Side.CRM].capabilities.streams
        return all(self.ledger.cursor(Side.CRM, stream.name).watermark for stream in streams)

    def sync(self) -> Report:
        """Until quiet: both sides read, everything written, and each side read again after the last write to it. The calls of the
        report are those of both adapters since they were made, or since the sync before."""
        report, started = Report(), self._clock()
        run = self.ledger.begin_run("sync")
        self._thorough = True
        try:
            self.prepare()
            # Somebody asks for a run now, perhaps after mending what the waiting writes failed of.
            self.ledger.wake()
            streams = [(side, stream.name) for side, stream in self.streams()]
            while report.rounds < ROUNDS and not report.trouble:
                written = self.round(streams, report)
                self._thorough = False
                streams = [(side, stream.name) for side, stream in self.streams() if side in written]
                anew = self._redone or self._landing.redone
                if not written and not anew and not self._wait(started):
                    break
        except ConnectorError as error:
            report.stopped_by = str(error)
            raise
        finally:
            self._thorough = False
            calls = self._calls()
            report.calls = {name: count - self._calls_told.get(name, 0) for name, count in calls.items()}
            self._calls_told = calls
            self.ledger.end_run(run, report.summary())
        return report

    def _trouble(self, report: Report, scope: str, error: RemoteError) -> None:
        """An error cut something short: it is shown in `status` until the same thing works again."""
        report.trouble.append(error)
        self.ledger.problem(scope, error.code, str(error), advice(error))

    def next_due(self) -> datetime | None:
        """When the next write that waits becomes due, or a doubtful one can be looked at."""
        return min((due for due in (self._outbox.next_due(), self._doubts.next_due()) if due), default=None)

    def _wait(self, started: datetime) -> bool:
        """Wait for the next intent that becomes due soon. False: nothing worth waiting for."""
        due = self.next_due()
        now = self._clock()
        if due is None or due > started + PATIENCE:
            return False
        self._sleep(max(0.1, (due - now).total_seconds()))
        return True

    def _calls(self) -> dict[str, int]:
        return {adapter.system: adapter.usage().calls for adapter in self.adapters.values()}
