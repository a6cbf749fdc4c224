"""Access tokens: the three OAuth flows, and one token at a time shared by all threads.

Salesforce names no life time in its answer, so a token is used until it is refused, and replaced before that when it is
older than `OLD`. Nothing is ever revoked: a revoked token ends the sessions of every other program of the same user.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import jwt
import requests
from oauthlib.oauth2 import BackendApplicationClient, ServiceApplicationClient, WebApplicationClient

from connector.adapters import http
from connector.adapters.salesforce.ids import SYSTEM
from connector.errors import AuthError, RemoteError, Transient, Unreadable

OLD = timedelta(minutes=90)
"""The default session time-out of an org is two hours (Salesforce Help, "Modify Session Security Settings")."""
ASSERTION_LIFE = timedelta(minutes=3)
"""Longest life of a JWT assertion (Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration")."""

# oauthlib logs request bodies, which hold secrets, at debug level.
logging.getLogger("oauthlib").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The app acts as its run-as user. Works on the My Domain address only."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """The app signs for `username` with `private_key` (PEM), whose certificate the app knows."""

    client_id: str
    username: str
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A user has agreed once; the refresh token stands for that, and may be replaced at each use."""

    client_id: str
    refresh_token: str = field(repr=False)
    client_secret: str | None = field(default=None, repr=False)


Auth: TypeAlias = ClientCredentials | JwtBearer | RefreshToken


@dataclass(frozen=True, slots=True)
class Vault:
    """Where replaced refresh tokens are kept, encrypted: `get(name)` answers None when there is none."""

    get: Callable[[str], str | None]
    put: Callable[[str, str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """An access token and the only host it is good for."""

    access: str = field(repr=False)
    instance_url: str
    fetched_at: datetime


class Tokens:
    """Hands out the current token. `clock` answers an aware UTC time."""

    def __init__(
        self, url: str, auth: Auth, session: requests.Session, *, clock: Callable[[], datetime], vault: Vault | None
    ) -> None:
        self._url = url.rstrip("/")
        self._auth = auth
        self._session = session
        self._clock = clock
        self._vault = vault
        # Twenty threads meet the same dead token: the first logs in, the others wait here and take its result.
        self._lock = threading.Lock()
        self._token: Token | None = None

    def current(self) -> Token:
        """The token to use now. Raises AuthError when an admin must act, Transient when the login host is in trouble."""
        with self._lock:
            if self._token is None or self._clock() - self._token.fetched_at > OLD:
                self._token = self._login()
            return self._token

    def renew(self, dead: Token) -> Token:
        """A token other than `dead`, which was just refused. Raises as `current` does."""
        with self._lock:
            if self._token is None or self._token is dead:
                self._token = None
                self._token = self._login()
            return self._token

    def _login(self) -> Token:
        match self._auth:
            case ClientCredentials(client_id, client_secret):
                backend = BackendApplicationClient(client_id)
                body = backend.prepare_request_body(include_client_id=True, client_secret=client_secret)
                return self._token_of(self._post(body))
            case JwtBearer(client_id, username, private_key):
                return self._token_of(self._post(self._assertion(client_id, username, private_key)))
            case RefreshToken():
                return self._token_of(self._refresh(self._auth))

    def _assertion(self, client_id: str, username: str, private_key: str) -> str:
        service = ServiceApplicationClient(client_id, private_key=private_key)
        now = self._clock()
        try:
            return str(
                service.prepare_request_body(
                    issuer=client_id,
                    subject=username,
                    audience=audience(self._url),
                    issued_at=int(now.timestamp()),
                    expires_at=int((now + ASSERTION_LIFE).timestamp()),
                )
            )
        except (ValueError, TypeError, jwt.PyJWTError):
            raise AuthError(
                SYSTEM,
                "private_key",
                "the private key cannot be read.",
                "Give the RSA key of the app's certificate as an unencrypted PEM file.",
            ) from None

    def _refresh(self, auth: RefreshToken) -> Mapping[str, Any]:
        # A token that the admin newly put into the config must win over the successors of the one before it.
        name = f"salesforce-refresh-token:{hashlib.sha256(auth.refresh_token.encode()).hexdigest()[:16]}"
        used = self._kept(name) or auth.refresh_token
        try:
            answer = self._exchange(auth, used)
        except AuthError:
            # Two workers share the token: the other one has just replaced it, ours is dead and its successor is stored.
            newer = self._kept(name)
            if newer is None or newer == used:
                raise
            used, answer = newer, self._exchange(auth, newer)
        rotated = answer.get("refresh_token")
        if rotated and rotated != used:
            if self._vault is None:
                raise AuthError(
                    SYSTEM,
                    "rotation",
                    "the org replaced the refresh token, but there is no store to keep the new one.",
                    "Configure a store with a key, or switch refresh token rotation off for the app.",
                )
            # Stored before the new access token is used: a crash in between must not lose the only valid token.
            self._vault.put(name, rotated)
        return answer

    def _kept(self, name: str) -> str | None:
        return self._vault.get(name) if self._vault else None

    def _exchange(self, auth: RefreshToken, token: str) -> Mapping[str, Any]:
        named = {"client_id": auth.client_id}
        if auth.client_secret:
            named["client_secret"] = auth.client_secret
        return self._post(WebApplicationClient(auth.client_id).prepare_refresh_body(refresh_token=token, **named))

    def _post(self, body: str) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        try:
            response = self._session.post(f"{self._url}/services/oauth2/token", data=body, headers=headers)
        except requests.RequestException as error:
            raise http.failure(SYSTEM, error) from None
        if response.status_code != 200:
            raise refusal(response)
        answer = http.read_json(SYSTEM, response)
        if not isinstance(answer, dict):
            raise Unreadable(SYSTEM, "token", "the token answer is not an object.", "Check `url` in the config.")
        return answer

    def _token_of(self, answer: Mapping[str, Any]) -> Token:
        access, instance_url = answer.get("access_token"), answer.get("instance_url")
        if not (isinstance(access, str) and isinstance(instance_url, str)):
            raise Unreadable(
                SYSTEM, "token", "the token answer names no token or no host.", "Check `url` in the config."
            )
        return Token(access, instance_url, self._clock())


def audience(url: str) -> str:
    """Who a JWT assertion is for: the login host of production or of sandboxes; any other host stands for itself
    (an Experience Cloud site)."""
    host = urlsplit(url).hostname or ""
    if host == "test.salesforce.com" or host.endswith(".sandbox.my.salesforce.com"):
        return "https://test.salesforce.com"
    if host.endswith(".salesforce.com"):
        return "https://login.salesforce.com"
    return url


_WAYS_OUT = (
    ("approved", "Pre-authorise the integration user: assign the app's permission set to it."),
    ("inactive user", "Activate the integration user."),
    ("ip restricted", "Allow this server's address in the app's IP relaxation or the user's login hours and ranges."),
    ("login rate", "Too many logins in the last hour: stop other programs that log in as this user, wait an hour."),
    ("no client credentials user", "Choose a run-as user in the app's policies."),
    ("expired access/refresh token", "Authorise again and put the new refresh token into the config."),
    ("expired authorization code", "Check this machine's clock: the assertion's time does not fit the org's."),
    ("audience", "Check `url`: login.salesforce.com, test.salesforce.com for a sandbox, or the My Domain address."),
    ("domain", "Use the My Domain address (https://NAME.my.salesforce.com) as `url`."),
)
"""Texts in `error_description` and what an admin does about them (Salesforce Help, "OAuth Authorization Errors")."""


def refusal(response: requests.Response) -> RemoteError:
    """What a token endpoint's error answer means."""
    status = response.status_code
    if status >= 500 or status in {406, 420, 429}:
        return Transient(SYSTEM, str(status), "the login host is in trouble.", retry_after=http.retry_after(response))
    try:
        answer = response.json()
    except requests.exceptions.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or "error" not in answer:
        return Unreadable(SYSTEM, str(status), "the login host answered no OAuth error.", "Check `url` in the config.")
    code, text = str(answer["error"]), str(answer.get("error_description", ""))
    way_out = next(
        (way for part, way in _WAYS_OUT if part in text.lower()), "Check client id, secret or key, and user."
    )
    return AuthError(SYSTEM, code, text or "the login was refused.", way_out)
