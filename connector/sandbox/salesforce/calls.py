"""One REST call and its answer, apart from any web server: the parts of a composite are calls too."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from connector.sandbox.salesforce.errors import Refused, refuse
from connector.sandbox.salesforce.org import Caller

OLDEST, NEWEST = 46, 67  # API versions that answer; 67.0 is Summer '26


def read_version(segment: str) -> float:
    """The version of v67.0. Raises Refused(NOT_FOUND) for one the org does not serve."""
    known = {f"v{number}.0": float(number) for number in range(OLDEST, NEWEST + 1)}
    if segment not in known:
        raise refuse("NOT_FOUND", "The requested resource does not exist")
    return known[segment]


@dataclass(frozen=True, slots=True)
class Call:
    """A call below /services/data/vNN.N: path segments are decoded one by one, so a key may contain a slash.

    `headers` by lower-case name. `body` is parsed JSON; `missing` when there was none.
    """

    method: str
    segments: tuple[str, ...]
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    caller: Caller


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON body; None means an empty body."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def split_path(raw_path: str) -> tuple[str, ...]:
    """Decoded segments of a path; a trailing slash does not count."""
    return tuple(unquote(part) for part in raw_path.strip("/").split("/"))


def parse_params(raw_query: str) -> dict[str, str]:
    """Query parameters; of a repeated one the last counts."""
    return {name: values[-1] for name, values in parse_qs(raw_query, keep_blank_values=True).items()}


def parse_body(raw: bytes) -> Any:
    """The JSON of a request, None without one. Raises Refused(JSON_PARSER_ERROR)."""
    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise refuse("JSON_PARSER_ERROR", f"The request body is not JSON: {error}") from None


def as_object(body: Any) -> dict[str, Any]:
    """The body as a JSON object. Raises Refused(JSON_PARSER_ERROR)."""
    if not isinstance(body, dict):
        raise refuse("JSON_PARSER_ERROR", "The HTTP entity body must be a JSON object")
    return body


def refusal(refused: Refused) -> Answer:
    return Answer(refused.status, [problem.single() for problem in refused.problems])


Handler = Callable[..., Answer]


class Routes:
    """Which function answers which path; a segment in braces is handed to it by name."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, tuple[str, ...], str, Handler]] = []

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        self._routes.append((method, tuple(pattern.split("/")), pattern, handler))

    def find(self, method: str, segments: tuple[str, ...]) -> tuple[str, Handler, dict[str, str]]:
        """(pattern, handler, named segments). Raises Refused(NOT_FOUND or METHOD_NOT_ALLOWED)."""
        known_path = False
        for wanted, pattern, name, handler in self._routes:
            if len(pattern) != len(segments):
                continue
            named: dict[str, str] = {}
            for part, given in zip(pattern, segments, strict=True):
                if part.startswith("{"):
                    named[part[1:-1]] = given
                elif part.lower() != given.lower():
                    break
            else:
                known_path = True
                if wanted == method:
                    return name, handler, named
        if known_path:
            raise refuse("METHOD_NOT_ALLOWED", f"HTTP Method '{method}' not allowed")
        raise refuse("NOT_FOUND", "The requested resource does not exist")
