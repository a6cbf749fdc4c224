"""How long a first load takes where each call takes 150 ms to arrive, as over the internet, against the floor: its own calls
done one after the other, and nothing else. What the connector itself does (store, match, plan, settle) should hide behind
them.

The floor is the number of calls times the added delay, plus the time that the two sandboxes were at work on them, by their
own clocks, in the same run.
"""

import time

from benchmarks.measure import Measure
from benchmarks.sandboxes import pair

DELAY = 0.15
"""Seconds: a call to a hosted CRM from another continent."""
GOAL = 1.2
EACH = 100
"""Messages of a conversation."""


def measure(full: bool) -> list[Measure]:
    messages = 100_000 if full else 900
    with pair() as town:
        town.customers(messages // EACH, EACH)
        with town.engine() as engine:
            town.delay(DELAY)
            calls, work = town.calls(), town.work()
            started, used = time.perf_counter(), time.process_time()
            report = engine.sync()
            wall, cpu = time.perf_counter() - started, time.process_time() - used
            calls, work = town.calls() - calls, town.work() - work
            assert report.written >= messages, report
        tasks = town.crm("GET", "__control/stats")["writes"]["Task"]
        assert tasks == {"inserted": messages}, tasks
    floor = (calls.crm + calls.platform) * DELAY + work
    return [
        Measure(f"first load of {messages:,} messages", "s", wall, "its calls one after the other", floor, goal=GOAL),
        Measure("messages", "per s", messages / wall),
        Measure("own CPU time", "ms per message", 1_000 * cpu / messages),
        Measure("calls to Chatwoot", "calls", calls.platform),
        Measure("calls to Salesforce", "calls", calls.crm),
        Measure("the sandboxes' own time", "s", work),
    ]
