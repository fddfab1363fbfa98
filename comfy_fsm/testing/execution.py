"""The part of a ComfyUI that runs prompts: a queue, a worker, a cache, a history. Frames go out by `tell`."""

from __future__ import annotations

import asyncio
import heapq
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import Profile

Json = dict[str, Any]
Item = tuple[float, str, Json, Json, list[str]]
HISTORY = 10_000
"""Entries that a server keeps (P27)."""
REQUIRED: dict[str, tuple[str, ...]] = {
    "EmptyImage": ("width", "height", "batch_size", "color"),
    "ImageInvert": ("image",),
    "ImageScale": ("image", "upscale_method", "width", "height", "crop"),
    "LoadImage": ("image",),
    "SaveImage": ("images", "filename_prefix"),
    "PreviewImage": ("images",),
    "FakeSleep": ("images", "seconds"),
    "FakeProgress": ("images", "steps", "seconds"),
    "FakeFail": ("images", "message"),
    "FakeBlock": ("images",),
    "FakeBigFrame": ("images", "bytes"),
    "FakeNamed": ("images", "filename", "subfolder"),
}
"""The node classes, with the inputs that each must have; `Fake…` are ours, to make things happen."""
OUTPUTS = frozenset({"SaveImage", "PreviewImage", "FakeNamed"})


class Blocked(Exception):
    """What is behind this node is not run, and the prompt goes on (P19)."""


class Interrupted(Exception):
    """Somebody interrupted the prompt."""


class Execution:
    """`tell(type, data, client_id)` sends a frame: to one client, or to all where that is None."""

    def __init__(self, profile: Profile, faults: Faults, tell: Callable[[str, Json, str | None], None]) -> None:
        self.profile = profile
        self.faults = faults
        self.step_seconds = 0.0
        self.runs: Counter[str] = Counter()
        self.history: dict[str, Json] = {}
        self.pending: list[Item] = []
        self.running: Item | None = None
        self.current: tuple[str, str] | None = None
        """Client and node of what runs, for whoever reconnects (P4)."""
        self._tell = tell
        self._cache: set[str] = set()
        self._interrupted = False
        self._work = asyncio.Event()
        self._files = 0

    def put(self, item: Item) -> None:
        heapq.heappush(self.pending, item)
        self._work.set()
        self.tell_status()

    def tell_status(self) -> None:
        waiting = len(self.pending) + (self.running is not None)
        self._tell("status", {"status": {"exec_info": {"queue_remaining": waiting}}}, None)

    def remove(self, prompt_ids: list[str] | None) -> None:
        """Take pending prompts out of the queue; all where None (P30)."""
        self.pending = [item for item in self.pending if prompt_ids is not None and item[1] not in prompt_ids]
        heapq.heapify(self.pending)
        self.tell_status()

    def interrupt(self, prompt_id: str | None) -> None:
        """Older servers do not look at the id: whatever runs is hit (P31)."""
        named = prompt_id is not None and self.profile.interrupts_by_id
        if self.running is not None and (not named or self.running[1] == prompt_id):
            self._interrupted = True

    def forget(self) -> None:
        """What a restart does (P27)."""
        self.history.clear()
        self.pending.clear()
        self._cache.clear()

    async def work(self) -> None:
        while True:
            if not self.pending or self.faults.dead_worker:
                self._work.clear()
                try:
                    await asyncio.wait_for(self._work.wait(), 0.05 if self.faults.dead_worker else None)
                except TimeoutError:
                    pass
                continue
            self.running = heapq.heappop(self.pending)
            try:
                await self._run(self.running)
            except asyncio.CancelledError:  # killed in the middle: it begins anew if the state is kept
                heapq.heappush(self.pending, self.running)
                raise
            finally:
                self.running, self.current = None, None

    async def _run(self, item: Item) -> None:
        _, prompt_id, prompt, extra, _ = item
        self.runs[prompt_id] += 1
        self._interrupted = False
        run = Run(self, prompt_id, prompt, extra.get("client_id"))
        await run.go()
        record: Json = {"prompt": [*item], "outputs": run.outputs, "meta": {}}
        if self.profile.has_status:
            record["status"] = {"status_str": run.status, "completed": run.status == "success", "messages": run.told}
        self.history[prompt_id] = json.loads(json.dumps(record))  # P21: after the end was told
        if len(self.history) > HISTORY:
            del self.history[next(iter(self.history))]
        self.running = None
        self.tell_status()
        if run.client_id is not None:
            self._tell("executing", {"node": None, "prompt_id": prompt_id}, run.client_id)
        await asyncio.sleep(0)

    # for a run

    def tell(self, type: str, data: Json, client_id: str | None) -> None:
        self._tell(type, data, client_id)

    def check(self) -> None:
        if self._interrupted:
            raise Interrupted

    def is_cached(self, key: str, remember: bool) -> bool:
        cached = key in self._cache
        if remember:
            self._cache.add(key)
        return cached

    def next_file(self) -> int:
        self._files += 1
        return self._files


class Run:
    """One prompt, from its start to the statement of its end (P13)."""

    def __init__(self, server: Execution, prompt_id: str, prompt: Json, client_id: str | None) -> None:
        self.server = server
        self.prompt_id = prompt_id
        self.prompt = prompt
        self.client_id = client_id
        self.outputs: Json = {}
        self.status = "success"
        self.told: list[Any] = []
        self._states: dict[str, Json] = {}
        self._blocked: set[str] = set()
        self._keys: dict[str, str] = {}

    def say(self, type: str, everybody: bool = False, **data: Any) -> None:
        """To its own client; without one, to nobody, or for a few types to everybody (P2)."""
        message = {"prompt_id": self.prompt_id, **data}
        if type.startswith("execution_"):
            if self.server.profile.states_success:
                message["timestamp"] = int(time.time() * 1000)
            self.told.append([type, message])
        if self.client_id is not None or everybody:
            self.server.tell(type, message, None if self.client_id is None else self.client_id)

    async def go(self) -> None:
        self.say("execution_start")
        order = self._order()
        for node in order:
            spec = self.prompt[node]
            inputs = {n: self._keys.get(v[0], "") if _is_link(v) else v for n, v in spec["inputs"].items()}
            self._keys[node] = json.dumps([spec["class_type"], inputs], sort_keys=True)
        cached = [node for node in order if self.server.is_cached(self._keys[node], remember=False)]
        self.say("execution_cached", nodes=cached)
        for node in order:
            if not await self._node(node, node in cached):
                return
        if self.server.profile.states_success:
            self.say("execution_success")

    def _order(self) -> list[str]:
        order: list[str] = []

        def visit(node: str) -> None:
            if node not in order:
                for value in self.prompt[node]["inputs"].values():
                    if _is_link(value):
                        visit(value[0])
                order.append(node)

        for node in self.prompt:
            visit(node)
        return order

    async def _node(self, node: str, cached: bool) -> bool:
        """Run it; False where the prompt ends with it."""
        spec, server = self.prompt[node], self.server
        links = [value[0] for value in spec["inputs"].values() if _is_link(value)]
        if self._blocked.intersection(links):
            self._blocked.add(node)
            return True
        if cached:
            self._show(node, spec)
            return True
        server.current = (self.client_id or "", node)
        self._progress_state(node, "running")
        self.say("executing", node=node)
        try:
            server.check()
            await self._act(node, spec)
            server.check()
        except Blocked:
            self._blocked.add(node)
            self.say("execution_error", node_id=node, exception_type="ExecutionBlocked", exception_message="blocked")
            self.told.pop()
        except Interrupted:
            self.status = "error"
            self.say("execution_interrupted", True, node_id=node, node_type=spec["class_type"], executed=[])
            return False
        except Exception as error:
            self.status = "error"
            self.say("execution_error", node_id=node, node_type=spec["class_type"], executed=[], traceback=[],
                     exception_type=type(error).__name__, exception_message=str(error),
                     current_inputs=spec["inputs"])  # fmt: skip
            return False
        server.is_cached(self._keys[node], remember=True)
        self._show(node, spec)
        self._progress_state(node, "finished")
        return True

    async def _act(self, node: str, spec: Json) -> None:
        inputs, kind, server = spec["inputs"], spec["class_type"], self.server
        await asyncio.sleep(server.step_seconds)
        if kind == "FakeSleep":
            until = time.monotonic() + inputs["seconds"]
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, 0.01))
                server.check()
        elif kind == "FakeProgress":
            for value in range(inputs["steps"]):
                named = {"node": node} if server.profile.names_progress else {}
                data = {"value": value + 1, "max": inputs["steps"], **named}
                if server.profile.names_progress:
                    self.say("progress", True, **data)
                else:
                    server.tell("progress", data, self.client_id)
                await asyncio.sleep(inputs["seconds"] / inputs["steps"])
                server.check()
        elif kind == "FakeFail":
            raise RuntimeError(inputs["message"])
        elif kind == "FakeBlock":
            raise Blocked
        elif kind == "FakeBigFrame":
            server.tell("fake_big", {"prompt_id": self.prompt_id, "padding": "x" * inputs["bytes"]}, self.client_id)

    def _show(self, node: str, spec: Json) -> None:
        kind, inputs = spec["class_type"], spec["inputs"]
        if kind not in OUTPUTS:
            return
        number = self.server.next_file()
        place = "temp" if kind == "PreviewImage" else "output"
        name = inputs.get("filename") or f"{inputs.get('filename_prefix', 'ComfyUI_temp')}_{number:05}_.png"
        image = {"filename": name, "subfolder": inputs.get("subfolder", ""), "type": place}
        self.outputs[node] = {"images": [image]}
        self.say("executed", node=node, display_node=node, output=self.outputs[node])

    def _progress_state(self, node: str, state: str) -> None:
        self._states[node] = {"value": float(state == "finished"), "max": 1.0, "state": state, "node_id": node,
                              "prompt_id": self.prompt_id, "display_node_id": node}  # fmt: skip
        profile = self.server.profile
        if not profile.takes_ids:
            return
        data = {"prompt_id": self.prompt_id, "nodes": self._states}
        everybody = profile.broadcasts_state or self.client_id is None
        self.server.tell("progress_state", data, None if everybody else self.client_id)


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def faults_of(prompt: object) -> Json:
    """What is wrong with each node of a prompt; the whole of it where it is no prompt."""
    errors: Json = {}
    for node, spec in prompt.items() if isinstance(prompt, dict) else ():
        missing = [name for name in REQUIRED[spec["class_type"]] if name not in spec.get("inputs", {})]
        if missing:
            details = [{"type": "required_input_missing", "message": "Required input is missing", "details": name,
                        "extra_info": {"input_name": name}} for name in missing]  # fmt: skip
            errors[node] = {"errors": details, "dependent_outputs": [node], "class_type": spec["class_type"]}
    return errors
