"""The face: a client of one or many servers, its windows, and the tasks they submit.

    async with Client("http://127.0.0.1:8188", log="tasks.log") as client:
        task = await client.window().submit(workflow)
        print(await task)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from comfy_fsm.core import observations as seen
from comfy_fsm.core.board import Board
from comfy_fsm.core.diagnosis import Diagnosis, diagnose
from comfy_fsm.core.effects import Output, Result
from comfy_fsm.core.figures import Reading
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.core.recovered import Consistency, Fetched, Recovery
from comfy_fsm.errors import BadServerUrl, ClientClosed, ClientError
from comfy_fsm.live import asks, desk
from comfy_fsm.live.asks import Ask
from comfy_fsm.live.comfy import Comfy, address_of
from comfy_fsm.live.companions import Companion, part
from comfy_fsm.live.log import Log, MemoryLog
from comfy_fsm.live.recorder import Noted
from comfy_fsm.live.redact import Redactor
from comfy_fsm.live.runner import Runner, report
from comfy_fsm.live.tasks import Dispatches, TaskHandle
from comfy_fsm.live.updates import Update, prompt_of, update_of
from comfy_fsm.live.windows import Window

_PATIENCE = 10.0  # seconds that closing waits for completion callbacks


class Client:
    """`log` is the file in which everything is written down; None keeps it in memory, and nothing survives a crash."""

    def __init__(
        self,
        servers: str | Iterable[str],
        *,
        log: str | os.PathLike[str] | None = None,
        policy: Policy = DEFAULT,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = False,
        secrets: Sequence[str] = (),
        keep_inputs: bool = False,
    ) -> None:
        urls = [servers] if isinstance(servers, str) else list(servers)
        if not urls:
            raise BadServerUrl("no server was named, so nothing can be submitted; give at least one address")
        self._comfies = [
            Comfy(
                url, headers=headers, ssl_context=ssl_context, trust_env=trust_env,
                deadline_seconds=policy.deadline_seconds, damp_seconds=policy.damp_seconds,
                backoff_seconds=(policy.reopen_seconds, policy.reopen_limit_seconds),
            )
            for url in urls
        ]  # fmt: skip
        self._redactor = Redactor([*self._hidden(), *secrets], keep_inputs=keep_inputs)
        if exposed := [url for url in self.servers if any(secret in url for secret in secrets)]:
            raise ClientError(
                f"a registered secret is a part of the address of server {self.servers.index(exposed[0]) + 1}, which "
                "every entry of the log names, so no client was opened; send it as a header instead"
            )
        self._path = log
        self._policy = policy
        self._handles: dict[tuple[str, str], TaskHandle] = {}
        self._windows: list[Window] = []
        self._companions: dict[Companion, asyncio.Task[None]] = {}
        self._runner: Runner
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        self.dispatcher: Dispatches | None = None
        self._entered = asyncio.Event()

    def _hidden(self) -> Iterable[str]:
        """What the headers hold, but for what the addresses say anyway: a `Host`, say."""
        held = (secret for server in self._comfies for secret in server.secrets)
        return (secret for secret in held if not any(secret in url for url in self.servers))

    async def __aenter__(self) -> Self:
        log = MemoryLog() if self._path is None else await Log.open(self._path)
        self._runner = Runner(
            self._comfies, log, self._policy, self._redactor, time.time,
            hear=self._hear, deliver=self._deliver, retire=self._retire,
        )  # fmt: skip
        try:
            await self._runner.load()
            for task in self._runner.unfinished:  # before anything is delivered: a handle made later would wait forever
                if task.prompt_id is not None and task.window is not None:
                    self._handle(task.prompt_id, task.window, task.server)
            await self._runner.start()
        except BaseException:
            await self._runner.close(0.0)
            raise
        self._watching = asyncio.create_task(self._watch())
        asyncio.get_running_loop().call_soon(self._entered.set)  # not before whoever opens it could look at `tasks`
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def servers(self) -> list[str]:
        return [server.url for server in self._comfies]

    @property
    def board(self) -> Board:
        """All that is known, folded from what is committed; read only."""
        return self._runner.board

    def readings(self) -> list[Reading]:
        """Every metric as it is now: what is counted begins with the log, the times of commits with this process."""
        return self._runner.readings()

    def accompany(self, companion: Companion) -> None:
        """Let it hear what is written down and run beside the client, until that is closed: alerts, spans, metrics."""
        if self._closed:
            raise ClientClosed("the client is closed, so nothing can run beside it; open another")
        self._companions[companion] = running = asyncio.create_task(companion.run())
        running.add_done_callback(report)

    @property
    def tasks(self) -> list[TaskHandle]:
        """The tasks that are not delivered yet; right after opening, those that an earlier process left."""
        return list(self._handles.values())

    def diagnose(self, prompt_id: str | None = None) -> list[Diagnosis]:
        """The tasks whose prompt id begins so, or all, explained; what needs a look comes first."""
        return diagnose(self.board, prompt_id)

    def window(self) -> Window:
        """A window of its own, with an id of its own (F5)."""
        window = Window(self._submit, self._follow)
        self._windows.append(window)
        return window

    async def upload(
        self,
        file: str | os.PathLike[str] | bytes,
        name: str | None = None,
        *,
        server: str | None = None,
        subfolder: str = "",
        overwrite: bool = False,
    ) -> str:
        """Put an input image on a server, and return what a LoadImage there must be given; raises UploadFailed.

        With several servers, name the one that the workflow is submitted to: an input is on that one alone.
        """
        if server is None and len(self._comfies) > 1:
            raise BadServerUrl(f"an upload goes to one server: name it ({', '.join(self.servers)}); nothing was sent")
        content = file if isinstance(file, bytes) else await asyncio.to_thread(Path(file).read_bytes)
        url = self._choose(server)
        given = name or (uuid.uuid4().hex if isinstance(file, bytes) else Path(file).name)
        answer = await self._runner.askings[url].upload(given, content, subfolder, overwrite)
        return asks.uploaded(answer.body if answer is not None and answer.status == 200 else b"", given, url)

    async def recover(self, prompt_id: str | None = None, *, act: bool = False) -> Recovery:
        """What the servers prove about this task, or about all that are given up or stuck; done only if `act`."""
        async with desk.of_client(self._runner, self._redactor, act=act) as rescue:
            return await rescue.recover(prompt_id, act=act)

    async def consistency(self, prompt_id: str) -> Consistency:
        """Which server has this task, and which should."""
        async with desk.of_client(self._runner, self._redactor, act=False) as rescue:
            return await rescue.consistency(prompt_id)

    async def history(self, prompt_id: str, *, attempts: int = 3) -> Fetched:
        """The record of this prompt, ours or not, fetched until it validates, and what it lacks."""
        async with desk.of_client(self._runner, self._redactor, act=False) as rescue:
            return await rescue.history(prompt_id, attempts=attempts)

    async def close(self) -> None:
        """End in order; what is open goes on at its server, and is taken up by the next client on the same log."""
        if self._closed:
            return
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
        await self._runner.close(_PATIENCE)
        await part(self._companions.values())
        where = "" if self._path is None else f"; open a client on {self._path} to take it up again"
        await self._abandon(ClientClosed(f"the client was closed before this task settled; it goes on{where}"))

    async def _abandon(self, error: Exception) -> None:
        for handle in list(self._handles.values()):
            handle.abandon(error)
            await handle.close()

    async def _watch(self) -> None:
        """If the log fails, nobody waits for what can no longer be written down."""
        failure = await self._runner.recorder.failed()
        if failure is not None:
            await self._abandon(failure)

    # for windows

    async def _submit(
        self,
        window: Window,
        ask_as: Callable[[str, str], Ask],
        server: str | None,
        on_progress: Callable[[Update], Any] | None,
        on_complete: Callable[[TaskHandle], Any] | None,
    ) -> TaskHandle:
        """The same task under one id in the log, on the wire and in the hand."""
        if self._closed:
            raise ClientClosed("the client is closed, so nothing was submitted; open another")
        server = self._choose(server)

        def draw() -> tuple[str, str, Ask]:
            client_id, prompt_id = window.id_at(server), str(uuid.uuid4())
            return client_id, prompt_id, ask_as(client_id, prompt_id)

        client_id, prompt_id, ask = draw()
        await self._runner.askings[server].meet()
        handle = self._handle(prompt_id, client_id, server, on_progress, on_complete)
        handle.spare = [draw] * self._policy.resubmits
        await self._post(handle, ask)
        if (task := self._runner.board.task(handle.prompt_id, server)) is not None:
            for companion in self._companions:
                companion.submitted(task)
        return handle

    async def _post(self, handle: TaskHandle, ask: Ask) -> None:
        try:
            await self._runner.post(handle.server, handle.window, handle.prompt_id, ask)
        except BaseException as error:
            if self._runner.board.task(handle.prompt_id, handle.server) is None:  # not even the intent is in the log
                del self._handles[handle.server, handle.prompt_id]
            elif isinstance(error, Exception):
                handle.abandon(error)
            raise
        self._rename(handle)

    async def _post_again(self, handle: TaskHandle) -> bool:
        """It was never accepted, and its absence is proved: now, and only now, it may be posted again (P11, F14)."""
        task = self._runner.board.task(handle.prompt_id, handle.server)
        if not handle.spare or task is None or task.accepted:
            return False
        before = handle.window, handle.prompt_id
        del self._handles[handle.server, handle.prompt_id]
        handle.window, handle.prompt_id, ask = handle.spare.pop()()
        self._handles[handle.server, handle.prompt_id] = handle
        try:
            await self._post(handle, ask)
        except ClientError:  # nothing was sent
            handle.window, handle.prompt_id = before
            self._handles[handle.server, handle.prompt_id] = handle
            return False
        return True

    async def _follow(self, window: Window, prompt_id: str, server: str | None) -> TaskHandle:
        server = self._choose(server)
        client_id = window.id_at(server)
        await self._runner.askings[server].meet()
        handle = self._handle(prompt_id, client_id, server)
        data = seen.CommandData("follow", prompt_id)
        at = self._runner.clock()
        await self._runner.recorder.write(seen.Command(at=at, window=client_id, server=server, data=data))
        return handle

    def _choose(self, wanted: str | None) -> str:
        """The one that is wanted, else the one with the fewest open tasks of ours."""
        if wanted is not None:
            wanted, _ = address_of(wanted)
            if wanted not in self._runner.askings:
                raise BadServerUrl(f"{wanted} is not among the servers of this client ({', '.join(self.servers)})")
            return wanted
        load = dict.fromkeys(self.servers, 0)
        for server, _ in self._handles:
            load[server] = load.get(server, 0) + 1
        return min(self.servers, key=load.__getitem__)

    def _handle(
        self,
        prompt_id: str,
        client_id: str,
        server: str,
        on_progress: Callable[[Update], Any] | None = None,
        on_complete: Callable[[TaskHandle], Any] | None = None,
    ) -> TaskHandle:
        handle = self._handles[server, prompt_id] = TaskHandle(
            prompt_id, client_id, server, state=self._state, cancel=self._cancel, cut=self._cut,
            fetch=lambda output: self._fetch(output, handle.window, handle.server),
            on_progress=on_progress, on_complete=on_complete,
        )  # fmt: skip
        return handle

    def _rename(self, handle: TaskHandle) -> None:
        """The server may know it under an id of its own (P10)."""
        task = self._runner.board.task(handle.prompt_id, handle.server)
        if task is None or task.prompt_id is None or task.prompt_id == handle.prompt_id:
            return
        if self._handles.pop((handle.server, handle.prompt_id), None) is handle:
            handle.prompt_id = task.prompt_id
            self._handles[handle.server, handle.prompt_id] = handle

    def _state(self, handle: TaskHandle) -> str:
        task = self._runner.board.task(handle.prompt_id, handle.server)
        return str(task.state) if task is not None else "submitting" if handle.server else "waiting"

    # from the runner

    def _hear(self, noted: Noted) -> None:
        observation = noted.observation
        for companion in self._companions:
            companion.hear(observation)
        if type(observation) is seen.Command:
            self._take_up(observation)
        prompt_id = prompt_of(observation)
        if prompt_id is None:
            return
        handle = self._handles.get((observation.server or "", prompt_id))
        if handle is None or not handle.listens or observation.window != handle.window:  # not ours (P2, R3.1)
            return
        update = update_of(prompt_id, observation, noted.line, noted.image)
        if update is not None:
            handle.hear(update)

    def _take_up(self, command: seen.Command) -> None:
        """What a recovery reopened is in a hand again until it is delivered, under the server that has it now."""
        key = command.server or "", command.data.prompt_id or ""
        here = (command.data.to if command.data.name == "adopt" else None) or key[0]
        task = self._runner.board.task(key[1], here)
        if command.data.name not in ("recover", "adopt") or task is None or task.settled:
            return
        handle = self._handles.pop(key, None) or self._handle(key[1], task.window or "", here)
        handle.server = here
        self._handles[here, key[1]] = handle

    async def _deliver(self, result: Result) -> None:
        await self._entered.wait()
        prompt_id = result.prompt_id or ""
        if (result.server, prompt_id) not in self._handles:
            for handle in list(self._handles.values()):
                self._rename(handle)
        if self.dispatcher is not None and await self.dispatcher.moves(result):
            return
        handle = self._handles.get((result.server, prompt_id)) or self._handle(
            prompt_id, result.window or "", result.server
        )
        if result.state == State.LOST and await self._post_again(handle):
            return
        await handle.settle(result)
        self._handles.pop((result.server, prompt_id), None)
        await handle.close()

    def _retire(self, server: str, client_id: str) -> None:
        for window in self._windows:
            window.forget_id(server, client_id)

    # what a handle asks for

    async def _cancel(self, handle: TaskHandle) -> bool:
        """By id only: where the server would interrupt whatever runs (P31), it is not asked to."""
        if not handle.server:
            return self.dispatcher is not None and await self.dispatcher.withdraw(handle)
        asking, prompt_id, window = self._runner.askings[handle.server], handle.prompt_id, handle.window
        command = seen.CommandData("cancel", prompt_id)
        now = self._runner.clock()
        await self._runner.recorder.write(seen.Command(at=now, window=window, server=handle.server, data=command))
        await asking.meet()  # a task that an earlier process left is of a server that this one has not met
        if asking.has_jobs:
            answer = await asking.ask(asks.cancel_job(prompt_id), window)
            done = answer is not None and answer.status == 200
        else:
            await asking.ask(asks.delete([prompt_id]), window)  # a running one does not mind (P30)
            done = True
            if asking.interrupts_by_id:
                await asking.ask(asks.interrupt(prompt_id), window)  # a pending one does not mind (P31)
            else:
                await asking.ask(asks.queue(), window)
                done = self._state(handle) != "in_progress"
        asking.want(prompt_id, self._runner.clock(), look=True)
        return done

    def _cut(self, handle: TaskHandle) -> None:
        data = seen.CommandData("callback-cut", handle.prompt_id)
        now = self._runner.clock()
        self._runner.note(seen.Command(at=now, window=handle.window, server=handle.server, data=data))

    @contextlib.asynccontextmanager
    async def _fetch(self, output: Output, window: str, server: str) -> AsyncGenerator[AsyncIterator[bytes], None]:
        ask = asks.view(output.filename, output.subfolder, output.type)
        async with self._runner.askings[server].stream(ask, window) as stream:
            yield stream.chunks
