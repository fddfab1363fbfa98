"""Backlog: jobs that wait on the client's side, tags for the next POSTs, and servers that are drained.

Knows no task and no server's state. The log entry of a job holds its whole workflow; kept here are only its id, its
turn, and the position to read the workflow from, so that a full backlog takes little memory.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from comfy_fsm.core import observations as seen

__all__ = ["MAX_TAG", "MOST_PRIORITY", "Backlog", "Job", "graph_of", "is_priority", "tag_of"]

MOST_PRIORITY = 1e6
"""Largest priority, positive or negative: beyond it, priority times ageing leaves the range in which a float resolves
seconds."""

MAX_TAG = 8_192
"""Bytes of a tag as JSON: a user, a channel and some words; anything longer is for the application to store."""
_MOST_TAGS = 10_000
"""Tags that wait for their POST; it follows at once, or never."""


class Job(Struct, frozen=True, gc=False):
    """Workflow that was enqueued: the id under which it is or will be posted, and the position of its log entry."""

    prompt_id: str
    priority: float
    graph: str
    at: float
    position: int
    tag: bytes = b""


class Backlog:
    """Waiting jobs, folded by the board. At most `limit` jobs wait; those that a trace enqueues beyond it are
    ignored."""

    def __init__(self, limit: int, servers: int) -> None:
        self.waiting: dict[str, Job] = {}
        self.drained: dict[str, None] = {}
        self._tags: dict[str, bytes] = {}
        self._limit = limit
        self._servers = servers

    @property
    def full(self) -> bool:
        return len(self.waiting) >= self._limit

    def enqueue(self, position: int, o: seen.Command) -> None:
        prompt_id, priority = o.data.prompt_id, o.data.priority
        if prompt_id is None or prompt_id in self.waiting or self.full or not is_priority(priority):
            return
        self.waiting[prompt_id] = Job(prompt_id, priority, o.data.graph or "", o.at, position, tag_of(o))

    def tag(self, o: seen.Command) -> None:
        """Keep the tag for the next POST under this id."""
        if o.data.prompt_id is not None and (tag := tag_of(o)):
            self._tags[o.data.prompt_id] = tag
            if len(self._tags) > _MOST_TAGS:
                del self._tags[next(iter(self._tags))]

    def take_tag(self, prompt_id: str | None) -> bytes:
        return self._tags.pop(prompt_id or "", b"")

    def take(self, prompt_id: str | None) -> Job | None:
        """Take the job out, since it was posted or withdrawn."""
        return self.waiting.pop(prompt_id, None) if prompt_id is not None else None

    def wait_again(self, job: Job, prompt_id: str) -> None:
        """Queue the job again under another id, since a server may know the first one; it keeps its turn."""
        if prompt_id not in self.waiting:
            self.waiting[prompt_id] = replace(job, prompt_id=prompt_id)

    def drain(self, url: str | None) -> None:
        if url is not None and len(self.drained) < self._servers:
            self.drained[url] = None

    def undrain(self, url: str | None) -> None:
        self.drained.pop(url or "", None)


def tag_of(o: seen.Command) -> bytes:
    """Return the tag of a command as JSON; empty if it is longer than allowed."""
    raw = bytes(o.data.tag)  # a copy: the raw value keeps its whole line in memory
    return raw if raw != b"null" and len(raw) <= MAX_TAG else b""


def is_priority(priority: float) -> bool:
    return math.isfinite(priority) and abs(priority) <= MOST_PRIORITY


def graph_of(workflow: Mapping[str, object]) -> str:
    """Return a name for workflows of one shape: the same classes, linked alike, with the same models.

    What a server keeps between two runs are models and cached nodes, and the shape is what mainly decides how long a
    run takes. Inputs that name a model end in `_name` by convention: `ckpt_name`, `lora_name`.
    """
    shape = {}
    for name, node in workflow.items():
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        kept = {
            key: value
            for key, value in (inputs.items() if isinstance(inputs, Mapping) else ())
            if isinstance(value, list) or (isinstance(value, str) and key.endswith("_name"))
        }
        shape[name] = [node.get("class_type") if isinstance(node, Mapping) else None, kept]
    text = json.dumps(shape, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
