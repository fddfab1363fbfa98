"""Recording: a log, and in front of each server an address at which any client is recorded into it.

The fold runs live, as that of a client does, but asks the servers nothing and gives up nothing: who records only looks.
"""

from __future__ import annotations

import asyncio
import signal
import socket as sockets
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, NamedTuple

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Warn
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Figures, Reading
from comfy_fsm.display import plural
from comfy_fsm.errors import ClientClosed
from comfy_fsm.exits import BY_SIGNAL
from comfy_fsm.live.engine.closing import finish
from comfy_fsm.live.engine.ingest import Ingest, Noted, refold
from comfy_fsm.live.engine.steady_clock import SteadyClock
from comfy_fsm.live.proxy.address_rewriting import Addressing
from comfy_fsm.live.proxy.entries import Entries
from comfy_fsm.live.proxy.forwarding import Backend, Forwarding, Patience
from comfy_fsm.live.proxy.peer import Peer, listen
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.certificates import trusted
from comfy_fsm.log import opening
from comfy_fsm.log.store import Store

__all__ = ["Front", "Outside", "Recording", "run"]

_MANY, _KEPT = 20_000, 10_000
"""Tasks, windows and servers from which on settled tasks are forgotten, and how many of them are not."""


_UNRECORDED = 1


class Front(NamedTuple):
    """Address at which one server is recorded."""

    listening: sockets.socket
    server: Addressing


class Outside(NamedTuple):
    """Environment of a recording."""

    tls: ssl.SSLContext | None
    patience: Patience
    say: Callable[[str], object]


_Beside = Callable[["Recording"], Iterable[Coroutine[Any, Any, None]]]


class Recording:
    """Recording into one log: `async with await Recording.open(path, fronts, outside) as recording:`."""

    def __init__(self, log: Store, fronts: Iterable[Front], outside: Outside) -> None:
        """Prepare it; only `open` calls this."""
        self._log = log
        self._fronts = list(fronts)
        self._outside = outside
        self._redactor = Redactor()
        self._redactor.keep(secret for front in self._fronts for secret in front.server.secrets)
        self._clock = SteadyClock(time.time)
        self.board = Board()
        self.figures = Figures(self.board, (front.server.url for front in self._fronts))
        self.ingest = Ingest(log, self.board, self._redactor, self._folded, self._committed)
        self.entries = Entries(self.ingest, self._redactor, self._clock, self.say)
        self._servers: list[asyncio.Server] = []
        self._passing: dict[Forwarding, asyncio.Task[None] | None] = {}

    @classmethod
    async def open(cls, path: str, fronts: Iterable[Front], outside: Outside) -> Recording:
        """Open the log, continue after what is in it, and listen; raises LogError, and then nothing listens."""
        fronts = list(fronts)
        try:
            log = await opening.open_log(path)
        except BaseException:
            for front in fronts:
                front.listening.close()
            raise
        recording = cls(log, fronts, outside)
        recording._redactor.keep(opening.secrets_of(path))
        try:
            await recording._start()
        except BaseException:
            await recording.close()
            raise
        return recording

    async def _start(self) -> None:
        await asyncio.to_thread(refold, self._log.read(), self.board, self._log.path, self.figures.count)
        header = seen.Header(at=self._clock(), data=seen.HeaderData(1, "comfy_fsm record"))
        await self.ingest.write(header)
        for window in self._unwatched():
            command = seen.Command(at=self._clock(), window=window, data=seen.CommandData("resume"))
            await self.ingest.write(command)
        tls = self._outside.tls or (trusted() if any(front.server.is_tls for front in self._fronts) else None)
        for front in self._fronts:
            backend = Backend(front.server, tls, self._outside.patience, self.entries)
            self._servers.append(await listen(front.listening, partial(self._meet, backend)))

    def _unwatched(self) -> list[str]:
        """Return the windows that an earlier recording left: nobody saw how their sockets ended."""
        open_tasks = [task.window for task in self.board.tasks if not task.settled]
        open_sockets = [
            window for server in self.board.servers for window, socket in server.sockets.items() if socket.open
        ]
        return [window for window in dict.fromkeys([*open_tasks, *open_sockets]) if window is not None]

    async def _meet(self, backend: Backend, client: Peer) -> None:
        forwarding = Forwarding(client, backend)
        self._passing[forwarding] = asyncio.current_task()
        try:
            await forwarding.run()
        finally:
            del self._passing[forwarding]

    # the fold

    def _folded(self, position: int, noted: Noted) -> None:
        self.figures.count(position, noted.observation)

    def _committed(self) -> None:
        for effect in self.board.drain():
            if isinstance(effect, Warn):
                self.say(f"{effect.server}: task {effect.prompt_id} has shown no sign of life for a while")
        if self.board.size > _MANY:
            self.board.forget(_KEPT)

    def readings(self) -> list[Reading]:
        """Return every metric as it is now."""
        self.figures.disk = self.ingest.disk
        return self.figures.read(self._clock())

    def say(self, text: str) -> None:
        self._outside.say(self._redactor.text(text))

    def summary(self) -> str:
        """Return what came of it, for the user."""
        entries, path = self.entries, opening.shown(self._log.path)
        lost = f", and {entries.unwritten:,} that could not be written" if entries.unwritten else ""
        written, tasks = plural(entries.written, "observation"), plural(len(self.board.tasks), "task")
        return f"{written} of {tasks} recorded{lost}; to judge them: comfy-replay {path}"

    # the end

    @property
    def failure(self) -> Exception | None:
        """Reason why nothing more is written; None while the log can be written."""
        failure = self.ingest.failure
        return None if isinstance(failure, ClientClosed) else failure

    async def failed(self) -> Exception | None:
        """Wait for the end of the log, and return why nothing more is written; None if it was closed."""
        return await self.ingest.failed()

    async def close(self) -> None:
        """Listen no more, hang up on everybody, and write how that was."""
        for server in self._servers:
            server.close()
        for front in self._fronts:
            front.listening.close()
        passing = [task for task in self._passing.values() if task is not None]
        for forwarding in [*self._passing]:
            forwarding.end()
        await finish(*passing)
        await finish(self.ingest.close())
        await finish(self._log.close())


def run(
    path: str,
    fronts: Iterable[Front],
    outside: Outside,
    ready: _Beside,
    *,
    stops: bool,
) -> int:
    """Record until SIGTERM or SIGINT, and return the exit status; `ready` is called once it listens, and returns what
    is to run beside it.

    If the log cannot be written any more, what passes goes on unrecorded, or with `stops` raises that error.
    """
    return asyncio.run(_run(path, fronts, outside, ready, stops))


async def _run(path: str, fronts: Iterable[Front], outside: Outside, ready: _Beside, stops: bool) -> int:
    ending, got = asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()

    def end(number: int, _: object) -> None:
        got.append(number)
        loop.call_soon_threadsafe(ending.set)

    for number in (signal.SIGTERM, signal.SIGINT):  # as in cli/runs/session.py
        signal.signal(number, end)
    recording = await Recording.open(path, fronts, outside)
    watching = asyncio.create_task(_watch(recording, ending, stops))
    beside: list[asyncio.Task[None]] = []
    try:
        beside += [asyncio.create_task(each) for each in ready(recording)]
        await ending.wait()
    finally:
        for running in (*beside, watching):
            running.cancel()
        await finish(*beside, watching, recording.close())
    outside.say(recording.summary())
    if recording.failure is None:
        return BY_SIGNAL + got[0]
    if stops:
        raise recording.failure
    return _UNRECORDED


async def _watch(recording: Recording, ending: asyncio.Event, stops: bool) -> None:
    """Tell of a log that fails, when it does."""
    if (failure := await recording.failed()) is None:
        return
    if stops:
        return ending.set()
    recording.say(f"{failure}; NOTHING IS RECORDED from now on, and clients are passed on as before")
