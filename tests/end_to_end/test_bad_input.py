"""Bad answers, bad records and bad settings: shown with a way out, nothing half-written, and nothing lost once it is over.

The tests share the two systems; each has customers of its own, and all faults and settings are taken back after it.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import requests

PHONES = count(31_600_000_001)


@pytest.fixture(scope="module")
def building(open_office: Callable[..., Any]) -> Any:
    office = open_office()
    inboxes = [
        {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"},
        {"key": "instagram", "name": "Instagram", "channel_type": "Channel::Instagram"},
    ]
    office.control("import", inboxes=inboxes)
    office.sync()
    return office


@pytest.fixture
def desk(building: Any) -> Iterator[Any]:
    """The shared office, without faults and with the settings of an ordinary day."""
    yield building
    chatwoot, salesforce = building.sandboxes.chatwoot_url, building.sandboxes.salesforce_url
    requests.delete(f"{chatwoot}/__control/faults", timeout=30).raise_for_status()
    for path in ("faults", "settings"):
        requests.delete(f"{salesforce}/__control/{path}", verify=building.ca, timeout=30).raise_for_status()
    building.control("time", offset=0)
    building.crm_control("time", offset_s=0)


def phone() -> str:
    return str(next(PHONES))


def texts(office: Any, thread: int) -> list[str]:
    return [row["Description"] for row in office.timeline(thread)]
