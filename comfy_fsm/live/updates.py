"""What a listener is told of its task, and the mailbox where that waits: coalesced for slow readers.

Of what still waits, a later word about the same node replaces the earlier; the end is never replaced and never lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Output
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.live.spool import KeptImage

WAITING = 1_000
"""Updates that wait in one mailbox; beyond, the oldest makes room."""


class Update(Struct, frozen=True, gc=False):
    """A sign of life of a task; `name` is ComfyUI's own word, or `report` for what the application said itself."""

    prompt_id: str
    name: str
    at: float
    node: str | None = None
    value: float | None = None
    max: float | None = None
    text: str = ""
    image: bytes = b""


class _ProgressData(Struct, frozen=True, gc=False):
    node: str | None = None
    value: float | None = None
    max: float | None = None


class _ProgressFrame(Struct, frozen=True, gc=False):
    data: _ProgressData


class _ProgressLine(Struct, frozen=True, gc=False):
    data: _ProgressFrame


_progress = msgspec.json.Decoder(_ProgressLine, strict=False).decode


def prompt_of(observation: AnyObservation) -> str | None:
    """The prompt that a frame names, or None."""
    if type(observation) is seen.Message:
        return getattr(getattr(observation.data, "data", None), "prompt_id", None)
    if type(observation) is seen.Binary and observation.data.metadata is not None:
        return observation.data.metadata.prompt_id
    return None


def update_of(prompt_id: str, observation: AnyObservation, line: bytes, image: bytes = b"") -> Update | None:
    """What this frame tells a listener; None where it tells nothing that others do not tell better."""
    if type(observation) is seen.Binary:
        return Update(prompt_id, "preview", observation.at, image=image) if image else None
    if type(observation) is not seen.Message or isinstance(observation.data, seen.ProgressState):
        return None  # progress_state repeats, for all nodes, what `progress` says of one
    frame, name = observation.data, str(observation.data.__struct_config__.tag)
    if isinstance(frame, seen.Progress):
        try:
            data = _progress(line).data.data
        except msgspec.DecodeError:  # odd numbers (P18, P20): there was progress all the same
            data = _ProgressData()
        return Update(prompt_id, name, observation.at, data.node, data.value, data.max)
    return Update(prompt_id, name, observation.at, getattr(getattr(frame, "data", None), "node", None))


def image_update(prompt_id: str, output: Output, at: float) -> Update:
    """What is told of an image that is a result; its bytes go beside it, and its name in the result is its text."""
    return Update(prompt_id, "image", at, output.node, text=output.filename)


class Mailbox:
    """Updates that wait for one reader."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str | None], tuple[Update, KeptImage | None]] = {}
        self._images = 0
        self._news = asyncio.Event()
        self._ended = False

    def put(self, update: Update, kept: KeptImage | None = None) -> None:
        """`kept` is the image of a result: each has a place of its own here, and is read when its turn comes."""
        key = (update.name, update.node if kept is None else update.text)
        self._waiting.pop(key, None)  # the newest goes to the end: a reader sees things in the order they happened last
        self._waiting[key] = update, kept
        self._images += kept is not None
        if len(self._waiting) - self._images > WAITING:
            del self._waiting[next(key for key, (_, kept) in self._waiting.items() if kept is None)]
        self._news.set()

    @property
    def images(self) -> int:
        """How many results wait, which nobody else brings the reader."""
        return self._images

    def end(self) -> None:
        """Nothing more will come; what waits can still be read."""
        self._ended = True
        self._news.set()

    def empty(self) -> None:
        self._waiting.clear()
        self._images = 0

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            while self._waiting:
                update, kept = self._waiting.pop(next(iter(self._waiting)))
                if kept is not None:
                    self._images -= 1
                    with suppress(OSError):  # it is gone: whoever saves the outputs is told why
                        update = msgspec.structs.replace(update, image=kept.read())
                yield update
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
