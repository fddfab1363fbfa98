"""What is left of a trace: of all recordings and of any true run, it is small, admissible, and shows the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code, Severity
from comfy_fsm.log.trace import damage
from comfy_fsm.testing.strategies import TrueRun, mixtures, true_runs
from replay.lines.order import admissible, needs
from replay.lines.reading import Line, Lines
from replay.reduction.goal import Goal, finding_goal, fold, state_goal
from replay.reduction.reduction import Reduced, reduce
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.replaying import as_lines, lines_of

HOUR = 3600.0
law = settings(max_examples=30)  # of which each is folded some hundred times
FEW = 12
TWO_ROUNDS = {"server-killed": 14, "history-cleared": 15}
"""Lines that it takes where two rounds of queue and history, eight lines, prove that a server forgot a task."""
LEAST = [
    ("0.3.64/server-killed", "lost", 14),
    ("0.3.64/server-killed", "socket-gap", 14),
    ("0.3.64/history-cleared", "unverified", 13),
    ("2023-10-14/history-cleared", "unverified", 15),
    ("0.3.50/history-cleared", "foreign-message", 15),
    ("0.33.0/jobs-lost", "lost", 12),
]


def goals(lines: Lines) -> list[Goal]:
    board = fold(line.observation for line in lines.lines)
    codes = dict.fromkeys(finding.code for finding in board.findings if finding.code is not Code.DAMAGED)
    return [goal for code in codes if (goal := finding_goal(board, code, None, loose=False)) is not None]


def age(path: Path) -> list[int]:
    """Versions in their order; those that are dates came before all that have a number."""
    numbers = [int(number) for number in re.findall(r"\d+", path.parent.name)]
    return [numbers[0] < 2000, *numbers]


LATEST = {path.name: path for path in sorted(RECORDINGS, key=age)}  # of each scenario; `--long` takes all versions


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.long] * (path != LATEST[path.name])) for path in RECORDINGS],
    ids=name_of,
)
def test_each_finding_of_each_recording_is_shown_by_a_dozen_lines(path: Path) -> None:
    whole = lines_of(path)
    scenario = path.name.partition(".")[0]
    for goal in goals(whole):
        found = reduce(whole, goal, HOUR)
        assert len(found.lines) <= TWO_ROUNDS.get(scenario, FEW), (goal.code, len(found.lines))
        assert found.folds <= 600  # each of some hundred microseconds
        assert not found.given_up
        assert nothing_personal(whole, found)


@pytest.mark.parametrize(("name", "code", "least"), LEAST)
def test_of_what_is_left_no_smaller_admissible_part_shows_the_same(name: str, code: str, least: int) -> None:
    whole = recording(name)
    (goal,) = (goal for goal in goals(whole) if goal.code == code)
    found = reduce(whole, goal, HOUR)
    assert len(found.lines) == least
    smaller = [part for part in admissible_parts(needs(found.lines)) if len(part) < least]
    assert len(smaller) > 200  # some hundred of the thousands of subsets: the others lack what they need
    for part in smaller:
        observations = [found.lines[index].observation for index in part]
        assert not found.goal.met(fold(observations)), [found.lines[index].text for index in part]


def admissible_parts(needed: list[frozenset[int]]) -> list[list[int]]:
    """Return all parts in which each line has what it needs; what it needs stands before it."""
    parts: list[list[int]] = [[]]
    for index, before in enumerate(needed):
        parts += [[*part, index] for part in parts if before <= set(part)]
    return parts


def nothing_personal(whole: Lines, found: Reduced) -> bool:
    names = {name for line in whole.lines for name in (line.observation.window, line.observation.server) if name}
    text = found.content.decode()
    return not any(name in text for name in names) and "class_type" not in text and "filename" not in text


@law
@given(st.data(), true_runs())
def test_what_is_left_is_an_admissible_part_that_shows_the_same(data: st.DataObject, run: TrueRun) -> None:
    lines = as_lines(data.draw(mixtures(run.observations), label="mixed"))
    whole = Lines("run", tuple(lines))
    for goal in goals(whole)[:2]:
        found = reduce(whole, goal, HOUR)
        numbers = [line.number for line in found.lines]
        assert numbers == sorted(set(numbers)), "a part keeps the order"
        assert found.goal.met(fold(line.observation for line in found.lines))
        kept = {number - 1 for number in numbers}
        assert all(needs(lines)[index] <= kept for index in kept), "each line has what it needs"
        needed = needs(found.lines)
        for one in range(len(needed)):
            rest = admissible([index for index in range(len(needed)) if index != one], needed)
            assert not rest or not found.goal.met(fold(found.lines[index].observation for index in rest))


def recording(name: str) -> Lines:
    return lines_of(next(path for path in RECORDINGS if name_of(path) == name))


def test_the_other_reason_of_a_deaf_socket_is_not_taken_for_this_one() -> None:
    """Its second socket made it deaf; one that is deaf by itself has the same code, and another cure."""
    whole = recording("0.3.64/shared-client-id")
    board = fold(line.observation for line in whole.lines)
    kept = {loose: finding_goal(board, Code.DEAF_SOCKET, None, loose=loose) for loose in (False, True)}
    opened = {}
    for loose, goal in kept.items():
        assert goal is not None
        kinds = [json.loads(line.text)["kind"] for line in reduce(whole, goal, HOUR).lines]
        opened[loose] = kinds.count("ws.open")
    assert opened == {False: 2, True: 1}


def test_a_part_shows_nothing_worse_than_the_whole() -> None:
    for name in ("0.3.64/server-killed", "0.3.64/deleted-by-other"):
        whole = recording(name)
        worst = {finding.code for finding in fold(line.observation for line in whole.lines).findings}
        for goal in goals(whole):
            part = fold(line.observation for line in reduce(whole, goal, HOUR).lines)
            assert {finding.code for finding in part.findings if finding.severity is not Severity.NOTE} <= worst


def test_a_state_is_kept_as_a_finding_is() -> None:
    whole = recording("0.3.64/server-killed")
    board = fold(line.observation for line in whole.lines)
    lost = next(task for task in board.tasks if task.state == "lost")
    goal = state_goal(board, lost.state, lost.prompt_id)
    assert goal is not None
    found = reduce(whole, goal, HOUR)
    (task,) = fold(line.observation for line in found.lines).tasks
    assert (task.state, task.prompt_id) == ("lost", "p1")


def test_once_the_time_is_over_the_smallest_so_far_is_what_is_left() -> None:
    whole = recording("0.3.64/socket-drop")
    found = reduce(whole, goals(whole)[0], 0.0)
    assert found.given_up
    assert len(found.lines) == len(whole.lines)


def test_times_are_told_to_the_millisecond_from_one_second_on() -> None:
    whole = recording("0.3.64/socket-drop")
    times = [line.observation.at for line in reduce(whole, goals(whole)[0], HOUR).lines]
    assert times[0] == 1.0
    assert all(time == round(time, 3) for time in times)


def test_a_line_that_is_no_json_stays_as_it_is() -> None:
    line = b'{"at": 2.0, "kind": "tick"'
    tick, unread = seen.Tick(at=1.0), damage("undecodable", "truncated", 1.0)
    whole = Lines("odd", (*as_lines([tick]), Line(2, line, unread)))
    (goal,) = goals(whole)
    assert reduce(whole, goal, HOUR).content.endswith(line + b"\n")
