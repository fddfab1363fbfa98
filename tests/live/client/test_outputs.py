"""Tests of files: the caller alone decides where they go, and they arrive whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.effects import Output, Text
from comfy_fsm.errors import ClientError, DownloadFailed, MissingExtra
from comfy_fsm.live.client.outputs import Fetch, OutputFile, Saved, Source, save_all
from comfy_fsm.live.saving import atomic_files
from comfy_fsm.live.saving.atomic_files import Folder, Names, Unfinished
from comfy_fsm.live.saving.safe_names import MAX_NAME, safe_folders, safe_name, same
from comfy_fsm.mime_types import type_in

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


def no_link(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "no links here")


def file(name: str, *chunks: bytes, error: BaseException | None = None, folder: str = "") -> OutputFile:
    named = Output(node="9", kind="images", filename=name, subfolder=folder, type="output")
    return OutputFile.at(named, Source(SERVER, fetching(*(chunks or PNG), error=error), Names()))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_a_file_is_read_whole() -> None:
    assert await file("a.png").read() == b"".join(PNG)


async def test_a_file_of_any_length_is_not_read_into_memory() -> None:
    with pytest.raises(DownloadFailed, match="longer than 100 bytes") as caught:
        await file("a.png").read(100)
    assert caught.value.server == SERVER


async def test_a_file_is_saved_whole_for_its_owner_alone_and_nowhere_else(tmp_path: Path) -> None:
    place = await file("a.png").save_into(tmp_path)
    assert place == tmp_path / "a.png"
    assert place.read_bytes() == b"".join(PNG)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert names(tmp_path) == ["a.png"]


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for _ in range(3):
        await file("a.b.png").save_into(tmp_path)
    await file("plain").save_into(tmp_path)
    await file("plain", b"other").save_into(tmp_path)
    assert names(tmp_path) == ["a.b-2.png", "a.b-3.png", "a.b.png", "plain", "plain-2"]
    assert (tmp_path / "plain").read_bytes() == b"".join(PNG)


@pytest.mark.parametrize("make", [os.mkdir, lambda place: os.symlink("nowhere", place), lambda place: place.touch()])
async def test_whatever_has_the_name_already_keeps_it(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.png")
    before = os.lstat(tmp_path / "a.png")
    assert await file("a.png").save_into(tmp_path) == tmp_path / "a-2.png"
    with pytest.raises(FileExistsError):
        await file("a.png").save(tmp_path / "a.png")
    assert os.lstat(tmp_path / "a.png") == before
    assert names(tmp_path) == ["a-2.png", "a.png"]


async def test_a_name_that_is_taken_during_the_download_is_kept_too(tmp_path: Path) -> None:
    place = tmp_path / "mine.png"

    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        place.write_bytes(b"somebody else's")
        async with fetching(b"ours")(output) as pieces:
            yield pieces

    with pytest.raises(FileExistsError):
        await OutputFile.at(file("x"), Source(SERVER, fetch, Names())).save(place)
    assert place.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["mine.png"]


async def test_a_name_of_the_callers_own_may_be_anything(tmp_path: Path) -> None:
    await file("../../etc/passwd").save(tmp_path / ".hidden: mine?")
    assert names(tmp_path) == [".hidden: mine?"]


@pytest.mark.parametrize(
    "error", [DownloadFailed("the server hung up", SERVER), asyncio.CancelledError(), OSError(errno.ENOSPC, "full")]
)
async def test_of_a_download_that_breaks_off_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    for save in (file("a.png", error=error).save_into(tmp_path), file("a.png", error=error).save(tmp_path / "b.png")):
        with pytest.raises(type(error)):
            await save
    assert names(tmp_path) == []


async def test_of_a_download_that_is_cancelled_nothing_is_left(tmp_path: Path) -> None:
    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            started.set()
            await asyncio.Event().wait()

        yield pieces()

    started = asyncio.Event()
    saving = asyncio.ensure_future(OutputFile.at(file("a.png"), Source(SERVER, fetch, Names())).save_into(tmp_path))
    await started.wait()
    saving.cancel()
    await asyncio.wait([saving])
    assert saving.cancelled()
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="every file has a name there")
async def test_of_a_download_under_way_there_is_no_name_that_a_killed_process_would_leave(tmp_path: Path) -> None:
    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            there.extend(names(tmp_path))

        yield pieces()

    there: list[str] = []
    await OutputFile.at(file("a.png"), Source(SERVER, fetch, Names())).save_into(tmp_path)
    assert (there, names(tmp_path)) == ([], ["a.png"])


@pytest.mark.parametrize("links", [True, False])
async def test_where_a_file_must_have_a_name_all_the_time_it_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    monkeypatch.setattr(Unfinished, "_unnamed", Unfinished._named)
    if not links:
        monkeypatch.setattr(atomic_files.os, "link", no_link)
    for _ in range(2):
        assert (await file("a.png").save_into(tmp_path)).read_bytes() == b"".join(PNG)
    assert names(tmp_path) == ["a-2.png", "a.png"]


async def test_where_there_are_no_hard_links_files_are_saved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_files.os, "link", no_link)
    for _ in range(2):
        assert (await file("a.png").save_into(tmp_path)).read_bytes() == b"".join(PNG)
    assert names(tmp_path) == ["a-2.png", "a.png"]


def save(*files: OutputFile, into: Path, texts: tuple[Text, ...] = (), again: bool = False) -> list[Saved]:
    async def saved() -> list[Saved]:
        return [one async for one in save_all(files, texts, into, Names(), again=again)]

    return asyncio.run(saved())


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


# names

PLAIN = ["ComfyUI_00001_.png", "a b (2).mp4", "\u4e2d\u6587.webp", "console.txt", "com10", "x" * 255, "a..b", "-x", "x",
         "\U0001f469\u200d\U0001f680.png", "\u3000x.png", "~a", "a_[1]{2}#%&'.png"]  # fmt: skip
HOSTILE = {
    "": "_", ".": "_", "..": "_", "...": "_", " ": "_", "a\0b": "a_b", "a\nb": "a_b", "a\x1b[2Jb": "a_[2Jb",
    "a\u202egpj.exe": "a_gpj.exe", "a\u2028b": "a_b", "\ud800": "_", ".hidden": "_hidden", "x.": "x", "x . ": "x",
    " x": "x", "con": "_con", "CON.png": "_CON.png", "nul.tar.gz": "_nul.tar.gz", "aux .txt": "_aux .txt",
    "COM\u00b9": "_COM\u00b9", "conin$": "_conin$", "2024:05?*<>|\".png": "2024_05______.png", "C:x": "C_x",
    "%date:yyyy%.png": "%date_yyyy%.png", "e\u0301.png": "\u00e9.png", "x" * 300 + ".png": "x" * 251 + ".png",
    "\u00e9" * 200 + ".safetensors": "\u00e9" * 121 + ".safetensors", "x" * 300: "x" * 255,
    "a." + "b" * 300: "a." + "b" * 253, "a/b": "a_b", "a\\b": "a_b",
}  # fmt: skip
FOLDERS = {
    "": [], "video/ltx": ["video", "ltx"], "2024-05\\x": ["2024-05", "x"], "../../etc": ["_", "_", "etc"],
    "/etc": ["etc"], "C:\\Windows": ["C_", "Windows"], "\\\\host\\share": ["host", "share"], "a//./b/": ["a", "b"],
    "con/aux.": ["_con", "_aux"], "/".join("x" * 20): ["x"] * 15 + ["x_x_x_x_x"],
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    assert safe_name(name) == name
    [saved] = save(file(name), into=tmp_path)
    assert (saved.path, saved.renamed, saved.error) == (tmp_path / name, "", None)


@pytest.mark.parametrize(("name", "safe"), HOSTILE.items())
def test_a_name_that_could_do_harm_is_made_safe_and_what_was_changed_is_told(
    tmp_path: Path, name: str, safe: str
) -> None:
    assert safe_name(name) == safe
    [saved] = save(file(name), into=tmp_path)
    assert saved.path is not None
    assert everything(tmp_path) == [saved.path.relative_to(tmp_path).as_posix()] == [safe]
    assert saved.renamed.isprintable()
    assert len(saved.renamed) < 800
    assert bool(saved.renamed) is (name != "e\u0301.png")  # the same name, composed


@pytest.mark.parametrize(("folder", "safe"), FOLDERS.items())
def test_a_file_is_saved_below_its_subfolder(tmp_path: Path, folder: str, safe: list[str]) -> None:
    assert safe_folders(folder) == safe
    [saved] = save(file("a.png", folder=folder), into=tmp_path)
    assert saved.path == tmp_path.joinpath(*safe, "a.png")
    told = folder.replace("\\", "/").replace("//./", "/").rstrip("/")
    assert bool(saved.renamed) is (told != "/".join(safe))


ODD = st.sampled_from([*HOSTILE, *FOLDERS, "..", "/", "\\", "A", "a", "\u00e9", "e\u0301", "\u1e9e", "ss", "\u0130"])
ANY = ODD | st.text(max_size=40) | st.text("./\\: aA\0", max_size=8) | st.text(min_size=200, max_size=300)


@given(name=ANY)
def test_a_safe_name_is_one_component_that_any_system_takes_and_stays_as_it_is(name: str) -> None:
    safe = safe_name(name)
    assert 1 <= len(safe.encode()) <= MAX_NAME
    assert not set(safe) & set('/\\:*?"<>|')
    assert not any(ord(letter) < 32 or ord(letter) == 127 for letter in safe)
    assert safe.strip(" ") == safe.rstrip(".") == safe.lstrip(".") == safe
    assert safe_name(safe) == safe
    stem = safe.partition(".")[0].rstrip(" ")
    assert safe_name(stem) == stem  # no device, whatever its extension


@given(places=st.lists(st.tuples(ANY, ANY), min_size=1, max_size=6))
def test_no_name_leads_out_and_no_file_is_lost_to_another(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[str, str]]
) -> None:
    outer = tmp_path_factory.mktemp("outer")
    folder = outer / "folder"
    folder.mkdir()
    told = dict.fromkeys(places)
    files = [file(name, f"{at}".encode(), folder=folder) for at, (folder, name) in enumerate(told)]
    saved = save(*files, into=folder)
    assert [one.error for one in saved] == [None] * len(told)
    assert names(outer) == ["folder"]
    assert len({same(path) for path in everything(folder)}) == len(everything(folder)) == len(told)
    for at, one in enumerate(saved):
        assert one.path is not None
        assert one.path.read_bytes() == f"{at}".encode()


def test_two_names_that_some_system_takes_for_one_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "MINE.png").write_text("mine")
    told = ["a.png", "A.png", "a.PNG", "a:.png", "a?.png", "\u00e9.png", "e\u0301.PNG", "mine.png"]
    saved = save(*(file(name) for name in told), into=tmp_path)
    assert [one.path.name for one in saved if one.path] == [
        "a.png", "A-2.png", "a-3.PNG", "a_.png", "a_-2.png", "\u00e9.png", "\u00e9-2.PNG", "mine-2.png",
    ]  # fmt: skip
    assert (tmp_path / "MINE.png").read_text() == "mine"
    assert "taken" in saved[-1].renamed
    assert "not safe" in saved[3].renamed


def test_ten_thousand_files_of_one_name_take_no_square_of_the_time(tmp_path: Path) -> None:
    given = Names()
    with Folder(tmp_path) as folder:
        for number in range(1, 10_001):
            assert next(given.free(folder, "a.png")).name == ("a.png" if number == 1 else f"a-{number}.png")


def test_a_file_that_two_nodes_name_is_saved_once(tmp_path: Path) -> None:
    twice = [file("a.png", folder="s"), file("b.png"), file("a.png", folder="s"), file("a.png")]
    assert len(save(*twice, into=tmp_path)) == 3
    assert everything(tmp_path) == ["a.png", "b.png", "s/a.png"]


def test_no_link_in_the_folder_leads_outside(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    for place in (outside, folder, folder / "real"):
        place.mkdir()
    (folder / "video").symlink_to(outside)
    (folder / "here").symlink_to(".")
    (folder / "inside").symlink_to("real")
    (folder / "file").write_text("a file")
    (folder / "gone").symlink_to("nowhere")
    (folder / "a.png").symlink_to(outside / "a.png")
    for name in ("video", "here", "inside", "file", "gone"):
        [saved] = save(file("a.png", folder=name), into=folder)
        assert (saved.error, bool(saved.renamed)) == (None, name != "inside")
    assert save(file("a.png"), into=folder)[0].path == folder / "a-2.png"
    assert names(outside) == []
    assert {path for path in everything(folder) if path.endswith("a.png")} >= {
        "video-2/a.png", "here-2/a.png", "real/a.png", "file-2/a.png", "gone-2/a.png",
    }  # fmt: skip


async def test_a_folder_that_becomes_a_link_while_a_file_is_saved_into_it_leads_nothing_out(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()

    @asynccontextmanager
    async def fetch(output: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        (folder / "video").rename(folder / "moved")
        (folder / "video").symlink_to(outside)
        async with fetching(b"ours")(output) as pieces:
            yield pieces

    output = Output(node="9", kind="images", filename="a.png", subfolder="video", type="output")
    await OutputFile.at(output, Source(SERVER, fetch, Names())).save_into(folder)
    assert names(outside) == []
    assert names(folder / "moved") == ["a.png"]


def test_links_that_come_and_go_lead_nothing_out(tmp_path: Path) -> None:
    outside, folder, over = tmp_path / "outside", tmp_path / "folder", threading.Event()
    for place in (outside, folder, folder / "a", outside / "b"):
        place.mkdir()

    def swap() -> None:
        while not over.is_set():
            with suppress(OSError):
                (folder / "a").rename(folder / "kept")
                (folder / "a").symlink_to(outside)
                (folder / "a").unlink()
            with suppress(OSError):
                (folder / "kept").rename(folder / "a")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for n in range(100):
            save(file(f"{n}.png", folder="a/b"), into=folder)
    finally:
        over.set()
        swapping.join()
    assert everything(outside) == []
    assert [*outside.rglob("*")] == [outside / "b"]


def test_what_an_earlier_process_saved_is_not_saved_again(tmp_path: Path) -> None:
    first = save(file("a.png"), file("a.png", b"other", folder="s"), into=tmp_path)
    (tmp_path / "b.png").write_bytes(b"half")  # by somebody else
    (tmp_path / "c.png").symlink_to(tmp_path / "a.png")
    files = [file("a.png"), file("a.png", b"other", folder="s"), file("b.png", b"mine"), file("c.png")]
    again = save(*files, into=tmp_path, again=True)
    assert [one.path for one in again[:2]] == [one.path for one in first]
    assert everything(tmp_path) == ["a.png", "b-2.png", "b.png", "c-2.png", "c.png", "s/a.png"]


async def test_two_files_that_are_the_same_are_two_even_where_one_was_saved_already(tmp_path: Path) -> None:
    await file("a.png").save_into(tmp_path)
    given = Names()
    for _ in range(2):
        await file("a.png").save_among(given, tmp_path, again=True)
    assert everything(tmp_path) == ["a-2.png", "a.png"]


def test_the_folder_itself_may_be_a_link_since_it_is_the_callers_word(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    save(file("a.png", folder="s"), into=tmp_path / "link")
    assert everything(tmp_path / "real") == ["s/a.png"]


def test_what_fails_keeps_no_other_from_being_saved_and_leaves_nothing(tmp_path: Path) -> None:
    broken = file("b.png", b"half", error=DownloadFailed("the server hung up", SERVER), folder="new")
    saved = save(file("a.png"), broken, file("c.png"), into=tmp_path)
    assert [bool(one.error) for one in saved] == [False, True, False]
    assert everything(tmp_path) == names(tmp_path) == ["a.png", "c.png"]


def test_a_text_may_be_saved_as_a_file_of_its_own(tmp_path: Path) -> None:
    texts = (Text("9", "text", "long \u00e9"), Text("10:3", "../x", "other"))
    assert [one.output for one in save(into=tmp_path, texts=texts)] == list(texts)
    assert {path: (tmp_path / path).read_text("utf-8") for path in everything(tmp_path)} == {
        "9_text.txt": "long \u00e9", "10_3_.._x.txt": "other",
    }  # fmt: skip


# what it is


def drawn(kind: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    content = io.BytesIO()
    image.new("RGB", (3, 2), "red").save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_a_picture_is_decoded_and_its_type_is_known(kind: str) -> None:
    content = drawn(kind)
    assert file(f"a.{kind}").mime_type == type_in(content) == f"image/{kind}"
    picture = await file(f"a.{kind}", content).image()
    assert (picture.size, picture.mode) == ((3, 2), "RGB")


@pytest.mark.parametrize("cut", [0, 1, 8, 40])
async def test_what_is_no_picture_is_told_as_that(cut: int) -> None:
    content = drawn("png")[:cut] or b"nothing"
    with pytest.raises(ClientError, match="there is no picture; read"):
        await file("a.png", content).image()


async def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match=r"comfy-fsm\[images\]"):
        await file("a.png").image()


def test_an_output_says_what_it_is_and_shows_no_bytes() -> None:
    assert repr(file("m\n.glb", folder="mesh")) == r"<output 'output/mesh/m\n.glb' of node 9: model/gltf-binary>"
    assert file("a.odd").mime_type == file("").mime_type == "application/octet-stream"
    assert msgspec.structs.asdict(file("a.png")) == msgspec.structs.asdict(Output("9", "images", "a.png", "", "output"))


async def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert (await file("a.png").save_into(tmp_path / "new" / "newer")).read_bytes() == b"".join(PNG)
