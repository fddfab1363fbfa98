"""Fake ComfyUI on a thread of its own, for tests that block: all that FakeComfy has, without await."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Self, TypeVar

from comfy_fsm.testing.faults import Faults, Step
from comfy_fsm.testing.playback.playback import Playback
from comfy_fsm.testing.playback.source import Source
from comfy_fsm.testing.profiles import NEWEST, Profile
from comfy_fsm.testing.server import FakeComfy

__all__ = ["ThreadedFake"]

_T = TypeVar("_T")
_PATIENCE = 30  # seconds for what takes none; a fake that hangs fails its test


class ThreadedFake:
    """Fake server at `comfy.url` that serves while the test blocks: `with ThreadedFake() as comfy:`."""

    def __init__(self, version: str | Profile = NEWEST, *, step_seconds: float = 0.0, port: int = 0) -> None:
        self._comfy = FakeComfy(version, step_seconds=step_seconds, port=port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake ComfyUI", daemon=True)
        self._thread.start()
        try:
            self._run(self._comfy.start())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(own_up=kind is None)  # else a test fails already, with a reason of its own

    @property
    def url(self) -> str:
        return self._comfy.url

    @property
    def profile(self) -> Profile:
        return self._comfy.profile

    @property
    def faults(self) -> Faults:
        """Knobs, which any thread may turn."""
        return self._comfy.faults

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of the latest requests, the oldest first."""
        return self._tell(lambda: [*self._comfy.requests])

    @property
    def runs(self) -> Counter[str]:
        """Number of times that each prompt really ran."""
        return self._tell(self._comfy.runs.copy)

    @property
    def posts(self) -> Counter[str]:
        """Number of times that each prompt was queued."""
        return self._tell(self._comfy.posts.copy)

    @property
    def records(self) -> dict[str, dict[str, object]]:
        """History, by prompt id."""
        return self._tell(lambda: copy.deepcopy(self._comfy.records))

    @property
    def sockets(self) -> list[str]:
        """Client ids in the server's table; a socket that is not in it receives nothing."""
        return self._tell(lambda: self._comfy.sockets)

    def kill(self) -> None:
        """Stop as by SIGKILL: sockets end without a close frame (1006), and the port refuses connections."""
        self._run(self._comfy.kill())

    def restart(self, keep: bool = False) -> None:
        """Start again on the same port; queue and history are gone unless kept."""
        self._run(self._comfy.restart(keep))

    def reset(self, faults: Faults | None = None) -> None:
        """Reset to a new server on the same port, with these faults alone, as at the start of each example of
        Hypothesis.
        """
        self._run(self._comfy.reset(faults))

    def cut(self, client_id: str | None = None) -> None:
        """Break the sockets of one client, or of all; the server goes on."""
        self._tell(lambda: self._comfy.cut(client_id))

    def follow(self, schedule: Iterable[Step]) -> None:
        """Perform each of these steps after so many requests, counted from now, until `reset`."""
        self._tell(lambda: self._comfy.follow(schedule))

    def play(
        self, trace: Source, *, window: str | None = None, server: str | None = None, pace: float = 0.0
    ) -> Playback:
        """Act as the server of a recorded trace from here on, until `reset` or `restart`; see FakeComfy."""
        return self._tell(lambda: self._comfy.play(trace, window=window, server=server, pace=pace))

    def stranger(self, seconds: float = 0.0, client_id: str = "stranger") -> str:
        """Queue a prompt of somebody else that takes this long, and return its id."""
        return self._tell(lambda: self._comfy.stranger(seconds, client_id))

    def close(self, own_up: bool = True) -> None:
        """Stop the server; raises BrokenFake if the fake itself failed, unless `own_up` is false."""
        if self._loop.is_closed():
            return
        self.kill()
        self._stop()
        if own_up:
            self._comfy.state.own_up()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, doing: Coroutine[object, object, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(_PATIENCE)

    def _tell(self, find: Callable[[], _T]) -> _T:
        async def found() -> _T:
            return find()

        return self._run(found())
