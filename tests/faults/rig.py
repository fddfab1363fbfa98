"""Rig that plays one scenario: servers, the proxy in front of them, a client, the truth at the server, and the
result.

A scenario speaks of seconds as they are with the default policy; a `scale` below 1 makes the policy, the workflows and
the faults as much quicker, all alike.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from comfy_fsm import Policy
from comfy_fsm.errors import ComfyFsmError, TaskError
from comfy_fsm.live.client import client as client_room
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.engine import runner
from comfy_fsm.live.transport import comfy as transport
from comfy_fsm.live.transport.websocket import reconnection
from replay import replay
from tests.faults.proxy import Exchange, Proxy
from tests.faults.servers import LINK_SECONDS, Backend, Fake, Real, Truth

SETTLED = ("completed", "failed", "cancelled", "rejected", "lost", "expired")
UNSAID = "unsaid"  # nobody was told how it ended, in all the time that there was
NOT_SUBMITTED = "not submitted"  # an error said that nothing was sent
ROOT = Path(__file__).resolve().parents[2]
STALL = 1.0
HUNG = 400.0  # real seconds for what must end; only a fault of the rig waits so long

Story = Callable[["Rig"], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """What goes wrong, what is true then, and what a client may say of it."""

    name: str
    fault: str
    truth: str
    story: Story
    allowed: frozenset[str]
    runs: range
    final: frozenset[str]
    """What the log may say at the end, where later evidence reopened what was told."""
    within: float | None
    """Seconds after the truth that the verdict may take."""
    linger: float
    policy: dict[str, Any]
    servers: int
    choose: Callable[[int, Exchange | None], int] | None
    client: bool
    limit: float
    kind: str
    heavy: bool
    """It keeps this process busy, so that it is played alone."""
    clears: bool
    """It empties the server's queue, so that nothing else may run there meanwhile."""


SCENARIOS: list[Scenario] = []


def scenario(
    fault: str,
    truth: str,
    allowed: str,
    *,
    runs: int | tuple[int, int] = 1,
    final: str | None = None,
    within: float | None = None,
    linger: float = 1.0,
    servers: int = 1,
    choose: Callable[[int, Exchange | None], int] | None = None,
    client: bool = True,
    limit: float = 420.0,
    kind: str = "",
    heavy: bool = False,
    clears: bool = False,
    **policy: Any,
) -> Callable[[Story], Story]:
    """Put a story into the table: its name is the function's; outcomes are words, `completed lost` means either."""

    def register(story: Story) -> Story:
        low, high = (runs, runs) if isinstance(runs, int) else runs
        said = frozenset(allowed.replace("not submitted", "not-submitted").split())
        said = frozenset(word.replace("-", " ") for word in said)
        SCENARIOS.append(
            Scenario(
                story.__name__.replace("_", " "), fault, truth, story, said, range(low, high + 1),
                frozenset(final.split()) if final else said, within, linger, policy, servers, choose, client, limit,
                kind, heavy, clears,
            )
        )  # fmt: skip
        return story

    return register


@dataclass
class Row:
    """How a scenario went."""

    scenario: Scenario
    outcome: str
    final: str
    runs: int
    posts: int
    deliveries: int
    after: float | None
    """Seconds from the truth to the verdict, as with the default policy; below 0 it was stated before its record."""
    wrong: list[str] = field(default_factory=list)
    note: str = ""
    stalled: float = 0.0
    """The longest time for which the machine let us do nothing, as seconds of the default policy."""

    @property
    def late(self) -> bool:
        within = self.scenario.within
        return within is not None and self.after is not None and self.after > within


class Rig:
    """What a story has at hand."""

    def __init__(self, played: Scenario, backends: list[Backend], proxy: Proxy, folder: Path, scale: float) -> None:
        self.scenario = played
        self.backends = backends
        self.server = backends[0]
        self.proxy = proxy
        self.scale = scale
        self.log = folder / "tasks.log"
        self.folder = folder
        self.truth = Truth(f"faults-{uuid.uuid4().hex[:10]}")
        self.policy = scaled(Policy(**played.policy), scale)
        self.client: Client = None
        self.tasks: list[TaskHandle] = []
        self.delivered: list[str] = []
        self.told: dict[int, tuple[float, str, bool]] = {}  # by task: when, how, and whether it was called safe
        self.wrong: list[str] = []
        self.note = ""
        self.not_submitted = ""
        self._waiting: list[asyncio.Task[None]] = []

    # time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.scale)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(HUNG):
            while not holds():
                await asyncio.sleep(min(0.01, self.scale))

    def retry_after(self, seconds: float) -> str:
        """As a header tells it, in whole seconds."""
        return str(math.ceil(seconds * self.scale))

    def step_clock(self, seconds: float) -> None:
        """Somebody sets the clock of this machine."""
        _STEP.get()[0] += seconds * self.scale

    # tasks

    async def open(self) -> None:
        self.client = Client(self.proxy.url, log=self.log, policy=self.policy)
        await self.client.__aenter__()

    async def submit(
        self, seconds: float = 4.0, *, graph: dict[str, Any] | None = None, window: Any = None
    ) -> TaskHandle:
        graph = self.server.graph(self.truth.tag, seconds * self.scale) if graph is None else graph
        try:
            task = await (window or self.client.window()).submit(graph, on_complete=self._complete)
        except ComfyFsmError as error:
            self.not_submitted = str(error)
            self.told[0] = (time.monotonic(), NOT_SUBMITTED, "nothing was" in str(error))
            raise NotSubmitted from error
        self.hold(task)
        return task

    def hold(self, task: TaskHandle, *, resumed: bool = False) -> None:
        """Await it; one that is taken up from a log has no callback of ours, and is delivered where it is awaited."""
        self.tasks.append(task)
        self._waiting.append(asyncio.create_task(self._hear(len(self.tasks) - 1, task, resumed)))

    def _complete(self, task: TaskHandle) -> None:
        self.delivered.append(task.prompt_id)

    async def _hear(self, number: int, task: TaskHandle, resumed: bool) -> None:
        try:
            told, safe = str((await task).state), False
        except TaskError as error:
            told, safe, self.note = str(error.result.state), error.safe_to_retry, str(error)
        self.told[number] = (time.monotonic(), told, safe)
        if resumed:
            self._complete(task)

    async def ran(self) -> None:
        """Until it runs."""
        await self.until(lambda: self.truth.ran)

    async def over(self) -> None:
        """Until its record is there."""
        await self.until(lambda: self.truth.ended)

    async def met(self) -> None:
        """Until somebody was told a lie: one that nobody asked for was none. A verdict ends that, too."""
        await self.until(lambda: self.settled() or not _unmet(self.proxy.rules))

    def settled(self) -> bool:
        return bool(self.told)

    def known(self) -> None:
        """From now on the truth may be known."""
        self.truth.known_at = time.monotonic()

    # the end

    async def wait(self) -> None:
        """For every verdict, then for the server to be done, then a little longer, for what comes late."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=self.scenario.limit * self.scale)
        for waiting in self._waiting:
            waiting.cancel()
        await self.sleep(self.scenario.linger)
        for backend in self.backends:
            await self._idle(backend)
        await self.sleep(self.scenario.linger)

    async def _idle(self, backend: Backend) -> None:
        async with asyncio.timeout(HUNG):
            while True:
                seen = await backend.look(self.truth.tag)
                self.truth.see(seen)
                if not seen.pending and not seen.running:
                    return
                await asyncio.sleep(backend.poll_seconds)

    def row(self) -> Row:
        played, told = self.scenario, self.told
        outcomes = {told[n][1] if n in told else UNSAID for n in range(max(len(self.tasks), 1))}
        outcome = " and ".join(sorted(outcomes))
        states = {str(task.state) for task in self.client.board.tasks if task.posts} if self.client else set()
        runs, at = len(self.truth.ran), self.truth.at
        after = (max(when for when, _, _ in told.values()) - at) / self.scale if told and at else None
        row = Row(
            played, outcome, " and ".join(sorted(states)), runs, self.proxy.posts, len(self.delivered), after,
            self.wrong, self.not_submitted or self.note,
        )  # fmt: skip
        self._judge(row, outcomes, states)
        return row

    def _judge(self, row: Row, outcomes: set[str], states: set[str]) -> None:
        played, wrong = self.scenario, row.wrong
        if outcomes - played.allowed:
            wrong.append(f"told {', '.join(sorted(outcomes - played.allowed))}")
        if not states <= played.final and NOT_SUBMITTED not in outcomes:
            wrong.append(f"the log says {', '.join(sorted(states - played.final))} at the end")
        if row.runs not in played.runs:
            wrong.append(f"ran {row.runs} times")
        if any(safe for _, how, safe in self.told.values() if how in ("cancelled", "lost", "rejected")) and set(
            self.truth.how.values()
        ) & {"completed"}:
            wrong.append("called safe to run again, and it ran")
        if len(self.delivered) != len(set(self.delivered)) or len(self.delivered) > max(len(self.told), 1):
            wrong.append("delivered twice")
        if _unmet((*self.proxy.rules, *self.proxy.frame_rules)):
            wrong.append("its fault never came")
        if self.log.exists():
            replayed = replay(self.log)
            again = {str(task.state) for task in replayed.tasks if task.posts}
            if self.client and again != states:
                wrong.append(f"its replay says {', '.join(sorted(again))}")
            codes = {finding.code for finding in replayed.findings}
            wrong += sorted(codes & {"double-delivery", "contradiction", "invariant"})


def _unmet(rules: Iterable[object]) -> bool:
    """Whether one of them never applied."""
    return any(getattr(rule, "hits", 1) == 0 for rule in rules)


class NotSubmitted(Exception):
    """The client refused to submit: the story is over, and that may be right."""


# playing


_STEP: ContextVar[list[float]] = ContextVar("step")
_TIME = time.time


def _stepped() -> float:
    """The wall clock, as far as somebody set it in this scenario."""
    step = _STEP.get(None)
    return _TIME() + (step[0] if step else 0.0)


def scaled(policy: Policy, scale: float) -> Policy:
    """Every time of a policy, as much shorter."""
    times = {
        name: getattr(policy, name) * scale
        for name in policy.__struct_fields__
        if name.endswith("_seconds") and isinstance(getattr(policy, name), float)
    }
    return msgspec.structs.replace(policy, **times)


@contextmanager
def quickened(scale: float) -> Iterator[None]:
    """What is no policy is quicker, too; and the wall clock may be set for one scenario."""
    with ExitStack() as stack:
        patch = partial(mock.patch.object)
        stack.enter_context(patch(time, "time", _stepped))
        if scale != 1.0:
            for room, name in ((runner, "_PULSE"), (runner, "_BREATH"), (reconnection, "CLOSING")):
                if hasattr(room, name):
                    stack.enter_context(patch(room, name, getattr(room, name) * scale))
            quick = partial(transport.Comfy, ping_seconds=20.0 * scale)
            stack.enter_context(patch(client_room, "Comfy", quick))
        yield


async def play(played: Scenario, backends: list[Backend], scale: float) -> Row:
    """One scenario at these servers, which are open."""
    _STEP.set([0.0])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with Proxy([backend.url for backend in backends], played.choose) as proxy:
            rig = Rig(played, backends, proxy, Path(folder), scale)
            stalls = [0.0]
            watching = [asyncio.create_task(backend.watch(rig.truth)) for backend in backends]
            watching.append(asyncio.create_task(_feel(stalls)))
            try:
                if played.client:
                    await rig.open()
                with suppress(NotSubmitted):
                    await played.story(rig)
                await rig.wait()
                row = rig.row()
            except Exception as error:
                row = Row(played, "the rig failed", "", 0, proxy.posts, 0, None, [f"{type(error).__name__}: {error}"])
            finally:
                for each in watching:
                    each.cancel()
                if rig.client:
                    await rig.client.close()
            row.stalled = max(stalls) / scale
            return row


async def _feel(stalls: list[float]) -> None:
    """How much later than it wanted this process came to its turn."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(0.01)
        stalls[0] = max(stalls[0], loop.time() - began - 0.01)


@asynccontextmanager
async def fakes(count: int, version: str) -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Fake(version)) for _ in range(count)]


async def play_all(chosen: list[Scenario], scale: float, at_once: int, version: str) -> list[Row]:
    """Each at fakes of its own, several at a time."""

    async def one(played: Scenario) -> Row:
        async with turns, fakes(played.servers, version) as backends:
            return await play(played, backends, scale)

    rows: dict[str, Row] = {}
    with quickened(scale):
        for heavy in (False, True):
            turns = asyncio.Semaphore(1 if heavy else at_once)
            working = [asyncio.create_task(one(played)) for played in chosen if played.heavy is heavy]
            rows |= {row.scenario.name: row for row in await asyncio.gather(*working)}
    return [rows[played.name] for played in chosen]


async def play_patiently(chosen: list[Scenario], paces: Sequence[float], at_once: int, version: str) -> list[Row]:
    """The same at the first of these scales; what came out wrong while the machine stalled, at the next ones.

    A machine that lets us do nothing for a second of the default policy plays no scenario as it stands there.
    """
    rows: dict[str, Row] = {}
    left = chosen
    for number, scale in enumerate(paces):
        played = await play_all(left, scale, at_once if number == 0 else 4, version)
        rows |= {row.scenario.name: row for row in played}
        left = [row.scenario for row in played if row.wrong and row.stalled > STALL]
        if not left:
            break
    return [rows[each.name] for each in chosen]


# the client as a process


async def worker(rig: Rig, seconds: float = 4.0) -> asyncio.subprocess.Process:
    """A client of its own process, which submits one workflow; it writes a line for each delivery."""
    graph = rig.server.graph(rig.truth.tag, seconds * rig.scale)
    (rig.folder / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.worker", str(rig.log), rig.proxy.url, str(rig.scale),
        str(rig.folder / "graph.json"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )  # fmt: skip


# at real servers


async def play_at(urls: list[str], chosen: list[Scenario], scale: float) -> tuple[str, list[Row]]:
    """One after another: a server runs one prompt at a time, and some scenarios empty its queue."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        backends: list[Backend] = []
        for url in urls:
            real = Real(url, LINK_SECONDS)
            backends.append(await stack.enter_async_context(real))
            await real.measure()
        for played in chosen:
            if played.servers > len(backends):
                continue
            with quickened(scale):
                rows.append(await asyncio.create_task(play(played, backends[: played.servers], scale)))
            print(f"{rows[-1].scenario.name}: {rows[-1].outcome}", rows[-1].wrong, file=sys.stderr, flush=True)
            for backend in backends:
                await backend.forget()
    return f"ComfyUI {backends[0].version}", rows
