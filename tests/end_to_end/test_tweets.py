"""Real conversations in bulk: 2,664 public tweets go into the CRM and every change made afterwards, and nothing else,
follows.

The file is the "Customer Support on Twitter" data set (Stuart Axelbrooke, Thought Vector; CC BY-NC-SA 4.0) or a part of it.
Nothing of it is kept here; without the file these tests are skipped. The state of both systems is written down after each
step, and the tests compare these records.
"""

import copy
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connector.sandbox.load import Tweet, load_csv, read_rows, threads
from connector.sync.report import Report

FILE = Path(os.environ.get("CONNECTOR_TWEETS") or Path(__file__).parents[3] / "shared/data/customer-support-tweets.csv")
OBJECTS = ("Contact", "Lead", "Social_Identity__c", "Social_Conversation__c", "Task", "Social_Outbound__c")
STAMPS = {"SystemModstamp", "LastModifiedDate", "LastModifiedById", "LastActivityDate"}
CALLS_PER_THOUSAND = 10

Rows = dict[str, dict[str, Any]]


@dataclass
class Books:
    """Everything both systems hold at one moment, and what the run before it reported."""

    report: Report
    account: dict[str, int]
    crm: dict[str, Rows]
    writes: dict[str, Counter[str]]
    platform: dict[str, Rows]

    def changes(self, before: "Books", side: str) -> dict[tuple[str, str], dict[str, tuple[Any, Any]]]:
        """By (table, id): the fields whose value is another one than before, as (old, new)."""
        then, now = defaultdict(dict, getattr(before, side)), getattr(self, side)
        found: dict[tuple[str, str], dict[str, tuple[Any, Any]]] = {}
        for table, rows in now.items():
            for id_, row in rows.items():
                old = then[table].get(id_, {})
                changed = {
                    name: (old.get(name), row[name]) for name in row.keys() - STAMPS if row[name] != old.get(name)
                }
                if changed:
                    found[table, id_] = changed
            assert not then[table].keys() - rows.keys(), f"rows of {table} are gone"
        return found


@dataclass
class Town:
    """The office with the tweets in it, where everything went, and what people did to it afterwards."""

    office: Any
    tweets: dict[str, Tweet]
    threads: list[list[Tweet]]
    message_of: dict[str, tuple[int, int]]
    did: dict[str, Any] = field(default_factory=dict)

    def books(self, report: Report) -> Books:
        office = self.office
        office.settle()
        tables = {
            name: {str(row["id"]): row for row in rows}
            for name, rows in office.dump().items()
            if rows and "id" in rows[0]
        }
        return Books(
            report,
            office.account(),
            {name: {row["Id"]: row for row in office.records(name)} for name in OBJECTS},
            {name: Counter(counts) for name, counts in office.crm_stats()["writes"].items()},
            copy.deepcopy(tables),
        )

    def key(self, tweet: Tweet) -> str:
        conversation, message = self.message_of[tweet.id]
        return f"shop:{conversation}-{message}"


def as_salesforce_keeps_it(text: str) -> str:
    """Long text areas are trimmed, and every line break becomes CRLF."""
    return re.sub(r"\r\n|\r|\n", "\r\n", text.strip())


def customer_of(thread: list[Tweet]) -> str:
    """Whose conversation it is: the first customer who writes, else the first one who is addressed."""
    written = [tweet.author for tweet in thread if tweet.inbound]
    return written[0] if written else next(m[1] for t in thread if (m := re.search(r"@(\d+)", t.text)))


@pytest.fixture(scope="module")
def town(open_office: Callable[..., Any]) -> Town:
    if not FILE.is_file():
        pytest.skip(f"there is no {FILE.name}: name it in CONNECTOR_TWEETS to run these tests")
    office = open_office()
    load_csv(FILE, office.sandboxes.chatwoot_url)
    rows = read_rows(FILE)
    placed = {
        row["source_id"]: (row["conversation_id"], row["id"])
        for row in office.dump()["message"]
        if row["source_id"] in rows.tweets
    }
    return Town(office, rows.tweets, threads(rows), placed)


@pytest.fixture(scope="module")
def first(town: Town) -> Books:
    return town.books(town.office.sync())


@pytest.fixture(scope="module")
def second(town: Town, first: Books) -> Books:
    return town.books(town.office.sync())


@pytest.fixture(scope="module")
def third(town: Town, second: Books) -> Books:
    """After people have worked on both sides. The network reports nothing about the replies, so no report can come late."""
    office, dice = town.office, random.Random(20260101)
    quiet = alone(town)
    chosen = dice.sample(quiet, 35)
    place = {id(thread): town.message_of[thread[0].id][0] for thread in chosen}

    def take(count: int) -> list[list[Tweet]]:
        taken, chosen[:] = chosen[:count], chosen[count:]
        return taken

    def contact(thread: list[Tweet]) -> str:
        return contact_of(second, customer_of(thread))

    def conversation(thread: list[Tweet]) -> str:
        return next(
            id_
            for id_, row in second.crm["Social_Conversation__c"].items()
            if row["SMM_Conversation_Key__c"] == f"shop:{place[id(thread)]}"
        )

    def person(thread: list[Tweet]) -> int:
        return int(office.conversation(place[id(thread)])["meta"]["sender"]["id"])

    did = town.did
    did["written"] = {}
    for number, thread in enumerate(take(20)):
        text = f"Following up ({number}) 🚲 &amp; <b>\nsecond line"
        office.customer("", customer_of(thread), text, inbox="Twitter", conversation=place[id(thread)])
        did["written"][place[id(thread)]] = text
    did["replied"] = {place[id(thread)]: f"Answer {n} & *more*" for n, thread in enumerate(take(5))}
    did["outbound"] = {number: office.reply(number, text) for number, text in did["replied"].items()}
    for _ in did["replied"]:
        office.control("delivery", message_id="next", status="sent")
    did["edited"] = {}
    for thread in take(2):
        tweet = dice.choice([tweet for tweet in thread if tweet.inbound])
        office.control("network/edit", message_id=town.message_of[tweet.id][1], text=f"Corrected: {tweet.id} 🙂")
        did["edited"][town.key(tweet)] = f"Corrected: {tweet.id} 🙂"
    (thread,) = take(1)
    did["mailed"] = contact(thread)
    office.agent("PATCH", f"contacts/{person(thread)}", email="someone@tweets.example")
    (thread,) = take(1)
    did["labelled"] = conversation(thread)
    office.agent("POST", f"conversations/{place[id(thread)]}/labels", labels=["refund"])
    (thread,) = take(1)
    did["resolved"] = conversation(thread)
    office.agent("POST", f"conversations/{place[id(thread)]}/toggle_status", status="resolved")
    did["phoned"] = {}
    for number, thread in enumerate(take(2)):
        did["phoned"][str(person(thread))] = f"+3161234567{number}"
        office.crm("PATCH", f"sobjects/Contact/{contact(thread)}", Phone=f"+3161234567{number}")
    (thread,) = take(1)
    did["closed"] = str(place[id(thread)])
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{conversation(thread)}", Status__c="resolved")
    (thread,) = take(1)
    did["urgent"] = str(place[id(thread)])
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{conversation(thread)}", Priority__c="urgent")
    (thread,) = take(1)
    did["named"] = str(person(thread))
    office.crm("PATCH", f"sobjects/Contact/{contact(thread)}", FirstName="Mina", LastName="Tweeter")
    office.settle()
    did["before"] = town.books(second.report)
    return town.books(office.sync())


def alone(town: Town) -> list[list[Tweet]]:
    """Threads of one customer who writes nowhere else, so that a change there touches nothing besides."""
    seen: Counter[str] = Counter()
    for thread in town.threads:
        seen.update({customer_of(thread), *(tweet.author for tweet in thread if tweet.inbound)})
    return [
        thread
        for thread in town.threads
        if {tweet.author for tweet in thread if tweet.inbound} == {customer_of(thread)}
        and seen[customer_of(thread)] == 1
    ]


def contact_of(books: Books, author: str) -> str:
    found = [
        row["Contact__c"]
        for row in books.crm["Social_Identity__c"].values()
        if row["SMM_Identity_Key__c"] == f"twitter:{author}"
    ]
    assert len(found) == 1
    return str(found[0])


@pytest.fixture(scope="module")
def fourth(town: Town, third: Books) -> Books:
    return town.books(town.office.sync())


def test_every_message_is_in_exactly_one_state(town: Town, first: Books) -> None:
    assert first.account == {"synced": len(town.tweets)}
    assert first.report.failed == 0


def test_every_message_is_exactly_one_task_with_its_full_text(town: Town, first: Books) -> None:
    told = Counter(row["SMM_Message_Key__c"] for row in first.crm["Task"].values())
    assert told == Counter(town.key(tweet) for tweet in town.tweets.values())
    shown = {row["SMM_Message_Key__c"]: row["Description"] for row in first.crm["Task"].values()}
    assert shown == {town.key(tweet): as_salesforce_keeps_it(tweet.text) for tweet in town.tweets.values()}


def test_every_task_is_on_the_person_who_wrote_it_or_whom_it_answers(town: Town, first: Books) -> None:
    customers = {
        tweet.id: tweet.author if tweet.inbound else customer_of(thread) for thread in town.threads for tweet in thread
    }
    people = {
        row["SMM_Identity_Key__c"].removeprefix("twitter:"): row["Contact__c"]
        for row in first.crm["Social_Identity__c"].values()
    }
    assert set(people) == set(customers.values()), "one identity for each customer"
    assert len(set(people.values())) == len(people), "nobody shares a contact"
    who = {row["SMM_Message_Key__c"]: row["WhoId"] for row in first.crm["Task"].values()}
    assert who == {town.key(town.tweets[id_]): people[author] for id_, author in customers.items()}


def test_every_conversation_stands_on_the_timeline_in_its_own_order(town: Town, first: Books) -> None:
    made: dict[str, list[str]] = defaultdict(list)
    for _, row in sorted(first.crm["Task"].items()):
        made[row["SMM_Conversation_Key__c"]].append(row["SMM_Message_Key__c"])
    assert sorted(made.values()) == sorted([town.key(tweet) for tweet in thread] for thread in town.threads)
    stamps = {row["SMM_Message_Key__c"]: row["SMM_Sent_At__c"] for row in first.crm["Task"].values()}
    assert stamps == {town.key(t): t.at.strftime("%Y-%m-%dT%H:%M:%S.000+0000") for t in town.tweets.values()}


def test_every_conversation_record_counts_its_messages(town: Town, first: Books) -> None:
    counted = {
        row["SMM_Conversation_Key__c"]: (int(row["Message_Count__c"]), row["Last_Direction__c"])
        for row in first.crm["Social_Conversation__c"].values()
    }
    assert counted == {
        town.key(thread[0]).partition("-")[0]: (len(thread), "Inbound" if thread[-1].inbound else "Outbound")
        for thread in town.threads
    }


def test_the_first_sync_costs_at_most_ten_crm_calls_per_thousand_records(first: Books) -> None:
    made = {name: counts["inserted"] for name, counts in first.writes.items()}
    records, calls = sum(made.values()), first.report.calls["salesforce"]
    print(f"\nfirst sync: {made} = {records} records in {calls} calls, {1000 * calls / records:.1f} per 1,000")
    assert set().union(*first.writes.values()) == {"inserted"}, "nothing is written twice"
    assert 1000 * calls / records <= CALLS_PER_THOUSAND


def test_a_second_sync_writes_nothing_on_either_side(first: Books, second: Books) -> None:
    assert (second.report.planned, second.report.written) == (0, 0)
    assert second.writes == first.writes
    assert second.crm == first.crm
    assert second.platform == first.platform


def test_a_third_sync_brings_every_change_into_the_crm_and_nothing_else(town: Town, third: Books) -> None:
    did, before = town.did, town.did["before"]
    changes = third.changes(before, "crm")
    tasks = {key: row for key, row in changes.items() if key[0] == "Task"}
    made = [row for row in tasks.values() if "SMM_Message_Key__c" in row]
    texts = {
        int(row["SMM_Conversation_Key__c"][1].removeprefix("shop:")): (
            row["Description"][1],
            row["SMM_Direction__c"][1],
        )
        for row in made
    }
    written = {number: (as_salesforce_keeps_it(text), "Inbound") for number, text in did["written"].items()}
    assert texts == written | {number: (text, "Outbound") for number, text in did["replied"].items()}
    assert len(made) == 25
    edited = {third.crm["Task"][id_]["SMM_Message_Key__c"]: row for (_, id_), row in tasks.items() if row not in made}
    assert {key: row["Description"][1] for key, row in edited.items()} == did["edited"]
    assert all(set(row) == {"Subject", "Description", "SMM_State__c"} for row in edited.values())

    moved = {f"shop:{number}" for number in texts}
    threads_ = {id_: row for (name, id_), row in changes.items() if name == "Social_Conversation__c"}
    assert threads_.pop(did["labelled"]) == {"Labels__c": (None, "refund")}
    assert threads_.pop(did["resolved"]) == {"Status__c": ("open", "resolved")}
    assert {third.crm["Social_Conversation__c"][id_]["SMM_Conversation_Key__c"] for id_ in threads_} == moved
    counted = {"Message_Count__c", "Last_Message_At__c", "Last_Direction__c"}
    assert all(
        set(row) <= counted and row["Message_Count__c"][1] == row["Message_Count__c"][0] + 1
        for row in threads_.values()
    )

    people = {id_: row for (name, id_), row in changes.items() if name == "Contact"}
    assert people == {did["mailed"]: {"Email": (None, "someone@tweets.example")}}
    fates = {id_: row["Status__c"] for (name, id_), row in changes.items() if name == "Social_Outbound__c"}
    assert fates == dict.fromkeys(did["outbound"].values(), ("Queued", "Sent"))
    assert {name for name, _ in changes} == {"Task", "Social_Conversation__c", "Contact", "Social_Outbound__c"}


def test_a_third_sync_writes_each_changed_record_once(town: Town, third: Books) -> None:
    done = {name: dict(counts - town.did["before"].writes[name]) for name, counts in third.writes.items()}
    print(f"\nthird sync: {done} in {third.report.calls['salesforce']} calls")
    assert done == {
        "Contact": {"updated": 1},
        "Social_Identity__c": {},
        "Social_Conversation__c": {"updated": 27},
        "Social_Outbound__c": {"updated": 5},
        "Task": {"inserted": 25, "updated": 2},
    }


def test_a_third_sync_brings_every_change_to_the_platform_and_every_reply_once(town: Town, third: Books) -> None:
    did, changes = town.did, third.changes(town.did["before"], "platform")
    people = {
        id_: row for (name, id_), row in changes.items() if name == "contact" and set(row) != {"last_activity_at"}
    }
    assert people == {
        **{id_: {"phone_number": (None, number)} for id_, number in did["phoned"].items()},
        did["named"]: {"name": (people[did["named"]]["name"][0], "Mina Tweeter")},
    }
    status = {id_: row["status"] for (name, id_), row in changes.items() if name == "conversation" and "status" in row}
    assert status == {did["closed"]: ("open", "resolved")}
    urgent = {
        id_: row["priority"] for (name, id_), row in changes.items() if name == "conversation" and "priority" in row
    }
    assert urgent == {did["urgent"]: (None, "urgent")}
    assert not {
        (name, key) for (name, id_), row in changes.items() if name == "conversation" for key in row if key == "labels"
    }
    received = [(row["conversation_id"], row["text"]) for row in third.platform["delivered"].values()]
    assert sorted(received) == sorted(did["replied"].items())
    outgoing = [row for (name, _), row in changes.items() if name == "message" and row["message_type"][1] == 1]
    assert len(outgoing) == 5


def test_a_fourth_sync_writes_nothing_on_either_side(third: Books, fourth: Books) -> None:
    assert (fourth.report.planned, fourth.report.written) == (0, 0)
    assert fourth.writes == third.writes
    assert fourth.crm == third.crm
    assert fourth.platform == third.platform
    assert set(fourth.account) == {"synced"}
