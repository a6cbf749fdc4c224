"""Writing to a real Odoo when something goes wrong in between: refused rows, lost answers, odd answers, hidden records."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import responses

from connector.adapters.base import ObjectRead, Window, Write
from connector.adapters.odoo import Odoo
from connector.errors import AuthError, RecordGone, Rejected, RemoteError, Transient, Unreadable
from connector.model import Kind, Life, Receipt, Ref


def dead(desk) -> Ref:
    """A person who is no more."""
    person = desk.person("Leaver")
    desk.human("res.partner", "unlink", [int(person.id)])
    return person


def tags_of(desk, ref: Ref) -> list[str]:
    (row,) = desk.rows("res.partner", [["id", "=", int(ref.id)]], "category_id")
    return sorted(one["name"] for one in desk.rows("res.partner.category", [["id", "in", row["category_id"]]], "name"))


def once(method: str, fault: str):
    """The first call of this method meets the fault, the later ones do not."""
    met: list[str] = []

    def spoil(called: str) -> str | None:
        if called != method or met:
            return None
        met.append(called)
        return fault

    return spoil


# ---- refused rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{17}, {0, 29}, {3, 4, 5, 20}], ids=["in the middle", "at the edges", "some"])
def test_refused_messages_in_a_batch_of_thirty_do_not_harm_the_others(desk, bad):
    person, gone = desk.person("Reader"), dead(desk)
    keys = [desk.message_id() for _ in range(30)]
    writes = [desk.note(gone if at in bad else person, key, body=f"Line {at}") for at, key in enumerate(keys)]
    results = desk.adapter.upsert(writes)
    assert {at for at, result in enumerate(results) if not isinstance(result, Receipt)} == bad
    assert all(isinstance(results[at], RecordGone) and results[at].certain for at in bad)
    rows = {row["id"]: row for row in desk.rows("mail.message", [["message_id", "in", keys]], "message_id", "body")}
    assert len(rows) == 30 - len(bad)
    for at, result in enumerate(results):
        if isinstance(result, Receipt):
            row = rows[int(result.ref.id)]
            assert (row["message_id"], f"Line {at}<" in row["body"]) == (keys[at], True)


def test_refused_rows_of_every_way_of_writing_keep_their_places(desk):
    person, gone = desk.person("Known"), dead(desk)
    results = desk.adapter.upsert(
        [
            desk.keyed(desk.unique("way"), name="Good", type="nonsense"),
            Write(Kind.PERSON, "res.partner", {"name": "Renamed"}, person),
            desk.note(gone, desk.message_id()),
            Write(Kind.PERSON, "res.partner", {"name": "No key", "type": "nonsense"}),
            desk.keyed(desk.unique("way"), name="Good"),
            Write(Kind.PERSON, "res.partner", {"name": "Ghost"}, gone),
            desk.note(person, desk.message_id()),
            Write(Kind.PERSON, "res.partner", {"name": "No key"}),
        ]
    )
    kinds = [result.ref.object if isinstance(result, Receipt) else type(result) for result in results]
    assert kinds[:3] == [Rejected, "res.partner", RecordGone]
    assert issubclass(kinds[3], RemoteError)
    assert kinds[4:] == ["res.partner", RecordGone, "mail.message", "res.partner"]
    assert results[1] == Receipt(person)


def test_a_row_whose_link_means_no_record_is_refused_alone(desk):
    person = desk.person("Known")
    results = desk.adapter.upsert(
        [
            desk.note(person, desk.message_id()),
            desk.note(person, desk.message_id(), subtype_id="mail.no_such_subtype"),
            desk.note(person, desk.message_id()),
        ]
    )
    assert [type(result) for result in results] == [Receipt, Rejected, Receipt]
    assert "mail.no_such_subtype" in str(results[1])


# ---- lost answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost_answer", "lost_request", "html"])
def test_messages_whose_answer_was_lost_are_made_once(desk, fault):
    person = desk.person("Reader")
    keys = [desk.message_id() for _ in range(5)]
    writes = [desk.note(person, key) for key in keys]
    with desk.watching(once("create", fault)), pytest.raises(RemoteError) as caught:
        desk.watched.upsert(writes)
    assert isinstance(caught.value, Unreadable if fault == "html" else Transient)
    assert not caught.value.certain
    with desk.watching() as called:
        results = desk.watched.upsert(writes)
    assert called[0] == "search_read", "they are looked for first"
    assert [result.created for result in results] == [fault != "lost_answer"] * 5
    rows = desk.rows("mail.message", [["message_id", "in", keys]], "message_id")
    assert {row["message_id"]: str(row["id"]) for row in rows} == {
        key: result.ref.id for key, result in zip(keys, results, strict=True)
    }
    assert len(rows) == 5


def test_after_a_lost_answer_the_rest_is_not_sent_and_certainly_not_done(desk):
    person, key = desk.person("Known"), desk.unique("rest")
    writes = [
        desk.keyed(key, name="Never sent"),
        Write(Kind.PERSON, "res.partner", {"name": "Renamed"}, person),
        desk.note(person, desk.message_id()),
    ]
    desk.watched.describe("mail.message")
    with desk.watching(once("create", "lost_answer")) as called:
        rest, renamed, note = desk.watched.upsert(writes)
    assert "load" not in called
    assert renamed == Receipt(person)
    assert (type(note), note.certain) == (Transient, False)
    assert (type(rest), rest.certain) == (Transient, True)
    assert desk.rows("res.partner", [["name", "=", "Never sent"]], "id") == []


def test_of_records_without_a_key_only_those_sent_are_in_doubt(desk):
    name = desk.unique("Keyless")
    desk.upsert(Write(Kind.PERSON, "res.partner", {"name": name}))
    with desk.watching(once("create", "lost_answer")) as called:
        results = desk.watched.upsert([Write(Kind.PERSON, "res.partner", {"name": name}) for _ in range(3)])
    assert [(type(one), one.certain) for one in results] == [(Transient, False), (Transient, True), (Transient, True)]
    assert called.count("create") == 1
    assert len(desk.rows("res.partner", [["name", "=", name]], "id")) == 2


def test_a_database_that_is_not_there_is_an_error_of_the_login(desk):
    for transport in ("json2", "jsonrpc"):
        adapter = Odoo(
            desk.server.url,
            "nowhere",
            desk.server.bot,
            desk.server.bot_key,
            {},
            clock=lambda: datetime.now(UTC),
            sleep=lambda _seconds: None,
            transport=transport,
        )
        with pytest.raises(AuthError, match="database"):
            adapter.check()
        adapter.close()


# ---- answers of a wrong shape ----------------------------------------------------------------------------------------


@contextmanager
def somebody_else(answers: dict) -> Iterator[Odoo]:
    """An adapter whose server says it is Odoo and answers what it likes, by method."""
    url = "http://odoo.example"
    reads = {"res.partner": ObjectRead(Kind.PERSON, ("name",)), "mail.message": ObjectRead(Kind.MESSAGE, ("body",))}
    fields = {name: {"type": "char"} for name in ("name", "body", "message_id")}
    answers = {"fields_get": fields, "search_read": [], **answers}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as net:
        net.get(f"{url}/web/version", json={"version_info": [19, 0, 0, "final", 0, ""]})
        for model in reads:
            for method, answer in answers.items():
                net.post(f"{url}/json/2/{model}/{method}", json=answer)
        adapter = Odoo(url, "db", "bot", "key", reads, clock=lambda: datetime.now(UTC), sleep=lambda _seconds: None)
        yield adapter
        adapter.close()


def messages(number: int) -> list[Write]:
    return [Write(Kind.MESSAGE, "mail.message", {"body": "x"}, key=("message_id", f"<{n}@x>")) for n in range(number)]


def persons(number: int) -> list[Write]:
    return [Write(Kind.PERSON, "res.partner", {"name": "x"}, key=("external_id", f"key{n}")) for n in range(number)]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "answer", [None, False, True, "done", {}, {"id": 1}, [], [1, 2, 3], ["x", "y"], [[1], [2]]], ids=str
)
def test_an_answer_of_a_wrong_shape_to_create_is_unreadable_and_uncertain(answer, number):
    with somebody_else({"create": answer}) as adapter, pytest.raises(Unreadable) as caught:
        adapter.upsert(messages(number))
    assert not caught.value.certain


@pytest.mark.parametrize(
    "answer",
    [None, "done", [], [1, 2], {}, {"ids": [1]}, {"ids": "12"}, {"ids": ["x", "y"]}, {"ids": False}, {"messages": 1}],
    ids=str,
)
def test_an_answer_of_a_wrong_shape_to_load_is_unreadable_and_uncertain(answer):
    with somebody_else({"load": answer}) as adapter, pytest.raises(Unreadable) as caught:
        adapter.upsert(persons(2))
    assert not caught.value.certain


@pytest.mark.parametrize("answer", [None, {}, "x", [1], [[]]], ids=str)
def test_an_answer_of_a_wrong_shape_to_a_search_is_unreadable(answer):
    with somebody_else({"search_read": answer}) as adapter, pytest.raises(Unreadable):
        adapter.upsert(messages(1))


# ---- tags ------------------------------------------------------------------------------------------------------------


def test_a_new_tag_that_several_rows_name_is_made_once(desk):
    new, old = desk.unique("New tag "), desk.unique("Old tag ")
    desk.human("res.partner.category", "create", {"name": old})
    first, second = desk.unique("tag"), desk.unique("tag")
    person = desk.person("Tagged")
    made = desk.upsert(
        desk.keyed(first, name="Ana", category_id=[new, old]),
        desk.keyed(second, name="Bo", category_id=[new.upper()]),
        Write(Kind.PERSON, "res.partner", {"category_id": [new]}, person),
        Write(Kind.PERSON, "res.partner", {"name": "Cem", "category_id": [old, new]}),
    )
    (tag,) = desk.rows("res.partner.category", [["name", "=ilike", new]], "name")
    (kept,) = desk.rows("res.partner.category", [["name", "=ilike", old]], "name")
    both = sorted((tag["name"], kept["name"]))
    assert [tags_of(desk, one.ref) for one in made] == [both, [tag["name"]], [tag["name"]], both]
    assert [seen.fields["category_id"] for seen in desk.adapter.fetch([one.ref for one in made])] == [
        both,
        [tag["name"]],
        [tag["name"]],
        both,
    ]


def test_a_tag_that_a_person_made_meanwhile_is_used(desk):
    name = desk.unique("Meanwhile ")
    desk.upsert(desk.keyed(desk.unique("tag"), name="Ana", category_id=[desk.unique("Before ")]))
    desk.human("res.partner.category", "create", {"name": name})
    (made,) = desk.upsert(desk.keyed(desk.unique("tag"), name="Bo", category_id=[name]))
    assert tags_of(desk, made.ref) == [name]
    assert len(desk.rows("res.partner.category", [["name", "=", name]], "id")) == 1


@pytest.mark.parametrize("name", ["a, b", "100%", "50 % off", "'\"\\", "نور", "id"])
def test_a_tag_is_taken_literally(desk, name):
    (made,) = desk.upsert(desk.keyed(desk.unique("tag"), name="Ana", category_id=[name, "plain"]))
    assert tags_of(desk, made.ref) == sorted([name, "plain"])


@pytest.mark.parametrize("empty", [[], None], ids=["empty list", "nothing"])
def test_tags_are_emptied_in_every_way_of_writing(desk, empty):
    keys = [desk.unique("tag") for _ in range(3)]
    made = desk.upsert(*[desk.keyed(key, name="Ana", category_id=["x", "y"], phone="12") for key in keys])
    desk.upsert(
        Write(Kind.PERSON, "res.partner", {"category_id": empty}, made[0].ref),
        desk.keyed(keys[1], category_id=empty),
    )
    shown = [seen.fields for seen in desk.adapter.fetch([one.ref for one in made])]
    assert [one["category_id"] for one in shown] == [[], [], ["x", "y"]]
    assert {one["phone"] for one in shown} == {"12"}


# ---- removing, and records that we may not see -----------------------------------------------------------------------


def remove(ref: Ref) -> Write:
    return Write(Kind.PERSON, ref.object, {}, ref)


def rename(ref: Ref) -> Write:
    return Write(Kind.PERSON, ref.object, {"name": "Renamed"}, ref)


def test_present_and_missing_records_are_removed_together(desk):
    present, missing = [desk.person("Present") for _ in range(3)], dead(desk)
    (note,) = desk.upsert(desk.note(desk.person("Reader"), desk.message_id()))
    targets = [
        present[0],
        missing,
        note.ref,
        present[1],
        Ref("odoo", "mail.message", "99999999"),
        present[0],
        present[2],
    ]
    results = desk.adapter.remove([remove(one) for one in targets])
    assert results == [Receipt(one) for one in targets]
    assert {seen.life for seen in desk.adapter.fetch(targets)} == {Life.GONE}


def test_a_record_that_odoo_keeps_is_refused_and_the_others_are_removed(desk):
    first, last = desk.person("Present"), desk.person("Present")
    kept = Ref("odoo", "res.partner", str(desk.bot.partner))
    results = desk.adapter.remove([remove(first), remove(kept), remove(last)])
    assert (results[0], results[2]) == (Receipt(first), Receipt(last))
    assert isinstance(results[1], RemoteError)
    assert [seen.life for seen in desk.adapter.fetch([first, kept, last])] == [Life.GONE, Life.LIVE, Life.GONE]


@contextmanager
def hidden_from_the_bot(desk, ref: Ref) -> Iterator[None]:
    """An administrator hides one contact from the connector's user."""
    (model,) = desk.rows("ir.model", [["model", "=", "res.partner"]], "id")
    (bot,) = desk.rows("res.users", [["login", "=", desk.server.bot]], "id")
    domain = f"[('id', '!=', {ref.id})] if user.id == {bot['id']} else [(1, '=', 1)]"
    rule = desk.human("ir.rule", "create", {"name": "hide", "model_id": model["id"], "domain_force": domain})
    try:
        assert desk.bot("res.partner", "search", [["id", "=", int(ref.id)]]) == []
        yield
    finally:
        desk.human("ir.rule", "unlink", [rule])


def gone(desk, *refs: Ref) -> list[Ref]:
    window = Window(linked=lambda after, _limit: () if after else refs)
    return [seen.ref for page in desk.adapter.pull("gone", window) for seen in page.observed]


def test_a_hidden_record_is_never_reported_gone(either):
    hidden, shown, lost = either.person("Hidden"), either.person("Shown"), dead(either)
    (note,) = either.upsert(either.note(hidden, either.message_id()))
    refs = [lost, hidden, shown, note.ref]
    with hidden_from_the_bot(either, hidden):
        assert gone(either, *refs) == [lost]
        seen = either.adapter.fetch(refs)
        assert [one.life for one in seen] == [Life.GONE, Life.LIVE, Life.LIVE, Life.LIVE]
        # It shows no values, so that nothing looks like a change.
        assert (dict(seen[1].fields), seen[2].fields["name"]) == ({}, "Shown")
    assert either.fetch(hidden).fields["name"] == "Hidden"


def test_many_hidden_records_among_many_lost_ones_are_told_apart(desk):
    hidden = desk.person("Hidden")
    lost = [desk.person("Leaver") for _ in range(9)]
    desk.human("res.partner", "unlink", [int(one.id) for one in lost])
    with hidden_from_the_bot(desk, hidden):
        assert set(gone(desk, *lost[:4], hidden, *lost[4:])) == set(lost)


def test_a_hidden_record_is_neither_written_nor_removed_and_does_not_harm_the_others(desk):
    hidden, shown = desk.person("Hidden"), desk.person("Shown")
    with hidden_from_the_bot(desk, hidden):
        (alone,) = desk.adapter.upsert([rename(hidden)])
        assert isinstance(alone, Rejected)
        together = desk.adapter.upsert([rename(hidden), rename(shown)])
        assert [isinstance(result, Receipt) for result in together] == [False, True]
        removed = desk.adapter.remove([remove(hidden), remove(shown)])
        assert (type(removed[0]), removed[1]) == (Rejected, Receipt(shown))
    assert desk.fetch(hidden).fields["name"] == "Hidden"


def test_a_hidden_record_that_is_written_together_with_others_is_refused_and_not_called_gone(desk):
    """`load` does not know a hidden record from a lost one."""
    hidden, shown, lost = desk.person("Hidden"), desk.person("Shown"), dead(desk)
    with hidden_from_the_bot(desk, hidden):
        results = desk.adapter.upsert([rename(hidden), rename(shown), rename(lost)])
    assert [type(result) for result in results] == [Rejected, Receipt, RecordGone]


# ---- the key ---------------------------------------------------------------------------------------------------------


def everything(error: BaseException) -> str:
    told = "".join(traceback.format_exception(error))
    return f"{error} {error!r} {error.__cause__!r} {error.__context__!r} {vars(error)} {told}"


@pytest.mark.parametrize("transport", ["json2", "jsonrpc"])
def test_the_key_is_in_no_error_no_log_and_no_representation(desk, caplog, transport):
    caplog.set_level(logging.DEBUG)
    key, person = desk.server.bot_key, desk.person("Known")
    adapter = desk.another(transport, url=desk.proxy.url)
    told: list[object] = []
    for fault in ("lost_answer", "lost_request", "html"):
        with desk.watching(lambda _method, fault=fault: fault), pytest.raises(RemoteError) as caught:
            adapter.fetch([person])
        told.append(caught.value)
    told += adapter.upsert(
        [
            Write(Kind.PERSON, "res.partner", {"no_such_field": "x"}, person),
            desk.keyed(desk.unique("key"), name="x", type="nonsense"),
            desk.note(dead(desk), desk.message_id()),
        ]
    )
    wrong = "f" * 40
    stranger = desk.another(transport, secret=wrong)
    with pytest.raises(AuthError) as caught:
        stranger.check()
    told.append(caught.value)
    assert [error for error in told if not isinstance(error, RemoteError)] == []
    shown = " ".join(everything(error) for error in told)
    shown += f"{adapter!r} {adapter._door!r} {adapter._client!r} {adapter._client._connected()!r} {adapter.check()}"
    assert key not in shown
    assert wrong not in shown
    assert key not in caplog.text
    assert wrong not in caplog.text
