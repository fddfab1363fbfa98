"""Fixtures: clients poll as often as their quick policy wants; a fake server that all tests of a module share."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest

from comfy_fsm.testing import FakeComfy, Faults
from tests.support.processes import in_a_thread
from tests.support.pulse import pulse

__all__ = ["pulse"]


class Servers(NamedTuple):
    comfy: FakeComfy
    page: FakeComfy  # which has a page of HTML for everything


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with in_a_thread() as comfy, in_a_thread() as page:
        page.faults.login_page = True
        yield Servers(comfy, page)


@pytest.fixture
def comfy(servers: Servers) -> Iterator[FakeComfy]:
    """The server that all tests share, without the faults of the one before."""
    yield servers.comfy
    servers.comfy.faults.turn(msgspec.to_builtins(Faults()))
