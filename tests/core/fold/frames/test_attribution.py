"""Attribution: a frame acts on a task only if server, window and prompt agree; what nobody claims waits."""

from __future__ import annotations

import pytest

from comfy_fsm.core.findings import Code, Finding
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import codec
from tests.support.stories import AWAY, HOME, ID, ID2, ME, OTHER, Story, begun, record


def task_of(board: Board) -> Task:
    (task,) = board.tasks
    return task


def found(board: Board, code: Code) -> list[Finding]:
    return [finding for finding in board.findings if finding.code == code]


def frame(story: Story, name: str, window: str = ME, server: str = HOME, **data: object) -> Story:
    return story.tell("ws.message", {"type": name, "data": {"prompt_id": ID, **data}}, window, server)


def test_a_frame_to_another_window_is_noted_and_changes_nothing() -> None:
    story = begun()
    for _ in range(12):
        frame(story, "execution_success", OTHER)
    board = story.board()
    (note,) = found(board, Code.FOREIGN_MESSAGE)
    assert (task_of(board).outcome, note.count, len(note.positions)) == (None, 12, Policy().lines)


def test_a_note_that_is_not_kept_is_made_again_when_there_is_room() -> None:
    story = begun().tell("ws.message", {"type": "odd", "data": {}})
    for _ in range(2):
        frame(story, "progress", OTHER)
    board = story.board(Policy(findings=1))
    assert (found(board, Code.FOREIGN_MESSAGE), board.unkept_findings) == ([], 2)


def test_a_frame_to_the_client_id_of_its_post_is_about_it() -> None:
    board = frame(Story().listen().post(client_id=OTHER), "execution_success", OTHER).board()
    assert task_of(board).outcome is State.COMPLETED


def test_a_frame_of_another_server_is_of_the_wrong_one() -> None:
    board = frame(begun(), "execution_success", server=AWAY).board()
    assert (task_of(board).outcome, len(found(board, Code.WRONG_SERVER))) == (None, 1)


def test_a_frame_about_a_task_that_was_forgotten_is_about_nobody() -> None:
    board = begun().hear("execution_success").fetch(record()).board()
    board.forget(0)
    late = frame(begun().hear("execution_success").fetch(record()), "progress").lines[-1]
    board.fold_observation(board.position + 1, codec.parse(late))
    assert (board.tasks, board.findings) == ([], [])


ADDRESSED = {"execution_start": True, "executing": True, "execution_success": True, "progress": False,
             "progress_state": False, "execution_interrupted": False}  # fmt: skip


@pytest.mark.parametrize("name", ADDRESSED)
def test_a_frame_of_an_unknown_prompt_is_of_its_window_if_only_that_was_addressed(name: str) -> None:
    board = Story().listen().hear(name, node="1").board(finish=True)
    assert bool(board.tasks) is ADDRESSED[name]
    assert bool(found(board, Code.UNKNOWN_PROMPT)) is not ADDRESSED[name]


def test_an_error_that_is_blocked_may_have_been_sent_to_everybody() -> None:
    blocked = Story().listen().hear("execution_error", exception_type="ExecutionBlocked")
    assert blocked.board().tasks == []
    assert len(Story().listen().hear("execution_error", exception_type="OSError").board().tasks) == 1


def test_what_came_before_the_post_is_folded_with_it() -> None:
    story = Story().listen().hear("progress", value=1, max=2)
    story.tell("ws.binary", {"event": 4, "metadata": {"prompt_id": ID}})
    story.tell("ws.message", {"type": "progress", "data": {"prompt_id": ID, "value": 2, "max": 2}}, OTHER)
    board = story.post().board()
    assert (task_of(board).state, task_of(board).frames) == (State.IN_PROGRESS, 2)
    assert board.frames == (3, 3)
    assert not found(board, Code.CLOCK_STEP)


def test_of_prompts_that_nobody_claims_the_first_frames_are_kept_and_the_oldest_prompt_goes() -> None:
    story = Story().listen()
    for prompt_id in (ID, ID2):
        for _ in range(3):
            story.tell("ws.message", {"type": "progress", "data": {"prompt_id": prompt_id}})
    board = story.board(Policy(waiting_prompts=1, waiting_frames=2))
    (note,) = found(board, Code.UNKNOWN_PROMPT)
    assert (note.prompt_id, note.count) == (ID, 2)


def test_windows_own_only_so_many_prompts_that_nobody_posted() -> None:
    story = Story().listen().hear("execution_start").tell(
        "ws.message", {"type": "execution_start", "data": {"prompt_id": ID2}})  # fmt: skip
    assert [task.prompt_id for task in story.board(Policy(unposted=1)).tasks] == [ID]


def test_a_frame_without_an_id_is_nobodys_unless_it_is_progress_of_what_runs() -> None:
    """Before January 2024 progress had no id."""
    story = begun().tell("ws.message", {"type": "progress", "data": {"value": 1, "max": 2}})
    assert not found(story.board(), Code.UNATTRIBUTED)
    for name in ("executing", "executed"):
        story.tell("ws.message", {"type": name, "data": {"node": "1"}})
    assert sum(note.count for note in found(story.board(), Code.UNATTRIBUTED)) == 2
    idle = Story().listen().tell("ws.message", {"type": "progress", "data": {"value": 1}})
    assert found(idle.board(), Code.UNATTRIBUTED)


def test_a_preview_without_metadata_is_of_nobody() -> None:
    board = begun().tell("ws.binary", {"event": 1, "format": "image/png"}).board()
    assert board.imaged is None
    foreign = begun().tell("ws.binary", {"event": 4, "metadata": {"prompt_id": ID}}, OTHER).board()
    assert found(foreign, Code.FOREIGN_MESSAGE)


def test_a_frame_that_is_earlier_than_the_one_before_it_is_a_step_of_the_clock() -> None:
    story = begun()
    story._at -= 5.0
    assert found(story.hear("progress", value=1, max=2).board(), Code.CLOCK_STEP)


@pytest.mark.parametrize("name", ["assets.seed", "logs", "notification"])
def test_a_frame_that_is_known_to_be_about_no_prompt_is_not_noted(name: str) -> None:
    assert Story().listen().tell("ws.message", {"type": name, "data": {}}).board().findings == []


@pytest.mark.parametrize(("data", "why"), [({"type": "odd", "data": {}}, ""), ({"type": "progress", "data": 7}, ": ")])
def test_a_frame_that_is_not_known_is_noted_with_its_name(data: object, why: str) -> None:
    (note,) = Story().listen().tell("ws.message", data).board().findings
    assert note.text.startswith(f"frame of type '{data['type']}'{why}")


LATE = {
    "a stated end": ("execution_success", {}, State.COMPLETED),
    "an end without an outcome": ("executing", {"node": None}, None),
    "news of the run": ("progress", {"value": 1, "max": 2}, None),
    "an interrupt": ("execution_interrupted", {}, State.CANCELLED),
}


@pytest.mark.parametrize("name", LATE)
def test_a_frame_takes_back_what_was_concluded_from_absence(name: str) -> None:
    frame_name, data, outcome = LATE[name]
    lost = begun().vanish().hear(frame_name, **data).board()
    assert found(lost, Code.LATE_EVIDENCE)
    assert task_of(lost).outcome is outcome
    cancelled = Story().listen().post().vanish().hear(frame_name, **data).board()
    assert bool(found(cancelled, Code.LATE_EVIDENCE)) is (frame_name != "execution_interrupted")


def count(story: Story, number: int, window: str = ME) -> Story:
    return story.tell(
        "ws.message", {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": number}}}}, window
    )


def looks(board: Board) -> int:
    return sum(type(effect).__name__ == "LookAtQueue" for effect in board.drain())


def test_a_queue_that_shrinks_without_an_end_of_ours_causes_one_query() -> None:
    assert looks(count(count(begun(), 2), 1).board()) == 1
    assert looks(count(count(begun(), 1), 2).board()) == 0
    told = count(count(begun(), 2).hear("execution_success"), 1).board()
    assert looks(told) == 0
    assert looks(count(count(Story().listen(), 2), 1).board()) == 0
    soon = count(begun(), 3)
    for number in (2, 1):
        soon._at -= 0.9
        count(soon, number)
    assert looks(soon.board()) == 1


def test_what_is_not_accepted_yet_is_not_asked_about_when_the_queue_shrinks() -> None:
    board = count(count(Story().listen().post(502).hear("execution_start").post("", ID2), 2), 1).board()
    assert looks(board) >= 1


def test_only_so_many_sockets_are_remembered_to_count_the_queue() -> None:
    story = begun()
    for number in range(200):
        count(story, 1, f"window {number}")
    assert len(story.board().server(HOME).counting) < 200
