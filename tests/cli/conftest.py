"""Both sandboxes with the sample shop, over real HTTP, and a config folder with a store of its own per test."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner, Result

from connector.cli import app
from connector.sandbox.serve import Sandboxes, running

MAPPINGS = Path(__file__).parents[2] / "mappings"

CONFIG = """\
store:
  url: sqlite:///connector.db
  key: file:store-key
connections:
  main:
    platform:
      type: chatwoot
      url: {chatwoot}
      account: {account}
      token: file:{token}
    crm:
      type: salesforce
      url: {salesforce}
      auth:
        flow: client_credentials
        client_id: connector
        client_secret: file:{secret}
      ca: {ca}
    mapping: mapping.yaml
service:
  port: 0
"""


@dataclass
class Site:
    """A folder with config, mapping and store, and the command line as it is used there."""

    folder: Path
    sandboxes: Sandboxes
    first: dict = field(default_factory=dict)

    def run(self, *args: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(self.folder / "config.yaml"), *args])

    def json(self, *args: str, code: int | None = 0):
        result = self.run(*args, "--json")
        assert code is None or result.exit_code == code, result.output
        return json.loads(result.stdout)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def crm(self, object_: str) -> list[dict]:
        url = f"{self.sandboxes.salesforce_url}/__control/records/{object_}"
        return requests.get(url, timeout=30, verify=str(self.sandboxes.salesforce_ca)).json()["records"]

    def org(self, method: str, path: str, body=None) -> None:
        url = f"{self.sandboxes.salesforce_url}/__control/{path}"
        ca = str(self.sandboxes.salesforce_ca)
        requests.request(method, url, json=body, timeout=30, verify=ca).raise_for_status()

    def customer(self, **said) -> dict:
        answer = requests.post(f"{self.sandboxes.chatwoot_url}/__control/customer", json=said, timeout=30)
        answer.raise_for_status()
        return answer.json()


def site_in(folder: Path, sandboxes: Sandboxes) -> Site:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "store-key").write_text("a key for tests only")
    shutil.copy(MAPPINGS / "chatwoot-salesforce.yaml", folder / "mapping.yaml")
    (folder / "config.yaml").write_text(
        CONFIG.format(
            chatwoot=sandboxes.chatwoot_url,
            salesforce=sandboxes.salesforce_url,
            account=sandboxes.account_id,
            token=sandboxes.chatwoot_token,
            secret=sandboxes.salesforce_client_secret,
            ca=sandboxes.salesforce_ca,
        )
    )
    return Site(folder, sandboxes)


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory):
    with running(tmp_path_factory.mktemp("sandboxes"), samples=True) as both:
        yield both


@pytest.fixture
def site(tmp_path, sandboxes):
    """Never used before: an empty store."""
    return site_in(tmp_path / "site", sandboxes)


@pytest.fixture(scope="session")
def site_maker():
    """Makes sites of their own: a folder and the sandboxes."""
    return site_in


@pytest.fixture(scope="session")
def used(tmp_path_factory, sandboxes):
    """The site that has synced the sandboxes; `first` is what its first sync reported. Tests leave it without open work."""
    site = site_in(tmp_path_factory.mktemp("used"), sandboxes)
    site.first = site.json("sync", code=1)[0]
    return site
