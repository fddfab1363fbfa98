"""Spellings of secrets in bytes and text: raw, escaped, in hex, in base64, and one within another."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable
from urllib.parse import unquote

__all__ = ["MIN_SECRET", "Spellings", "unescaped"]

MIN_SECRET = 6
"""Characters; what is shorter cannot be told from ordinary text, and would take half the log with it."""

_ESCAPED = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([^uUx\\]))")
_ESCAPED_BYTES = re.compile(r"(?:\\+x[0-9a-fA-F]{2})+")
_CONTROLS = dict(zip("bfnrt", "\b\f\n\r\t", strict=True))
_ROUNDS = 8  # encodings within encodings that are undone
_URL_SIGNS = (b"\\", b"%", b"@", b"?", b"&", b"#", b";")
"""One of these is in every line that holds an escape, or a URL with a login, a query or a fragment."""


class Spellings:
    """Search for these secrets, in every spelling."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = tuple(sorted(dict.fromkeys(secrets), key=len, reverse=True))  # one may be a part of another
        raws = [secret.encode("utf-8", "surrogatepass") for secret in self.secrets]
        plains = [unescaped(secret) for secret in self.secrets]
        self.longest = max(map(len, raws), default=0)
        self._plain = {plain.replace("+", " ") for plain in plains if len(plain) >= MIN_SECRET}
        self._cores = {core for raw in raws for core in _cores(raw)}
        self._hexes = {raw.hex() for raw in raws}
        # A line without any of these holds no secret. Those of one letter begin an escape, or are part of a URL.
        told = {*self.secrets, *(secret.replace(" ", "+") for secret in self.secrets), *self._cores}
        told |= {core.replace("+", "-").replace("/", "_") for core in self._cores}
        literal = sorted(text.encode("utf-8", "surrogatepass") for text in told)
        self._signs = (*_URL_SIGNS, b'"text":"', *literal) if self.secrets else _URL_SIGNS
        self._hex_signs = tuple(text.encode() for text in sorted(self._hexes))

    def suspects(self, line: bytes) -> bool:
        """Check quickly whether a line may contain a secret: 20,000 lines come in a second, and most contain none."""
        for sign in self._signs:
            if sign in line:
                return True
        if self._hex_signs:
            lowered = line.lower()
            for sign in self._hex_signs:
                if sign in lowered:
                    return True
        return False

    def without(self, text: str, redacted: str) -> str:
        """Return the text with each literal secret replaced."""
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, redacted)
        return text

    def hides(self, text: str) -> bool:
        """Return whether the text contains a secret, in any spelling, also within another."""
        if not self.secrets:
            return False
        plain = unescaped(text)
        spaced, lowered = plain.replace("+", " "), plain.lower()
        packed = "".join(plain.split()).replace("-", "+").replace("_", "/")
        return (
            any(secret in spaced for secret in self._plain)
            or any(core in packed for core in self._cores)
            or any(digits in lowered for digits in self._hexes)
        )


def _cores(raw: bytes) -> set[str]:
    """Return its base64 forms in each of three alignments, without the ends, which depend on neighbouring bytes."""
    texts = [base64.b64encode(bytes(before) + raw).decode() for before in range(3)]
    return {text[-(-8 * before // 6) : 8 * (before + len(raw)) // 6] for before, text in enumerate(texts)}


def unescaped(text: str) -> str:
    """Return the text with the escapes of JSON, Python, URLs and HTML undone, also nested ones."""
    for _ in range(_ROUNDS):
        before = text
        if "\\" in text:
            text = _ESCAPED.sub(_character, _ESCAPED_BYTES.sub(_characters, text))
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "%" in text:
            text = unquote(text)
        if "&" in text:
            text = html.unescape(text)
        if text == before:
            break
    return text


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code is None:
        return _CONTROLS.get(match[3], match[3])
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else ""


def _characters(match: re.Match[str]) -> str:
    raw = bytes.fromhex(re.sub(r"\\+x", "", match[0], flags=re.IGNORECASE))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
