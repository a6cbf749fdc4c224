"""Scripted failures: which requests or rows meet one, how often, and what happens to them."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

REQUEST_KINDS = frozenset(
    {"status", "html", "empty", "cut", "drop_before", "drop_after", "slow", "expire_token", "permanent_401"}
)
ROW_KINDS = frozenset({"row_error", "lock_row"})
_KINDS: dict[str, tuple[type, ...]] = {
    "match": (dict,),
    "times": (int, NoneType),
    "status": (int,),
    "seconds": (int, float),
    "code": (str,),
    "message": (str,),
    "fields": (list,),
    "retry_after": (int, str),
    "body": (str,),
    "whole": (bool,),
}
_KEYS = frozenset({"kind", *_KINDS})
_MATCH_KEYS = {True: frozenset({"object", "field", "value"}), False: frozenset({"method", "path", "body"})}


@dataclass(slots=True)
class Fault:
    """One scripted failure. `times` left, None for until it is deleted; `seconds` of delay for slow.

    A request matches by method, by the beginning of its path and by a piece of its body (regular expressions).
    A row matches by object and by the value of a field. `whole` makes one bad row fail its request's other rows too,
    as a trigger does that fails for its chunk.
    """

    kind: str
    match: dict[str, Any] = field(default_factory=dict)
    times: int | None = 1
    status: int = 500
    code: str = "UNKNOWN_EXCEPTION"
    message: str = "An unexpected error occurred"
    fields: tuple[str, ...] = ()
    retry_after: str | None = None
    seconds: float = 1.0
    body: str = "array"
    whole: bool = False


def parse(spec: dict[str, Any]) -> Fault:
    """A fault from the JSON of the control endpoint. Raises ValueError naming the key that is wrong."""
    kind = spec.get("kind")
    if kind not in REQUEST_KINDS | ROW_KINDS:
        raise ValueError(f"kind {kind!r}: one of {', '.join(sorted(REQUEST_KINDS | ROW_KINDS))}")
    unknown = set(spec) - _KEYS
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}; known: {', '.join(sorted(_KEYS))}")
    for key, kinds in _KINDS.items():
        if key in spec and (not isinstance(spec[key], kinds) or (isinstance(spec[key], bool) and bool not in kinds)):
            raise ValueError(f"{key}: {spec[key]!r} is not what this key takes")
    match = dict(spec.get("match") or {})
    if kind in ("expire_token", "permanent_401"):
        match.setdefault("path", "/services/data/v")  # logging in still works
    wrong = set(match) - _MATCH_KEYS[kind in ROW_KINDS]
    if wrong:
        allowed = ", ".join(sorted(_MATCH_KEYS[kind in ROW_KINDS]))
        raise ValueError(f"match: a {kind} fault knows {allowed}, not {', '.join(sorted(wrong))}")
    if not all(isinstance(value, str) for key, value in match.items() if key != "value"):
        raise ValueError("match: every key but value takes a text")
    for key in ("path", "body"):
        try:
            re.compile(match.get(key) or "")
        except re.error as error:
            raise ValueError(f"match.{key}: not a regular expression: {error}") from error
    default_times = None if kind == "permanent_401" else 1
    given = {k: v for k, v in spec.items() if k not in ("match", "fields", "retry_after")}
    fault = Fault(**{"times": default_times, **_defaults(kind), **given}, match=match)
    fault.fields = tuple(spec.get("fields") or ())
    fault.retry_after = None if spec.get("retry_after") is None else str(spec["retry_after"])
    return fault


def _defaults(kind: str) -> dict[str, Any]:
    if kind == "lock_row":
        return {"code": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access to this record"}
    if kind == "row_error":
        return {"code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "The record was refused by a validation rule"}
    return {"status": {"html": 503, "empty": 406}.get(kind, 500)}


class Faults:
    """The faults in force, oldest first; the first that matches is used."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        # Requests are matched on the event loop, rows by the worker that has the org's lock: both count down.
        self._lock = threading.Lock()

    def take(self, method: str, path: str, body: bytes) -> Fault | None:
        """The fault this request meets, or None. Counts down its times."""

        def meets(fault: Fault) -> bool:
            wanted = fault.match
            return (
                fault.kind in REQUEST_KINDS
                and wanted.get("method", method).upper() == method
                and re.match(wanted.get("path", ""), path) is not None
                and re.search(wanted.get("body", ""), body.decode("utf-8", "replace")) is not None
            )

        return self._first(meets)

    def take_row(self, name: str, values: dict[str, Any]) -> Fault | None:
        """The fault this row meets, or None. Counts down its times."""

        def meets(fault: Fault) -> bool:
            wanted = fault.match
            return (
                fault.kind in ROW_KINDS
                and wanted.get("object", name).lower() == name.lower()
                and ("field" not in wanted or values.get(wanted["field"]) == wanted.get("value"))
            )

        return self._first(meets)

    def _first(self, meets: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            fault = next((f for f in self.active if meets(f)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self.active.remove(fault)
            return fault
