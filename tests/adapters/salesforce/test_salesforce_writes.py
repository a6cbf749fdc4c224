"""Writing to an org over HTTPS: batches, keys, order, and what happens when something goes wrong in between."""

import pytest

from connector.adapters.base import Write
from connector.errors import AllowanceSpent, AuthError, RecordGone, Rejected, SchemaDrift, Transient
from connector.model import Kind, Receipt, Ref


def keyed(key: str, **fields) -> Write:
    return Write(Kind.PERSON, "Contact", {"LastName": "Lind", **fields}, key=("SMM_Person_Key__c", key))


def task(key: str, **fields) -> Write:
    return Write(Kind.MESSAGE, "Task", {"Subject": "Hello", **fields}, key=("SMM_Message_Key__c", key))


def conversation(key: str) -> Write:
    return Write(Kind.CONVERSATION, "Social_Conversation__c", {}, key=("SMM_Conversation_Key__c", key))


def update(ref: Ref, **fields) -> Write:
    return Write(Kind.PERSON, ref.object, fields, target=ref)


def test_the_same_key_twice_makes_one_record(sf, org):
    key = org.unique()
    (first,) = sf.upsert([keyed(key)])
    (second,) = sf.upsert([keyed(key, FirstName="Ana")])
    assert (first.created, second.created) == (True, False)
    assert first.ref == second.ref
    assert [row["FirstName"] for row in org.rows("Contact", SMM_Person_Key__c=key)] == ["Ana"]


def test_the_same_key_in_one_batch_is_written_in_order_in_two_calls(sf, org):
    key, other = org.unique(), org.unique()
    first, second, third = sf.upsert([keyed(key, FirstName="Old"), keyed(other), keyed(key, FirstName="New")])
    assert (first.created, second.created, third.created) == (True, True, False)
    assert org.rows("Contact", SMM_Person_Key__c=key)[0]["FirstName"] == "New"
    assert org.calls() == 2


def test_keys_that_differ_in_case_alone_are_two_records(sf, org):
    key = org.unique()
    first, second = sf.upsert([keyed(key), keyed(key.upper())])
    assert first.ref != second.ref


def test_results_come_in_the_order_of_the_writes_whatever_their_kind(sf, org):
    key = org.unique()
    (known,) = sf.upsert([keyed(org.unique())])
    results = sf.upsert(
        [
            task(key),
            update(known.ref, FirstName="Ana"),
            keyed(key, Email="not an address"),
            Write(Kind.PERSON, "Lead", {"LastName": "Lind", "Company": "Acme"}),
            keyed(key),
        ]
    )
    assert [result.ref.object if isinstance(result, Receipt) else type(result) for result in results] == [
        "Task",
        "Contact",
        Rejected,
        "Lead",
        "Contact",
    ]
    assert results[1] == Receipt(known.ref)
    assert results[2].fields == ("Email",)
    assert results[2].way_out


def test_an_update_touches_only_the_given_fields(sf, org):
    key = org.unique()
    (made,) = sf.upsert([keyed(key, FirstName="Ana", Phone="123")])
    sf.upsert([update(made.ref, Phone=None)])
    (row,) = org.rows("Contact", SMM_Person_Key__c=key)
    assert (row["FirstName"], row.get("Phone")) == ("Ana", None)


def test_a_thousand_rows_cost_one_call(sf, org):
    keys = [org.unique("thousand") for _ in range(1000)]
    results = sf.upsert([task(key, Subject=key) for key in keys])
    assert org.calls() == 1
    by_id = {row["Id"]: row["Subject"] for row in org.rows("Task")}
    assert [by_id[result.ref.id] for result in results] == keys


def written(sf, org, about):
    """In the order in which the org made them: the places of tasks about these records. It numbers records as it makes them."""
    results = sf.upsert([task(org.unique(), **parents) for parents in about])
    return sorted(range(len(about)), key=lambda place: results[place].ref.id)


def test_messages_of_one_contact_are_written_side_by_side_and_oldest_first(sf, org):
    contacts = [result.ref.id for result in sf.upsert([keyed(org.unique()) for _ in range(3)])]
    who = [contacts[number % 3] for number in range(240)]
    made = written(sf, org, [{"WhoId": id_} for id_ in who])
    assert [(who[place], place) for place in made] == sorted((who[place], place) for place in range(240))


def test_a_conversation_of_two_contacts_is_written_in_its_order(sf, org):
    ana, noa, other = (result.ref.id for result in sf.upsert([keyed(org.unique()) for _ in range(3)]))
    talk, hers = (result.ref.id for result in sf.upsert([conversation(org.unique()) for _ in range(2)]))
    about = [
        {"WhoId": noa, "WhatId": talk},
        {"WhoId": other},
        {"WhoId": ana, "WhatId": talk},
        {"WhatId": talk},
        {"WhoId": other},
        {"WhoId": ana, "WhatId": hers},
        {"WhoId": noa, "WhatId": talk},
    ]
    made = written(sf, org, about)
    assert sorted([made.index(1), made.index(4)]) in ([0, 1], [5, 6]), "the third contact's lie side by side"
    assert [place for place in made if place not in (1, 4)] == [0, 2, 3, 5, 6]


def test_nothing_to_write_costs_nothing(sf, org):
    assert sf.upsert([]) == []
    assert sf.remove([]) == []
    assert org.calls() == 0


def test_a_refused_row_does_not_harm_its_neighbours(sf, org):
    keys = [org.unique() for _ in range(5)]
    results = sf.upsert([keyed(key, LastName="x" * (200 if place == 2 else 5)) for place, key in enumerate(keys)])
    assert [isinstance(result, Receipt) for result in results] == [True, True, False, True, True]
    assert results[2].code == "STRING_TOO_LONG"
    assert org.calls() == 1


def test_a_value_of_the_wrong_type_that_refuses_a_whole_collection_costs_only_its_own_row(sf, org):
    keys = [org.unique() for _ in range(8)]
    results = sf.upsert(
        [keyed(key, HasOptedOutOfEmail="maybe" if place == 5 else True) for place, key in enumerate(keys)]
    )
    assert [isinstance(result, Receipt) for result in results] == [place != 5 for place in range(8)]
    assert isinstance(results[5], Rejected)


def test_a_row_that_fails_its_neighbours_in_a_trigger_is_found_and_stands_alone(sf, org):
    keys = [org.unique() for _ in range(40)]
    org.fault(
        "row_error",
        match={"object": "Contact", "field": "SMM_Person_Key__c", "value": keys[13]},
        times=None,
        code="CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        whole=True,
    )
    results = sf.upsert([keyed(key) for key in keys])
    assert [place for place, result in enumerate(results) if not isinstance(result, Receipt)] == [13]
    assert isinstance(results[13], Rejected)
    assert org.calls() < 10


def test_rows_that_were_written_are_not_written_again_because_the_schema_cannot_be_read(sf, org):
    good, bad = org.unique(), org.unique()
    match = {"object": "Task", "field": "SMM_Message_Key__c", "value": bad}
    org.fault("row_error", match=match, code="INVALID_FIELD_FOR_INSERT_UPDATE")
    org.fault("status", "sobjects/Task/describe", status=503, times=4)
    done, refused = sf.upsert([task(good), task(bad)])
    assert done.created
    assert isinstance(refused, SchemaDrift)


def test_only_locked_rows_are_sent_again(sf, org):
    keys = [org.unique() for _ in range(3)]
    org.fault("lock_row", match={"object": "Contact", "field": "SMM_Person_Key__c", "value": keys[1]}, times=2)
    results = sf.upsert([keyed(key) for key in keys])
    assert all(isinstance(result, Receipt) and result.created for result in results)
    assert org.calls() == 3
    assert len(org.naps) == 2


def test_a_row_that_stays_locked_is_named_and_can_be_tried_later(sf, org):
    keys = [org.unique() for _ in range(2)]
    org.fault("lock_row", match={"object": "Contact", "field": "SMM_Person_Key__c", "value": keys[1]}, times=None)
    done, locked = sf.upsert([keyed(key) for key in keys])
    assert isinstance(done, Receipt)
    assert isinstance(locked, Transient)
    assert locked.certain


@pytest.mark.parametrize(
    ("kind", "options"),
    [("drop_before", {}), ("drop_after", {}), ("cut", {}), ("status", {"status": 503}), ("html", {"status": 502})],
)
@pytest.mark.parametrize("how", ["an update", "a creation by key", "a creation without a key", "a removal"])
def test_a_write_whose_answer_is_lost_is_not_repeated(sf, org, how, kind, options):
    (known,) = sf.upsert([keyed(org.unique())])
    writes = {
        "an update": update(known.ref, FirstName="Ana"),
        "a creation by key": keyed(org.unique()),
        "a creation without a key": Write(Kind.PERSON, "Lead", {"LastName": org.unique(), "Company": "Acme"}),
        "a removal": update(known.ref),
    }
    org.control("stats/reset", {})
    org.fault(kind, "composite", **options)
    with pytest.raises(Transient) as caught:
        (sf.remove if how == "a removal" else sf.upsert)([writes[how]])
    assert not caught.value.certain
    assert org.naps == []
    org.control("faults", method="DELETE")
    done = sf.upsert([keyed(org.unique())])
    assert isinstance(done[0], Receipt)


def test_what_somebody_types_after_a_write_whose_answer_is_lost_stays(sf, human, org):
    (made,) = sf.upsert([keyed(org.unique(), FirstName="Old")])
    org.fault("drop_after", "composite")
    with pytest.raises(Transient):
        sf.upsert([update(made.ref, FirstName="Ours")])
    assert org.rows("Contact", Id=made.ref.id)[0]["FirstName"] == "Ours"
    human.upsert([update(made.ref, FirstName="Hers")])
    # Whatever the adapter does by itself it does inside a call.
    sf.upsert([keyed(org.unique())])
    assert org.rows("Contact", Id=made.ref.id)[0]["FirstName"] == "Hers"


def test_the_other_calls_of_a_batch_go_out_though_the_answer_to_one_is_lost(sf, org):
    """Text that a composite call would misread goes in a call of its own, here the second one of three."""
    (known,) = sf.upsert([keyed(org.unique())])
    keys = [org.unique() for _ in range(2)]
    org.control("stats/reset", {})
    org.fault("drop_after", "composite/sobjects")
    results = sf.upsert([keyed(keys[0]), update(known.ref, FirstName="@{ours}"), task(keys[1])])
    assert [type(one) for one in results] == [Receipt, Transient, Receipt]
    assert not results[1].certain
    assert org.calls() == 3
    assert org.rows("Contact", Id=known.ref.id)[0]["FirstName"] == "@{ours}"


def test_the_second_write_of_a_record_waits_while_the_first_one_is_in_doubt(sf, org):
    key = org.unique()
    org.fault("drop_after", "composite")
    org.fault("status", "composite", status=429, times=3)
    with pytest.raises(Transient) as caught:
        sf.upsert([keyed(key, FirstName="First"), keyed(key, FirstName="Second")])
    assert not caught.value.certain
    assert [row["FirstName"] for row in org.rows("Contact", SMM_Person_Key__c=key)] == ["First"]
    assert org.naps == []


def test_a_call_in_doubt_is_told_though_another_call_carried_the_first_row(sf, org):
    keys = [org.unique() for _ in range(2)]
    (known,) = sf.upsert([keyed(org.unique())])
    org.fault("drop_after", "composite")
    org.fault("status", "composite/sobjects", status=429, times=4)
    # A text with `@{` goes in a call of its own, and what hangs on nobody goes first.
    second = task(keys[0], Description="@{ours}", WhoId=known.ref.id)
    with pytest.raises(Transient) as caught:
        sf.upsert([second, task(keys[1])])
    assert not caught.value.certain
    assert [len(org.rows("Task", SMM_Message_Key__c=key)) for key in keys] == [0, 1]


def test_a_creation_without_key_that_was_certainly_not_done_is_repeated(sf, org):
    name = org.unique("Once")
    org.fault("status", "composite", status=429, retry_after=3)
    (result,) = sf.upsert([Write(Kind.PERSON, "Lead", {"LastName": name, "Company": "Acme"})])
    assert result.created
    assert org.naps[0] >= 3


CPU = {"code": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": "System.LimitException: Apex CPU time limit exceeded"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lock_row", {"match": {"object": "Task"}, "times": 3}),
        ("row_error", {"match": {"object": "Task"}, "whole": True, **CPU}),
    ],
    ids=["others held rows", "a trigger ran out of time"],
)
def test_a_batch_that_was_too_much_is_sent_again_in_smaller_calls_and_grows_back(sf, org, kind, options):
    org.fault(kind, **options)
    keys = [org.unique() for _ in range(1000)]
    assert all(isinstance(result, Receipt) for result in sf.upsert([task(key) for key in keys]))
    calls = calls_of_eight_batches(sf, org, keys)
    assert (calls[0], calls[-1]) == (2, 1)


def test_calls_are_smaller_after_one_whose_line_broke_and_grow_back(sf, org):
    org.fault("drop_before", "composite")
    keys = [org.unique() for _ in range(1000)]
    with pytest.raises(Transient):
        sf.upsert([task(key) for key in keys])
    calls = calls_of_eight_batches(sf, org, keys)
    assert (calls[0], calls[-1]) == (3, 1)


def calls_of_eight_batches(sf, org, keys) -> list[int]:
    calls = []
    for _ in range(8):
        org.control("stats/reset", {})
        sf.upsert([task(key) for key in keys])
        calls.append(org.calls())
    return calls


def test_many_suffering_collections_of_one_call_halve_the_next_one_once(sf, org):
    """Three rows are locked, each in another collection of the call."""
    keys = [org.unique() for _ in range(1000)]
    for number in (0, 300, 700):
        org.fault("lock_row", match={"object": "Task", "field": "SMM_Message_Key__c", "value": keys[number]})
    assert all(isinstance(result, Receipt) for result in sf.upsert([task(key) for key in keys]))
    org.control("stats/reset", {})
    sf.upsert([task(key) for key in keys])
    assert org.calls() == 2


def test_a_duplicate_value_names_the_record_that_holds_it(sf, org):
    key = org.unique()
    (holder,), (other,) = sf.upsert([keyed(key)]), sf.upsert([keyed(org.unique())])
    (clash,) = sf.upsert([update(other.ref, SMM_Person_Key__c=key)])
    assert isinstance(clash, Rejected)
    assert clash.others == (str(holder.ref),)


def test_a_duplicate_rule_names_the_candidates(sf, org):
    mail = f"{org.unique()}@example.com"
    (known,) = org.seed("Contact", {"LastName": "Lind", "Email": mail})
    org.control("settings", {"duplicate_rule": "alert"})
    (result,) = sf.upsert([keyed(org.unique(), Email=mail)])
    assert isinstance(result, Rejected)
    assert result.code == "DUPLICATES_DETECTED"
    assert result.others == (f"salesforce:Contact:{known}",)


def test_a_deleted_target_is_gone(sf, org):
    (made,) = sf.upsert([keyed(org.unique())])
    sf.remove([update(made.ref)])
    (result,) = sf.upsert([update(made.ref, FirstName="Ana")])
    assert isinstance(result, RecordGone)
    assert result.others == ()


def test_a_merged_target_names_the_survivor(sf, org):
    winner, loser = (result.ref for result in sf.upsert([keyed(org.unique()), keyed(org.unique())]))
    org.control("merge", {"object": "Contact", "winner": winner.id, "losers": [loser.id]})
    (result,) = sf.upsert([update(loser, FirstName="Ana")])
    assert isinstance(result, RecordGone)
    assert result.others == (str(winner),)


def test_a_converted_lead_names_its_contact(sf, org):
    (lead,) = org.seed("Lead", {"LastName": "Lind", "Company": "Acme"})
    made = org.control("convert", {"lead": lead})
    (result,) = sf.upsert([update(Ref("salesforce", "Lead", lead), LastName="Ek")])
    assert isinstance(result, RecordGone)
    assert result.others[0].startswith("salesforce:Contact:003")
    assert result.others[0].rpartition(":")[2] in str(made)


def test_a_live_target_is_not_gone_because_of_what_it_points_at(sf, org):
    (made,) = sf.upsert([keyed(org.unique())])
    org.fault("row_error", match={"object": "Contact"}, code="INVALID_CROSS_REFERENCE_KEY", message="invalid id")
    (result,) = sf.upsert([update(made.ref, FirstName="Ana")])
    assert isinstance(result, Rejected)
    assert "points at" in result.way_out


def test_a_target_whose_fate_cannot_be_told_is_tried_again_later(sf, org):
    (made,) = sf.upsert([keyed(org.unique())])
    sf.remove([update(made.ref)])
    org.fault("status", match={"path": "/services/data/v67.0/composite", "body": "queryAll"}, status=503, times=4)
    (result,) = sf.upsert([update(made.ref, FirstName="Ana")])
    assert isinstance(result, Transient)
    assert result.certain


def test_an_unknown_field_is_a_matter_of_the_schema(sf, org):
    (result,) = sf.upsert([keyed(org.unique(), Nothing__c="x")])
    assert isinstance(result, SchemaDrift)
    assert "Nothing__c" in str(result)


def test_an_unknown_object_or_key_field_is_a_matter_of_the_schema(sf, org):
    results = sf.upsert(
        [
            Write(Kind.PERSON, "Nothing__c", {}, key=("Key__c", "1")),
            Write(Kind.PERSON, "Contact", {"LastName": "Lind"}, key=("Nothing__c", "1")),
        ]
    )
    assert [type(result) for result in results] == [SchemaDrift, SchemaDrift]


def test_a_reference_to_nobody_refuses_the_row(sf, org):
    (result,) = sf.upsert([task(org.unique(), WhoId="003000000000000AAA")])
    assert isinstance(result, Rejected)
    assert result.way_out


def test_a_spent_allowance_stops_before_more_is_sent(sf, org):
    org.control("settings", {"daily_limit": 1})
    sf.upsert([keyed(org.unique())])
    with pytest.raises(AllowanceSpent) as caught:
        sf.upsert([keyed(org.unique())])
    assert caught.value.certain
    assert org.naps == []


def test_rows_behind_a_failed_call_are_certainly_unsent(sf, org):
    org.control("settings", {"daily_limit": 1})
    key = org.unique()
    first, second = sf.upsert([keyed(key), keyed(key, FirstName="Ana")])
    assert isinstance(first, Receipt)
    assert isinstance(second, AllowanceSpent)
    assert second.certain


def test_full_storage_pauses_the_writes(sf, org):
    org.control("settings", {"storage_full": True})
    (result,) = sf.upsert([keyed(org.unique())])
    assert isinstance(result, AllowanceSpent)


def test_removing_twice_is_done(sf, org):
    refs = [result.ref for result in sf.upsert([keyed(org.unique()), task(org.unique())])]
    for _ in range(2):
        assert sf.remove([update(ref) for ref in refs]) == [Receipt(ref) for ref in refs]
    assert org.rows("Contact", Id=refs[0].id) == []


def test_a_crm_does_not_send(sf, org, contact):
    with pytest.raises(Rejected):
        sf.send(contact(), "token")
    with pytest.raises(Rejected):
        sf.probe(contact(), "token", org.clock())
    assert not sf.capabilities.can_reply


def test_a_permission_that_is_missing_holds_the_row_and_not_the_org(sf, org):
    org.fault("row_error", match={"object": "Contact"}, code="INSUFFICIENT_ACCESS_OR_READONLY", message="no access")
    (result,) = sf.upsert([keyed(org.unique())])
    assert isinstance(result, Rejected)
    assert not isinstance(result, AuthError)
