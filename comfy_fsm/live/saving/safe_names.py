"""File names: turns a server's name for a file into one that every file system accepts and that stays in its folder.
Pure text, no disk.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["MAX_NAME", "as_named", "numbered", "safe_folders", "safe_name", "same"]

MAX_NAME = 255
"""Bytes of a name, of a folder or of a file: what file systems take."""
_MAX_DEPTH = 16
"""Folders within folders; deeper ones become one."""
_LONGEST_SUFFIX = 32
_FORBIDDEN = frozenset('/\\:*?"<>|')  # of any system, since a folder may be another's
_JOINERS = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")  # of emoji and of several scripts
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)
_SEPARATORS = re.compile(r"[/\\]")
_STANDS_FOR = "_"


def safe_name(name: str) -> str:
    """Return the name itself if it is harmless, otherwise with `_` in place of what is not; composed (NFC), as most
    systems write it.
    """
    whole = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    plain = "".join(_safe(letter) for letter in unicodedata.normalize("NFC", whole)).lstrip(" ").rstrip(". ")
    if plain.startswith("."):
        plain = _STANDS_FOR + plain[1:]
    if not plain or _DEVICE.fullmatch(plain):
        plain = _STANDS_FOR + plain
    return _cut(plain, "")


def safe_folders(subfolder: str) -> list[str]:
    """Return the folders below the caller's, outermost first: none leads upwards, is absolute, or names a drive."""
    parts = [safe_name(part) for part in _SEPARATORS.split(subfolder) if part not in ("", ".")]
    return (
        parts if len(parts) <= _MAX_DEPTH else [*parts[: _MAX_DEPTH - 1], _cut("_".join(parts[_MAX_DEPTH - 1 :]), "")]
    )


def numbered(name: str, number: int) -> str:
    """Return the name with a number, to tell it from others: `a.png`, `a-2.png`, `a-3.png`."""
    return name if number == 1 else _cut(name, f"-{number}")


def same(name: str) -> str:
    """Return a key that is equal for names which some file system takes for one: they differ in case or composition
    alone.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def as_named(subfolder: str, filename: str) -> str:
    """Return the path that the server named, in one spelling, for comparison with the one it was saved under."""
    path = f"{subfolder}/{filename}" if subfolder else filename
    return unicodedata.normalize("NFC", re.sub(r"(?<=/)(?:\./|/)+|^\./", "", path.replace("\\", "/")))


def _safe(letter: str) -> str:
    kind = unicodedata.category(letter)
    harmful = letter in _FORBIDDEN or kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and letter not in _JOINERS)
    return _STANDS_FOR if harmful or letter == "\N{REPLACEMENT CHARACTER}" else letter


def _cut(name: str, number: str) -> str:
    """Shorten the name so that it fits with the number in it, and keep its extension."""
    stem, dot, suffix = name.rpartition(".")
    if not stem.strip(". ") or len(suffix.encode()) > _LONGEST_SUFFIX:
        stem, dot, suffix = name, "", ""
    room = MAX_NAME - len(f"{number}{dot}{suffix}".encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore")
    if not dot:  # where it was cut, it may end as no name may
        stem = stem.rstrip(". ") or _STANDS_FOR
    return f"{stem}{number}{dot}{suffix}"
