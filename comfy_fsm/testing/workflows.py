"""Workflows in API format that are ready to be submitted."""

from __future__ import annotations

import uuid

from comfy_fsm.testing.execution.nodes import Graph

__all__ = ["picture", "sleeping"]


def picture(color: int = 0) -> Graph:
    """Return a workflow that saves one small picture with built-in nodes; another color is another picture, not in any
    cache (P14).
    """
    size = {"width": 8, "height": 8, "batch_size": 1}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "picture"}},
    }


def sleeping(seconds: float) -> Graph:
    """Return a workflow that does nothing for this long."""
    return {
        "1": {"class_type": "FakeSleep", "inputs": {"seconds": seconds, "seed": str(uuid.uuid4())}},
        "2": {"class_type": "FakeText", "inputs": {"text": "slept", "source": ["1", 0]}},
    }
