"""Tests of frames: what is read of a long frame, which is not copied or decoded in one step of the loop."""

import hashlib
import json

import pytest

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.live.engine import frame_lines
from comfy_fsm.live.engine.frame_lines import FrameLines
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.arrivals import Long
from comfy_fsm.live.transport.websocket.connection import PIECE

FRAMES = FrameLines(Redactor(), "http://one:8188", "w")


def long(text: str) -> Long:
    data = text.encode()
    return Long(True, [data[at : at + PIECE] for at in range(0, len(data), PIECE)])


@pytest.mark.parametrize("size", [PIECE, frame_lines._WHOLE - 200, frame_lines._WHOLE, 3 * frame_lines._WHOLE])
async def test_a_long_failure_is_read_without_the_inputs_that_it_echoes(size: int) -> None:
    data = {"prompt_id": "p", "exception_type": "E", "exception_message": "out", "current_inputs": {"a": ["A" * size]}}
    text = json.dumps({"type": "execution_error", "data": data})
    line, told = await FRAMES.text(long(text), 1.0, None)
    assert isinstance(told, seen.Message)
    assert isinstance(told.data, seen.ExecutionError)
    assert told.data.data.exception_message == "out"
    assert len(line) < 1000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"type":"x","data":"' + "a" * (frame_lines._KEPT + 100) + '"}', "32 MiB"),
        ('{"type":"x","data":' + "[" * 3_000_000, ""),
        ("x" * 3_000_000, ""),
    ],
)
async def test_a_long_text_that_cannot_be_kept_is_told(text: str, why: str) -> None:
    line, told = await FRAMES.text(long(text), 1.0, 3)
    assert isinstance(told, seen.Undecodable)
    assert (told.window, told.server, told.conn) == ("w", "http://one:8188", 3)
    assert why in told.data.error
    assert len(line) < 3000


async def test_a_long_picture_is_known_by_its_size_and_digest() -> None:
    picture = bytes(range(256)) * 4096 * 3
    payload = (1).to_bytes(4) + (2).to_bytes(4) + picture
    parts = [payload[at : at + PIECE] for at in range(0, len(payload), PIECE)]
    line, image = await FRAMES.binary(Long(False, parts), 1.0, None)
    told = codec.read(line)
    assert isinstance(told, seen.Binary)
    assert image == picture
    assert told.data.digest == hashlib.sha256(picture).hexdigest()


async def test_a_long_text_that_need_not_be_cut_reads_as_a_short_one() -> None:
    outputs = {"images": [{"filename": f"é{n}.png", "subfolder": "", "type": "output"} for n in range(40_000)]}
    text = json.dumps({"type": "executed", "data": {"prompt_id": "p", "node": "1", "output": outputs}})
    assert len(text) > frame_lines._WHOLE
    _, told = await FRAMES.text(long(text), 1.0, None)
    _, short = codec.message(text, at=1.0, window="w", server="http://one:8188")
    assert isinstance(told, seen.Message)
    assert isinstance(told.data, seen.Executed)
    assert isinstance(short, seen.Message)
    assert isinstance(short.data, seen.Executed)
    assert json.loads(bytes(told.data.data.output)) == json.loads(bytes(short.data.data.output))
