"""Tests of folders that are held open, of files in the making, and of the names that are taken."""

import os
from pathlib import Path

import pytest

from comfy_fsm.live.saving.atomic_files import Folder, Names, Unfinished, descend


def content_of(folder: Path) -> dict[str, bytes]:
    return {place.name: place.read_bytes() for place in folder.iterdir()}


def test_nothing_shows_until_it_is_published_and_then_all_of_it(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder, Unfinished(folder) as unfinished:
        unfinished.file.write(b"half")
        unfinished.flush()
        assert not [name for name in content_of(tmp_path) if not name.endswith(".part")]
        unfinished.file.write(b" and whole")
        unfinished.flush()
        assert unfinished.publish([tmp_path / "a.png"]) == tmp_path / "a.png"
    assert content_of(tmp_path) == {"a.png": b"half and whole"}


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder, Unfinished(folder) as unfinished:
        unfinished.file.write(b"half")
    assert content_of(tmp_path) == {}


def test_a_name_that_is_taken_be_it_by_a_dangling_link_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    (tmp_path / "b.png").symlink_to("nowhere")
    with Folder(tmp_path) as folder, Unfinished(folder) as unfinished:
        unfinished.file.write(b"new")
        unfinished.flush()
        assert unfinished.publish([tmp_path / name for name in ("a.png", "b.png", "c.png")]) == tmp_path / "c.png"
    assert ((tmp_path / "a.png").read_bytes(), os.readlink(tmp_path / "b.png")) == (b"mine", "nowhere")


def test_where_every_name_is_taken_nothing_is_written_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with (
        Folder(tmp_path) as folder,
        Unfinished(folder) as unfinished,
        pytest.raises(FileExistsError, match="nothing was written"),
    ):
        unfinished.publish([tmp_path / "a.png"])
    assert content_of(tmp_path) == {"a.png": b""}


def test_a_folder_that_is_a_link_out_or_a_file_is_passed_by(tmp_path: Path) -> None:
    root, outside, made = tmp_path / "root", tmp_path / "outside", list[Path]()
    (root / "file").parent.mkdir()
    (root / "file").touch()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    for name in ("file", "link"):
        descend(root, [name, "below"], made).close()
    assert made == [root / f"{name}-2{rest}" for name in ("file", "link") for rest in ("", "/below")]
    assert list(outside.iterdir()) == []


def test_a_folder_that_is_held_open_is_not_exchanged_for_a_link(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    with Folder(tmp_path / "here") as folder, Unfinished(folder) as unfinished:
        (tmp_path / "here").rename(tmp_path / "moved")
        (tmp_path / "here").symlink_to(tmp_path / "elsewhere")
        unfinished.publish([tmp_path / "here" / "a.png"])
    assert (set(content_of(tmp_path / "moved")), content_of(tmp_path / "elsewhere")) == ({"a.png"}, {})


def test_each_name_is_given_once_in_whatever_case(tmp_path: Path) -> None:
    (tmp_path / "A.PNG").touch()
    with Folder(tmp_path) as folder:
        names = Names()
        given = [next(names.free(folder, name)).name for name in ("a.png", "a.png", "A.png", "b.png")]
    assert given == ["a-2.png", "a-3.png", "A-4.png", "b.png"]
