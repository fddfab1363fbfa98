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
from tests.support.folding import fold_all
from tests.test_recordings import FIXTURES, MADE, RECORDINGS, bytes_of, entries_of, some

ROOT = FIXTURES.parent
HOME, AWAY = "http://127.0.0.1:8188", "http://127.0.0.1:8189"
ME, OTHER = "a" * 32, "b" * 32
ID, ID2 = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


class Story:
    """A trace, told line by line; a second passes with each."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._at, self._asked, self._home = 1_795_900_000.0, 0, HOME

    def at(self, server: str) -> Story:
        self._home = server
        return self

    def tell(self, kind: str, data: Any, window: str | None = ME, server: str | None = "") -> Story:
        self._at += 1.0
        named = {"window": window} if window else {}
        where = {"server": server or self._home} if server is not None else {}
        self.lines.append(json.dumps({"at": self._at, "kind": kind, "data": data, **named, **where}).encode())
        return self

    def wait(self, seconds: float) -> Story:
        self._at += seconds
        return self.tell("tick", {}, window=None, server=None)

    def listen(self) -> Story:
        return self.tell("ws.open", {})

    def hang_up(self, code: int = 1006) -> Story:
        return self.tell("ws.close", {"code": code, "reason": ""})

    def ask(self, method: str, path: str, body: object, status: int | str, answer: object, window: str = ME) -> Story:
        """A request and its answer: a status, or the error where none came."""
        self._asked += 1
        name = f"r{self._asked}"
        self.tell("http.request", {"id": name, "method": method, "path": path, "body": body}, window)
        if isinstance(status, str):
            return self.tell("http.error", {"id": name, "error": status}, window) if status else self
        return self.tell("http.response", {"id": name, "status": status, "body": answer}, window)

    def post(self, status: int | str = 200, prompt_id: str = ID, client_id: str | None = ME) -> Story:
        body = {"prompt": GRAPH, "prompt_id": prompt_id} | ({"client_id": client_id} if client_id else {})
        return self.ask("POST", "/prompt", body, status, {"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    def hear(self, name: str, **data: object) -> Story:
        return self.tell("ws.message", {"type": name, "data": {"prompt_id": ID, **data}})

    def start(self) -> Story:
        return self.hear("execution_start", timestamp=1).hear("execution_cached", nodes=[]).hear("executing", node="1")

    def look(self, running: tuple[str, ...] = (), pending: tuple[str, ...] = (), status: int | str = 200) -> Story:
        return self.ask("GET", "/queue", None, status, {"running": running, "pending": pending})

    def fetch(self, record: object = None, status: int | str = 200) -> Story:
        return self.ask("GET", f"/history/{ID}", None, status, {ID: record} if record else {})

    def vanish(self, seconds: float = 15.0) -> Story:
        """Absent for long enough (P29)."""
        return self.look().fetch().wait(seconds).look().fetch().wait(5)

    def act(self, path: str, body: object, window: str) -> Story:
        return self.ask("POST", path, body, 200, None, window)

    def command(self, name: str, **data: object) -> Story:
        return self.tell("command", {"name": name, "prompt_id": ID, **data})

    def elsewhere(self, server: str, number: str, path: str, answer: object) -> Story:
        """Asked of another server."""
        self.tell("http.request", {"id": number, "method": "GET", "path": path}, server=server)
        return self.tell("http.response", {"id": number, "status": 200, "body": answer}, server=server)

    def replay(self) -> Replay:
        return replay(self.lines)

    def board(self) -> Board:
        return fold_all(map(codec.parse, self.lines), finish=False)


def record(status: str = "success", *messages: str) -> dict[str, object]:
    failure = {"prompt_id": ID, "exception_type": "OSError", "exception_message": "disk\n full"}
    told = [["execution_start", {"prompt_id": ID}], *([name, failure] for name in messages)]
    outputs = {"2": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}}
    return {
        "prompt": [1, ID, GRAPH, {}, ["2"]], "outputs": outputs,
        "status": {"status_str": status, "completed": status == "success", "messages": told},
    }  # fmt: skip


def begun() -> Story:
    return Story().listen().post().start()


# the same state, for different reasons

STORIES: dict[str, tuple[Story, State, str]] = {
    "never answered": (Story().listen().post(""), State.SUBMITTING, "no answer to its POST was seen"),
    "answered unclearly": (Story().listen().post(502), State.UNCERTAIN, "no clear answer (HTTP 502)"),
    "timed out": (Story().listen().post("ReadTimeout"), State.UNCERTAIN, "no clear answer (ReadTimeout)"),
    "reopened": (begun().hang_up().vanish().command("recover"), State.UNCERTAIN, "reopened by a recover command"),
    "followed": (Story().command("follow"), State.UNCERTAIN, "somebody else's prompt, followed from here"),
    "waits": (Story().listen().post(), State.PENDING, "accepted it, and it waits"),
    "waits, told to go": (
        Story().listen().post().act("/queue", {"delete": [ID]}, OTHER),
        State.PENDING,
        f"asked to remove it again, by window {OTHER}",
    ),
    "runs, told to stop": (
        begun().act("/interrupt", {"prompt_id": ID}, OTHER), State.IN_PROGRESS, f"when window {OTHER} sent",
    ),
    "waits behind": (
        Story().listen().post().look((ID2,), (ID,)).wait(40).look((ID2,), (ID,)), State.PENDING, f"behind prompt {ID2}",
    ),
    "waits, server down": (Story().listen().post().hang_up().look(status="ConnectError"), State.PENDING, "went down ("),
    "runs": (begun(), State.IN_PROGRESS, "nothing told its end so far"),
    "runs, server down": (begun().hang_up().look(status="ConnectError"), State.IN_PROGRESS, "went down ("),
    "runs, socket closed": (begun().hang_up(1000), State.IN_PROGRESS, "the socket of its window closed"),
    "runs, socket broken": (begun().hang_up(), State.IN_PROGRESS, "the socket of its window closed"),
    "runs in silence": (begun().wait(60), State.IN_PROGRESS, "gave no sign of life for 1 min"),
    "runs, told to nobody": (
        Story().listen().post(client_id=None).look((ID,)), State.IN_PROGRESS, "tells nobody of its end",
    ),
    "runs unheard": (Story().listen().post().look((ID,)).wait(4), State.IN_PROGRESS, "hears nothing of it"),
    "runs and runs": (begun().look((ID,)).wait(40).look((ID,)), State.IN_PROGRESS, "listed as running"),
    "succeeded": (begun().hear("execution_success").fetch(record()), State.COMPLETED, f"the history of {HOME} says so"),
    "cleared after": (
        begun().hear("execution_success").act("/history", {"clear": True}, OTHER).vanish(12.0), State.COMPLETED,
        f"window {OTHER} cleared the history",
    ),
    "down after": (
        begun().hear("execution_success").look(status="ConnectError").vanish(), State.COMPLETED,
        "went down (ConnectError) before its record",
    ),
    "gone after": (begun().hear("execution_success").vanish(), State.COMPLETED, "gone before anybody read it"),
    "failed without a word": (begun().fetch(record("error")), State.FAILED, "says why"),
    "failed somewhere": (
        begun().hear("execution_error", exception_type="OSError", exception_message="disk\nfull"), State.ENDING,
        "It failed, as execution_error stated",
    ),
    "failed, nobody knows where": (
        begun()
        .hear("execution_error", exception_type="OSError", exception_message="disk\n full")
        .fetch(record("error", "execution_error")),
        State.FAILED,
        "It failed: OSError: disk full",
    ),
    "interrupted by itself": (
        begun().act("/interrupt", {"prompt_id": ID}, ME).hear("execution_interrupted").fetch(
            record("error", "execution_interrupted")), State.CANCELLED, "Its own window interrupted it",
    ),
    "interrupted by another": (
        begun().act("/interrupt", {"prompt_id": ID}, OTHER).hear("execution_interrupted").fetch(
            record("error", "execution_interrupted")), State.CANCELLED, f"An interrupt by window {OTHER} hit it.",
    ),
    "interrupted at random": (
        begun().act("/interrupt", {}, OTHER).fetch(record("error", "execution_interrupted")), State.CANCELLED,
        "it named no prompt",
    ),
    "interrupted for another": (
        begun().act("/interrupt", {"prompt_id": ID2}, OTHER).fetch(record("error", "execution_interrupted")),
        State.CANCELLED, "though it named another prompt",
    ),
    "interrupted by nobody seen": (
        begun().fetch(record("error", "execution_interrupted")), State.CANCELLED, "by somebody who is not seen",
    ),
    "removed by itself": (
        Story().listen().post().act("/queue", {"delete": [ID]}, ME).vanish(), State.CANCELLED, "Its own window removed",
    ),
    "removed by another": (
        Story().listen().post().act("/queue", {"delete": [ID]}, OTHER).vanish(), State.CANCELLED,
        f"window {OTHER} removed it",
    ),
    "cleared by another": (
        Story().listen().post().act("/queue", {"clear": True}, OTHER).vanish(), State.CANCELLED, "the whole queue",
    ),
    "removed by nobody seen": (Story().listen().post().vanish(), State.CANCELLED, "removed before it ran, it seems"),
    "lost in an outage": (begun().hang_up().look(status="ConnectError").vanish(), State.LOST, "went down ("),
    "lost when the socket broke": (begun().hang_up().vanish(), State.LOST, "when a socket broke off (code 1006)"),
    "lost in a clearing": (
        begun().act("/history", {"clear": True}, OTHER).vanish(), State.LOST, f"window {OTHER} cleared the history",
    ),
    "lost unwatched": (begun().command("resume").vanish(), State.LOST, "while nobody watched"),
    "lost, never taken": (
        Story().listen().post(prompt_id=ID2).post("ReadTimeout").wait(30).vanish(), State.LOST,
        "never took",
    ),
    "lost for no reason": (begun().vanish(), State.LOST, "nothing tells why"),
    "expired, unreachable": (
        begun().wait(200).look(status=502).wait(1000), State.EXPIRED, "could not be reached (HTTP 502)",
    ),
    "expired, unasked": (begun().wait(200).wait(200), State.EXPIRED, "nobody looked at the queue"),
    "expired, unknown": (begun().wait(200).look().wait(200), State.EXPIRED, "answers, and says nothing of it"),
    # what one command does to the explanation of another
    "never sent": (Story().listen().post("ConnectError"), State.UNCERTAIN, "nothing was sent"),
    "never sent, and looked for": (
        Story().listen().ask("GET", "/features", None, 200, {}).post("ConnectError").vanish(), State.LOST,
        "never got it: the connection for its POST was refused",
    ),
    "recovered before it was answered": (
        Story().listen().post("").command("recover").command("resume"), State.UNCERTAIN, "no clear answer",
    ),
    "followed, and never there": (
        Story().listen().ask("GET", "/features", None, 200, {}).command("follow").vanish(), State.LOST,
        "was never shown",
    ),
    "bound elsewhere": (
        begun().vanish().command("seek", to=AWAY).elsewhere(AWAY, "q", "/queue", {"running": [ID], "pending": []})
        .command("adopt", to=AWAY), State.UNCERTAIN, f"{AWAY} showed it",
    ),
    "moved on, never sent": (
        Story().listen().command("enqueue").post("ConnectError").command("rebind", to=ID2), State.REJECTED,
        f"its job went on as {ID2}",
    ),
    "moved on, refused": (
        Story().listen().command("enqueue").post(401).command("rebind", to=ID2), State.REJECTED,
        f"its job went on as {ID2}",
    ),
    "moved on, taken back": (
        Story().listen().command("enqueue").post().command("recall").act("/queue", {"delete": [ID]}, ME).vanish()
        .command("rebind", to=ID2), State.CANCELLED, f"its job went on as {ID2}",
    ),
    # what is no cause, since the task was told of after it
    "waits, and was listed after an outage": (
        Story().listen().post().look(status="ConnectError").look(pending=(ID,)), State.PENDING, "and it waits",
    ),
    "waits, and was listed after it was to be removed": (
        Story().listen().post().act("/queue", {"delete": [ID]}, OTHER).look(pending=(ID,)), State.PENDING,
        "and it waits",
    ),
    "runs, the interrupt came before": (
        Story().listen().post().act("/interrupt", {}, OTHER).start(), State.IN_PROGRESS, "nothing told its end so far",
    ),
    "runs, and another window hung up": (
        begun().tell("ws.open", {}, window=OTHER).tell("ws.close", {"code": 1006}, window=OTHER), State.IN_PROGRESS,
        f"a socket to {HOME} broke off (code 1006)",
    ),
    "runs, heard after a socket broke": (
        begun().hang_up().listen().hear("progress", value=1, max=2), State.IN_PROGRESS, "nothing told its end so far",
    ),
    "runs, its socket closed before": (
        Story().listen().hang_up(1000).post().look((ID,)), State.IN_PROGRESS, "the socket of its window is closed",
    ),
    "waited, and is listed no more": (
        Story().listen().post().look().fetch(), State.PENDING, "lists it no more: it began, or was removed",
    ),
    "ran, and is listed no more": (
        Story().listen().post(client_id=None).look((ID,)).look().fetch(), State.IN_PROGRESS, "lists it no more",
    ),
    "lost, heard after an outage": (
        begun().look(status="ConnectError").hear("progress", value=1, max=2).vanish(), State.LOST, "nothing tells why",
    ),
    "lost again after a recovery": (
        begun().hang_up().look(status="ConnectError").vanish().command("recover").vanish(), State.LOST, "went down (",
    ),
    "cancelled, the job's interrupt was refused": (
        begun().ask("POST", f"/api/jobs/{ID}/cancel", None, 404, {}, OTHER)
        .fetch(record("error", "execution_interrupted")), State.CANCELLED, "by somebody who is not seen",
    ),
    "cancelled, the interrupt was never sent": (
        begun().ask("POST", "/interrupt", {}, "ConnectError", None, OTHER)
        .fetch(record("error", "execution_interrupted")), State.CANCELLED, "by somebody who is not seen",
    ),
    "expired, listed long before": (
        begun().wait(200).look((ID,)).wait(200).wait(200), State.EXPIRED, "nobody looked at the queue",
    ),
    "concluded, and cleared": (
        Story().listen().post().hear("execution_start").hear("execution_cached", nodes=["1"])
        .hear("executing", node="2").hear("executed", node="2", output={}).hear("executing", node=None)
        .act("/history", {"clear": True}, OTHER).vanish(), State.COMPLETED, "as far as executing lets conclude",
    ),
}  # fmt: skip


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
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b1m \u202e {c.task} {0} %s [bold]"


def hostile() -> Story:
    story = Story().tell("ws.open", {}, window=HOSTILE, server=HOSTILE)
    body = {"prompt": GRAPH, "prompt_id": HOSTILE, "client_id": HOSTILE}
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": body}, HOSTILE, HOSTILE)
    story.tell("http.response", {"id": "p", "status": 200, "body": {"prompt_id": HOSTILE}}, HOSTILE, HOSTILE)
    for name in ("execution_start", "execution_error"):
        data = {"prompt_id": HOSTILE, "exception_type": HOSTILE, "exception_message": HOSTILE, "node_id": HOSTILE,
                "node_type": HOSTILE}  # fmt: skip
        story.tell("ws.message", {"type": name, "data": data}, HOSTILE, HOSTILE)
    return story.tell("ws.undecodable", {"error": HOSTILE, "text": HOSTILE}, HOSTILE, HOSTILE)


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
