"""Pseudonyms: the same other name for the same id, host, file name or text, wherever it stands.

A pseudonym keeps what a reader of traces goes by: that an id is a UUID, which port and which folder a name has, that a
file is a picture, that a key stands for texts. It tells nothing else, and two names never get the same one.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote

from comfy_fsm.anonymity.vocabulary import is_known

__all__ = ["Pseudonyms"]

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX_ID = re.compile(r"[0-9a-fA-F]{32}")
_NUMBERED = re.compile(r"-?[0-9]{1,6}(?::[0-9]{1,6})*")
"""What a node is called (`3`, or `12:3` where it was expanded), and other small numbers in a text."""
_VERSION = re.compile(r"(v?[0-9]{1,3}(?:\.[0-9]{1,3}){1,2})(?:[-+].*)?")
_BIG = re.compile(r"[0-9]{7,25}")
_DOTTED = re.compile(r"assets\.[\w.]{1,60}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,11}")
_FILE = re.compile(
    r"(?P<path>.{0,4096}?)(?P<dot>\.(?:png|jpe?g|webp|gif|avif|bmp|tiff?|exr|hdr|svg|mp4|webm|mkv|mov|avi|m4v|flac|mp3"
    r"|wav|ogg|opus|m4a|aac|latent|safetensors|zip|srt|vtt|obj|fbx|gltf|glb|usdz|stl|ply|splat|ksplat|spz))"
    r"(?P<folder> \[(?:output|input|temp)\])?",
    re.I | re.DOTALL,
)
_DRIVE = re.compile(r"[A-Za-z]:")
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z]{2,5}://)?(?P<login>[^/@\s]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:?#\s\[\]]+)(?P<port>:\d{1,5})?"
    r"(?P<rest>[/?#].*)?",
    re.I | re.DOTALL,
)
_HERE = frozenset({"localhost", "127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "0.0.0.0", "::", "ip6-localhost",
    "::ffff:127.0.0.1", "::ffff:7f00:1"})  # fmt: skip
"""Names of this machine, which are everybody's."""
_TEXTUAL = re.compile(r"text|string|caption|prompt|tags?$|message|markdown|response|answer|value|title|descri", re.I)
_PLACE = re.compile(r"ur[il]$|link|href|file|path", re.I)
_BY_SOCKET = re.compile(r"(?!.*load)(?=.*image).*web_?socket", re.I)
_CLASSES = frozenset({"class_type", "node_type"})
_VALID = re.compile(r"Valid values:(?P<words>[\w\s,'\"\[\]]{0,200})")
_LONG = 200
"""Characters from which on a text is remembered by its digest: a trace may hold long ones without end."""
_FIRST = 1_000_000
"""First number that stands for a large one: those below it are kept."""


class Pseudonyms:
    """Names that were given so far. One of these goes with one trace, or with several that belong together."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._hosts: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def word(self, text: str, key: str = "") -> str:
        """Return what stands for this text; `key` is the name under which it was found."""
        if text == "" or is_known(text) or _NUMBERED.fullmatch(text):
            return text
        remembered = text if len(text) <= _LONG else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._names.get(remembered)
        if known is None:
            known = self._names[remembered] = self._made(text, key)
        return known

    def number(self, number: float) -> float:
        """Return what stands for a number that may be an id, a seed or a place on earth; small whole ones stay."""
        if isinstance(number, int) and abs(number) < _FIRST:
            return number
        made = self._numbers.setdefault(repr(number), _FIRST + len(self._numbers))
        return made if isinstance(number, int) else made + 0.5

    def address(self, url: str) -> str:
        """Return what stands for the address of a server: scheme, port and ComfyUI's own folders are kept."""
        return self._address(url) or self.word(url)

    def path(self, path: str) -> str:
        """Return what stands for the path of a request: its routes are kept, and the names of its parameters."""
        return ("://" in path.partition("?")[0] and self._address(path)) or self._segments(path)

    def _address(self, url: str) -> str | None:
        found = _ADDRESS.fullmatch(url)
        if found is None or not (found["scheme"] or found["port"]):
            return None
        host, login = found["host"], found["login"]
        name = host if host.strip("[]").lower() in _HERE else self._host(host)
        told = f"{self.word(login[:-1])}@" if login else ""
        return f"{found['scheme'] or ''}{told}{name}{found['port'] or ''}{self._segments(found['rest'] or '')}"

    def _segments(self, path: str) -> str:
        return "".join(part if part in "/?&=#;" else self._segment(part) for part in re.split(r"([/?&=#;])", path))

    def _segment(self, part: str) -> str:
        plain = unquote(part)
        made = ",".join(map(self.word, plain.split(",")))
        return part if made == plain else quote(made, safe=",")

    def _host(self, host: str) -> str:
        bare = host.lower().removesuffix(".")
        number = self._hosts.setdefault(bare, len(self._hosts) + 1)
        return f"host-{number}" + "." * host.endswith(".")

    def _made(self, text: str, key: str) -> str:
        if _UUID.fullmatch(text) or _HEX_ID.fullmatch(text):
            return self._id(text)
        if version := _VERSION.fullmatch(text):
            return version[1]
        if _BIG.fullmatch(text):
            return str(self.number(int(text)))
        if _DOTTED.fullmatch(text):
            return ".".join(self.word(part) for part in text.split("."))
        if "://" in text and (address := self._address(text)) is not None:
            return address
        if text.isprintable() and (file := _FILE.fullmatch(text)):
            return self._file(file["path"]) + file["dot"] + (file["folder"] or "")
        return self._name(text, key)

    def _id(self, text: str) -> str:
        """Return a UUID for a UUID, and one of the same case, since ids are compared letter by letter."""
        bare = text.replace("-", "").lower()
        number = self._ids.setdefault(bare, len(self._ids) + 1)
        made = f"f{number:07x}-0000-4000-8000-00000000000f"
        made = made if "-" in text else made.replace("-", "")
        return made if text == text.lower() else made.upper()

    def _file(self, path: str) -> str:
        """Folders and name, each by itself: ComfyUI's own folders are kept, and which kind of slash is between them."""
        parts = re.split(r"([/\\])", path)
        return "".join(part if part in "/\\" or _DRIVE.fullmatch(part) else self.word(part, "file") for part in parts)

    def _name(self, text: str, key: str) -> str:
        spaced = any(map(str.isspace, text))
        parts = [word for word, found in (("text", _TEXTUAL), ("path", _PLACE)) if found.search(text) and not spaced]
        if not parts:
            parts = [self._stem(text, key, spaced)]
        stem = "_".join(parts)
        number = self._counts[stem] = self._counts.get(stem, 0) + 1
        gap = " " if spaced else "-"
        made = f"{stem}{gap}{number}"
        if spaced:  # the ids in it are those by which a reader finds the prompt that it is about
            made = " ".join([*self._opening(text), made, *map(self._id, _UUID.findall(text)), *_closing(text)])
        return made

    def _stem(self, text: str, key: str, spaced: bool) -> str:
        if spaced:
            return "words"
        if key in _CLASSES:
            return "ImageWebsocket" if _BY_SOCKET.match(text[:200]) else "Class"
        return {"window": "window", "client_id": "window", "sid": "window"}.get(key, "name")

    def _opening(self, text: str) -> list[str]:
        """Keep the class of an error that stands before its text, where that is no secret: `ConnectError: …`."""
        first = re.match(r"[\w.]+", text)
        return [first[0] + ":"] if first and is_known(first[0]) and text[first.end() :].startswith(":") else []


def _closing(text: str) -> list[str]:
    """Keep the statuses that a server says it knows: by them one learns whether its jobs can be cancelled (P37)."""
    valid = _VALID.search(text)
    if valid is None:
        return []
    return ["Valid values:", ", ".join(word for word in re.findall(r"\w+", valid["words"]) if is_known(word))]
