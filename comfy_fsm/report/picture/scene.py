"""Scene: what a picture of a replay shows, as values: lanes, spans, exchanges, frames, tasks, acts, findings, gaps.

It is bounded, however long the trace is: what moved a task, is cited by a finding or changed a socket comes first, the
other lines are thinned evenly, and all that is left out is counted. Times are whole units of 10 µs after the first
line; a text that several share is written once.
"""

from __future__ import annotations

import heapq
from typing import Literal

from msgspec import Struct

from comfy_fsm.core.findings import GRAVITY
from comfy_fsm.core.machine import SETTLED
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import Names, harmless, host
from comfy_fsm.report.player import Replay, tag_of

__all__ = [
    "UNIT",
    "Act",
    "Bar",
    "Exchange",
    "Flag",
    "Frame",
    "Kind",
    "Lane",
    "Move",
    "Ruler",
    "Scene",
    "Span",
    "Texts",
    "bars",
    "chosen",
    "flags",
]

UNIT = 1e-5
"""Seconds of one unit of time."""
_TASKS = 300
_FINDINGS = 300

Kind = Literal["socket", "http", "client"]


class Lane(Struct, frozen=True):
    """Lane of what one window saw of one server; `client` is what its application asked and was handed."""

    window: str
    server: str
    kind: Kind


class Span(Struct, frozen=True, array_like=True):
    """Time in which a socket was open; -1 where its opening or its end is not in the trace."""

    lane: int
    opened: int
    closed: int
    line: int
    last: int
    word: int


class Exchange(Struct, frozen=True, array_like=True):
    """Request with its answer; -1 where there is none."""

    lane: int
    asked: int
    line: int
    answered: int
    last: int
    word: int
    answer: int
    good: int
    """1 where the server did what it was asked, else 0."""
    task: int


class Frame(Struct, frozen=True, array_like=True):
    """Frame or other line that is no act; `task` is -1 where it is about none that is shown."""

    lane: int
    at: int
    line: int
    word: int
    task: int
    grave: int
    """1 where it moved a task or a finding cites it, else 0."""


class Move(Struct, frozen=True, array_like=True):
    """Step of a task: what was seen, the state after it, and the reason of the table, all by their texts."""

    at: int
    line: int
    seen: int
    state: int
    why: int


class Bar(Struct, frozen=True):
    """Task: its names, and its moves. `end` is the time of the end that was accepted, `settled` when it was."""

    task: str
    id: str
    tag: str
    window: str
    server: str
    state: str
    moves: list[Move]
    end: int
    settled: int
    last: int


class Act(Struct, frozen=True, array_like=True):
    """Act of one window on a task: the index of the exchange, and that of the task."""

    exchange: int
    task: int


class Flag(Struct, frozen=True, array_like=True):
    """Finding, where it is to be seen; its words by their texts."""

    at: int
    lines: list[int]
    code: int
    severity: int
    text: int
    task: int


class Scene(Struct, frozen=True):
    """Scene that is drawn; `left_out` says in words what is not."""

    picture: int
    files: list[str]
    origin: float
    length: int
    lanes: list[Lane]
    spans: list[Span]
    exchanges: list[Exchange]
    frames: list[Frame]
    tasks: list[Bar]
    acts: list[Act]
    flags: list[Flag]
    gaps: list[tuple[int, int]]
    texts: list[str]
    left_out: list[str]


class Texts:
    """Texts, each written once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._known: dict[str, int] = {}

    def index(self, text: str) -> int:
        """Return the number of this text."""
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = len(self.all)
            self.all.append(str(text))
        return known


class Ruler:
    """Times and lines as a scene writes them."""

    def __init__(self, replay: Replay) -> None:
        self.origin = replay.trace.first_at or 0.0
        self._origins = replay.origins
        self._files = replay.trace.files

    def time(self, at: float | None) -> int:
        return -1 if at is None else max(0, round((at - self.origin) / UNIT))

    def line(self, position: int) -> int:
        """Return the line, and in its remainder by the number of files the file."""
        if len(self._files) == 1:
            return position
        found = self._origins.locate(position)
        return found.line * len(self._files) + self._files.index(found.file)


def chosen(replay: Replay) -> list[Task]:
    """Return the tasks that are shown: where there are too many, the most urgent; in the order of the trace."""
    if len(replay.tasks) <= _TASKS:
        return replay.tasks
    order = heapq.nsmallest(_TASKS, range(len(replay.tasks)), key=lambda i: (replay.urgency_of(replay.tasks[i]), i))
    return [replay.tasks[i] for i in sorted(order)]


def bars(replay: Replay, tasks: list[Task], ruler: Ruler, texts: Texts) -> list[Bar]:
    """Return these tasks with their moves."""
    names = Names((task.prompt_id for task in replay.tasks), replay.trace.windows)
    return [_bar(task, names, ruler, texts) for task in tasks]


def _bar(task: Task, names: Names, ruler: Ruler, texts: Texts) -> Bar:
    moves = []
    for told in task.signals:
        words = texts.index(harmless(told.signal, 40)), texts.index(told.after), texts.index(harmless(told.why))
        moves.append(Move(ruler.time(told.at), ruler.line(told.position), *words))
    if task.submitted_at is not None:
        words = texts.index("POST /prompt"), texts.index("submitting"), texts.index("the window posted it")
        moves.insert(0, Move(ruler.time(task.submitted_at), ruler.line(task.submission.position), *words))
    settling = [told for told in task.signals if told.after in SETTLED and told.before not in SETTLED]
    return Bar(
        task=names.task(task.prompt_id),
        id=harmless(task.prompt_id, 80),
        tag=tag_of(task, 80),
        window=names.window(task.window),
        server=host(task.server),
        state=str(task.state),
        moves=moves,
        end=ruler.time(task.ended_at if task.ended_at is not None else task.settled_at if task.settled else None),
        settled=ruler.time(task.settled_at if task.settled else None),
        last=ruler.line(settling[-1].position) if settling else -1,
    )


def flags(replay: Replay, tasks: list[Task], ruler: Ruler, texts: Texts) -> list[Flag]:
    """Return the findings, the gravest where there are too many, in line order."""
    numbers = {task.prompt_id: number for number, task in enumerate(tasks)}
    kept = heapq.nsmallest(_FINDINGS, enumerate(replay.findings), key=lambda each: (GRAVITY[each[1].severity], each[0]))
    told = []
    for _, finding in sorted(kept, key=lambda each: each[0]):
        words = texts.index(finding.code), texts.index(finding.severity), texts.index(harmless(finding.text))
        lines = [ruler.line(position) for position in finding.positions]
        told.append(Flag(ruler.time(finding.at), lines, *words, numbers.get(finding.prompt_id, -1)))
    return told
