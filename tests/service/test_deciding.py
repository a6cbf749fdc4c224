"""The small pure decisions of commands and service."""

import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from connector.adapters.base import Account, User
from connector.app import App, Plug, users_by_email
from connector.errors import ConfigError
from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping
from connector.mapping.source import Place
from connector.model import Action, Cursor, Decision, Kind, Op, Outcome, Ref, Side
from connector.service.checking import pin_findings
from connector.service.metrics import Metrics
from connector.service.planning import Change, changes_of
from connector.service.status import stream_status
from connector.service.turns import RETRY
from connector.service.web import LATE, Web, late
from connector.service.worker import SHORT, Worker
from connector.store.entries import Pins
from connector.store.store import Store

FULL = Path(__file__).parents[2] / "mappings" / "chatwoot-salesforce.yaml"
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
PERSON = Ref("chatwoot", "person", "7")
JET = Ref("salesforce", "Contact", "0035g0000000001AAA")


def action(side: Side, fields: dict, *decisions: Decision) -> Action:
    return Action("u", Op.UPSERT, side, Kind.PERSON, "Contact", fields, PERSON, PERSON, decisions=decisions)


DECIDED = Decision("Phone~phone", Outcome.TO_CRM, "crm", "the rule says so")


@pytest.mark.parametrize(
    ("given_action", "shown", "changes"),
    [
        (
            action(Side.CRM, {"Phone": "+1"}, DECIDED),
            {"Phone": "2"},
            (Change("Phone", "2", "+1", "crm", DECIDED.reason),),
        ),
        (action(Side.PLATFORM, {"phone": "+1"}, DECIDED), {}, (Change("phone", None, "+1", "crm", DECIDED.reason),)),
        (action(Side.CRM, {"LastName": "Lind"}, DECIDED), {}, (Change("LastName", None, "Lind"),)),
        (action(Side.CRM, {}), {"Phone": "2"}, ()),
    ],
)
def test_a_planned_write_is_told_field_by_field(given_action, shown, changes):
    assert changes_of(given_action, shown) == changes


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ({}, []),
        ({(Side.CRM, "changes"): 10.0}, []),
        ({(Side.CRM, "changes"): 60.0 * LATE}, []),
        ({(Side.CRM, "changes"): 60.0 * LATE + 1}, ["crm.changes"]),
        ({(Side.CRM, "changes"): None}, ["crm.changes"]),
    ],
)
def test_a_stream_is_late_that_was_not_read_for_some_of_its_intervals(ages, expected):
    assert late(ages, {(Side.CRM, "changes"): timedelta(seconds=60)}) == expected


def test_a_service_is_ready_exactly_while_its_store_answers(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    store = Store.open(f"sqlite:///{folder / 'connector.db'}", clock=lambda: NOW)
    plug = SimpleNamespace(name="main", ledger=store.at("main"), intervals=lambda _: {(Side.CRM, "changes"): RETRY})
    web = Web({"main": SimpleNamespace(plug=plug, alive=True)}, Metrics({}, lambda: NOW), {})

    def told(answer) -> tuple[int, dict]:
        found = asyncio.run(answer(None))
        return found.status_code, json.loads(found.body)

    never_read = {"late": ["crm.changes"], "seconds_since_read": {"crm.changes": None}}
    assert told(web.ready) == (200, {"live": True, "ready": True, "connections": {"main": never_read}})
    store.close()
    shutil.rmtree(folder)
    assert told(web.ready) == (503, {"live": True, "ready": False, "connections": {}})
    assert told(web.health)[0] == 200, "a restart would not mend it"
    store.close()


@pytest.mark.parametrize(
    ("cursor", "lag", "under_way"),
    [
        (Cursor(), None, False),
        (Cursor(NOW - timedelta(minutes=2)), 120.0, False),
        (Cursor(NOW, NOW, "page 2"), 0.0, True),
    ],
)
def test_a_stream_lags_behind_the_time_it_was_read_to(cursor, lag, under_way):
    found = stream_status(Side.CRM, "changes", cursor, None, NOW)
    assert (found.lag, found.under_way) == (lag, under_way)


@pytest.mark.parametrize("seconds", [None, -100, 0, 1, 10_000])
def test_a_worker_waits_for_the_next_write_but_never_long_and_never_not(seconds):
    due = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    assert SHORT.total_seconds() <= Worker._until(due) <= RETRY.total_seconds()


def test_of_two_crm_users_with_one_address_the_active_one_counts():
    users = [
        User("1", "sam@shop.example", "Sam", True),
        User("2", "sam@shop.example", "Old Sam", False),
        User("3", "", "Bot"),
    ]
    assert users_by_email(users) == {"sam@shop.example": "1"}
    assert users_by_email(users[::-1]) == {"sam@shop.example": "1"}


FILE = load_mapping(FULL)
PLUG = Plug(
    "main",
    SimpleNamespace(
        platform=SimpleNamespace(type="chatwoot"), crm=SimpleNamespace(type="salesforce"), place=Place("config.yaml")
    ),
    FILE,
    compile_mapping(FILE, Context(connection="main")),
    None,
    None,
)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("chatwoot:message:3-41", Ref("chatwoot", "message", "3-41")),
        ("salesforce:Contact:0035g0000000001AAA", JET),
        ("salesforce:Contact:0035g0000000001", JET),
        ("Contact:0035g0000000001", JET),
        ("0035g0000000001", JET),
        ("message:3-41", Ref("chatwoot", "message", "3-41")),
        ("3-41", Ref("chatwoot", "message", "3-41")),
        ("whatsapp:61491570156", Ref("chatwoot", "identity", "whatsapp:61491570156")),
    ],
)
def test_a_record_may_be_named_in_short(text, ref):
    assert ref in PLUG.candidates(text)


PINS = Pins("shop/1", "00D1", PLUG.mapping.digest)
GOOD = {Side.PLATFORM: Account("chatwoot", "shop/1", "", ""), Side.CRM: Account("salesforce", "00D1", "", "")}


@pytest.mark.parametrize(
    ("pins", "accounts", "severities"),
    [
        (None, GOOD, []),
        (PINS, GOOD, []),
        (PINS, {}, []),
        (PINS, GOOD | {Side.CRM: Account("salesforce", "00D2", "", "")}, ["error"]),
        (Pins("shop/1", "00D1", "older"), GOOD, ["warning"]),
    ],
)
def test_another_account_or_an_unapproved_mapping_is_found(pins, accounts, severities):
    assert [one.severity for one in pin_findings(PLUG, pins, accounts)] == severities


CONFIG = """\
store: {{url: "sqlite:///connector.db", key: "file:secret"}}
connections:
  {first}
  {second}
"""
CONNECTION = (
    "{name}: {{platform: {{type: chatwoot, url: 'https://chat.example', account: 1, token: 'file:secret'}}, "
    "crm: {{type: salesforce, url: 'https://acme.example', "
    "auth: {{flow: client_credentials, client_id: c, client_secret: 'file:secret'}}}}, mapping: {mapping}}}"
)


def test_the_problems_of_all_mappings_are_told_together(tmp_path):
    (tmp_path / "secret").write_text("x")
    for name, old in (("a", "rule: fill_blank"), ("b", "deleted: mark")):
        (tmp_path / f"{name}.yaml").write_text(FULL.read_text().replace(old, old + "s"))
    config = CONFIG.format(
        first=CONNECTION.format(name="one", mapping="a.yaml"), second=CONNECTION.format(name="two", mapping="b.yaml")
    )
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(ConfigError) as error:
        App.open(tmp_path / "config.yaml")
    assert {Path(problem.file).name for problem in error.value.problems} == {"a.yaml", "b.yaml"}
    assert not (tmp_path / "connector.db").exists()


def test_a_mapping_that_was_written_for_other_systems_is_refused_at_its_lines(tmp_path):
    (tmp_path / "secret").write_text("x")
    text = (
        FULL.read_text()
        .replace("platform: chatwoot", "platform: intercom", 1)
        .replace("crm: salesforce", "crm: zoho", 1)
    )
    (tmp_path / "a.yaml").write_text(text)
    config = CONFIG.format(first=CONNECTION.format(name="one", mapping="a.yaml"), second="")
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(ConfigError) as error:
        App.open(tmp_path / "config.yaml")
    lines = text.splitlines()
    found = [(problem.path, lines[problem.line - 1], problem.way_out) for problem in error.value.problems]
    assert found == [
        ("platform", "platform: intercom", "Write platform: chatwoot, or name another mapping in the config."),
        ("crm", "crm: zoho", "Write crm: salesforce, or name another mapping in the config."),
    ]


def test_the_store_lies_beside_the_config(tmp_path):
    (tmp_path / "secret").write_text("x")
    text = CONFIG.format(first=CONNECTION.format(name="one", mapping=FULL), second="")
    (tmp_path / "config.yaml").write_text(text)
    with App.open(tmp_path / "config.yaml") as app:
        assert [plug.name for plug in app.chosen(None)] == ["one"]
    assert (tmp_path / "connector.db").exists()
