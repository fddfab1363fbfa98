"""Workflow that can be changed by the names that people know: titles, classes and inputs."""

from __future__ import annotations

import copy
import difflib
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Self

from comfy_fsm.errors import UnknownInput
from comfy_fsm.workflow import files
from comfy_fsm.workflow.shape import is_link

__all__ = ["Workflow"]

_MOST_SEED = 2**50
"""Above the largest random seed; the canvas draws from the same range, since JavaScript loses digits beyond it."""
_MOST_LISTED = 30


class Workflow(Mapping[str, dict[str, Any]]):
    """Workflow in API format: a mapping from node ids to nodes, as `POST /prompt` takes it.

    `node` is always the id of a node, its title, or its class if only one node has that; titles and classes are
    compared without case if nothing matches exactly.
    """

    def __init__(self, graph: Mapping[str, Any]) -> None:
        """Copy a graph, or the graph in a request body; raises BadWorkflow."""
        order = files.read_value("this workflow", dict(graph), [])
        self._nodes: dict[str, dict[str, Any]] = copy.deepcopy(order.workflow)
        self.extra_data: dict[str, Any] = copy.deepcopy(order.extra_data)
        """What a request body had beside the graph; give it to `submit(extra_data=…)` if it is wanted."""
        self.notes: tuple[str, ...] = order.told
        """What was odd about where it was read from, in words."""

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Read a JSON file, or a PNG saved by ComfyUI; raises BadWorkflow, also for the canvas format."""
        return cls._of(files.read(file))

    @classmethod
    def loads(cls, content: str | bytes) -> Self:
        """Read the content of such a file: the bytes of a PNG, or JSON."""
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return cls._of(files.read_content("this workflow", content))

    @classmethod
    def _of(cls, order: files.Order) -> Self:
        workflow = cls(order.workflow)
        workflow.extra_data, workflow.notes = order.extra_data, order.told
        return workflow

    def copy(self) -> Self:
        """Return a copy that can be changed without changing this one."""
        return copy.deepcopy(self)

    def __getitem__(self, node_id: str) -> dict[str, Any]:
        return self._nodes[node_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"<workflow of {len(self)} nodes: {self._listed(self, 5)}>"

    def title(self, node: str) -> str:
        """Return the title of a node on the canvas, or its class if it has none."""
        return _title(self._nodes[self.id_of(node)])

    def id_of(self, node: str) -> str:
        """Return the id of a node; raises UnknownInput if no node has this name, or several do."""
        node = str(node)
        if node in self._nodes:
            return node
        names = (
            lambda name: _own_title(self._nodes[name]) == node,
            lambda name: self._nodes[name]["class_type"] == node,
            lambda name: _own_title(self._nodes[name]).casefold() == node.casefold(),
            lambda name: self._nodes[name]["class_type"].casefold() == node.casefold(),
        )
        found = next((ids for is_it in names if (ids := list(filter(is_it, self._nodes)))), [])
        if len(found) == 1:
            return found[0]
        if found:
            which = f"{len(found)} nodes are called {node!r:.80}: {self._listed(found)}; give the id of one"
        else:
            every = {_own_title(n) for n in self.values()} | {n["class_type"] for n in self.values()} | self.keys()
            which = f"no node is called {node!r:.80}{_did_you_mean(node, every)}; there are {self._listed(self)}"
        raise UnknownInput(f"{which}. The workflow was not changed")

    def value(self, node: str, name: str) -> Any:
        """Return the value of an input, or `[node, slot]` if it is linked to another node; raises UnknownInput."""
        return self._inputs(node, [name])[name]

    def set(self, node: str, /, **inputs: Any) -> Self:
        """Set inputs of a node, all or none, and return the workflow; raises UnknownInput for an input that it does not
        have.

        `set("LoadImage", image=await client.upload("cat.png"))` puts an uploaded image in. To add an input, or to set
        one whose name is not an identifier, write to `workflow[node_id]["inputs"]`.
        """
        self._inputs(node, inputs).update(inputs)
        return self

    def set_seed(self, seed: int | None = None) -> int:
        """Set every seed to this number, or to a random one, and return it; raises UnknownInput if there is no seed."""
        seed = secrets.randbelow(_MOST_SEED) if seed is None else seed
        seeds = [
            (inputs, name)
            for node in self.values()
            for inputs in [node.get("inputs") or {}]
            for name, value in inputs.items()
            if _is_seed(name) and not is_link(value)
        ]
        if not seeds:
            raise UnknownInput(
                "no input is called seed or noise_seed and has a value of its own, so no seed was set; there are "
                f"{self._listed(self)}"
            )
        for inputs, name in seeds:
            inputs[name] = seed
        return seed

    def _inputs(self, node: str, names: Mapping[str, Any] | list[str]) -> dict[str, Any]:
        """Return the inputs of a node, which must have all of these."""
        node_id = self.id_of(node)
        inputs = self._nodes[node_id].setdefault("inputs", {})
        for name in names:
            if name not in inputs:
                has = ", ".join(map(str, list(inputs)[:_MOST_LISTED])) or "none"
                raise UnknownInput(
                    f"node {self._listed([node_id])} has no input {name!r:.80}{_did_you_mean(name, inputs)}; it has "
                    f"{has}. The workflow was not changed"
                )
        found: dict[str, Any] = inputs
        return found

    def _listed(self, ids: Iterator[str] | Mapping[str, Any] | list[str], most: int = _MOST_LISTED) -> str:
        """List some nodes by id and title, for an error message."""
        names = list(ids)
        listed = [f"{name} ({_title(self._nodes[name])!s:.60})" for name in names[:most]]
        return ", ".join([*listed, *([f"and {len(names) - most} more"] if len(names) > most else [])])


def _own_title(node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) else ""


def _title(node: Mapping[str, Any]) -> str:
    return _own_title(node) or str(node["class_type"])


def _is_seed(name: object) -> bool:
    return isinstance(name, str) and (name == "seed" or name.endswith("_seed"))


def _did_you_mean(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, [str(each) for each in names if each], 1)
    return f" (did you mean {close[0]!r:.80}?)" if close else ""
