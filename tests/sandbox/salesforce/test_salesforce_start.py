"""Starting and stopping the process, and what it says when it cannot start."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def start(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A start that must fail: its output, on one line."""
    command = [sys.executable, "-m", "connector.sandbox.salesforce", "--dir", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"COLUMNS": "500"}, check=False)


def test_state_survives_a_restart_and_a_stop_is_clean(tmp_path: Path, process: Any, org: Any) -> None:
    first = type(process)(tmp_path)
    client = type(org)(first)
    key = client.contact(LastName="Stays")
    client.control("POST", "settings", {"page_size": 7})
    assert first.stop() == 0
    assert not (tmp_path / "salesforce.json").exists()
    second = type(process)(tmp_path)
    again = type(org)(second)
    assert again.call("GET", f"sobjects/Contact/{key}").json()["LastName"] == "Stays"
    header = client.http.headers["Authorization"]
    assert again.call("GET", "limits", headers={"Authorization": header}).status_code == 200
    assert again.contact() > key
    assert second.stop() == 0


def test_a_killed_process_has_kept_every_answered_write(tmp_path: Path, process: Any, org: Any) -> None:
    first = type(process)(tmp_path)
    client = type(org)(first)
    keys = [client.create("Contact", {"LastName": str(i)}).json()["id"] for i in range(5)]
    client.call("DELETE", f"sobjects/Contact/{keys[0]}")
    assert first.kill() == -9
    second = type(process)(tmp_path)
    again = type(org)(second)
    assert second.url != first.url
    assert [row["Id"] for row in again.query("SELECT Id FROM Contact ORDER BY Id")] == keys[1:]
    assert again.raw("Contact", keys[0])["IsDeleted"]
    assert second.stop() == 0


def test_the_address_file_names_the_process(process: Any) -> None:
    written = json.loads((process.directory / "salesforce.json").read_text())
    assert set(written) == {"url", "pid"}
    assert process.announcement.endswith(written["url"])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--host", "0.0.0.0"], "loopback only"),
        (["--schema", "/nowhere"], "/nowhere"),
    ],
    ids=["open to the network", "no source folder"],
)
def test_a_wrong_option_is_named_and_nothing_is_served(tmp_path: Path, options: list[str], named: str) -> None:
    result = start(tmp_path, *options)
    assert result.returncode == 2
    assert named in result.stderr
    assert not (tmp_path / "salesforce.json").exists()


def test_a_taken_port_is_named(tmp_path: Path, process: Any) -> None:
    port = process.url.rpartition(":")[2]
    result = start(tmp_path, "--port", port)
    assert (result.returncode, f"127.0.0.1:{port}" in result.stderr) == (2, True)


def test_a_folder_serves_one_process_at_a_time(process: Any) -> None:
    result = start(process.directory)
    assert (result.returncode, "another sandbox" in result.stderr) == (2, True)
    assert (process.directory / "salesforce.json").exists()


def test_records_of_an_object_that_left_the_schema_are_named(tmp_path: Path, process: Any) -> None:
    assert type(process)(tmp_path).stop() == 0
    with sqlite3.connect(tmp_path / "salesforce.sqlite") as db:
        db.execute("INSERT INTO record VALUES ('a995g0000000001AAA', 'Gone__c', '{}')")
    db.close()
    result = start(tmp_path)
    assert (result.returncode, "Gone__c" in result.stderr) == (2, True)
