"""Tap on a socket: the messages in the bytes of one direction, which pass as they are.

The bytes are read a second time by the protocol of the library, as the receiver reads them: with the compression that
the two sides agreed on. What it would answer is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

from websockets.exceptions import InvalidHeader
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.headers import parse_extension
from websockets.protocol import CLIENT, SERVER, Protocol, Side, State

__all__ = ["MAX_MESSAGE", "Broken", "Tap", "downwards", "upwards"]

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of a message, unpacked: what is longer is no frame of ComfyUI, and ends the reading, not the passing."""
_WINDOW = 15  # bits, where nobody says otherwise (RFC 7692)
_silent = logging.getLogger(f"{__name__}.silent")  # the library tells each frame at DEBUG
_silent.setLevel(logging.CRITICAL)


class Broken(NamedTuple):
    """Bytes that cannot be read, from which on nothing of this direction can be."""

    why: str


class Tap:
    """Reader of one direction."""

    def __init__(self, side: Side, deflate: PerMessageDeflate | None) -> None:
        self.code: int | None = None
        """Code of the close frame, once that came; 1005 where it has none."""
        self._protocol = Protocol(side, state=State.OPEN, max_size=MAX_MESSAGE, logger=_silent)
        self._protocol.extensions = [deflate] if deflate is not None else []
        self._parts: list[bytes] = []
        self._is_text = False
        self._broken = False

    def feed(self, data: bytes) -> Iterator[str | bytes | Broken]:
        """Yield the messages that end in these bytes."""
        if self._broken:
            return
        self._protocol.receive_data(data)
        self._protocol.data_to_send()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame):
                yield from self._take(frame)
        if self._protocol.parser_exc is not None and self.code is None:
            self._broken = True
            yield Broken(str(self._protocol.parser_exc) or type(self._protocol.parser_exc).__name__)

    def _take(self, frame: Frame) -> Iterator[str | bytes | Broken]:
        if frame.opcode is Opcode.CLOSE:
            self.code = Close.parse(frame.data).code
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        yield whole.decode("utf-8", "backslashreplace") if self._is_text else whole


def downwards(extensions: str) -> Tap:
    """Return the tap on what the server sends, by the extensions that it agreed to."""
    return Tap(CLIENT, _deflate(extensions, "server", "client"))


def upwards(extensions: str) -> Tap:
    """Return the tap on what the client sends."""
    return Tap(SERVER, _deflate(extensions, "client", "server"))


def _deflate(extensions: str, remote: str, local: str) -> PerMessageDeflate | None:
    try:
        agreed = parse_extension(extensions) if extensions else []
    except InvalidHeader:
        return None
    told = next((dict(parameters) for name, parameters in agreed if name == "permessage-deflate"), None)
    if told is None:
        return None
    return PerMessageDeflate(
        f"{remote}_no_context_takeover" in told,
        f"{local}_no_context_takeover" in told,
        _bits(told.get(f"{remote}_max_window_bits")),
        _bits(told.get(f"{local}_max_window_bits")),
    )


def _bits(told: str | None) -> int:
    return int(told) if told is not None and told.isdecimal() and 8 <= int(told) <= _WINDOW else _WINDOW
