"""How long a write may stay invisible is never less than how long the adapter itself waits for an answer."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import responses

from connector.adapters.base import Adapter
from connector.adapters.chatwoot import Chatwoot
from connector.adapters.odoo import Odoo
from connector.adapters.salesforce import ClientCredentials, Salesforce
from connector.errors import RemoteError

URL = "https://system.example"
WITHIN = {"clock": partial(datetime.now, UTC), "sleep": lambda _seconds: None}
ADAPTERS: dict[str, Callable[[], Adapter]] = {
    "chatwoot": lambda: Chatwoot(URL, 3, "token", **WITHIN),
    "salesforce": lambda: Salesforce(URL, ClientCredentials("connector", "secret"), {}, **WITHIN),
    "odoo": lambda: Odoo(URL, "shop", "bot", "key", {}, **WITHIN),
}


@pytest.mark.parametrize("system", ADAPTERS)
@responses.activate
def test_a_doubtful_write_is_looked_at_after_the_longest_time_in_which_the_adapter_itself_gives_up(system: str) -> None:
    """A server that takes longer than our patience is seen by our time-out first: looked at any sooner, its record is missed,
    made again, and then there twice."""
    for method in ("GET", "POST"):
        responses.add(method, re.compile(URL), status=418)
    adapter = ADAPTERS[system]()
    with suppress(RemoteError):
        adapter.check()
    adapter.close()
    connect, read = responses.calls[0].request.req_kwargs["timeout"]
    assert adapter.capabilities.lag > timedelta(seconds=connect + read)
