"""Tests of the texts in a picture: the workflow that made it is read, damaged or packed as it may be."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import BadWorkflow
from comfy_fsm.workflow import png
from comfy_fsm.workflow.files import read_content
from comfy_fsm.workflow.graph import Workflow
from tests.support.graphs import GRAPHS, may_be_refused

# in a picture


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(*texts: tuple[bytes, bytes]) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return png.SIGNATURE + header + b"".join(chunk(*text) for text in texts) + body + chunk(b"IEND", b"")


def as_text(keyword: str, text: str) -> tuple[bytes, bytes]:
    return b"tEXt", keyword.encode() + b"\0" + text.encode("latin-1", "replace")


def as_packed(keyword: str, text: str) -> tuple[bytes, bytes]:
    return b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(text.encode("latin-1", "replace"))


def as_international(keyword: str, text: str) -> tuple[bytes, bytes]:
    return b"iTXt", keyword.encode() + b"\0\0\0en\0\0" + text.encode()


def as_packed_international(keyword: str, text: str) -> tuple[bytes, bytes]:
    return b"iTXt", keyword.encode() + b"\0\1\0\0\0" + zlib.compress(text.encode())


WRITERS = [as_text, as_packed, as_international, as_packed_international]


@given(GRAPHS, st.sampled_from(WRITERS), st.booleans())
def test_the_workflow_that_made_a_picture_is_read_from_it(graph: Any, write: Any, canvas: bool) -> None:
    texts = [write("workflow", json.dumps({"nodes": []}))] * canvas + [write("prompt", json.dumps(graph))]
    workflow = Workflow.loads(picture(as_text("Comment", "made by hand"), *texts))
    assert workflow == graph
    assert workflow.notes == ("read from the metadata of a picture",)


@given(st.binary(max_size=300), st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]), st.integers(0, 400))
def test_a_damaged_picture_is_read_or_refused(data: bytes, kind: bytes, cut: int) -> None:
    content = picture((kind, b"prompt\0" + data), (kind, data))[: 40 + cut]
    with may_be_refused("a.png"):
        assert read_content("a.png", content).workflow


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (picture(), "hold no workflow"),
        (picture(as_text("workflow", '{"nodes": []}')), "hold the workflow of a canvas alone"),
        (b"\xff\xd8\xff\xe0JFIF", "it is a JPEG, and a workflow is read from a PNG alone"),
    ],
)
def test_a_picture_without_a_workflow_says_so(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadWorkflow, match=r"a\.png") as refused:
        Workflow.load(tmp_path / "a.png")
    assert words in str(refused.value)


def test_what_unpacks_to_more_than_may_be_is_passed_over() -> None:
    bomb = b"zTXt", b"prompt\0\0" + zlib.compress(b" " * 100_000)
    assert list(png.texts(picture(bomb), 10_000)) == []
    assert len(list(png.texts(picture(bomb), 200_000))) == 1
