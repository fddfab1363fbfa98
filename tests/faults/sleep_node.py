"""Node that takes time and no work, for the `custom_nodes` of a ComfyUI at which scenarios are played.

Without it the time is spent by a chain of blurs, which takes as long as the machine has other things to do.
"""

import time
from typing import Any, ClassVar

PULSE = 0.05  # seconds between two looks at an interrupt


class FaultsSleep:
    """Hands an image on after a while."""

    CATEGORY = "testing"
    FUNCTION = "wait"
    RETURN_TYPES = ("IMAGE",)
    INPUTS: ClassVar[dict[str, Any]] = {
        "image": ("IMAGE",),
        "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1e6, "step": 0.001}),
    }

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": cls.INPUTS}

    def wait(self, image: Any, seconds: float) -> tuple[Any]:
        from comfy.model_management import throw_exception_if_processing_interrupted  # it is there where this runs

        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            throw_exception_if_processing_interrupted()
            time.sleep(min(left, PULSE))
        return (image,)


NODE_CLASS_MAPPINGS = {"FaultsSleep": FaultsSleep}
