"""A connection that begins without its past, and the commands that bring older messages in."""

import itertools
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import requests

from connector.app import App, held_lease, now
from connector.sandbox.serve import running
from connector.service import backfilling

NOW = datetime.now(UTC).replace(microsecond=0)
numbers = itertools.count(61_500_000_001)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Sandboxes with an inbox, and nobody in them yet."""
    with running(tmp_path_factory.mktemp("quiet")) as both:
        inbox = {"key": "wa", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}
        requests.post(f"{both.chatwoot_url}/__control/import", json={"inboxes": [inbox]}, timeout=30).raise_for_status()
        yield both


@pytest.fixture
def sandboxes(quiet):
    return quiet


@pytest.fixture
def past(site):
    """Customers wrote: `past(days, days, ...)` is one conversation with a message so many days ago each."""

    def said(*days: float, text: str = "said") -> None:
        number = next(numbers)
        contact = {
            "key": "c",
            "name": f"Customer {number}",
            "identities": [{"inbox": "WhatsApp", "source_id": str(number)}],
        }
        messages = [
            {"at": (NOW - timedelta(days=ago)).isoformat(), "type": "incoming", "text": f"{text} {ago} days ago"}
            for ago in days
        ]
        thread = {"key": "t", "inbox": "WhatsApp", "contact": "c", "messages": messages}
        answer = requests.post(
            f"{site.sandboxes.chatwoot_url}/__control/import",
            json={"contacts": [contact], "conversations": [thread]},
            timeout=30,
        )
        answer.raise_for_status()

    return said


def begin(site, history: str) -> None:
    """Each test is a connection of its own, so that its keys are its own in the shared org."""
    name = f"c{next(numbers)}"
    site.edit("config.yaml", "  main:", f"  {name}:")
    site.edit("config.yaml", "mapping: mapping.yaml", f"mapping: mapping.yaml\n    history: {history}")
    site.name = name


def there(site, of: str = "") -> list[str]:
    """The texts in the CRM that begin so, as they came in. What another test has said within the second in which a connection
    begins comes in as well."""
    rows = [row for row in site.crm("Task") if (row.get("SMM_Message_Key__c") or "").startswith(f"{site.name}:")]
    texts = [row["Description"] for row in sorted(rows, key=lambda row: row["Id"])]
    return [text for text in texts if text.startswith(of)]


def day(ago: float) -> str:
    return f"{NOW - timedelta(days=ago):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("all", {"h 400 days ago", "h 20 days ago", "h 1 days ago"}),
        ("30d", {"h 20 days ago", "h 1 days ago"}),
        ("none", set()),
        (day(10), {"h 1 days ago"}),
    ],
)
def test_the_first_sync_takes_the_messages_of_the_history(site, past, history, expected):
    past(400, 20, 1, text="h")
    begin(site, history)
    site.run("sync")
    assert set(there(site, "h ")) == expected
    assert site.json("audit")[0]["promises"]


def test_an_old_conversation_that_goes_on_brings_its_news_and_not_its_past(site, past):
    begin(site, "none")
    site.run("sync")
    past(50, 40, text="old")
    site.customer(inbox="WhatsApp", source_id=str(next(numbers) - 1), text="news of today")
    site.run("sync")
    assert there(site) == ["news of today"]


def test_a_backfill_brings_in_exactly_the_messages_of_its_period_and_twice_changes_nothing(site, past):
    past(200, 90.5, 80, 79.5, 15, text="exact")
    begin(site, "none")
    site.run("sync")
    assert there(site, "exact") == []
    done = site.json("backfill", "--since", day(85), "--until", day(40))[0]["backfill"]
    assert (done["done"], done["part"]) == (True, 1.0)
    assert sorted(there(site, "exact")) == ["exact 79.5 days ago", "exact 80 days ago"]
    before = site.crm("Task")
    again = site.json("backfill", "--since", day(85), "--until", day(40))[0]["backfill"]
    assert again["done"]
    assert site.crm("Task") == before
    rest = site.json("backfill", "--since", day(85))[0]["backfill"]
    assert rest["done"]
    assert sorted(there(site, "exact")) == ["exact 15 days ago", "exact 79.5 days ago", "exact 80 days ago"]
    assert site.json("audit")[0]["promises"]
    # What the CRM shows of the people whom the backfill made goes back to the platform with the next read.
    site.run("sync")
    assert site.json("sync", code=None)[0]["planned"] == 0


@pytest.mark.parametrize(("order", "expected"), [([], ["10", "40", "70"]), (["--oldest-first"], ["70", "40", "10"])])
def test_the_newest_month_comes_first_unless_the_oldest_is_wanted(site, past, order, expected):
    word = f"order{len(order)}"
    for ago in (10, 70, 40):
        past(ago, text=word)
    begin(site, "none")
    site.json("backfill", "--since", day(89), *order)
    assert [text.split()[1] for text in there(site, word)] == expected


def pieces(site, count: int, **asked) -> None:
    """So many pieces, as a process does them that dies afterwards."""
    with App.open(site.folder / "config.yaml") as app:
        plug = app.plugs[site.name]
        with held_lease(plug.ledger, "tests"), plug.join() as joined:
            engine = joined.engine()
            engine.prepare()
            if asked:
                backfilling.ask(plug.ledger, asked["since"], None, oldest_first=asked["oldest_first"])
            backfilling.live_turn(engine, plug.intervals({}), now())
            for _ in range(count):
                backfilling.piece(engine, now)


def test_slices_without_messages_cost_the_crm_nothing_and_nothing_is_read_before_the_oldest_message(site, past):
    past(2000, text="sparse")
    begin(site, "none")
    site.run("sync")
    before = site.json("status", code=None)[0]["calls_today"]
    found = site.json("backfill", "--since", "2001-01-01", "--until", day(800))[0]["backfill"]
    assert (found["done"], found["part"], found["messages"]) == (True, 1.0, 1)
    after = site.json("status", code=None)[0]["calls_today"]
    assert there(site) == ["sparse 2000 days ago"]
    months = (2000 - 800) // 30
    # Logging in, looking at the org and its users, a live read, and writing the message; none for a month without messages.
    assert after["salesforce"] - before["salesforce"] < months / 2
    # The list of conversations is gone through once a month; 2001 is some 200 months before the message.
    assert after["chatwoot"] - before["chatwoot"] < 6 * months


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_backfill_that_was_broken_off_goes_on_and_ends_like_one_that_was_not(site, past, oldest_first):
    for ago in (5, 35, 65, 95):
        past(ago, ago - 1, text=f"broken{oldest_first}")
    begin(site, "none")
    since = datetime.fromisoformat(day(100)).replace(tzinfo=UTC)
    pieces(site, 2, since=since, oldest_first=oldest_first)
    half = site.json("backfill", code=1)[0]["backfill"]
    assert 0 < half["part"] < 1
    some = set(there(site, f"broken{oldest_first}"))
    assert len(some) in (2, 4)
    order = ["--oldest-first"] if oldest_first else []
    whole = site.json("backfill", "--since", day(100), *order)[0]["backfill"]
    assert whole["done"]
    mine = there(site, f"broken{oldest_first}")
    assert len(mine) == len(set(mine)) == 8


def test_a_message_that_is_written_during_a_backfill_arrives_before_the_rest_of_it(site, past):
    for ago in (5, 35, 65):
        past(ago, text="behind")
    begin(site, "none")
    pieces(site, 1, since=datetime.fromisoformat(day(89)).replace(tzinfo=UTC), oldest_first=False)
    site.customer(inbox="WhatsApp", source_id=str(next(numbers)), name="Live", text="behind nothing")
    site.json("backfill", "--since", day(89))
    mine = there(site, "behind")
    assert mine == ["behind 5 days ago", "behind nothing", "behind 35 days ago", "behind 65 days ago"]


def test_ctrl_c_pauses_a_backfill_and_the_same_command_goes_on(site, past):
    past(*range(700, 0, -30), text="stopped")
    begin(site, "none")
    command = [sys.executable, "-c", "from connector.cli import main; main()", "-c", str(site.folder / "config.yaml")]
    with subprocess.Popen([*command, "backfill", "--since", day(710)], stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) == 130
    assert "% of what was sent since" in first
    assert "The same command goes on with it" in said
    paused = site.json("backfill", code=1)[0]["backfill"]
    assert paused["paused"]
    assert site.json("backfill", "--since", day(710))[0]["backfill"]["done"]
    mine = there(site, "stopped")
    assert len(mine) == len(set(mine)) == len(range(700, 0, -30))


def test_what_is_in_is_told_and_there_is_nothing_more_to_bring_in(site, past):
    begin(site, "all")
    site.run("sync")
    before = site.json("status", code=None)[0]["calls_today"]
    assert site.json("backfill", "--since", "2020-01-01")[0]["backfill"] is None
    said = site.run("backfill", "--since", "2020-01-01").stdout
    assert "what was sent since 2020-01-01 is in already, or comes with the live traffic" in said
    assert site.json("backfill")[0]["backfill"] is None
    assert "No backfill was asked for." in site.run("backfill").stdout
    assert site.json("status", code=None)[0]["calls_today"] == before, "nobody had to be asked"
    for option, nothing in (("--pause", "pause"), ("--resume", "resume"), ("--stop", "give up")):
        assert f"Nothing to {nothing}: no backfill is under way." in site.run("backfill", option).stdout


def test_while_a_connector_runs_the_request_is_handed_to_it_and_can_be_paused(site, past):
    past(12, text="handed")
    begin(site, "none")
    site.run("sync")
    with App.open(site.folder / "config.yaml") as app, held_lease(app.plugs[site.name].ledger, "another"):
        handed = site.run("backfill", "--since", day(30))
        assert handed.exit_code == 1
        assert "reads a piece whenever nothing else is to do" in handed.stderr
        assert site.json("backfill", code=1)[0]["backfill"]["paused"] is False
        assert site.json("backfill", "--pause", code=1)[0]["backfill"]["paused"] is True
        assert "Paused" in site.run("status").stdout
        other = site.run("backfill", "--since", day(60))
        assert (other.exit_code, "--stop" in other.stderr) == (1, True)
        assert site.json("backfill", "--resume", code=1)[0]["backfill"]["paused"] is False
        assert "Given up" in site.run("backfill", "--stop").stdout
        assert site.json("backfill")[0]["backfill"] is None
    assert there(site) == []


def test_the_same_command_goes_on_though_its_end_lies_within_the_history(site, past):
    past(12, text="cut")
    begin(site, "none")
    site.run("sync")
    command = ("backfill", "--since", day(30), "--until", day(-2))
    with App.open(site.folder / "config.yaml") as app, held_lease(app.plugs[site.name].ledger, "another"):
        for _ in range(2):
            assert site.json(*command, code=1)[0]["errors"] == []
    for _ in range(2):
        assert site.json(*command)[0]["backfill"]["done"]
    assert there(site, "cut") == ["cut 12 days ago"]


@pytest.fixture
def refused(site):
    """`refused(text, ...)`: the CRM does not take the message with this text, for the reason given."""

    def refuse(text: str, **how) -> None:
        site.org("POST", "faults", {"match": {"object": "Task", "field": "Description", "value": text}, **how})

    yield refuse
    site.org("DELETE", "faults")


def test_the_last_message_is_in_the_crm_when_all_is_in_though_its_row_was_locked(site, past, refused):
    past(12, text="locked")
    begin(site, "none")
    site.run("sync")
    # As often as one call tries it.
    refused("locked 12 days ago", kind="lock_row", times=4)
    said = site.run("backfill", "--since", day(30))
    assert "but 1 write waits" in said.stderr
    assert (said.exit_code, "All is in of what was sent" in said.stdout) == (0, True)
    assert there(site, "locked") == ["locked 12 days ago"]


def test_a_write_that_waits_for_long_is_left_over_and_told(site, past, refused):
    past(12, text="long")
    begin(site, "none")
    site.run("sync")
    refused("long 12 days ago", kind="row_error", code="INVALID_FIELD", times=1)
    for _ in range(2):
        said = site.run("backfill", "--since", day(30))
        assert (said.exit_code, "All is in" in said.output) == (1, False)
        assert "but 1 write waits; the same command goes on with it" in said.stdout
    told = site.json("backfill", "--since", day(30), code=1)[0]
    assert (told["backfill"]["done"], told["waiting"]) == (True, 1)
    site.run("sync")
    assert there(site, "long") == ["long 12 days ago"]
    assert site.json("backfill", "--since", day(30))[0]["waiting"] == 0


def test_a_backfill_rests_at_half_of_the_share_and_live_traffic_goes_on(site, past):
    past(12, text="dear")
    begin(site, "none")
    spent = {"ours": 0}
    while spent["ours"] < 30:
        site.run("sync")
        spent = site.json("status", code=None)[0]["crm_budget"]
    share = 2 * spent["ours"] / spent["allowance"]
    site.edit("config.yaml", "mapping: mapping.yaml", f"mapping: mapping.yaml\n    crm_daily_share: {share}")
    site.customer(inbox="WhatsApp", source_id=str(next(numbers)), name="Live", text="dear colleagues")
    rests = site.json("backfill", "--since", day(90), code=1)[0]["backfill"]["rests"]
    assert rests["code"] == "share_spent"
    assert there(site, "dear") == ["dear colleagues"]
    (found,) = site.json("status", code=None)
    assert found["backfill"]["rests"]["code"] == "share_spent"
    assert found["problems"] == []
    for command in ("status", "backfill"):
        assert "It rests" in site.run(command).stdout
    assert site.json("backfill", code=1)[0]["backfill"]["rests"]["code"] == "share_spent"


@pytest.mark.parametrize(
    "args",
    [
        ("--since", "yesterday"),
        ("--until", "2026-01-01"),
        ("--oldest-first",),
        ("--pause", "--resume"),
        ("--since", "2026-01-01", "--stop"),
    ],
)
def test_options_that_do_not_fit_are_refused(site, args):
    assert site.run("backfill", *args).exit_code == 2


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--since", "2026-01-02", "--until", "2026-01-01"), "is not later than --since"),
        (("--since", "2026-01-02", "--until", "2026-01-02"), "is not later than --since"),
        (("--since", "2999-01-01"), "lies in the future"),
        (("--since", "1999-12-31"), "lies before 2000-01-01"),
        (("--since", "0001-01-01", "--until", "0001-01-20"), "lies before 2000-01-01"),
        (("--since", "last week"), "'last week' is no day; write it like 20"),
        (("--since", "2026-02-30"), "'2026-02-30' is no day"),
    ],
)
def test_days_that_cannot_be_are_refused_and_nothing_is_remembered_of_them(site, args, why):
    refused = site.run("backfill", *args)
    assert refused.exit_code == 2
    assert why in " ".join(refused.stderr.replace("│", " ").split())
    assert "No backfill was asked for." in site.run("backfill").stdout
