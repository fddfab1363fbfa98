"""Runner: receives, appends, folds and performs; the live driver of the core, and its only clock.

It performs the effects of the fold: opens and replaces sockets, queries queues, fetches records, delivers results. It
decides nothing: performing everything twice, or late, changes no outcome.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections import deque
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import AnyEffect, Deliver, FetchHistory, LookAtQueue, OpenSocket, Result, Warn
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Figures, Reading
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.policy import Policy, to_header
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import HandshakeRefused, ServerUnreachable
from comfy_fsm.live.engine.absence_confirmation import is_still_absent
from comfy_fsm.live.engine.closing import Closing, finish, report
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.engine.ingest import Ingest, Noted, refold
from comfy_fsm.live.engine.listener import Listener
from comfy_fsm.live.engine.poller import Poller
from comfy_fsm.live.engine.responsiveness import IN_A_TURN, in_turns
from comfy_fsm.live.engine.steady_clock import SteadyClock
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.arrivals import Answer
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.live.transport.websocket import handshake_errors
from comfy_fsm.log.store import Store

__all__ = ["Host", "Runner", "Undelivered"]

_logger = logging.getLogger(__name__)
_PULSE = 1.0  # seconds at most between two looks at the board's clock: what is due can move while we sleep
_BREATH = 0.05  # and at least: a tick is a commit


class Undelivered(Exception):
    """Error for a completion callback to raise if it could not take the result now, but may later.

    The task stays settled and undelivered: whoever opens the log next gets its result again.
    """


class Host(Protocol):
    """Client, as far as its runner needs it."""

    def observe(self, noted: Noted) -> None:
        """Take an entry that was committed and folded. Must be quick: whoever wrote it waits."""
        ...

    async def deliver(self, result: Result) -> None:
        """Deliver a result to the application; raises Undelivered if it did not take it."""
        ...

    def retire(self, server: str, client_id: str) -> None:
        """Give up a client id whose socket went deaf."""
        ...


class Runner:
    """Driver of the fold for one client; `start` names the host that gets entries and results."""

    def __init__(
        self,
        servers: Iterable[Comfy],
        log: Store,
        policy: Policy,
        redactor: Redactor,
        clock: SteadyClock,
        *,
        needs_sockets: bool = False,
    ) -> None:
        self.board = Board(policy)
        self.log = log
        self.policy = policy
        self.clock = clock
        self._redactor = redactor
        self._host: Host | None = None
        self._needs_sockets = needs_sockets
        servers = list(servers)
        self.figures = Figures(self.board, (server.url for server in servers))
        self.ingest = Ingest(log, self.board, redactor, self._folded, self._perform)
        self.exchanges = {
            server.url: Exchange(server, self.ingest, self.board, redactor, policy, clock) for server in servers
        }
        self.pollers = {url: Poller(exchange, self.board, policy, clock) for url, exchange in self.exchanges.items()}
        self._listeners: dict[tuple[str, str], Listener] = {}
        self._deaf: set[tuple[str, str]] = set()
        self._by_http: set[str] = set()  # servers that refuse every socket and answer all the same
        self._unconfigured: set[str] = set()  # servers that the log names and we were not given
        self._polled: set[tuple[str, str]] = set()  # prompts that are looked for, since no socket tells of them
        self._running: set[asyncio.Task[None]] = set()
        self._delivering: set[asyncio.Task[None]] = set()
        self._effects: deque[AnyEffect] = deque()
        self._ends = False  # what is under way is cancelled, and nothing more is begun
        self._in_delivery: set[tuple[str, str | None]] = set()
        self._forget_beyond = 2 * policy.delivered or sys.maxsize
        self._patience = 0.0
        self._closing = Closing(self._close)

    async def load(self) -> None:
        """Fold the log without performing effects."""
        await asyncio.to_thread(refold, self.log.read(), self.board, self.log.path, self._refolded)

    @property
    def unfinished(self) -> list[Task]:
        """Tasks that are open, or whose result an earlier process did not deliver."""
        return [task for task in self.board.tasks if not (task.settled and task.delivered)]

    async def start(self, host: Host) -> None:
        """Continue from the log: ask about open tasks, deliver undelivered results."""
        self._host = host
        header = seen.HeaderData(1, "comfy_fsm", Raw(msgspec.json.encode(to_header(self.policy))))
        await self.ingest.write(seen.Header(at=self.clock(), data=header))
        windows = dict.fromkeys(task.window for task in self.unfinished if task.window is not None)
        resume, at = seen.CommandData("resume"), self.clock()
        # All in one commit, before anything is asked: what is settled in between would be delivered for both reasons.
        await asyncio.gather(
            *(self.ingest.write(seen.Command(at=at, window=window, data=resume)) for window in windows)
        )
        for poller in self.pollers.values():
            self._spawn(poller.run())
        open_ones = [task for task in self.unfinished if task.posts and not task.settled]
        for server, window in dict.fromkeys((task.server, task.window) for task in open_ones):
            if window and server in self.exchanges:
                self._spawn(self._resume_polling(self._listener(server, window)))
        self._spawn(self._tick())

    # submitting

    async def post(self, server: str, client_id: str, prompt_id: str, request: HttpRequest) -> Answer | None:
        """Open the socket, log the request, send the POST, then check that the socket receives frames."""
        listener = self._listener(server, client_id)
        await self._open_or_fall_back(listener)
        frames = listener.frames
        answer = await self.exchanges[server].send(request, client_id)
        self._start_polling(listener, frames, prompt_id)
        return answer

    async def _open_or_fall_back(self, listener: Listener) -> None:
        """Open the socket; if the server refuses sockets and answers HTTP, follow its tasks over HTTP, and warn
        once.
        """
        url = listener.server.url
        if url in self._by_http and not listener.is_open:
            return listener.open()  # which goes on trying
        try:
            await listener.ready(self.policy.open_seconds)
            self._by_http.discard(url)
        except (HandshakeRefused, ServerUnreachable):
            alone = handshake_errors.sockets_alone(listener.refused)
            if self._needs_sockets or not alone or not await self.exchanges[url].is_comfy():
                raise
            self._by_http.add(url)
            _logger.warning(
                "%s: opens no socket (%s) and answers over HTTP, so its tasks are followed by HTTP alone: later, "
                "and without previews; to refuse that, require sockets",
                url, listener.refused.reason if listener.refused is not None else "no answer",
            )  # fmt: skip

    async def _resume_polling(self, listener: Listener) -> None:
        """Open the socket of tasks that an earlier process left; poll for them if that fails."""
        with suppress(HandshakeRefused, ServerUnreachable):  # the socket is tried on and on
            await self._open_or_fall_back(listener)
        if not listener.is_open:
            await self._poll_all(listener)

    def _start_polling(self, listener: Listener, frames: int, prompt_id: str) -> None:
        """Poll for a prompt until its socket receives a frame, in one loop for each prompt."""
        key = (listener.server.url, prompt_id)
        if key not in self._polled:
            self._polled.add(key)
            self._spawn(self._poll(listener, frames, prompt_id))

    async def _poll_all(self, listener: Listener) -> None:
        """Poll for every task of a socket that closed, or cannot be opened."""
        tasks = [task for task in self.board.open_at(listener.server.url) if listener.client_id in task.windows]
        async for task in in_turns(tasks):
            if task.prompt_id is not None:
                self._start_polling(listener, listener.frames, task.prompt_id)

    async def _poll(self, listener: Listener, frames: int, prompt_id: str) -> None:
        """Poll for a prompt. An accepted POST changes the queue, of which every socket is told: one that receives
        nothing may be deaf (P3). Without a socket, only polling shows anything; the poller probes a server that
        does not answer.
        """
        url, policy = listener.server.url, self.policy
        pause = policy.prove_seconds if listener.is_open else policy.look_seconds
        while True:
            await asyncio.sleep(pause)
            task = self.board.task(prompt_id, url)
            if task is None or task.settled or (listener.is_open and listener.frames != frames):
                return self._polled.discard((url, prompt_id))
            if self.board.server(url).unreachable is None:
                self.pollers[url].schedule(prompt_id, self.clock(), queue_first=True)
            limit = policy.look_limit_seconds if listener.is_open else policy.http_seconds
            pause = min((2 if listener.is_open else 1.5) * pause, limit)

    async def confirm(self, task: Task) -> bool:
        """Return whether it is certain enough that the task did not run and will not, so that it may be posted
        again.
        """
        exchange = self.exchanges.get(task.server)
        if task.unsent or exchange is None:
            return task.unsent  # nothing was sent at all

        def socket() -> Listener:
            return Listener(exchange.server, uuid.uuid4().hex, self.ingest, self._redactor, self.clock)

        return await is_still_absent(task, self.board, exchange, self.policy, socket)

    def _listener(self, server: str, client_id: str) -> Listener:
        listener = self._listeners.get((server, client_id))
        if listener is None:
            comfy = self.exchanges[server].server
            listener = self._listeners[server, client_id] = Listener(
                comfy, client_id, self.ingest, self._redactor, self.clock
            )
        return listener

    async def command(
        self,
        name: seen.CommandName,
        prompt_id: str | None,
        window: str | None,
        server: str | None,
        to: str | None = None,
    ) -> None:
        """Log a command of the application or its operator; on return it is folded."""
        data, at = seen.CommandData(name, prompt_id, to=to), self.clock()
        await self.ingest.write(seen.Command(at=at, window=window, server=server, data=data))

    def note(self, observation: AnyObservation, logged: AnyObservation | None = None) -> None:
        """Log an observation without waiting; `logged` is what the log gets instead."""
        self.ingest.put(codec.encode(observation if logged is None else logged), observation)

    def readings(self) -> list[Reading]:
        """Return every metric as it is now."""
        self.figures.disk = self.ingest.disk
        return self.figures.read(self.clock())

    # performing

    def _refolded(self, position: int, observation: AnyObservation) -> None:
        self.figures.count(position, observation)
        self._forget()

    def _folded(self, position: int, noted: Noted) -> None:
        self.figures.count(position, noted.observation)
        if self._host is not None:
            self._host.observe(noted)

    def _perform(self) -> None:
        """Perform the effects of the entries that were just committed; of thousands, some in each turn of the loop."""
        waiting, wanted = bool(self._effects), self.board.drain()
        if self._ends:
            return  # the next process wants it anew
        self._effects += wanted
        if not waiting:
            self._perform_some()

    def _perform_some(self) -> None:
        for _ in range(min(IN_A_TURN, len(self._effects))):
            effect = self._effects.popleft()
            if effect.server not in self.exchanges and effect.server not in self._unconfigured:
                self._unconfigured.add(effect.server)
                _logger.warning("%s is not among the servers of this client: it cannot be asked", effect.server)
            self._perform_one(effect)
        if self._effects:
            asyncio.get_running_loop().call_soon(self._perform_some)
        self._forget()

    def _forget(self) -> None:
        """Drop old delivered tasks, so that memory is bounded by what is under way."""
        if self.board.size > self._forget_beyond:
            self.board.forget(self.policy.delivered, delivered=True)
            self._forget_beyond = self.board.size + self.policy.delivered

    def _perform_one(self, effect: AnyEffect) -> None:
        poller = self.pollers.get(effect.server)
        if isinstance(effect, Deliver):
            self._spawn(self._deliver_one(effect.result), self._delivering)
        elif poller is None:
            return
        elif isinstance(effect, LookAtQueue | FetchHistory):
            poller.schedule(effect.prompt_id, effect.due, queue_first=isinstance(effect, LookAtQueue))
        elif isinstance(effect, OpenSocket):
            self._reopen(effect)
        elif isinstance(effect, Warn):
            _logger.warning("%s: task %s has shown no sign of life for a while", effect.server, effect.prompt_id)

    def _reopen(self, effect: OpenSocket) -> None:
        key = (effect.server, effect.window)
        if key in self._deaf or not effect.window:
            return
        listener = self._listeners.get(key)
        if listener is None:  # of a process that is gone
            self._listener(*key).open()
        elif listener.is_open:
            self._spawn(self._replace_if_deaf(listener, listener.frames, effect))
        else:
            self._spawn(self._poll_all(listener))

    async def _replace_if_deaf(self, listener: Listener, frames: int, effect: OpenSocket) -> None:
        """Retire a client id whose socket should have received something and still has not (P3); its tasks go on over
        HTTP.
        """
        await asyncio.sleep(max(0.0, effect.due - self.clock()))
        key = (effect.server, effect.window)
        if listener.frames == frames and listener.is_open and self._listeners.get(key) is listener:
            self._deaf.add(key)
            del self._listeners[key]
            if self._host is not None:
                self._host.retire(*key)
            await listener.close()
            await self._poll_all(listener)

    async def _deliver_one(self, result: Result) -> None:
        """Deliver a result once, even if it is requested again before its delivery is logged."""
        key, task = (result.server, result.prompt_id), self.board.task(result.prompt_id or "", result.server)
        if key in self._in_delivery or (task is not None and task.delivered):
            return
        self._in_delivery.add(key)
        try:
            with suppress(Undelivered):  # it was told why
                await self._hand_over(result)
        finally:
            self._in_delivery.discard(key)

    async def _hand_over(self, result: Result) -> None:
        if self._host is not None:
            await self._host.deliver(result)
        if result.prompt_id is not None:
            data = seen.DeliveredData(result.prompt_id, result.state)
            delivered = seen.Delivered(at=self.clock(), window=result.window, server=result.server, data=data)
            await self.ingest.write(delivered)

    # time

    async def _tick(self) -> None:
        while True:
            wait = self.board.due - self.clock()
            await asyncio.sleep(min(max(wait, _BREATH), _PULSE))
            if (ahead := self.clock.step()) is not None:
                _logger.warning(
                    "the clock of this machine was set: it is %.0f s %s of this client's, which goes on as it was and "
                    "stamps the log so; open the client again to follow the other",
                    abs(ahead), "ahead" if ahead > 0 else "behind",
                )  # fmt: skip
            if self.board.due <= self.clock():
                await self.ingest.write(seen.Tick(at=self.clock()))

    def _spawn(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]] | None = None) -> None:
        running = self._running if among is None else among
        spawned = asyncio.create_task(work)
        running.add(spawned)
        spawned.add_done_callback(running.discard)
        spawned.add_done_callback(report)

    # the end

    async def close(self, patience: float) -> None:
        """Close intake, log, sockets, HTTP and database, in this order; what is not settled can be resumed from the
        log.

        Cancelling the call does not stop the closing.
        """
        self._patience = patience
        await self._closing()

    async def _close(self) -> None:
        if self._delivering:
            with suppress(asyncio.CancelledError):  # then we do not wait for them
                await asyncio.wait(self._delivering, timeout=self._patience)
        self._ends = True
        self._effects.clear()
        unfinished = [*self._running, *self._delivering]
        for running in unfinished:
            running.cancel()
        await finish(*unfinished)
        await finish(*(listener.close() for listener in self._listeners.values()))
        await finish(self.ingest.close())
        await finish(*(exchange.server.close() for exchange in self.exchanges.values()))
        await finish(self.log.close())
