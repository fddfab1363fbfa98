"""Exchange with one server over HTTP: each request is logged before it is sent, and its answer before it is returned.

It also finds out what the server supports. When a request is due is the poller's to say.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from itertools import count
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import bodies, codec
from comfy_fsm.errors import ClientError, DownloadFailed, LogError
from comfy_fsm.live.engine import answers
from comfy_fsm.live.engine.ingest import Ingest
from comfy_fsm.live.engine.responsiveness import undisturbed
from comfy_fsm.live.redaction.messages import NOTHING, Kept, Redactor
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.arrivals import Answer, Stream, Unanswered
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.redirects import STATUSES, Misled, Trail, is_page, shown_location
from comfy_fsm.live.transport.requests import HttpRequest

__all__ = ["Exchange"]

_RUN = uuid.uuid4().hex[:12]  # a request id is unique in a log, and a log outlives its processes
_NUMBERS = count(1)
_LONG = 64 * 1024  # bytes of an answer from which on it is not read in the application's loop
_RECENT = 200  # entries of the history among which an unanswered POST is looked for (F23: never the whole)


class Exchange:
    """Logged requests to one server, and what is known about its features."""

    def __init__(
        self,
        server: Comfy,
        ingest: Ingest,
        board: Board,
        redactor: Redactor,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self.server = server
        self.version: tuple[int, ...] | None = None
        self.has_jobs = False
        self._cancels: bool | None = None
        self.last_failure = ""
        """Error of the last failed request."""
        self._ingest = ingest
        self._board = board
        self._redactor = redactor
        self._policy = policy
        self._clock = clock
        self.not_before = 0.0
        """When the server wants to be asked again, by the loop's clock."""
        self.news = asyncio.Event()
        """Wakes the poller: set with each request that ends while one about a task is unanswered (P33)."""
        self.at_length = asyncio.Lock()
        """Held by whoever sends several requests about one prompt, between which no others of the kind may come."""
        self._detecting = asyncio.Lock()
        self._detected = self._is_comfy = False

    async def send(self, request: HttpRequest, window: str | None = None) -> Answer | None:
        """Log the request, send it, log the answer and return it; None if there was none."""
        return await self._send(request, self.server.send(request), window)

    async def upload(self, name: str, content: bytes, subfolder: str, overwrite: bool) -> Answer | None:
        """Send a file in the same way; none of its bytes are logged."""
        request = requests.upload()
        sending = self.server.upload(request, name, content, subfolder=subfolder, overwrite=overwrite)
        return await self._send(request, sending, None)

    async def _send(
        self, request: HttpRequest, sending: Coroutine[Any, Any, Answer], window: str | None
    ) -> Answer | None:
        with closing(sending):  # where the log refuses the request, it is not sent
            request_id = await self._log_request(request, window)
            try:
                answer = await sending
            except Unanswered as error:
                await self._log_failure(request_id, error, window)
                return None
            except asyncio.CancelledError:
                self._log_abandoned(request_id, window)
                raise
        if answer.retry_after is not None:
            now = asyncio.get_running_loop().time()
            self.not_before = now + min(answer.retry_after, self._policy.look_limit_seconds)
        redact = partial(self._redactor.response, request.method, request.path, answer.status, answer.body)
        try:
            kept = redact() if len(answer.body) < _LONG else await asyncio.to_thread(undisturbed, redact)
        except asyncio.CancelledError:
            self._log_abandoned(request_id, window)
            raise
        place = self._redactor.text(shown_location(answer.location)) if answer.status in STATUSES else None
        data = seen.ResponseData(request_id, answer.status, kept.whole, answer.retry_after, place)
        await self._log_answer(data, kept, window)
        return answer

    @asynccontextmanager
    async def stream(self, request: HttpRequest, window: str | None = None) -> AsyncGenerator[Stream, None]:
        """Fetch a file in the same way, through redirects; its bytes are not logged. Raises DownloadFailed."""
        request_id, trail = await self._log_request(request, window), Trail(self.server.url, request.path)
        try:
            async with AsyncExitStack() as opened:
                stream = await opened.enter_async_context(self.server.download(request))
                while (hop := trail.follow(stream.status, stream.location)) is not None:
                    await opened.aclose()
                    stream = await opened.enter_async_context(self.server.download(request._replace(hop=hop)))
                await self._log_answer(seen.ResponseData(request_id, stream.status, NOTHING.whole), NOTHING, window)
                if stream.status != 200:
                    raise self._failed_download(f"HTTP {stream.status}{trail.led_to}", stream.status)
                if is_page(stream.content_type, request.path):
                    raise self._failed_download(f"a page came instead{trail.led_to}, of a login perhaps", 200)
                yield stream
        except Unanswered as error:
            await self._log_failure(request_id, error, window)
            raise self._failed_download(f"{error.name}{trail.led_to}") from error
        except Misled as error:
            await self._log_answer(seen.ResponseData(request_id, trail.status, NOTHING.whole), NOTHING, window)
            raise self._failed_download(f"HTTP {trail.status}, {error}", trail.status) from error

    def _failed_download(self, why: str, status: int | None = None) -> DownloadFailed:
        url, words = self.server.url, f"the file could not be fetched ({why}), so nothing was saved; try again"
        return DownloadFailed(f"{url}: {words}", url, status)

    async def _log_request(self, request: HttpRequest, window: str | None) -> str:
        request_id = f"{_RUN}-{next(_NUMBERS)}"
        path, body = self._redactor.request(request.method, request.path, request.body)
        data = seen.RequestData(request_id, request.method, path, Raw(msgspec.json.encode(body)))
        await self._ingest.write(seen.Request(at=self._clock(), window=window, server=self.server.url, data=data))
        return request_id

    async def _log_failure(self, request_id: str, error: Unanswered, window: str | None) -> None:
        self.last_failure = error.name
        data = seen.NoAnswerData(request_id, error.name)
        await self._ingest.write(seen.NoAnswer(at=self._clock(), window=window, server=self.server.url, data=data))
        self._wake_poller()

    def _log_abandoned(self, request_id: str, window: str | None) -> None:
        """Log the end of a request that nobody waits for any more: it may have reached the server."""
        data = seen.NoAnswerData(request_id, "Cancelled")
        ended = seen.NoAnswer(at=self._clock(), window=window, server=self.server.url, data=data)
        with suppress(ClientError, LogError):  # closed, or failed: that is told by others
            self._ingest.put(codec.encode(ended), ended)

    async def _log_answer(self, data: seen.ResponseData, body: Kept, window: str | None) -> None:
        whole = seen.Response(at=self._clock(), window=window, server=self.server.url, data=data)
        if body.whole is body.logged:
            await self._ingest.write(whole)
        else:
            logged = replace(whole, data=replace(data, body=body.logged), redacted=True)
            await self._ingest.write(whole, logged, extra=len(bytes(body.whole)))
        self._wake_poller()

    def _wake_poller(self) -> None:
        if self._board.server(self.server.url).unreachable is not None:
            self.news.set()

    async def detect_features(self) -> None:
        """Find out, once, what the server supports: own ids, jobs and interrupts by id came with later versions."""
        async with self._detecting:
            if self._detected:
                return
            stats = await self.send(requests.system_stats())
            features = await self.send(requests.features()) if stats is not None else None  # who is away, is away
            self._detected = stats is not None and features is not None
            self._is_comfy = any(
                a is not None and a.status == 200 and answers.is_object(a.body) for a in (stats, features)
            )
            if stats is not None and stats.status == 200:
                self.version = bodies.version(Raw(stats.body))
            if features is not None and features.status == 200:
                jobs = await self.send(requests.jobs())
                self.has_jobs = jobs is not None and answers.shows_jobs(jobs)

    @property
    def now(self) -> float:
        return self._clock()

    async def is_comfy(self) -> bool:
        """Return whether what answers there over HTTP is a ComfyUI."""
        await self.detect_features()
        if not self._is_comfy:
            return answers.queued(await self.send(requests.queue())) is not None
        return True

    async def cancels_jobs(self) -> bool:
        """Return whether it can cancel jobs, by a harmless request to cancel none: nothing else shows it (P43)."""
        if self._cancels is None:
            answer = await self.send(requests.cancel_jobs([]))
            if answer is not None and answer.status == 200:
                self._cancels = codec.body(Raw(answer.body), bodies.Cancelled) is not None
            elif answer is not None and answer.status in (404, 405):
                self._cancels = False
        return bool(self._cancels)

    @property
    def interrupts_by_id(self) -> bool:
        """Return whether an interrupt names its prompt, as since 0.3.57; before, it hits whatever runs, whoever owns it
        (P31)."""
        return self.has_jobs or (self.version is not None and self.version >= (0, 3, 57))

    @property
    def hits_one(self) -> bool:
        """Return whether what runs can be cancelled without hitting another prompt (P31, P42)."""
        return bool(self._cancels) or self.interrupts_by_id

    def record_of(self, prompt_id: str, task: Task) -> HttpRequest:
        """Build the request for its record: by id, or the latest ones if it may have another id (P10)."""
        return requests.histories(_RECENT) if self.may_be_renamed(task) else requests.history(prompt_id)

    def may_be_renamed(self, task: Task | None) -> bool:
        """Return whether its id may be unknown (P10): then only its mark shows it."""
        unnamed = task is not None and task.posts > 0 and (task.nameless or task.may_have_another_id)
        return unnamed and not self._board.takes_ids(self.server.url)
