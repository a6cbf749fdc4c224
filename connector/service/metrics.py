"""Metrics for Prometheus: what the store holds now, and what this process did. No values of records, only counts."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connector.model import IntentState, State
from connector.service.backfilling import standing
from connector.service.budget import budget_data
from connector.service.served import Served
from connector.service.spending import budget_of
from connector.service.status import streams, webhooks


class Metrics(Collector):
    """Made once per process; the store is asked at each scrape."""

    def __init__(self, served: Mapping[str, Served], clock: Callable[[], datetime]) -> None:
        self._served = served
        self._clock = clock
        self.registry = CollectorRegistry()
        self.webhooks = Counter(
            "connector_webhooks",
            "Webhooks received, by what became of them.",
            ["connection", "result"],
            registry=self.registry,
        )
        self.registry.register(self)

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        """Nothing is asked of the store when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"connector_{name}", text, labels=("connection", *labels))

        messages = gauge("messages", "Messages seen on the platform, by account.", "state")
        intents = gauge("intents", "Planned writes, by state.", "state")
        holds = gauge("holds", "Open holds, by type.", "type")
        problems = gauge("problems", "Problems that somebody has to put right.")
        dirty = gauge("dirty", "Records that no plan has looked at yet.")
        balanced = gauge("balanced", "1 when no message is under way: all are synced, filtered, held or erased.")
        lag = gauge("lag_seconds", "Seconds since the time up to which a stream has been read.", "side", "stream")
        calls = gauge("api_calls_today", "API calls of the connector today, by system.", "system")
        api = {
            name: gauge(f"api_{name}", f"The CRM's daily API calls: {text}")
            for name, text in (
                ("allowance", "what the account may make, all programs together."),
                ("others", "what other programs made, by the CRM's own count."),
                ("ours", "what all connections of the account made in the last 24 hours."),
                ("share", "what the connector may make (crm_daily_share)."),
                ("left", "what the connector may still make now."),
            )
        }
        success = gauge("last_success_seconds", "Unix time of the last successful read of a stream.", "side", "stream")
        lost = gauge("lost_webhooks", "Messages that a read brought and no webhook ever named, while webhooks came in.")
        past = gauge("backfill_part", "How much of the backfill that was asked for is in, 0 to 1.")
        rounds = CounterMetricFamily("connector_rounds", "Rounds of this process.", labels=("connection",))
        for name, one in self._served.items():
            plug, now = one.plug, self._clock()
            ledger, states, counts = plug.ledger, plug.ledger.states(), plug.ledger.counts()
            for state, count in states.items():
                messages.add_metric((name, state), count)
            for intent in IntentState:
                intents.add_metric((name, intent), counts.intents.get(intent, 0))
            for kind, count in counts.holds.items():
                holds.add_metric((name, kind), count)
            problems.add_metric((name,), len(ledger.problems()))
            dirty.add_metric((name,), ledger.count_dirty())
            balanced.add_metric((name,), int(not states[State.OPEN]))
            for stream in streams(plug, now):
                if stream.lag is not None:
                    lag.add_metric((name, stream.side, stream.stream), stream.lag)
                if stream.read_at:
                    success.add_metric((name, stream.side, stream.stream), stream.read_at.timestamp())
            for system, count in ledger.usage(now.date()).items():
                calls.add_metric((name, system), count)
            for what, amount in budget_data(budget_of(plug, now)[0]).items():
                if amount is not None:
                    api[what].add_metric((name,), amount)
            if told := webhooks(plug):
                lost.add_metric((name,), told.lost)
            if backfill := standing(ledger):
                past.add_metric((name,), backfill.part)
            rounds.add_metric((name,), one.rounds)
        yield from (messages, intents, holds, problems, dirty, balanced, lag, calls, *api.values(), success, lost)
        yield from (past, rounds)
