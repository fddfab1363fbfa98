"""What waits on the client's side: jobs that were enqueued and tags of what is posted next; servers that are drained.

Must know no task and no server's state. A job is told by its log entry alone, where its workflow stands whole: here
are only its id, its turn, and the position to read the workflow from, so that a full backlog weighs little.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from comfy_fsm.core import observations as seen

MOST_PRIORITY = 1e6
"""Either way: beyond it, priority times ageing leaves the range in which a float still tells seconds apart."""

MAX_TAG = 8_192
"""Bytes of the JSON of a tag: a user, a channel and some words; what is longer is the application's to keep."""
_MOST_TAGS = 10_000
"""Tags that wait for their POST; it follows at once, or never."""


class Job(Struct, frozen=True, gc=False):
    """A workflow that was enqueued: the id under which it is, or will be, posted, and where it stands in the log."""

    prompt_id: str
    priority: float
    graph: str
    at: float
    position: int
    tag: bytes = b""


class Backlog:
    """Folded by the board. At most `limit` jobs wait; a trace that enqueues more is not believed the rest."""

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
        """What is posted next under this id has this tag."""
        if o.data.prompt_id is not None and (tag := tag_of(o)):
            self._tags[o.data.prompt_id] = tag
            if len(self._tags) > _MOST_TAGS:
                del self._tags[next(iter(self._tags))]

    def take_tag(self, prompt_id: str | None) -> bytes:
        return self._tags.pop(prompt_id or "", b"")

    def take(self, prompt_id: str | None) -> Job | None:
        """It waits no longer: it was posted, or withdrawn."""
        return self.waiting.pop(prompt_id, None) if prompt_id is not None else None

    def wait_again(self, job: Job, prompt_id: str) -> None:
        """Under another id, since the first may be known somewhere; in its old turn, since it lost it by no fault."""
        if prompt_id not in self.waiting:
            self.waiting[prompt_id] = replace(job, prompt_id=prompt_id)

    def drain(self, url: str | None) -> None:
        if url is not None and len(self.drained) < self._servers:
            self.drained[url] = None

    def undrain(self, url: str | None) -> None:
        self.drained.pop(url or "", None)


def tag_of(o: seen.Command) -> bytes:
    """The tag that a command gives, as JSON; none where it is longer than any of ours."""
    raw = bytes(o.data.tag)  # a copy: the raw value keeps its whole line in memory
    return raw if raw != b"null" and len(raw) <= MAX_TAG else b""


def is_priority(priority: float) -> bool:
    return math.isfinite(priority) and abs(priority) <= MOST_PRIORITY


def graph_of(workflow: Mapping[str, object]) -> str:
    """A name for workflows of one shape: the same classes, linked alike, with the same models. The rest may differ.

    What a server keeps between two runs are models and cached nodes, and how long a run takes is told by its shape
    first; an input that names a model is called so by custom: `ckpt_name`, `lora_name`.
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
