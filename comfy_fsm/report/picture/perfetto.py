"""Perfetto: a scene as a Chrome trace, which ui.perfetto.dev opens.

Spans are asynchronous (`b` and `e`), each with an id of its own, since exchanges of one window overlap and would nest
wrongly on one thread. Only the states of a task stand within its span, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from comfy_fsm.report.picture.scene import UNIT, Bar, Scene

__all__ = ["encode"]

_MICROSECONDS = round(UNIT * 1e6)
_Event = dict[str, Any]


def encode(scene: Scene) -> str:
    """Return the trace as JSON."""
    windows = {name: number for number, name in enumerate(dict.fromkeys(_windows(scene)), 1)}
    events = [*_names(scene, windows), *sorted(_events(scene, windows), key=lambda event: event["ts"])]
    about = {"made by": "comfy-fsm", "files": ", ".join(scene.files), "left out": "; ".join(scene.left_out)}
    return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}).decode()


def _windows(scene: Scene) -> Iterator[str]:
    yield from (lane.window for lane in scene.lanes)
    yield from (task.window for task in scene.tasks)


def _names(scene: Scene, windows: dict[str, int]) -> Iterator[_Event]:
    for name, number in windows.items():
        yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": f"window {name or '(none)'}"}}
    for number, lane in enumerate(scene.lanes, 1):
        told = {"name": f"{lane.kind} {lane.server}".rstrip()}
        yield {"ph": "M", "name": "thread_name", "pid": windows[lane.window], "tid": number, "args": told}


def _events(scene: Scene, windows: dict[str, int]) -> Iterator[_Event]:
    def of(lane: int) -> dict[str, object]:
        return {"pid": windows[scene.lanes[lane].window], "tid": lane + 1}

    for number, span in enumerate(scene.spans):
        closed = scene.length if span.closed < 0 else span.closed
        told = {"line": span.line, "closed by line": span.last, "why": scene.texts[span.word]}
        yield from _span("socket", f"s{number}", "open", (max(span.opened, 0), closed), told | of(span.lane))
    for number, exchange in enumerate(scene.exchanges):
        answer = scene.texts[exchange.answer] if exchange.answer >= 0 else "no answer"
        times = exchange.asked, exchange.answered if exchange.answered >= 0 else exchange.asked
        told = {"line": exchange.line, "answered by line": exchange.last, "answer": answer}
        yield from _span("http", f"h{number}", scene.texts[exchange.word], times, told | of(exchange.lane))
    for frame in scene.frames:
        yield _instant(scene.texts[frame.word], frame.at, "t", {"line": frame.line}) | of(frame.lane)
    for number, task in enumerate(scene.tasks):
        yield from _task(task, number, windows[task.window], scene)
    texts = scene.texts
    for flag in scene.flags:
        about: dict[str, object] = {"lines": flag.lines, "severity": texts[flag.severity], "text": texts[flag.text]}
        yield _instant(f"{texts[flag.severity]}: {texts[flag.code]}", flag.at, "g", about) | {"pid": 0, "tid": 0}
    for act in scene.acts:
        exchange, task = scene.exchanges[act.exchange], scene.tasks[act.task]
        told = {"line": exchange.line, "task": task.id}
        yield _instant(f"{scene.texts[exchange.word]} hits {task.task}", exchange.asked, "p", told) | of(exchange.lane)


def _span(category: str, id: str, name: str, times: tuple[int, int], told: dict[str, object]) -> Iterator[_Event]:
    """Yield beginning and end of a span; an end before its beginning, by a clock that stepped, is moved there."""
    pid, tid = told.pop("pid"), told.pop("tid")
    begun, ended = times
    same = {"cat": category, "id": id, "name": name, "pid": pid, "tid": tid}
    yield same | {"ph": "b", "ts": begun * _MICROSECONDS, "args": told}
    yield same | {"ph": "e", "ts": max(begun, ended) * _MICROSECONDS}


def _task(task: Bar, number: int, pid: int, scene: Scene) -> Iterator[_Event]:
    """Yield a task with its states within it, which begin and end in order whatever the clock did."""
    if not task.moves:
        return
    begun = task.moves[0].at
    ended = max(begun, task.settled if task.settled >= 0 else scene.length)
    same: _Event = {"cat": "task", "id": f"t{number}", "pid": pid, "tid": 0}
    told = {"task": task.id, "tag": task.tag, "server": task.server, "state": task.state}
    yield same | {"ph": "b", "name": f"task {task.task}", "ts": begun * _MICROSECONDS, "args": told}
    at = begun
    for place, move in enumerate(task.moves):
        at = min(max(at, move.at), ended)
        until = task.moves[place + 1].at if place + 1 < len(task.moves) else ended
        until = min(max(at, until), ended)
        why = {"line": move.line, "seen": scene.texts[move.seen], "why": scene.texts[move.why]}
        yield same | {"ph": "b", "name": scene.texts[move.state], "ts": at * _MICROSECONDS, "args": why}
        yield same | {"ph": "e", "name": scene.texts[move.state], "ts": until * _MICROSECONDS}
    yield same | {"ph": "e", "name": f"task {task.task}", "ts": ended * _MICROSECONDS}


def _instant(name: str, at: int, scope: str, told: dict[str, object]) -> _Event:
    return {"ph": "i", "name": name, "ts": at * _MICROSECONDS, "s": scope, "args": told}
