"""Diagnosis of a task: its state, the evidence for it, what is missing, the findings that explain it, and the next
steps.

Works on any board, at any moment: live, of a log, of a trace, before and after the end. It changes nothing there. The
sentences are in `rules`, the facts they ask for in `facts`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable

from msgspec import Struct

from comfy_fsm.core.explain.facts import Facts
from comfy_fsm.core.explain.rules import MISSING, NEXT, SAYS, Rule, StepRule, applies, sentence
from comfy_fsm.core.findings import CODES, Code, Finding, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.ending import Confidence
from comfy_fsm.core.registry.task import Task

__all__ = [
    "COMMAND",
    "CONCERNS",
    "MANY",
    "Diagnosis",
    "Evidence",
    "Explanation",
    "Remark",
    "Step",
    "concern",
    "diagnose",
    "explain",
    "loose",
    "rule_of",
]

COMMAND = "python -m comfy_fsm"
_ID = re.compile(r"\w[\w-]{0,63}", re.ASCII)
_ADDRESS = re.compile(r"https?://(\w[\w.-]{0,252}|\[[\da-fA-F:.]{2,45}\])(:\d{1,5})?(/[\w./-]{0,100})?", re.ASCII)
"""Address that may be pasted into a shell, as may `_ID`: both come from servers and traces."""
MANY = 8
"""Servers named in one command."""
CONCERNS = ("error", "undecided", "unsuccessful", "warning", "none")
_UNHEARD = frozenset({Code.DEAF_SOCKET, Code.MISSED_END, Code.UNRESOLVED, Code.SILENCE})
"""Findings of a task that one about its socket may explain: a frame was not received."""


class Remark(Struct, frozen=True):
    """Sentence, and the positions that show it."""

    text: str
    positions: tuple[int, ...] = ()


class Evidence(Struct, frozen=True):
    """Signal that was applied: where and when it was seen, the transition that it made, and its reason."""

    position: int
    at: float
    signal: str
    before: State
    after: State
    why: str


class Explanation(Struct, frozen=True):
    """Finding, with the meaning and the advice of its code."""

    code: Code
    severity: Severity
    text: str
    positions: tuple[int, ...]
    count: int
    window: str | None
    server: str | None
    prompt_id: str | None

    @property
    def meaning(self) -> str:
        return CODES[self.code].meaning

    @property
    def advice(self) -> str:
        return CODES[self.code].advice


class Step(Struct, frozen=True):
    """Action to take, and the command for it, if there is one."""

    text: str
    command: str | None = None


class Diagnosis(Struct, frozen=True):
    """Diagnosis of one task."""

    prompt_id: str | None
    window: str | None
    server: str
    state: State
    outcome: State | None
    confidence: Confidence | None
    says: Remark
    """State of the task in one sentence."""
    evidence: tuple[Evidence, ...]
    missing: tuple[Remark, ...]
    findings: tuple[Explanation, ...]
    steps: tuple[Step, ...]
    """Next steps, the most urgent first; empty if nothing needs to be done."""
    concern: int
    """Urgency, as an index of `CONCERNS`: the lower, the more urgent."""


def diagnose(board: Board, prompt_id: str | None = None, log: str | None = None) -> list[Diagnosis]:
    """Diagnose the tasks whose prompt id starts with this, or all; the most urgent first. Commands name `log`, if
    given."""
    wanted = (task for task in board.tasks if prompt_id is None or (task.prompt_id or "").startswith(prompt_id))
    return explain(board, wanted, log)


def explain(board: Board, tasks: Iterable[Task], log: str | None = None) -> list[Diagnosis]:
    """Diagnose these tasks of a board, which is of that log; the most urgent first, then in the order in which they
    were seen."""
    found, paste = _Findings(board), _Paste(board.addresses, log)
    return sorted((_diagnose(board, task, found, paste) for task in tasks), key=lambda diagnosis: diagnosis.concern)


def rule_of(board: Board, task: Task) -> str:
    """Return the sentence that its diagnosis says, before its words are put in: the same for the same reason."""
    return _said(_case(board, task, _Findings(board))[0]).text


def loose(board: Board, wanted: Callable[[Finding], bool] = lambda finding: True) -> list[Explanation]:
    """Return the findings about no task of the board, the gravest first."""
    return _explained(filter(wanted, _Findings(board).loose))


def concern(task: Task, codes: Iterable[Code]) -> int:
    """Return the urgency of a task: errors first, then undecided tasks, those that did not succeed, warnings, and all
    others."""
    severities = {CODES[code].severity for code in codes}
    concerns = (
        Severity.ERROR in severities, not task.settled, task.state != State.COMPLETED, Severity.WARNING in severities
    )  # fmt: skip
    return next((rank for rank, is_so in enumerate(concerns) if is_so), len(concerns))


class _Findings:
    """Findings of a board, by what they are about."""

    def __init__(self, board: Board) -> None:
        self._of_tasks: dict[str, list[Finding]] = {}
        self._of_sockets: dict[tuple[str | None, str | None], list[Finding]] = {}
        self.loose: list[Finding] = []
        self.unread: list[Finding] = []
        ids = {task.prompt_id for task in board.tasks}
        for finding in board.findings:
            if finding.prompt_id in ids and finding.prompt_id is not None:
                self._of_tasks.setdefault(finding.prompt_id, []).append(finding)
                continue
            self.loose.append(finding)
            if finding.prompt_id is None and finding.severity is not Severity.NOTE:
                unread = finding.code in (Code.DAMAGED, Code.UNDECODABLE) and finding.server is None
                (self.unread if unread else self._of_sockets.setdefault((finding.window, finding.server), [])).append(
                    finding
                )

    def about(self, board: Board, task: Task) -> list[Finding]:
        """Return the findings about this task. If two servers have its id, each task has those of its server, and both
        have those of neither."""
        own = self._of_tasks.get(task.prompt_id or "", [])
        return [
            finding
            for finding in own
            if finding.server == task.server
            or finding.server is None
            or board.task(finding.prompt_id or "", finding.server) is None
        ]

    def around(self, task: Task) -> list[Finding]:
        """Return the findings about its socket alone."""
        return self._of_sockets.get((task.client_id or task.window, task.server), [])


class _Paste:
    """Commands that can be run as printed: each names the servers that it may ask, and the log if it is known."""

    def __init__(self, servers: Iterable[str], log: str | None) -> None:
        self._servers = [url for url in servers if _ADDRESS.fullmatch(url)]
        self._log = [] if log is None else ["--log", log]

    def command(self, row: StepRule, task: Task) -> str | None:
        """Return the command; None if a part of it could mean something else to a shell, or nothing to the command."""
        words = (task.prompt_id or "", *self._log)
        if not row.command or not _ID.fullmatch(words[0]) or not "".join(words).isprintable():
            return None
        if not _ADDRESS.fullmatch(task.server):
            return None
        others = self._servers if row.command == "consistency" else []
        servers = list(dict.fromkeys([task.server, *others]))[:MANY]
        given = [word for url in servers for word in ("--server", url)]
        return f"{COMMAND} {shlex.join([row.command, words[0], *given, *self._log])}"


def _diagnose(board: Board, task: Task, found: _Findings, paste: _Paste) -> Diagnosis:
    case, told = _case(board, task, found)
    return Diagnosis(
        prompt_id=task.prompt_id,
        window=task.window,
        server=task.server,
        state=task.state,
        outcome=task.outcome,
        confidence=task.confidence,
        says=Remark(sentence(said := _said(case), case), said.where(case)),
        evidence=tuple(_evidence(task)),
        missing=tuple(Remark(sentence(row, case), row.where(case)) for row in MISSING if applies(row, case)),
        findings=tuple(_explained(told)),
        steps=tuple(Step(sentence(row, case), paste.command(row, task)) for row in NEXT if applies(row, case)),
        concern=concern(task, (finding.code for finding in case.findings)),
    )


def _case(board: Board, task: Task, found: _Findings) -> tuple[Facts, list[Finding]]:
    """Return the facts about a task, and all findings that its diagnosis tells."""
    own = found.about(board, task)
    around = found.around(task) if not task.settled or {finding.code for finding in own} & _UNHEARD else []
    unread = [] if task.settled else [*found.unread, *(each for each in around if each.code == Code.UNDECODABLE)]
    return Facts(board.registry, task, own, unread), [*own, *around, *(each for each in unread if each not in around)]


def _said(case: Facts) -> Rule:
    return next(row for row in SAYS if applies(row, case))


def _evidence(task: Task) -> list[Evidence]:
    """Return the signals in the order in which they were seen, with the POST where it was sent."""
    found = [Evidence(t.position, t.at, t.signal, t.before, t.after, t.why) for t in task.signals]
    if task.submitted_at is not None:
        start = State.SUBMITTING
        post = Evidence(
            task.submission.position, task.submitted_at, "POST /prompt", start, start, "the window posted it"
        )
        found.insert(sum(each.position < post.position for each in found), post)
    return found


def _explained(findings: Iterable[Finding]) -> list[Explanation]:
    order = list(Severity)
    return sorted(
        (
            Explanation(f.code, f.severity, f.text, tuple(f.positions), f.count, f.window, f.server, f.prompt_id)
            for f in findings
        ),
        key=lambda told: order.index(told.severity),
    )
