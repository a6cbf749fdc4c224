"""Config files that somebody broke: read, or refused with all problems, and never a word of what may be a secret."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hostile import SECRET, fuzz, problems, texts, trees
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from connector.config import Config, load_config
from connector.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "config.example.yaml").read_text()
WHOLE: dict[str, Any] = {
    "store": {"url": "postgresql://connector@db.example/connector", "key": "env:FUZZ_KEY", "password": "file:secret"},
    "connections": {
        "main": {
            "platform": {
                "type": "chatwoot", "url": "https://chat.example", "account": 1, "token": "file:secret",
                "webhook_secret": "env:FUZZ_KEY",
            },
            "crm": {
                "type": "salesforce", "url": "https://acme.my.salesforce.example", "api_version": "67.0", "ca": "ca.pem",
                "auth": {"flow": "jwt", "client_id": "connector", "username": "u@acme.example", "private_key": "file:secret"},
            },
            "mapping": "mapping.yaml",
            "crm_daily_share": 0.5,
            "history": "30d",
        },
        "second": {
            "platform": {"type": "chatwoot", "url": "http://127.0.0.1:8801", "account": 2, "token": "env:FUZZ_KEY"},
            "crm": {"type": "odoo", "url": "https://acme.example", "database": "acme", "login": "crm", "key": "env:FUZZ_KEY"},
            "mapping": "mapping.yaml",
        },
    },
    "service": {"host": "127.0.0.1", "port": 8080},
    "schedule": {"changes": "60s", "recheck": "1d"},
    "log": {"level": "info", "format": "text"},
}  # fmt: skip
SECRETS = (
    ("store", "key"), ("store", "password"), ("connections", "main", "platform", "token"),
    ("connections", "main", "platform", "webhook_secret"), ("connections", "main", "crm", "auth", "private_key"),
    ("connections", "second", "crm", "key"),
)  # fmt: skip

Load = Any


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Reads a text as a config file; what it refers to holds the secret."""
    monkeypatch.setenv("FUZZ_KEY", SECRET)
    (tmp_path / ".sandbox").mkdir()
    (tmp_path / "mappings").mkdir()
    for name in ("secret", ".sandbox/store-key", ".sandbox/chatwoot-token", ".sandbox/salesforce-client-secret"):
        (tmp_path / name).write_text(SECRET)
    for name in ("mapping.yaml", "ca.pem", ".sandbox/ca.pem", "mappings/chatwoot-salesforce.yaml"):
        (tmp_path / name).write_text("version: 1\n")
    path = tmp_path / "config.yaml"

    def read(text: str | bytes) -> ConfigError | None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return problems(
            lambda: usable(load_config(path)), str(path), str(text).count("\n") + str(text).count("\\n") + 1
        )

    return read


def usable(config: Config) -> None:
    assert config.connections
    for one in config.connections.values():
        assert one.mapping.is_file()
        assert one.platform.token.reveal() == SECRET
    assert SECRET not in repr(config)
    assert SECRET not in config.model_dump_json()


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else ()
    return [found for key, value in items for found in ((*path, key), *places(value, (*path, key)))]


PLACES = places(WHOLE)

VALUES = (
    "env:", "env: ", "file:", "file:~nosuchuser/x", "~nosuchuser/x", "file:/proc/1/root/x", "/proc/1/root/x", "file:.", "x" * 5000, "x/" * 3000,
    "file:" + "x" * 300, "file:\ud800", "env:\ud800", "env:a=b", "env:\x00", "postgresql://", "postgresql://[x", "postgresql://h:port/db", "sqlite:///",
    "https://u:p@h.example", "https://h.example?x", "https://h.example/\ud800", "http://h.example", "0s", "999999d", "9999999d", "60", "٣s", "٦٧.0",
    "1e999", True, False, 0, -1, 65536, 10**30, 0.0, float("nan"), float("inf"), [], {}, [[]], {"a": {}}, None, "2026-01-02", "no",
)  # fmt: skip


@st.composite
def bent(draw: Any) -> str:
    tree = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(PLACES))
        parent: Any = tree
        for key in path[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(parent, dict) or path[-1] not in parent:
            continue
        match draw(st.sampled_from(["delete", "swap", "swap", "swap", "rename", "nest", "wrap"])):
            case "delete":
                del parent[path[-1]]
            case "swap":
                parent[path[-1]] = draw(st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), trees))
            case "rename":
                parent[draw(texts)] = parent.pop(path[-1])
            case "nest":
                parent[path[-1]] = {draw(texts): parent[path[-1]]}
            case "wrap":
                parent[path[-1]] = [parent[path[-1]]]
    return json.dumps(tree, indent=1)


def changed(*path: Any, to: Any) -> str:
    tree = copy.deepcopy(WHOLE)
    parent: Any = tree
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = to
    return json.dumps(tree, indent=1)


@fuzz(80)
@given(text=bent())
@example(text=changed("store", "key", to="file:~nosuchuser/x"))
@example(text=changed("store", "key", to="env:\ud800"))
@example(text=changed("connections", "main", "mapping", to="~nosuchuser/x"))
@example(text=changed("connections", "main", "mapping", to="x" * 5000))
@example(text=changed("connections", "main", "crm", "ca", to="x/" * 3000))
@example(text=changed("connections", "main", "platform", "account", to=10**30))
@example(text=changed("service", "port", to=float("nan")))
def test_a_config_bent_out_of_shape_is_read_or_refused_clearly(load: Load, text: str) -> None:
    load(text)


@fuzz(40)
@given(
    cuts=st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 40), st.one_of(texts, st.sampled_from(["\n", "\t", "- ", ": ", "*", "&"]))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_example_with_characters_taken_out_and_put_in_is_read_or_refused_clearly(
    load: Load, cuts: list[tuple[float, int, str]]
) -> None:
    text = EXAMPLE
    for place, length, put in cuts:
        at = int(place * len(text))
        text = text[:at] + put + text[at + length :]
    load(text)


@fuzz(30)
@given(head=st.floats(0, 1), junk=st.binary(max_size=30))
def test_bytes_that_are_no_text_are_refused_clearly(load: Load, head: float, junk: bytes) -> None:
    raw = EXAMPLE.encode()
    at = int(head * len(raw))
    load(raw[:at] + junk + raw[at:])


def test_what_is_not_bent_is_read(load: Load) -> None:
    assert load(EXAMPLE) is None
    assert load(json.dumps(WHOLE)) is None


WRONG = (
    (("store", "url"), "mysql://db.example"), (("connections", "main", "platform", "account"), True),
    (("connections", "main", "platform", "url"), "http://chat.example"), (("connections", "main", "crm", "api_version"), "٦٧.0"),
    (("connections", "main", "crm", "ca"), "~nosuchuser/ca.pem"), (("connections", "main", "crm_daily_share"), True),
    (("connections", "second", "crm", "database"), 5), (("connections", "second", "mapping"), "x" * 300),
    (("service", "port"), True), (("schedule", "changes"), "0s"), (("log", "level"), "no"),
)  # fmt: skip


@fuzz(30)
@given(wrong=st.lists(st.sampled_from(WRONG), min_size=1, unique=True))
@example(wrong=list(WRONG))
def test_every_wrong_value_is_told_at_once_with_its_line(load: Load, wrong: list[tuple[tuple[str, ...], Any]]) -> None:
    tree = copy.deepcopy(WHOLE)
    for path, value in wrong:
        parent: Any = tree
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
    text = json.dumps(tree, indent=1)
    error = load(text)
    told = {problem.path: problem.line for problem in error.problems}
    assert set(told) == {".".join(path) for path, _ in wrong}
    lines = text.splitlines()
    assert all(path.rpartition(".")[2] in lines[line - 1] for path, line in told.items())


FORMS = (
    "{}", '"{}"', "'{}'", "*{}", "&{} x", "!{}", "!!{} x", "!{}!x y", "!<{}> x", "[{}]", "{{{}: x}}", "[*{}]", "{{a: *{}}}", "%{}", "@{}", "`{}",
    "|{}", ">{}", "- {}", "? {}", "{}: x", '"{}', "'{}", "'{}'x", '"\\{}"', "{} # x", "env: {}", "file: {}", "secret:{}", ":{}", "{}\n{}", "\x07{}", "\t{}",
    "*{}*x", "<<: {}", "{}: *{}", "&a {} &a", "!!int {}", "!!float {}", "!!bool {}", "!!binary {}", "!!timestamp {}", "0x{}", "[{}", "{{{}", "]{}",
)  # fmt: skip


@fuzz(50)
@given(path=st.sampled_from(SECRETS), form=st.sampled_from(FORMS))
@example(path=("store", "key"), form="*{}")
@example(path=("store", "key"), form="!{}")
@example(path=("store", "key"), form="!{}!x y")
@example(path=("store", "key"), form="&a {} &a")
def test_a_secret_pasted_where_a_reference_belongs_is_refused_and_not_repeated(
    load: Load, path: tuple[str, ...], form: str
) -> None:
    """`problems` looks for the secret in the error and in warnings."""
    marker = "PUT-IT-HERE"
    text = changed(*path, to=marker).replace(
        f'"{marker}"', form.replace("{}", SECRET).replace("{{", "{").replace("}}", "}")
    )
    assert load(text) is not None


URLS = (
    "postgresql://u:{}@h.example/db", "postgresql://u:{}/x@h.example/db", "postgresql://h.example:{}/db", "postgresql://h.example:5432{}/db",
    "postgresql://u:a@{}@h.example/db", "postgresql://u:{}#x@h.example/db", "postgresql://u:{}?x@h.example/db", "postgresql://u:{}:x@h:y/db",
    "postgresql://h.example/db?password={}", "postgresql://h.example/db?sslpassword={}", "postgresql+psycopg://u:{}@h", "mysql://u:{}@h",
    "sqlite:///x.db?password={}", "postgresql://[{}]:x/db", "postgresql://u:{}%zz@h:x",
)  # fmt: skip


@fuzz(20)
@given(form=st.sampled_from(URLS), more=texts)
@example(form="postgresql://h.example:{}/db", more="")
@example(form="postgresql://h.example/db?password={}", more="")
def test_a_password_in_the_address_of_the_store_is_refused_and_not_repeated(load: Load, form: str, more: str) -> None:
    for text in (form, form + more):
        assert load(changed("store", "url", to=text.replace("{}", SECRET))) is not None


def test_a_variable_that_is_no_utf8_is_told_and_not_shown(load: Load) -> None:
    os.environb[b"FUZZ_KEY"] = SECRET.encode() + b"\xff"
    error = load(json.dumps(WHOLE))
    assert {problem.path for problem in error.problems} >= {"store.key", "connections.second.crm.key"}


def test_the_example_in_yaml_says_the_same_as_in_json(load: Load) -> None:
    assert load(json.dumps(YAML(typ="safe").load(EXAMPLE))) is None
