"""Tests of the details of a task: its diagnosis, whole, with nothing in it that controls a terminal or a page."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfy_fsm.core.explain.diagnosis import diagnose
from comfy_fsm.core.wire import codec
from comfy_fsm.watch.projection import Projection
from comfy_fsm.watch.task_details import details
from tests.support.hostile import HOSTILE
from tests.support.lines import START, frame, line, lines_of

RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "recordings" / "0.3.64"


def projected(*lines: bytes) -> Projection:
    made = Projection()
    for position, each in enumerate(lines, 1):
        made.take(position, codec.read(each, START), each)
    return made


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for each in value.values() for text in texts(each))
    elif isinstance(value, list):
        yield from (text for each in value for text in texts(each))


@pytest.mark.parametrize("name", ["fleet-small", "errors", "server-killed", "interrupts"])
def test_the_details_are_those_of_the_diagnosis(name: str) -> None:
    made = projected(*lines_of(RECORDED / f"{name}.jsonl.gz"))
    told = {diagnosis.prompt_id: diagnosis for diagnosis in diagnose(made.board, log="x.log")}
    for task in made.board.tasks:
        found, wanted = details(made.board, task, "x.log"), told[task.prompt_id]
        assert (found["state"], found["says"]["text"]) == (wanted.state, wanted.says.text)
        assert [step["command"] for step in found["steps"]] == [step.command for step in wanted.steps]
        assert json.loads(msgspec.json.encode(found)) == found


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_server_named_is_made_harmless(name: str) -> None:
    why = {"exception_type": name, "exception_message": name, "node_id": name, "node_type": name}
    made = projected(
        line("ws.open", {}, START, server=name, window=name),
        line("ws.message", {"type": "execution_error", "data": {"prompt_id": name, **why}}, server=name, window=name),
        frame("execution_start", prompt_id=name),
    )
    for task in made.board.tasks:
        for text in texts(details(made.board, task, name)):
            assert text.isprintable(), ascii(text)
