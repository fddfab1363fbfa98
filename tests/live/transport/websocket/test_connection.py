"""Tests of a connection: a long frame comes in pieces, and no more waits than there is a bound for."""

import asyncio
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from websockets.uri import parse_uri
from websockets.utils import accept_key

from comfy_fsm.live.transport.arrivals import Long, SocketDown
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.websocket import connection
from comfy_fsm.live.transport.websocket.connection import PIECE, Connection, Short, Splitter
from tests.campaigns.hostile import frame
from tests.support.deaf_server import serving
from tests.support.hearing import one_by_one

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


def passed_on(parts: list[list[bytes | list[Short]]]) -> bytes:
    """What reaches the library, with the messages that do not as frames again."""
    return b"".join(
        each if isinstance(each, bytes) else b"".join(frame(data, kind_of(is_text)) for is_text, data in each)
        for part in parts
        for each in part
    )


def kind_of(is_text: bool) -> Opcode:
    return Opcode.TEXT if is_text else Opcode.BINARY


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
    stream, splitter, passed = b"".join(frame(data, kind) for kind, data in told), Splitter(piece), b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "PIECE", piece)
        for number in range(len(stream)):
            step = reads[number % len(reads)]
            if not stream:
                break
            passed, stream = passed + passed_on(splitter.feed(stream[:step])), stream[step:]
    frames = parsed(passed)
    assert joined(frames) == told
    assert all(len(each.data) <= max(piece, 125) for each in frames if each.opcode not in (Opcode.PING, Opcode.CLOSE))
    assert sum(each.fin for each in frames) == len(told)


@pytest.mark.parametrize("size", [65_535, 65_536, 70_000])
def test_a_frame_whose_length_takes_eight_bytes_is_cut(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PIECE", 1_000)
    splitter, stream = Splitter(), frame(COUNTING[:size], Opcode.TEXT)
    passed = passed_on([part for at in range(0, len(stream), 3) for part in splitter.feed(stream[at : at + 3])])
    assert joined(parsed(passed)) == [(Opcode.TEXT, COUNTING[:size])]


async def first(blob: bytes, count: int = 1, **options: Any) -> list[Any]:
    """The first that a socket brings."""
    async with serving(blob) as server:
        comfy = Comfy(server.url, **options)
        heard: list[Any] = []
        frames = comfy.listen("w")
        async for each in one_by_one(frames):
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
    monkeypatch.setattr(connection, "FRAMES_AT_ONCE", 10)
    tiny = frame(b"a") + frame(b"", Opcode.PING)
    parts = [parsed(passed_on([part])) for part in Splitter().feed(tiny * 100)]
    assert joined([each for part in parts for each in part]) == [(Opcode.TEXT, b"a"), (Opcode.PING, b"")] * 100
    assert max(map(len, parts)) <= 10
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
            sent, bound = before, connection.WAITING_BYTES
    assert sent < bound + 16 * 1024 * 1024  # and what the kernel holds for both of them


class Wire(asyncio.Transport):
    """A connection to nowhere, which reads nothing by itself."""

    reads = True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...


Kind = TypeVar("Kind", bound=ClientConnection)


def connected(kind: type[Kind], wire: Wire, limit: int) -> tuple[Kind, ClientProtocol]:
    protocol = ClientProtocol(parse_uri("ws://a/"), max_size=limit)
    made = kind(protocol, max_queue=None)
    made.connection_made(wire)
    request = protocol.connect()
    protocol.send_request(request)
    accept = accept_key(request.headers["Sec-WebSocket-Key"])
    made.data_received(
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
        % accept.encode()
    )
    return made, protocol


async def told_by(kind: type[ClientConnection], reads: list[bytes], limit: int) -> tuple[list[str | bytes], int]:
    """The messages that a connection makes of what it reads, and the code with which it ends."""
    made, protocol = connected(kind, Wire(), limit)
    told = list[str | bytes]()
    for data in reads:
        made.data_received(data)
        await asyncio.sleep(0)  # what was put off has its turn
    made.eof_received()
    made.connection_lost(None)
    try:
        while True:
            told += await made.receive() if isinstance(made, Connection) else [await made.recv()]
    except (UnicodeDecodeError, ConnectionClosed):  # a text that is no UTF-8 ends both
        return told, protocol.close_code or 0


KINDS = [0x81, 0x82, 0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0x83]
PAYLOADS = st.one_of(st.binary(max_size=20), st.sampled_from([b"", COUNTING[:126], COUNTING[:300], b"\x03\xe8"]))
MASKED = st.sampled_from([0, 0, 0, 0, 0, 0x80])


def any_frame(first: int, data: bytes, masked: int) -> bytes:
    size = bytes([masked | len(data)]) if len(data) < 126 else bytes([masked | 126]) + len(data).to_bytes(2)
    return bytes([first]) + size + bytes(4 if masked else 0) + data


@given(
    st.lists(st.builds(any_frame, st.sampled_from(KINDS), PAYLOADS, MASKED), max_size=12),
    st.lists(st.integers(1, 400), min_size=1),
    st.sampled_from([100, 1_000]),
)
@example([any_frame(0x01, b"a", 0), any_frame(0x81, b"b", 0)], [400], 1_000)
@example([any_frame(0x88, b"", 0), any_frame(0x81, b"b", 0)], [400], 1_000)
@example([any_frame(0x81, b"a", 0), any_frame(0xC1, b"b", 0), any_frame(0x81, b"c", 0)], [400], 1_000)
@example([any_frame(0x81, COUNTING[:126], 0), any_frame(0x81, b"c", 0)], [1], 100)
def test_a_connection_hears_what_the_library_hears_whatever_a_server_sends(
    frames: list[bytes], steps: list[int], limit: int
) -> None:
    stream, reads = b"".join(frames), list[bytes]()
    while stream:
        step = steps[len(reads) % len(steps)]
        reads.append(stream[:step])
        stream = stream[step:]
    ours, theirs = (asyncio.run(told_by(kind, reads, limit)) for kind in (Connection, ClientConnection))
    assert ours == theirs


async def test_frames_that_follow_each_other_are_read_together_and_one_alone_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_GATHER_SECONDS", 3_600.0)
    wire = Wire()
    made, _ = connected(Connection, wire, 100_000)
    monkeypatch.setattr(made, "_read_at", -3_600.0)
    made.data_received(frame(b"1"))
    assert wire.reads
    made.data_received(frame(b"2"))
    assert not wire.reads
    assert await made.receive() == ["1", "2"]
    assert not wire.reads  # though nothing waits any more
    monkeypatch.setattr(connection, "_GATHER_SECONDS", 0.0)
    made._gathered()
    assert wire.reads
    made.data_received(frame(b"3"))
    assert wire.reads
    monkeypatch.setattr(connection, "_GATHER_SECONDS", 3_600.0)
    made.data_received(frame(b"4" * connection._READ_SIZE))
    assert wire.reads  # more is there already
    made.connection_lost(None)
