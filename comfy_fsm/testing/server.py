"""Fake ComfyUI on loopback: its life, its knobs, and its counters. One of the modules that use aiohttp."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from typing import Self

import msgspec
from aiohttp import web

from comfy_fsm.testing.execution.jobs_api import JobsApi
from comfy_fsm.testing.execution.worker import Execution, State
from comfy_fsm.testing.faults import Faults, Step
from comfy_fsm.testing.middleware import ServerMiddleware
from comfy_fsm.testing.playback.playback import Playback
from comfy_fsm.testing.playback.script import write
from comfy_fsm.testing.playback.source import Source, read
from comfy_fsm.testing.profiles import MAX_BODY, NEWEST, Profile, profile_of
from comfy_fsm.testing.routes import Routes
from comfy_fsm.testing.sockets import Publisher, reset
from comfy_fsm.testing.workflows import sleeping

__all__ = ["FakeComfy"]

_HOST = "127.0.0.1"
_REMEMBERED = 10_000  # requests that `requests` holds


class FakeComfy:
    """Fake server in this loop, at `comfy.url`: `async with FakeComfy() as comfy:`."""

    def __init__(
        self,
        version: str | Profile = NEWEST,
        *,
        step_seconds: float = 0.0,
        port: int = 0,
        state: State | None = None,
        control: bool = False,
    ) -> None:
        """Prepare a server; a node takes `step_seconds`; `state` is that of an earlier server; `control` adds the
        routes `/fake/…`.
        """
        if not _is_time(step_seconds):
            raise ValueError(f"step_seconds is {step_seconds!r}; give the seconds that a node takes, 0 or more")
        self.profile = version if isinstance(version, Profile) else profile_of(version)
        self.faults = Faults()
        self.state = State() if state is None else state
        self.requests: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)
        self._step_seconds = step_seconds
        self._port = port
        self._control = control
        self._runner: web.AppRunner | None = None
        self._steps: list[Step] = []  # still to come, the first one last
        self._heard = 0  # requests since they began
        self._restarts: set[asyncio.Task[None]] = set()
        self._jobs: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._port}"

    @property
    def runs(self) -> Counter[str]:
        """Number of times that each prompt really ran, over all lives of the server."""
        return self.state.runs

    @property
    def posts(self) -> Counter[str]:
        """Number of times that each prompt was queued."""
        return self.state.posts

    @property
    def records(self) -> dict[str, dict[str, object]]:
        """History, by prompt id."""
        return self.state.history

    @property
    def sockets(self) -> list[str]:
        """Client ids in the server's table; a socket that is not in it receives nothing (P3)."""
        return [*self.publisher.sockets]

    # its life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.kill()
        if kind is None:  # else a test fails already, with a reason of its own
            self.state.own_up()

    async def start(self) -> None:
        self.publisher = Publisher(self.faults)
        self.execution = Execution(self.profile, self.faults, self.publisher, self.state, self._step_seconds)
        self.jobs = JobsApi(self.execution)
        self._middleware = ServerMiddleware(self.profile, self.faults, self._hear)
        app = web.Application(middlewares=self._middleware.middlewares, client_max_size=MAX_BODY)
        app.add_routes(self._routes().table())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, self._port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]
        jobs = (self.execution.work, self.publisher.publish)
        self._jobs = [asyncio.create_task(self.execution.keep(job)) for job in jobs]

    def _routes(self) -> Routes:
        return Routes(self.execution, self.jobs, self.requests, self._control)

    async def kill(self) -> None:
        """Stop as by SIGKILL: sockets end without a close frame (1006), and the port refuses connections (P8)."""
        if asyncio.current_task() not in self._restarts:
            await asyncio.gather(*self._restarts)
        runner, self._runner = self._runner, None
        if runner is None:
            return
        jobs, self._jobs = self._jobs, []
        for each in (*jobs, *self._middleware.asked):
            each.cancel()
        for site in [*runner.sites]:
            await site.stop()
        for connection in runner.server.connections if runner.server else ():
            reset(connection.transport)
        await runner.cleanup()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def restart(self, keep: bool = False) -> None:
        """Start again on the same port; queue and history are gone (P27) unless kept."""
        await self.kill()
        self.state.outlive(keep)
        await self.start()

    async def reset(self, faults: Faults | None = None) -> None:
        """Reset to a new server on the same port: no prompts, requests or counts, and only these faults."""
        await self.kill()
        self.state.own_up()
        self.state = State()
        self.requests.clear()
        self._steps = []
        self.faults.turn(msgspec.structs.asdict(faults or Faults()))
        await self.start()

    def cut(self, client_id: str | None = None) -> None:
        """Break the sockets of one client, or of all; the server goes on."""
        self.publisher.cut(client_id)

    def follow(self, schedule: Iterable[Step]) -> None:
        """Perform each of these steps after so many requests, counted from now, until `reset`."""
        self._steps = sorted(schedule, key=lambda step: step.after, reverse=True)
        self._heard = 0
        self._happen()

    def _hear(self, method: str, path: str) -> None:
        self.requests.append((method, path))
        self._heard += 1
        self._happen()

    def _happen(self) -> None:
        while self._steps and self._steps[-1].after <= self._heard:
            step = self._steps.pop()
            match step.act:
                case "turn":
                    self.faults.turn(step.knobs)
                case "cut":
                    self.cut()
                case "stranger":
                    self.stranger()
                case "restart":
                    task = asyncio.create_task(self.restart(step.keep))
                    self._restarts.add(task)
                    task.add_done_callback(self._restarts.discard)

    def play(
        self, trace: Source, *, window: str | None = None, server: str | None = None, pace: float = 0.0
    ) -> Playback:
        """Act as the server of a recorded trace from here on, until `reset` or `restart`.

        `window` and `server`, or prefixes of them, select one of several in the trace; `pace` is the share of the
        recorded time between two frames that passes here. Raises ValueError if there is nothing to play.
        """
        script = write(read(trace), window, server)
        playback = Playback(script, self.publisher, self.state.files, pace)
        self._middleware.playback = playback
        self._jobs.append(asyncio.create_task(self.execution.keep(playback.play)))
        return playback

    def stranger(self, seconds: float = 0.0, client_id: str = "stranger") -> str:
        """Queue a prompt of somebody else that takes this long, and return its id."""
        _, body = self.execution.submit({"prompt": sleeping(seconds), "client_id": client_id})
        return str(body["prompt_id"])


def _is_time(given: object) -> bool:
    """Return whether this is a valid duration: the marker of a test may contain anything."""
    return isinstance(given, int | float) and given >= 0
