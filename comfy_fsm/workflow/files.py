"""Reader of workflow files as ComfyUI and people write them: any JSON, with NaN, in a request body or a PNG."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from comfy_fsm.errors import BadWorkflow
from comfy_fsm.workflow import png
from comfy_fsm.workflow.shape import checked, is_workflow

__all__ = ["Order", "read", "read_content", "read_value"]

_MOST = 64 * 1024 * 1024  # bytes of a workflow file; real ones have some hundred thousand
_PLACES = (
    ("prompt",), ("input", "workflow"), ("input", "prompt"), ("input", "workflow_json"), ("workflow",), ("output",),
    ("body", "prompt"), ("data", "prompt"), ("prompt", "prompt"), ("payload", "prompt"), ("extra", "prompt"),
)  # fmt: skip
"""Where a workflow stands in what is posted to ComfyUI, RunPod and others, and in what a picture's metadata hold."""
_ENCODINGS = {"utf-8-sig": "UTF-8 with a byte order mark"}
_PICTURES = {b"\xff\xd8\xff": "a JPEG", b"GIF8": "a GIF", b"RIFF": "a WebP or another RIFF file"}


class Order(NamedTuple):
    """Workflow to post, and what was odd about the file it came from."""

    name: str
    workflow: dict[str, Any]
    extra_data: dict[str, Any]
    told: tuple[str, ...] = ()


def read(name: str | os.PathLike[str]) -> Order:
    """Read the workflow in a file; raises BadWorkflow or OSError, and then nothing was sent."""
    with open(name, "rb") as file:
        content = file.read(_MOST + 1)
    name = os.fspath(name)
    if len(content) > _MOST:
        raise BadWorkflow(f"{name} has more than {_MOST // 2**20} MiB, so it was not read; is it a workflow?")
    return read_content(name, content)


def read_content(name: str, content: bytes) -> Order:
    """Read the workflow in the content of a file."""
    value, told = _from_png(name, content) if content.startswith(png.SIGNATURE) else _decoded(name, content)
    return read_value(name, value, told)


def read_value(name: str, value: object, told: list[str]) -> Order:
    """Read the workflow in a decoded value."""
    workflow, where, beside = _found(value)
    extra = beside.get("extra_data")
    extra = extra if isinstance(extra, dict) else {}
    if where:
        told.append(f"the workflow is its {'.'.join(where)}" + (", and extra_data goes with it" if extra else ""))
        if left := sorted(key for key in beside if key not in (where[-1], "extra_data")):
            told.append(f"left out: {', '.join(left)[:200]}")
    try:
        workflow = checked(workflow)
        json.dumps(workflow)
    except BadWorkflow as error:
        raise BadWorkflow(f"{name}: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadWorkflow(f"{name}: it cannot be written as JSON ({error}); nothing was sent") from None
    return Order(name, workflow, extra, tuple(told))


def _from_png(name: str, content: bytes) -> tuple[object, list[str]]:
    """Return the workflow in a picture saved by ComfyUI; of several texts with one keyword, the first."""
    found: dict[str, object] = {}
    for keyword, text in png.texts(content, _MOST):
        if keyword in ("prompt", "workflow") and keyword not in found:
            try:
                found[keyword] = json.loads(text)
            except (ValueError, RecursionError):
                continue
    if is_workflow(found.get("prompt")):
        return found["prompt"], ["read from the metadata of a picture"]
    what = "the workflow of a canvas alone" if "workflow" in found else "no workflow"
    raise BadWorkflow(
        f"{name} is a PNG whose metadata hold {what}, so nothing was submitted; take one that ComfyUI saved itself, as "
        "it was saved, or save the workflow by Export (API)"
    )


def _decoded(name: str, content: bytes) -> tuple[object, list[str]]:
    """Return the value, and what is odd about how it was written."""
    odd: dict[str, None] = {}

    def constant(word: str) -> float:
        odd[word] = None
        return float(word)

    try:
        encoding = json.detect_encoding(content)
        value = json.loads(content.decode(encoding, "surrogatepass"), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        picture = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), None)
        if picture is not None:
            why = f"it is {picture}, and a workflow is read from a PNG alone"
        raise BadWorkflow(f"{name} is no JSON ({why}), so nothing was submitted; export the workflow again") from None
    told = [] if encoding == "utf-8" else [f"read as {_ENCODINGS.get(encoding, encoding.upper())}"]
    if odd:
        told.append(f"with {', '.join(odd)}, which ComfyUI takes and JSON does not")
    return value, told


def _found(value: object) -> tuple[Any, tuple[str, ...], Mapping[str, object]]:
    """Return the workflow, the path to it in the file, and the object around it."""
    if not is_workflow(value):
        for where, found, beside in _within(value):
            if is_workflow(found):
                return found, where, beside
    return value, (), {}


def _within(value: object) -> Iterator[tuple[tuple[str, ...], object, Mapping[str, object]]]:
    """Yield what stands at the known paths; a text there is JSON, as in a picture."""
    for where in _PLACES:
        found, beside = value, value
        for key in where:
            beside, found = found, found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                continue
        if isinstance(beside, dict):
            yield where, found, beside
