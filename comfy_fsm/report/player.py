"""Player: folds the entries of traces and logs, and returns a Replay: what happened to each task, on what evidence."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from msgspec import Struct

from comfy_fsm.core.explain.diagnosis import Diagnosis, Explanation, concern, explain, loose
from comfy_fsm.core.findings import CODES, Code, Finding, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.metrics.summary import Metrics, measure
from comfy_fsm.core.policy import DEFAULT, Policy, differing
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import codec
from comfy_fsm.display import Names, harmless, host, plural
from comfy_fsm.errors import TraceError
from comfy_fsm.log.trace import Block, most_known
from comfy_fsm.report import notebook
from comfy_fsm.report.sources import Origins, Source, Sources

__all__ = [
    "Follower",
    "Replay",
    "TraceFacts",
    "judge",
    "replay",
    "tag_of",
]

Follower = Callable[[int, int], None]
"""Called now and then with the bytes read so far, and of how many (0 where that is not known)."""


class TraceFacts(Struct):
    files: list[str]
    observations: int = 0
    first_at: float | None = None
    last_at: float | None = None
    windows: list[str] = []
    servers: list[str] = []
    policy: dict[str, float] | None = None
    """What the policy by which this was judged has that is not as by default, where a header told it."""

    @property
    def names(self) -> list[str]:
        """Files without their folders, for a report that is sent: a path may tell who somebody is."""
        return [file if "://" in file else os.path.basename(file) for file in self.files]


class Replay(Struct, frozen=True, kw_only=True):
    """Result of a replay, as an object; `json_report.py` writes the same as JSON.

    Tasks are in the order in which they were first seen, findings in line order; `origins` maps their positions to
    lines.
    """

    verdict: str
    trace: TraceFacts
    tasks: list[Task]
    findings: list[Finding]
    metrics: Metrics
    unkept_findings: int
    codes: dict[str | None, list[Code]]
    origins: Origins
    board: Board
    log: str | None = None
    """Where it was a single log: its path."""
    notes: tuple[str, ...] = ()
    """What a source that another tool recorded was read as, and what it cannot tell."""

    @property
    def exit_status(self) -> int:
        return _EXIT[self.verdict]

    @property
    def headline(self) -> list[tuple[str, str]]:
        """Verdict as one sentence, in pieces, each with its style; a pass stands last where a task has no result."""
        return _headline(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict, and a table of the tasks, the most urgent first."""
        names = Names((task.prompt_id for task in self.tasks), self.trace.windows)
        heading = "".join(text for text, _ in self.headline)
        rows = [
            (task.state, names.task(task.prompt_id), names.window(task.window), host(task.server),
             task.confidence or "", ", ".join(self.graver_codes_of(task)))
            for task in sorted(self.tasks, key=self.urgency_of)[:_IN_NOTEBOOK]
        ]  # fmt: skip
        left = len(self.tasks) - _IN_NOTEBOOK
        titles = ("state", "task", "window", "server", "known", "findings")
        return notebook.draw(self.verdict, heading, titles, rows, f"and {left:,} more tasks" if left > 0 else "")

    def codes_of(self, task: Task) -> list[Code]:
        """Return the codes of the findings about this task."""
        return self.codes.get(task.prompt_id, []) if task.prompt_id is not None else []

    def urgency_of(self, task: Task) -> tuple[int, bool]:
        """Return how urgent it is, the lower the more: what somebody cancelled comes after what went wrong."""
        return concern(task, self.codes_of(task)), task.state is State.CANCELLED

    def graver_codes_of(self, task: Task) -> list[Code]:
        """Return the codes of a task without notes."""
        return [code for code in self.codes_of(task) if CODES[code].severity is not Severity.NOTE]

    def diagnose(self) -> tuple[list[Diagnosis], list[Explanation]]:
        """Diagnose its tasks, and explain those findings that are about none of them."""
        told = {id(finding) for finding in self.findings}
        return explain(self.board, self.tasks, self.log), loose(self.board, lambda finding: id(finding) in told)

    def line_of(self, finding: Finding) -> int:
        return self.origins.line(finding.positions[0])


def tag_of(task: Task, longest: int) -> str:
    """Return the tag that the application gave, for a person: a text as it is, all else as JSON."""
    try:
        value = codec.loads(task.tag) if task.tag else None
    except ValueError:
        value = None
    if value is None:
        return ""
    return harmless(value if isinstance(value, str) else task.tag.decode("utf-8", "replace"), longest)


_IN_NOTEBOOK = 40
"""Tasks that a notebook shows."""
_UNHAPPY = ("failed", "rejected", "lost", "expired")
"""States of a task that has no result, though somebody wanted one."""
_EXIT = {"pass": 0, "fail": 1, "unknown": 2, "incomplete": 3}


def replay(
    *sources: Source | Iterable[bytes | str],
    policy: Policy | None = None,
    task: str | None = None,
    window: str | None = None,
    watch: Follower | None = None,
) -> Replay:
    """Replay traces or logs, merged by time; a source is a path, `-` for standard input, or lines in memory.

    `policy` replaces the one stated by the log, or the default. `task` and `window` narrow the report to ids that start
    with them; everything is folded all the same. `watch` is called with the bytes read so far, and with all there are.
    Raises TraceError or LogError if a source cannot be read at all, OSError if it does not exist.
    """
    play = _Play(list(sources), policy, watch)
    play.run()
    return play.report(task, window)


class _Play:
    """Run of a replay: sources, board, and the map from positions to lines."""

    def __init__(
        self, sources: list[Source | Iterable[bytes | str]], policy: Policy | None, watch: Follower | None
    ) -> None:
        self.board = Board(policy or DEFAULT, fixed=policy is not None)
        self._sources = Sources(sources)
        self._watch = watch
        self.origins = self._sources.origins
        self.facts = TraceFacts(files=self._sources.names)

    def run(self) -> None:
        with closing(self._sources):
            self._fold(self._sources.blocks())
        self.board.finish()

    def _fold(self, blocks: Iterator[Block]) -> None:
        board, facts = self.board, self.facts
        for positions, observations, damaged in blocks:
            deque(map(board.fold_observation, positions, observations), maxlen=0)
            facts.observations += len(observations) - damaged
            facts.first_at = observations[0].at if facts.first_at is None else facts.first_at
            facts.last_at = observations[-1].at
            board.discard()  # nobody performs anything here
            self._check_size()
            if self._watch is not None:
                self._watch(sum(packed.count for packed in self._sources.packed), self._sources.size)
        facts.windows, facts.servers = board.windows, board.addresses
        facts.policy = differing(board.policy) if board.registry.policy_is_stated else None

    def _check_size(self) -> None:
        """Raise TraceError if a compressed file names more than one of its size can contain."""
        names = self._sources.names
        compressed = [packed for packed in self._sources.packed if packed.is_compressed]
        if not compressed or len(compressed) < len(names):
            return
        most = most_known(sum(packed.count for packed in compressed))
        if self.board.size > most:
            raise TraceError(
                f"{', '.join(names)}: names more than {most} tasks, windows and servers, which no recording of "
                "this size does, and was not read further; unpack it first if you trust it"
            )

    def report(self, task: str | None, window: str | None) -> Replay:
        """Return what was found, narrowed to tasks and windows whose ids start so."""
        tasks, found = self.board.tasks, list(self.board.findings)
        if task is not None or window is not None:
            tasks = [each for each in tasks if _begins(each.prompt_id, task) and _begins(each.window, window)]
            theirs = {(each.window, each.server) for each in tasks}
            found = [
                each
                for each in found
                if _begins(each.window, window)
                and (_begins(each.prompt_id, task) or (each.prompt_id is None and (each.window, each.server) in theirs))
            ]
        found.sort(key=lambda finding: self.origins.line(finding.positions[0]))
        codes: dict[str | None, list[Code]] = {}
        for finding in found:
            told = codes.setdefault(finding.prompt_id, [])
            if finding.code not in told:
                told.append(finding.code)
        return Replay(
            verdict=judge(tasks, found),
            trace=self.facts,
            tasks=tasks,
            findings=found,
            metrics=measure(self.board),
            unkept_findings=self.board.unkept_findings,
            codes=codes,
            origins=self.origins,
            board=self.board,
            log=logs[0] if (logs := self._sources.logs) and len(self._sources.names) == 1 else None,
            notes=tuple(self._sources.notes),
        )


def _headline(replay: Replay) -> list[tuple[str, str]]:
    counts = Counter(str(task.state) for task in replay.tasks)
    unhappy = [f"{counts[state]:,} {state}" for state in _UNHAPPY if state in counts]
    others = [f"{n:,} {state}" for state, n in counts.items() if state not in _UNHAPPY]
    told = ", ".join([*unhappy, *others])
    errors = [finding.code for finding in replay.findings if finding.severity is Severity.ERROR]
    undecided = sum(not task.settled for task in replay.tasks)
    verdict = (replay.verdict.upper(), replay.verdict)
    if errors:
        named = f"  {plural(len(errors), 'error')}: {', '.join(dict.fromkeys(errors))}"
        return [verdict, (named + (f"; tasks: {told}" if told else ""), "")]
    if undecided:
        return [verdict, (f"  {plural(undecided, 'task')} undecided where the trace ends; tasks: {told}", "")]
    if not replay.trace.observations:
        return [verdict, ("  the trace holds no observation: there is nothing to judge", "")]
    if not replay.tasks:
        return [verdict, ("  no task was seen" if not replay.board.tasks else "  no task is among those asked for", "")]
    if unhappy:
        rest = f", {', '.join(others)}" if others else ""
        return [(", ".join(unhappy), "bold red"), (f"{rest}; every task is decided: ", ""), verdict]
    return [verdict, (f"  every task is decided: {told}", "")]


def _begins(name: str | None, wanted: str | None) -> bool:
    return wanted is None or (name is not None and name.startswith(wanted))


def judge(tasks: list[Task], findings: list[Finding]) -> str:
    """Return the verdict on these tasks and findings."""
    if any(finding.severity is Severity.ERROR for finding in findings):
        return "fail"
    return "pass" if all(task.settled for task in tasks) else "incomplete"
