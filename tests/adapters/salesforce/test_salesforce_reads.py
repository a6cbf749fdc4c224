"""Reading from an org over HTTPS: who we are, the schema, what changed, the state of known records, the search."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from connector.adapters.base import Lookup, ObjectRead, Window, Write
from connector.errors import SchemaDrift, Transient
from connector.mapping.compiled import Context, compile_mapping, reads
from connector.mapping.load import load_mapping
from connector.model import Kind, Life, Ref

MAPPINGS = Path(__file__).parents[3] / "mappings"


def everything(adapter, since=None) -> list:
    window = Window(since=since, thorough=True)
    return [item for page in adapter.pull("changes", window) for item in page.observed]


def now(adapter):
    """The org's time, as the watermark of an empty window."""
    return list(adapter.pull("changes", Window(resume='{"until":null,"steps":[]}')))[-1].watermark


def key_of(adapter, write: Write, key: str) -> Ref:
    (receipt,) = adapter.upsert([replace(write, key=("SMM_Person_Key__c", key))])
    return receipt.ref


def test_check_names_the_org_and_our_user(org):
    account = org.adapter().check()
    assert (account.system, account.name) == ("salesforce", "Acme")
    assert account.id.startswith("00D")
    assert len(account.id) == 18
    assert org.rows("User", Id=account.user)[0]["Username"] == "integration@acme.example"


def test_usage_knows_our_calls_and_the_orgs_allowance(org):
    org.control("settings", {"daily_limit": 500})
    adapter = org.adapter()
    assert adapter.usage().calls == 0
    adapter.check()
    usage = adapter.usage()
    assert usage.allowance == 500
    assert 1 <= usage.used <= usage.calls


def test_the_allowance_is_asked_for_with_one_call(org):
    org.control("settings", {"daily_limit": 500})
    adapter, other = org.adapter(), org.adapter()
    adapter.check()
    before = adapter.usage()
    other.check()
    assert adapter.usage() == before
    told = adapter.allowance()
    assert (told.calls, told.allowance) == (before.calls + 1, 500)
    assert told.used > before.used + 1
    assert adapter.usage() == told


def test_describe_tells_types_lengths_keys_and_choices(sf):
    task, contact = sf.describe("Task"), sf.describe("Contact")
    key = task.fields["SMM_Message_Key__c"]
    assert (key.type, key.length, key.external_id, key.unique, key.case_sensitive) == ("text", 255, True, True, True)
    assert task.fields["Description"].type == "longtext"
    assert task.fields["SMM_Sent_At__c"].type == "datetime"
    assert contact.fields["LastName"].required
    assert not contact.fields["Name"].createable
    assert contact.fields["OwnerId"].type == "reference"
    reply = sf.describe("Social_Outbound__c").fields["Status__c"]
    assert (reply.type, reply.restricted) == ("choice", True)
    assert "Queued" in reply.choices


def test_describe_covers_every_field_that_is_read(sf):
    contact = sf.describe("Contact")
    assert contact.fields["Account.Rating"].choices == ("Hot", "Warm", "Cold")
    for name in ("Owner.Name", "Account.Rating", "OpenCaseCount"):
        assert not contact.fields[name].createable
        assert not contact.fields[name].updateable
    assert contact.fields["OpenCaseCount"].type == "integer"


def test_describe_of_an_unknown_object_names_it(sf):
    with pytest.raises(SchemaDrift, match="Nothing__c") as caught:
        sf.describe("Nothing__c")
    assert caught.value.way_out


def test_describe_is_cached_and_asks_again_after_an_hour_without_paying_for_the_body(sf, org):
    first = sf.describe("Lead")
    assert sf.describe("Lead") == first
    assert org.calls() == 1
    org.clock.advance(hours=2)
    assert sf.describe("Lead") == first
    assert org.calls() == 2


def test_users_are_read_once_a_day(sf, org):
    users = sf.users()
    assert "integration@acme.example" in {user.email for user in users}
    sf.users()
    assert org.calls() == 1
    org.clock.advance(days=2)
    assert sf.users() == users
    assert org.calls() == 2


def test_a_tick_without_news_costs_one_call_for_five_objects(org):
    reads = {name: ObjectRead(Kind.PERSON, ("Id",)) for name in ("Contact", "Lead", "Account", "Case", "Opportunity")}
    adapter = org.adapter(reads=reads)
    since = now(adapter) + timedelta(seconds=5)
    org.control("stats/reset", {})
    assert everything(adapter, since) == []
    assert org.calls() == 1


class Ticks:
    """The windows of a running connector, one after the other: cursor and positions are kept, page by page."""

    def __init__(self, adapter) -> None:
        self.adapter = adapter
        self.since = now(adapter)
        self.positions: dict[str, str] = {}

    def __call__(self) -> list:
        """What the next window shows."""
        found, resume = [], None
        while True:
            window = Window(self.since, resume, position=self.positions.get)
            # A process that ends after each page: what it did not store, the next one does not know.
            page = next(iter(self.adapter.pull("changes", window)))
            found += page.observed
            self.positions |= page.positions
            resume = page.resume
            if page.watermark:
                self.since = page.watermark
                return found


def test_a_tick_without_news_costs_one_call_for_more_objects(sf, org):
    tick = Ticks(sf)
    tick.since += timedelta(seconds=5)
    org.control("stats/reset", {})
    for _ in range(6):
        assert tick() == []
        tick.since += timedelta(seconds=5)
    assert org.calls() == 6


def test_a_thorough_tick_reads_all_objects(sf, org):
    since = now(sf) + timedelta(seconds=5)
    org.control("stats/reset", {})
    assert everything(sf, since) == []
    assert org.calls() == 2


@pytest.mark.parametrize(("size", "seconds"), [(1, 60), (2000, 60), (2000, 0)])
def test_what_is_read_by_turns_is_shown_when_its_turn_comes(org, tmp_path, size, seconds):
    # An org of its own, whose clock moves on: no tick finds by chance what it has to remember.
    org = type(org)(tmp_path)
    try:
        (person,) = org.seed("Contact", {"LastName": "Lind"})
        tick = Ticks(org.adapter())
        org.control("settings", {"page_size": size})
        for _ in range(4):
            (task,) = org.seed("Task", {"Subject": "Hello", "SMM_Message_Key__c": org.unique()})
            org.seed("Case", {"ContactId": person, "Status": "New"})
            org.control("time", {"advance_s": seconds})
            shown = [item.ref.id for item in tick()]
            org.control("time", {"advance_s": seconds})
            shown += [item.ref.id for item in tick()]
            assert {task, person} <= set(shown)
    finally:
        org.stop()


def test_the_first_pull_reads_our_own_objects_from_the_beginning_and_the_companys_from_now(sf, org):
    (person,) = org.seed("Contact", {"LastName": "Old"})
    (mine,) = org.seed("Social_Conversation__c", {"SMM_Conversation_Key__c": org.unique(), "Contact__c": person})
    found = {item.ref.id: item for item in everything(sf)}
    assert person not in found
    assert found[mine].parent == Ref("salesforce", "Contact", person)
    assert found[mine].kind is Kind.CONVERSATION


def test_only_records_with_our_key_are_read_where_there_is_one(sf, org):
    since = now(sf)
    org.seed("Task", {"Subject": "Call back"})
    (ours,) = org.seed("Task", {"Subject": "Hello", "SMM_Message_Key__c": org.unique()})
    tasks = [item for item in everything(sf, since) if item.ref.object == "Task"]
    assert ours in {item.ref.id for item in tasks}
    assert all(item.fields["SMM_Message_Key__c"] for item in tasks)


def test_a_change_tells_who_made_it_and_when(sf, human, contact, org):
    since = now(sf)
    key = org.unique()
    theirs = key_of(human, contact(FirstName="Ana"), org.unique())
    mine = key_of(sf, contact(FirstName="Bo"), key)
    found = {item.ref: item for item in everything(sf, since)}
    assert found[theirs].ours is False
    assert found[mine].ours is True
    assert found[mine].by == sf.check().user
    assert found[mine].changed_at >= since
    assert found[mine].fields["FirstName"] == "Bo"
    assert found[mine].fields["Email"] is None
    assert found[mine].fields["Owner.Name"] == "Connector Integration"
    assert found[mine].fields["Account.Rating"] is None


def test_replies_tell_who_wrote_them(sf, org):
    (talk,) = org.seed("Social_Conversation__c", {"SMM_Conversation_Key__c": org.unique()})
    (reply,) = org.seed("Social_Outbound__c", {"Conversation__c": talk, "Body__c": "Hi", "Status__c": "Queued"})
    found = {item.ref.id: item for item in everything(sf)}[reply]
    assert found.kind is Kind.REPLY
    assert found.fields["Conversation__c"] == talk
    assert found.fields["CreatedDate"].endswith("Z")
    assert found.fields["CreatedById"] == found.by
    assert found.parent == Ref("salesforce", "Social_Conversation__c", talk)


def test_a_window_of_many_pages_is_read_once_with_parents_first_and_can_be_resumed_anywhere(sf, org):
    org.control("settings", {"page_size": 7})
    keys = {org.unique() for _ in range(30)}
    people = org.seed("Contact", *({"LastName": key, "FirstName": "Many"} for key in keys))
    org.seed("Task", *({"Subject": key, "SMM_Message_Key__c": key, "WhoId": people[0]} for key in keys))
    since = now(sf) - timedelta(minutes=10)
    whole = everything(sf, since)
    assert keys <= {item.fields["LastName"] for item in whole if item.ref.object == "Contact"}
    assert keys <= {item.fields["Subject"] for item in whole if item.ref.object == "Task"}
    ranks = [item.kind.rank for item in whole]
    assert ranks == sorted(ranks)
    assert len({item.ref for item in whole}) == len(whole)

    pieces, resume = [], None
    while True:
        page = next(sf.pull("changes", Window(since=since, resume=resume, thorough=True)))
        pieces += page.observed
        assert (page.resume is None) == (page.watermark is not None)
        if page.resume is None:
            break
        resume = page.resume
    assert {item.ref for item in pieces} == {item.ref for item in whole}


def test_a_deleted_record_is_gone(sf, contact, org):
    since = now(sf)
    person = key_of(sf, contact(), org.unique())
    sf.remove([replace(contact(), target=person)])
    assert {item.ref: item.life for item in everything(sf, since)}[person] is Life.GONE
    assert sf.fetch([person])[0].life is Life.GONE


def test_a_merged_record_names_the_last_survivor(sf, contact, org):
    since = now(sf)
    first, second, third = (key_of(sf, contact(), org.unique()) for _ in range(3))
    org.control("merge", {"object": "Contact", "winner": second.id, "losers": [first.id]})
    org.control("merge", {"object": "Contact", "winner": third.id, "losers": [second.id]})
    pulled = {item.ref: item for item in everything(sf, since)}
    assert (pulled[first].life, pulled[first].merged_into) == (Life.MERGED, second)
    fetched = sf.fetch([third, first, second])
    assert [item.ref for item in fetched] == [third, first, second]
    assert [(item.life, item.merged_into) for item in fetched] == [
        (Life.LIVE, None),
        (Life.MERGED, third),
        (Life.MERGED, third),
    ]
    sf.remove([replace(contact(), target=third)])
    assert [item.life for item in sf.fetch([first, third])] == [Life.GONE, Life.GONE]


def test_a_converted_lead_is_merged_into_its_contact(sf, org):
    since = now(sf)
    (lead,) = org.seed("Lead", {"LastName": "Lind", "Company": "Acme", "Email": f"{org.unique()}@example.com"})
    made = org.control("convert", {"lead": lead})
    pulled = {item.ref.id: item for item in everything(sf, since)}
    assert pulled[lead].life is Life.MERGED
    assert pulled[lead].merged_into.object == "Contact"
    assert pulled[lead].merged_into.id in str(made)


def test_what_cannot_be_seen_is_gone(sf):
    (item,) = sf.fetch([Ref("salesforce", "Contact", "003000000000000AAA")])
    assert (item.life, item.version) == (Life.GONE, "unseen")


def test_a_case_that_opens_or_closes_shows_its_contact_again_under_a_new_version(sf, human, org):
    (person,) = org.seed("Contact", {"LastName": "Lind"})
    target = Ref("salesforce", "Contact", person)
    (before,) = sf.fetch([target])
    assert before.fields["OpenCaseCount"] == 0
    since = now(sf)
    (case,) = org.seed("Case", {"ContactId": person, "Status": "New"})
    opened = {item.ref: item for item in everything(sf, since)}[target]
    assert opened.fields["OpenCaseCount"] == 1
    assert opened.version != before.version
    human.upsert([Write(Kind.PERSON, "Case", {"Status": "Closed"}, target=Ref("salesforce", "Case", case))])
    closed = {item.ref: item for item in everything(sf, since)}[target]
    assert closed.fields["OpenCaseCount"] == 0
    assert all(item.ref.object != "Case" for item in everything(sf, since))


def test_a_hidden_field_stops_the_pull_and_names_itself(sf, org):
    org.control("settings", {"hidden_fields": ["Contact.Phone"]})
    with pytest.raises(SchemaDrift, match="Phone"):
        everything(sf, now(sf) - timedelta(minutes=1))


def test_search_finds_every_match_and_tells_them_apart(sf, org):
    mail = f"{org.unique()}@example.com"
    people = org.seed("Contact", *({"LastName": "Twin", "Email": mail} for _ in range(2)))
    (lead,) = org.seed("Lead", {"LastName": "Twin", "Company": "Acme", "Email": mail})
    found = sf.find(
        [
            Lookup("Contact", "Email", mail.upper()),
            Lookup("Contact", "Email", "nobody@example.com"),
            Lookup("Lead", "Email", mail),
            Lookup("Contact", "Email", " "),
            Lookup("Contact", "Id", people[1][:15]),
        ]
    )
    assert [[item.ref.id for item in items] for items in found] == [sorted(people), [], [lead], [], [people[1]]]
    assert found[0][0].fields["LastName"] == "Twin"


@pytest.mark.parametrize("stored", ["+31 6 1234 5678", "06-12345678", "0031 (0)6 12 34 56 78", "(06) 1234.5678"])
def test_a_phone_is_found_however_it_was_written(sf, org, stored):
    (person,) = org.seed("Contact", {"LastName": "Phone", "Phone": stored})
    org.seed("Contact", {"LastName": "Other country", "Phone": "+1 612 345 678"})
    (found,) = sf.find([Lookup("Contact", "Phone", "+31612345678", "phone")])
    assert person in [item.ref.id for item in found]
    assert all(item.fields["LastName"] == "Phone" for item in found)


@pytest.mark.parametrize("name", ["O'Brien", 'Say "Hi"', "100%_sure", "back\\slash", "Zoë 😀", "a) OR (LastName != 'x"])
def test_a_searched_value_is_only_ever_a_value(sf, org, name):
    (person,) = org.seed("Contact", {"LastName": name})
    (found,) = sf.find([Lookup("Contact", "LastName", name)])
    assert person in [item.ref.id for item in found]
    assert {item.fields["LastName"] for item in found} == {name}


def test_a_deleted_or_converted_record_is_not_found(sf, contact, org):
    mail = f"{org.unique()}@example.com"
    person = key_of(sf, contact(Email=mail), org.unique())
    (lead,) = org.seed("Lead", {"LastName": "Lind", "Company": "Acme", "Email": mail})
    org.control("convert", {"lead": lead, "contact": person.id})
    sf.remove([replace(contact(), target=person)])
    assert sf.find([Lookup("Contact", "Email", mail), Lookup("Lead", "Email", mail)]) == [[], []]


def test_a_thousand_lookups_go_in_a_handful_of_calls(sf, org):
    wanted = [f"{'x' * 60}{number}@example.com" for number in range(1000)]
    (person,) = org.seed("Contact", {"LastName": "Needle", "Email": wanted[700]})
    org.control("stats/reset", {})
    found = sf.find([Lookup("Contact", "Email", mail) for mail in wanted])
    assert [place for place, items in enumerate(found) if items] == [700]
    assert found[700][0].ref.id == person
    assert org.calls() <= 3


def test_more_matches_than_one_page_holds_are_all_found(sf, org):
    org.control("settings", {"page_size": 5})
    mail = f"{org.unique()}@example.com"
    people = org.seed("Contact", *({"LastName": "Many", "Email": mail} for _ in range(12)))
    (found,) = sf.find([Lookup("Contact", "Email", mail)])
    assert [item.ref.id for item in found] == sorted(people)


@pytest.mark.parametrize(
    ("kind", "options"), [("html", {"status": 503}), ("cut", {}), ("empty", {}), ("drop_after", {})]
)
def test_a_read_that_fails_in_passing_is_repeated(sf, org, kind, options):
    org.fault(kind, "composite", times=2, **options)
    assert everything(sf, now(sf) + timedelta(seconds=5)) == []
    assert len(org.naps) == 2


def test_a_system_that_stays_away_is_named_after_four_attempts(sf, org):
    org.fault("status", "composite", status=503, times=9, retry_after=7)
    with pytest.raises(Transient) as caught:
        everything(sf, now(sf))
    assert caught.value.retry_after == 7
    assert all(nap >= 7 for nap in org.naps)
    assert len(org.naps) == 3


def test_a_stream_of_another_name_is_refused(sf):
    with pytest.raises(ValueError, match="messages"):
        sf.pull("messages", Window())


@pytest.mark.parametrize("name", ["chatwoot-salesforce.yaml", "chatwoot-salesforce-minimal.yaml"])
def test_what_a_shipped_mapping_wants_can_be_read_and_is_described(org, name):
    wanted = reads(compile_mapping(load_mapping(MAPPINGS / name), Context({}, "acme")))
    adapter = org.adapter(reads=wanted)
    since = now(adapter)
    for object_, read in wanted.items():
        info = adapter.describe(object_)
        assert [field for field in read.fields if info.field(field) is None] == []
    org.control("stats/reset", {})
    assert list(adapter.pull("changes", Window(since=since + timedelta(seconds=5))))[-1].watermark
    assert org.calls() <= 2
