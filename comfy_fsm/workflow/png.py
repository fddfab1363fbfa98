"""Reader of the texts in a PNG, where ComfyUI stores the workflow that made it. The file is not trusted."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

__all__ = ["SIGNATURE", "texts"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = 79  # bytes at most, by the standard


def texts(content: bytes, most: int) -> Iterator[tuple[str, str]]:
    """Yield keyword and text of each text chunk (tEXt, zTXt, iTXt); damaged ones, and those beyond `most` bytes, are
    skipped.
    """
    at = len(SIGNATURE)
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        data = content[at + 8 : at + 8 + length]
        at += 12 + length
        keyword, found, rest = data.partition(b"\0") if kind in _READERS else (b"", b"", b"")
        text = _READERS[kind](rest, most) if found and len(keyword) <= _KEYWORD else None
        if text is not None:
            yield keyword.decode("latin-1"), text


def _plain(rest: bytes, most: int) -> str | None:
    return rest.decode("latin-1") if len(rest) <= most else None


def _packed(rest: bytes, most: int) -> str | None:
    raw = _inflated(rest[1:], most)
    return None if raw is None else raw.decode("latin-1")


def _international(rest: bytes, most: int) -> str | None:
    _, _, text = (*rest[2:].split(b"\0", 2), b"", b"")[:3]  # after the language and the translated keyword
    raw = _inflated(text, most) if rest[:1] == b"\1" else text
    return None if raw is None or len(raw) > most else raw.decode("utf-8", "replace")


def _inflated(packed: bytes, most: int) -> bytes | None:
    reader = zlib.decompressobj()
    try:
        raw = reader.decompress(packed, most)
    except zlib.error:
        return None
    return None if reader.unconsumed_tail else raw


_READERS = {b"tEXt": _plain, b"zTXt": _packed, b"iTXt": _international}
