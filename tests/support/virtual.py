"""Virtual clock that only jumps, with servers and a client: the real dispatcher, client and log, days in a second.

The servers are the fake's own queue, worker, history and frames, without its sockets; the client's door to HTTP is
replaced by a call. Threads are run at once, and a wait with nothing to do moves the clock.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest import mock

from comfy_fsm.live.client import client as client_room
from comfy_fsm.live.transport.arrivals import Answer, Heard, Refused, SocketDown, SocketUp, Unanswered
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.testing import Faults
from comfy_fsm.testing.execution import shared_state
from comfy_fsm.testing.execution.validation import Crash
from comfy_fsm.testing.execution.worker import Execution, State
from comfy_fsm.testing.profiles import NEWEST, features, profile_of, system_stats
from comfy_fsm.testing.sockets import Publisher

START = 1_000.0  # small, so that the least wait is more than the least difference of two floats


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose clock moves when nobody has anything to do, and then to the next thing that somebody waits for."""

    def __init__(self) -> None:
        super().__init__(_Jump(self))
        self.now = START

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, call: Callable[..., Any], *arguments: Any) -> Any:
        done = self.create_future()
        try:
            done.set_result(call(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: Jumping) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever come")
        if not found and timeout:
            self._loop.now += timeout
        return found


class Virtual:
    """One server: `up`, `lag` and `refusals` are its troubles beside the faults of the fake."""

    def __init__(self, url: str, step_seconds: float) -> None:
        self.url = url
        self.faults, self.state, self.profile = Faults(), State(), profile_of(NEWEST)
        self.step_seconds = step_seconds
        self.up = True
        self.lag = 0.0
        self.refusals: list[int] = []
        self.most = 0
        self.seen: list[tuple[float, str, int]] = []
        self.pipes: dict[str, asyncio.Queue[str | None]] = {}
        self._jobs: list[asyncio.Task[None]] = []
        self.start()

    def start(self) -> None:
        self.up = True
        self.publisher = Publisher(self.faults)
        self.execution = Execution(self.profile, self.faults, self.publisher, self.state, self.step_seconds)
        self._jobs = [asyncio.create_task(self.execution.work()), asyncio.create_task(self.publisher.publish())]

    def kill(self) -> None:
        """As by -9; what it knew is gone (P27)."""
        self.up = False
        for job in self._jobs:
            job.cancel()
        self.state.outlive(False)
        for pipe in self.pipes.values():
            pipe.put_nowait(None)
        self.pipes.clear()

    def of_socket(self) -> Virtual:
        """Who answers the next socket that is opened at this address."""
        return self

    async def answer(self, ask: HttpRequest) -> Answer:
        if not self.up:
            raise Unanswered("ConnectError")
        await asyncio.sleep(self.lag)
        if not self.up:
            raise Unanswered("ReadError")
        if ask[:2] == ("POST", "/prompt"):
            return self._post(json.loads(json.dumps(ask.body)))
        return _json(self._told(ask))

    def _post(self, body: dict[str, Any]) -> Answer:
        if self.refusals:
            return Answer(self.refusals.pop(), b"")
        if self.faults.spend("drop_post"):
            raise Unanswered("ReadError")
        try:
            status, answer = self.execution.submit(body)
        except Crash:
            return Answer(500, b"")
        now = asyncio.get_running_loop().time()
        self.seen.append((now, body["prompt_id"], body["prompt"]["1"]["inputs"]["color"]))
        self.most = max(self.most, len(self.state.queue) + len(self.state.running))
        if self.faults.spend("swallow_post"):
            raise Unanswered("ReadError")
        return _json(answer, status)

    def _told(self, ask: HttpRequest) -> object:
        match ask.method, *ask.path.partition("?")[0].strip("/").split("/"):
            case "GET", "queue":
                return self.execution.queue()
            case "GET", "prompt":
                return self.execution.remaining()
            case "POST", "queue":
                self.execution.remove(ask.body["delete"])
            case "GET", "history", prompt_id:
                return self.execution.entry(prompt_id)
            case "GET", "history":
                return self.execution.entries(200, -1)
            case "POST", "interrupt":
                self.execution.interrupt(ask.body["prompt_id"])
            case "GET", "system_stats":
                return system_stats(self.profile)
            case "GET", "features":
                return features(self.profile)
        return None


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), None, "application/json")


class Door:
    """What stands in for `Comfy`: the same answers, without a network between."""

    def __init__(self, server: Virtual, deadline: float) -> None:
        self.url, self.secrets = server.url, ()
        self._server = server
        self._deadline = deadline

    async def send(self, ask: HttpRequest, *, deadline: float | None = None) -> Answer:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._server.answer(ask)
        except TimeoutError:
            raise Unanswered("Deadline") from None

    async def listen(self, client_id: str) -> AsyncGenerator[Heard, None]:
        conn = 0
        while True:
            if not self._server.up:
                yield Refused(0, None, "ConnectError", True)
                await asyncio.sleep(0.5)
                continue
            conn, server = conn + 1, self._server.of_socket()
            pipe = server.pipes[client_id] = asyncio.Queue[str | None]()
            server.publisher.sockets[client_id] = _Pipe(pipe)
            yield SocketUp(conn)
            status = {"status": server.execution.remaining(), "sid": client_id}
            await server.publisher.send_now("status", status, client_id)
            while (frame := await pipe.get()) is not None:
                yield [frame]
            yield SocketDown(1006, "", conn)

    def wake(self) -> None: ...

    async def close(self) -> None: ...


class _Pipe:
    waiting = 0

    def __init__(self, frames: asyncio.Queue[str | None]) -> None:
        self._frames = frames

    async def send_str(self, data: str) -> None:
        self._frames.put_nowait(data)

    async def send_bytes(self, data: bytes) -> None:
        pass  # a preview

    def abort(self) -> None:
        self._frames.put_nowait(None)


def play(
    story: Callable[[list[Any]], Awaitable[None]], steps: list[float], kind: Callable[[str, float], Virtual] = Virtual
) -> float:
    """Tell a story to servers of these speeds; returns the seconds that it took, on a clock that takes none."""
    loop = Jumping()

    async def told() -> None:
        servers = [kind(f"http://server-{number}:8188", step) for number, step in enumerate(steps)]
        doors = {server.url: server for server in servers}
        with (
            mock.patch.object(client_room, "Comfy", lambda url, **given: Door(doors[url], given["deadline_seconds"])),
            mock.patch.object(client_room, "time", SimpleNamespace(time=loop.time)),
            mock.patch.object(shared_state, "STANDING", 0.5),
        ):
            await story(servers)

    try:
        loop.run_until_complete(told())
        return loop.now - START
    finally:
        for left in asyncio.all_tasks(loop):
            left.cancel()
        with suppress(RuntimeError):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()
