"""What a listener is told of its task, as values: made of frames, and of the images that are results."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Output
from comfy_fsm.core.observations import AnyObservation


class Update(Struct, frozen=True, gc=False):
    """A sign of life of a task; `name` is ComfyUI's own word, or `report` for what the application said itself."""

    prompt_id: str
    name: str
    at: float
    node: str | None = None
    value: float | None = None
    max: float | None = None
    text: str = ""
    image: bytes = b""


class _ProgressData(Struct, frozen=True, gc=False):
    node: str | None = None
    value: float | None = None
    max: float | None = None


class _ProgressFrame(Struct, frozen=True, gc=False):
    data: _ProgressData


class _ProgressLine(Struct, frozen=True, gc=False):
    data: _ProgressFrame


_progress = msgspec.json.Decoder(_ProgressLine, strict=False).decode


def prompt_of(observation: AnyObservation) -> str | None:
    """The prompt that a frame names, or None."""
    if type(observation) is seen.Message:
        return getattr(getattr(observation.data, "data", None), "prompt_id", None)
    if type(observation) is seen.Binary and observation.data.metadata is not None:
        return observation.data.metadata.prompt_id
    return None


def update_of(prompt_id: str, observation: AnyObservation, line: bytes, image: bytes = b"") -> Update | None:
    """What this frame tells a listener; None where it tells nothing that others do not tell better."""
    if type(observation) is seen.Binary:
        return Update(prompt_id, "preview", observation.at, image=image) if image else None
    if type(observation) is not seen.Message or isinstance(observation.data, seen.ProgressState):
        return None  # progress_state repeats, for all nodes, what `progress` says of one
    frame, name = observation.data, str(observation.data.__struct_config__.tag)
    if isinstance(frame, seen.Progress):
        try:
            data = _progress(line).data.data
        except msgspec.DecodeError:  # odd numbers (P18, P20): there was progress all the same
            data = _ProgressData()
        return Update(prompt_id, name, observation.at, data.node, data.value, data.max)
    return Update(prompt_id, name, observation.at, getattr(getattr(frame, "data", None), "node", None))


def image_update(prompt_id: str, output: Output, at: float) -> Update:
    """What is told of an image that is a result; its bytes go beside it, and its name in the result is its text."""
    return Update(prompt_id, "image", at, output.node, text=output.filename)
