"""Images that come over the socket as results, not previews: which task keeps them, and whether all of them arrived.

Both are frames of one kind (P7). The class of the node that executes meanwhile, known from the posted graph, tells them
apart: a sampler sends previews, SaveImageWebsocket sends what would otherwise be its files.
"""

from __future__ import annotations

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Output
from comfy_fsm.core.findings import Code
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.registry import Registry
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.task_parts import SocketImages

__all__ = ["image_in", "take_images"]

_TYPE = "websocket"
"""Type of these outputs, in place of the server's folder that a file would be in."""
_UNNAMED, _NAMED = 1, 4  # the events that carry an image (P7)
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def image_in(imaging: SocketImages, data: seen.BinaryData, policy: Policy) -> Output | None:
    """Keep the image of this frame and return it as an output; None if it is a preview, or beyond the bounds."""
    if data.event == _NAMED and data.metadata is not None:
        node, kind = data.metadata.node_id, data.metadata.image_type
    elif data.event == _UNNAMED and not imaging.named:
        node, kind = imaging.node, data.format
    else:
        return None
    if not isinstance(node, str) or node not in imaging.nodes:
        return None
    imaging.named = data.event == _NAMED
    size = next((size for size in (data.size, data.bytes) if isinstance(size, int) and size >= 0), 0)
    if len(imaging.images) >= policy.outputs or imaging.weight + size > policy.image_bytes:
        imaging.left_out += 1
        return None
    imaging.weight += size
    number = len(imaging.images) + 1
    suffix = _SUFFIXES.get(kind, "") if isinstance(kind, str) else ""
    exact = data.size if isinstance(data.size, int) else None
    digest = data.digest if isinstance(data.digest, str) else ""
    image = Output(
        node, "images", f"{_TYPE}_{number:05}_{suffix}", type=_TYPE, by_socket=True, size=exact, digest=digest
    )
    imaging.images.append(image)
    return image


def take_images(registry: Registry, task: Task, outcome: State) -> None:
    """Add the kept images to the outputs of a task that settles, and report those that did not arrive: nobody can fetch
    them."""
    imaging = task.imaging
    if imaging is None:
        return
    task.produce_images(imaging)
    if (
        outcome is not State.COMPLETED or task.client_id is None
    ):  # without a socket to address, the server sent them to nobody (P2)
        return
    came = {image.node for image in imaging.images}
    heard = task.run.unbroken and task.run.end_received
    task.miss([node for node in imaging.nodes if node not in came or not heard])
    if task.missed:
        nodes = ", ".join(task.missed[:5])
        why = "none came" if heard else "the socket was not open for the whole run"
        registry.report(Code.IMAGES_MISSED, f"node {nodes} sends its images over it, and {why}", task)
