"""Results: the files and texts that a record, a frame or a job says a run produced, in whatever shape a node reported
them.

A node may nest them, give a single one, or name a file by its path alone. What is neither file nor text (flags, sizes,
camera positions) is passed over. Nothing is left out silently: what is beyond a bound is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from comfy_fsm.core.effects import Output, Text
from comfy_fsm.core.policy import Policy

__all__ = ["Produced", "names_asset", "produced"]

_TEXTUAL = re.compile(r"text|string|caption|prompt|tags?$|message|markdown|response|answer|value|title|descri", re.I)
"""Keys under which custom nodes put texts; a number under one of them is a text, too."""
_PLACE = re.compile(r"ur[il]$|link|href|file|path", re.I)
"""Keys under which they put locations: these are reported, whether or not `/view` serves them."""
_MODEL = re.compile(r"\.(?:obj|fbx|gltf|glb|usdz|stl|ply|splat|ksplat|spz)$", re.I)
_MEDIA = re.compile(
    r"\.(?:png|jpe?g|webp|gif|avif|bmp|tiff?|exr|hdr|svg|mp4|webm|mkv|mov|avi|m4v|flac|mp3|wav|ogg|opus|m4a|aac"
    r"|latent|safetensors|zip|srt|vtt)$",
    re.I,
)
_FILENAMES = ("filename", "file_name", "fileName")
_DESCRIBING = frozenset({*_FILENAMES, "subfolder", "type"})
_NESTING: frozenset[type] = frozenset({dict, list})
_ANNOTATED = re.compile(r"(.+?) \[(output|input|temp)\]", re.DOTALL)
_ABSOLUTE = re.compile(r"[/\\]|[a-z]:", re.I)
_BELOW = re.compile(r"(?:[a-z]:)?[/\\](?:.*[/\\])?(output|input|temp)[/\\]([^/\\].*)", re.I | re.DOTALL)
"""Path on the server's disk: what is below one of its folders is what `/view` serves."""
_ASSET = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_OF_A_PATH = 4_096
_USUAL_KEY = 64
"""Characters up to which it is remembered whether a key stands for text: nodes name their outputs all alike."""


class Produced(NamedTuple):
    """Files and texts in the order in which they were reported, and how many were left out because of the policy."""

    outputs: tuple[Output, ...] = ()
    texts: tuple[Text, ...] = ()
    left_out: int = 0


class _Seen(NamedTuple):
    """Values to be read, and the names that lead to them."""

    node: str
    kind: str
    values: Iterator[object]
    textual: bool
    """One of these names stands for text."""
    within: bool = False
    """They are inside an object that the node made up: there only what is named as a text or a location is read."""


def produced(outputs: object, policy: Policy) -> Produced:
    """Return all files and texts that these outputs name, in the form of records, jobs and `executed`: `{node: {kind:
    …}}`."""
    files: list[Output] = []
    texts: list[Text] = []
    left_out = weight = 0
    for found in _found(_nodes(outputs)):
        if isinstance(found, Output):
            kept = len(files) < policy.outputs
            if kept:
                files.append(found)
        else:
            weight += len(found.text)
            kept = len(texts) < policy.outputs and weight <= policy.text_characters
            if kept:
                texts.append(found)
        left_out += not kept
    return Produced(tuple(files), tuple(texts), left_out)


def _nodes(outputs: object) -> Iterator[_Seen]:
    """Yield the values of each node; a list in place of kinds is left out, since nobody can say what it lists, and
    noted as odd."""
    for node, kinds in outputs.items() if isinstance(outputs, dict) else (("", outputs),):
        if isinstance(outputs, dict) and isinstance(kinds, list):
            continue
        named = kinds if isinstance(kinds, dict) and _file("", "", kinds) is None else {"": kinds}
        for kind, value in named.items():
            yield _Seen(node, kind, _each(value), _is_textual(kind))


def _each(value: object) -> Iterator[object]:
    return iter(value if isinstance(value, list) else (value,))


def _found(waiting: Iterable[_Seen]) -> Iterator[Output | Text]:
    """Yield files and texts depth first, in order, without recursion: the server decides how deep it goes."""
    for first in waiting:
        stack = [first]
        while stack:
            seen = stack[-1]
            for value in seen.values:
                if isinstance(value, dict):
                    file = _file(seen.node, seen.kind, value)
                    if file is not None:
                        yield file
                    if file is None or not _NESTING.isdisjoint(map(type, value.values())):
                        stack += reversed(_inner(seen, value, is_file=file is not None))
                        break
                elif isinstance(value, list):
                    stack.append(seen._replace(values=iter(value)))
                    break
                else:
                    yield from _words(seen, value)
            else:
                stack.pop()


def _inner(seen: _Seen, value: Mapping[str, object], is_file: bool) -> list[_Seen]:
    """Return the values in an object; what describes a file is no output of its own, unless it is an object again."""
    return [
        _Seen(
            seen.node,
            seen.kind,
            _each(item),
            textual=seen.textual or _is_textual(str(key)),
            within=not (item and _PLACE.search(str(key))),
        )
        for key, item in value.items()
        if not is_file or type(item) in _NESTING
    ]


def _file(node: str, kind: str, item: Mapping[str, object]) -> Output | None:
    """Read an object that names a file: by `filename`, or by `name` with the folder or type that go with one."""
    if _DESCRIBING.isdisjoint(item):
        return None
    name: object = None
    for key in _FILENAMES:
        if isinstance(told := item.get(key), str) and told:
            name = told
            break
    if name is None and ("subfolder" in item or "type" in item):
        name = item.get("name")
        name = name if isinstance(name, str) and _is_path(name) else None
    if not (isinstance(name, str) and name):
        return None
    subfolder, type_ = item.get("subfolder"), item.get("type")
    type_ = type_ if isinstance(type_, str) else ""
    folder, filename = _split(name)
    if isinstance(subfolder, str) and subfolder:
        folder = f"{subfolder}/{folder}" if folder else subfolder
    return Output(node, kind, filename, folder, type_, id=_asset(item, "id"), preview_id=_asset(item, "preview_id"))


def _asset(item: Mapping[str, object], name: str) -> str:
    """Return the id of an asset, which is a UUID (P53); a custom node may mean anything by `id`."""
    told = item.get(name)
    return told if isinstance(told, str) and _ASSET.fullmatch(told) else ""


def names_asset(name: str, text: str) -> bool:
    """Return whether the value under this name in a file is the id of an asset."""
    return name in ("id", "preview_id") and _ASSET.fullmatch(text) is not None


def _is_textual(key: str) -> bool:
    return _names_text(key) if len(key) <= _USUAL_KEY else _TEXTUAL.search(key) is not None


@lru_cache(maxsize=512)
def _names_text(key: str) -> bool:
    return _TEXTUAL.search(key) is not None


def _words(seen: _Seen, value: object) -> Iterator[Output | Text]:
    """Yield a text, a path that was reported as one, or nothing."""
    textual = seen.textual
    if isinstance(value, str):
        path = _path(seen, value) if not textual or _is_model(value) else None
        if path is not None:
            yield path
        if (path is None or textual) and (textual or not seen.within):
            yield Text(seen.node, seen.kind, value)
    elif textual and value is not None and not seen.within:
        yield Text(seen.node, seen.kind, json.dumps(value))


def _path(seen: _Seen, text: str) -> Output | None:
    """Read a file named by its path, as by Preview3D and others: `mesh/m.glb`, `temp/b.png`, `a.png [temp]`."""
    annotated = _ANNOTATED.fullmatch(text)
    name, type_ = annotated.groups() if annotated else (text, "")
    if not _is_path(name):
        return None
    if not type_ and (below := _BELOW.fullmatch(name)):
        type_, name = below.groups()
    folder, filename = _split(name)
    if not type_ and folder == "temp" and not _MODEL.search(name):
        folder, type_ = "", "temp"
    return Output(seen.node, seen.kind, filename, folder, type_ or "output")


def _is_path(text: str) -> bool:
    return (
        len(text) <= _MOST_OF_A_PATH
        and "://" not in text
        and text.isprintable()
        and bool(_MODEL.search(text) or _MEDIA.search(text))
    )


def _is_model(text: str) -> bool:
    """Return whether a text is a path: where ComfyUI's jobs take it for one, and where it can be one below a folder."""
    return bool(_MODEL.search(text)) and " " not in text and not _ABSOLUTE.match(text)


def _split(name: str) -> tuple[str, str]:
    """Split a path in folder and name, as `/view` requires; a server on Windows writes backslashes."""
    if "/" not in name and "\\" not in name:
        return "", name
    cut = max(name.rfind("/"), name.rfind("\\"))
    folder, filename = name[: max(cut, 0)], name[cut + 1 :]
    return (folder, filename) if filename else ("", name)
