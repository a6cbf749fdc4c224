"""Logging in: the three flows against an org over HTTPS, tokens that die, and answers that mean an admin must act."""

import json
import logging
import threading
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
import responses

from connector.adapters.base import Window
from connector.adapters.salesforce import ClientCredentials, JwtBearer, RefreshToken, Salesforce, Vault
from connector.adapters.salesforce.tokens import audience
from connector.errors import AuthError, RemoteError, Transient, Unreadable

URL = "https://acme.my.salesforce.example"
TOKEN_URL = f"{URL}/services/oauth2/token"
USERINFO = {"user_id": "0055g0000000002AAA", "organization_id": "00D5g0000000001EAA"}
ORGANIZATION = {"records": [{"Id": "00D5g0000000001EAA", "Name": "Acme"}], "done": True, "totalSize": 1}


def vault_of(kept: dict[str, str]) -> Vault:
    return Vault(kept.get, kept.__setitem__)


@pytest.mark.parametrize("flow", ["credentials", "jwt"])
def test_each_flow_logs_in_once(org, flow):
    adapter = org.adapter(getattr(org, flow))
    assert adapter.check().name == "Acme"
    adapter.users()
    assert org.stats()["logins"] == 1


@pytest.fixture
def refresh(org):
    """The refresh token and the vault for its successors; the last one is left for the next test."""
    kept: dict[str, str] = {}
    yield org.refresh, vault_of(kept)
    (org.directory / "salesforce-refresh-token").write_text(next(iter(kept.values())))


def test_a_replaced_refresh_token_is_kept_and_used_after_a_restart(org, refresh):
    auth, vault = refresh
    for _ in range(2):
        org.adapter(auth, vault=vault).check()
    assert org.stats()["logins"] == 2


def test_workers_with_one_refresh_token_find_each_others_successor(org, refresh):
    auth, vault = refresh
    one, two = (org.adapter(auth, vault=vault) for _ in range(2))
    for adapter in (one, two, one, two):
        org.control("expire", {})
        assert adapter.users()
        org.clock.advance(days=2)


def test_a_worker_whose_token_was_replaced_a_moment_ago_reads_the_vault_again(org, refresh):
    auth, vault = refresh
    late = [True]

    def get(name: str) -> str | None:
        if late:
            late.clear()
            org.adapter(auth, vault=vault).check()
            return None
        return vault.get(name)

    assert org.adapter(auth, vault=Vault(get, vault.put)).users()


def test_an_expired_token_costs_one_login(org, sf):
    org.control("expire", {})
    assert sf.users()
    assert org.stats()["logins"] == 1


def test_many_threads_that_meet_one_dead_token_log_in_once(org, sf):
    org.control("expire", {})
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def work() -> None:
        start.wait()
        try:
            list(sf.pull("changes", Window(resume='{"until":null,"steps":[]}')))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert org.stats()["logins"] == 1


@pytest.mark.parametrize("body", ["array", "object", "html"])
def test_a_401_that_outlives_a_new_token_stops_after_it(org, sf, body):
    org.fault("permanent_401", body=body)
    with pytest.raises(AuthError) as caught:
        sf.users()
    assert caught.value.way_out
    assert org.stats()["logins"] == 1
    assert org.naps == []


def test_a_token_is_replaced_before_the_session_times_out(org, sf):
    org.clock.advance(minutes=91)
    sf.users()
    sf.describe("Contact")
    assert org.stats()["logins"] == 1


@pytest.mark.parametrize("wrong", ["secret", "client", "user", "key"])
def test_wrong_credentials_name_the_way_out_and_never_the_secret(org, wrong, caplog):
    caplog.set_level(logging.DEBUG)
    auth = {
        "secret": replace(org.credentials, client_secret="TopSecretValue"),
        "client": replace(org.credentials, client_id="nobody"),
        "user": replace(org.jwt, username="nobody@acme.example"),
        "key": replace(org.jwt, private_key="-----BEGIN PRIVATE KEY-----\nTopSecretValue\n-----END PRIVATE KEY-----"),
    }[wrong]
    with pytest.raises(AuthError) as caught:
        org.adapter(auth).check()
    assert caught.value.way_out
    assert "TopSecretValue" not in f"{caught.value} {caught.value!r} {auth!r} {caplog.text}"


def test_secrets_and_tokens_are_never_logged(org, refresh, caplog):
    caplog.set_level(logging.DEBUG)
    auth, vault = refresh
    for used in (org.credentials, org.jwt, auth):
        org.adapter(used, vault=vault).check()
    for secret in (org.credentials.client_secret, auth.refresh_token, "eyJ", "00D5g000000000!"):
        assert secret not in caplog.text


def test_an_untrusted_certificate_is_named(org):
    with pytest.raises(AuthError) as caught:
        org.adapter(ca=None).check()
    assert "certificate" in str(caught.value)


def test_the_authority_in_the_config_wins_over_the_environment(org, tmp_path, monkeypatch):
    other = tmp_path / "other.pem"
    other.write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert org.adapter().check().name == "Acme"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://login.salesforce.com", "https://login.salesforce.com"),
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://test.salesforce.com", "https://test.salesforce.com"),
        ("https://acme--dev.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://acme.my.site.example", "https://acme.my.site.example"),
    ],
)
def test_an_assertion_is_for_the_login_host_of_its_kind(url, expected):
    assert audience(url) == expected


@pytest.fixture
def stub(clock):
    with responses.RequestsMock() as mock:
        mock.clock = clock
        yield mock


def connected(clock, naps=None, auth=None, **options) -> Salesforce:
    nap = (naps if naps is not None else []).append
    return Salesforce(URL, auth or ClientCredentials("id", "secret"), {}, clock=clock, sleep=nap, **options)


@pytest.mark.parametrize(
    ("status", "body", "error", "way_out"),
    [
        (
            400,
            {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"},
            AuthError,
            "Pre-auth",
        ),
        (400, {"error": "invalid_grant", "error_description": "inactive user"}, AuthError, "Activate"),
        (400, {"error": "invalid_grant", "error_description": "ip restricted"}, AuthError, "IP relaxation"),
        (400, {"error": "invalid_grant", "error_description": "expired access/refresh token"}, AuthError, "Authorise"),
        (400, {"error": "invalid_grant", "error_description": "login rate exceeded"}, AuthError, "wait an hour"),
        (400, {"error": "invalid_client", "error_description": "invalid client credentials"}, AuthError, "secret"),
        (400, {"error": "something_new"}, AuthError, "Check"),
        (404, "<html>no such page</html>", Unreadable, "url"),
        (200, "<html>welcome</html>", Unreadable, ""),
        (200, {"access_token": "t"}, Unreadable, "url"),
    ],
)
def test_what_a_token_endpoint_answers(stub, clock, status, body, error, way_out):
    text, kind = (body, "text/html") if isinstance(body, str) else (json.dumps(body), "application/json")
    stub.post(TOKEN_URL, body=text, status=status, content_type=kind)
    naps: list[float] = []
    with pytest.raises(RemoteError) as caught:
        connected(clock, naps).check()
    assert type(caught.value) is error
    assert way_out in caught.value.way_out
    assert naps == []


def test_a_login_host_in_trouble_is_waited_for(stub, clock):
    stub.post(TOKEN_URL, body="<html>", status=503, content_type="text/html")
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL})
    stub.get(f"{URL}/services/oauth2/userinfo", json=USERINFO)
    stub.post(f"{URL}/services/data/v67.0/composite", json=composite(ORGANIZATION))
    naps: list[float] = []
    assert connected(clock, naps).check().id == "00D5g0000000001EAA"
    assert len(naps) == 1


def composite(*bodies, status: int = 200) -> dict:
    return {
        "compositeResponse": [
            {"referenceId": f"r{place}", "httpStatusCode": status, "body": body} for place, body in enumerate(bodies)
        ]
    }


def test_every_call_goes_to_the_host_that_the_token_names_with_our_name_on_it(stub, clock):
    other = "https://elsewhere.my.salesforce.example"
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": other})
    stub.get(f"{other}/services/oauth2/userinfo", json=USERINFO)
    sent = stub.post(f"{other}/services/data/v67.0/composite", json=composite(ORGANIZATION))
    connected(clock).check()
    headers = sent.calls[0].request.headers
    assert headers["Sforce-Call-Options"] == "client=connector"
    assert headers["Authorization"] == "Bearer t"
    assert sent.calls[0].request.req_kwargs["timeout"] == (10, 120.0)


def test_an_org_that_moved_is_followed_after_a_refresh(stub, clock):
    new = "https://moved.my.salesforce.example"
    stub.post(TOKEN_URL, json={"access_token": "old", "instance_url": URL})
    stub.post(TOKEN_URL, json={"access_token": "new", "instance_url": new})
    stub.get(f"{URL}/services/oauth2/userinfo", status=420)
    stub.get(f"{new}/services/oauth2/userinfo", json=USERINFO)
    stub.post(f"{new}/services/data/v67.0/composite", json=composite(ORGANIZATION))
    assert connected(clock).check().user == USERINFO["user_id"]


def test_a_session_that_no_token_can_cure_is_not_refreshed(stub, clock):
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL})
    message = "This session is not valid for use with the REST API"
    stub.get(
        f"{URL}/services/oauth2/userinfo", status=401, json=[{"errorCode": "INVALID_SESSION_ID", "message": message}]
    )
    with pytest.raises(AuthError, match="REST API"):
        connected(clock).check()
    assert len(stub.calls) == 2


def test_a_new_refresh_token_is_stored_before_the_new_access_token_is_used(stub, clock):
    kept: dict[str, str] = {}
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL, "refresh_token": "next"})

    def userinfo(request):
        assert list(kept.values()) == ["next"]
        return 200, {}, json.dumps(USERINFO)

    stub.add_callback("GET", f"{URL}/services/oauth2/userinfo", userinfo, content_type="application/json")
    stub.post(f"{URL}/services/data/v67.0/composite", json=composite(ORGANIZATION))
    connected(clock, auth=RefreshToken("id", "first"), vault=vault_of(kept)).check()
    assert parse_qs(stub.calls[0].request.body)["refresh_token"] == ["first"]
    assert "first" not in str(kept)


def test_a_new_refresh_token_in_the_config_wins_over_the_kept_one(stub, clock):
    kept: dict[str, str] = {}
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL, "refresh_token": "next"})
    stub.get(f"{URL}/services/oauth2/userinfo", json=USERINFO)
    stub.post(f"{URL}/services/data/v67.0/composite", json=composite(ORGANIZATION))
    for configured in ("first", "first", "second"):
        connected(clock, auth=RefreshToken("id", configured), vault=vault_of(kept)).check()
    used = [parse_qs(call.request.body)["refresh_token"][0] for call in stub.calls if call.request.url == TOKEN_URL]
    assert used == ["first", "next", "second"]


def test_a_rotating_token_without_a_store_is_refused_with_the_way_out(stub, clock):
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL, "refresh_token": "next"})
    with pytest.raises(AuthError) as caught:
        connected(clock, auth=RefreshToken("id", "first")).check()
    assert "store" in caught.value.way_out


def test_a_key_that_cannot_be_read_is_named(clock):
    with pytest.raises(AuthError, match="private key"):
        connected(clock, auth=JwtBearer("id", "integration@acme.example", "not a key")).check()


def test_a_plain_http_answer_or_a_wrong_document_is_unreadable(stub, clock):
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL})
    stub.get(f"{URL}/services/oauth2/userinfo", json=USERINFO)
    stub.post(f"{URL}/services/data/v67.0/composite", json={"compositeResponse": []})
    with pytest.raises(Unreadable):
        connected(clock).check()


def test_a_cut_answer_is_repeated_and_then_named(stub, clock):
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL})
    stub.get(f"{URL}/services/oauth2/userinfo", body='{"user_id": "005', content_type="application/json")
    naps: list[float] = []
    with pytest.raises(Transient):
        connected(clock, naps).check()
    assert len(naps) == 3


def test_a_describe_is_asked_again_with_its_own_date(stub, clock):
    stub.post(TOKEN_URL, json={"access_token": "t", "instance_url": URL})
    address = f"{URL}/services/data/v67.0/sobjects/Thing__c/describe"
    body = {"name": "Thing__c", "createable": True, "updateable": False, "fields": []}
    modified = "Thu, 01 Jan 2026 00:00:00 GMT"
    stub.get(address, json=body, headers={"Last-Modified": modified})
    adapter = connected(clock)
    assert adapter.describe("Thing__c").updateable is False
    clock.advance(hours=2)
    stub.remove("GET", address)
    stub.get(address, status=304, match=[responses.matchers.header_matcher({"If-Modified-Since": modified})])
    assert adapter.describe("Thing__c").createable is True
    clock.advance(hours=2)
    stub.remove("GET", address)
    stub.get(address, json={**body, "createable": False})
    assert adapter.describe("Thing__c").createable is False
