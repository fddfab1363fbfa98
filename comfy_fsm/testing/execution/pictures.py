"""Tiny pictures that every reader accepts, and the folders of a server, in memory."""

from __future__ import annotations

import hashlib
import re
import struct
import uuid
import zlib
from typing import NamedTuple

__all__ = ["JPEG", "FileKey", "Files", "Picture", "digest_of", "is_inside", "png"]

_SIDE = 16  # of the largest picture that is really drawn; a test looks at what it is, not at what it shows


class Picture(NamedTuple):
    """Value of a link of type IMAGE."""

    width: int = 64
    height: int = 64
    color: int = 0
    images: int = 1


def png(picture: Picture) -> bytes:
    width, height = (max(1, min(side, _SIDE)) for side in picture[:2])
    row = b"\0" + picture.color.to_bytes(4, "big")[1:] * width
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(row * height, 1)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(data)) + kind + data + _crc(kind + data) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _jpeg() -> bytes:
    """Return a JPEG of one grey pixel: a block of zeros, and two code tables that know nothing else."""

    def part(mark: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, mark, len(data) + 2) + data

    codes = bytes([1, *[0] * 15, 0])  # one code, of one bit, for the symbol 0
    return b"".join(
        (
            b"\xff\xd8",
            part(0xDB, b"\0" + b"\1" * 64),
            part(0xC0, bytes([8, 0, 1, 0, 1, 1, 1, 0x11, 0])),
            part(0xC4, b"\x00" + codes),
            part(0xC4, b"\x10" + codes),
            part(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            b"\x3f\xff\xd9",
        )
    )


JPEG = _jpeg()


class FileKey(NamedTuple):
    """Location of a file, as an output names it."""

    filename: str
    subfolder: str = ""
    type: str = "output"


class Files:
    """Folders `input`, `output` and `temp`."""

    def __init__(self) -> None:
        self.contents: dict[FileKey, bytes] = {}
        self.assets: dict[str, FileKey] = {}
        self._counts: dict[tuple[str, str, str], int] = {}

    def read(self, place: FileKey) -> bytes | None:
        return self.contents.get(place)

    def read_input(self, name: str) -> bytes | None:
        """Return a file by the name that a node uses: with the subfolder before a slash."""
        subfolder, _, filename = name.rpartition("/")
        return self.read(FileKey(filename, subfolder, "input"))

    def save(self, prefix: str, suffix: str, kind: str, content: bytes) -> dict[str, object]:
        """Store a file under the next number of the prefix, whose last slash ends the subfolder; returns what to
        show.
        """
        subfolder, _, stem = prefix.rpartition("/")
        counted = (stem, subfolder, kind)
        self._counts[counted] = self._counts.get(counted, 0) + 1
        place = FileKey(f"{stem}_{self._counts[counted]:05}_{suffix}", subfolder, kind)
        self.contents[place] = content
        return dict(place._asdict())

    def asset(self, shown: dict[str, object]) -> str:
        """Return the asset id of a file, which stays the same as long as the server remembers it (P53)."""
        place = FileKey(*(str(shown.get(name, "")) for name in FileKey._fields))
        known = next((name for name, other in self.assets.items() if other == place), None) or str(uuid.uuid4())
        self.assets[known] = place
        return known

    def with_assets(self, shown: dict[str, object], previews: bool) -> dict[str, object]:
        """Return what a node shows, with the asset id of each file (P53)."""
        told: dict[str, object] = {}
        for kind, items in shown.items():
            listed = items if isinstance(items, list) else []
            named = [self._named(item, previews) if isinstance(item, dict) else item for item in listed]
            told[kind] = named if isinstance(items, list) else items
        return told

    def _named(self, item: dict[str, object], previews: bool) -> dict[str, object]:
        more = {"preview_id": str(uuid.uuid4())} if previews else {}
        return {**item, "id": self.asset(item), **more}

    def listed_assets(self) -> list[dict[str, object]]:
        return [{"id": name, "name": place.filename} for name, place in self.assets.items()]

    def by_hash(self, name: str) -> bytes | None:
        """Return the file that `blake3:…` names; another digest is used here, since only we compute it."""
        digest = name.removeprefix("blake3:")
        return next((content for content in self.contents.values() if digest_of(content) == digest), None)

    def upload(self, place: FileKey, content: bytes, overwrite: bool) -> FileKey:
        """Store an upload; under a numbered name if another file has its name and may not be overwritten."""
        stem, dot, suffix = place.filename.rpartition(".") if "." in place.filename else (place.filename, "", "")
        number, free = 0, place
        while not overwrite and self.contents.get(free, content) != content:
            number += 1
            free = place._replace(filename=f"{stem} ({number}){dot}{suffix}")
        self.contents[free] = content
        return free


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_inside(place: FileKey) -> bool:
    """Return whether a path stays in its folder; a server refuses others."""
    path = f"{place.subfolder}/{place.filename}"
    return ".." not in re.split(r"[/\\]", path) and not place.filename.startswith("/") and not path.startswith("//")
