"""Progress of a run, estimated from its frames: the nodes that are done, weighed by their durations in earlier runs.

ComfyUI reports no overall progress. Without an earlier run, each node counts as one, and one with steps as that many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.scheduling.backlog import graph_of
from comfy_fsm.core.updates import Update, steps_of

__all__ = ["Paces", "Progress", "Track"]

_SHAPES = 256  # of workflows whose paces are remembered; the oldest makes room
_MOST_STEPS = 10_000  # that a node counts for before it ran once
_NEARLY = 0.95  # of a node that should be done by now, and is not


class Progress(NamedTuple):
    """Progress of a task, as far as its frames show."""

    share: float | None = None
    """From 0 to 1, never falling; None where its workflow is not known."""
    node: str | None = None
    """The node that runs now, or ran last."""
    title: str = ""
    """What the canvas calls that node."""
    class_type: str = ""
    seconds_left: float | None = None
    """A guess, from what each node took in earlier runs of workflows of this shape; None where there were none."""


class Paces:
    """Durations of the nodes in workflows of one shape, from the runs that this client followed."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[str, dict[str, float]] = OrderedDict()

    def learn(self, shape: str, took: Mapping[str, float]) -> None:
        """Take in the durations of a run; for a cached node the older one stays."""
        if took:
            self._shapes[shape] = {**self._shapes.pop(shape, {}), **took}
            if len(self._shapes) > _SHAPES:
                self._shapes.popitem(last=False)

    def of(self, shape: str) -> Mapping[str, float]:
        return self._shapes.get(shape, {})


class Track:
    """Progress of one task, frame by frame; only nodes of its workflow count, whatever the server sends."""

    def __init__(self, paces: Paces, workflow: Mapping[str, Any] | None = None) -> None:
        self._paces = paces
        self._nodes: Mapping[str, Any] = {}
        self._shape = ""
        self._weights: dict[str, float] = {}
        self._total = 0.0
        self._learned = False
        self._share = 0.0
        self._left: dict[str, float] = {}
        self.know(workflow if workflow is not None else {})

    def know(self, workflow: Mapping[str, Any], left: Collection[str] = ()) -> None:
        """Set the workflow as soon as it is known; `left` are the nodes that were not done by then."""
        self._nodes, self._shape = workflow, graph_of(workflow)
        self._begin()
        if left:
            self._left = {name: weight for name, weight in self._left.items() if name in left}

    def _begin(self) -> None:
        took = self._paces.of(self._shape)
        self._learned = bool(took)
        usual = sum(took.values()) / len(took) if took else 1.0
        self._weights = {name: took.get(name, usual) if took else _steps(node) for name, node in self._nodes.items()}
        self._total = sum(self._weights.values())
        self._left = dict(self._weights)
        self._node: str | None = None
        self._since = 0.0
        self._line = b""
        self._took: dict[str, float] = {}

    def take(self, o: AnyObservation, line: bytes) -> None:
        """Take a frame about this task; its numbers are decoded when somebody asks for them."""
        if type(o) is not seen.Message:
            return
        frame = o.data
        match frame:
            case seen.Progress():
                self._line = line
            case seen.Executing(data=data) if data.node != self._node or data.node is None:
                self._end_node(o.at)
                self._node, self._since = data.node if data.node is not None else self._node, o.at
            case seen.Executed(data=data):
                self._left.pop(data.node or "", None)
            case seen.ExecutionCached(data=data):
                for name in data.nodes:
                    self._left.pop(name, None)
            case seen.ExecutionStart():
                self._begin()
            case seen.ExecutionSuccess():
                self._end_node(o.at)
                self._left.clear()

    def _end_node(self, at: float) -> None:
        if self._node in self._weights:
            self._took[self._node] = self._took.get(self._node, 0.0) + max(at - self._since, 0.0)
            self._left.pop(self._node, None)
        self._line, self._since = b"", at

    def learn(self) -> None:
        """Learn the durations of the nodes from a completed run."""
        self._paces.learn(self._shape, self._took)

    def now(self, at: float) -> Progress:
        """Return the progress at this time."""
        node = self._nodes.get(self._node or "")
        title, class_type = _titled(node) if isinstance(node, Mapping) else ("", "")
        if not self._total:
            return Progress(None, self._node, title, class_type)
        left = sum(self._left.values()) - self._left.get(self._node or "", 0.0) * self._fraction(at)
        self._share = min(max(self._share, 1.0 - left / self._total), 1.0)
        return Progress(self._share, self._node, title, class_type, max(left, 0.0) if self._learned else None)

    def _fraction(self, at: float) -> float:
        """Return how much of the running node is done: by its own report, otherwise by the time that it usually
        takes.
        """
        value, most = steps_of(self._line) if self._line else (None, None)
        if value is not None and most:
            return min(max(value / most, 0.0), 1.0)
        usual = self._weights.get(self._node or "", 0.0)
        return min((at - self._since) / usual, _NEARLY) if self._learned and usual > 0 and at > self._since else 0.0

    def described(self, update: Update) -> Update:
        """Return the update with what is known about its node and the whole run."""
        now = self.now(update.at)
        name = now.node if update.node is None and update.name in ("preview", "progress") else update.node
        node = self._nodes.get(name or "")
        title, class_type = _titled(node) if isinstance(node, Mapping) else ("", "")
        return replace(
            update, node=name, title=title, class_type=class_type, share=now.share, seconds_left=now.seconds_left
        )


def _steps(node: object) -> float:
    """Return what a node counts as before it ever ran."""
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    steps = inputs.get("steps") if isinstance(inputs, Mapping) else None
    return float(min(max(steps, 1), _MOST_STEPS)) if isinstance(steps, int) else 1.0


def _titled(node: Mapping[str, Any]) -> tuple[str, str]:
    meta, class_type = node.get("_meta"), node.get("class_type")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    kind = class_type if isinstance(class_type, str) else ""
    return (title if isinstance(title, str) and title else kind), kind
