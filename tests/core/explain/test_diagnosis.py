"""Tests of diagnoses: every fixture, cut anywhere, is explained, with the right advice for each finding and open
task.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.explain.diagnosis import CONCERNS, diagnose, explain, loose, rule_of
from comfy_fsm.core.explain.rules import SAYS
from comfy_fsm.core.findings import CODES, Code
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies import observations, true_runs
from replay import replay
from tests.support.examples import few
from tests.support.explaining import cited, dump
from tests.support.fixtures import FIXTURES
from tests.support.folding import fold_all
from tests.support.stories import AWAY, HOME, ID, STORIES, Story, begun, record

# the same state, for different reasons


NO_CAUSE = list(STORIES)[list(STORIES).index("moved on, refused") :]


@pytest.mark.parametrize("name", STORIES)
def test_the_sentence_tells_the_cause(name: str) -> None:
    story, state, phrase = STORIES[name]
    for board in (story.board(), story.replay().board):
        told = next(each for each in diagnose(board) if each.prompt_id == ID)
        assert told.state is state
        assert phrase in told.says.text


def test_the_same_state_by_another_cause_is_another_diagnosis() -> None:
    causes = [story for name, (story, *_) in STORIES.items() if name not in NO_CAUSE]
    told = [next(each for each in diagnose(story.board()) if each.prompt_id == ID) for story in causes]
    sentences = {(each.state, each.says.text, *(remark.text for remark in each.missing)) for each in told}
    assert len(sentences) == len(told)


@pytest.mark.parametrize("name", STORIES)
def test_the_rule_is_what_is_said_before_names_and_numbers_are_put_in(name: str) -> None:
    board = STORIES[name][0].board()
    task = next(each for each in board.tasks if each.prompt_id == ID)
    told = next(each for each in diagnose(board) if each.prompt_id == ID)
    fixed = re.split(r"\{[^}]*\}", rule_of(board, task))
    assert re.fullmatch(".*".join(map(re.escape, fixed)), told.says.text, re.DOTALL)


def test_whose_job_went_on_is_not_to_be_submitted_again() -> None:
    for name in ("moved on, never sent", "moved on, refused", "moved on, taken back"):
        (told,) = diagnose(STORIES[name][0].board())
        steps = " ".join(step.text for step in told.steps)
        assert "Do not submit it again" in steps
        assert not re.search("[Ss]ubmit it again(?!:)", steps), steps


def test_what_a_server_once_had_is_not_to_be_posted_again_as_if_it_was_never_taken() -> None:
    for name in ("reopened", "bound elsewhere"):
        (told,) = diagnose(STORIES[name][0].board())
        steps = " ".join(step.text for step in told.steps)
        assert "never taken" not in steps
        assert "look for its files" in steps


def test_every_state_has_a_sentence_for_the_rest() -> None:
    for state in State:
        last = [row for row in SAYS if state in row.states][-1]
        assert last.when(None)


# what holds for anything


@few
@given(st.lists(observations(), max_size=25))
def test_anything_at_all_is_diagnosed_and_changes_nothing(seen: list[AnyObservation]) -> None:
    plain, asked = fold_all(seen, finish=False), fold_all([], finish=False)
    for position, o in enumerate(seen, start=1):
        asked.fold_observation(position, o)
        for told in diagnose(asked):
            assert told.says.text
            assert cited(told) <= set(range(1, position + 1))
        loose(asked)
    assert dump(plain) == dump(asked)


@few
@given(true_runs())
def test_a_true_run_is_diagnosed_with_what_needs_a_look_first(run: Any) -> None:
    told = diagnose(fold_all(run.observations))
    assert [each.concern for each in told] == sorted(each.concern for each in told)
    assert all(each.concern < len(CONCERNS) for each in told)
    for each_told in told:
        assert [each_told] == [
            each for each in diagnose(fold_all(run.observations), each_told.prompt_id) if each == each_told
        ]


def test_what_it_says_is_as_short_as_what_it_remembers() -> None:
    story = Story().listen().post()
    for _ in range(300):
        story.hear("execution_start", timestamp=1).hear("executing", node=None)
    (told,) = diagnose(story.board())
    assert len(told.evidence) <= 65
    story = begun().hear("execution_error", exception_type="E", exception_message="x" * 1_000_000, node_id="n" * 9_999)
    (told,) = diagnose(story.fetch(record("error", "execution_error")).board())
    assert len(told.says.text) < 500


@pytest.mark.parametrize("prompt_id", ["$(reboot)", "a;b", "-rf", "a b", "a\nb", "", "x" * 65, "é"])
def test_an_id_that_means_something_to_a_shell_is_in_no_command(prompt_id: str) -> None:
    (told,) = diagnose(Story().listen().post(prompt_id=prompt_id).board())
    assert told.steps
    assert [step.command for step in told.steps if step.command] == []


SAFE = ["http://127.0.0.1:8188", "https://comfy.example.org/b-1", "http://[::1]:8188", "http://host_1"]
UNSAFE = [
    "http://a$(reboot)",
    "http://a;b",
    "-rf",
    "http://a b",
    "file:///etc",
    "http://u:p@a",
    "http://a/?q=*",
    "http://a\n",
]


@pytest.mark.parametrize("server", SAFE + UNSAFE)
def test_a_command_names_its_server_or_there_is_none(server: str) -> None:
    (told,) = diagnose(Story().at(server).listen().post().board())
    commands = [step.command for step in told.steps if step.command]
    assert bool(commands) is (server in SAFE)
    for command in commands:
        assert shlex.split(command)[-2:] == ["--server", server]


def test_consistency_is_asked_of_every_server_and_all_of_the_log_that_is_known() -> None:
    found = replay(FIXTURES / "recordings" / "0.3.64" / "server-killed.jsonl.gz", Story().listen().lines)
    told = [step.command for each in explain(found.board, found.tasks, "a log") for step in each.steps if step.command]
    home = "http://127.0.0.1:8103"
    assert [shlex.split(command)[3:4] + shlex.split(command)[5:] for command in told] == 2 * [
        ["consistency", "--server", home, "--server", HOME, "--log", "a log"],
        ["recover", "--server", home, "--log", "a log"],
    ]
    for log in ("a\nlog", "\x1b[2J"):
        diagnoses = explain(found.board, found.tasks, log)
        assert not [step.command for each in diagnoses for step in each.steps if step.command]


def test_what_is_about_no_task_is_told_apart_the_gravest_first() -> None:
    story = begun().tell("ws.message", {"type": "odd", "data": {}}).hear("execution_start", timestamp=1)
    story.tell("ws.undecodable", {"error": "no JSON"}, window=None, server=None)
    apart = loose(story.board())
    assert [each.code for each in apart] == [Code.UNDECODABLE, Code.UNRECOGNIZED]
    assert [(each.meaning, each.advice) for each in apart] == [
        (CODES[each.code].meaning, CODES[each.code].advice) for each in apart
    ]
    assert [each.code for each in loose(story.board(), lambda finding: finding.window is None)] == [Code.UNDECODABLE]


def test_tasks_are_found_by_the_beginning_of_their_id() -> None:
    board = begun().board()
    assert [each.prompt_id for each in diagnose(board, ID[:4])] == [ID]
    assert diagnose(board, "nobody") == []


def test_where_two_servers_have_an_id_each_task_has_the_findings_of_its_own() -> None:
    story = begun().hear("execution_start", timestamp=1).at(AWAY).listen().post()
    told = {each.server: {finding.code for finding in each.findings} for each in diagnose(story.board())}
    assert Code.OUT_OF_ORDER in told[HOME]
    assert Code.OUT_OF_ORDER not in told[AWAY]
