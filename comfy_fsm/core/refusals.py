"""What a server says when it takes a prompt, in part or whole, and when it does not."""

from __future__ import annotations

from msgspec import Raw, Struct

from comfy_fsm.core import wire
from comfy_fsm.core.effects import Failure


class NodeError(Struct, frozen=True):
    dependent_outputs: list[str] = []


class Accepted(Struct, frozen=True):
    """The 200 answer to a POST; nodes in `node_errors` and the outputs behind them were dropped (P9)."""

    prompt_id: str
    node_errors: dict[str, NodeError] | list[object] | None = None

    def dropped(self) -> set[str]:
        if not isinstance(self.node_errors, dict):
            return set()
        return set(self.node_errors).union(*(error.dependent_outputs for error in self.node_errors.values()))


class RefusalError(Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class RefusedNode(Struct, frozen=True):
    errors: list[RefusalError] = []
    class_type: str | None = None


class Refusal(Struct, frozen=True):
    """The 400 answer to a POST; the prompt as a whole may be at fault, or nodes of it.

    Its `details` are not read: they may repeat inputs, which a log does not keep.
    """

    error: RefusalError | str | None = None
    node_errors: Raw = Raw(b"null")

    def failure(self) -> Failure:
        if not isinstance(self.error, RefusalError):
            return Failure(message=self.error)
        nodes = wire.body(self.node_errors, dict[str, RefusedNode]) or {}
        for node_id, node in nodes.items():  # the first that says something: the others are to be mended after it
            if node.errors:
                words = ": ".join(filter(None, (self.error.message, node.errors[0].message)))
                return Failure(self.error.type, words, node_id, node.class_type)
        return Failure(type=self.error.type, message=self.error.message)
