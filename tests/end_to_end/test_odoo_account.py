"""The audit over Chatwoot and a real Odoo: kept when it is quiet, and what it says when a note stands there twice."""

import json
from typing import Any

import pytest
from offices import OdooOffice
from ruamel.yaml import YAML
from typer.testing import CliRunner

from connector.cli import app

FAILS = {"match": {"method": "POST", "path": "/messages$"}, "kind": "status", "status": 422, "times": 1}


@pytest.fixture
def promises(store: OdooOffice, tmp_path: Any) -> Any:
    """What the audit finds broken, by promise: how often, how much was handed back."""
    (tmp_path / "store-key").write_text("a key for tests only")
    (tmp_path / "odoo-key").write_text(store.server.bot_key)
    settings = {
        "store": {"url": f"sqlite:///{store.directory}/connector.db", "key": "file:store-key"},
        "connections": {
            "shop": {
                "platform": {
                    "type": "chatwoot",
                    "url": store.chatwoot_url,
                    "account": store.account_id,
                    "token": f"file:{store.directory}/chatwoot-token",
                },
                "crm": {
                    "type": "odoo",
                    "url": store.crm_url,
                    "database": store.server.database,
                    "login": store.server.bot,
                    "key": "file:odoo-key",
                },
                "mapping": str(store.mapping_file),
            }
        },
    }
    YAML().dump(settings, tmp_path / "config.yaml")

    def broken(*args: str) -> dict[str, tuple[int, int]]:
        result = CliRunner().invoke(app, ["--config", str(tmp_path / "config.yaml"), "audit", "--json", *args])
        assert result.stdout, result.output
        (found,) = json.loads(result.stdout)
        assert all(one["checked"] for one in found["promises"] if "reply" not in one["promise"]), found["promises"]
        return {
            one["promise"]: (one["violations"], one["handed_back"]) for one in found["promises"] if one["violations"]
        }

    return broken


def test_a_quiet_connection_is_kept_with_the_note_about_a_reply_that_did_not_leave(
    store: OdooOffice, promises: Any
) -> None:
    conversation = store.customer("Lena Okafor", store.phone(), "Is it ready?")
    store.sync()
    store.control("faults", **FAILS)
    comment = store.comment(store.partner_of(conversation), "Yes, come by!")
    store.sync()
    store.clear()
    assert store.received(conversation) == []
    assert [row for row in store.chatter(store.partner_of(conversation)) if (row["parent_id"] or [0])[0] == comment]
    assert promises() == {}


def test_a_note_that_stands_there_twice_remains_for_a_person(store: OdooOffice, promises: Any) -> None:
    conversation = store.customer("Ada Brandt", store.phone(), "Do you repair bikes?")
    store.sync()
    (note,) = store.chatter(store.partner_of(conversation))
    copy = store.crm("mail.message", "copy", [note["id"]], {"message_id": note["message_id"]})
    assert promises("--repair") == {"every synced record is in the CRM exactly once": (1, 0)}
    store.crm("mail.message", "unlink", copy if isinstance(copy, list) else [copy])
    assert promises() == {}
