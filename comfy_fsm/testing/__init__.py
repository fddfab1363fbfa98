"""A fake ComfyUI to test clients against, ours and yours: `pip install 'comfy-fsm[testing]'`."""

from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import PROFILES, Profile
from comfy_fsm.testing.server import FakeComfy

__all__ = ["PROFILES", "FakeComfy", "Faults", "Profile"]
