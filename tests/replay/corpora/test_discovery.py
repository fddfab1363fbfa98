"""Where traces are found: folders, globs, manifests and any address of fsspec lead to the same ones, each once."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("fsspec", reason="the extra 'corpus' is not installed")

from comfy_fsm.errors import TraceError
from comfy_fsm.exits import Wrong
from replay.corpora.discovery import at_hand, find, shown


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b/two.jsonl.gz", "a.jsonl", "b/three.har", "b/notes.md", "c.log.zst"):
        path = tmp_path / "traces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path


def test_a_folder_gives_what_is_named_like_a_trace_and_counts_the_rest(folder: Path) -> None:
    found = find(["traces"])
    assert [unit.name for unit in found.units] == [
        f"traces/{name}" for name in ("a.jsonl", "b/three.har", "b/two.jsonl.gz", "c.log.zst")
    ]
    assert found.passed_over == 1
    assert all(Path(unit.url).is_absolute() for unit in found.units)


def test_what_several_paths_lead_to_is_taken_once(folder: Path) -> None:
    assert find(["traces", "traces/*.jsonl", "traces/a.jsonl"]).units == find(["traces"]).units


def test_a_glob_gives_what_matches_whatever_its_name(folder: Path) -> None:
    assert [unit.name for unit in find(["traces/b/*"]).units] == [
        "traces/b/notes.md", "traces/b/three.har", "traces/b/two.jsonl.gz"
    ]  # fmt: skip


def test_a_manifest_is_relative_to_itself_and_keeps_what_is_not_there(folder: Path) -> None:
    (folder / "traces" / "night.txt").write_text("# a comment\n\na.jsonl\nb\ngone.jsonl\n", encoding="utf-8")
    units = find(["traces/night.txt"]).units
    assert [unit.name for unit in units] == [
        f"traces/{name}" for name in ("a.jsonl", "b/three.har", "b/two.jsonl.gz", "gone.jsonl")
    ]


@pytest.mark.parametrize("path", ["zip://::night.zip", "zip://traces/*.jsonl::night.zip", "zip://traces::night.zip"])
def test_an_address_leads_into_any_file_system_and_its_trace_is_brought_here(folder: Path, path: str) -> None:
    with zipfile.ZipFile("night.zip", "w") as archive:
        archive.writestr("traces/a.jsonl", "first")
    [unit] = find([path]).units
    assert unit.name == "zip://traces/a.jsonl::night.zip"
    with at_hand(unit) as copy:
        assert Path(copy).read_text(encoding="utf-8") == "first"
    assert not Path(copy).exists()


def test_a_folder_gives_no_pipe_and_counts_what_a_link_leads_away_to(folder: Path) -> None:
    os.mkfifo(folder / "traces" / "pipe.jsonl")
    (folder / "traces" / "away").symlink_to(folder / "traces" / "b", target_is_directory=True)
    (folder / "traces" / "nowhere.jsonl").symlink_to(folder / "gone")
    found = find(["traces"])
    assert (len(found.units), found.passed_over) == (5, 3)
    [lost] = [unit for unit in found.units if unit.name == "traces/nowhere.jsonl"]
    assert lost.size == 0


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://me:canary@host/a.jsonl", "ftp://…@host/a.jsonl"),
        ("sftp://me:ca@nary@host/a.jsonl", "sftp://…@host/a.jsonl"),
        ("zip://a.jsonl::https://canary@host/night.zip", "zip://a.jsonl::https://…@host/night.zip"),
        ("s3://bucket/a?b/*.jsonl", "s3://bucket/a?b/*.jsonl"),
        ("traces/a@b?c.jsonl", "traces/a@b?c.jsonl"),
    ],
)
def test_an_address_is_told_without_its_login(address: str, told: str) -> None:
    assert shown(address) == told


def test_addresses_that_differ_in_a_signature_are_told_apart_without_it() -> None:
    one, other = (shown(f"https://host/a.jsonl?X-Amz-Signature={number}canary") for number in (1, 2))
    assert one != other
    assert "canary" not in one + other


def test_what_a_file_system_cannot_fetch_is_told_with_its_reason(folder: Path) -> None:
    with zipfile.ZipFile("night.zip", "w") as archive:
        archive.writestr("a.jsonl", "first")
    [unit] = find(["zip://a.jsonl::night.zip"]).units
    (folder / "night.zip").write_bytes(b"no archive")
    with pytest.raises(TraceError, match="cannot be fetched: File is not a zip file"), at_hand(unit):
        pass


def test_a_glob_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(Wrong, match=r"traces/\*\*\.jsonl: "):
        find(["traces/**.jsonl"])


def test_a_path_that_leads_nowhere_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find(["traces", "nowhere"])
