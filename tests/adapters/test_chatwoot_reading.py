"""Messages are read completely however the server cuts its answers. The server here is scripted by its documented rules."""

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.adapters.chatwoot.client import Client
from connector.adapters.chatwoot.reader import RANGE_ROWS, Reader, message_id
from connector.errors import RecordGone
from connector.model import Ref

URL = "https://chat.shop.example"


def serve(rows: list[dict[str, Any]]) -> None:
    """The message list of conversation 118: rows are cut by time, also where ids are asked for."""

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        asked = {name: int(values[0]) for name, values in parse_qs(urlsplit(request.url).query).items()}
        low, high = asked.get("after"), asked.get("before")
        if low is not None and high is not None:
            found = sorted((r for r in rows if low <= r["id"] < high), key=lambda r: r["created_at"])[:RANGE_ROWS]
        elif low is not None:
            found = sorted((r for r in rows if r["id"] > low), key=lambda r: r["created_at"])[:100]
        else:
            below = [r for r in rows if high is None or r["id"] < high]
            found = sorted(below, key=lambda r: r["created_at"])[-20:]
        return 200, {}, json.dumps({"meta": {}, "payload": found})

    responses.add_callback(
        responses.GET,
        f"{URL}/api/v1/accounts/3/conversations/118/messages",
        callback=answer,
        content_type="application/json",
    )


def reader() -> Reader:
    return Reader(Client(URL, 3, "token", lambda _seconds: None, partial(datetime.now, UTC)))


@settings(max_examples=15, deadline=None)
@given(count=st.sampled_from([0, 1, 999, 1000, 1001, 2500]), after=st.integers(0, 2500), random=st.randoms())
def test_no_message_is_skipped_when_times_and_ids_disagree(count: int, after: int, random: Any) -> None:
    times = list(range(count))
    random.shuffle(times)
    rows = [{"id": 3 * n + 1, "created_at": time} for n, time in enumerate(times)]
    with responses.mock:
        serve(rows)
        read = [row["id"] for chunk in reader().messages(118, after) for row in chunk]
    assert read == [row["id"] for row in rows if row["id"] > after]


@responses.activate
def test_the_newest_messages_are_read_backwards_and_answered_forwards() -> None:
    serve([{"id": n, "created_at": n} for n in range(1, 251)])
    assert [row["id"] for row in reader().newest(118, 100)] == list(range(151, 251))


@responses.activate
def test_looking_back_stops_before_the_moment() -> None:
    start = 1_767_225_600
    serve([{"id": n, "created_at": start + 60 * n} for n in range(500)])
    seen = [row["id"] for row in reader().since(118, datetime.fromtimestamp(start + 60 * 480, UTC))]
    assert set(range(470, 500)) <= set(seen)
    assert len(responses.calls) == 3


@pytest.mark.parametrize("text", ["90412", "118-", "-90412", "118-x", "a-b"])
def test_a_message_reference_of_another_shape_names_nothing(text: str) -> None:
    with pytest.raises(RecordGone):
        message_id(Ref("chatwoot", "message", text))
