"""The config file -> `Config`: which platform account is joined to which CRM, where the state lies, how often to look.

Secrets stand in it by reference only (`env:NAME`, `file:PATH`); `Secret.reveal` reads them when they are needed, so that a
rotated secret is found and no secret is ever part of a repr, a log line or an error.
"""

import os
import re
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from sqlalchemy.engine import make_url

from connector.errors import ConfigError, Problem
from connector.mapping.source import Located, NotBoolean, Place, Strict, read, validate

DURATION: Final = re.compile(r"(\d{1,6})(s|m|h|d)")
DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
VERSION: Final = re.compile(r"[0-9]{2,3}\.0")
URL: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
LOCAL: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])([:/]|$)")


class Secret:
    """A reference to a secret. It never holds the secret itself."""

    __slots__ = ("_path", "reference")

    def __init__(self, reference: str, base: Path = Path()) -> None:
        """Raises ValueError when `reference` is neither env:NAME nor file:PATH; the text is not repeated, as it may be
        the secret itself. A relative path counts from `base`."""
        kind, _, rest = reference.partition(":")
        if kind not in ("env", "file") or not rest.strip():
            raise ValueError(
                "a secret never stands in the config itself; write env:NAME for an environment variable or file:PATH "
                "for a file that holds it"
            )
        self.reference = reference
        self._path = base / _home(Path(rest)) if kind == "file" else None

    def reveal(self) -> str:
        """The secret as it is now. Raises ConfigError when the variable or the file is missing or empty."""
        problem = self.problem()
        if problem:
            raise ConfigError([Problem("", 0, self.reference, *problem)])
        return self._read()

    def problem(self) -> tuple[str, str] | None:
        """Why the secret cannot be read, and the way out; None where it can."""
        name = self.reference.partition(":")[2]
        try:
            text = self._read()
        except KeyError:
            return f"the environment variable {name} is not set.", "Set it before the start."
        except FileNotFoundError:
            return f"there is no file {self._path}.", "Write the secret into it, readable by this user only."
        except UnicodeError:
            return f"{self.reference} is no UTF-8 text.", "Write the secret anew."
        except (OSError, ValueError) as error:
            return f"the file {self._path} cannot be read ({type(error).__name__}).", "Check its permissions."
        return None if text else (f"{self.reference} is empty.", "Put the secret there.")

    def _read(self) -> str:
        if self._path is not None:
            return self._path.read_text(encoding="utf-8").strip()
        text = os.environ[self.reference.partition(":")[2]].strip()
        text.encode()  # What is no UTF-8 would be found out when the secret is used.
        return text

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.reference, self._path) == (other.reference, other._path)

    def __hash__(self) -> int:
        return hash((self.reference, self._path))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def make(value: Any, info: core_schema.ValidationInfo) -> Secret:
            if isinstance(value, Secret):
                return value
            made = cls(value if isinstance(value, str) else "", _base(info))
            if problem := made.problem():
                what, way_out = problem
                raise PydanticCustomError("secret", "{what}", {"what": what, "way_out": way_out})
            return made

        return core_schema.with_info_plain_validator_function(
            make, serialization=core_schema.plain_serializer_function_ser_schema(lambda secret: secret.reference)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^(env|file):.+", "description": "env:NAME or file:PATH"}


def _base(info: ValidationInfo) -> Path:
    return info.context if isinstance(info.context, Path) else Path()


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    match = DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError("a duration is a number with its unit, such as 60s, 15m, 2h or 1d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _history(value: Any) -> Any:
    if value in ("all", "none") or isinstance(value, timedelta | date):
        return value
    if isinstance(value, str):
        with suppress(ValueError):
            return date.fromisoformat(value) if DATE.fullmatch(value) else _duration(value)
    raise ValueError("the history is all, none, a time back such as 30d, or a date such as 2026-01-31")


def _url(value: str) -> str:
    if not URL.fullmatch(value):
        raise ValueError("an address is written https://host, without user, password or query")
    if value.startswith("http://") and not LOCAL.match(value):
        raise ValueError("plain http is for this machine only; write https://")
    return value.rstrip("/")


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            "a connection's name begins with a small letter and goes on with small letters, digits, - and _, 40 at most"
        )
    return value


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError("a share is a part of 1, more than 0 and 1 at most; write half of the calls as 0.5")
    return value


def _version(value: str) -> str:
    if not VERSION.fullmatch(value):
        raise ValueError('a version of the API is written in quotes, such as "67.0"')
    return value


def _home(path: Path) -> Path:
    """The path with `~` written out. Raises ValueError where there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("the path begins with ~ and names a user who has no home here; write it out") from None


def _existing(value: Path, info: ValidationInfo) -> Path:
    path = _base(info) / _home(value)
    try:
        found = path.is_file()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    if not found:
        raise ValueError(f"there is no file {path}; a relative path counts from the config file's folder")
    return path


Duration: TypeAlias = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(lambda duration: f"{duration.total_seconds():.0f}s"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+[smhd]$"}),
]
History: TypeAlias = Annotated[
    Literal["all", "none"] | timedelta | date,
    BeforeValidator(_history),
    PlainSerializer(lambda value: f"{value.total_seconds():.0f}s" if isinstance(value, timedelta) else str(value)),
    WithJsonSchema({"type": "string", "pattern": r"^(all|none|\d+[smhd]|\d{4}-\d\d-\d\d)$"}),
]
Url: TypeAlias = Annotated[str, AfterValidator(_url)]
ExistingFile: TypeAlias = Annotated[Path, AfterValidator(_existing)]
Name: TypeAlias = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})
]


class Store(Strict):
    """Where the connector keeps what it knows."""

    url: Annotated[str, Field(description="sqlite:///connector.db, or postgresql://user@host/name for many workers")]
    key: Annotated[Secret, Field(description="encrypts the tokens that lie in the store")]
    password: Annotated[Secret | None, Field(description="of the PostgreSQL user")] = None

    @field_validator("url")
    @classmethod
    def _known_and_free_of_secrets(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("the store's url starts with sqlite:/// or postgresql://")
        try:
            parsed = make_url(url)
        except Exception:
            # Whatever is wrong with it: the message would quote a part, which may be the password.
            raise ValueError("the url cannot be read; write sqlite:///FILE or postgresql://user@host/name") from None
        if parsed.password or any("password" in name.lower() for name in parsed.query):
            raise ValueError("the url holds a password; write it as password: env:NAME or password: file:PATH")
        return url

    @field_validator("password")
    @classmethod
    def _is_of_a_server(cls, password: Secret | None, info: ValidationInfo) -> Secret | None:
        if password and info.data.get("url", "").startswith("sqlite:"):
            raise ValueError("a SQLite file has no password; leave it out, or name a PostgreSQL database in store.url")
        return password


def relocated(store: Store, url: str, password: str | None, folder: Path) -> Store:
    """The section as it will read when the store lies at `url`; `password` is a reference, relative to `folder` where it names
    a file. Raises ConfigError; its problems have the section's keys as their paths."""
    given = {"url": url} | ({"password": password} if password else {})
    data = Located(Place(lines={(name,): 0 for name in given}))
    data.update({"key": store.key, **given})
    section, problems = validate(Store, data, context=folder)
    if problems or section is None:
        raise ConfigError(problems)
    return section


class ChatwootPlatform(Strict):
    type: Literal["chatwoot"]
    url: Url
    account: Annotated[int, NotBoolean, Field(ge=1, description="the number in the address of the dashboard")]
    token: Annotated[Secret, Field(description="access token of an administrator or agent")]
    webhook_secret: Annotated[Secret | None, Field(description="only where Chatwoot pushes webhooks to us")] = None


class ClientCredentials(Strict):
    """The org's External Client App runs as one integration user."""

    flow: Literal["client_credentials"]
    client_id: str
    client_secret: Secret


class JwtBearer(Strict):
    """Signed with a private key whose certificate the org's External Client App holds."""

    flow: Literal["jwt"]
    client_id: str
    username: str
    private_key: Annotated[Secret, Field(description="PEM text")]


class RefreshToken(Strict):
    flow: Literal["refresh_token"]
    client_id: str
    client_secret: Secret | None = None
    refresh_token: Annotated[Secret, Field(description="the first one; later ones lie encrypted in the store")]


class SalesforceCrm(Strict):
    type: Literal["salesforce"]
    url: Annotated[Url, Field(description="My Domain, such as https://acme.my.salesforce.com")]
    auth: Annotated[ClientCredentials | JwtBearer | RefreshToken, Field(discriminator="flow")]
    api_version: Annotated[
        str, AfterValidator(_version), WithJsonSchema({"type": "string", "pattern": f"^{VERSION.pattern}$"})
    ] = "67.0"
    ca: Annotated[ExistingFile | None, Field(description="PEM file of a certificate authority of one's own")] = None


class OdooCrm(Strict):
    type: Literal["odoo"]
    url: Annotated[Url, Field(description="the server, such as https://acme.odoo.com")]
    database: Annotated[str, Field(description="the database's name")]
    login: Annotated[str, Field(description="login of the connector's own user")]
    key: Annotated[Secret, Field(description="API key of that user")]
    ca: Annotated[ExistingFile | None, Field(description="PEM file of a certificate authority of one's own")] = None


# One member so far; the next one makes it a union told apart by `type`, like the CRMs.
Platform: TypeAlias = ChatwootPlatform
Crm: TypeAlias = Annotated[SalesforceCrm | OdooCrm, Field(discriminator="type")]


class Connection(Strict):
    """One platform account joined to one CRM."""

    platform: Platform
    crm: Crm
    mapping: Annotated[ExistingFile, Field(description="the mapping file")]
    crm_daily_share: Annotated[
        float,
        NotBoolean,
        AfterValidator(_share),
        Field(
            description="part of the CRM's daily API calls that the connector may use",
            json_schema_extra={"exclusiveMinimum": 0, "maximum": 1},
        ),
    ] = 0.5
    history: Annotated[
        History,
        Field(
            description="messages that the first use takes: all, none, those of a time back (30d) or since a date "
            "(2026-01-31); connector backfill brings in older ones"
        ),
    ] = "all"


class Service(Strict):
    """Where the webhook receiver, health and metrics listen."""

    host: str = "127.0.0.1"
    port: Annotated[int, NotBoolean, Field(ge=0, le=65535)] = 8080


class Log(Strict):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Strict):
    store: Store
    connections: Annotated[dict[Name, Connection], Field(min_length=1)]
    service: Service = Service()
    schedule: Annotated[
        dict[str, Duration],
        Field(default_factory=dict, description="stream name: time between two reads, such as changes: 60s"),
    ]
    log: Log = Log()


def load_config(path: Path) -> Config:
    """Read and check the config file; relative paths in it count from its folder.

    Raises ConfigError with every problem at once, each with file, line and the way out. Secrets are looked for, not kept.
    """
    data = read(path)
    config, problems = validate(Config, data, context=path.parent.absolute())
    if problems or config is None:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line, problem.path)))
    return config


def schema() -> dict[str, Any]:
    """The JSON Schema of config files, for editors."""
    return Config.model_json_schema(by_alias=True)
