"""Every fixture, cut anywhere, is explained: the advice for each finding, and what is missing for each open task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_fsm.core.explain.diagnosis import Diagnosis, diagnose, loose
from comfy_fsm.core.explain.rules import MISSING, NEXT, SAYS, Rule, StepRule
from comfy_fsm.core.findings import CODES, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import FOUND_ELSEWHERE, OPEN, State
from comfy_fsm.core.observations import Message
from comfy_fsm.core.wire import codec
from comfy_fsm.report import json_report
from replay import replay
from tests.support.explaining import cited, dump, text_of
from tests.support.fixtures import FIXTURES, MADE, RECORDINGS, entries_of, replayed, some
from tests.support.folding import fold_all
from tests.support.stories import STORIES

TRACES = [pytest.param(path, id=str(path.relative_to(FIXTURES))) for path in RECORDINGS + MADE]
each_trace = pytest.mark.parametrize("path", TRACES, scope="module")


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
    "silence": "check the queue",
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
    "unverified": ("Check whether its files are at", None),
    "unresolved": ("", "recover"),
    "partial-accept": ("node_errors", None),
    "outputs-cut": ("with a higher limit", None),
    "images-missed": ("from start to end", None),
    "out-of-order": ("reorders frames", None),
}


LOUD = {code for code, row in CODES.items() if row.severity is not Severity.NOTE}


@each_trace
def test_each_finding_has_its_advice_where_it_belongs(path: Path) -> None:
    found = replayed(path)
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
    State.UNCERTAIN: "A clear answer to its POST|A (newer )?query of the queue",
    State.PENDING: "Any sign that it started",
    State.IN_PROGRESS: "A report of its end",
    State.ENDING: "Its record|Its outcome|A record that validates",
}


@each_trace
def test_each_undecided_task_says_what_is_missing_and_what_to_do(path: Path) -> None:
    """After any entry: one board is diagnosed as it goes, which changes nothing in it."""
    board, cuts = Board(), set(some(len(entries_of(path)), 150))
    for number, entry in enumerate(entries_of(path)):
        board.fold(entry)
        for told in diagnose(board) if number in cuts else ():
            if told.state in OPEN:
                assert any(re.match(MISSING_IN[told.state], remark.text) for remark in told.missing), told
                assert any(told.server in step.text for step in told.steps), told
                assert any(step.command and told.prompt_id in step.command for step in told.steps) or not told.prompt_id
            assert told.says.text


def test_every_open_state_has_its_phrase() -> None:
    assert set(MISSING_IN) == set(OPEN)


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


@each_trace
def test_what_is_cited_is_there_and_is_about_this_task(path: Path) -> None:
    entries = {entry.position: entry.observation for entry in entries_of(path)}
    board = replayed(path).board
    for told in diagnose(board):
        found = {position for finding in told.findings for position in finding.positions}
        adopted = max((each.position for each in told.evidence if each.why == FOUND_ELSEWHERE), default=0)
        for position in cited(told) - found:
            o = entries[position]
            names = {server.url for server in board.server(o.server).names()}
            assert o.server is None or told.server in names or position <= adopted, (position, told)
            if isinstance(o, Message) and position in {each.position for each in told.evidence}:
                assert o.data.data.prompt_id in (told.prompt_id, None)
    for finding in loose(board):
        assert set(finding.positions) <= entries.keys() | {max(entries, default=0) + 1}


@each_trace
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


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
@each_trace
def test_the_text_and_the_json_tell_the_same(path: Path, width: int) -> None:
    found = replayed(path)
    shown = text_of(found, width, whole=True)
    prose = [line for line in shown.splitlines() if "  python -m comfy_fsm " not in line]
    assert max(map(len, prose), default=0) <= width
    told = json.loads(json_report.encode_diagnoses(found))
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
