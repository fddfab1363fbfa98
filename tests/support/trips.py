"""Trips: through which modules a frame, an answer and a submission pass, call by call."""

import gzip
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from types import FrameType
from typing import Any

from comfy_fsm import Client
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.wire import codec
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.workflows import picture

ROOT = Path(__file__).resolve().parents[2]
OURS = str(ROOT / "comfy_fsm") + "/"
RECORDED = ROOT / "fixtures" / "recordings" / "0.3.64" / "expand.jsonl.gz"


class Trip:
    """Modules of the functions that are called, in their order; a module that calls itself is one stay."""

    def __init__(self) -> None:
        self.stays: list[str] = []
        self._resumed: set[FrameType] = set()

    def note(self, frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(OURS) or frame in self._resumed:
            return
        self._resumed.add(frame)  # a coroutine is called once, however often it goes on
        if self.stays[-1:] != [path]:
            self.stays.append(path)

    def follow(self, call: Callable[[], object]) -> None:
        sys.setprofile(self.note)
        try:
            call()
        finally:
            sys.setprofile(None)

    def __str__(self) -> str:
        return f"{len(self.stays)} stays in {len(set(self.stays))} modules"


class _Followed(Awaitable[Any]):
    """Coroutine that is followed as far as its own task goes."""

    def __init__(self, trip: Trip, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._trip = trip
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        while True:
            sys.setprofile(self._trip.note)
            try:
                waits = self._coroutine.send(None)
            except StopIteration as done:
                return done.value
            finally:
                sys.setprofile(None)
            yield waits


def of_fold() -> tuple[Trip, Trip]:
    """Return the trips through the fold of the first frame that states an end, and of the first record."""
    board, frame, answer, asked = Board(), Trip(), Trip(), ""
    for position, line in enumerate(gzip.decompress(RECORDED.read_bytes()).splitlines(), 1):
        told, observation = json.loads(line), codec.read(line)
        data = told["data"]
        if told["kind"] == "http.request" and data["path"].startswith("/history/"):
            asked = data["id"]
        trip = Trip()
        trip.follow(lambda: board.fold_observation(position, observation))  # noqa: B023 - called at once
        if not frame.stays and data.get("type") == "execution_success":
            frame = trip
        if not answer.stays and told["kind"] == "http.response" and data["id"] == asked and data["body"]:
            answer = trip
    return frame, answer


async def of_submit() -> Trip:
    """Return the trip of a submission, from the window to the accepted handle, as far as its own task goes."""
    trip = Trip()
    async with FakeComfy() as fake, Client(fake.url) as client:
        window = client.window()
        await (await window.submit(picture()))
        await _Followed(trip, window.submit(picture(1)))
    return trip
