"""Secrets at rest."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from connector.errors import StoreError
from connector.store import vault
from connector.store.database import connect, transaction
from connector.store.store import Store

TOKEN = "refresh-5Aep861-very-secret"


def test_a_secret_comes_back_and_can_be_replaced(store):
    store.vault_put("salesforce", TOKEN)
    assert store.vault_get("salesforce") == TOKEN
    store.vault_put("salesforce", "another ☂")
    assert store.vault_get("salesforce") == "another ☂"
    assert store.vault_get("chatwoot") is None


def test_the_files_of_the_database_do_not_contain_the_secret(tmp_path: Path, clock):
    store = Store.open(f"sqlite:///{tmp_path / 'connector.db'}", key="key", clock=clock)
    store.vault_put("salesforce", TOKEN)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    store.close()
    files["closed"] = (tmp_path / "connector.db").read_bytes()
    assert any(b"salesforce" in content for content in files.values())
    assert not any(TOKEN.encode() in content for content in files.values())


def test_no_row_contains_the_secret_and_each_has_its_own_salt(store, url):
    for name in "ab":
        store.vault_put(name, TOKEN)
    engine = connect(url)
    with transaction(engine, writes=False) as db:
        first, second = db.execute(text("SELECT salt, secret FROM vault ORDER BY name")).all()
    engine.dispose()
    assert TOKEN not in f"{first}{second}"
    assert first.salt != second.salt
    assert first.secret != second.secret


def test_a_wrong_key_is_refused_with_the_way_out(store, url, clock):
    store.vault_put("salesforce", TOKEN)
    other = Store.open(url, key="another key", clock=clock)
    with pytest.raises(StoreError, match="cannot be opened with this key") as error:
        other.vault_get("salesforce")
    other.close()
    assert error.value.way_out
    assert "another key" not in str(error.value)


def test_without_a_key_nothing_is_kept_or_read(store, url, clock):
    store.vault_put("salesforce", TOKEN)
    other = Store.open(url, clock=clock)
    with pytest.raises(StoreError, match="has no key"):
        other.vault_get("salesforce")
    with pytest.raises(StoreError, match="has no key"):
        other.vault_put("chatwoot", "x")
    assert other.vault_get("chatwoot") is None
    other.close()


def test_a_row_that_was_tampered_with_is_refused():
    salt, sealed = vault.seal("key", TOKEN)
    with pytest.raises(StoreError, match="cannot be opened"):
        vault.unseal("key", "salesforce", salt, sealed[:-8] + "AAAAAA==")


def test_key_and_secret_are_not_shown_by_repr(store):
    store.vault_put("salesforce", TOKEN)
    assert "long random" not in f"{store!r} {store.at('main')!r}"


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
@settings(max_examples=15, deadline=None)
def test_any_text_comes_back_with_its_key(secret, key):
    salt, sealed = vault.seal(key, secret)
    assert vault.unseal(key, "name", salt, sealed) == secret
