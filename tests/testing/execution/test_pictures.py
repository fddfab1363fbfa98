"""Tests of the pictures of the fake: real images, which any reader takes, in folders that no name leads out of."""

import io

import pytest
from PIL import Image

from comfy_fsm.testing.execution.pictures import JPEG, FileKey, Picture, is_inside, png


@pytest.mark.parametrize("color", [0, 0xFF0000, 0x123456])
def test_a_picture_is_one_to_any_reader(color: int) -> None:
    with Image.open(io.BytesIO(png(Picture(8, 4, color)))) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (8, 4))


def test_pictures_of_other_colors_are_other_bytes_and_the_same_one_is_the_same() -> None:
    assert png(Picture(8, 8, 1)) == png(Picture(8, 8, 1)) != png(Picture(8, 8, 2))


def test_a_preview_is_a_jpeg_to_any_reader() -> None:
    with Image.open(io.BytesIO(JPEG)) as image:
        image.load()
        assert image.format == "JPEG"


@pytest.mark.parametrize(
    ("name", "subfolder", "inside"),
    [
        ("a.png", "", True),
        ("a.png", "b/c", True),
        ("a.png", "../b", False),
        ("../a.png", "", False),
        ("a", "b/..", False),
    ],
)
def test_a_name_that_leads_out_is_not_inside(name: str, subfolder: str, inside: bool) -> None:
    assert is_inside(FileKey(name, subfolder, "output")) is inside
