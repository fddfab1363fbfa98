"""Reads workflow files as ComfyUI and people write them: in any encoding of JSON, with NaN, within a request body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from comfy_fsm.errors import BadWorkflow

MOST = 64 * 1024 * 1024  # bytes of a workflow file; real ones have some hundred thousand
_PLACES = (
    ("prompt",), ("input", "workflow"), ("input", "prompt"), ("input", "workflow_json"), ("workflow",), ("output",),
    ("body", "prompt"), ("data", "prompt"), ("prompt", "prompt"), ("payload", "prompt"), ("extra", "prompt"),
)  # fmt: skip
"""Where a workflow stands in what is posted to ComfyUI, RunPod and others, and in what a picture's metadata hold."""


_ENCODINGS = {"utf-8-sig": "UTF-8 with a byte order mark"}


class Order(NamedTuple):
    """What is to be posted, and in which words it was found where it is not the whole file."""

    name: str
    workflow: dict[str, Any]
    extra_data: dict[str, Any]
    told: tuple[str, ...] = ()


def read(name: str) -> Order:
    """What the file holds, if it can be posted. Raises BadWorkflow or OSError, and then nothing was sent."""
    with open(name, "rb") as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise BadWorkflow(f"{name} has more than {MOST // 2**20} MiB, so it was not read; is it a workflow?")
    return read_content(name, content)


def read_content(name: str, content: bytes) -> Order:
    """The same of what was read."""
    from comfy_fsm.live import asks

    value, told = _decoded(name, content)
    workflow, where, beside = _found(value)
    extra = beside.get("extra_data")
    extra = extra if isinstance(extra, dict) else {}
    if where:
        told.append(f"the workflow is its {'.'.join(where)}" + (", and extra_data goes with it" if extra else ""))
        if left := sorted(key for key in beside if key not in (where[-1], "extra_data")):
            told.append(f"left out: {', '.join(left)[:200]}")
    try:
        asks.post(workflow)
    except BadWorkflow as error:
        raise BadWorkflow(f"{name}: {error}") from None
    return Order(name, workflow, extra, tuple(told))


def tell(orders: Iterable[Order], say: Callable[[str], None]) -> None:
    """One line for each file that was not plainly a workflow."""
    for order in orders:
        if order.told:
            say(f"{order.name}: {'; '.join(order.told)}")


def _decoded(name: str, content: bytes) -> tuple[object, list[str]]:
    """The value, and what is odd about how it was written."""
    odd: dict[str, None] = {}

    def constant(word: str) -> float:
        odd[word] = None
        return float(word)

    try:
        encoding = json.detect_encoding(content)
        value = json.loads(content.decode(encoding, "surrogatepass"), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise BadWorkflow(f"{name} is no JSON ({why}), so nothing was submitted; export the workflow again") from None
    told = [] if encoding == "utf-8" else [f"read as {_ENCODINGS.get(encoding, encoding.upper())}"]
    if odd:
        told.append(f"with {', '.join(odd)}, which ComfyUI takes and JSON does not")
    return value, told


def _found(value: object) -> tuple[Any, tuple[str, ...], Mapping[str, object]]:
    """The workflow, where it stands in the file, and what it stands in."""
    if not is_workflow(value):
        for where, found, beside in _within(value):
            if is_workflow(found):
                return found, where, beside
    return value, (), {}


def _within(value: object) -> Iterator[tuple[tuple[str, ...], object, Mapping[str, object]]]:
    """What stands at the known places; a text there is JSON, as in a picture."""
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


def is_workflow(value: object) -> bool:
    """Whether it has the shape of one: nodes, each with its class."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in value.values())
    )
