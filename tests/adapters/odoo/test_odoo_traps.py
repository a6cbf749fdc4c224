"""The eleven traps that real servers of Odoo set (found by measuring 14 and 19), in their order. Each test first shows that
the trap is there, by plain calls, and then that the adapter does not step into it."""

import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
import requests
from faulty import Fault
from odoo_server import NOOR, OdooError

from connector.adapters import http
from connector.adapters.base import Lookup, ObjectRead, Page, Window, Write
from connector.adapters.odoo.transport import Client, Door
from connector.errors import RecordGone, Rejected, SchemaDrift, Transient, Unreadable
from connector.model import Kind, Life, Observed, Receipt, Ref

LONG = timedelta(minutes=2)
"""How long a worker of Odoo may run, and so how old a stamp can be when its row becomes visible."""
QUIET = {"tracking_disable": True, "mail_create_nolog": True}


def pages(desk, since: datetime | None, stream: str = "changes", linked: tuple[Ref, ...] = ()) -> list[Page]:
    """One window, stopped and gone on with after every page."""
    told: list[Page] = []
    while not told or told[-1].resume:
        window = Window(since, told[-1].resume if told else None, linked=lambda after, _limit: () if after else linked)
        told.append(next(iter(desk.adapter.pull(stream, window))))
    return told


def pulled(desk, since: datetime | None) -> dict[Ref, Observed]:
    return {one.ref: one for page in pages(desk, since) for one in page.observed}


def now(desk) -> datetime:
    """The server's time, from which on a pull shows what is done next."""
    (page,) = pages(desk, None, "gone")
    return page.watermark


def overlap(desk) -> timedelta:
    return next(one.overlap for one in desk.adapter.capabilities.streams if one.name == "changes")


def message_id(answer) -> int:
    """The id in an answer of `message_post`, whichever way this version tells it."""
    return answer[0] if isinstance(answer, list) else answer


def stamp_of(desk, table: str, id_: int) -> datetime:
    """`write_date` with its microseconds, which Odoo does not tell."""
    with psycopg.connect(desk.server.database_uri) as db:
        row = db.execute(f"SELECT write_date FROM {table} WHERE id = %s", (id_,)).fetchone()
    return row[0]


def raw(desk, path: str, *, kind: str = "application/json", **body) -> requests.Response:
    """A call of JSON-2 by hand."""
    headers = {"Authorization": f"bearer {desk.server.bot_key}", "Content-Type": kind}
    return requests.post(f"{desk.server.url}/json/2/{path}", json=body, headers=headers, timeout=60)


@contextmanager
def another_worker(desk, name: str, age: timedelta) -> Iterator[tuple[psycopg.Connection, Ref]]:
    """A transaction that began so long ago, stamped its row then, and has not committed yet."""
    shown = "complete_name" if desk.server.version >= 17 else "display_name"
    columns = f"name, {shown}, active, type, create_uid, write_uid, create_date, write_date"
    stamps = "now() AT TIME ZONE 'UTC' - %(age)s, now() AT TIME ZONE 'UTC' - %(age)s"
    with psycopg.connect(desk.server.database_uri) as db:
        made = db.execute(
            f"INSERT INTO res_partner ({columns}) VALUES (%(name)s, %(name)s, true, 'contact', 2, 2, {stamps}) RETURNING id",
            {"name": name, "age": age},
        ).fetchone()
        yield db, Ref("odoo", "res.partner", str(made[0]))


# ---- 1 and 2: what a poll sees ---------------------------------------------------------------------------------------


def test_trap_01_a_row_committed_after_the_poll_under_an_older_stamp_is_shown_by_the_next_pull(either):
    with another_worker(either, "Late", LONG) as (db, late):
        punctual = either.person("Punctual")
        first = pages(either, now(either) - overlap(either))
        seen = {one.ref: one for page in first for one in page.observed}
        assert punctual in seen
        assert late not in seen
        db.commit()
    newest = seen[punctual].version
    assert int(late.id) not in [row["id"] for row in either.rows("res.partner", [["write_date", ">", newest]], "name")]
    watermark = first[-1].watermark
    assert late not in pulled(either, watermark)
    assert late in pulled(either, watermark - overlap(either))


def test_trap_02_a_thousand_rows_with_one_stamp_are_all_read(either):
    since = now(either)
    made = either.human("res.partner", "create", [{"name": f"Row {number}"} for number in range(1050)], context=QUIET)
    stamps = {row["write_date"] for row in either.rows("res.partner", [["id", "in", made]], "write_date")}
    assert len(stamps) == 1
    read = pages(either, since)
    assert len([page for page in read if any(one.ref.object == "res.partner" for one in page.observed)]) > 1
    seen = [one.ref for page in read for one in page.observed]
    assert {Ref("odoo", "res.partner", str(id_)) for id_ in made} <= set(seen)
    assert len(seen) == len(set(seen))


# ---- 3: times --------------------------------------------------------------------------------------------------------


def test_trap_03_a_comparison_that_differs_between_versions_loses_no_row(either):
    person = either.person("Tie")
    (row,) = either.rows("res.partner", [["id", "=", int(person.id)]], "write_date")
    told = row["write_date"]
    found = {
        operator: bool(either.rows("res.partner", [["id", "=", row["id"]], ["write_date", operator, told]], "id"))
        for operator in (">", "=")
    }
    assert found == ({">": False, "=": True} if either.server.version >= 19 else {">": True, "=": False})
    assert person in pulled(either, datetime.fromisoformat(f"{told}+00:00"))


def test_trap_03_a_time_of_ours_is_never_sent_as_it_is(desk):
    answer = raw(desk, "res.partner/search", domain=[["write_date", ">=", "2026-01-02T03:04:05Z"]])
    assert (answer.status_code, answer.json()["name"]) == (500, "builtins.ValueError")
    person = desk.person("Timed")
    assert person in pulled(desk, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05Z"])
def test_trap_03_a_time_is_written_and_read_as_it_is_meant(either, text):
    person = either.person("Dated")
    with pytest.raises(OdooError, match=r"builtins\.ValueError"):
        either.bot("res.partner", "message_post", [int(person.id)], body="Hello", date=text)
    (made,) = either.upsert(either.note(person, either.message_id(), date=text))
    (row,) = either.rows("mail.message", [["id", "=", int(made.ref.id)]], "date")
    assert row["date"] == "2026-01-02 03:04:05"
    assert either.fetch(made.ref).fields["date"] == "2026-01-02T03:04:05Z"


# ---- 4 and 5: messages -----------------------------------------------------------------------------------------------


def test_trap_04_a_body_is_kept_as_it_is_meant_and_the_receipt_names_its_message(either):
    person, new = either.person("Reader"), either.server.version >= 19
    posted = either.bot("res.partner", "message_post", [int(person.id)], body="1 < 2 & <b>bold</b>")
    assert isinstance(posted, list) is new
    (row,) = either.rows("mail.message", [["id", "=", message_id(posted)]], "body")
    assert ("&lt;b&gt;" in row["body"]) is new
    key, body = either.message_id(), "<p>1 &lt; 2 &amp; <b>bold</b></p>"
    (made,) = either.upsert(either.note(person, key, body=body))
    assert either.rows("mail.message", [["message_id", "=", key]], "body") == [{"id": int(made.ref.id), "body": body}]
    assert either.fetch(made.ref).parent == person


def test_trap_04_an_author_without_an_address_is_kept(either):
    author = either.person("No Address")
    posting = {"body": "Hello", "author_id": int(author.id)}
    if either.server.version < 19:
        with pytest.raises(OdooError, match="configure the sender's email address"):
            either.bot("res.partner", "message_post", [int(author.id)], **posting)
    else:
        assert either.bot("res.partner", "message_post", [int(author.id)], **posting)
    (made,) = either.upsert(either.note(author, either.message_id(), author_id=author.id))
    assert either.fetch(made.ref).fields["author_id"] == author.id


def test_trap_04_a_message_of_somebody_who_is_no_contact_is_not_put_down_to_the_connector(either):
    person = either.person("Reader")
    posted = either.bot("res.partner", "message_post", [int(person.id)], body="Hello")
    (row,) = either.rows("mail.message", [["id", "=", message_id(posted)]], "author_id")
    assert row["author_id"][0] == either.bot.partner
    (made,) = either.upsert(either.note(person, either.message_id(), email_from="someone@mail.example"))
    (row,) = either.rows("mail.message", [["id", "=", int(made.ref.id)]], "author_id", "email_from")
    assert (row["author_id"], row["email_from"]) == (False, "someone@mail.example")


def test_trap_05_a_message_on_a_followed_contact_mails_nobody(either):
    person = either.person("Followed")
    noor = either.server.person(NOOR).partner
    either.human("res.partner", "message_subscribe", [int(person.id)], partner_ids=[noor])
    before = either.mails()
    comment = {"body": "Hello", "message_type": "comment", "subtype_xmlid": "mail.mt_comment"}
    either.bot("res.partner", "message_post", [int(person.id)], **comment)
    assert either.mails() == before + 1
    made, plain = either.upsert(
        either.note(person, either.message_id()), either.note(person, either.message_id(), author_id=person.id)
    )
    assert either.mails() == before + 1
    ids = [int(made.ref.id), int(plain.ref.id)]
    assert either.human("mail.notification", "search_count", [["mail_message_id", "in", ids]]) == 0


# ---- 6: load ---------------------------------------------------------------------------------------------------------


def test_trap_06_one_bad_row_does_not_harm_the_others_and_says_what_is_wrong(either):
    columns, keys = ["id", "name", "type"], [either.unique("load") for _ in range(4)]
    told = either.bot("res.partner", "load", columns, [["x.one", "Good", "contact"], ["x.two", "Bad", "nonsense"]])
    assert told["ids"] is False
    assert either.rows("res.partner", [["name", "=", "Good"]], "id") == []
    rows = [("Ana", "contact"), ("", "contact"), ("Bo", "nonsense"), ("Cem", "other")]
    results = either.adapter.upsert(
        [either.keyed(key, name=name, type=type_) for key, (name, type_) in zip(keys, rows, strict=True)]
    )
    assert [type(result) for result in results] == [Receipt, Rejected, Rejected, Receipt]
    assert "name" in str(results[1])
    assert (results[2].fields, "nonsense" in str(results[2])) == (("type",), True)
    assert [either.fetch(results[place].ref).fields["name"] for place in (0, 3)] == ["Ana", "Cem"]


def test_trap_06_an_external_id_makes_one_record_and_an_empty_cell_wipes_only_its_own_field(either):
    either.bot("res.partner", "load", ["id", "name", "email"], [["x.wipe", "Ana", "ana@mail.example"]])
    (id_,) = either.bot("res.partner", "load", ["id", "email"], [["x.wipe", ""]])["ids"]
    assert either.rows("res.partner", [["id", "=", id_]], "name", "email") == [
        {"id": id_, "name": "Ana", "email": False}
    ]
    key = either.unique("load")
    values = {"name": "Ana", "email": "ana@mail.example", "phone": "12", "function": "Baker"}
    (made,) = either.upsert(either.keyed(key, **values))
    (again,) = either.upsert(either.keyed(key, email=None))
    assert (again.ref, made.created, again.created) == (made.ref, True, False)
    shown = either.fetch(made.ref).fields
    assert {name: shown[name] for name in values} == {**values, "email": None}
    assert shown["external_id"] == key


def test_trap_06_an_update_of_many_empties_only_the_given_fields(either):
    people = [either.person("Ana", email="ana@mail.example", phone="12") for _ in range(3)]
    either.upsert(*[Write(Kind.PERSON, "res.partner", {"email": None}, one) for one in people])
    shown = [seen.fields for seen in either.adapter.fetch(people)]
    assert [(one["email"], one["phone"]) for one in shown] == [(None, "12")] * 3


def test_trap_06_equal_values_make_a_new_stamp_which_is_shown_as_our_own(either):
    key = either.unique("load")
    (made,) = either.upsert(either.keyed(key, name="Ana"))
    id_ = int(made.ref.id)
    first, since = stamp_of(either, "res_partner", id_), now(either)
    either.upsert(either.keyed(key, name="Ana"))
    assert stamp_of(either, "res_partner", id_) > first
    assert pulled(either, since)[made.ref].ours is True


# ---- 7 and 8: duplicates and merges ----------------------------------------------------------------------------------


def test_trap_07_the_same_message_id_makes_one_message(either):
    person, theirs, ours = either.person("Reader"), either.message_id(), either.message_id()
    values = {"model": "res.partner", "res_id": int(person.id), "body": "Hello", "message_id": theirs}
    for _ in range(2):
        either.bot("mail.message", "create", [values])
    twice = either.rows("mail.message", [["message_id", "=", theirs]], "id")
    assert len(twice) == 2
    (first,), (second,) = (
        either.upsert(either.note(person, ours)),
        either.upsert(either.note(person, ours, body="Anew")),
    )
    assert (first.ref, first.created, second.created) == (second.ref, True, False)
    (row,) = either.rows("mail.message", [["message_id", "=", ours]], "body")
    assert "Anew" in row["body"]
    # Two that stand there already are never made three, and it is always the same one that is written.
    (kept,) = either.upsert(either.note(person, theirs, body="Anew"))
    assert (kept.ref.id, kept.created) == (str(twice[0]["id"]), False)
    assert len(either.rows("mail.message", [["message_id", "=", theirs]], "id")) == 2


def test_trap_07_the_same_message_id_twice_in_one_batch_makes_one_message(either):
    person, key = either.person("Reader"), either.message_id()
    first, second = either.upsert(either.note(person, key, body="Old"), either.note(person, key, body="New"))
    assert (first.ref, first.created, second.created) == (second.ref, True, False)
    (row,) = either.rows("mail.message", [["message_id", "=", key]], "body")
    assert "New" in row["body"]


def test_trap_08_after_a_merge_the_messages_and_the_key_are_the_winners(either):
    key, winner = either.unique("merge"), either.person("Winner")
    (made,) = either.upsert(either.keyed(key, name="Loser"))
    loser = made.ref
    (note,) = either.upsert(either.note(loser, either.message_id()))
    assert either.fetch(note.ref).parent == loser
    before, since = stamp_of(either, "mail_message", int(note.ref.id)), now(either)
    either.server.merge(int(loser.id), int(winner.id))
    assert either.rows("res.partner", [["id", "=", int(loser.id)]], "id") == []
    (row,) = either.rows("mail.message", [["id", "=", int(note.ref.id)]], "res_id")
    assert row["res_id"] == int(winner.id)
    assert stamp_of(either, "mail_message", int(note.ref.id)) > before
    assert [seen.life for seen in either.adapter.fetch([loser, winner])] == [Life.GONE, Life.LIVE]
    (page,) = pages(either, since, "gone", (loser, winner, note.ref))
    assert [(seen.ref, seen.life) for seen in page.observed] == [(loser, Life.GONE)]
    assert pulled(either, since)[note.ref].parent == winner
    ((found,),) = either.adapter.find([Lookup("res.partner", "external_id", key)])
    assert found.ref == winner
    (again,) = either.upsert(either.keyed(key, phone="12"))
    assert (again.ref, again.created) == (winner, False)


# ---- 9: errors -------------------------------------------------------------------------------------------------------


def test_trap_09_a_field_that_is_not_there_is_schema_drift_and_is_not_tried_again(desk):
    person = desk.person("Known")
    answer = raw(desk, "res.partner/write", ids=[int(person.id)], vals={"no_such_field": "x"})
    assert answer.status_code == 500
    desk.watched.describe("res.partner")
    with desk.watching() as called:
        (result,) = desk.watched.upsert([Write(Kind.PERSON, "res.partner", {"no_such_field": "x"}, person)])
    assert (type(result), result.certain, called) == (SchemaDrift, True, ["write"])


def test_trap_09_a_field_that_is_not_there_is_schema_drift_in_every_way_of_writing(either):
    person, field = either.person("Known"), {"no_such_field": "x"}
    results = either.adapter.upsert(
        [
            Write(Kind.PERSON, "res.partner", field, person),
            either.keyed(either.unique("drift"), name="Ana", **field),
            Write(Kind.PERSON, "res.partner", {"name": "Ana", **field}),
            either.note(person, either.message_id(), **field),
        ]
    )
    assert [type(result) for result in results] == [SchemaDrift] * 4
    with pytest.raises(SchemaDrift):
        either.adapter.find([Lookup("res.partner", "no_such_field", "x")])


def test_trap_09_a_page_instead_of_an_answer_is_unreadable_and_uncertain(desk):
    answer = raw(desk, "res.partner/search", kind="text/plain", domain=[])
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (415, "text/html")
    with http.Session(partial(datetime.now, UTC), read=60) as session:
        session.headers["Content-Type"] = "text/plain"
        door = Door(desk.server.url, desk.server.database, desk.server.bot, desk.server.bot_key, session)
        with pytest.raises(Unreadable) as caught:
            Client(door, lambda _seconds: None).read("res.partner", "search", domain=[])
    assert (caught.value.code, caught.value.certain) == ("415", False)


def test_trap_09_a_record_that_answers_nothing_is_gone(either):
    person, other = either.person("Leaver"), either.person("Stayer")
    either.human("res.partner", "unlink", [int(person.id)])
    assert either.bot("res.partner", "read", [int(person.id)], ["name"]) == []
    assert [seen.life for seen in either.adapter.fetch([other, person])] == [Life.LIVE, Life.GONE]
    gone = Write(Kind.PERSON, "res.partner", {"name": "Ghost"}, person)
    (alone,) = either.adapter.upsert([gone])
    assert isinstance(alone, RecordGone)
    together = either.adapter.upsert([gone, Write(Kind.PERSON, "res.partner", {"name": "Still here"}, other)])
    assert [type(result) for result in together] == [RecordGone, Receipt]


def test_trap_09_a_record_that_is_gone_is_told_apart_by_its_status_too(desk):
    person = desk.person("Leaver")
    desk.human("res.partner", "unlink", [int(person.id)])
    assert (raw(desk, "res.partner/read", ids=[int(person.id)], fields=["name"]).json()) == []
    assert raw(desk, "res.partner/write", ids=[int(person.id)], vals={"name": "x"}).status_code == 404
    (result,) = desk.adapter.remove([Write(Kind.PERSON, "res.partner", {}, person)])
    assert result == Receipt(person)


# ---- 10: what differs from version to version ------------------------------------------------------------------------


def activity(desk, at: Ref, key: str, **fields) -> Write:
    """A task for Noor."""
    (noor,) = desk.rows("res.users", [["login", "=", NOOR]], "id")
    values = {
        "res_model_id": "base.model_res_partner",
        "res_id": at.id,
        "activity_type_id": "mail.mail_activity_data_todo",
        "summary": "Call back",
        "user_id": str(noor["id"]),
        **fields,
    }
    return Write(Kind.MESSAGE, "mail.activity", values, key=("external_id", key))


def test_trap_10_a_field_that_this_version_lacks_does_not_keep_the_others_from_being_read(either):
    person = either.person("Mobile", email="mobile@mail.example")
    lacks = either.server.version >= 19
    if lacks:
        with pytest.raises(OdooError, match="Invalid field 'mobile'"):
            either.bot("res.partner", "read", [int(person.id)], ["email", "mobile"])
    shown = either.fetch(person).fields
    assert shown["email"] == "mobile@mail.example"
    assert ("mobile" in shown) is not lacks
    assert ("mobile" in either.adapter.describe("res.partner").fields) is not lacks


def test_trap_10_an_activity_is_made_for_a_colleague_without_reading_the_list_of_models(either):
    if either.server.version >= 19:
        with pytest.raises(OdooError, match="AccessError"):
            either.bot("ir.model", "search", [["model", "=", "res.partner"]])
    person, key = either.person("Busy"), either.unique("activity")
    (made,) = either.upsert(activity(either, person, key))
    (again,) = either.upsert(activity(either, person, key, summary="Call again"))
    assert (again.ref, made.created, again.created) == (made.ref, True, False)
    at = [["res_model", "=", "res.partner"], ["res_id", "=", int(person.id)]]
    (row,) = either.rows("mail.activity", at, "summary", "user_id")
    assert (row["id"], row["summary"], row["user_id"][1]) == (int(made.ref.id), "Call again", "Noor Haddad")
    shown = either.fetch(made.ref).fields
    assert (shown["external_id"], shown["done"]) == (key, False)


def test_trap_10_an_activity_stands_below_its_contact(either):
    person = either.person("Busy")
    (made,) = either.upsert(activity(either, person, either.unique("activity")))
    assert either.fetch(made.ref).parent == person


def test_trap_10_a_finished_activity_is_done(either):
    person = either.person("Busy")
    (made,) = either.upsert(activity(either, person, either.unique("activity")))
    (done,) = either.upsert(Write(Kind.MESSAGE, "mail.activity", {"done": True}, made.ref))
    assert done == Receipt(made.ref)
    rows = either.rows("mail.activity", [["id", "=", int(made.ref.id)]], *(["active"] * (either.server.version >= 19)))
    if either.server.version >= 19:
        assert rows == [{"id": int(made.ref.id), "active": False}]
        assert either.fetch(made.ref).life is Life.LIVE
    else:
        assert rows == []
        assert either.fetch(made.ref).life is Life.GONE


def test_trap_10_a_finished_activity_that_is_kept_is_shown_as_done(desk):
    (made,) = desk.upsert(activity(desk, desk.person("Busy"), desk.unique("activity")))
    since = now(desk)
    desk.upsert(Write(Kind.MESSAGE, "mail.activity", {"done": True}, made.ref))
    assert desk.fetch(made.ref).fields["done"] is True
    assert pulled(desk, since)[made.ref].fields["done"] is True


def test_trap_10_each_record_of_a_page_shows_its_own_external_id(either):
    """Up to 15 `get_metadata` tells the external id of only one of many records."""
    keys = [either.unique("page") for _ in range(3)]
    made = either.upsert(*[either.keyed(key, name=key) for key in keys])
    told = either.bot("res.partner", "get_metadata", [int(one.ref.id) for one in made])
    assert len([row for row in told if row["xmlid"]]) == (3 if either.server.version >= 19 else 1)
    assert [seen.fields["external_id"] for seen in either.adapter.fetch([one.ref for one in made])] == keys


def test_trap_10_a_message_shows_the_name_of_its_subtype(either):
    (note,) = either.upsert(either.note(either.person("Reader"), either.message_id()))
    assert either.fetch(note.ref).fields["subtype_id"] == "mail.mt_note"


# ---- 11: methods that return nothing ---------------------------------------------------------------------------------


def test_trap_11_a_method_that_returns_nothing_is_no_error(either):
    person = either.person("Archived")
    (bot,) = either.rows("res.users", [["login", "=", either.server.bot]], "id")
    old = xmlrpc.client.ServerProxy(f"{either.server.url}/xmlrpc/2/object")
    login = (either.server.database, bot["id"], either.server.bot_key)
    with old, pytest.raises(xmlrpc.client.Fault):
        old.execute_kw(*login, "res.partner", "toggle_active", [[int(person.id)]])

    def active() -> bool:
        (row,) = either.rows("res.partner", [["id", "=", int(person.id)]], "active")
        return row["active"]

    assert not active(), "the fault came after the commit"
    for transport in ("json2", "jsonrpc") if either.server.version >= 19 else ("jsonrpc",):
        before = active()
        with http.Session(partial(datetime.now, UTC), read=60) as session:
            door = Door(either.server.url, either.server.database, either.server.bot, either.server.bot_key, session)
            client = Client(door, lambda _seconds: None, transport)
            assert client.write("res.partner", "toggle_active", ids=[int(person.id)]) is None
        assert active() is not before


@pytest.mark.parametrize(("fields", "certain"), [({"summary": "x", "done": True}, False), ({"done": True}, True)])
def test_trap_11_a_task_that_cannot_be_finished_for_now_is_in_doubt_when_it_was_changed(desk, fields, certain):
    (made,) = desk.upsert(activity(desk, desk.person("Busy"), desk.unique("activity")))
    limit = Fault(reaches=False, answer="page", status=429)
    with (
        desk.proxy.meeting(lambda call: limit if "action_feedback" in call.path else None),
        pytest.raises(Transient) as caught,
    ):
        desk.watched.upsert([Write(Kind.MESSAGE, "mail.activity", fields, made.ref)])
    assert caught.value.certain is certain


def test_trap_11_a_task_without_a_summary_of_what_was_done_is_finished_through_both_transports(desk):
    for transport in ("json2", "jsonrpc"):
        reads = {"mail.activity": ObjectRead(Kind.MESSAGE, ("summary",), parent="res_id")}
        (made,) = desk.upsert(activity(desk, desk.person("Busy"), desk.unique("activity")))
        adapter = desk.another(transport, reads=reads)
        assert adapter.upsert([Write(Kind.MESSAGE, "mail.activity", {"done": True}, made.ref)]) == [Receipt(made.ref)]


def test_a_window_that_was_broken_off_at_a_model_which_the_mapping_dropped_since_shows_the_others(desk):
    since = now(desk)
    (note,) = desk.upsert(desk.note(desk.person("Broken off"), desk.message_id()))
    (first, *_) = pages(desk, since)
    # With the mapping of then, the conversations were between the contacts and the messages.
    window = Window(since, first.resume.replace("mail.message", "crm.lead"))
    read = list(desk.adapter.pull("changes", window))
    assert note.ref in {one.ref for page in read for one in page.observed}
    assert read[-1].watermark
