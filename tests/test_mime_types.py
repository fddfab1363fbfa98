"""Tests of media types: by the name of a file, or by the first bytes of an image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.mime_types import type_in, type_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "image/png"), ("A.PNG", "image/png"), ("clip.v2.mp4", "video/mp4"), ("mesh.glb", "model/gltf-binary"),
     ("png", "image/png"), ("a.png.exe", "application/octet-stream"), ("", "application/octet-stream")],
)  # fmt: skip
def test_a_name_stands_for_the_type_of_its_last_suffix(name: str, kind: str) -> None:
    assert type_of(name) == kind


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"),
     (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"), (b"RIFF\x00\x00\x00\x00WAVE", "application/octet-stream")],
)  # fmt: skip
def test_an_image_is_known_by_its_first_bytes(start: bytes, kind: str) -> None:
    assert type_in(start) == kind


@given(st.text(), st.binary(max_size=20))
def test_whatever_it_is_called_or_holds_it_has_a_type_that_a_header_may_hold(name: str, content: bytes) -> None:
    for kind in (type_of(name), type_in(content)):
        assert kind.isascii()
        assert kind.count("/") == 1
