"""Selection of the part of a replay that a report is to tell: tasks that did not complete, a span of time, a word."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.report.player import Replay, judge

__all__ = ["Selection", "narrow"]


class Selection(Struct, frozen=True, kw_only=True):
    """Selection of what to tell; everything, where nothing is set."""

    failed: bool = False
    """Only tasks that settled and did not complete."""
    since: float | None = None
    until: float | None = None
    """Only what was under way, or was found, in this span: in seconds since the epoch."""
    word: str | None = None
    """Only what has this word in an id, an address, a tag, an error, an output or a finding, in any case."""

    @property
    def is_all(self) -> bool:
        return self == Selection()


def narrow(replay: Replay, selection: Selection) -> Replay:
    """Return the same replay with fewer tasks and findings, judged by these; all was folded all the same."""
    if selection.is_all:
        return replay
    word = (selection.word or "").casefold()
    speaking = {each.prompt_id for each in replay.findings if _has(word, *_words_of_finding(each))}
    tasks = [
        task
        for task in replay.tasks
        if (not selection.failed or (task.settled and task.state is not State.COMPLETED))
        and _is_within(task, selection)
        and (_has(word, *_words(task)) or (task.prompt_id is not None and task.prompt_id in speaking))
    ]
    named = {task.prompt_id for task in tasks}
    found = [
        each
        for each in replay.findings
        if each.prompt_id in named
        or (
            each.prompt_id is None
            and not selection.failed
            and _is_between(each.at, each.at, selection)
            and _has(word, *_words_of_finding(each))
        )
    ]
    return replace(replay, tasks=tasks, findings=found, verdict=judge(tasks, found), unkept_findings=0)


def _is_within(task: Task, selection: Selection) -> bool:
    """Return whether it was under way at any moment of the span."""
    known = [
        at for at in (task.submitted_at, task.started_at, *(each.at for each in task.signals[:1])) if at is not None
    ]
    begun = min(known, default=float("-inf"))
    last = task.settled_at if task.settled and task.settled_at is not None else float("inf")
    return _is_between(begun, last, selection)


def _is_between(begun: float, last: float, selection: Selection) -> bool:
    return (selection.until is None or begun <= selection.until) and (
        selection.since is None or last >= selection.since
    )


def _has(word: str, *texts: str | None) -> bool:
    return not word or any(word in text.casefold() for text in texts if text)


def _words(task: Task) -> Iterator[str | None]:
    yield from (task.prompt_id, task.window, task.server, task.state, task.tag.decode("utf-8", "replace"))
    if task.error is not None:
        yield from (task.error.type, task.error.message, task.error.node_id, task.error.node_type)
        yield from map(str, task.error.faults)
    yield from (output.path for output in task.outputs)
    yield from (text.text for text in task.texts)


def _words_of_finding(finding: Finding) -> tuple[str | None, ...]:
    return finding.code, finding.text, finding.window, finding.server, finding.prompt_id
