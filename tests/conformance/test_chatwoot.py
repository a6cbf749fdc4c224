"""The Chatwoot adapter keeps the contract, over HTTP against the sandbox process."""

from collections.abc import Iterator

import pytest
from chatwoot_world import ChatwootWorld, Sandbox, running
from suite import Conformance
from suite_world import World


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running(tmp_path_factory.mktemp("chatwoot")) as sandbox:
        yield sandbox


class TestChatwoot(Conformance):
    @pytest.fixture
    def world(self, sandbox: Sandbox) -> Iterator[World]:
        world = ChatwootWorld(sandbox)
        yield world
        world.adapter.close()
