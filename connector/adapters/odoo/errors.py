"""What Odoo's errors mean to the connector. The exception's class decides, never the status alone: a caller's mistake is a
500 (odoo.md, section 3). Messages may quote customers' values: they are shown to the admin in a hold and never logged.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from connector.errors import AuthError, RecordGone, Rejected, RemoteError, SchemaDrift, Transient, Unreadable

SYSTEM = "odoo"

Meaning: TypeAlias = tuple[type[RemoteError], str]

_RIGHTS = "Give the connector's user the groups of docs/odoo.md, or access to this record."
_KEY = "Check `login`, `database` and the API key; keys of ordinary users expire."
_MAPPING = "Correct the mapping; `connector check` compares it with Odoo."
_VALUE = "Fix the value, or its line in the mapping."
_DEFECT = "Report a defect of the connector, with the version of Odoo."

MEANINGS: Mapping[str, Meaning] = {
    "odoo.exceptions.AccessDenied": (AuthError, _KEY),
    "werkzeug.exceptions.Unauthorized": (AuthError, _KEY),
    "odoo.http.SessionExpiredException": (AuthError, _KEY),
    "odoo.exceptions.AccessError": (Rejected, _RIGHTS),
    "werkzeug.exceptions.Forbidden": (Rejected, _RIGHTS),
    "odoo.exceptions.MissingError": (RecordGone, "The record was deleted or merged."),
    "odoo.exceptions.ValidationError": (Rejected, _VALUE),
    "odoo.exceptions.UserError": (Rejected, _VALUE),
    "odoo.exceptions.RedirectWarning": (Rejected, _VALUE),
    "werkzeug.exceptions.NotFound": (SchemaDrift, "Install the app that brings it, or correct the mapping."),
    "builtins.KeyError": (SchemaDrift, _MAPPING),
    "builtins.AttributeError": (SchemaDrift, _MAPPING),
    "builtins.ValueError": (Rejected, _MAPPING),
}
"""By the full name of the exception's class (`name` in JSON-2, `data.name` in JSON-RPC)."""


def classify(error: Mapping[str, Any], *, status: int = 200, retry_after: float | None = None) -> RemoteError:
    """The error object of an answer. A call is one transaction, so an error that Odoo tells means that nothing was done."""
    name, message = str(error.get("name") or ""), str(error.get("message") or "").strip()
    if "psycopg2" in name or name.endswith(("OperationalError", "InterfaceError")):
        if "does not exist" in message and "database" in message:
            return AuthError(SYSTEM, "database", "there is no such database.", "Correct `database` in the config.")
        # A lock or a serialization conflict that outlived the server's own five tries; the message holds the statement.
        return Transient(SYSTEM, name.rpartition(".")[2], "the database was busy.", retry_after=retry_after)
    kind, way_out = MEANINGS.get(name, (Rejected, _DEFECT))
    if name == "builtins.ValueError" and "nvalid field" in message:
        kind = SchemaDrift
    return kind(SYSTEM, name.rpartition(".")[2] or str(status), message or "no reason given.", way_out)


def of_status(status: int, retry_after: float | None) -> RemoteError:
    """An answer without an error object: a proxy's, or a page."""
    if status == 429:
        return Transient(SYSTEM, "429", "too many calls.", retry_after=retry_after)
    if status >= 500:
        return Transient(SYSTEM, str(status), "the server is not answering.", retry_after=retry_after, certain=False)
    if status in (401, 403):
        return AuthError(SYSTEM, str(status), "access was refused.", _KEY)
    if status == 404:
        return AuthError(SYSTEM, "404", "there is no such database or API here.", "Check `url` and `database`.")
    return Unreadable(SYSTEM, str(status), "the answer is not what the API documents.", "Check `url`.", certain=False)


def unclear(error: RemoteError, *, certain: bool) -> RemoteError:
    """The same error with another certainty."""
    return type(error)(
        SYSTEM,
        error.code,
        error.detail,
        error.way_out,
        certain=certain,
        retry_after=error.retry_after,
        fields=error.fields,
    )
