"""Answers that no API documents, whatever they hold: an error of the seam that says what is wrong, and never another one."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import responses
from hostile import SECRET, fuzz, texts, trees
from hypothesis import example, given
from hypothesis import strategies as st

from connector.adapters.base import ObjectRead
from connector.adapters.chatwoot import Chatwoot
from connector.adapters.odoo import Odoo
from connector.adapters.salesforce import ClientCredentials, Salesforce
from connector.errors import RemoteError
from connector.model import Kind, Life, Observed, Ref

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PERSON = ObjectRead(Kind.PERSON, ("name",))


def chatwoot() -> list[Observed]:
    adapter = Chatwoot("https://chat.example", 3, SECRET, clock=lambda: NOW, sleep=lambda _: None)
    return adapter.fetch([Ref("chatwoot", "person", "7")])


def odoo() -> list[Observed]:
    reads = {"res.partner": PERSON}
    adapter = Odoo("https://acme.example", "acme", "crm", SECRET, reads, clock=lambda: NOW, sleep=lambda _: None)
    return adapter.fetch([Ref("odoo", "res.partner", "7")])


def salesforce() -> list[Observed]:
    url, auth = "https://acme.my.salesforce.example", ClientCredentials("connector", SECRET)
    adapter = Salesforce(url, auth, {"Contact": PERSON}, clock=lambda: NOW, sleep=lambda _: None)
    return adapter.fetch([Ref("salesforce", "Contact", "003000000000001AAA")])


BODIES = st.one_of(
    trees.map(lambda tree: json.dumps(tree).encode()),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@pytest.mark.parametrize("ask", [chatwoot, odoo, salesforce])
@fuzz(25)
@given(body=BODIES, status=st.sampled_from([200, 200, 200, 400, 401, 404, 422, 500]))
@example(body=b"[" * 100_000, status=200)
@example(body=b'{"": null}', status=200)
@example(body=b'{"id": ' + b"9" * 5000 + b"}", status=200)
@example(body=b'{"error": ' + b"[" * 100_000, status=422)
@example(body=b'[{"message": ' + b"9" * 5000 + b"}]", status=400)
def test_an_answer_of_any_form_is_an_error_that_says_so(
    ask: Callable[[], list[Observed]], body: bytes, status: int
) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        token = json.dumps({"access_token": "t", "instance_url": "https://acme.my.salesforce.example"})
        mocked.add(responses.POST, re.compile(".*/oauth2/token"), body=token, content_type="application/json")
        version = json.dumps({"version_info": [19, 0]})
        mocked.add(responses.GET, re.compile(".*/web/version"), body=version, content_type="application/json")
        for method in (responses.GET, responses.POST):
            mocked.add(method, re.compile(".*"), body=body, status=status, content_type="application/json")
        found: list[Observed] = []
        told: RemoteError | None = None
        try:
            found = ask()
        except RemoteError as error:
            told = error
    if told is None:
        # The only thing that such an answer can say of a record.
        assert (status, [one.life for one in found]) == (404, [Life.GONE])
    else:
        assert SECRET not in str(told)
        assert told.detail
