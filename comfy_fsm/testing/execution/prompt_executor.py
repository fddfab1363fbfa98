"""Execution of one prompt: which node comes next, and which frames are sent, in the order of P13."""

from __future__ import annotations

import asyncio
import time
import traceback

from comfy_fsm.testing import sockets
from comfy_fsm.testing.execution.nodes import CLASSES, Blocked, Given, Interrupted, NodeFailed
from comfy_fsm.testing.execution.shared_state import Ended, Item, Kept, SharedState
from comfy_fsm.testing.execution.validation import Signatures, class_of, inputs_of, link_of, sources

__all__ = ["PromptExecutor", "Stage"]

_TRACEBACK = ['  File "execution.py", line 1, in execute\n', '  File "nodes.py", line 1, in play\n']
_CYCLE = "graph.DependencyCycleError"


class PromptExecutor:
    """Execution of one prompt, from start to end."""

    def __init__(self, shared: SharedState, item: Item, told: bool) -> None:
        """Prepare an execution; unless `told`, no frame reports its end."""
        self.shared = shared
        self.item = item
        self.graph = dict(item.graph)
        self._told = told
        self._signatures = Signatures(shared.profile, shared.files, self.graph)
        self._waiting: dict[str, set[str]] = {}  # nodes to come, and what each still needs
        self._under_way: dict[str, asyncio.Task[Given]] = {}
        self._rounds: dict[str, int] = {}  # how often what nodes stand for has run
        self._expanded: dict[str, str] = {}  # nodes that others stand for, and whose values will be theirs
        self._parents: dict[str, str] = {}
        self._states: dict[str, dict[str, object]] = {}  # of the nodes that have begun (P16)
        self._executed: list[str] = []
        self._messages: list[tuple[str, dict[str, object]]] = []
        self._shown: dict[str, None] = {}  # nodes that ran, or whose outputs were told again
        self._current = ""

    async def play(self) -> Ended:
        """Run to the end; an error of the fake itself fails this prompt, and is reported."""
        try:
            return await self._play()
        except Exception as fault:
            return self._break(fault)

    async def _play(self) -> Ended:
        self.shared.interrupted.clear()  # an interrupt just before the start is lost (P31)
        self._say("execution_start", {})
        signed = {self._signatures[node_id]: node_id for node_id in self.graph}
        cache = self.shared.cache = {key: kept for key, kept in self.shared.cache.items() if key in signed}
        cached = [node_id for node_id in self.graph if self._signatures[node_id] in cache]
        self._say("execution_cached", {"nodes": cached})
        success = False
        try:
            for output in self.item.outputs:
                self._want(output)
            while self._waiting:
                await self._turn(await self._next())
            success = True
            self._show_intermediates(cached)
            if self.shared.profile.states_success:
                self._say("execution_success", {}, ends=True)
        except Interrupted:
            self._say("execution_interrupted", self._where(), broadcast=True, ends=True)
        except NodeFailed as failure:
            success = failure.kind == _CYCLE and self.shared.profile.cycles_succeed  # nobody says otherwise (P40)
            self._say("execution_error", self._where() | self._why(failure), ends=True)
        finally:
            self._stop()
        return self._ended(success)

    def _break(self, fault: Exception) -> Ended:
        self.shared.broken.append(fault)
        traceback.print_exception(fault)
        why = {"exception_message": f"the fake itself failed: {fault!r}", "exception_type": type(fault).__name__}
        place = {"node_id": self._current, "node_type": "", "executed": [*self._executed]}
        self._say("execution_error", {**place, **why, "traceback": traceback.format_tb(fault.__traceback__)}, ends=True)
        return Ended(False, self._messages, {}, {})

    def _ended(self, success: bool) -> Ended:
        """Return the end. Outputs are those known of the graph's nodes, or of the nodes that ran or were reported
        (P51).
        """
        nodes = self._shown if self.shared.profile.records_what_was_told else self.graph
        known = {node_id: self.shared.cache.get(self._signatures[node_id]) for node_id in nodes}
        shown = {node_id: kept.shown for node_id, kept in known.items() if kept and kept.shown}
        meta = {
            node_id: {
                "node_id": node_id, "display_node": self.root(node_id),
                "parent_node": self._parents.get(node_id), "real_node_id": self.root(node_id),
            }
            for node_id in shown
        }  # fmt: skip
        return Ended(success, self._messages, dict(shown), dict(meta))

    def _stop(self) -> None:
        self.shared.on_air = None
        for running in self._under_way.values():
            running.cancel()

    # which node next

    def _want(self, node_id: str) -> None:
        """Schedule a node, and before it what it depends on; an output is examined even if it is cached (P14)."""
        wanted = [node_id]
        while wanted:
            node_id = wanted.pop()
            if node_id not in self._waiting:
                needs = {source for source in sources(self.graph, node_id) if not self._is_known(source)}
                self._waiting[node_id] = set() if self._is_known(node_id) else needs
                wanted += self._waiting[node_id]

    def _is_known(self, node_id: str) -> bool:
        return self._signatures[node_id] in self.shared.cache

    async def _next(self) -> str:
        """Return a node that is ready: preferably an output or an async one, then what an output waits for."""
        while not (ready := [node_id for node_id in self._waiting if self._is_ready(node_id)]):
            if not self._under_way:
                inner = [node_id for node_id in self._waiting if node_id in self._parents]  # they are to blame
                self._current = next(iter(inner or self._waiting))
                raise NodeFailed("Dependency cycle detected", _CYCLE)
            await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        return min(ready, key=self._distance)

    def _is_ready(self, node_id: str) -> bool:
        running = self._under_way.get(node_id)
        return not self._waiting[node_id] and (running is None or running.done())

    def _distance(self, node_id: str) -> int:
        kind = CLASSES[class_of(self.graph, node_id)]
        if kind.is_output or kind.is_async:
            return 0
        waiting = (class_of(self.graph, other) for other, needs in self._waiting.items() if node_id in needs)
        return 1 if any(CLASSES[name].is_output for name in waiting) else 2

    def _release(self, node_id: str) -> None:
        self._waiting.pop(node_id)
        for needs in self._waiting.values():
            needs.discard(node_id)

    # one node

    async def _turn(self, node_id: str) -> None:
        self._current = node_id
        if not self._waiting[node_id] and (evicted := self._evicted(node_id)):
            self._waiting[node_id] = evicted
            for each in evicted:
                self._want(each)
        elif node_id in self._expanded and self._is_to_repeat(node_id):
            self._repeat(node_id)
        elif node_id in self._expanded:
            self._finish(node_id, Given(self.shared.cache[self._signatures[self._expanded[node_id]]].values))
        elif node_id in self._under_way:
            self._take(node_id, self._under_way.pop(node_id).result())
        elif self._is_known(node_id):
            self._show_again(node_id)
        else:
            await self._begin(node_id)

    def _is_to_repeat(self, node_id: str) -> bool:
        asked = inputs_of(self.graph, node_id).get("times", 1)
        self._rounds[node_id] = self._rounds.get(node_id, 0) + 1
        return self.shared.profile.reruns_subgraphs and isinstance(asked, int) and self._rounds[node_id] < asked

    def _repeat(self, node_id: str) -> None:
        """Run what stands in for the node again, under the same ids (P17)."""
        for inner in (each for each, parent in self._parents.items() if parent == node_id):
            self.shared.cache.pop(self._signatures[inner], None)
        self._waiting[node_id] = {self._expanded[node_id]}
        self._want(self._expanded[node_id])

    def _evicted(self, node_id: str) -> set[str]:
        """Return what the node depends on that was cached when it was scheduled (P49)."""
        needs_nothing = self._is_known(node_id) or node_id in self._under_way or node_id in self._expanded
        return set() if needs_nothing else {each for each in sources(self.graph, node_id) if not self._is_known(each)}

    def _show_again(self, node_id: str) -> None:
        """Report the outputs of a node that ran before, perhaps as its twin in this prompt (P14)."""
        self._remember_shown(node_id)
        if self.shared.profile.expands:
            kept = self.shared.cache[self._signatures[node_id]]
            self._tell("executed", self._named(node_id) | {"output": kept.shown})
            self.move(node_id, "finished")
        self._release(node_id)

    def _remember_shown(self, node_id: str) -> None:
        """Remember what was shown; in some versions only what was reported to somebody counts (P51)."""
        if self.item.client_id is not None or not self.shared.profile.omits_cached_outputs:
            self._shown.setdefault(node_id)

    def _show_intermediates(self, cached: list[str]) -> None:
        for node_id in cached if self.shared.profile.shows_intermediates else ():
            if CLASSES[class_of(self.graph, node_id)].is_intermediate and node_id not in self._executed:
                self._remember_shown(node_id)
                kept = self.shared.cache[self._signatures[node_id]]
                self._tell("executed", self._named(node_id) | {"output": kept.shown})

    async def _begin(self, node_id: str) -> None:
        self.move(node_id, "running", 0.0, 1.0)
        if self.item.client_id is not None:
            self.shared.on_air = (self.item.client_id, self.root(node_id))
        self._tell("executing", self._named(node_id))
        await self.shared.pause(0)
        inputs, kind = self._inputs(node_id), CLASSES[class_of(self.graph, node_id)]
        blocked = next((value for value in inputs.values() if isinstance(value, Blocked)), None)
        if blocked is not None:
            self._block(node_id, blocked)
            self._take(node_id, Given((Blocked(None),) * len(kind.gives)))
            return
        stage = Stage(self, node_id, inputs)
        if kind.is_async:
            self._under_way[node_id] = asyncio.create_task(stage.play())  # side by side with others (P17)
        else:
            self._take(node_id, await stage.play())

    def _inputs(self, node_id: str) -> dict[str, object]:
        inputs = dict(inputs_of(self.graph, node_id))
        for name, value in inputs.items():
            if link := link_of(value):
                inputs[name] = self.shared.cache[self._signatures[link[0]]].values[link[1]]
        return inputs

    def _take(self, node_id: str, given: Given) -> None:
        profile = self.shared.profile
        if given.shown and profile.assets_are_on and profile.names_assets:
            given = given._replace(shown=self.shared.files.with_assets(given.shown, profile.names_preview_assets))
        if given.shown:
            self._tell("executed", self._named(node_id) | {"output": given.shown})
        if given.expansion:
            self.graph.update(given.expansion)
            self._parents.update(dict.fromkeys(given.expansion, node_id))
            self._expanded[node_id] = last = [*given.expansion][-1]
            self._waiting[node_id] = {last}
            self._want(last)
        else:
            self._finish(node_id, given)

    def _finish(self, node_id: str, given: Given) -> None:
        gives = CLASSES[class_of(self.graph, node_id)].gives
        if len(given.values) != len(gives):
            raise ValueError(f"node {node_id} declares {len(gives)} outputs, and gave {len(given.values)}")
        self.shared.cache[self._signatures[node_id]] = Kept(given.values, given.shown)
        self._executed.append(node_id)
        self._shown.setdefault(node_id)
        self.move(node_id, "finished")
        self._release(node_id)
        needed = {source for each in self._waiting for source in sources(self.graph, each)} | {*self._expanded.values()}
        self.shared.evict({self._signatures[each] for each in needed})

    # what is told

    def root(self, node_id: str) -> str:
        """Return the node of the posted graph that this one stands in for."""
        while node_id in self._parents:
            node_id = self._parents[node_id]
        return node_id

    def _named(self, node_id: str) -> dict[str, object]:
        shown = {"display_node": self.root(node_id)} if self.shared.profile.expands else {}
        return {"node": node_id, **shown}

    def _tell(self, kind: str, data: dict[str, object]) -> None:
        """Send a frame to the owner alone; to nobody if the prompt has none (P2)."""
        if self.item.client_id is not None:
            self.shared.publisher.enqueue(kind, data | {"prompt_id": self.item.prompt_id}, self.item.client_id)

    def _say(self, kind: str, data: dict[str, object], broadcast: bool = False, ends: bool = False) -> None:
        """Send a frame and add it to the history; `broadcast` goes to everybody if there is no owner (P2)."""
        told: dict[str, object] = {"prompt_id": self.item.prompt_id, **data}
        if self.shared.profile.states_success:
            told["timestamp"] = int(time.time() * 1000)
        self._messages.append((kind, told))
        if (broadcast or self.item.client_id is not None) and (self._told or not ends):
            self.shared.publisher.enqueue(kind, told, self.item.client_id)

    def move(self, node_id: str, state: str, value: float | None = None, most: float | None = None) -> None:
        """Change the progress of a node, and report the state of all that have begun (P16)."""
        profile = self.shared.profile
        if not profile.honours_own_ids:
            return
        old = self._states.get(node_id, {"max": 1})
        ceiling: object = old["max"] if most is None else most
        busy = {"activity": "loading"} if profile.reports_activity and state == "running" and not value else {}
        self._states[node_id] = busy | {
            "value": ceiling if value is None else value, "max": ceiling, "state": state, "node_id": node_id,
            "prompt_id": self.item.prompt_id, "display_node_id": self.root(node_id),
            "parent_node_id": self._parents.get(node_id), "real_node_id": self.root(node_id),
        }  # fmt: skip
        reader = self.item.client_id if profile.progress_state_is_private else None
        told = {"prompt_id": self.item.prompt_id, "nodes": self._states}
        self.shared.publisher.enqueue("progress_state", told, reader)

    def preview(self, node_id: str, picture: bytes, named: bool) -> None:
        """Send a preview as binary 4 to clients that support metadata (P7), as binary 1 to others."""
        publisher, reader = self.shared.publisher, self.item.client_id
        if named is not (self.shared.profile.honours_own_ids and publisher.wants_metadata(reader)):
            return
        root, parent = self.root(node_id), self._parents.get(node_id)
        names = {"node_id": node_id, "prompt_id": self.item.prompt_id, "display_node_id": root}
        metadata: dict[str, object] = {**names, "parent_node_id": parent, "real_node_id": root}
        if named:
            publisher.enqueue_binary(4, sockets.preview_with(metadata, picture), reader)
        else:
            publisher.enqueue_binary(1, sockets.preview(picture), reader)

    def _block(self, node_id: str, blocked: Blocked) -> None:
        """Report a blocked execution: not an end, not in the history, and sent to everybody if there is no owner (P19,
        P2).
        """
        if blocked.message is None:
            return
        told: dict[str, object] = {"prompt_id": self.item.prompt_id, **self._where(node_id)}
        told |= {"exception_message": f"Execution Blocked: {blocked.message}", "exception_type": "ExecutionBlocked"}
        told |= {"traceback": [], "current_inputs": [], "current_outputs": []}
        self.shared.publisher.enqueue("execution_error", told, self.item.client_id)

    def _where(self, node_id: str = "") -> dict[str, object]:
        place = node_id or self.root(self._current)
        return {"node_id": place, "node_type": class_of(self.graph, place), "executed": [*self._executed]}

    def _why(self, failure: NodeFailed) -> dict[str, object]:
        inputs = self._inputs(self._current) if not self._waiting.get(self._current) else {}
        plain = str | int | float | None
        return {
            "exception_message": f"{failure}\n" if self.shared.profile.honours_own_ids else str(failure),
            "exception_type": failure.kind,
            "traceback": _TRACEBACK,
            "current_inputs": {
                name: [value if isinstance(value, plain) else str(value)] for name, value in inputs.items()
            },
            "current_outputs": [*self._executed],
        }


class Stage:
    """Node at work: implements `nodes.Stage` for its prompt."""

    def __init__(self, running: PromptExecutor, node_id: str, inputs: dict[str, object]) -> None:
        self.node_id = node_id
        self.inputs = inputs
        self.files = running.shared.files
        self.step_seconds = running.shared.step_seconds
        profile, asked = running.shared.profile, running.item.extra_data.get("preview_method")
        self.previews = not (profile.heeds_preview_method and asked == "none")
        self._running = running

    async def play(self) -> Given:
        await self.pause(self.step_seconds)
        return await CLASSES[class_of(self._running.graph, self.node_id)].play(self)

    async def pause(self, seconds: float) -> None:
        await self._running.shared.pause(seconds)

    def progress(self, value: float, most: float, picture: bytes | None = None) -> None:
        """Send the state, a preview that names its prompt, the progress, and a preview that does not."""
        running, profile = self._running, self._running.shared.profile
        running.move(self.node_id, "running", value, most)
        if picture:
            running.preview(self.node_id, picture, named=True)
        told: dict[str, object] = {"value": value, "max": most}
        if profile.progress_names_its_prompt:
            node = self.node_id if profile.honours_own_ids else running.root(self.node_id)
            told |= {"prompt_id": running.item.prompt_id, "node": node}
        running.shared.publisher.enqueue("progress", told, running.item.client_id)
        if picture:
            running.preview(self.node_id, picture, named=False)

    def picture(self, picture: bytes) -> None:
        for named in (True, False):
            self._running.preview(self.node_id, picture, named)

    def text(self, words: str) -> None:
        if self._running.shared.profile.sends_text:
            publisher, reader = self._running.shared.publisher, self._running.item.client_id
            publisher.enqueue_binary(3, sockets.text(self.node_id, words), reader)
