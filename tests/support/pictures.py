"""Pictures of lines in memory: the replay, its scene, and the page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from typing import NamedTuple

from comfy_fsm.report.picture import html_page
from comfy_fsm.report.picture.collector import scene_of
from comfy_fsm.report.picture.scene import Scene
from comfy_fsm.report.player import Replay, replay
from comfy_fsm.report.sources import Source, Sources
from tests.support.lines import START, frame, line

MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'`${alert(3)}"
"""A name that a server may choose to run in the browser of whoever looks at a picture."""


class Picture(NamedTuple):
    replay: Replay
    scene: Scene
    page: str


def picture_of(source: Source | Iterable[bytes], since: float | None = None, until: float | None = None) -> Picture:
    source = source if isinstance(source, str) or hasattr(source, "__fspath__") else list(source)
    found = replay(source)
    with closing(Sources([source])) as again:
        scene = scene_of(found, again.blocks(), since, until)
    return Picture(found, scene, html_page.draw(found, scene, utc=True))


def run(id: str = "p-1", at: float = START, window: str = "w") -> list[bytes]:
    """A window that posts a prompt, hears of its run, loses its socket, and finds its record."""
    path = f"/history/{id}"
    status = {"status_str": "success", "completed": True, "messages": [["execution_success", {"prompt_id": id}]]}
    record = {"prompt": [1, id, {}, {}, ["9"]], "outputs": {"9": {}}, "status": status}
    told = [
        ("ws.open", {}),
        (
            "http.request",
            {"id": f"a{id}", "method": "POST", "path": "/prompt", "body": {"prompt_id": id, "prompt": {}}},
        ),
        ("http.response", {"id": f"a{id}", "status": 200, "body": {"prompt_id": id, "number": 1, "node_errors": {}}}),
        ("ws.message", {"type": "execution_start", "data": {"prompt_id": id}}),
        ("ws.message", {"type": "executing", "data": {"prompt_id": id, "node": "9"}}),
        ("ws.close", {"code": 1006, "reason": ""}),
        ("http.request", {"id": f"b{id}", "method": "GET", "path": path, "body": None}),
        ("http.response", {"id": f"b{id}", "status": 200, "body": {id: record}}),
    ]
    return [line(kind, data, at + number / 10, window=window) for number, (kind, data) in enumerate(told)]


def hostile(name: str) -> list[bytes]:
    """The same, and more of it, with this name wherever a server, a window or an application may choose one."""
    lines = [*run(name, window=name), frame(name, START + 2, name, prompt_id=name)]
    error = {"prompt_id": name, "node_id": name, "node_type": name, "exception_type": name, "exception_message": name}
    lines.append(frame("execution_error", START + 3, name, **error))
    lines.append(line("ws.undecodable", {"error": name, "text": name}, START + 4, window=name))
    lines.append(line(name, {name: name}, START + 5, window=name, server=name))
    request = {"id": name, "method": name, "path": f"/{name}", "body": {name: name}}
    lines.append(line("http.request", request, START + 6, window=name))
    lines.append(line("http.error", {"id": name, "error": name}, START + 7, window=name))
    lines.append(line("command", {"name": name, "prompt_id": name, "tag": name}, START + 8, window=name))
    return [json.dumps(json.loads(each)).encode() for each in lines]
