"""The page that tells what was shown against which servers: docs/conformance.md."""

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from tests.conformance.scenario import SCENARIOS

PAGE = """\
# Conformance

What [the protocol of ComfyUI](../README.md) is taken to be here is played as scenarios against servers: the fake that the tests run
against, and real ones. P numbers are the facts that the code cites.
"""


class Row(NamedTuple):
    """How one scenario ended at one server."""

    server: str
    scenario: str
    result: str
