"""The config file: what it gives, what it refuses, and that it never tells a secret."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from connector.app import begins as first_taken
from connector.config import ClientCredentials, Config, JwtBearer, Secret, load_config, schema
from connector.errors import ConfigError

ROOT = Path(__file__).parents[2]
HIDDEN = "s3cr3t-value"
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)

GOOD = """\
store:
  url: sqlite:///state/connector.db
  key: env:STORE_KEY
connections:
  main:
    platform:
      type: chatwoot
      url: https://chat.example/
      account: 3
      token: file:token
    crm:
      type: salesforce
      url: https://acme.my.salesforce.example
      auth: {flow: client_credentials, client_id: connector, client_secret: file:token}
    mapping: mapping.yaml
schedule:
  changes: 60s
  walk: 2h
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(HIDDEN + "\n")
    (tmp_path / "mapping.yaml").write_text("version: 1\n")
    monkeypatch.setenv("STORE_KEY", HIDDEN)

    def _write(text: str = GOOD, **changes: str) -> Path:
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return _write


def refused(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_config(path)
    return [str(problem).removeprefix(f"{path}:") for problem in error.value.problems]


def test_a_good_config_is_read_with_paths_relative_to_its_folder(write, tmp_path):
    config = load_config(write())
    main = config.connections["main"]
    assert main.platform.url == "https://chat.example"
    assert main.platform.token.reveal() == HIDDEN
    assert isinstance(main.crm.auth, ClientCredentials)
    assert main.mapping == tmp_path / "mapping.yaml"
    assert main.crm_daily_share == 0.5
    assert config.schedule == {"changes": timedelta(minutes=1), "walk": timedelta(hours=2)}


@pytest.mark.parametrize(
    ("written", "begins"),
    [
        (None, None),
        ("all", None),
        ("none", NOW),
        ("30d", NOW - timedelta(days=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("999999d", None),
        ("2025-12-31", datetime(2025, 12, 31, tzinfo=UTC)),
        ("'2025-12-31'", datetime(2025, 12, 31, tzinfo=UTC)),
    ],
)
def test_the_history_says_since_when_messages_are_taken(write, written, begins):
    line = "" if written is None else f"\n    history: {written}"
    main = load_config(write(**{"mapping: mapping.yaml": "mapping: mapping.yaml" + line})).connections["main"]
    assert first_taken(main.history, NOW.replace(microsecond=5)) == begins


def test_a_config_named_relative_to_where_we_are_gives_paths_that_last(write, tmp_path, monkeypatch):
    write()
    monkeypatch.chdir(tmp_path)
    main = load_config(Path("config.yaml")).connections["main"]
    monkeypatch.chdir("/")
    assert main.mapping.is_file()
    assert main.platform.token.reveal() == HIDDEN


def test_the_flow_decides_which_keys_auth_takes(write):
    path = write(
        **{
            "{flow: client_credentials, client_id: connector, client_secret: file:token}": "{flow: jwt, client_id: a, username: u@crm.example, private_key: file:token}"
        }
    )
    assert isinstance(load_config(path).connections["main"].crm.auth, JwtBearer)


def test_the_password_of_the_database_comes_by_reference(write):
    path = write(**{"url: sqlite:///state/connector.db": "url: postgresql://me@db.example/x\n  password: file:token"})
    store = load_config(path).store
    assert store.password.reveal() == HIDDEN
    assert HIDDEN not in repr(store)


REFUSED = [
    (
        "an unknown key names the nearest one",
        {"account: 3": "acount: 3"},
        "9: connections.main.platform.acount: unknown key. Did you mean account?",
    ),
    (
        "a literal secret",
        {"token: file:token": f"token: {HIDDEN}"},
        "10: connections.main.platform.token: a secret never stands in the config itself; write env:NAME",
    ),
    (
        "a missing variable",
        {"env:STORE_KEY": "env:NO_SUCH_KEY"},
        "3: store.key: the environment variable NO_SUCH_KEY is not set.",
    ),
    (
        "a missing secret file",
        {"token: file:token": "token: file:nowhere"},
        "10: connections.main.platform.token: there is no file",
    ),
    ("a duration without a unit", {"60s": "60"}, "17: schedule.changes: a duration is a number with its unit"),
    ("a duration of nothing", {"60s": "0s"}, "17: schedule.changes: a duration is a number with its unit"),
    (
        "a missing mapping file",
        {"mapping: mapping.yaml": "mapping: nope.yaml"},
        "15: connections.main.mapping: there is no file",
    ),
    (
        "plain http to another machine",
        {"https://chat.example/": "http://chat.example"},
        "8: connections.main.platform.url: plain http is for this machine only",
    ),
    (
        "a user in the address",
        {"https://chat.example/": "https://a:b@chat.example"},
        "8: connections.main.platform.url: an address is written https://host",
    ),
    (
        "an unknown adapter",
        {"type: chatwoot": "type: chatwot"},
        "7: connections.main.platform.type: must be 'chatwoot'.",
    ),
    (
        "an unknown flow",
        {"flow: client_credentials": "flow: magic"},
        "14: connections.main.crm.auth: 'flow' must be 'client_credentials', 'jwt', 'refresh_token'.",
    ),
    (
        "another flow's key",
        {"client_secret: file:token": "client_secret: file:token, username: u"},
        "14: connections.main.crm.auth.username: unknown key. Known: client_id, client_secret, flow.",
    ),
    (
        "a bad share",
        {"mapping: mapping.yaml": "mapping: mapping.yaml\n    crm_daily_share: 2"},
        "16: connections.main.crm_daily_share: a share is a part of 1, more than 0 and 1 at most; write half of the calls as 0.5.",
    ),
    *(
        (
            f"a history of {wrong}",
            {"mapping: mapping.yaml": f"mapping: mapping.yaml\n    history: {wrong}"},
            "16: connections.main.history: the history is all, none, a time back such as 30d, or a date such as 2026-01-31",
        )
        for wrong in ("some", "30", "0d", "2026-02-30", "20260131", "2026-01-31T10:00:00Z")
    ),
    (
        "a bad connection name",
        {"  main:": "  Main Street:"},
        "5: connections.Main Street: a connection's name begins with a small letter",
    ),
    (
        "a password in the store's url",
        {"sqlite:///state/connector.db": f"postgresql://me:{HIDDEN}@db.example/x"},
        "2: store.url: the url holds a password",
    ),
    (
        "a password for a file",
        {"url: sqlite:///state/connector.db": "url: sqlite:///state/connector.db\n  password: file:token"},
        "3: store.password: a SQLite file has no password; leave it out",
    ),
    (
        "another database",
        {"sqlite:///state/connector.db": "mysql://db"},
        "2: store.url: the store's url starts with sqlite:///",
    ),
    (
        "a port that is none",
        {"walk: 2h": "walk: 2h\nservice: {port: 99999}"},
        "19: service.port: must be 65535 or less.",
    ),
    (
        "a version that is none",
        {"type: salesforce": "type: salesforce\n      api_version: v67"},
        '13: connections.main.crm.api_version: a version of the API is written in quotes, such as "67.0".',
    ),
    ("a missing part", {"  key: env:STORE_KEY\n": ""}, "1: store.key: is missing. Add key."),
    (
        "a key twice",
        {"account: 3": "account: 3\n      account: 4"},
        "10: connections.main.platform.account: stands here twice, first in line 9.",
    ),
    ("broken YAML", {"account: 3": "account: [3"}, "broken YAML"),
    (
        "a tag that would build an object",
        {"account: 3": "account: !!python/object/apply:os.system [x]"},
        "YAML|the tag|needs a whole number",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused_with_line_and_way_out(write, changes, expected):
    found = refused(write(**changes))
    assert any(part in line for line in found for part in expected.split("|")), found
    assert HIDDEN not in "".join(found)


def test_all_problems_come_at_once_in_the_order_of_the_file(write):
    found = refused(
        write(
            **{
                "account: 3": "acount: 3",
                "env:STORE_KEY": "env:NO_SUCH_KEY",
                "60s": "soon",
                "file:token\n    crm": "plain\n    crm",
            }
        )
    )
    assert [int(line.partition(":")[0]) for line in found] == sorted(int(line.partition(":")[0]) for line in found)
    assert len(found) >= 4


def test_no_fault_hides_that_a_secret_is_missing(write):
    missing = {"env:STORE_KEY": "env:NO_SUCH_KEY", "client_secret: file:token": "client_secret: file:nowhere"}
    alone = refused(write(**missing))
    assert len(alone) == 2
    for fault in ({"mapping: mapping.yaml": "mapping: nope.yaml"}, {"account: 3": "acount: 3"}, {"60s": "soon"}):
        found = refused(write(**missing, **fault))
        assert set(alone) < set(found), found


def test_a_missing_config_is_told_by_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such file"):
        load_config(tmp_path / "nowhere.yaml")


def test_no_text_form_of_a_config_holds_a_secret(write):
    config = load_config(write())
    for shown in (
        repr(config),
        str(config),
        config.model_dump_json(),
        str(config.model_dump()),
        repr(config.store.key),
    ):
        assert HIDDEN not in shown
    assert "env:STORE_KEY" in config.model_dump_json()


def test_a_rotated_secret_is_found(write, tmp_path):
    token = load_config(write()).connections["main"].platform.token
    (tmp_path / "token").write_text("new")
    assert token.reveal() == "new"
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigError, match="there is no file"):
        token.reveal()


@pytest.mark.parametrize("text", ["", "env:", "file:  ", "abc", "ENV:X"])
def test_what_is_no_reference_is_no_secret_and_is_not_repeated(text):
    with pytest.raises(ValueError, match="env:NAME") as error:
        Secret(text)
    assert not text.strip() or text not in str(error.value).replace("env:NAME", "").replace("file:PATH", "")


def test_the_example_is_complete_apart_from_its_secrets():
    with pytest.raises(ConfigError) as error:
        load_config(ROOT / "config.example.yaml")
    assert all(".sandbox/" in problem.message for problem in error.value.problems)


def test_the_example_fits_the_schema_for_editors():
    Draft202012Validator.check_schema(schema())
    data = YAML(typ="safe").load((ROOT / "config.example.yaml").read_text())
    assert list(Draft202012Validator(schema()).iter_errors(data)) == []
    assert Config.model_fields.keys() == schema()["properties"].keys()
