"""Client of one or more servers, its windows, and the tasks that they submit.

async with Client("http://127.0.0.1:8188", log="tasks.log") as client:
    task = await client.window().submit(workflow)
    print(await task)
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Result
from comfy_fsm.core.explain.diagnosis import Diagnosis, diagnose
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Reading
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.core.recovery.verdicts import Consistency, Fetched, Recovery
from comfy_fsm.errors import BadServerUrl, ClientClosed, ClientError, InvariantBroken
from comfy_fsm.live.client.companion import Companion
from comfy_fsm.live.client.handles import Handles
from comfy_fsm.live.client.tags import checked, tagged
from comfy_fsm.live.client.task_handle import Attached, TaskHandle
from comfy_fsm.live.client.window import Window
from comfy_fsm.live.engine.closing import Closing, finish, report
from comfy_fsm.live.engine.ingest import Noted
from comfy_fsm.live.engine.responsiveness import MANY_TASKS, Exemption, in_turns, paused
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.live.engine.steady_clock import SteadyClock
from comfy_fsm.live.recovery import session
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.addresses import address_of
from comfy_fsm.live.transport.certificates import context_of
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.timeouts import timeouts
from comfy_fsm.log import opening
from comfy_fsm.log.memory import MemoryLog

__all__ = ["Client"]

_PATIENCE = 10.0  # seconds that closing waits for completion callbacks


class Client:
    """Client of one or more ComfyUI servers.

    `log` is the file in which everything is recorded, or the address of a log in a database,
    `postgresql://…/DATABASE?log=NAME`; None keeps it in memory, where nothing survives a crash.

    With `sockets="require"`, nothing is posted to a server that refuses sockets; otherwise its tasks are followed over
    HTTP alone. `headers` are sent with every request and handshake, `socket_query` with each handshake, `extra_data`
    with each prompt, as gateways, Comfy Cloud or partner nodes want a key. None of them is recorded. `ca` is a file
    with the certificate of a server of your own.

    `on_resume` is called with each task that an earlier process left, and with each waiting job once there is a
    dispatcher. It may set callbacks on the task, or await it. The result counts as delivered when it has returned.
    """

    def __init__(
        self,
        servers: str | Iterable[str],
        *,
        log: str | os.PathLike[str] | None = None,
        policy: Policy = DEFAULT,
        headers: Mapping[str, str] | None = None,
        socket_query: Mapping[str, str] | None = None,
        extra_data: Mapping[str, Any] | None = None,
        ca: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = False,
        secrets: Sequence[str] = (),
        keep_inputs: bool = False,
        sockets: Literal["prefer", "require"] = "prefer",
        on_resume: Callable[[TaskHandle], Any] | None = None,
    ) -> None:
        if sockets not in ("prefer", "require"):
            raise ClientError(f"sockets is {sockets!r}; give 'prefer' or 'require'; no client was opened")
        urls = [servers] if isinstance(servers, str) else list(servers)
        if not urls:
            raise BadServerUrl("no server was named, so nothing can be submitted; give at least one address")
        how = {"headers": headers, "socket_query": socket_query, "trust_env": trust_env} | timeouts(policy)
        self._comfies = [Comfy(url, ssl_context=context_of(ca, ssl_context), **how) for url in urls]
        self.extra_data = dict(extra_data or {})
        self._path = log
        self._redactor = self._redacting(secrets, keep_inputs)
        self._needs_sockets = sockets == "require"
        self.policy = policy
        self._inner = _Inner(self)
        self._watching: asyncio.Task[None] | None = None
        self._recalling: asyncio.Task[None] | None = None
        self._exemption = Exemption()
        self._closing = Closing(self._close)
        self._on_resume = on_resume
        self._opened: tuple[Runner, Handles] | None = None

    def _redacting(self, secrets: Sequence[str], keep_inputs: bool) -> Redactor:
        """Build the redactor, which knows the registered secrets and those in the headers."""
        redactor = Redactor(secrets, keep_inputs=keep_inputs)
        redactor.keep(secret for server in self._comfies for secret in server.secrets)
        redactor.keep(opening.secrets_of(self._path))
        if exposed := [url for url in self.servers if any(secret in url for secret in secrets)]:
            raise ClientError(
                f"a registered secret is a part of the address of server {self.servers.index(exposed[0]) + 1}, which "
                "every entry of the log names, so no client was opened; send it as a header instead"
            )
        return redactor

    async def __aenter__(self) -> Self:
        log = MemoryLog() if self._path is None else await opening.open_log(self._path)
        clock = SteadyClock(time.time)
        runner = Runner(self._comfies, log, self.policy, self._redactor, clock, needs_sockets=self._needs_sockets)
        self._opened = runner, Handles(runner, self._on_resume)
        try:
            with paused():
                await self.runner.load()
                # Before anything is delivered: a handle made later would wait forever.
                unfinished = self.runner.unfinished
                left = [task for task in unfinished if task.prompt_id is not None and task.window is not None]
                handles = [self.handles.hold_again(task) async for task in in_turns(left)]
                await self.runner.start(self._inner)
                if len(self.board.tasks) >= MANY_TASKS:
                    self._exemption.begin()
        except BaseException:
            await self.runner.close(0.0)
            raise
        self.handles.resume(*handles)
        self._recalling = asyncio.create_task(self.handles.recall())
        self._watching = asyncio.create_task(self._watch())
        asyncio.get_running_loop().call_soon(self.handles.free.set)  # not before whoever opens it could look at `tasks`
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def servers(self) -> list[str]:
        return [server.url for server in self._comfies]

    # For the modules above this one, which dispatch jobs; an application has no use for the next two.

    @property
    def runner(self) -> Runner:
        """Driver of this client; raises ClientClosed before the client is opened."""
        return self._parts()[0]

    @property
    def handles(self) -> Handles:
        """Registry of task handles; raises ClientClosed before the client is opened."""
        return self._parts()[1]

    def _parts(self) -> tuple[Runner, Handles]:
        if self._opened is None:
            raise ClientClosed("the client is not open yet; open it with `async with`")
        return self._opened

    @property
    def board(self) -> Board:
        """Return everything that is known, folded from committed entries; read only."""
        return self.runner.board

    def readings(self) -> list[Reading]:
        """Return every metric as it is now: counts start with the log, commit times with this process."""
        return self.runner.readings()

    def accompany(self, companion: Companion) -> None:
        """Run a companion beside the client until that is closed; it observes every entry: alerts, spans, metrics."""
        if self._inner.closed:
            raise ClientClosed("the client is closed, so nothing can run beside it; open another")
        self._inner.companions[companion] = running = asyncio.create_task(companion.run())
        running.add_done_callback(report)

    @property
    def tasks(self) -> list[TaskHandle]:
        """Tasks that are not delivered yet; right after opening, those that an earlier process left."""
        return self.handles.all

    def diagnose(self, prompt_id: str | None = None) -> list[Diagnosis]:
        """Diagnose the tasks whose prompt id starts with this, or all; the most urgent first."""
        return diagnose(self.board, prompt_id, None if self._path is None else opening.shown(self._path))

    def window(self) -> Window:
        """Return a new window, with an id of its own (F5)."""
        window = Window(self._inner, self.extra_data)
        self._inner.windows.append(window)
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
        """Upload an input image and return the name to give to a LoadImage node; raises UploadFailed.

        With several servers, name the one that the workflow will be submitted to: the image is on that one alone.
        """
        if server is None and len(self._comfies) > 1:
            raise BadServerUrl(f"an upload goes to one server: name it ({', '.join(self.servers)}); nothing was sent")
        content = file if isinstance(file, bytes) else await asyncio.to_thread(Path(file).read_bytes)
        url = self._inner.choose(server)
        given = name or (uuid.uuid4().hex if isinstance(file, bytes) else Path(file).name)
        exchange = self.runner.exchanges[url]
        answer = await exchange.upload(given, content, subfolder, overwrite)
        if answer is None:
            return requests.uploaded(None, b"", given, url, exchange.last_failure)
        return requests.uploaded(answer.status, answer.body, given, url, answer.location)

    async def recover(self, prompt_id: str | None = None, *, act: bool = False) -> Recovery:
        """Settle this task, or all that are given up or stuck, on what the servers prove; changes something only if
        `act`.
        """
        async with session.of_client(self.runner, self._redactor, act=act) as recoverer:
            return await recoverer.recover(prompt_id, act=act)

    async def consistency(self, prompt_id: str) -> Consistency:
        """Find out which server has this task, and which should."""
        async with session.of_client(self.runner, self._redactor, act=False) as recoverer:
            return await recoverer.consistency(prompt_id)

    async def history(self, prompt_id: str, *, attempts: int = 3) -> Fetched:
        """Fetch the record of this prompt, ours or not, until it validates, and report what it lacks."""
        async with session.of_client(self.runner, self._redactor, act=False) as recoverer:
            return await recoverer.history(prompt_id, attempts=attempts)

    def scrub(self, text: str) -> str:
        """Return the text without the credentials that this client has or was shown, safe to print or log."""
        return self._redactor.text(text)

    async def close(self) -> None:
        """Close in order; open tasks go on at their servers, and the next client on the same log takes them up.

        Cancelling the call does not stop the closing; another call waits for its end.
        """
        self._inner.closed = True
        await self._closing()

    async def _close(self) -> None:
        for running in filter(None, (self._watching, self._recalling)):
            running.cancel()
            await finish(running)
        if self._opened is None:
            return
        await finish(self.runner.close(_PATIENCE))
        for running in self._inner.companions.values():
            running.cancel()
        await finish(*self._inner.companions.values())
        where = "" if self._path is None else f"; open a client on {opening.shown(self._path)} to take it up again"
        closed = ClientClosed(f"the client was closed before this task settled; it goes on{where}")
        await finish(self.handles.abandon(closed))
        self._exemption.end()

    async def _watch(self) -> None:
        """Wait for a failure of the log, and then end all tasks with it: nothing more can be recorded."""
        failure = await self.runner.ingest.failed()
        if failure is not None:
            await self.handles.abandon(failure)


class _Inner:
    """Inner side of a client, as its windows and its runner use it; an application has no use for it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.windows: list[Window] = []
        self.companions: dict[Companion, asyncio.Task[None]] = {}
        self.closed = False

    async def submit_from(self, window: Window, server: str | None, tag: object, attached: Attached) -> TaskHandle:
        """Post the draft of `attached`, under one id in the log, on the wire and in the handle."""
        if self.closed:
            raise ClientClosed("the client is closed, so nothing was submitted; open another")
        server = self.choose(server)
        attached = attached._replace(tag=checked(tag, self._client.runner.ingest))
        if attached.posting is None:
            raise InvariantBroken("a submission has no draft")
        client_id, prompt_id, request = attached.posting.new(server)
        await self._client.runner.exchanges[server].detect_features()
        handle = self._client.handles.hold(prompt_id, client_id, server, attached)
        await self._client.handles.post(handle, request)
        if (task := self._client.handles.task_of(handle)) is not None:
            for companion in self.companions:
                companion.submitted(task)
        return handle

    async def follow_from(self, window: Window, prompt_id: str, server: str | None, tag: object) -> TaskHandle:
        """Follow a prompt of somebody else, by asking its server."""
        server, attached = self.choose(server), Attached(tag=checked(tag, self._client.runner.ingest))
        client_id = window.id_at(server)
        await self._client.runner.exchanges[server].detect_features()
        handle = self._client.handles.hold(prompt_id, client_id, server, attached)
        data, at = seen.CommandData("follow", prompt_id), self._client.runner.clock()
        command = seen.Command(at=at, window=client_id, server=server, data=data)
        await self._client.runner.ingest.write(*tagged(command, attached.tag))
        return handle

    def choose(self, wanted: str | None) -> str:
        """Return the wanted server, or else the one with the fewest open tasks of ours."""
        if wanted is not None:
            wanted, _ = address_of(wanted)
            if wanted not in self._client.runner.exchanges:
                raise BadServerUrl(
                    f"{wanted} is not among the servers of this client ({', '.join(self._client.servers)})"
                )
            return wanted
        loads = self._client.handles.loads
        return min(self._client.servers, key=lambda url: loads[url])

    def observe(self, noted: Noted) -> None:
        """Pass a committed entry on to the companions and to the handle that it is about."""
        for companion in self.companions:
            companion.observe(noted.observation)
        self._client.handles.observe(noted)

    async def deliver(self, result: Result) -> None:
        """Deliver a result to the handle of its task."""
        await self._client.handles.deliver(result)

    def retire(self, server: str, client_id: str) -> None:
        """Give a new id to the window whose socket went deaf under this one."""
        for window in self.windows:
            window.forget_id(server, client_id)
