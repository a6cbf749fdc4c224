"""Both sandboxes, the engine between them, and the people who work in the two systems."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from odoo_server import Odoo as OdooServer
from offices import OdooOffice, Office

from connector.sandbox.serve import Sandboxes, one, running

INBOXES = [
    {"key": "instagram", "name": "Instagram", "channel_type": "Channel::Instagram"},
    {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"},
]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Both systems with inboxes and agents, and nobody in them yet."""
    with running(tmp_path) as sandboxes:
        office = Office(sandboxes)
        office.control(
            "import",
            inboxes=INBOXES,
            labels=[{"key": name, "title": name} for name in ("vip", "repair")],
        )
        yield office
        office.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Office]:
    """Both systems with the sample shop in them."""
    with running(tmp_path, samples=True) as sandboxes:
        office = Office(sandboxes)
        yield office
        office.close()


@pytest.fixture(scope="module")
def open_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Office]]:
    """Opens offices that the tests of a module share: `samples` loads the sample shop, `mapping` names the file, `sandboxes`
    are those that run already."""
    with ExitStack() as stack:

        def opened(
            *, samples: bool = False, mapping: str = "chatwoot-salesforce.yaml", sandboxes: Sandboxes | None = None
        ) -> Office:
            directory = tmp_path_factory.mktemp("office")
            office = Office(sandboxes or stack.enter_context(running(directory, samples=samples)), mapping)
            stack.callback(office.close)
            return office

        yield opened


@pytest.fixture(scope="module")
def building(open_office: Callable[..., Office]) -> Office:
    office = open_office()
    inbox = {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"}
    office.control("import", inboxes=[inbox])
    office.sync()
    return office


@pytest.fixture
def desk(building: Office) -> Iterator[Office]:
    """An office that the tests of a module share: each has customers of its own, and takes back its faults and settings."""
    yield building
    building.clear()


@pytest.fixture(scope="module")
def odoo_building(tmp_path_factory: pytest.TempPathFactory, odoo: OdooServer) -> Iterator[OdooOffice]:
    """Chatwoot and a real Odoo, for the tests of a module."""
    directory = tmp_path_factory.mktemp("odoo-office")
    with one("chatwoot", directory) as chatwoot:
        office = OdooOffice(chatwoot.told, directory, odoo)
        office.control("import", inboxes=INBOXES, labels=[{"key": name, "title": name} for name in ("vip", "repair")])
        office.sync()
        yield office
        office.close()


@pytest.fixture
def store(odoo_building: OdooOffice) -> Iterator[OdooOffice]:
    """The Odoo office; each test has customers of its own."""
    yield odoo_building
    odoo_building.clear()
