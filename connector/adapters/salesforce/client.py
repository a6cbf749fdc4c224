"""Calls to the REST API: token, time-outs, retries, error meaning and call counting in one place.

simple-salesforce builds the addresses and headers and parses the answers. It is used with a ready token only: its own
login repeats a persistent 401 without end and knows no time-outs (simple-salesforce 1.12, issues 148 and 619).
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError

from connector.adapters import http
from connector.adapters.base import Usage
from connector.adapters.salesforce import errors, soql
from connector.adapters.salesforce.ids import SYSTEM
from connector.adapters.salesforce.tokens import Tokens
from connector.errors import AllowanceSpent, AuthError, RecordGone, Rejected, RemoteError, SchemaDrift, Unreadable

Record: TypeAlias = Mapping[str, Any]

SUBREQUESTS = 5
"""Queries or collections in one composite call (Salesforce REST API Developer Guide, "Composite")."""


@dataclass(frozen=True, slots=True)
class Sub:
    """One request inside a composite call. `path` is relative to the version's root."""

    method: str
    path: str
    body: object = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The parsed body (None where empty), the server's time, and the Last-Modified header as it came."""

    status: int
    body: Any
    time: datetime | None = None
    modified: str | None = None


class Client:
    """`sleep` takes seconds. Raises RemoteError from every method."""

    def __init__(
        self,
        tokens: Tokens,
        session: http.Session,
        *,
        api_version: str,
        sleep: Callable[[float], None],
    ) -> None:
        self._tokens = tokens
        self._session = session
        self._version = api_version
        self._seen = threading.local()
        self._limit: tuple[int, int] | None = None
        self.kept = 0
        self.base = f"/services/data/v{api_version}"
        self.retry = http.Retry(sleep)
        session.headers["Sforce-Call-Options"] = "client=connector"
        session.hooks["response"].append(self._note)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A read of `path`, relative to the version's root. Repeated after transient faults."""
        return self.retry(lambda: self._call(lambda sf: sf.restful(path, headers=dict(headers or {}))), reads=True)

    def userinfo(self) -> Record:
        """Who we are: `user_id`, `organization_id`, `preferred_username` and more."""
        answer = self.retry(lambda: self._call(lambda sf: sf.oauth2("userinfo")), reads=True)
        if not isinstance(answer.body, dict) or "user_id" not in answer.body:
            raise Unreadable(SYSTEM, "userinfo", "the answer names no user.", "Give the app the scope `api`.")
        return answer.body

    def composite(self, subs: Sequence[Sub]) -> list[Answer]:
        """Up to five sub-requests for one API call, run in order, each on its own. Never repeated here."""
        body = {
            "allOrNone": False,
            # Collated sub-requests may run in any order.
            "collateSubrequests": False,
            "compositeRequest": [
                {"method": sub.method, "url": f"{self.base}/{sub.path}", "referenceId": f"r{number}"}
                | ({} if sub.body is None else {"body": sub.body})
                for number, sub in enumerate(subs)
            ],
        }
        try:
            answer = self._call(lambda sf: sf.restful("composite", method="POST", json=body))
        except (Rejected, RecordGone, SchemaDrift) as error:
            # About the call, not about a record: no record may be held for it.
            raise Unreadable(
                SYSTEM, error.code, error.detail, "Check `api_version` in the config, else report a defect."
            ) from None
        found = {item.get("referenceId"): item for item in _list(answer.body, "compositeResponse")}
        if set(found) != {f"r{number}" for number in range(len(subs))}:
            raise Unreadable(SYSTEM, "composite", "the answer does not fit the request.", certain=False)
        return [
            Answer(int(item.get("httpStatusCode") or 0), item.get("body"), answer.time)
            for item in (found[f"r{number}"] for number in range(len(subs)))
        ]

    def collection(self, sub: Sub) -> Answer:
        """One collection as a call of its own. Never repeated here."""
        try:
            return self._call(lambda sf: sf.restful(sub.path, method=sub.method, json=sub.body))
        except (Rejected, RecordGone, SchemaDrift) as error:
            refused = {"errorCode": error.code, "message": error.detail, "fields": list(error.fields)}
            return Answer(400, [refused])

    def query(self, queries: Iterable[str], *, all_rows: bool = False) -> list[list[Record]]:
        """All rows of each query, five queries to a call. `all_rows` shows deleted, merged and archived records."""
        waiting = list(queries)
        found: list[list[Record]] = []
        for start in range(0, len(waiting), SUBREQUESTS):
            for answer in self.pages(waiting[start : start + SUBREQUESTS], all_rows=all_rows):
                rows, body = list(records(answer)), answer.body
                while not body["done"]:
                    body = self.get(_relative(body["nextRecordsUrl"])).body
                    rows += _list(body, "records")
                found.append(rows)
        return found

    def pages(self, queries: Sequence[str], *, all_rows: bool = False) -> list[Answer]:
        """The first page of up to five queries, in one call. Raises when one of them is refused."""

        def attempt() -> list[Answer]:
            answers = self.composite([Sub("GET", soql.uri("", query, all_rows=all_rows)[1:]) for query in queries])
            for answer in answers:
                if answer.status != 200:
                    raise errors.classify(answer.body, status=answer.status)
                records(answer)
            return answers

        return self.retry(attempt, reads=True)

    def usage(self) -> Usage:
        used, allowance = self._limit or (None, None)
        return Usage(self._session.calls, used, allowance, self.kept)

    def allowance(self) -> Usage:
        """Asks for the limits. The resource needs a right that an integration user may lack (View Setup and Configuration);
        the header of the refusal tells the two numbers just as well."""
        with suppress(AuthError, Rejected, AllowanceSpent):
            body = self.get("limits").body
            told = body.get("DailyApiRequests") if isinstance(body, dict) else None
            if not isinstance(told, dict) or not all(isinstance(told.get(name), int) for name in ("Max", "Remaining")):
                raise Unreadable(SYSTEM, "limits", "the answer is not what the API documents.")
            self._limit = told["Max"] - told["Remaining"], told["Max"]
        return self.usage()

    def _call(self, ask: Callable[[Salesforce], Any]) -> Answer:
        token = self._tokens.current()
        answer, error = self._once(ask, token.access, token.instance_url)
        if error and errors.is_expired(answer.status, answer.body):
            # One new token for each call, then stop: a 401 that outlives it is not about the token.
            token = self._tokens.renew(token)
            answer, error = self._once(ask, token.access, token.instance_url)
        if error:
            raise error
        return answer

    def _once(
        self, ask: Callable[[Salesforce], Any], access: str, instance_url: str
    ) -> tuple[Answer, RemoteError | None]:
        self._seen.response = None
        sf = Salesforce(session_id=access, instance_url=instance_url, version=self._version, session=self._session)
        failed: object = None
        body: Any = None
        try:
            body = ask(sf)
        except requests.JSONDecodeError:
            body = http.read_json(SYSTEM, self._seen.response)
        except requests.RequestException as error:
            raise http.failure(SYSTEM, error) from None
        except (TypeError, ValueError, RecursionError):
            # simple-salesforce takes the length of the parsed body, which a bare number or null does not have; a body may
            # also be nested deeper, or hold a longer number, than Python reads.
            raise Unreadable(SYSTEM, "answer", "the answer is neither an object nor a list.", certain=False) from None
        except SalesforceError as error:
            failed = error.content
        response: requests.Response = self._seen.response
        status = response.status_code
        body = http.whole(body, response.content)
        answer = Answer(status, body, http.server_time(response), response.headers.get("Last-Modified"))
        if failed is None or status == 304:
            return answer, None
        refused = errors.classify(failed, status=status, retry_after=http.retry_after(response))
        return Answer(status, failed), refused

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._seen.response = response
        usage = re.search(r"api-usage=(\d+)/(\d+)", response.headers.get("Sforce-Limit-Info", ""))
        if usage:
            self._limit = (int(usage[1]), int(usage[2]))


def records(answer: Answer) -> list[Record]:
    """The rows of a query's answer. Raises Unreadable when it is none."""
    rows = _list(answer.body, "records")
    if not isinstance(answer.body.get("done"), bool):
        raise Unreadable(SYSTEM, "query", "the answer is not a query result.", certain=False)
    return rows


def _list(body: Any, name: str) -> list[Record]:
    rows = body.get(name) if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable(SYSTEM, name, "the answer is not what the API documents.", certain=False)
    return rows


def _relative(path: str) -> str:
    """`/services/data/v67.0/query/01g...` without the version's root. The locator is the server's own, never built."""
    return re.sub(r"^/services/data/v[\d.]+/", "", path)
