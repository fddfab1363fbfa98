"""Tests of the collector: what a picture shows of a trace, and what it says it does not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_fsm.log.trace import Block
from comfy_fsm.report.picture import collector
from comfy_fsm.report.picture.scene import UNIT
from comfy_fsm.report.player import replay
from tests.support.fixtures import MADE, RECORDINGS, name_of
from tests.support.lines import START, line
from tests.support.pictures import Picture, picture_of, run


def words(picture: Picture, *numbers: int) -> list[str]:
    return [picture.scene.texts[number] for number in numbers]


def lines_of(picture: Picture) -> list[int]:
    scene = picture.scene
    exchanges = [line for each in scene.exchanges for line in (each.line, each.last)]
    spans = [line for each in scene.spans for line in (each.line, each.last)]
    return sorted(line for line in [*exchanges, *spans, *(each.line for each in scene.frames)] if line >= 0)


def test_a_run_is_drawn_with_its_socket_its_exchanges_and_its_task() -> None:
    picture = picture_of(run())
    scene = picture.scene
    assert [(lane.window, lane.server, lane.kind) for lane in scene.lanes] == [
        ("w", "one:8188", "socket"),
        ("w", "one:8188", "http"),
    ]
    (span,) = scene.spans
    assert (span.line, span.last, words(picture, span.word)) == (1, 6, ["socket closed, code 1006"])
    assert [words(picture, each.word, each.answer) for each in scene.exchanges] == [
        ["POST /prompt", "200"],
        ["GET /history/p-1", "200"],
    ]
    assert [each.task for each in scene.exchanges] == [0, 0]
    (task,) = scene.tasks
    assert words(picture, *(move.state for move in task.moves)) == [
        "submitting", "pending", "in_progress", "completed",
    ]  # fmt: skip
    assert task.last == 8
    assert task.settled * UNIT == pytest.approx(0.7)


@pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
def test_of_a_recording_every_line_is_drawn_or_counted_once(path: Path) -> None:
    picture = picture_of(path)
    drawn = lines_of(picture)
    assert len(drawn) == len(set(drawn))
    told = sum(int(text.split()[0].replace(",", "")) for text in picture.scene.left_out if "tick" in text)
    headers = sum(b'"kind":"trace"' in each.replace(b" ", b"") for each in _raw(path))
    damaged = sum(finding.code in ("damaged", "undecodable") for finding in picture.replay.findings)
    assert picture.replay.trace.observations - len(drawn) <= told + headers
    assert len(drawn) <= picture.replay.trace.observations + damaged + picture.replay.unkept_findings + 1


def _raw(path: Path) -> list[bytes]:
    from tests.support.fixtures import bytes_of

    return bytes_of(path).splitlines()


def test_an_interrupt_points_at_what_it_hit() -> None:
    picture = picture_of(next(path for path in RECORDINGS if name_of(path) == "0.3.64/interrupts"))
    scene = picture.scene
    hits = [(words(picture, scene.exchanges[act.exchange].word)[0], scene.tasks[act.task].state) for act in scene.acts]
    assert hits == [("POST /interrupt", "cancelled")] * 2
    windows = {(scene.lanes[scene.exchanges[a.exchange].lane].window, scene.tasks[a.task].window) for a in scene.acts}
    assert len(windows) == 2


def test_time_in_which_nothing_was_seen_is_a_gap() -> None:
    picture = picture_of([*run("p-1"), *run("p-2", START + 3_600)])
    ((begun, ended),) = picture.scene.gaps
    assert (ended - begun) * UNIT == pytest.approx(3_600 - 0.7)


def test_only_the_time_that_is_asked_for_is_drawn_and_the_rest_is_counted() -> None:
    picture = picture_of([*run("p-1"), *run("p-2", START + 60)], since=START + 30)
    assert lines_of(picture) == list(range(9, 17))
    assert picture.scene.left_out == ["8 lines (outside of the time that was asked for)"]


def test_a_long_trace_stays_small_and_what_counts_stays_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_OTHERS", 50)
    statuses = [line("ws.message", {"type": "status", "data": {}}, START + n) for n in range(5_000)]
    picture = picture_of([*run("p-1"), *statuses])
    moved = {move.line for move in picture.scene.tasks[0].moves}
    assert moved <= set(lines_of(picture))
    assert len(picture.scene.frames) < 60
    assert any("frames (drawn are those that moved a task or are cited)" in text for text in picture.scene.left_out)


def test_windows_beyond_the_last_lane_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_LANES", 2)
    picture = picture_of([*run("p-1", window="a"), *run("p-2", window="b")])
    assert picture.scene.left_out == ["8 lines (of windows beyond the first 2 lanes)"]


def test_requests_that_are_never_answered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_OPEN", 3)
    asked = [
        line("http.request", {"id": str(n), "method": "GET", "path": "/queue"}, START + n / 100) for n in range(10)
    ]
    scene = picture_of(asked).scene
    assert [each.line for each in scene.exchanges] == list(range(1, 11))
    assert {each.answered for each in scene.exchanges} == {-1}


def test_an_empty_trace_has_an_empty_scene() -> None:
    found = replay([])
    scene = collector.scene_of(found, [Block((), ())])
    assert (scene.lanes, scene.frames, scene.tasks, scene.left_out) == ([], [], [], [])
