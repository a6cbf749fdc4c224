"""Files that are hardly CSV: each row is loaded or told with its line and reason, a file that is none is refused as a whole,
and a refused load leaves the sandbox as it was."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import responses
from hostile import fuzz, texts
from hypothesis import example, given
from hypothesis import strategies as st

from connector.sandbox import load, serve

GOOD = {"tweet_id": "1", "author_id": "70", "inbound": "True", "created_at": "Tue Oct 31 22:10:10 +0000 2017", "text": "hello",
        "response_tweet_id": "", "in_response_to_tweet_id": ""}  # fmt: skip
DATES = (
    "Mon Jan 01 00:00:00 +1400 0001", "Fri Dec 31 23:59:59 -1200 9999", "Tue Oct 31 22:10:60 +0000 2017", "Tue Oct 31 22:10:10 +9999 2017",
    "Tue Feb 30 22:10:10 +0000 2017", "Tue Oct 31 22:10:10 Z 2017", "tue oct 31 22:10:10 +0000 2017", "2017-10-31T22:10:10Z", "",
    "Thu Jan 01 00:00:00 +0000 1970", "Wed Dec 31 23:59:59 +0000 1969", "Tue Oct 31 22:10:10 +00:00:01.5 2017",
)  # fmt: skip


def holdable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


cells = st.fixed_dictionaries(
    {
        "tweet_id": st.one_of(
            st.integers(1, 9).map(str), texts, st.sampled_from(["9" * 5000, "٣", "0", "01", "1.0", "-1", ""])
        ),
        "author_id": st.one_of(st.sampled_from(["70", "71", "Shop", "shop", " ", "9" * 5000, "٣"]), texts),
        "inbound": st.one_of(st.sampled_from(["True", "True", "False", "true", ""]), texts),
        "created_at": st.one_of(
            st.just(GOOD["created_at"]), st.just(GOOD["created_at"]), st.sampled_from(DATES), texts
        ),
        "text": st.one_of(texts, st.sampled_from(["@70 hi", "@٣ hi", "@" + "9" * 5000, "x" * 2000])),
        "response_tweet_id": texts,
        "in_response_to_tweet_id": st.one_of(st.just(""), st.integers(1, 9).map(str), texts),
    }
)


def written(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, load.COLUMNS, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows([{name: holdable(cell) for name, cell in row.items()} for row in rows])
    return text.getvalue().encode()


def judged(path: Path, content: bytes) -> tuple[load.Rows, list[list[load.Tweet]]] | None:
    """The rows and threads of a file; None where it was refused as a whole."""
    path.write_bytes(content)
    refused = ""
    try:
        rows = load.read_rows(path)
    except load.LoadError as error:
        refused = str(error)
    if refused:
        assert str(path) in refused
        assert len(refused) < 2000
        return None
    found = load.threads(rows)
    load.payload(found)
    lines = content.count(b"\n") + content.count(b"\r") + 1
    assert all(1 < bad.line <= lines and bad.reason and len(bad.reason) <= 300 for bad in rows.bad)
    return rows, found


@fuzz(50)
@given(rows=st.lists(cells, min_size=1, max_size=8))
@example(rows=[GOOD | {"tweet_id": "9" * 5000}])
@example(rows=[GOOD | {"created_at": "x" * 100_000}])
@example(rows=[GOOD | {"in_response_to_tweet_id": "1"}])
@example(rows=[GOOD | {"in_response_to_tweet_id": "2"}, GOOD | {"tweet_id": "2", "in_response_to_tweet_id": "1"}])
def test_each_row_is_loaded_or_told_once(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    found = judged(tmp_path / "t.csv", written(rows))
    assert found
    read, threads = found
    loaded = [tweet.line for thread in threads for tweet in thread]
    told = [bad.line for bad in read.bad]
    assert len(set(loaded)) == len(loaded) == len(rows) - len(told)
    assert not set(loaded) & set(told)
    assert len(set(told)) == len(told)


@fuzz(37)
@given(
    places=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 30),
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([b'"', b"\n", b"\r", b",", b"\x00", b"\xff", b'""', b"\xef\xbb\xbf"]),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
@example(places=[(0.0, 0, b'"')])
@example(places=[(1.0, 0, b"x" * 200_000)])
@example(places=[(0.0, 0, b"text,")])
def test_a_file_with_bytes_taken_out_and_put_in_is_read_or_refused_clearly(
    tmp_path: Path, places: list[tuple[float, int, bytes]]
) -> None:
    content = written([GOOD, GOOD | {"tweet_id": "2", "in_response_to_tweet_id": "1", "text": 'a "b",\nc'}])
    for place, length, put in places:
        at = int(place * len(content))
        content = content[:at] + put + content[at + length :]
    judged(tmp_path / "t.csv", content)


def test_a_file_that_is_broken_in_the_middle_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(written([GOOD]) + b'"2"x,70\n')
    (bad,) = load.read_rows(path).bad
    assert bad.line == 3
    assert "a quote" in bad.reason


def test_a_column_that_stands_there_twice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join([*load.COLUMNS, "text", "text", "inbound"]) + "\n")
    with pytest.raises(load.LoadError, match="twice: inbound, text"):
        load.read_rows(path)


@fuzz(15)
@given(
    status=st.sampled_from([200, 404, 422, 500, 502]),
    body=st.one_of(
        texts, st.sampled_from(["null", "[]", "{}", '{"errors": 5}', '{"errors": [1]}', '{"conversations": 5}'])
    ),
)
@example(status=200, body="<html>")
@example(status=422, body="<html>")
@example(status=200, body="{}")
def test_an_answer_that_is_none_is_a_load_that_failed(tmp_path: Path, status: int, body: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(written([GOOD]))
    with responses.RequestsMock() as mocked:
        mocked.add(responses.POST, "http://127.0.0.1:1/__control/import", body=holdable(body), status=status)
        with pytest.raises(load.LoadError, match="the sandbox refused the load"):
            load.load_csv(path, "http://127.0.0.1:1", skip_bad=True)


@pytest.fixture(scope="module")
def chatwoot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve.one("chatwoot", tmp_path_factory.mktemp("csv") / "state") as running:
        yield running.told["url"]


def count(url: str) -> dict[str, int]:
    dump = requests.get(f"{url}/__control/dump", timeout=60).json()
    return {name: len(dump[name]) for name in ("message", "conversation", "contact", "agent")}


@fuzz(10)
@given(rows=st.lists(cells, min_size=2, max_size=5), skip=st.booleans())
@example(
    rows=[GOOD | {"created_at": DATES[0]}, GOOD | {"tweet_id": "2", "created_at": DATES[1], "author_id": "71"}],
    skip=False,
)
@example(rows=[GOOD, GOOD | {"tweet_id": "2", "inbound": "no"}], skip=False)
@example(rows=[GOOD | {"tweet_id": "3"}, GOOD | {"tweet_id": "2", "inbound": "no"}], skip=True)
def test_a_load_brings_every_good_row_or_nothing(
    chatwoot: str, tmp_path: Path, rows: list[dict[str, str]], skip: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(written(rows))
    before = count(chatwoot)
    refused = None
    try:
        report = load.load_csv(path, chatwoot, skip_bad=skip)
    except load.LoadError as error:
        refused = error
    if refused:
        assert count(chatwoot) == before
        assert refused.bad or "is already in inbox" in str(refused)
        return
    after = count(chatwoot)
    assert after["message"] - before["message"] == report.messages == len(rows) - len(report.bad)
    assert after["conversation"] - before["conversation"] == report.conversations
    assert skip or not report.bad
