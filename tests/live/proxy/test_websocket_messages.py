"""A tap reads what the receiver reads: whatever the pieces, the compression and the fragments."""

from __future__ import annotations

import random

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, State

from comfy_fsm.live.proxy.websocket_messages import MAX_MESSAGE, Broken, Tap, downwards, upwards

MESSAGES = ["", "a text", "ü" * 70_000, b"", b"\0\1" * 40_000, "x" * 126, b"y" * 65_536]
EXTENSIONS = [
    "",
    "permessage-deflate",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
    "permessage-deflate; server_max_window_bits=9; client_no_context_takeover",
    "another; odd=1",
]


def sent(messages: list[str | bytes], extensions: str, *, by_server: bool) -> bytes:
    """The bytes of these messages, in fragments of odd sizes, with a ping between them, and a farewell."""
    side = SERVER if by_server else CLIENT
    protocol = Protocol(side, state=State.OPEN, max_size=None)
    if "deflate" in extensions:
        us, them = ("server", "client") if by_server else ("client", "server")
        bits = dict.fromkeys((us, them), 15)
        for part in extensions.split("; "):
            name, _, value = part.partition("=")
            if name.endswith("max_window_bits"):
                bits[name.partition("_")[0]] = int(value)
        takeover = [f"{who}_no_context_takeover" in extensions for who in (them, us)]
        protocol.extensions = [PerMessageDeflate(*takeover, bits[them], bits[us])]
    for message in messages:
        raw = message.encode() if isinstance(message, str) else message
        first = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        cut = len(raw) // 3
        protocol.send_frame(Frame(first, raw[:cut], fin=False))
        protocol.send_ping(b"between")
        protocol.send_frame(Frame(Opcode.CONT, raw[cut:]))
    protocol.send_close(4001, "farewell")
    return b"".join(protocol.data_to_send())


def read(tap: Tap, data: bytes, seed: int) -> list[str | bytes | Broken]:
    dice, at, found = random.Random(seed), 0, []
    while at < len(data):
        size = dice.choice([1, 2, 7, 1_000, 65_536])
        found += tap.feed(data[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("extensions", EXTENSIONS)
@pytest.mark.parametrize("by_server", [True, False])
def test_every_message_and_the_close_code_are_read_in_any_pieces(by_server: bool, extensions: str, seed: int) -> None:
    tap = (downwards if by_server else upwards)(extensions)
    data = sent(MESSAGES, extensions, by_server=by_server)
    assert read(tap, data, seed) == MESSAGES
    assert tap.code == 4001


def test_what_cannot_be_read_ends_the_reading_with_one_word() -> None:
    tap = downwards("")
    found = read(tap, b"\xff\xff\xff\xff" + sent(["lost"], "", by_server=True), 0)
    assert [type(each) for each in found] == [Broken]


def test_a_text_that_is_no_utf8_is_read_with_escapes() -> None:
    assert read(downwards(""), b"\x81\x02\xff\xfe", 0) == ["\\xff\\xfe"]


def test_a_frame_that_unpacks_to_more_than_may_be_kept_ends_the_reading() -> None:
    bomb = sent([b"\0" * (MAX_MESSAGE + 1)], "permessage-deflate", by_server=True)
    assert len(bomb) < MAX_MESSAGE / 100
    assert [type(each) for each in downwards("permessage-deflate").feed(bomb)] == [Broken]


def test_a_close_frame_without_a_code_has_that_of_none() -> None:
    tap = upwards("")
    frame = Frame(Opcode.CLOSE, b"").serialize(mask=True)
    assert [*tap.feed(frame)] == []
    assert tap.code == Close.parse(b"").code
