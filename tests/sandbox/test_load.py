"""Loading a file of tweets into the Chatwoot sandbox: threads, people, times, and rows that cannot be loaded."""

import csv
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox import load, serve

DATA = Path(os.environ.get("CONNECTOR_TWEETS", Path(__file__).parents[3] / "shared/data/customer-support-tweets.csv"))
DAY = "Tue Oct 31 22:{:02d}:00 +0000 2017"


def row(
    id: Any, author: str = "70", parent: Any = "", text: str = "hello", minute: int = 0, **other: str
) -> dict[str, str]:
    fields = {
        "tweet_id": str(id),
        "author_id": author,
        "inbound": str(author.isdecimal()),
        "created_at": DAY.format(minute),
        "text": text,
        "response_tweet_id": "",
        "in_response_to_tweet_id": str(parent),
    }
    return fields | other


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, load.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())
    return path


@pytest.fixture
def chatwoot(tmp_path: Path) -> Iterator[str]:
    with serve.one("chatwoot", tmp_path / "state") as running:
        yield running.told["url"]


def dump(url: str) -> Any:
    return requests.get(f"{url}/__control/dump").json()


def test_a_thread_becomes_a_conversation_with_its_people_times_and_texts(chatwoot: str, tmp_path: Path) -> None:
    rows = [
        row(3, "GreatBrand", 2, "@70 Sorry &amp; on it 🙏\nsoon", minute=2),
        row(2, "70", 1, 'it is "broken", again', minute=1),
        row(1, "70", "", "hi", minute=0),
        row(9, "71", "", "another thread", minute=5),
        row(4, "72", 3, "same here", minute=3),
    ]
    report = load.load_csv(write(tmp_path / "t.csv", rows), chatwoot)
    assert (report.conversations, report.messages, report.contacts, report.agents) == (2, 5, 3, 1)
    found = dump(chatwoot)
    one = [m for m in found["message"] if m["conversation_id"] == 1]
    assert [m["source_id"] for m in one] == ["1", "2", "3", "4"]
    assert [m["content"] for m in one] == ["hi", 'it is "broken", again', "@70 Sorry &amp; on it 🙏\nsoon", "same here"]
    assert [m["created_at"] for m in one] == [1509487200 + 60 * n for n in range(4)]
    assert [m["content_attributes"].get("in_reply_to") for m in one] == [None, one[0]["id"], one[1]["id"], one[2]["id"]]
    people = {c["id"]: c["name"] for c in found["contact"]}
    assert [people[m["sender_id"]] for m in one if m["sender_type"] == "contact"] == ["70", "70", "72"]
    assert people[found["conversation"][0]["contact_id"]] == "70"
    agents = {a["email"]: a["id"] for a in found["agent"]}
    assert one[2]["sender_id"] == agents["greatbrand@brands.example"]
    assert [(i["source_id"], people[i["contact_id"]]) for i in found["contact_inbox"]] == [
        (p, p) for p in people.values()
    ]


def test_a_reply_to_a_missing_tweet_begins_its_own_conversation(chatwoot: str, tmp_path: Path) -> None:
    report = load.load_csv(write(tmp_path / "t.csv", [row(5, parent=4), row(6, parent=4)]), chatwoot)
    assert report.conversations == 2


def test_a_thread_without_a_customer_belongs_to_the_first_one_addressed_by_number(
    chatwoot: str, tmp_path: Path
) -> None:
    load.load_csv(write(tmp_path / "t.csv", [row(5, "Brand", text="@Other @4711 could you write to us?")]), chatwoot)
    assert [i["source_id"] for i in dump(chatwoot)["contact_inbox"]] == ["4711"]


BAD = {
    "no_number": (row("x1"), "tweet_id 'x1' is not a number"),
    "empty_author": (row(2, ""), "author_id is empty"),
    "customer_without_number": (row(2, "Someone", inbound="True"), "author_id 'Someone' of a customer is not a number"),
    "bad_direction": (row(2, inbound="yes"), "inbound 'yes' is neither True nor False"),
    "bad_date": (row(2, created_at="31/10/2017"), "created_at '31/10/2017' is not like"),
    "duplicate": (row(1), "tweet_id 1 is a duplicate of line 2"),
    "answers_itself": (row(2, parent=2), "tweet_id 2 answers itself"),
    "nobody_to_talk_with": (row(2, "Brand"), "tweet_id 2 is in a thread without a customer"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_named_by_line_and_reason_and_nothing_is_loaded(
    chatwoot: str, tmp_path: Path, bad: Any, reason: str
) -> None:
    path = write(tmp_path / "t.csv", [row(1, text="two\nlines"), bad])
    with pytest.raises(load.LoadError) as caught:
        load.load_csv(path, chatwoot)
    (found,) = caught.value.bad
    assert found.line == 4
    assert found.reason.startswith(reason)
    assert f"line 4: {reason}" in str(caught.value)
    assert dump(chatwoot)["message"] == []
    report = load.load_csv(path, chatwoot, skip_bad=True)
    assert (report.messages, report.bad) == (1, (found,))


def test_all_bad_rows_are_reported_at_once(tmp_path: Path) -> None:
    rows = [row("a"), row(1), row(2, created_at=""), row(3, parent=4), row(4, parent=3), row(5, parent=4)]
    with pytest.raises(load.LoadError) as caught:
        load.load_csv(write(tmp_path / "t.csv", rows), "http://127.0.0.1:1")
    assert [bad.line for bad in caught.value.bad] == [2, 4, 5, 6]


def test_a_quote_left_open_is_one_bad_row_and_hides_no_other(chatwoot: str, tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", [row("a"), row(1), row(2, text="OPEN"), row(3, text="two\nlines"), row("b"), row(4)]
    )
    path.write_bytes(path.read_bytes().replace(b"OPEN", b'"open'))
    with pytest.raises(load.LoadError) as caught:
        load.load_csv(path, chatwoot)
    assert [bad.line for bad in caught.value.bad] == [2, 4, 7]
    assert "a quote is left open" in str(caught.value)
    report = load.load_csv(path, chatwoot, skip_bad=True)
    assert (report.messages, len(report.bad)) == (3, 3)


def test_a_row_with_a_missing_value_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [row(1)])
    path.write_bytes(path.read_bytes() + b"2,70,True\n")
    assert [str(bad) for bad in load.read_rows(path).bad] == ["line 3: 3 values for 7 columns"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tweet_id,text\n1,hi\n", "missing columns: author_id, inbound, created_at"),
        (b"", "missing columns: tweet_id"),
        (b"tweet_id,text\n1,\xff\xfe\n", "not UTF-8 at byte 16"),
        (b'"tweet_id,text\n1,hi\n', "not a CSV file: line 1: "),
    ],
    ids=["missing_columns", "empty_file", "not_utf8", "not_csv"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(load.LoadError, match=message):
        load.load_csv(path, "http://127.0.0.1:1")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(load.LoadError, match=r"none\.csv: cannot be read: No such file"):
        load.load_csv(tmp_path / "none.csv", "http://127.0.0.1:1")


def test_a_sandbox_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(load.LoadError, match=r"the sandbox at http://127\.0\.0\.1:1 did not answer"):
        load.load_csv(write(tmp_path / "t.csv", [row(1)]), "http://127.0.0.1:1")


def test_the_same_file_is_not_loaded_twice(chatwoot: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [row(1)])
    load.load_csv(path, chatwoot)
    with pytest.raises(load.LoadError, match="source_id 1 is already in inbox Twitter"):
        load.load_csv(path, chatwoot)
    assert len(dump(chatwoot)["message"]) == 1


PARENTS = st.lists(st.integers(-1, 30), min_size=1, max_size=30)


@given(PARENTS)
def test_every_row_is_in_exactly_one_thread_or_bad_whatever_it_answers(parents: list[int]) -> None:
    rows = load.Rows()
    for id, parent in enumerate(parents):
        at = datetime(2017, 10, 31, tzinfo=UTC)
        rows.tweets[str(id)] = load.Tweet(id + 2, str(id), "70", True, at, "x", str(parent))
    found = [tweet.id for thread in load.threads(rows) for tweet in thread]
    bad = [str(row.line - 2) for row in rows.bad]
    assert sorted(found + bad, key=int) == [str(id) for id in range(len(parents))]


def test_the_real_data_set_is_loaded_whole(chatwoot: str) -> None:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not at hand; set CONNECTOR_TWEETS to the file of public tweets")
    report = load.load_csv(DATA, chatwoot)
    assert (report.conversations, report.messages, report.bad) == (714, 2664, ())
    with DATA.open(encoding="utf-8", newline="") as file:
        texts = {line["tweet_id"]: line["text"] for line in csv.DictReader(file)}
    stored = dump(chatwoot)["message"]
    assert {m["source_id"]: m["content"] for m in stored} == texts
    assert [m["created_at"] for m in stored] == sorted(m["created_at"] for m in stored)
