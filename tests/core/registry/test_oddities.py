"""Oddities: what could not be understood about a known prompt is told by name, and judges nothing."""

from __future__ import annotations

import pytest

from comfy_fsm.core.findings import Code
from comfy_fsm.core.machine import State
from tests.support.stories import ID, ID2, Story, record


def told(story: Story) -> list[str]:
    board = story.board()
    assert {task.state for task in board.tasks} <= {State.PENDING, State.COMPLETED}
    return [finding.text for finding in board.findings if finding.code == Code.UNRECOGNIZED]


def asked(path: str, answer: object) -> Story:
    return Story().listen().post().ask("GET", path, None, 200, answer)


@pytest.mark.parametrize(
    ("path", "answer"), [(f"/my/{ID}", {}), ("/my/route?x=1", {"about": ID}), (f"/my/{ID.replace('-', '%2D')}", None)]
)
def test_an_answer_of_an_unknown_route_about_our_prompt_is_told(path: str, answer: object) -> None:
    (text,) = told(asked(path, answer))
    assert "is no route of ComfyUI" in text


@pytest.mark.parametrize(("path", "answer"), [("/my/route", {"about": ID2}), ("/my//", None), ("/my", "x" * 300)])
def test_an_answer_of_an_unknown_route_about_something_else_is_not(path: str, answer: object) -> None:
    assert told(asked(path, answer)) == []


@pytest.mark.parametrize(
    ("answer", "came"),
    [([], "a list"), ("page", "a text"), (7, "a number or a flag"), ({"odd": 1}, "another object")],
)
@pytest.mark.parametrize("path", ["/queue", "/api/jobs"])
def test_an_answer_that_is_not_what_was_asked_for_is_told_by_what_it_is(path: str, answer: object, came: str) -> None:
    (text,) = told(asked(path, answer))
    assert text.startswith(f"{came} came where a ")


def test_an_answer_that_the_recorder_could_not_read_is_not_told_again() -> None:
    assert told(asked("/queue", None)) == []


@pytest.mark.parametrize(("items", "more"), [([[1]], ""), ([[1], [2], "x"], ", and 2 more")])
def test_odd_items_of_a_queue_are_told_in_one_sentence(items: list[object], more: str) -> None:
    queue = {"queue_running": items, "queue_pending": [[1, ID, {}, {}, []]]}
    (text,) = told(asked("/queue", queue))
    assert text == f"the queue: queue_running[0] has no prompt id{more}; the rest of it counts"


def test_an_odd_part_of_a_record_is_told_and_the_rest_counts() -> None:
    entry = record() | {"prompt": 7}
    assert isinstance(entry["status"], dict)
    entry["status"] |= {"completed": []}
    story = Story().listen().post().start().hear("execution_success").fetch(entry)
    (text,) = told(story)
    assert text == "its record: status.completed is a list; the rest of it counts"


def test_a_word_that_is_not_known_is_told_as_it_came() -> None:
    story = asked(f"/api/jobs/{ID}", {"id": ID, "status": "parked"})
    (text,) = told(story)
    assert text == "the status of its job is 'parked', which is no word that is known, and was not judged"
