"""Fake ComfyUI for testing clients, ours and yours: `pip install 'comfy-fsm[testing]'`."""

from typing import TYPE_CHECKING

from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import PROFILES, Profile
from comfy_fsm.testing.workflows import picture, sleeping

if TYPE_CHECKING:
    from comfy_fsm.testing.assertions import assert_clean
    from comfy_fsm.testing.balancer import Balancer
    from comfy_fsm.testing.server import FakeComfy
    from comfy_fsm.testing.threaded import ThreadedFake

__all__ = [
    "PROFILES",
    "Balancer",
    "FakeComfy",
    "Faults",
    "Profile",
    "ThreadedFake",
    "assert_clean",
    "picture",
    "sleeping",
]


def __getattr__(name: str) -> object:
    """Load a name on first use: our pytest plugin is loaded wherever this package is installed, and must be fast."""
    if name == "assert_clean":
        from comfy_fsm.testing import assertions

        return assertions.assert_clean
    if name not in ("Balancer", "FakeComfy", "ThreadedFake"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from comfy_fsm.testing import balancer, server, threaded
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        lacking = f"{name} needs aiohttp, which is not installed; pip install 'comfy-fsm[testing]', then ask again"
        raise ModuleNotFoundError(lacking, name="aiohttp") from error
    found = {"Balancer": balancer.Balancer, "FakeComfy": server.FakeComfy, "ThreadedFake": threaded.ThreadedFake}
    return found[name]
