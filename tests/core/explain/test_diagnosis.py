"""Every fixture, cut anywhere, is explained: the right advice for each finding, what is missing for each open task.

Stories beside the fixtures tell what differs though the state is the same: a task is lost in five ways.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.explain.diagnosis import CONCERNS, Diagnosis, diagnose, explain, loose
from comfy_fsm.core.explain.rules import MISSING, NEXT, SAYS, Rule, StepRule
from comfy_fsm.core.findings import CODES, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import FOUND_ELSEWHERE, OPEN, State
from comfy_fsm.core.observations import AnyObservation, Message
from comfy_fsm.core.wire import codec
from comfy_fsm.report import document
from comfy_fsm.report.diagnosis import lines
from comfy_fsm.testing.strategies import observations, true_runs
from replay import Replay, replay
from tests.support.fixtures import FIXTURES, MADE, RECORDINGS, bytes_of, entries_of, some
from tests.support.folding import fold_all
from tests.support.stories import HOME, ID, STORIES, Story, begun, hostile, record

ROOT = FIXTURES.parent


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


# every fixture

TRACES = [pytest.param(path, id=str(path.relative_to(FIXTURES))) for path in RECORDINGS + MADE]
ADVICE = {
    "wrong-server": "Ask only the server that accepted",
    "contradiction": "Trust the server's record",
    "double-delivery": "one place decide and deliver",
    "lost": "look for its files before you run it again",
    "deaf-socket": "under a fresh client id",
    "resubmitted": "Look for the id before posting again",
    "foreign-interrupt": "Interrupt by prompt id",
    "foreign-delete": "never clear a queue that others use",
    "damaged": "what wrote or copied this file",
    "callback-recursion": "Do not report progress from inside",
    "socket-gap": "ask queue and history after every reconnect",
    "missed-end": "keep asking",
    "unverified": "Fetch the history at once",
    "unresolved": "the queue first, then the history",
    "mixed-servers": "behind a balancer keep its cookie",
    "late-evidence": "look for both runs",
    "silence": "Look at the queue",
    "blocked-error": "Do not treat this execution_error as a failure",
    "shared-client-id": "One client id per window",
    "history-early": "Retry",
    "history-incomplete": "do not take it for a success",
    "partial-accept": "Read node_errors",
    "outputs-cut": "Raise outputs",
    "images-missed": "socket open from start to end",
    "stale-status": "Judge by status.messages",
    "undecodable": "verify over HTTP",
    "clock-step": "Do not trust durations",
    "out-of-order": "reorders frames",
}
STEPS = {  # what must be done about it now, beside the general advice
    "wrong-server": ("and no other server", "consistency"),
    "contradiction": ("before you use them", "history"),
    "double-delivery": ("let one place deliver", None),
    "lost": ("submit it again", "recover"),
    "deaf-socket": ("fresh client id", None),
    "resubmitted": ("ran twice", "history"),
    "foreign-interrupt": ("interrupt by prompt id", None),
    "foreign-delete": ("delete its own prompts by id", None),
    "callback-recursion": ("progress callback", None),
    "unverified": ("Look whether its files are there", None),
    "unresolved": ("", "recover"),
    "partial-accept": ("node_errors", None),
    "outputs-cut": ("with a higher bound", None),
    "images-missed": ("from start to end", None),
    "out-of-order": ("reorders frames", None),
}
LOUD = {code for code, row in CODES.items() if row.severity is not Severity.NOTE}


def diagnosed(path: Path) -> tuple[Replay, list[Diagnosis]]:
    found = replay(path)
    return found, found.diagnose()[0]


@pytest.mark.parametrize("path", TRACES)
def test_each_finding_has_its_advice_where_it_belongs(path: Path) -> None:
    found = replay(path)
    told, apart = found.diagnose()
    for finding in found.findings:
        homes = [each for each in told if each.prompt_id == finding.prompt_id and each.prompt_id is not None]
        explained = [one for each in homes for one in each.findings] if homes else apart
        here = [one for one in explained if (one.code, one.window, one.server) == (
            finding.code, finding.window, finding.server)]  # fmt: skip
        assert here, finding
        assert any(one.positions == tuple(finding.positions) for one in here)
        assert all(ADVICE.get(one.code, "") in one.advice for one in here)
        text, command = STEPS.get(finding.code, ("", None))
        if finding.code == "lost" and any(one.state is not State.LOST for one in homes):
            continue  # it was recovered since
        for each in homes:
            assert any(text.lower() in step.text.lower() for step in each.steps) or not text, each
            if command == "recover" and each.state is State.ENDING:
                command = "history"
            assert command is None or any(f" {command} {each.prompt_id}" in (s.command or "") for s in each.steps), each


def test_no_code_is_without_advice_and_each_is_shown_by_a_fixture() -> None:
    assert ADVICE.keys() == LOUD
    assert STEPS.keys() <= LOUD
    shown = {finding.code for path in RECORDINGS + MADE for finding in replay(path).findings}
    assert shown >= LOUD


MISSING_IN = {  # a phrase that names what is missing, by state
    State.SUBMITTING: "The answer to its POST",
    State.UNCERTAIN: "A clear answer to its POST|A (newer )?look at the queue",
    State.PENDING: "Any sign that it began",
    State.IN_PROGRESS: "Word of its end",
    State.ENDING: "Its record|How it ended|A record that validates",
}


@pytest.mark.parametrize("path", TRACES)
def test_each_undecided_task_says_what_is_missing_and_what_to_do(path: Path) -> None:
    seen = [entry.observation for entry in entries_of(path)]
    for cut in some(len(seen) + 1):
        for told in diagnose(fold_all(seen[:cut], finish=False)):
            if told.state in OPEN:
                assert any(re.match(MISSING_IN[told.state], remark.text) for remark in told.missing), told
                assert any(told.server in step.text for step in told.steps), told
                assert any(step.command and told.prompt_id in step.command for step in told.steps) or not told.prompt_id
            assert told.says.text


def test_every_open_state_has_its_phrase() -> None:
    assert set(MISSING_IN) == set(OPEN)


# the tables


def told_of_all() -> Iterator[Diagnosis]:
    for path in RECORDINGS:
        yield from diagnose(replay(path).board)
    made = [[entry.observation for entry in entries_of(path)] for path in MADE]
    for seen in made + [[codec.parse(line) for line in story.lines] for story, *_ in STORIES.values()]:
        for cut in range(len(seen) + 1):
            yield from diagnose(fold_all(seen[:cut], finish=cut % 2 == 0))


def pattern(text: str) -> re.Pattern[str]:
    return re.compile("(?s)" + ".*".join(map(re.escape, re.split(r"\{[^}]*\}", text))))


def test_every_row_is_told_by_a_fixture_or_a_story() -> None:
    told = list(told_of_all())
    tables: list[tuple[tuple[Rule | StepRule, ...], set[tuple[State, str]]]] = [
        (SAYS, {(each.state, each.says.text) for each in told}),
        (MISSING, {(each.state, remark.text) for each in told for remark in each.missing}),
        (NEXT, {(each.state, step.text) for each in told for step in each.steps}),
    ]
    silent = [
        (row.states, row.text)
        for table, sentences in tables
        for row in table
        if not any(state in row.states and pattern(row.text).fullmatch(text) for state, text in sentences)
    ]
    assert not silent, "\n".join(text for _, text in silent)


def test_every_state_has_a_sentence_for_the_rest() -> None:
    for state in State:
        last = [row for row in SAYS if state in row.states][-1]
        assert last.when(None)  # type: ignore[arg-type]


# what holds for anything


def dump(board: Board) -> object:
    """All that is told of a board, and all that it wants."""
    tasks = [[getattr(task, name) for name in task.__struct_fields__] for task in board.tasks]
    return repr((tasks, board.findings, board.drain(), board.due, board.frames, board.windows, board.servers))


def cited(told: Diagnosis) -> set[int]:
    remarks = [told.says, *told.missing, *told.findings]
    return {each.position for each in told.evidence} | {p for remark in remarks for p in remark.positions}


@pytest.mark.parametrize("path", TRACES)
def test_what_is_cited_is_there_and_is_about_this_task(path: Path) -> None:
    entries = {entry.position: entry.observation for entry in entries_of(path)}
    board = replay(path).board
    for told in diagnose(board):
        found = {position for finding in told.findings for position in finding.positions}
        adopted = max((each.position for each in told.evidence if each.why == FOUND_ELSEWHERE), default=0)
        for position in cited(told) - found:
            o = entries[position]
            names = {server.url for server in board.place(o.server).names()}
            assert o.server is None or told.server in names or position <= adopted, (position, told)
            if isinstance(o, Message) and position in {each.position for each in told.evidence}:
                assert o.data.data.prompt_id in (told.prompt_id, None)  # type: ignore[union-attr]
    for finding in loose(board):
        assert set(finding.positions) <= entries.keys() | {max(entries, default=0) + 1}


@pytest.mark.parametrize("path", TRACES)
def test_to_diagnose_changes_nothing(path: Path) -> None:
    """A live board is diagnosed while it goes on; each cut of a long trace would take long, and shows no more."""
    plain, asked = Board(), Board()
    for entry in entries_of(path):
        plain.fold(entry)
        asked.fold(entry)
        diagnose(asked)
        loose(asked)
        if entry.position > 60:
            break
    assert dump(plain) == dump(asked)
    plain.finish()
    asked.finish()
    assert dump(plain) == dump(asked)


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


# on a terminal and as JSON

LOST = "fixtures/recordings/0.3.64/server-killed.jsonl.gz"


def text_of(found: Replay, width: int = 80, *, whole: bool = True) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines(found, width, whole=whole))


def test_hostile_names_drive_nothing() -> None:
    for cut in range(1, len(hostile().lines) + 1):
        found = replay(hostile().lines[:cut])
        for shown in (text_of(found), document.encode_diagnoses(found)):
            assert not [letter for letter in shown if letter != "\n" and not letter.isprintable()]
        assert "{c.task}" in text_of(found) or cut < 2
        for told in found.diagnose()[0]:
            assert not [step.command for step in told.steps if step.command]  # nothing to paste into a shell


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
    found = replay(ROOT / "fixtures" / "recordings" / "0.3.64" / "server-killed.jsonl.gz", Story().listen().lines)
    told = [step.command for each in explain(found.board, found.tasks, "a log") for step in each.steps if step.command]
    home = "http://127.0.0.1:8103"
    assert [shlex.split(command)[3:4] + shlex.split(command)[5:] for command in told] == 2 * [
        ["consistency", "--server", home, "--server", HOME, "--log", "a log"],
        ["recover", "--server", home, "--log", "a log"],
    ]
    for log in ("a\nlog", "\x1b[2J"):
        diagnoses = explain(found.board, found.tasks, log)
        assert not [step.command for each in diagnoses for step in each.steps if step.command]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("path", TRACES)
def test_the_text_and_the_json_tell_the_same(path: Path, width: int) -> None:
    found = replay(path)
    shown = text_of(found, width, whole=True)
    prose = [line for line in shown.splitlines() if "  python -m comfy_fsm " not in line]
    assert max(map(len, prose), default=0) <= width
    told = json.loads(document.encode_diagnoses(found))
    assert told["diagnosis"] == 1
    assert told["verdict"] == found.verdict
    assert [each["prompt_id"] for each in told["tasks"]] == [each.prompt_id for each in found.diagnose()[0]]
    words = flat(shown)
    for each_told in told["tasks"][:20]:
        sentences = [each_told["says"]["text"], *(remark["text"] for remark in each_told["missing"])]
        sentences += [part for step in each_told["next"] for part in (step["text"], step["command"]) if part]
        sentences += [part for finding in each_told["findings"] for part in (finding["text"], finding["advice"])]
        sentences += [each_told["state"].upper(), *(move["why"] for move in each_told["evidence"])]
        for sentence in sentences:
            assert flat(sentence) in words or not sentence.isprintable()
        for move in each_told["evidence"]:
            assert move["seen"] == [{"line": move["seen"][0]["line"], "file": str(path)}]


def test_the_formats_name_every_field_of_the_diagnosis() -> None:
    formats = (
        (ROOT / "docs" / "reference" / "formats.md").read_text(encoding="utf-8").partition("## The JSON diagnosis")[2]
    )
    told = document.encode_diagnoses(replay(ROOT / LOST, MADE[0]))
    trace = json.loads(told)["trace"]
    fields = set(re.findall(r'"(\w+)":', told)) - trace.keys()
    assert fields > {"concern", "says", "next", "command", "seen"}
    assert [name for name in sorted({*fields, *CONCERNS}) if f"`{name}`" not in formats] == []


def test_each_line_of_several_traces_is_cited_with_its_file() -> None:
    found = replay(MADE[0].with_name("merge-a.jsonl"), MADE[0].with_name("merge-b.jsonl"))
    assert re.search(r"merge-a\.jsonl:\d+", text_of(found, 100))
    told = json.loads(document.encode_diagnoses(found))
    files = {place["file"] for task in told["tasks"] for move in task["evidence"] for place in move["seen"]}
    assert {Path(file).name for file in files} == {"merge-a.jsonl", "merge-b.jsonl"}


def test_many_tasks_are_told_as_far_as_a_person_reads() -> None:
    story = Story().listen()
    for number in range(200):
        story.post(prompt_id=f"{number:08}-2222-4333-8444-555555555555")
    shown = text_of(story.replay(), whole=False)
    assert shown.count("PENDING") == 20
    assert "and 180 more tasks that need a look" in shown


# as a command


def run(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "replay", *map(str, arguments)], cwd=ROOT, capture_output=True, input=given, timeout=60
    )


MERGE = ["fixtures/made/merge-a.jsonl", "fixtures/made/merge-b.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "files", "tasks"),
    [
        ([LOST, "--diagnose"], 1, 3),
        (["--diagnose", LOST], 1, 3),
        ([LOST, "--diagnose", "b07c"], 1, 1),
        (["--diagnose", "b07c", LOST], 1, 1),
        (["--diagnose=b07c", LOST], 1, 1),
        ([LOST, "--diagnose="], 1, 3),
        ([LOST, "--diagnose", "--task", "b07c"], 1, 1),
        ([LOST, "--diagnose", "--window", "e65b"], 1, 3),
        ([MERGE[0], "--diagnose", MERGE[1]], 2, None),
        (["--diagnose", *MERGE], 2, None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_diagnose_takes_an_id_and_swallows_no_trace(arguments: list[str], files: int, tasks: int | None) -> None:
    found = run(*arguments, "--format", "json")
    assert found.stderr == b""
    told = json.loads(found.stdout)
    assert len(told["trace"]["files"]) == files
    assert tasks is None or len(told["tasks"]) == tasks
    assert found.returncode == {"pass": 0, "fail": 1, "incomplete": 3}[told["verdict"]]


def test_diagnose_swallows_no_standard_input() -> None:
    given = bytes_of(ROOT / LOST)
    assert len(json.loads(run("--diagnose", "-", "--format", "json", given=given).stdout)["tasks"]) == 3


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([LOST, "--diagnose", "nobody"], 64),
        ([LOST, "--diagnose", "b07c", "--task", "b07c"], 64),
        (["--diagnose"], 64),
        (["--diagnose", "b07c"], 64),
        (["--diagnose", "gone.jsonl"], 66),
        ([LOST, "--diagnose", "gone.jsonl"], 66),
        (["--diagnose", "LICENSE"], 65),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_refusal_is_one_line_and_its_status(arguments: list[str], status: int) -> None:
    found = run(*arguments)
    assert (found.returncode, found.stdout) == (status, b"")
    assert found.stderr.count(b"\n") == 1


def test_task_alone_tells_the_moves_as_it_did() -> None:
    assert b"Task b07c317d" in run(LOST, "--task", "b07c").stdout


def test_a_trace_without_tasks_says_so() -> None:
    found = run("--diagnose", "-", given=b'{"at":1,"kind":"tick","data":{}}\n')
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"no task was seen" in found.stdout
