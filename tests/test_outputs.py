"""Files come from a server; where they go is the caller's word alone, and they come whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.effects import Output
from comfy_fsm.errors import DownloadFailed, UnsafeOutput
from comfy_fsm.live import outputs
from comfy_fsm.live.outputs import Fetch, OutputFile

SERVER = "http://h:8188"
PNG = [b"\x89PNG", b"", b"more", b"x" * 100_000]


def fetching(*chunks: bytes, error: BaseException | None = None) -> Fetch:
    """A server that sends these pieces, and then breaks off if there is an error."""

    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk
            if error is not None:
                raise error

        yield pieces()

    return fetch


def file(name: str, *chunks: bytes, error: BaseException | None = None) -> OutputFile:
    named = Output(node="9", kind="images", filename=name, subfolder="../../etc", type="output")
    return OutputFile(named, SERVER, fetching(*(chunks or PNG), error=error))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_read_whole() -> None:
    assert asyncio.run(file("a.png").read()) == b"".join(PNG)


def test_a_file_of_any_length_is_not_read_into_memory() -> None:
    with pytest.raises(DownloadFailed, match="longer than 100 bytes") as caught:
        asyncio.run(file("a.png").read(100))
    assert caught.value.server == SERVER


def test_a_file_is_saved_whole_for_its_owner_alone_and_nowhere_else(tmp_path: Path) -> None:
    place = asyncio.run(file("a.png").save_into(tmp_path))
    assert place == tmp_path / "a.png"
    assert place.read_bytes() == b"".join(PNG)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert names(tmp_path) == ["a.png"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for _ in range(3):
        asyncio.run(file("a.b.png").save_into(tmp_path))
    asyncio.run(file("plain").save_into(tmp_path))
    asyncio.run(file("plain", b"other").save_into(tmp_path))
    assert names(tmp_path) == ["a.b-2.png", "a.b-3.png", "a.b.png", "plain", "plain-2"]
    assert (tmp_path / "plain").read_bytes() == b"".join(PNG)


@pytest.mark.parametrize("make", [os.mkdir, lambda place: os.symlink("nowhere", place), lambda place: place.touch()])
def test_whatever_has_the_name_already_keeps_it(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.png")
    before = os.lstat(tmp_path / "a.png")
    assert asyncio.run(file("a.png").save_into(tmp_path)) == tmp_path / "a-2.png"
    with pytest.raises(FileExistsError):
        asyncio.run(file("a.png").save(tmp_path / "a.png"))
    assert os.lstat(tmp_path / "a.png") == before
    assert names(tmp_path) == ["a-2.png", "a.png"]


def test_a_name_that_is_taken_during_the_download_is_kept_too(tmp_path: Path) -> None:
    place = tmp_path / "mine.png"

    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        place.write_bytes(b"somebody else's")
        async with fetching(b"ours")(output) as pieces:
            yield pieces

    with pytest.raises(FileExistsError):
        asyncio.run(OutputFile(file("x").output, SERVER, fetch).save(place))
    assert place.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["mine.png"]


def test_a_name_of_the_callers_own_may_be_anything(tmp_path: Path) -> None:
    asyncio.run(file("../../etc/passwd").save(tmp_path / ".hidden: mine?"))
    assert names(tmp_path) == [".hidden: mine?"]


@pytest.mark.parametrize(
    "error", [DownloadFailed("the server hung up", SERVER), asyncio.CancelledError(), OSError(errno.ENOSPC, "full")]
)
def test_of_a_download_that_breaks_off_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    for save in (file("a.png", error=error).save_into(tmp_path), file("a.png", error=error).save(tmp_path / "b.png")):
        with pytest.raises(type(error)):
            asyncio.run(save)
    assert names(tmp_path) == []


def test_of_a_download_that_is_cancelled_nothing_is_left(tmp_path: Path) -> None:
    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            started.set()
            await asyncio.Event().wait()

        yield pieces()

    async def test() -> None:
        saving = asyncio.ensure_future(OutputFile(file("a.png").output, SERVER, fetch).save_into(tmp_path))
        await started.wait()
        assert len(names(tmp_path)) == 1
        saving.cancel()
        await asyncio.wait([saving])
        assert saving.cancelled()

    started = asyncio.Event()
    asyncio.run(test())
    assert names(tmp_path) == []


def test_where_there_are_no_hard_links_files_are_saved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(outputs.os, "link", link)
    for _ in range(2):
        assert asyncio.run(file("a.png").save_into(tmp_path)).read_bytes() == b"".join(PNG)
    assert names(tmp_path) == ["a-2.png", "a.png"]


def test_when_every_name_is_taken_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_NUMBERS", range(2, 3))
    for _ in range(2):
        asyncio.run(file("a.png").save_into(tmp_path))
    with pytest.raises(FileExistsError):
        asyncio.run(file("a.png").save_into(tmp_path))
    assert names(tmp_path) == ["a-2.png", "a.png"]


# names

HOSTILE = [
    "", ".", "..", "...", " ", "/etc/passwd", "../x", "a/b", "a\\b", "..\\x", "C:x", "C:\\x", "\\\\host\\x", "a:b",
    "a\0b", "a\nb", "a\x1b[2Jb", "a\u202egpj.exe", "a\u2028b", "\ud800", ".hidden", "x.", "x ", " x", "con", "CON.png",
    "nul.tar.gz", "com1", "lpt9.txt", "aux .txt", "COM\u00b9", "conin$", "a*", "a?", "<a>", "a|b", 'a"b', "x" * 201,
    "\u00e9" * 101,
]  # fmt: skip
PLAIN = ["ComfyUI_00001_.png", "a b (2).mp4", "\u4e2d\u6587.webp", "console.txt", "com10", "x" * 200, "a..b", "-x", "x"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_could_do_harm_is_refused_and_told_so_that_it_does_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeOutput) as caught:
        asyncio.run(file(name).save_into(tmp_path))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert "save it under a name of your own" in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", PLAIN)
def test_the_names_that_comfyui_gives_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    assert asyncio.run(file(name).save_into(tmp_path)).name == name


@given(name=st.text(max_size=40) | st.text("./\\: a\0", max_size=8))
def test_no_name_at_all_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    outer = tmp_path_factory.mktemp("outer")
    folder = outer / "folder"
    folder.mkdir()
    try:
        place = asyncio.run(file(name, b"x").save_into(folder))
    except UnsafeOutput:
        assert names(folder) == []
    else:
        assert names(folder) == [place.name]
    assert names(outer) == ["folder"]
