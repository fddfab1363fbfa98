"""Exchange with one server over HTTP: each request is logged before it is sent, and those that the fold wants are sent
when due.

The queue is asked first and then the history, in this order (P29), or if the server has jobs, their list and then the
job (P38). One queue or list serves many prompts; a single job needs none. After a failure the fold asks again about a
single prompt, and this module about the queue, and then about all prompts.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from itertools import count
from math import inf
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
from comfy_fsm.live.engine.recorder import Recorder
from comfy_fsm.live.redaction.redact import NOTHING, Kept, Redactor
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.arrivals import Answer, Stream, Unanswered
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.redirects import STATUSES, Misled, Trail, is_page, shown
from comfy_fsm.live.transport.requests import HttpRequest

__all__ = ["Exchange"]

_RUN = uuid.uuid4().hex[:12]  # a request id is unique in a log, and a log outlives its processes
_NUMBERS = count(1)
_AT_ONCE = 4  # requests to one server at a time: it answers them one after another anyway
_LONG = 64 * 1024  # bytes of an answer from which on it is not read in the application's loop
_SHARE = 2.0  # a queue that takes long to be told is asked for a third of the time at most
_TOO_LONG = ("TooLarge", "Unreadable")
"""Why a record did not come that will not come soon, either."""
_RECENT = 200  # entries of the history among which an unanswered POST is looked for (F23: never the whole)


class Exchange:
    """Logged requests to one server, and what is known about its features."""

    def __init__(
        self,
        server: Comfy,
        recorder: Recorder,
        board: Board,
        redactor: Redactor,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self.server = server
        self.version: tuple[int, ...] | None = None
        self.has_jobs = False
        self._cancels: bool | None = None
        self._jobs_answer = True
        self.last_failure = ""
        """Error of the last failed request."""
        self._recorder = recorder
        self._board = board
        self._redactor = redactor
        self._policy = policy
        self._clock = clock
        self._scheduled: dict[tuple[str, bool], float] = {}  # by the loop's clock, as all waits are
        self._querying = False
        self._next_query = 0.0
        self._probe_at = inf
        self._fetching: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._news = asyncio.Event()
        self._failed = 0
        self._not_before = 0.0
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self.at_length = asyncio.Lock()
        """Held by whoever sends several requests about one prompt, between which no others of the kind may come."""
        self._detecting = asyncio.Lock()
        self._detected = self._is_comfy = False

    async def send(self, request: HttpRequest, window: str | None = None) -> Answer | None:
        """Log the request, send it, log the answer and return it; None if there was none."""
        return await self._exchange(request, self.server.send(request), window)

    async def upload(self, name: str, content: bytes, subfolder: str, overwrite: bool) -> Answer | None:
        """Send a file in the same way; none of its bytes are logged."""
        sending = self.server.upload(name, content, subfolder=subfolder, overwrite=overwrite)
        return await self._exchange(HttpRequest("POST", "/upload/image"), sending, None)

    async def _exchange(
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
            self._not_before = now + min(answer.retry_after, self._policy.look_limit_seconds)
        told = (request.method, request.path, answer.status, answer.body)
        try:
            short = len(answer.body) < _LONG
            kept = self._redactor.response(*told) if short else await asyncio.to_thread(self._redactor.response, *told)
        except asyncio.CancelledError:
            self._log_abandoned(request_id, window)
            raise
        place = self._redactor.text(shown(answer.location)) if answer.status in STATUSES else None
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
        await self._recorder.write(seen.Request(at=self._clock(), window=window, server=self.server.url, data=data))
        return request_id

    async def _log_failure(self, request_id: str, error: Unanswered, window: str | None) -> None:
        self.last_failure = error.name
        data = seen.NoAnswerData(request_id, error.name)
        await self._recorder.write(seen.NoAnswer(at=self._clock(), window=window, server=self.server.url, data=data))
        self._note_unreachable()

    def _log_abandoned(self, request_id: str, window: str | None) -> None:
        """Log the end of a request that nobody waits for any more: it may have reached the server."""
        data = seen.NoAnswerData(request_id, "Cancelled")
        ended = seen.NoAnswer(at=self._clock(), window=window, server=self.server.url, data=data)
        with suppress(ClientError, LogError):  # closed, or failed: that is told by others
            self._recorder.put(codec.encode(ended), ended)

    async def _log_answer(self, data: seen.ResponseData, body: Kept, window: str | None) -> None:
        whole = seen.Response(at=self._clock(), window=window, server=self.server.url, data=data)
        if body.whole is body.logged:
            await self._recorder.write(whole)
        else:
            logged = replace(whole, data=replace(data, body=body.logged), redacted=True)
            await self._recorder.write(whole, logged, extra=len(bytes(body.whole)))
        self._note_unreachable()

    # a server that answers nothing

    def _note_unreachable(self) -> None:
        """Start polling a server that left a request about a task unanswered, until it is back (P33)."""
        url = self.server.url
        if self._probe_at == inf and self._board.server(url).unreachable is not None and self._board.open_at(url):
            pause = min(self._policy.pause(self._failed + 1), self._policy.return_seconds)
            self._probe_at = asyncio.get_running_loop().time() + pause
            self._news.set()

    async def _probe(self) -> None:
        """Send one query for all waiting tasks, each of which might wait long to be asked about again."""
        self._probe_at, failed = inf, self._failed
        listed = await self._listing(self.has_jobs)
        if listed is None or failed or self.last_failure in _TOO_LONG:
            return
        waiting = (task for task in self._board.open_at(self.server.url) if task.inquiry.requested)
        task = next(waiting, None)  # its queue answers: then it may be records that do not come, and one tells of all
        if task is not None and task.prompt_id is not None:
            await self._fetch(task.prompt_id)
            if self._board.server(self.server.url).unreachable is None:
                self._query_all()

    def _query_all(self) -> None:
        """Look for every open task, now that the server answers again: nothing that was missed is repeated (P4)."""
        self.server.wake()
        for task in self._board.open_at(self.server.url):
            if task.prompt_id is not None:
                self.schedule(task.prompt_id, self._clock(), queue_first=True)

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

    def schedule(self, prompt_id: str, due: float, *, queue_first: bool) -> None:
        """Schedule the request for its record, of the queue first or alone; an earlier schedule of the same stands.

        From here on the loop's clock counts, so setting the system clock hastens and delays nothing.
        """
        at = asyncio.get_running_loop().time() + max(due - self._clock(), 0.0)
        self._scheduled[prompt_id, queue_first] = min(at, self._scheduled.get((prompt_id, queue_first), at))
        self._news.set()

    async def run(self) -> None:
        """Send the scheduled requests when they are due, until cancelled; a missing answer delays no other request."""
        try:
            while self._error is None:
                self._news.clear()
                wait = self._start_due(asyncio.get_running_loop().time())
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for can swallow the cancel at the end
                        await self._news.wait()
            raise self._error
        finally:
            for work in self._running:
                work.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _start_due(self, now: float) -> float | None:
        """Start what is due, and return the time until the next; None to wait for a new request."""
        if now < self._not_before:
            return self._not_before - now
        asked, rest = list[str](), self._probe_at
        if rest <= now:
            self._probe_at = rest = inf
            self._start(self._probe())
        for (prompt_id, queue_first), at in list(self._scheduled.items()):
            if self._querying if queue_first else prompt_id in self._fetching:
                continue  # it is begun when that one has ended
            due = max(at, self._next_query) if queue_first else at
            if due > now:
                rest = min(rest, due)
                continue
            del self._scheduled[prompt_id, queue_first]
            if queue_first:
                asked.append(prompt_id)
            else:
                self._fetching.add(prompt_id)
                self._start(self._fetch_alone(prompt_id))
        if asked:
            self._querying = True
            self._start(self._query(asked))
        return None if rest == inf else rest - now

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        self._running.add(working)
        working.add_done_callback(self._ended)

    def _ended(self, working: asyncio.Task[None]) -> None:
        self._running.discard(working)
        if not working.cancelled() and (error := working.exception()) is not None:
            self._error = error
        self._news.set()

    async def _query(self, prompt_ids: list[str]) -> None:
        """Query the queue once for all of these prompts, then the record of each that it does not list (P29)."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            listed = await self._list(prompt_ids)
        finally:
            self._querying = False
            self._next_query = loop.time() + min(_SHARE * (loop.time() - began), self._policy.look_limit_seconds)
            self._news.set()
        if listed is not None:
            await asyncio.gather(*(self._fetch(prompt_id) for prompt_id in prompt_ids if prompt_id not in listed))

    async def _list(self, prompt_ids: Iterable[str]) -> frozenset[str] | None:
        """Return the ids that the queue lists now; None if there was no answer: then all are scheduled again."""
        open_ones = [prompt_id for prompt_id in prompt_ids if self._open(prompt_id) is not None]
        by_jobs = self.has_jobs and not any(map(self._may_be_renamed, map(self._open, open_ones)))
        if not open_ones or (by_jobs and self._is_told_by_job(open_ones)):
            return frozenset()
        listed = await self._listing(by_jobs)
        return await self._counted(listed, open_ones) if listed is not None else None

    async def _listing(self, by_jobs: bool) -> frozenset[str] | None:
        """Return the ids of all that wait or run; None if there was no answer: then the server is polled."""
        listed = answers.open_jobs(await self.send(requests.open_jobs())) if by_jobs else None
        if listed is None:
            listed = answers.queued(await self.send(requests.queue()))
        failed, self._failed = self._failed, 0 if listed is not None else self._failed + 1
        if failed and listed is not None:
            self._query_all()
        return listed

    async def _counted(self, listed: frozenset[str], open_ones: Iterable[str]) -> frozenset[str]:
        if not listed.issuperset(open_ones):  # a queue may hide what it counts
            await self.send(requests.remaining())
        return listed

    def _is_told_by_job(self, prompt_ids: list[str]) -> bool:
        """Return whether one job is enough: not after a denial or an unusable answer, as only a queue proves (P29,
        P38).
        """
        task = self._open(prompt_ids[0])
        return len(prompt_ids) == 1 and self._jobs_answer and task is not None and not task.inquiry.rounds

    async def _fetch_alone(self, prompt_id: str) -> None:
        try:
            await self._fetch(prompt_id)
        finally:
            self._fetching.discard(prompt_id)

    async def _fetch(self, prompt_id: str) -> None:
        """Fetch the result of a prompt: from its job if that is conclusive (P38), otherwise from its record."""
        task = self._open(prompt_id)
        if task is None:
            return
        # A process that resumes has asked nobody yet what it can, and a job can be right where a record is wrong.
        await self.detect_features()
        async with self._at_once:
            if self.has_jobs and not self._may_be_renamed(task):
                job = await self.send(requests.job(prompt_id), task.window)
                self._jobs_answer = job is not None and (job.status == 200 or answers.is_conclusive(job))
                if answers.is_conclusive(job):
                    return
            if self._open(prompt_id) is task and task.prompt_id is not None:
                await self.send(self.record_of(task.prompt_id, task), task.window)

    def record_of(self, prompt_id: str, task: Task) -> HttpRequest:
        """Build the request for its record: by id, or the latest ones if it may have another id (P10)."""
        return requests.histories(_RECENT) if self._may_be_renamed(task) else requests.history(prompt_id)

    def _may_be_renamed(self, task: Task | None) -> bool:
        """Return whether its id may be unknown (P10): then only its mark shows it."""
        unnamed = task is not None and task.posts > 0 and (task.nameless or task.may_have_another_id)
        return unnamed and not self._board.takes_ids(self.server.url)

    def _open(self, prompt_id: str) -> Task | None:
        task = self._board.task(prompt_id, self.server.url)
        return task if task is not None and (task.inquiry.owed or not task.settled) else None
