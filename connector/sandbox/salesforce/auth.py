"""OAuth: the token endpoint's three flows, the access tokens it gave out, and the secrets the sandbox makes."""

import base64
import binascii
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.sandbox.salesforce.errors import refuse
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.standard import HUMAN, INTEGRATION

CLIENTS = {"connector": INTEGRATION, "crm-user": HUMAN}  # client id -> the user it runs as
SECRET_FILES = {"connector": "salesforce-client-secret", "crm-user": "salesforce-user-secret"}
REFRESH_FILE = "salesforce-refresh-token"
JWT_KEY_FILE = "salesforce-jwt-key.pem"
_AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")
_JWT_LIFE_S = 300  # an assertion may expire at most this much ahead ("OAuth 2.0 JWT Bearer Flow", Salesforce Help)


class OAuthError(Exception):
    """The token endpoint refuses: the error code and text of its JSON answer, always with status 400 or 401."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


@dataclass(slots=True)
class Session:
    """What an access token stands for, and how many calls it has served."""

    client: str
    user_id: str
    uses: int = 0


def write_secret(path: Path, text: str) -> None:
    """A file that only its owner can read, from the moment it exists."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


class Auth:
    """Clients, tokens and logins of one org. Secrets live in files of the org's directory; tokens survive a restart."""

    def __init__(self, org: Org, url: str) -> None:
        self._org, self._login_url = org, url
        self._secrets = {client: self._secret(SECRET_FILES[client]) for client in CLIENTS}
        first = self._secret(REFRESH_FILE)
        if org.store.state("refresh_token", None) is None:
            org.store.set_state("refresh_token", first)
        self._public_key = self._jwt_key()
        self._sessions = {t: Session(**s) for t, s in org.store.state("sessions", {}).items()}

    @property
    def instance_url(self) -> str:
        """Where the API lives: at the login address, unless the org has moved."""
        moved = self._org.settings.instance_host
        return f"https://{moved}:{self._login_url.rpartition(':')[2]}" if moved else self._login_url

    def _secret(self, name: str) -> str:
        path = self._org.directory / name
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def _jwt_key(self) -> rsa.RSAPublicKey:
        path = self._org.directory / JWT_KEY_FILE
        if not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_secret(path, pem.decode())
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        return loaded.public_key()

    def token(self, form: dict[str, str], authorization: str | None) -> dict[str, Any]:
        """The answer of the token endpoint. Raises OAuthError."""
        grant = form.get("grant_type", "")
        flows = {
            "client_credentials": self._client_credentials,
            "urn:ietf:params:oauth:grant-type:jwt-bearer": self._jwt_bearer,
            "refresh_token": self._refresh,
        }
        if grant not in flows:
            raise OAuthError("unsupported_grant_type", "grant type not supported")
        if self._org.stats.logins >= self._org.settings.login_limit:
            raise OAuthError("invalid_grant", "login rate exceeded")
        client, extra = flows[grant](form, authorization)
        username = CLIENTS[client]
        user = self._org.row(self._org.users[username]) or {}
        if not user.get("IsActive"):
            raise OAuthError("invalid_grant", "inactive user")
        self._org.stats.logins += 1
        token = f"00D5g000000000!{secrets.token_urlsafe(48)}"
        self._sessions[token] = Session(client, user["Id"])
        self._keep()
        answer = {
            "access_token": token,
            "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
            "scope": "api",
            "instance_url": self.instance_url,
            "id": f"{self._login_url}/id/{self.organization_id}/{user['Id']}",
            "token_type": "Bearer",
            "issued_at": str(int(time.time() * 1000)),
        }
        return answer | extra

    @property
    def organization_id(self) -> str:
        return next(iter(self._org.store.tables["Organization"].rows))

    def _client(self, form: dict[str, str], authorization: str | None) -> str:
        """The client that proved its secret, in the body or by Basic authentication."""
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization and authorization.lower().startswith("basic "):
            try:
                pair = base64.b64decode(authorization[6:], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise OAuthError("invalid_client", "invalid client credentials") from None
            name, _, secret = (unquote(part) for part in pair.partition(":"))
        if name not in CLIENTS:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if not secrets.compare_digest(secret.encode(), self._secrets[name].encode()):
            raise OAuthError("invalid_client", "invalid client credentials")
        return name

    def _client_credentials(self, form: dict[str, str], authorization: str | None) -> tuple[str, dict[str, str]]:
        return self._client(form, authorization), {}

    def _jwt_bearer(self, form: dict[str, str], authorization: str | None) -> tuple[str, dict[str, str]]:
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                self._public_key,
                algorithms=["RS256"],
                audience=[*_AUDIENCES, self._login_url],
                options={"require": ["iss", "sub", "aud", "exp"]},
            )
        except jwt.InvalidAudienceError:
            raise OAuthError("invalid_grant", "audience is invalid") from None
        except jwt.ExpiredSignatureError:
            raise OAuthError("invalid_grant", "expired authorization code") from None
        except jwt.PyJWTError:
            raise OAuthError("invalid_grant", "invalid assertion") from None
        if claims["iss"] != "connector":
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if int(claims["exp"]) > time.time() + _JWT_LIFE_S:
            raise OAuthError("invalid_grant", "assertion expires too far in the future")
        if claims["sub"] != CLIENTS["connector"]:
            raise OAuthError("invalid_grant", "user hasn't approved this consumer")
        return "connector", {}

    def _refresh(self, form: dict[str, str], authorization: str | None) -> tuple[str, dict[str, str]]:
        """Rotation: each use gives a new refresh token and ends the old one at once."""
        client = self._client(form, authorization)
        current = self._org.store.state("refresh_token", "")
        given = form.get("refresh_token", "")
        if client != "connector" or not secrets.compare_digest(given.encode(), current.encode()):
            raise OAuthError("invalid_grant", "expired access/refresh token")
        fresh = secrets.token_urlsafe(32)
        self._org.store.set_state("refresh_token", fresh)
        return client, {"refresh_token": fresh}

    def session(self, authorization: str | None) -> Session:
        """The session of a Bearer header. Raises Refused(INVALID_SESSION_ID)."""
        scheme, _, token = (authorization or "").partition(" ")
        session = self._sessions.get(token) if scheme in ("Bearer", "OAuth") else None
        if session is not None:
            session.uses += 1
            limit = self._org.settings.token_uses
            if not limit or session.uses <= limit:
                return session
            self._sessions.pop(token)
            self._keep()
        raise refuse("INVALID_SESSION_ID", "Session expired or invalid")

    def expire_all(self) -> None:
        """Every access token given out so far is refused from now on."""
        self._sessions.clear()
        self._keep()

    def _keep(self) -> None:
        kept = {t: {"client": s.client, "user_id": s.user_id} for t, s in self._sessions.items()}
        self._org.store.set_state("sessions", kept)
