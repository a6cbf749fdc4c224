"""`connector check` holds the shipped mappings, and a broken one, against a real Odoo's own description of itself."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from odoo_server import Odoo

from connector.sandbox.serve import one

MAPPINGS = Path(__file__).parents[2] / "mappings"
CONFIG = """
store: {{url: "sqlite:///connector.db", key: file:store-key}}
connections:
  main:
    platform: {{type: chatwoot, url: "{chatwoot[url]}", account: {chatwoot[account_id]}, token: file:chatwoot-token}}
    crm: {{type: odoo, url: "{odoo.url}", database: {odoo.database}, login: {odoo.bot}, key: env:ODOO_KEY}}
    mapping: mapping.yaml
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, odoo: Odoo) -> Iterator[Path]:
    directory: Path = tmp_path_factory.mktemp("check")
    with one("chatwoot", directory) as chatwoot:
        (directory / "store-key").write_text("only for this test")
        (directory / "config.yaml").write_text(CONFIG.format(chatwoot=chatwoot.told, odoo=odoo))
        yield directory


@pytest.fixture
def check(folder: Path, odoo: Odoo) -> Callable[..., Any]:
    def run(mapping: str, key: str = odoo.bot_key) -> subprocess.CompletedProcess[str]:
        (folder / "mapping.yaml").write_text(mapping)
        environment = {**os.environ, "COLUMNS": "400", "ODOO_KEY": key}
        command = [sys.executable, "-c", "from connector.cli import main; main()", "check"]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("name", ["chatwoot-odoo.yaml", "chatwoot-odoo-crm.yaml"])
def test_a_shipped_mapping_fits_a_new_odoo(check: Callable[..., Any], name: str) -> None:
    told = check((MAPPINGS / name).read_text())
    assert told.returncode == 0, told.stdout + told.stderr
    assert "0 errors" in told.stdout


def test_every_fault_of_a_mapping_is_told_at_once_with_its_line(check: Callable[..., Any]) -> None:
    lines = (MAPPINGS / "chatwoot-odoo.yaml").read_text().splitlines()
    faults = {
        "crm: phone,": ("crm: mobile,", "res.partner has no field mobile"),
        "link: person, on: create": ("link: person", "res_id cannot be changed later"),
        "mail.mt_note": ("mail.mt_nte", "'mail.mt_nte' is no choice of mail.message.subtype_id"),
        "crm: subject, platform": ("crm: subjcet, platform", "mail.message has no field subjcet"),
    }
    wanted = []
    for old, (new, message) in faults.items():
        at = next(at for at, line in enumerate(lines) if old in line and not line.strip().startswith("#"))
        lines[at] = lines[at].replace(old, new)
        wanted.append((f"mapping.yaml:{at + 1}", message))
    told = check("\n".join(lines))
    assert told.returncode == 1
    for where, message in wanted:
        assert any(where in line and message in line for line in told.stdout.splitlines()), (
            where,
            message,
            told.stdout,
        )


def test_a_wrong_key_says_what_to_do_and_is_not_shown(check: Callable[..., Any]) -> None:
    told = check((MAPPINGS / "chatwoot-odoo.yaml").read_text(), key="0123456789abcdef" * 2)
    assert told.returncode != 0
    assert "API key" in told.stdout + told.stderr
    assert "0123456789abcdef" not in told.stdout + told.stderr
