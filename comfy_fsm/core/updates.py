"""Updates: what a listener is told about its task, made from frames, and from images that are results."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Output
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.mime_types import type_in

__all__ = ["Update", "image_update", "prompt_of", "steps_of", "update_of"]


class Update(Struct, frozen=True, gc=False):
    """Sign of life of a task; `name` is ComfyUI's own word, or `report` for what the application reported itself."""

    prompt_id: str
    name: str
    at: float
    node: str | None = None
    value: float | None = None
    max: float | None = None
    text: str = ""
    image: bytes = b""
    format: str = ""
    """MIME type of the image."""
    title: str = ""
    """Title of the node on the canvas."""
    class_type: str = ""
    share: float | None = None
    """Share of the whole run that is done, from 0 to 1, never falling; None if its workflow is not known."""
    seconds_left: float | None = None
    """Estimated seconds left, from earlier runs of workflows of this shape; None if there were none."""

    def __repr__(self) -> str:
        said = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) not in (None, "", b"")}
        if self.image:
            said["image"] = f"<{len(self.image):,} bytes>"
        return f"Update({', '.join(f'{name}={value!r:.200}' for name, value in said.items())})"


class _ProgressData(Struct, frozen=True, gc=False):
    node: str | None = None
    value: float | None = None
    max: float | None = None


class _ProgressFrame(Struct, frozen=True, gc=False):
    data: _ProgressData


class _ProgressLine(Struct, frozen=True, gc=False):
    data: _ProgressFrame


_progress = msgspec.json.Decoder(_ProgressLine, strict=False).decode


def steps_of(line: bytes) -> tuple[float | None, float | None]:
    """Return value and maximum in the line of a `progress` frame; None where they are odd (P18, P20)."""
    try:
        data = _progress(line).data.data
    except msgspec.DecodeError:
        return None, None
    return data.value, data.max


def prompt_of(observation: AnyObservation) -> str | None:
    """Return the prompt that a frame names, or None."""
    if type(observation) is seen.Message:
        return getattr(getattr(observation.data, "data", None), "prompt_id", None)
    if type(observation) is seen.Binary and observation.data.metadata is not None:
        return observation.data.metadata.prompt_id
    return None


def update_of(prompt_id: str, observation: AnyObservation, line: bytes, image: bytes = b"") -> Update | None:
    """Return the update that this frame gives rise to; None if other frames say the same in more detail."""
    if type(observation) is seen.Binary:
        told = observation.data.metadata
        node = told.node_id if told is not None and isinstance(told.node_id, str) else None
        return Update(prompt_id, "preview", observation.at, node, image=image, format=type_in(image)) if image else None
    if type(observation) is not seen.Message or isinstance(observation.data, seen.ProgressState):
        return None  # progress_state repeats, for all nodes, what `progress` says of one
    frame = observation.data
    if isinstance(frame, seen.Progress):
        try:
            data = _progress(line).data.data
        except msgspec.DecodeError:  # odd numbers (P18, P20): there was progress all the same
            data = _ProgressData()
        return Update(prompt_id, "progress", observation.at, data.node, data.value, data.max)
    node = getattr(getattr(frame, "data", None), "node", None)
    if node is None and isinstance(frame, seen.Executing):
        return None  # the end, which the result reports
    return Update(prompt_id, str(frame.__struct_config__.tag), observation.at, node)


def image_update(prompt_id: str, output: Output, at: float) -> Update:
    """Return the update for an image that is a result; its text is the name in the result, and its bytes come
    separately."""
    return Update(prompt_id, "image", at, output.node, text=output.filename)
