"""Bare frames of somebody's script: never a wrong verdict, and what they cannot tell is said once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.captures.detection import form_of
from comfy_fsm.captures.frame_dump import seconds
from comfy_fsm.core.machine import State
from comfy_fsm.report.player import Replay, replay

ROOT = Path(__file__).parents[2] / "fixtures" / "recordings"
RECORDINGS = sorted(ROOT.glob("*/*.jsonl.gz"))

Frame = dict[str, Any]


def sockets_of(path: Path) -> dict[tuple[str, str], list[tuple[float, Frame]]]:
    found: dict[tuple[str, str], list[tuple[float, Frame]]] = {}
    for raw in gzip.decompress(path.read_bytes()).splitlines():
        line = json.loads(raw) if raw.strip() else {}
        if line.get("kind") == "ws.message" and isinstance(line["data"].get("data"), dict):
            found.setdefault((line.get("window", ""), line.get("server", "")), []).append((line["at"], line["data"]))
    return found


def bare(frames: list[tuple[float, Frame]]) -> str:
    return "".join(json.dumps(frame) + "\n" for _, frame in frames)


def stamped(frames: list[tuple[float, Frame]]) -> str:
    return "".join(json.dumps({"timestamp": int(at * 1000), **frame}) + "\n" for at, frame in frames)


def wrapped(frames: list[tuple[float, Frame]]) -> str:
    return "".join(json.dumps({"ts": at, "message": json.dumps(frame)}) + "\n" for at, frame in frames)


def listed(frames: list[tuple[float, Frame]]) -> str:
    return json.dumps([frame for _, frame in frames], indent=1)


SHAPES = [bare, stamped, wrapped, listed]


def judged(text: str, folder: Path) -> Replay:
    path = folder / "frames.txt"
    path.write_text(text, encoding="utf-8")
    return replay(path)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_frames_of_a_socket_alone_are_never_judged_otherwise(path: Path, tmp_path: Path) -> None:
    right = {task.prompt_id: task for task in replay(path).tasks}
    for (_, server), frames in sockets_of(path).items():
        for shape in SHAPES:
            found = judged(shape(frames), tmp_path)
            assert found.notes
            for task in found.tasks:
                whole = right.get(task.prompt_id)
                if whole is not None and whole.server == server and task.outcome is not None:
                    assert task.outcome == whole.outcome, (shape.__name__, task.prompt_id)
                    assert task.confidence != "verified"


@pytest.mark.parametrize("shape", SHAPES)
def test_an_end_that_was_stated_in_bare_frames_is_told(shape: Callable[..., str], tmp_path: Path) -> None:
    frames = [
        (1_767_323_046.0, {"type": "status", "data": {"sid": "w", "status": {"exec_info": {"queue_remaining": 1}}}}),
        (1_767_323_047.0, {"type": "execution_start", "data": {"prompt_id": "p"}}),
        (1_767_323_049.5, {"type": "execution_error", "data": {"prompt_id": "p", "exception_message": "out of paint"}}),
    ]
    (task,) = judged(shape(frames), tmp_path).tasks
    assert (task.outcome, task.window) == (State.FAILED, "w")
    assert task.error is not None
    assert task.error.message == "out of paint"


@pytest.mark.parametrize("told", [
    1_767_323_046, 1_767_323_046.0, 1_767_323_046_000, 1_767_323_046_000_000, "1767323046", "2026-01-02T03:04:06Z",
    "2026-01-02T03:04:06", "2026-01-02T05:04:06+02:00",
])  # fmt: skip
def test_a_time_is_read_in_every_usual_unit_and_spelling(told: object) -> None:
    assert seconds(told) == 1_767_323_046.0


@pytest.mark.parametrize("odd", [None, True, -1, float("nan"), float("inf"), "soon", [], {}])
def test_what_is_no_time_is_none(odd: object) -> None:
    assert seconds(odd) is None


def test_frames_without_times_say_so_once(tmp_path: Path) -> None:
    found = judged(bare([(0.0, {"type": "progress", "data": {"prompt_id": "p"}})] * 3), tmp_path)
    assert sum("no frame has a time" in note for note in found.notes) == 1


def test_what_is_no_frame_among_frames_is_kept_and_counted(tmp_path: Path) -> None:
    text = bare([(0.0, {"type": "progress", "data": {"prompt_id": "p"}})]) + "not JSON\n{}\n"
    found = judged(text, tmp_path)
    assert sum("2 entries are no frames" in note for note in found.notes) == 1
    assert "undecodable" in {finding.code for finding in found.findings}


@pytest.mark.parametrize("head", [
    b"", b"{}", b"[]", b"[1]", b"null", b"hello", b'{"at":1,"kind":"tick","data":{}}', b'{"type":"module","name":"x"}',
    b'{"kind":"ws.message","at":1,"data":{"type":"status","data":{}}}', b'{"6":{"class_type":"A","inputs":{}}}',
    b"[" * 5000, b'{"a":' * 5000,
])  # fmt: skip
def test_what_is_no_capture_is_left_to_the_reader_of_traces(head: bytes) -> None:
    assert form_of(head) is None
