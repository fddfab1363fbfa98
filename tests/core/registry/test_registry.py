"""The registry: one server under each of its names, one finding about each thing, and a bound on whatever may grow."""

from __future__ import annotations

import pytest

from comfy_fsm.core.effects import Deliver, LookAtQueue, OpenSocket
from comfy_fsm.core.findings import Code, Finding
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.wire import codec
from tests.support.folding import entries
from tests.support.stories import AWAY, HOME, ID, ID2, ME, OTHER, STORIES, Story, begun, record


def found(board: Board, code: Code) -> list[Finding]:
    return [finding for finding in board.findings if finding.code == code]


def test_a_server_is_one_however_it_is_spelled_and_to_look_it_up_adds_none() -> None:
    board = Story().listen().at(HOME + "/").post().board()
    assert board.addresses == [HOME]
    assert board.server("HTTP://127.0.0.1:8188/") is board.server(HOME)
    assert board.server(AWAY).tasks == {}
    assert [server.url for server in board.servers] == [HOME]


def test_one_finding_tells_of_one_thing_and_is_counted_and_cites_the_first_lines() -> None:
    story = begun()
    for _ in range(20):
        story.hear("execution_start", timestamp=1)
    (finding,) = found(story.board(Policy(lines=3)), Code.OUT_OF_ORDER)
    assert finding.count == 20
    assert len(finding.positions) == 3
    assert finding.positions == sorted(finding.positions)


def test_of_many_names_the_first_have_a_finding_each_and_all_others_share_one() -> None:
    story = begun()
    for number in range(9):
        story.tell("ws.message", {"type": f"odd{number}", "data": {}}).tell("ws.message", {"type": "odd0", "data": {}})
    notes = found(story.board(Policy(names=4)), Code.UNRECOGNIZED)
    assert [finding.count for finding in notes] == [10, 1, 1, 1, 5]
    assert "and all others, after 4 of them" in notes[-1].text


def test_notes_beyond_the_bound_are_counted_and_errors_are_kept() -> None:
    story = begun()
    for number in range(9):
        story.tell("ws.message", {"type": f"odd{number}", "data": {}})
    board = story.vanish().board(Policy(findings=2))
    assert len(found(board, Code.UNRECOGNIZED)) == 2
    assert board.unkept_findings == 7
    assert found(board, Code.LOST)


def test_of_many_requests_without_an_answer_the_oldest_is_forgotten() -> None:
    story = Story().listen()
    for number in range(3):
        story.tell("http.request", {"id": f"q{number}", "method": "GET", "path": "/queue"})
    for number in range(3):
        story.tell("http.response", {"id": f"q{number}", "status": 200, "body": {"running": [], "pending": []}})
    assert len(story.board(Policy(questions=2)).server(HOME).queues) == 2


def test_an_answer_counts_once_and_one_to_no_request_not_at_all() -> None:
    story = Story().listen()
    story.tell("http.response", {"id": "q", "status": 200})
    story.tell("http.request", {"id": "q", "method": "GET", "path": "/queue"})
    for _ in range(2):
        story.tell("http.response", {"id": "q", "status": 200, "body": {"running": [], "pending": []}})
    story.tell("http.error", {"id": "q", "error": "ReadTimeout"})
    assert sum(story.board().server(HOME).counters.answers.values()) == 1


def test_an_effect_replaces_an_earlier_one_about_the_same_thing() -> None:
    board = begun().hang_up().wait(40).board()
    effects = board.drain()
    kinds = [(type(effect), effect.server) for effect in effects]
    assert len(kinds) == len(set(kinds))
    assert [effect.due for effect in effects] == sorted(effect.due for effect in effects)
    assert {OpenSocket, LookAtQueue} <= {type(effect) for effect in effects}
    assert board.drain() == []


def test_a_result_that_was_handed_over_and_not_delivered_is_handed_over_to_the_next_process() -> None:
    story = begun().hear("execution_success").fetch(record()).command("resume").command("resume")
    story.tell("delivered", {"prompt_id": ID, "state": "completed"}).command("resume")
    board, asked = Board(), list[bool]()
    for entry in entries(map(codec.parse, story.lines)):
        board.fold(entry)
        asked.append(any(isinstance(effect, Deliver) for effect in board.drain()))
    assert asked[-5:] == [True, True, True, False, False]


def test_what_is_forgotten_takes_its_findings_with_it_and_leaves_the_others() -> None:
    story = begun().hear("execution_start", timestamp=1).hear("execution_success").fetch(record()).post(prompt_id=ID2)
    story.tell("ws.message", {"type": "odd", "data": {}})
    board = story.board()
    assert found(board, Code.OUT_OF_ORDER)
    (gone,) = board.forget(0)
    assert gone.prompt_id == ID
    assert [task.prompt_id for task in board.tasks] == [ID2]
    assert not found(board, Code.OUT_OF_ORDER)
    assert found(board, Code.UNRECOGNIZED)
    assert board.forget(0) == []


@pytest.mark.parametrize("name", STORIES)
def test_whatever_was_told_a_board_that_forgets_all_that_is_final_keeps_what_is_not(name: str) -> None:
    board = STORIES[name][0].board()
    gone = board.forget(0)
    assert all(task.settled for task in gone)
    assert {task.number for task in gone}.isdisjoint(task.number for task in board.tasks)
    assert board.due >= 0.0


def test_two_windows_are_known_once_they_asked_or_heard_something() -> None:
    story = Story().listen().post(client_id=OTHER)
    assert story.board().windows == [ME]
    assert story.tell("ws.open", {}, window=OTHER).board().windows == [ME, OTHER]


def test_another_spelling_of_a_server_is_told_once() -> None:
    story = Story().listen().at("http://localhost:8188/").look().look().at("HTTP://localhost:8188").look()
    assert len(found(story.at(HOME).post().board(), Code.SAME_SERVER)) <= 2


def test_what_was_forgotten_is_remembered_by_its_id_up_to_a_bound() -> None:
    story = Story().listen().post(prompt_id="third")
    for prompt_id in (ID, ID2):
        entry = record() | {"prompt": [1, prompt_id, {}, {}, []]}
        story.post(prompt_id=prompt_id).ask("GET", f"/history/{prompt_id}", None, 200, {prompt_id: entry})
    story.wait(9)
    board = story.board(Policy(homes=1))
    assert len(board.forget(0)) == 2
    late = codec.parse(Story().elsewhere(AWAY, "h", f"/history/{ID}", {}).lines[0])
    board.fold_observation(board.position + 1, late)
    assert found(board, Code.WRONG_SERVER) == []


def test_a_query_that_is_performed_is_asked_for_again_by_the_next_gap() -> None:
    board, asked = Board(), list[bool]()
    for entry in entries(map(codec.parse, begun().hang_up().listen().hang_up().listen().lines)):
        board.fold(entry)
        asked.append(any(isinstance(effect, LookAtQueue) for effect in board.drain()))
    assert asked[-4:] == [False, True, False, True]


def test_a_task_that_was_refused_under_its_id_leaves_the_id_to_the_next() -> None:
    board = Story().listen().post(400).post().wait(9).board()
    assert [task.state for task in board.forget(0)] == ["rejected"]
    assert board.task(ID, HOME) is board.tasks[0]


def test_a_query_under_an_id_that_was_given_up_meanwhile_is_about_no_task() -> None:
    """Our mark shows that a server took the prompt under another id (P10)."""
    queue = {"queue_running": [[1, ID2, {}, {"comfy_fsm": ID}, []]], "queue_pending": []}
    board = Story().listen().post("ReadTimeout").ask("GET", "/queue", None, 200, queue).board()
    assert [task.prompt_id for task in board.tasks] == [ID2]
    assert ID in {effect.prompt_id for effect in board.drain() if isinstance(effect, LookAtQueue)}
