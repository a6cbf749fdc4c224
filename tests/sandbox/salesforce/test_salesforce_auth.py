"""Logging in, tokens that die, versions, and the API call allowance."""

import stat
import time
from typing import Any

import jwt
import pytest

JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def assertion(org: Any, *, key: str | None = None, **changes: Any) -> str:
    claims = {
        "iss": "connector",
        "sub": "integration@acme.example",
        "aud": "https://login.salesforce.com",
        "exp": int(time.time()) + 120,
    }
    return jwt.encode(claims | changes, key or org.secret("salesforce-jwt-key.pem"), algorithm="RS256")


def test_client_credentials_give_a_token_without_expiry(org: Any) -> None:
    secret = org.secret("salesforce-client-secret")
    answer = org.token(grant_type="client_credentials", client_id="connector", client_secret=secret)
    assert answer.status_code == 200
    assert "expires_in" not in answer.json()
    assert answer.json()["instance_url"] == org.url
    assert answer.json()["token_type"] == "Bearer"


def test_client_credentials_in_a_basic_header_work_too(org: Any) -> None:
    answer = org.http.post(
        f"{org.url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("connector", org.secret("salesforce-client-secret")),
        headers={"Authorization": None},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "client_credentials", "client_id": "connector", "client_secret": "no"}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "no"}, "invalid_client_id"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
        ({"grant_type": JWT, "assertion": "x.y.z"}, "invalid_grant"),
    ],
    ids=["wrong secret", "unknown client", "password flow", "no flow", "assertion that is no token"],
)
def test_a_wrong_login_is_refused_as_an_oauth_error(org: Any, form: dict[str, str], error: str) -> None:
    answer = org.token(**form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"]


def test_a_signed_assertion_logs_the_integration_user_in(org: Any) -> None:
    answer = org.token(grant_type=JWT, assertion=assertion(org))
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://evil.example"},
        {"exp": 1},
        {"exp": int(time.time()) + 3600},
        {"sub": "somebody@acme.example"},
    ],
    ids=["wrong audience", "expired", "too far ahead", "user not approved"],
)
def test_an_assertion_with_wrong_claims_is_refused(org: Any, changes: dict[str, Any]) -> None:
    answer = org.token(grant_type=JWT, assertion=assertion(org, **changes))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_an_assertion_signed_by_another_key_is_refused(org: Any) -> None:
    other = (org.directory / "salesforce-server-key.pem").read_text()
    claims = {"iss": "connector", "sub": "integration@acme.example", "aud": org.url, "exp": int(time.time()) + 60}
    forged = jwt.encode(claims, other, algorithm="ES256")
    assert org.token(grant_type=JWT, assertion=forged).json()["error"] == "invalid_grant"


def test_each_use_of_a_refresh_token_replaces_it(org: Any) -> None:
    login = {"client_id": "connector", "client_secret": org.secret("salesforce-client-secret")}
    first = org.secret("salesforce-refresh-token")
    second = org.token(grant_type="refresh_token", refresh_token=first, **login)
    assert second.status_code == 200
    assert org.token(grant_type="refresh_token", refresh_token=first, **login).json()["error"] == "invalid_grant"
    fresh = second.json()["refresh_token"]
    assert org.token(grant_type="refresh_token", refresh_token=fresh, **login).status_code == 200


def test_an_inactive_user_cannot_log_in(org: Any) -> None:
    user = {"Username": "dana@acme.example", "Email": "dana@acme.example", "LastName": "Visser"}
    org.seed("User", user | {"IsActive": False})
    secret = org.secret("salesforce-user-secret")
    answer = org.token(grant_type="client_credentials", client_id="crm-user", client_secret=secret)
    org.seed("User", user | {"IsActive": True})
    assert answer.json() == {"error": "invalid_grant", "error_description": "inactive user"}


def test_an_org_that_moved_answers_only_where_the_next_login_says(org: Any) -> None:
    org.control("POST", "settings", {"instance_host": "localhost"})
    assert org.call("GET", "limits").status_code == 404
    secret = org.secret("salesforce-client-secret")
    moved = org.token(grant_type="client_credentials", client_id="connector", client_secret=secret).json()
    assert moved["instance_url"] == org.url.replace("127.0.0.1", "localhost")
    assert org.http.get(f"{moved['instance_url']}/services/data/v67.0/limits").status_code == 200


def test_logins_beyond_the_cap_are_refused(org: Any) -> None:
    org.control("POST", "settings", {"login_limit": 0})
    secret = org.secret("salesforce-client-secret")
    answer = org.token(grant_type="client_credentials", client_id="connector", client_secret=secret)
    assert answer.json()["error_description"] == "login rate exceeded"


@pytest.mark.parametrize("name", ["client-secret", "user-secret", "jwt-key.pem", "refresh-token", "server-key.pem"])
def test_secret_files_are_readable_by_their_owner_only(org: Any, name: str) -> None:
    assert stat.S_IMODE((org.directory / f"salesforce-{name}").stat().st_mode) == 0o600


def test_userinfo_names_the_user_behind_the_token(org: Any, human: Any) -> None:
    names = [c.call("GET", "/services/oauth2/userinfo").json()["preferred_username"] for c in (org, human)]
    assert names == ["integration@acme.example", "dana@acme.example"]


@pytest.mark.parametrize("header", [None, "Bearer nothing", "Basic abc"])
def test_a_call_without_a_living_token_is_401_with_the_session_code(org: Any, header: str | None) -> None:
    answer = org.call("GET", "limits", headers={"Authorization": header})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")


def test_a_token_dies_after_the_uses_it_was_given(org: Any) -> None:
    org.login()
    org.control("POST", "settings", {"token_uses": 2})
    assert [org.call("GET", "limits").status_code for _ in range(3)] == [200, 200, 401]


def test_versions_are_listed_without_a_token(org: Any) -> None:
    answer = org.call("GET", "/services/data/", headers={"Authorization": None})
    assert [v["version"] for v in answer.json()][::21] == ["46.0", "67.0"]


@pytest.mark.parametrize("version", ["45.0", "68.0", "67.5", "x"])
def test_an_unknown_version_is_404(org: Any, version: str) -> None:
    assert org.call("GET", f"/services/data/v{version}/limits").status_code == 404


def test_every_answer_tells_the_used_allowance_and_limits_agrees(org: Any) -> None:
    org.control("POST", "stats/reset")
    org.call("GET", "sobjects")
    answer = org.call("GET", "limits")
    assert answer.headers["Sforce-Limit-Info"] == "api-usage=2/100000"
    assert answer.json()["DailyApiRequests"] == {"Max": 100_000, "Remaining": 99_998}


def test_an_exhausted_allowance_refuses_every_call(org: Any) -> None:
    used = org.control("GET", "stats")["used_calls"]
    org.control("POST", "settings", {"daily_limit": used + 1})
    assert org.call("GET", "limits").status_code == 200
    answer = org.call("GET", "limits")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
    assert answer.json()[0]["message"].startswith("TotalRequests")


def test_an_unknown_route_is_404_and_counted(org: Any) -> None:
    org.control("POST", "stats/reset")
    assert org.call("GET", "tooling/query").status_code == 404
    assert org.call("GET", "/services/apexrest/x").status_code == 501
    assert org.control("GET", "stats")["unknown"] == 2


def test_a_uri_beyond_16384_bytes_is_414(org: Any) -> None:
    assert org.call("GET", "query", params={"q": "x" * 15_000}).status_code == 400
    assert org.call("GET", "query", params={"q": "x" * 16_400}).status_code == 414


def test_a_uri_and_headers_beyond_16384_bytes_are_431(org: Any) -> None:
    assert org.call("GET", "limits", headers={"X-Note": "x" * 16_384}).status_code == 431
