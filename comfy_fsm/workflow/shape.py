"""Check of values that should be workflows in API format, and a description of what they are instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfy_fsm.errors import BadWorkflow

__all__ = ["checked", "is_link", "is_workflow", "snapshot"]

_WANTED = "a workflow in API format is an object of nodes, each with its class_type"
_CURE = "in ComfyUI, save it by Export (API); nothing was sent"


def checked(workflow: object) -> dict[str, object]:
    """Return the workflow if `POST /prompt` could take it; raises BadWorkflow. The rest is for the server to judge."""
    if isinstance(workflow, str):
        raise BadWorkflow(f"{_WANTED}, and this is a text: to read a file, Workflow.load(...); nothing was sent")
    if not isinstance(workflow, Mapping) or not workflow:
        given = "empty" if isinstance(workflow, Mapping) else type(workflow).__name__
        raise BadWorkflow(f"{_WANTED}, and this is {given}: {_CURE}")
    if _is_canvas(workflow):
        raise BadWorkflow(f"{_WANTED}, and this one was saved for the canvas: {_CURE}")
    if is_workflow(workflow.get("prompt")):
        raise BadWorkflow(
            "this is the body of a POST to /prompt: give what stands under its 'prompt' as the workflow, and its "
            "extra_data, if it has any, as extra_data=...; nothing was sent"
        )
    for name, node in workflow.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("class_type"), str):
            raise BadWorkflow(f"{_WANTED}, and node {name!r:.80} has none: {_CURE}")
    return dict(workflow)


def snapshot(workflow: object) -> dict[str, Any]:
    """Return a copy, in the form that JSON will have; raises BadWorkflow. Later changes of the original do not affect
    it.
    """
    try:
        copied: dict[str, Any] = json.loads(json.dumps(checked(workflow)))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadWorkflow(f"the workflow cannot be written as JSON ({error}); nothing was sent") from None
    return copied


def _is_canvas(value: object) -> bool:
    """Return whether this is the canvas format of ComfyUI, which no server takes."""
    return isinstance(value, Mapping) and isinstance(value.get("nodes"), list)


def is_workflow(value: object) -> bool:
    """Return whether this is a complete workflow: nodes, each with its class."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(node, Mapping) and isinstance(node.get("class_type"), str) for node in value.values())
    )


def is_link(value: object) -> bool:
    """Return whether an input is linked to another node, `[node, slot]`, rather than a value."""
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)
