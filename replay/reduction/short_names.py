"""Short names in place of those of an incident: prompts, windows, servers and requests, each the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from comfy_fsm.core import observations as seen
from comfy_fsm.core.registry.server_identity import spelled
from replay.lines.order import given_by, prompt_of
from replay.lines.reading import Line

__all__ = ["Names", "names_of", "renamed", "walked"]

Names = Mapping[str, str]
_WORD = re.compile(r"[\w-]+")


def names_of(lines: Sequence[Line], values: Iterable[Any]) -> Iterator[Names]:
    """Return the new names: of prompts, of windows, of servers, of requests."""
    seen_lines = [line.observation for line in lines]
    answers = (given_by(o.data.body) for o in seen_lines if isinstance(o, seen.Response))
    yield _numbered("p", (*map(prompt_of, seen_lines), *answers))
    yield _numbered("w", (*(o.window for o in seen_lines), *_clients(values)))
    servers = _numbered("http://s", (o.server for o in seen_lines))
    yield {**servers, **{spelled(old): new for old, new in servers.items()}}
    yield _numbered("r", (o.data.id for o in seen_lines if isinstance(o, seen.Request | seen.Response | seen.NoAnswer)))


def renamed(names: Names, text: str) -> str:
    """Return the text with its new name, or with those of the words and the address in it."""
    if text in names:
        return names[text]
    address = next((name for name in names if "://" in name and text.startswith(name)), None)
    if address is not None:
        return names[address] + text.removeprefix(address)
    return _WORD.sub(lambda word: names.get(word.group(), word.group()), text)


def walked(names: Names, value: Any) -> Any:
    """Return a JSON value with all its texts renamed, keys too."""
    match value:
        case str():
            return renamed(names, value)
        case dict():
            return {renamed(names, key): walked(names, item) for key, item in value.items()}
        case list():
            return [walked(names, item) for item in value]
    return value


def _numbered(prefix: str, names: Iterable[str | None]) -> dict[str, str]:
    found = dict.fromkeys(name for name in names if name)
    return {name: f"{prefix}{number}" for number, name in enumerate(found, 1)}


def _clients(value: Any) -> Iterator[str]:
    """Yield the client ids that a value holds anywhere: those of windows that observed nothing themselves."""
    if isinstance(value, dict):
        client = value.get("client_id")
        if isinstance(client, str):
            yield client
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _clients(item)
