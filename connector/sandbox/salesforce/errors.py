"""What the org answers when it refuses: one or several errors with Salesforce's codes and texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# HTTP status of an error when it is the answer to a single call ("Status Codes and Error Responses", REST API guide).
# Every code that is missing here answers 400.
STATUS = {
    "INVALID_SESSION_ID": 401,
    "INVALID_AUTH_HEADER": 401,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "API_DISABLED_FOR_ORG": 403,
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "METHOD_NOT_ALLOWED": 405,
    "URI_TOO_LONG": 414,
    "UNKNOWN_EXCEPTION": 500,
    "NOT_IMPLEMENTED": 501,
    "SERVER_UNAVAILABLE": 503,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error: code, text, the fields it is about, and further keys of its JSON form."""

    code: str
    message: str
    fields: tuple[str, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()

    def single(self) -> dict[str, Any]:
        """Shape in the array that answers a call on one record."""
        body: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            body["fields"] = list(self.fields)
        return body | dict(self.extra)

    def row(self) -> dict[str, Any]:
        """Shape inside one row of a collections answer, where the code is called statusCode."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)} | dict(self.extra)


class Refused(Exception):
    """The org refuses the whole call, or one row of it. `status` is the HTTP status of a single call."""

    def __init__(self, problems: Sequence[Problem], status: int | None = None) -> None:
        super().__init__("; ".join(f"{p.code}: {p.message}" for p in problems))
        self.problems = tuple(problems)
        self.status = status or STATUS.get(self.problems[0].code, 400)


def refuse(code: str, message: str, *fields: str, status: int | None = None) -> Refused:
    """A refusal with one problem, ready to be raised."""
    return Refused([Problem(code, message, fields)], status)
