"""Validation of posted graphs: what is refused, what is dropped (P9), and which nodes equal earlier ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from comfy_fsm.testing.execution.nodes import CLASSES, REPLACED, Graph, Input
from comfy_fsm.testing.execution.pictures import Files
from comfy_fsm.testing.profiles import Profile

__all__ = [
    "Crash",
    "Problem",
    "Refusal",
    "Signatures",
    "Verdict",
    "class_of",
    "inputs_of",
    "judge",
    "link_of",
    "replaced",
    "sources",
]

Problem = dict[str, object]


class Crash(Exception):
    """Error that the server did not expect: it answers 500."""


class Refusal(Exception):
    """Refusal of the whole prompt with 400; `body` is the answer."""

    def __init__(self, kind: str, message: str, details: str = "", node_errors: object = None) -> None:
        super().__init__(message)
        told = {"type": kind, "message": message, "details": details, "extra_info": {}}
        self.body: dict[str, object] = {"error": told, "node_errors": {} if node_errors is None else node_errors}


class Verdict(NamedTuple):
    """Outputs that may run, and what is wrong with the others."""

    outputs: list[str]
    node_errors: dict[str, Problem]


def link_of(value: object) -> tuple[str, int] | None:
    match value:
        case [str(source), int(slot)]:
            return source, slot
    return None


def inputs_of(graph: Graph, node_id: str) -> dict[str, object]:
    inputs = graph[node_id].get("inputs")
    if not isinstance(inputs, dict):
        raise Crash(f"node {node_id} has no inputs")
    return inputs


def class_of(graph: Graph, node_id: str) -> str:
    return str(graph[node_id]["class_type"])


def sources(graph: Graph, node_id: str) -> list[str]:
    """Return the nodes that this one is linked to, in the order of its inputs."""
    return [link[0] for value in inputs_of(graph, node_id).values() if (link := link_of(value))]


def judge(profile: Profile, files: Files, graph: Graph, targets: Iterable[str] | None) -> Verdict:
    """Validate a graph; raises Refusal if nothing in it may run."""
    empty: object = {} if profile.node_errors_are_an_object else []
    for node_id, node in graph.items():
        inputs_of(graph, node_id)
        name = node.get("class_type")
        if name not in CLASSES:
            if not profile.unknown_class_is_400:
                raise Crash(f"KeyError: {name!r}")
            lacks = f"node {name} does not exist." if name else "a node is missing the class_type property."
            kind = "missing_node_type" if profile.names_missing_nodes else "invalid_prompt"
            raise Refusal(kind, f"Cannot execute because {lacks}", f"Node ID '#{node_id}'", empty)
    outputs = [node_id for node_id in graph if CLASSES[class_of(graph, node_id)].is_output]
    wanted = outputs if targets is None else [node_id for node_id in outputs if node_id in set(targets)]
    if not wanted:
        raise Refusal("prompt_no_outputs", "Prompt has no outputs", "", empty)
    _refuse_cycles(profile, graph, wanted, empty)
    return _judge_outputs(_Check(files, graph), wanted)


def _refuse_cycles(profile: Profile, graph: Graph, wanted: Iterable[str], empty: object) -> None:
    """Raise Refusal if a node depends on itself (P46)."""
    needs = {node_id: {source for source in sources(graph, node_id) if source in graph} for node_id in graph}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        cycle = [*dict.fromkeys(error.args[1])]
        if set(wanted).isdisjoint(cycle) and not any(_leads_to(needs, output, cycle) for output in wanted):
            return
        told = _problem("dependency_cycle", "Dependency cycle detected", " -> ".join(cycle), ("", Input("*")))
        node: Problem = {"errors": [told], "dependent_outputs": [*wanted], "class_type": class_of(graph, cycle[0])}
        errors = {cycle[0]: node} if profile.names_cycles else empty
        raise Refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", "", errors) from None


def _leads_to(needs: dict[str, set[str]], node_id: str, wanted: Iterable[str]) -> bool:
    seen, waiting = set[str](), [node_id]
    while waiting:
        node_id = waiting.pop()
        if node_id not in seen:
            seen.add(node_id)
            waiting += needs[node_id]
    return not seen.isdisjoint(wanted)


def replaced(graph: Graph) -> Graph:
    """Return the graph with classes replaced whose successors took their place (P48)."""
    gone = {node_id: REPLACED.get(str(node.get("class_type"))) for node_id, node in graph.items()}
    return {
        node_id: node | ({"class_type": name} if (name := gone[node_id]) else {}) for node_id, node in graph.items()
    }


def _judge_outputs(check: _Check, wanted: list[str]) -> Verdict:
    good: list[str] = []
    errors: dict[str, Problem] = {}
    said: list[str] = []
    for output in wanted:
        bad = check.problems_above(output)
        if not bad:
            good.append(output)
            continue
        for node_id, problems in bad.items():
            said += [f"{problem['message']}: {problem['details']}" for problem in problems if node_id == output]
            name = class_of(check.graph, node_id)
            error: Problem = {"errors": problems, "dependent_outputs": [], "class_type": name}
            dependents = errors.setdefault(node_id, error)["dependent_outputs"]
            assert isinstance(dependents, list)
            dependents.append(output)
    if not good:
        raise Refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(said), errors)
    return Verdict(good, errors)


class _Check:
    """Validation of one graph; each node is examined once."""

    def __init__(self, files: Files, graph: Graph) -> None:
        self.graph = graph
        self._files = files
        self._found: dict[str, list[Problem]] = {}

    def problems_above(self, output: str) -> dict[str, list[Problem]]:
        """Return the problems of an output, and of all that it depends on."""
        seen: dict[str, None] = {}
        waiting = [output]
        while waiting:
            node_id = waiting.pop()
            if node_id not in seen:
                seen[node_id] = None
                waiting += [source for source in sources(self.graph, node_id) if source in self.graph]
        return {node_id: problems for node_id in seen if (problems := self._problems(node_id))}

    def _problems(self, node_id: str) -> list[Problem]:
        if node_id not in self._found:
            given = inputs_of(self.graph, node_id)
            takes = CLASSES[class_of(self.graph, node_id)].inputs
            judged = (self._problem(name, one, given) for name, one in takes.items())
            self._found[node_id] = [problem for problem in judged if problem]
        return self._found[node_id]

    def _problem(self, name: str, one: Input, given: dict[str, object]) -> Problem | None:
        if name not in given:
            if not one.required:
                return None
            return _problem("required_input_missing", "Required input is missing", name, (name, one))
        value = given[name]
        if isinstance(value, list):
            return self._problem_of_link(name, one, value)
        return self._problem_of_value(name, one, value)

    def _problem_of_link(self, name: str, one: Input, value: list[object]) -> Problem | None:
        link = link_of(value)
        if link is None:
            if one.kind == "*":
                return None
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return _problem("bad_linked_input", message, name, (name, one), value)
        source, slot = link
        gives = CLASSES[class_of(self.graph, source)].gives if source in self.graph else ()
        if not 0 <= slot < len(gives):
            message = "Exception when validating inner node"
            return _problem("exception_during_inner_validation", message, source, (name, one))
        if one.kind in ("*", gives[slot]) or isinstance(one.kind, list):
            return None
        details = f"{name}, received_type({gives[slot]}) mismatch input_type({one.kind})"
        return _problem(
            "return_type_mismatch", "Return type mismatch between linked nodes", details, (name, one), value
        )

    def _problem_of_value(self, name: str, one: Input, value: Any) -> Problem | None:
        if one.kind in ("INT", "FLOAT"):
            try:
                size = float(value)
            except (TypeError, ValueError) as error:
                message = f"Failed to convert an input value to a {one.kind} value"
                return _problem("invalid_input_type", message, f"{name}, {value}, {error}", (name, one), value)
            if one.low is not None and size < one.low:
                message = f"Value {value} smaller than min of {one.low}"
                return _problem("value_smaller_than_min", message, name, (name, one), value)
            if one.high is not None and size > one.high:
                message = f"Value {value} bigger than max of {one.high}"
                return _problem("value_bigger_than_max", message, name, (name, one), value)
        if isinstance(one.kind, list) and value not in one.kind:
            details = f"{name}: '{value}' not in {one.kind}"
            return _problem("value_not_in_list", "Value not in list", details, (name, one), value)
        if one.kind == "FILE" and self._files.read_input(str(value)) is None:
            details = f"{name} - Invalid image file: {value}"
            return _problem("custom_validation_failed", "Custom validation failed for node", details, (name, one))
        return None


def _problem(kind: str, message: str, details: str, place: tuple[str, Input], value: object = None) -> Problem:
    name, takes = place
    extra = {"input_name": name, "input_config": takes.told}
    received = {} if value is None else {"received_value": value}
    return {"type": kind, "message": message, "details": details, "extra_info": extra | received}


class Signatures:
    """Signatures of nodes: the class and the inputs, links by what they lead to (P14)."""

    def __init__(self, profile: Profile, files: Files, graph: Graph) -> None:
        self._by_id = not profile.expands  # until then nothing was cached but under its own id
        self._files = files
        self._graph = graph
        self._known: dict[str, str] = {}

    def __getitem__(self, node_id: str) -> str:
        waiting, seen = [(node_id, False)], set[str]()
        while waiting:
            node_id, ready = waiting.pop()
            if ready:
                self._known[node_id] = self._sign(node_id)
            elif node_id not in self._known and node_id not in seen:
                seen.add(node_id)
                waiting.append((node_id, True))
                waiting += [(source, False) for source in sources(self._graph, node_id) if source in self._graph]
        return self._known[node_id]

    def _sign(self, node_id: str) -> str:
        name, told = class_of(self._graph, node_id), [node_id] if self._by_id else []
        for key, value in sorted(inputs_of(self._graph, node_id).items()):
            link = link_of(value)
            told.append(f"{key}={(self._known.get(link[0]), link[1]) if link else value!r}")
            if name == "LoadImage":  # the file counts, not its name
                told.append(repr(self._files.read_input(str(value))))
        return hashlib.blake2b(repr((name, told)).encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()
