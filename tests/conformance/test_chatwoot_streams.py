"""What is particular about Chatwoot, over HTTP against the sandbox process: the changes that no time stamp shows, lists that
move while they are read, calls that replace more than was meant."""

import http.server
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from chatwoot_world import ChatwootWorld, Sandbox, running
from suite_world import Sight, receipt, unique

from connector.adapters.base import Window, Write
from connector.adapters.chatwoot import recheck
from connector.adapters.chatwoot.webhook import EVENTS
from connector.errors import Rejected, SchemaDrift
from connector.model import Kind, Life, Period, Ref


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running(tmp_path_factory.mktemp("chatwoot")) as sandbox:
        yield sandbox


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Sandbox]:
    with running(tmp_path) as sandbox:
        yield sandbox


@pytest.fixture
def world(sandbox: Sandbox) -> ChatwootWorld:
    return ChatwootWorld(sandbox)


@pytest.fixture
def sight(world: ChatwootWorld) -> Sight:
    return Sight(world.adapter)


def message_ref(ids: dict[str, Any]) -> Ref:
    return Ref("chatwoot", "message", f"{ids['conversation_id']}-{ids['message_id']}")


def conversation_ref(ids: dict[str, Any]) -> Ref:
    return Ref("chatwoot", "conversation", str(ids["conversation_id"]))


def history(sandbox: Sandbox, conversations: int, messages: int = 1, apart: int = 1) -> dict[str, dict[str, int]]:
    """Conversations of long ago, one minute after the other, with so many seconds between their messages."""
    contacts = [
        {"key": f"c{n}", "name": f"Customer {n}", "identities": [{"inbox": "Line", "source_id": f"h{n}"}]}
        for n in range(conversations)
    ]
    rows = [
        {
            "key": f"v{n}",
            "inbox": "Line",
            "contact": f"c{n}",
            "messages": [
                {"key": f"m{n}-{m}", "type": "incoming", "text": f"Line {m}", "at": 1_760_000_000 + 60 * n + apart * m}
                for m in range(messages)
            ],
        }
        for n in range(conversations)
    ]
    return dict(sandbox.control("import", contacts=contacts, conversations=rows))


# ---- changes that no time stamp shows ---------------------------------------------------------------------------------


def test_an_edited_message_is_found(world: ChatwootWorld, sight: Sight) -> None:
    ids = world.write("Is it redy?")
    sight.look()
    world.sandbox.control("network/edit", message_id=ids["message_id"], text="Is it ready?")
    assert message_ref(ids) in {o.ref for o in sight.news()}
    assert sight.known[message_ref(ids)]["text"] == "Is it ready?"


def test_a_message_deleted_on_the_network_is_marked_and_its_text_stays_known(
    world: ChatwootWorld, sight: Sight
) -> None:
    ids = world.write("I did not say this.")
    sight.look()
    world.sandbox.control("network/delete", message_id=ids["message_id"])
    sight.look()
    known = sight.known[message_ref(ids)]
    assert (known["deleted"], known["text"]) == (True, "I did not say this.")


def test_a_failed_delivery_is_found_with_its_reason(world: ChatwootWorld, sight: Sight) -> None:
    conversation = world.conversation()
    sent = world.adapter.send(Write(Kind.MESSAGE, "message", {"text": "Too late"}, conversation), unique("token"))
    world.received(conversation)
    sight.look()
    reason = "10 - This message is sent outside of allowed window."
    number = int(sent.ref.id.partition("-")[2])
    world.sandbox.control("delivery", message_id=number, status="failed", external_error=reason)
    sight.look()
    known = sight.known[sent.ref]
    assert (known["delivery"], known["delivery_error"]) == ("failed", reason)


def test_a_conversation_deleted_in_a_quiet_corner_is_found_with_its_person(fresh: Sandbox) -> None:
    ids = history(fresh, 3)
    sight = Sight(fresh.adapter())
    sight.look()
    fresh.api("DELETE", f"/contacts/{ids['contacts']['c1']}")
    sight.look()
    assert sight.life[Ref("chatwoot", "conversation", str(ids["conversations"]["v1"]))].life is Life.GONE
    assert sight.life[Ref("chatwoot", "person", str(ids["contacts"]["c1"]))].life is Life.GONE
    assert sight.life[Ref("chatwoot", "conversation", str(ids["conversations"]["v2"]))].life is Life.LIVE


def test_a_contact_changed_in_a_quiet_corner_is_found(fresh: Sandbox) -> None:
    ids = history(fresh, 2)
    sight = Sight(fresh.adapter())
    sight.look()
    number = ids["contacts"]["c0"]
    fresh.api("POST", f"/contacts/{number}/labels", labels=["vip"])
    sight.look()
    assert sight.known[Ref("chatwoot", "person", str(number))]["tags"] == ["vip"]


@pytest.mark.parametrize("look", [Sight.look, Sight.finish], ids=["at once", "stopped after each page"])
def test_a_thorough_read_sees_what_the_slice_before_it_has_passed(
    look: Callable[[Sight], None], fresh: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person changes just behind the place that the walk has come to, and somebody asks for a sync."""
    monkeypatch.setattr(recheck, "SLICE_PAGES", 1)
    ids = history(fresh, 30)
    sight = Sight(fresh.adapter())
    sight.look()
    for key in ("c0", "c29"):
        fresh.api("POST", f"/contacts/{ids['contacts'][key]}/labels", labels=["vip"])
    sight.thorough = True
    look(sight)
    shown = [sight.known[Ref("chatwoot", "person", str(ids["contacts"][key]))]["tags"] for key in ("c0", "c29")]
    assert shown == [["vip"], ["vip"]]


@pytest.mark.parametrize("stop", [False, True], ids=["at once", "stopped after each page"])
@pytest.mark.parametrize(
    ("days", "earliest"),
    [
        pytest.param(-1, True, id="it begins before the first message"),
        pytest.param(0.01, False, id="the first messages are older, and in the conversations that rest"),
        pytest.param(40, False, id="all messages are older"),
    ],
)
def test_a_slice_of_the_past_tells_whether_anything_is_older(
    fresh: Sandbox, days: float, earliest: bool, stop: bool
) -> None:
    history(fresh, 30, messages=2)
    start = datetime.fromtimestamp(1_760_000_000, UTC) + timedelta(days=days)
    adapter, positions, told = fresh.adapter(), dict[str, str](), list[bool]()
    resume: str | None = None
    while not told or resume:
        window = Window(resume=resume, sent=Period(start, start + timedelta(days=30)), position=positions.get)
        for page in adapter.pull("conversations", window):
            positions.update(page.positions)
            told.append(page.earliest)
            resume = page.resume
            if stop:
                break
    assert told == [False] * (len(told) - 1) + [earliest]


@pytest.mark.parametrize("pages", [1, 100], ids=["from its first page on", "on all of them"])
def test_a_slice_of_the_past_tells_about_when_the_oldest_message_was_sent(fresh: Sandbox, pages: int) -> None:
    history(fresh, 30, messages=2)
    opened = min(
        row["created_at"]
        for row in fresh.api("GET", "/conversations?status=all&sort_by=created_at_asc")["data"]["payload"]
    )
    start = datetime.fromtimestamp(1_760_000_000, UTC)
    window = Window(sent=Period(start, start + timedelta(days=30)))
    read = list(islice(fresh.adapter(page_rows=20).pull("conversations", window), pages))
    assert [page.oldest for page in read] == [datetime.fromtimestamp(opened, UTC)] * len(read)


def test_a_longer_slice_of_the_past_reads_what_a_shorter_one_given_up_in_mid_conversation_left_out(
    fresh: Sandbox,
) -> None:
    ids = history(fresh, 1, messages=1200, apart=2160)
    start, adapter = datetime.fromtimestamp(1_760_000_000, UTC), fresh.adapter(page_rows=300)
    positions, seen = dict[str, str](), set[Ref]()
    for days, pages in ((10, 1), (30, None)):
        window = Window(sent=Period(start, start + timedelta(days=days)), position=positions.get)
        for page in islice(adapter.pull("conversations", window), pages):
            positions.update(page.positions)
            seen |= {one.ref for one in page.observed if one.kind is Kind.MESSAGE}
    assert {int(ref.id.partition("-")[2]) for ref in seen} == set(ids["messages"].values())


# ---- lists that move --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_rows", [20, 90], ids=["inside the first list page", "after it"])
def test_a_conversation_deleted_during_the_first_walk_hides_no_other(fresh: Sandbox, page_rows: int) -> None:
    ids = history(fresh, 60)
    sight = Sight(fresh.adapter(page_rows=page_rows))
    sight.look(pages=1)
    fresh.api("DELETE", f"/contacts/{ids['contacts']['c0']}")
    fresh.api("DELETE", f"/contacts/{ids['contacts']['c1']}")
    sight.finish()
    wanted = {Ref("chatwoot", "conversation", str(id_)) for id_ in ids["conversations"].values()}
    assert wanted <= set(sight.known)


def test_a_pull_stopped_after_every_single_record_comes_to_its_end(fresh: Sandbox) -> None:
    ids = history(fresh, 4, messages=2)
    sight = Sight(fresh.adapter(page_rows=1))
    sight.finish()
    sight.finish()
    assert len([ref for ref in sight.known if ref.object == "message"]) == len(ids["messages"])


def test_what_moves_during_the_first_walk_is_in_the_next_window(fresh: Sandbox) -> None:
    ids = history(fresh, 40)
    sight = Sight(fresh.adapter())
    sight.look(pages=12)
    late = ChatwootWorld(fresh).write("One more", source_id="h0", conversation=ids["conversations"]["v0"])
    sight.finish()
    sight.look()
    assert message_ref(late) in sight.known


def test_a_long_conversation_is_read_whole_and_in_order(fresh: Sandbox) -> None:
    ids = history(fresh, 1, messages=2300)
    stream = fresh.adapter(page_rows=500).pull("conversations", Window())
    seen = [o for page in stream for o in page.observed]
    numbers = [int(o.ref.id.partition("-")[2]) for o in seen if o.kind is Kind.MESSAGE]
    assert numbers == sorted(ids["messages"].values())
    assert [o.kind for o in seen[:3]] == [Kind.PERSON, Kind.IDENTITY, Kind.CONVERSATION]


def test_a_long_conversation_goes_on_where_the_reading_stopped(fresh: Sandbox) -> None:
    ids = history(fresh, 1, messages=2300)
    sight = Sight(fresh.adapter(page_rows=500))
    sight.finish()
    shown = [ref for ref in sight.order if ref.object == "message"]
    assert {int(ref.id.partition("-")[2]) for ref in shown} == set(ids["messages"].values())
    # The recheck then looks at the newest ones once more; the reading itself shows none twice.
    read = shown[: len(ids["messages"])]
    assert len(read) == len(set(read))


def test_a_minute_without_news_costs_two_calls(fresh: Sandbox) -> None:
    history(fresh, 5)
    sight = Sight(fresh.adapter())
    sight.look()
    before = sight.adapter.usage().calls
    since = sight.cursors["conversations"].watermark
    assert [page.observed for page in sight.adapter.pull("conversations", Window(since))] == [()]
    assert sight.adapter.usage().calls - before == 2


# ---- who writes in a conversation -------------------------------------------------------------------------------------


def test_another_customer_in_the_same_conversation_is_known_before_the_message(fresh: Sandbox) -> None:
    people = [
        {"key": key, "name": key.title(), "identities": [{"inbox": "Line", "source_id": key}]} for key in ("ann", "bob")
    ]
    lines = [
        {"key": "m1", "type": "incoming", "text": "Mine is late", "at": 1_760_000_000, "sender": "ann"},
        {"key": "m2", "type": "incoming", "text": "Mine too", "at": 1_760_000_060, "sender": "bob"},
    ]
    row = {"key": "v", "inbox": "Line", "contact": "ann", "messages": lines}
    ids = fresh.control("import", contacts=people, conversations=[row])
    sight = Sight(fresh.adapter())
    sight.look()
    bob = Ref("chatwoot", "person", str(ids["contacts"]["bob"]))
    second = Ref("chatwoot", "message", f"{ids['conversations']['v']}-{ids['messages']['m2']}")
    assert sight.known[second]["person"] == str(bob)
    assert sight.order.index(bob) < sight.order.index(second)


def test_a_reply_written_in_the_networks_own_app_is_outbound_by_nobody_we_know(
    world: ChatwootWorld, sight: Sight
) -> None:
    ids = world.write("Hello")
    echo = world.sandbox.control("echo", conversation=ids["conversation_id"], text="From my phone")
    sight.look()
    seen = sight.life[message_ref(echo)]
    assert (seen.fields["direction"], seen.fields["author_type"], seen.ours, seen.token) == (
        "outbound",
        "app",
        False,
        None,
    )


# ---- writes -----------------------------------------------------------------------------------------------------------


def write(world: ChatwootWorld, ref: Ref, **fields: Any) -> Any:
    given = {name.replace("attributes_", "attributes."): value for name, value in fields.items()}
    return world.adapter.upsert([Write(Kind(ref.object), ref.object, given, ref)])[0]


def test_every_conversation_field_is_written_and_read_back(world: ChatwootWorld) -> None:
    ref = world.conversation()
    email = world.adapter.users()[0].email
    wanted = {
        "status": "pending",
        "priority": "high",
        "assignee": email,
        "tags": ["nl", "vip"],
        "attributes.case": "C-1",
    }
    told = receipt(world.adapter.upsert([Write(Kind.CONVERSATION, "conversation", wanted, ref)])[0])
    assert told.fields is not None
    assert {name: told.fields[name] for name in wanted} == wanted


def test_priority_and_assignee_can_be_taken_away(world: ChatwootWorld) -> None:
    ref = world.conversation()
    write(world, ref, priority="high", assignee=world.adapter.users()[0].email)
    told = receipt(write(world, ref, priority=None, assignee=None)).fields or {}
    assert (told["priority"], told["assignee"]) == (None, None)


def test_writing_one_conversation_attribute_keeps_the_others(world: ChatwootWorld) -> None:
    ref = world.conversation()
    write(world, ref, attributes_case="C-1", attributes_order="O-7")
    told = receipt(write(world, ref, attributes_case="C-2")).fields or {}
    assert (told["attributes.case"], told["attributes.order"]) == ("C-2", "O-7")


def test_writing_one_contact_attribute_keeps_the_others(world: ChatwootWorld) -> None:
    ref = world.add_person(unique("Attributes"))
    write(world, ref, attributes_tier="gold", attributes_since="2020", company="De Boer BV")
    told = receipt(write(world, ref, attributes_tier="silver", city="Utrecht")).fields or {}
    assert (told["attributes.tier"], told["attributes.since"]) == ("silver", "2020")
    assert (told["company"], told["city"]) == ("De Boer BV", "Utrecht")


def test_an_unknown_assignee_is_refused_and_the_present_one_stays(world: ChatwootWorld) -> None:
    ref, email = world.conversation(), world.adapter.users()[0].email
    write(world, ref, assignee=email)
    refused = write(world, ref, status="resolved", assignee="nobody@shop.example")
    assert isinstance(refused, Rejected)
    assert refused.fields == ("assignee",)
    shown = world.adapter.fetch([ref])[0].fields
    assert (shown["assignee"], shown["status"]) == (email, "open")


def test_a_field_that_only_chatwoot_sets_is_refused_before_any_call(world: ChatwootWorld) -> None:
    ref = world.conversation()
    assert isinstance(write(world, ref, status="resolved", network="twitter"), SchemaDrift)
    assert world.adapter.fetch([ref])[0].fields["status"] == "open"


def test_a_new_last_name_is_put_into_the_one_name(world: ChatwootWorld) -> None:
    ref = world.add_person("Jet de Boer")
    told = receipt(write(world, ref, last_name="Bakker")).fields or {}
    assert told["name"] == "Jet de Bakker"


def test_an_address_taken_by_another_contact_is_refused_by_field(world: ChatwootWorld) -> None:
    email = f"{unique('taken')}@mail.example"
    world.add_person(unique("Owner"), email=email)
    refused = write(world, world.add_person(unique("Other")), email=email.upper())
    assert isinstance(refused, Rejected)
    assert refused.fields == ("email",)


# ---- webhooks ---------------------------------------------------------------------------------------------------------


@contextmanager
def receiver() -> Iterator[tuple[str, queue.Queue[tuple[dict[str, str], bytes]]]]:
    """An HTTP server that keeps the webhooks it gets: its address and the queue."""
    got: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hooks", got
        server.shutdown()
        thread.join()


def test_a_webhook_of_the_server_itself_is_accepted_and_names_the_message(fresh: Sandbox) -> None:
    with receiver() as (url, got):
        hook = fresh.api("POST", "/webhooks", url=url, subscriptions=list(EVENTS))["payload"]["webhook"]
        adapter = fresh.adapter(webhook_secret=hook["secret"])
        ids = ChatwootWorld(fresh).write("Hello")
        refs: set[Ref] = set()
        while message_ref(ids) not in refs:
            headers, body = got.get(timeout=20)
            refs |= {hint.ref for hint in adapter.hints(headers, body)}
    assert conversation_ref(ids) in refs
    assert adapter.fetch([message_ref(ids)])[0].fields["text"] == "Hello"
