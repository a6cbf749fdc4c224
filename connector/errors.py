"""The exception tree: whose fault it is, whether to try again, and what to do next.

ConnectorError
├── ConfigError        the admin's files; every problem at once, with file and line       exit 2
├── Refusal            a guard or a changed mapping stopped the run before any write      exit 4
├── StoreError         the store is missing, older or newer than the program             exit 3
└── RemoteError        a system answered badly or not at all                             exit 5
    ├── Transient      try again later (`retry_after` seconds if the system said so)
    ├── AuthError      credentials or permissions: an admin must act
    ├── AllowanceSpent the system's daily allowance is used up: pause, do not hammer
    │   └── SoftStop   we ourselves stop short of that, and called nobody                   exit 4
    ├── SchemaDrift    a field or object is not there (any more): fix the mapping
    ├── Rejected       this record was refused and will be again: hold it
    ├── RecordGone     the target does not exist any more
    └── Unreadable     the answer was not what the API documents

`certain` on a RemoteError says that the request certainly had no effect. For a write that is the difference between
"not sent, send again" and "in doubt, look first".
"""

from dataclasses import dataclass


class ConnectorError(Exception):
    """Base of all errors that are shown to a person: what happened, and the way out."""

    exit_code = 1

    def __init__(self, message: str, way_out: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.message} {self.way_out}".strip()


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in a config or mapping file. `line` counts from 1, 0 where no line applies."""

    file: str
    line: int
    path: str
    message: str
    way_out: str = ""
    severity: str = "error"

    @property
    def where(self) -> str:
        """`file:line`, the file alone where no line applies."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        return f"{self.where}: {self.path + ': ' if self.path else ''}{self.message}{' ' + self.way_out if self.way_out else ''}"


class ConfigError(ConnectorError):
    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Refusal(ConnectorError):
    """Nothing was written. `code` names the guard, `examples` shows the three worst cases."""

    exit_code = 4

    def __init__(self, code: str, message: str, way_out: str, examples: tuple[str, ...] = ()) -> None:
        super().__init__(message, way_out)
        self.code = code
        self.examples = examples


class StoreError(ConnectorError):
    exit_code = 3


class RemoteError(ConnectorError):
    """`system` is the adapter's name, `code` the system's own error code or the HTTP status as text."""

    exit_code = 5

    def __init__(
        self,
        system: str,
        code: str,
        message: str,
        way_out: str = "",
        *,
        certain: bool = True,
        fields: tuple[str, ...] = (),
        retry_after: float | None = None,
        others: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{system}: {code}: {message}", way_out)
        self.system = system
        self.code = code
        self.detail = message
        self.certain = certain
        self.fields = fields
        self.retry_after = retry_after
        self.others = others
        """Refs (as text) of records the answer named, for example the duplicates that a duplicate rule found."""


class Transient(RemoteError):
    pass


class AuthError(RemoteError):
    pass


class AllowanceSpent(RemoteError):
    pass


class SoftStop(AllowanceSpent):
    exit_code = 4


class SchemaDrift(RemoteError):
    pass


class Rejected(RemoteError):
    pass


class RecordGone(RemoteError):
    pass


class Unreadable(RemoteError):
    pass
