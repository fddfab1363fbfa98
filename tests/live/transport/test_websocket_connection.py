"""Tests of a connection: a long frame comes in pieces, and no more waits than there is a bound for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from comfy_fsm.live.transport import websocket_connection
from comfy_fsm.live.transport.arrivals import Long, SocketDown
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.websocket_connection import PIECE, Splitter
from tests.campaigns.hostile import frame
from tests.support.deaf_server import serving

Message = tuple[Opcode, bytes]


COUNTING = bytes(range(251)) * 300


SIZES = st.one_of(st.integers(0, 40), st.sampled_from([125, 126, 127, 300]))


MESSAGES = st.lists(
    st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CLOSE]), SIZES), max_size=8
)


def parsed(data: bytes) -> list[Frame]:
    """What the library makes of the bytes."""
    reader, found = StreamReader(), []
    reader.feed_data(data)
    while reader.buffer:
        parser = Frame.parse(reader.read_exact, mask=False)
        try:
            next(parser)
            raise AssertionError("half a frame")
        except StopIteration as ended:
            found.append(ended.value)
    return found


def joined(frames: list[Frame]) -> list[Message]:
    messages: list[Message] = []
    for each in frames:
        if each.opcode is Opcode.CONT:
            messages[-1] = (messages[-1][0], messages[-1][1] + bytes(each.data))
        else:
            messages.append((each.opcode, bytes(each.data)))
    return messages


@given(MESSAGES, st.lists(st.integers(1, 500), min_size=1), st.sampled_from([1, 7, 30, 1000]))
def test_frames_that_are_cut_say_what_they_said_however_they_arrive(
    messages: list[tuple[Opcode, int]], reads: list[int], piece: int
) -> None:
    told = [
        (kind, COUNTING[: min(size, 125) if kind in (Opcode.PING, Opcode.CLOSE) else size]) for kind, size in messages
    ]
    stream, splitter, passed = b"".join(frame(data, kind) for kind, data in told), Splitter(), b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(websocket_connection, "PIECE", piece)
        for number in range(len(stream)):
            step = reads[number % len(reads)]
            if not stream:
                break
            passed, stream = passed + b"".join(splitter.feed(stream[:step])), stream[step:]
    frames = parsed(passed)
    assert joined(frames) == told
    assert all(len(each.data) <= max(piece, 125) for each in frames if each.opcode not in (Opcode.PING, Opcode.CLOSE))
    assert sum(each.fin for each in frames) == len(told)


@pytest.mark.parametrize("size", [65_535, 65_536, 70_000])
def test_a_frame_whose_length_takes_eight_bytes_is_cut(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_connection, "PIECE", 1_000)
    splitter, stream = Splitter(), frame(COUNTING[:size], Opcode.TEXT)
    passed = b"".join(part for at in range(0, len(stream), 3) for part in splitter.feed(stream[at : at + 3]))
    assert joined(parsed(passed)) == [(Opcode.TEXT, COUNTING[:size])]


async def first(blob: bytes, count: int = 1, **options: Any) -> list[Any]:
    """The first that a socket brings."""
    async with serving(blob) as server:
        comfy = Comfy(server.url, **options)
        heard: list[Any] = []
        frames: AsyncIterator[Any] = comfy.listen("w")
        async for each in frames:
            heard.append(each)
            if len(heard) > count:
                break
        await frames.aclose()
        await comfy.close()
        return heard[1:]


async def test_a_long_frame_comes_in_pieces_and_a_short_one_whole() -> None:
    picture = bytes(range(256)) * 4096 * 3
    [long, short] = await first(frame(picture, 2) + frame(b"{}"), 2)
    assert isinstance(long, Long)
    assert not long.is_text
    assert b"".join(long.parts) == picture
    assert max(map(len, long.parts)) <= 2 * PIECE
    assert short == "{}"


async def test_a_turn_has_no_more_frames_than_there_is_a_bound_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_connection, "FRAMES_AT_ONCE", 10)
    tiny = frame(b"a") + frame(b"", Opcode.PING)
    parts = Splitter().feed(tiny * 100)
    assert joined([each for part in parts for each in parsed(part)]) == [(Opcode.TEXT, b"a"), (Opcode.PING, b"")] * 100
    assert max(len(parsed(part)) for part in parts) <= 10
    heard = await first(tiny * 2_000 + frame(b"the last"), 2_001)
    assert heard == ["a"] * 2_000 + ["the last"]


async def test_many_small_fragments_are_one_message() -> None:
    text = "héllo " * 30
    parts = [bytes([each]) for each in text.encode()]
    blob = bytes([0x01, 1]) + parts[0] + b"".join(bytes([0x00, 1]) + each for each in parts[1:-1])
    assert await first(blob + bytes([0x80, 1]) + parts[-1]) == [text]


async def test_a_frame_beyond_the_limit_ends_the_connection() -> None:
    [down] = await first(frame(bytes(3 * PIECE), 2), frame_limit=2 * PIECE)
    assert isinstance(down, SocketDown)
    assert down.code == 1009


async def test_a_reader_who_is_behind_holds_no_more_bytes_than_there_is_a_bound_for() -> None:
    async with asyncio.timeout(60):
        async with serving(frame(bytes(PIECE // 2), 2)) as server:
            comfy = Comfy(server.url)
            frames = comfy.listen("w")
            await anext(frames)
            await anext(frames)
            before = -1
            while before != server.sent:  # until the server cannot send any more
                before = server.sent
                await asyncio.sleep(0.2)
            await frames.aclose()
            await comfy.close()
            sent, bound = before, websocket_connection.WAITING_BYTES
    assert sent < bound + 16 * 1024 * 1024  # and what the kernel holds for both of them
