"""Refused rows and lost answers on both versions: what one row meets stays its own."""

from collections.abc import Callable
from itertools import count

import pytest
from faulty import Call, Fault, method_of

from connector.adapters.base import Write
from connector.errors import RecordGone, Rejected, Transient
from connector.model import Kind, Receipt, Ref

NOBODY = Ref("odoo", "res.partner", "999999999")


def losing(method: str, number: int = 1):
    """The answer to the so-manieth call of a method is lost."""
    left = [number]

    def spoil(called: str) -> str | None:
        left[0] -= called == method
        return "lost_answer" if called == method and left[0] == 0 else None

    return spoil


def limiting(method: str, after: int) -> Callable[[Call], Fault | None]:
    """So many calls of a method are taken; from then on each is one too many."""
    seen = count(1)

    def meets(call: Call) -> Fault | None:
        if call.body and method_of(call.path, call.body) == method and next(seen) > after:
            return Fault(reaches=False, answer="page", status=429)
        return None

    return meets


def test_what_was_written_keeps_its_receipt_though_the_next_call_is_one_too_many(either):
    """Called undone, the first two would be written once more, over what somebody typed there since."""
    first, second, third, fourth = (either.person() for _ in range(4))
    mail = f"{either.unique('mail')}@example.com"
    writes = [Write(Kind.PERSON, "res.partner", {"name": "Renamed"}, ref) for ref in (first, second)]
    writes += [Write(Kind.PERSON, "res.partner", {"email": mail}, ref) for ref in (third, fourth)]
    with either.proxy.meeting(limiting("load", after=1)):
        results = either.watched.upsert(writes)
    assert results[:2] == [Receipt(first), Receipt(second)]
    assert [(type(one), one.certain) for one in results[2:]] == [(Transient, True)] * 2
    stands = either.rows(
        "res.partner", [["id", "in", [int(one.id) for one in (first, second, third)]]], "name", "email"
    )
    assert [(row["name"], row["email"] == mail) for row in stands] == [("Renamed", False)] * 2 + [("Noor", False)]


def test_the_half_of_a_parted_batch_that_was_written_keeps_its_receipts(either):
    """A row that Odoo does not name parts the batch."""
    person, keys = either.person(), [either.message_id() for _ in range(4)]
    notes = [either.note(NOBODY if place == 3 else person, key) for place, key in enumerate(keys)]
    with either.proxy.meeting(limiting("create", after=2)):
        results = either.watched.upsert(notes)
    stands = either.rows("mail.message", [["message_id", "in", keys]], "message_id")
    assert [row["message_id"] for row in stands] == keys[:2]
    assert [type(one) for one in results] == [Receipt, Receipt, Transient, Transient]
    assert all(one.certain for one in results[2:])


def test_a_message_below_nobody_does_not_harm_the_others_of_its_batch(either):
    person, keys = either.person(), [either.message_id() for _ in range(30)]
    results = either.adapter.upsert(
        [either.note(NOBODY if place == 13 else person, key) for place, key in enumerate(keys)]
    )
    assert [place for place, result in enumerate(results) if not isinstance(result, Receipt)] == [13]
    assert (type(results[13]), results[13].certain) == (RecordGone, True)
    stands = either.rows("mail.message", [["message_id", "in", keys]], "message_id")
    assert [row["message_id"] for row in stands] == [key for key in keys if key != keys[13]]
    assert [str(row["id"]) for row in stands] == [one.ref.id for one in results if isinstance(one, Receipt)]


@pytest.mark.parametrize("method", ["create", "load"])
def test_what_was_written_though_the_answer_was_lost_is_made_once(either, method):
    name, person = either.unique("Lost"), either.person()
    writes = (
        [either.note(person, either.message_id(), subject=name) for _ in range(3)]
        if method == "create"
        else [either.keyed(f"{name}:{number}", name=name) for number in range(3)]
    )
    model, field = (writes[0].object, "subject" if method == "create" else "name")
    with either.watching(losing(method)), pytest.raises(Transient) as told:
        either.watched.upsert(writes)
    assert not told.value.certain
    assert len(either.rows(model, [[field, "=", name]], "id")) == 3
    again = either.upsert(*writes)
    assert [str(row["id"]) for row in either.rows(model, [[field, "=", name]], "id")] == [one.ref.id for one in again]


def test_a_number_that_is_none_is_refused_with_its_row_alone(either):
    good, bad, other = (either.unique("number") for _ in range(3))
    results = either.adapter.upsert(
        [
            either.keyed(good, name="A", color=3),
            either.keyed(bad, name="B", color="blue"),
            either.keyed(other, name="C"),
        ]
    )
    assert [type(one) for one in results] == [Receipt, Rejected, Receipt]


def test_a_record_without_a_key_that_was_made_is_told_though_the_next_answer_was_lost(either):
    name = either.unique("Keyless")
    writes = [Write(Kind.PERSON, "res.partner", {"name": f"{name} {number}"}) for number in range(3)]
    with either.watching(losing("create", 2)):
        first, second, third = either.watched.upsert(writes)
    stands = either.rows("res.partner", [["name", "=like", f"{name} %"]], "name")
    assert [row["name"][-1] for row in stands] == ["0", "1"]
    assert first == Receipt(Ref("odoo", "res.partner", str(stands[0]["id"])), created=True)
    assert (type(second), second.certain) == (Transient, False)
    assert (type(third), third.certain) == (Transient, True)
