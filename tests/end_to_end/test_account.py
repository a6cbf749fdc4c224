"""The account, and what breaks it: each case is broken, told by the audit, handed back by its repair, mended by the next sync.

The commands run as an admin runs them. What no system of today does by itself is done to the store's file by hand.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from offices import Office
from ruamel.yaml import YAML
from typer.testing import CliRunner

from connector.cli import app
from connector.cli.shared import LEFT_OVER, STORE
from connector.model import Ref
from connector.sandbox.serve import running
from connector.store.store import Store

ONCE = "every synced record is in the CRM exactly once"
STRAY = "no CRM record carries our key without a link"
SEEN = "every message of the platform was seen"
STATE = "every message seen is in exactly one state"
DRIFT = "two linked records that nobody changed show the same"
PERSON = "every linked person exists on the crm side"


class Site:
    """An office, and the command line over its store."""

    def __init__(self, office: Office, directory: Path) -> None:
        self.office = office
        self.store = office.directory / "connector.db"
        self.config = directory / "config.yaml"
        (directory / "store-key").write_text("a key for tests only")
        secrets = office.directory
        settings = {
            "store": {"url": f"sqlite:///{self.store}", "key": "file:store-key"},
            "connections": {
                "shop": {
                    "platform": {
                        "type": "chatwoot",
                        "url": office.chatwoot_url,
                        "account": office.account_id,
                        "token": f"file:{secrets}/chatwoot-token",
                    },
                    "crm": {
                        "type": "salesforce",
                        "url": office.sandboxes.salesforce_url,
                        "auth": {
                            "flow": "client_credentials",
                            "client_id": "connector",
                            "client_secret": f"file:{secrets}/salesforce-client-secret",
                        },
                        "ca": office.ca,
                    },
                    "mapping": str(office.mapping_file),
                }
            },
        }
        YAML().dump(settings, self.config)

    def run(self, *args: str) -> Any:
        return CliRunner().invoke(app, ["--config", str(self.config), *args])

    def audit(self, *args: str) -> dict[str, Any]:
        result = self.run("audit", *args, "--json")
        found: dict[str, Any] = json.loads(result.stdout)[0]
        left = sum(one["violations"] - one["handed_back"] for one in found["promises"])
        assert result.exit_code == (LEFT_OVER if left else 0), result.output
        return found

    def broken(self, *args: str) -> dict[str, dict[str, Any]]:
        return {one["promise"]: one for one in self.audit(*args)["promises"] if one["violations"]}

    def repaired(self) -> dict[str, tuple[int, int]]:
        """By broken promise: how many were handed back, and how many remain."""
        return {
            promise: (one["handed_back"], one["violations"] - one["handed_back"])
            for promise, one in self.broken("--repair").items()
        }

    def alter(self, statement: str, **values: object) -> None:
        """Breaks the store itself. Fails where nothing was changed."""
        with closing(sqlite3.connect(self.store)) as db, db:
            assert db.execute(statement, values).rowcount > 0, statement

    def message_of(self, thread: int) -> str:
        with closing(sqlite3.connect(self.store)) as db:
            query = "SELECT ref FROM facts WHERE kind = 'message' AND parent = ? ORDER BY order_key DESC"
            return str(db.execute(query, [f"chatwoot:conversation:{thread}"]).fetchone()[0])

    def state_of(self, message: str) -> str:
        with closing(sqlite3.connect(self.store)) as db:
            return str(db.execute("SELECT state FROM facts WHERE ref = ?", [message]).fetchone()[0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("office")
    with running(directory) as sandboxes:
        office = Office(sandboxes)
        inboxes = [
            {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"},
            {"key": "instagram", "name": "Instagram", "channel_type": "Channel::Instagram"},
        ]
        office.control("import", inboxes=inboxes)
        office.sync()
        site = Site(office, tmp_path_factory.mktemp("site"))
        yield site
        assert site.broken() == {}, "what each test broke is kept again"
        office.close()


@pytest.fixture
def thread(site: Site) -> Iterator[int]:
    """A conversation of a customer of one's own, synced and accounted for."""
    id_ = site.office.customer("Noa Quint", site.office.phone(), "Do you repair bikes?")
    site.office.sync()
    yield id_
    assert site.office.keys_are_unique()


def task(site: Site, thread: int) -> dict[str, Any]:
    (found,) = site.office.timeline(thread)
    return found


def destroy(site: Site, id_: str, object_: str = "Task") -> None:
    """Deleted for good: no read of changes ever shows it."""
    site.office.crm("DELETE", f"sobjects/{object_}/{id_}")
    site.office.crm_control("purge", all=True)


# -- the account


def test_the_account_stands_by_inbox_by_day_and_by_rule_and_adds_up(site: Site, thread: int) -> None:
    site.office.customer("Ada Brandt", "17841400000000001", "Is it open?", "Instagram")
    site.office.agent("POST", f"conversations/{thread}/messages", content="call her", private=True)
    site.office.sync()
    told = site.audit()["account"]
    states = ("synced", "filtered", "held", "erased", "open")
    for line in (told, *told["by_inbox"], *told["by_day"]):
        assert line["seen"] == sum(line[state] for state in states) > 0
    assert [line["inbox"] for line in told["by_inbox"]] == ["Instagram", "WhatsApp"]
    assert {line["day"] for line in told["by_day"]} <= {
        (datetime.now(UTC) - timedelta(days=ago)).date().isoformat() for ago in (0, 1)
    }
    assert {"inbox": "WhatsApp", "state": "filtered", "rule": "private notes stay out", "messages": 1} in told[
        "by_rule"
    ]
    assert told["seen"] == sum(line["messages"] for line in told["by_rule"])
    shown = site.run("audit").stdout
    assert "account by inbox" in shown
    assert "all inboxes" in shown
    assert "account by day" in site.run("audit", "--by", "day").stdout
    assert "private notes stay out" in site.run("audit", "--by", "rule").stdout


def test_where_no_webhooks_are_asked_for_none_are_counted(site: Site, thread: int) -> None:
    assert site.audit()["webhooks"] is None
    assert "No webhooks come in" in site.run("audit").stdout


def test_what_came_after_the_last_read_breaks_no_promise_and_is_told(site: Site, thread: int) -> None:
    site.office.write_again(thread, "And scooters?")
    (one,) = [one for one in site.audit()["promises"] if one["promise"] == SEEN]
    assert (one["violations"], one["waiting"]) == (0, 1)
    assert "1 message came after the last read" in site.run("audit").stdout
    site.office.sync()


# -- broken and mended


def test_a_record_that_was_destroyed_in_the_crm_is_accounted_for_as_erased(site: Site, thread: int) -> None:
    destroy(site, task(site, thread)["Id"])
    site.office.sync()
    assert site.broken().keys() == {ONCE}
    assert site.repaired() == {ONCE: (1, 0)}
    site.office.sync()
    assert site.state_of(site.message_of(thread)) == "erased"
    assert site.office.timeline(thread) == []


def test_a_record_that_took_over_the_key_of_a_destroyed_one_is_linked_in_its_place(site: Site, thread: int) -> None:
    old = task(site, thread)
    destroy(site, old["Id"])
    copy = {
        name: old[name]
        for name in ("SMM_Message_Key__c", "SMM_Conversation_Key__c", "WhoId", "WhatId", "SMM_Sent_At__c")
        if old.get(name)
    }
    site.office.crm_control("seed", object="Task", records=[{**copy, "Subject": "made by hand"}])
    assert ONCE in site.broken()
    assert site.repaired() == {ONCE: (1, 0)}
    site.office.sync()
    new = task(site, thread)
    assert new["Id"] != old["Id"]
    assert (new["Subject"], new["Description"]) == (old["Subject"], old["Description"])
    assert site.state_of(site.message_of(thread)) == "synced"


def test_a_record_brought_back_from_the_recycle_bin_is_linked_again(site: Site, thread: int) -> None:
    id_ = task(site, thread)["Id"]
    site.office.crm("DELETE", f"sobjects/Task/{id_}")
    site.office.sync()
    assert site.state_of(site.message_of(thread)) == "erased"
    assert site.broken() == {}
    site.office.crm_control("undelete", ids=[id_])
    site.office.sync()
    assert site.broken().keys() == {STRAY}
    assert site.repaired() == {STRAY: (1, 0)}
    site.office.sync()
    assert site.state_of(site.message_of(thread)) == "synced"


def test_a_stray_record_with_the_key_of_nobody_remains_for_a_person(site: Site, thread: int) -> None:
    key = {"Subject": "stray", "SMM_Message_Key__c": "shop:no-such-message"}
    (id_,) = site.office.crm_control("seed", object="Task", records=[key])["ids"]
    assert site.broken().keys() == {STRAY}
    assert site.repaired() == {STRAY: (0, 1)}
    shown = site.run("audit", "--repair")
    assert shown.exit_code == LEFT_OVER
    assert "carries the key shop:no-such-message" in shown.stdout
    site.office.crm("DELETE", f"sobjects/Task/{id_}")


def test_a_stray_record_of_a_person_whom_nobody_wants_in_the_crm_remains_for_a_person(site: Site, thread: int) -> None:
    """Their write was given up with the decision "never", and had landed all the same."""
    office = site.office
    office.crm("DELETE", f"sobjects/Contact/{task(site, thread)['WhoId']}")
    office.sync()
    office.write_again(thread, "Hello?")
    office.sync()
    conversation = Ref("chatwoot", "conversation", str(thread))
    person = office.ledger.facts([conversation])[conversation].parent
    (hold,) = [one for one in office.ledger.open_holds() if one.subject == person]
    message = site.message_of(thread)
    key = {"Subject": "it had landed", "SMM_Message_Key__c": f"shop:{message.rpartition(':')[2]}"}
    (id_,) = office.crm_control("seed", object="Task", records=[key])["ids"]
    office.decide(hold, "never")
    assert site.repaired() == {STRAY: (0, 1)}, "before the decision was carried out"
    office.sync()
    assert site.state_of(message) == "filtered"
    assert site.repaired() == {STRAY: (0, 1)}
    assert "is kept out of the CRM" in site.run("audit").stdout
    office.sync()
    assert site.state_of(message) == "filtered"
    assert office.record("Task", Id=id_)["Subject"] == "it had landed"
    office.crm("DELETE", f"sobjects/Task/{id_}")


def test_a_message_that_the_store_has_never_seen_is_read_and_keeps_its_one_record(site: Site, thread: int) -> None:
    message = site.message_of(thread)
    before = task(site, thread)
    site.alter("DELETE FROM snapshots WHERE link IN (SELECT id FROM links WHERE platform = :ref)", ref=message)
    for table, column in (("links", "platform"), ("intents", "subject"), ("facts", "ref")):
        site.alter(f"DELETE FROM {table} WHERE {column} = :ref", ref=message)
    with read_later(site):
        assert site.broken().keys() == {SEEN, STRAY}
        assert site.repaired() == {SEEN: (1, 0), STRAY: (1, 0)}
    site.office.sync()
    assert site.state_of(message) == "synced"
    assert task(site, thread)["Id"] == before["Id"]


@contextmanager
def read_later(site: Site) -> Iterator[None]:
    """As if the last read had been a few minutes later: what was just written is not too young any more."""
    with closing(sqlite3.connect(site.store)) as db:
        before = db.execute("SELECT stream, watermark FROM cursors WHERE side = 'platform'").fetchall()
    later = (datetime.now(UTC) + timedelta(minutes=9)).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    change = "UPDATE cursors SET watermark = :at WHERE side = 'platform' AND stream = :stream"
    for stream, _ in before:
        site.alter(change, stream=stream, at=later)
    yield
    for stream, watermark in before:
        site.alter(change, stream=stream, at=watermark)


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE facts SET state = 'open' WHERE ref = :ref",
        "UPDATE facts SET state = 'erased' WHERE ref = :ref",
    ],
)
def test_a_message_in_a_state_that_is_not_so_is_decided_again(site: Site, thread: int, broken: str) -> None:
    message = site.message_of(thread)
    site.alter(broken, ref=message)
    assert site.broken().keys() == {STATE}
    assert site.repaired() == {STATE: (1, 0)}
    site.office.sync()
    assert site.state_of(message) == "synced"


def test_a_contact_destroyed_without_a_trace_becomes_a_question_for_a_person(site: Site, thread: int) -> None:
    contact = task(site, thread)["WhoId"]
    destroy(site, contact, "Contact")
    site.office.sync()
    assert PERSON in site.broken()
    handed_back, left = site.repaired()[PERSON]
    assert (handed_back, left) == (1, 0)
    site.office.sync()
    site.office.write_again(thread, "Hello?")
    site.office.sync()
    (hold,) = [one for one in site.office.ledger.open_holds() if contact in one.question]
    assert "was unlinked" in hold.question
    assert site.state_of(site.message_of(thread)) == "held"


def priority(site: Site, thread: int) -> str | None:
    found: str | None = site.office.conversation(thread)["priority"]
    return found


def test_two_records_that_drifted_apart_are_decided_anew_by_their_line_s_rule(site: Site, thread: int) -> None:
    """An automation of the CRM replaced what we wrote in the same transaction: the version was ours, so the snapshot took its
    value over, and neither side looks changed."""
    office = site.office
    row = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"shop:{thread}")["Id"]
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{row}", Priority__c="low")
    office.sync()
    assert priority(site, thread) == "low"
    office.crm("PATCH", f"sobjects/Social_Conversation__c/{row}", Priority__c="urgent")
    ref = f"salesforce:Social_Conversation__c:{row}"
    site.alter("UPDATE facts SET fields = json_set(fields, '$.Priority__c', 'urgent') WHERE ref = :ref", ref=ref)
    site.alter(
        "UPDATE snapshots SET fields = json_set(fields, '$.\"Priority__c~priority\"', 'urgent') WHERE side = 'crm'"
        " AND link IN (SELECT id FROM links WHERE crm = :ref)",
        ref=ref,
    )
    office.sync()
    assert priority(site, thread) == "low", "nothing would ever bring it over"
    found = site.broken()
    assert found.keys() == {DRIFT}
    assert "'low' and 'urgent'" in found[DRIFT]["first"][0]
    assert site.repaired() == {DRIFT: (1, 0)}
    assert priority(site, thread) == "low", "the repair wrote by itself"
    office.sync()
    assert priority(site, thread) == "urgent"


def test_a_repair_writes_to_neither_side(site: Site, thread: int) -> None:
    message = site.message_of(thread)
    before = site.office.timeline(thread), site.office.conversation(thread)
    site.alter("UPDATE facts SET state = 'open' WHERE ref = :ref", ref=message)
    site.repaired()
    assert (site.office.timeline(thread), site.office.conversation(thread)) == before
    site.office.sync()


def test_a_repair_is_refused_while_another_process_works_on_the_connection(site: Site, thread: int) -> None:
    message = site.message_of(thread)
    site.alter("UPDATE facts SET state = 'open', dirty = 0 WHERE ref = :ref", ref=message)
    store = Store.open(f"sqlite:///{site.store}", clock=lambda: datetime.now(UTC))
    daemon = store.at("shop")
    assert daemon.lease("daemon", timedelta(minutes=1))
    try:
        refused = site.run("audit", "--repair")
        assert refused.exit_code == STORE
        assert "Another process is working on" in refused.stderr
        assert site.broken().keys() == {STATE}, "an audit that repairs nothing needs no lease"
    finally:
        daemon.release()
        store.close()
    assert site.repaired() == {STATE: (1, 0)}
    site.office.sync()


def test_records_that_all_seem_destroyed_are_not_accounted_for_as_erased(site: Site, thread: int) -> None:
    """A CRM admin takes a right from our user: to us every task looks deleted."""
    for number in range(25):
        site.office.write_again(thread, f"and another thing, {number}")
    site.office.sync()
    rows = site.office.timeline(thread)
    for row in rows:
        site.office.crm("DELETE", f"sobjects/Task/{row['Id']}")
    assert site.repaired() == {ONCE: (0, len(rows))}
    assert "looks like a missing right" in site.run("audit", "--repair").stdout
    site.office.crm_control("undelete", ids=[row["Id"] for row in rows])
    site.office.sync()
    assert site.state_of(site.message_of(thread)) == "synced"


def test_persons_who_are_merged_on_the_platform_leave_nothing_for_the_audit(site: Site) -> None:
    """The loser's contact stays in the CRM with our key: she was linked rightly."""
    office = site.office
    base, lost = (office.customer("Mees Quint", office.phone(), "hello") for _ in range(2))
    office.sync()
    merged = {"base_contact_id": office.person_of(base), "mergee_contact_id": office.person_of(lost)}
    office.agent("POST", "actions/contact_merge", **merged)
    office.sync()
    assert site.broken() == {}
