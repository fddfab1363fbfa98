"""A fake on a thread of its own, for tests that block: all that FakeComfy has, without await."""

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
    """`with ThreadedFake() as comfy:` a server at `comfy.url`, which serves while the test blocks."""

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
        """The knobs; to turn one is safe from any thread."""
        return self._comfy.faults

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of the latest requests, the oldest first."""
        return self._tell(lambda: [*self._comfy.requests])

    @property
    def runs(self) -> Counter[str]:
        """How often each prompt was really run."""
        return self._tell(self._comfy.runs.copy)

    @property
    def posts(self) -> Counter[str]:
        """How often each prompt was queued."""
        return self._tell(self._comfy.posts.copy)

    @property
    def records(self) -> dict[str, dict[str, object]]:
        """The history, by prompt id."""
        return self._tell(lambda: copy.deepcopy(self._comfy.records))

    @property
    def sockets(self) -> list[str]:
        """The ids in the server's table: who is not in it hears nothing."""
        return self._tell(lambda: self._comfy.sockets)

    def kill(self) -> None:
        """As by -9: whoever is connected hears no farewell (1006), and the port refuses."""
        self._run(self._comfy.kill())

    def restart(self, keep: bool = False) -> None:
        """On the same port; the queue and the history are gone unless kept."""
        self._run(self._comfy.restart(keep))

    def reset(self, faults: Faults | None = None) -> None:
        """As new, on the same port, with these faults alone: what each example of Hypothesis begins with."""
        self._run(self._comfy.reset(faults))

    def cut(self, client_id: str | None = None) -> None:
        """Break the sockets of one client, or of all; the server lives on."""
        self._tell(lambda: self._comfy.cut(client_id))

    def follow(self, schedule: Iterable[Step]) -> None:
        """Let each of these happen after so many requests, counted from now, until `reset`."""
        self._tell(lambda: self._comfy.follow(schedule))

    def play(
        self, trace: Source, *, window: str | None = None, server: str | None = None, pace: float = 0.0
    ) -> Playback:
        """Be the server of a recorded trace from here on, until `reset` or `restart`; see FakeComfy."""
        return self._tell(lambda: self._comfy.play(trace, window=window, server=server, pace=pace))

    def stranger(self, seconds: float = 0.0, client_id: str = "stranger") -> str:
        """Queue a prompt of somebody else, which takes so long; returns its id."""
        return self._tell(lambda: self._comfy.stranger(seconds, client_id))

    def close(self, own_up: bool = True) -> None:
        """End it; raises BrokenFake, unless it is not to `own_up`, where the fake itself failed."""
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
