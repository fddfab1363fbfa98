"""A Replay as text, made to be read by a person under stress: verdict, tasks, findings, gravest first.

Nothing here is parsed as markup: each text is a `Text`, and whatever a trace said has passed `harmless`.
"""

from __future__ import annotations

import heapq
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Literal

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from comfy_fsm.core.explain.diagnosis import concern
from comfy_fsm.core.findings import CODES, GRAVITY, Code, Finding
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import harmless
from comfy_fsm.report.player import Place, Replay

__all__ = ["draw", "lay_out", "progress"]

_TASKS = 40
"""Rows of the table of tasks; those that need a look come first, and the JSON report has them all."""
_SUBJECTS = 6
"""Places told of one code."""
_UNWRAPPED = 4_000
_UNKEPT = " (it came over the socket, and is not in a trace)"
_PATIENCE = 1.0
"""Seconds before a bar is worth looking at."""
_STYLES = {
    "pass": "bold green", "fail": "bold red", "incomplete": "bold yellow", "unknown": "bold yellow",
    "completed": "green", "failed": "red", "cancelled": "magenta", "rejected": "red", "lost": "bold red",
    "expired": "bold red", "error": "bold red", "warning": "yellow", "note": "dim", "advice": "italic",
    "command": "cyan", "submitting": "yellow", "uncertain": "yellow", "pending": "yellow", "in_progress": "yellow",
    "ending": "yellow",
}  # fmt: skip


def draw(replay: Replay, file: IO[str], *, color: bool | None, story: bool) -> None:
    """Write the report to `file`; `color` None leaves it to the terminal and NO_COLOR. Only a terminal wraps lines."""
    if file.isatty():
        _draw(replay, _console(file, color), story=story)
        return
    text = io.StringIO()
    _draw(replay, _console(text, False, width=_UNWRAPPED), story=story)
    file.writelines(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def lay_out(
    replay: Replay, file: IO[str], compose: Callable[[int], Iterable[list[tuple[str, str]]]], *, color: bool | None
) -> None:
    """Write the verdict, and below it lines that were composed for this width: pieces of text, each with its style."""
    console = _console(file, color)
    for part in _verdict(replay):
        console.print(part, soft_wrap=not file.isatty())
    for line in compose(console.width if file.isatty() else _UNWRAPPED):
        console.print(Text.assemble(*((text, _STYLES.get(style, style)) for text, style in line)), soft_wrap=True)


def _console(file: IO[str], color: bool | None, width: int | None = None) -> Console:
    plain = color is False or bool(os.environ.get("NO_COLOR"))
    system: Literal["auto"] | None = None if plain else "auto"
    return Console(file=file, color_system=system, highlight=False, markup=False, emoji=False, width=width)


def _draw(replay: Replay, console: Console, *, story: bool) -> None:
    names = _Names(replay)
    for part in _verdict(replay):
        console.print(part)
    if story:
        for task in replay.tasks[:_SUBJECTS]:
            _story(console, replay, task)
    elif replay.tasks:
        console.print(_tasks(replay, names))
        left = len(replay.tasks) - _TASKS
        if left > 0:
            console.print(Text(f"and {left:,} more tasks; --format json lists them all", "dim"))
    _findings(console, replay, names)


def _verdict(replay: Replay) -> Iterator[Text]:
    counts = _count(task.state for task in replay.tasks)
    grave = _count(finding.severity for finding in replay.findings)
    errors = dict.fromkeys(finding.code for finding in replay.findings if finding.severity == "error")
    undecided = sum(not task.settled for task in replay.tasks)
    if errors:
        reason = f"{_plural(grave['error'], 'error')}: {', '.join(errors)}"
    elif undecided:
        reason = f"{_plural(undecided, 'task')} undecided where the trace ends"
    elif not replay.trace.observations:
        reason = "the trace holds no observation: there is nothing to judge"
    elif not replay.tasks:
        reason = "no task was seen"
    else:
        reason = "every task is decided: " + ", ".join(f"{n:,} {state}" for state, n in counts.items())
    yield Text.assemble((replay.verdict.upper(), _STYLES[replay.verdict]), f"  {reason}")
    files = ", ".join(harmless(file, 80) for file in replay.trace.files)
    span = (replay.trace.last_at or 0) - (replay.trace.first_at or 0)
    yield Text(
        f"{files}: {_plural(replay.trace.observations, 'observation')} in {_seconds(span)}, "
        f"{_plural(len(replay.trace.windows), 'window')}, {_plural(len(replay.trace.servers), 'server')}"
    )
    if replay.trace.policy:
        told = ", ".join(f"{name} {value:g}" for name, value in replay.trace.policy.items())
        yield Text(f"by the policy of the log: {told} (--default-policy judges by the default)")
    if replay.tasks:
        yield Text(
            f"{_plural(len(replay.tasks), 'task')}: " + ", ".join(f"{n:,} {state}" for state, n in counts.items())
        )
    if grave:
        yield Text("findings: " + ", ".join(_plural(grave[s], s) for s in GRAVITY if s in grave))


def _tasks(replay: Replay, names: _Names) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("\nstate", "\ntask", "\nwindow", "\nserver", "\nhow it is known", "\ntook", "\nfindings"):
        table.add_column(title, overflow="fold")
    for task in heapq.nsmallest(_TASKS, replay.tasks, key=lambda task: concern(task, replay.codes_of(task))):
        graver = [code for code in replay.codes_of(task) if CODES[code].severity != "note"]
        table.add_row(
            Text(task.state, _STYLES.get(task.state, "yellow")),
            Text(names.task(task.prompt_id)),
            Text(names.window(task.window)),
            Text(_host(task.server)),
            Text(_how(task)),
            Text(_took(task)),
            Text(", ".join(graver), "yellow"),
        )
    return table


def _how(task: Task) -> str:
    source, by = task.completion_source, task.confirmed_by
    told = source if by in (None, source) else f"{source}, then {by}"
    if not task.settled:
        stated = f"said to be {task.outcome}" if task.outcome else "ended, how is open" if source else "no end was told"
        return f"{stated} (not confirmed)" if source else stated
    return f"{told} ({task.confidence})" if told else f"({task.confidence})"


def _took(task: Task) -> str:
    begun = task.submitted_at if task.submitted_at is not None else task.started_at
    return _seconds(task.ended_at - begun) if begun is not None and task.ended_at is not None else ""


def _story(console: Console, replay: Replay, task: Task) -> None:
    """One task, line by line, with the reason of each move."""
    console.print()
    console.print(Text(f"Task {harmless(task.prompt_id)}", "bold"))
    console.print(
        Text(f"of window {harmless(task.window)}, bound to {harmless(task.server)}: {task.state}; {_how(task)}")
    )
    if task.error is not None:
        at = f" in node {task.error.node_id} ({task.error.node_type})" if task.error.node_id else ""
        console.print(Text(harmless(f"error: {task.error.type}: {task.error.message}{at}"), "red"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("\nline", "\nafter", "\nseen", "\nstate", "\nwhy"):
        table.add_column(title, justify="right" if title in ("\nline", "\nafter") else "left", overflow="fold")
    for row in _rows(replay, task):
        table.add_row(*row)
    console.print(table)
    for line in _results(task):
        console.print(Text(harmless(line)))


def _results(task: Task) -> Iterator[str]:
    """What it produced, and what of that is not here."""
    for output in task.outputs[:_SUBJECTS]:
        yield f"output of node {output.node}: {output.path}" + (_UNKEPT if output.by_socket else "")
    for text in task.texts[:_SUBJECTS]:
        yield f"text of node {text.node}: {text.text}"
    more = len(task.outputs[_SUBJECTS:]) + len(task.texts[_SUBJECTS:])
    if more:
        yield f"and {more:,} more outputs and texts"
    if task.left_out:
        yield f"and {task.left_out:,} outputs that were told and not kept"
    for node in task.missed[:_SUBJECTS]:
        yield f"node {node} sends its images over the socket, and some may be missing"


def _rows(replay: Replay, task: Task) -> Iterator[tuple[Text, ...]]:
    """The POST, the signals and the findings of one task, by time."""
    many = len(replay.trace.files) > 1
    rows: list[tuple[float, int, int, Text, Text, str]] = []
    if task.submitted_at is not None:
        posted = Text("POST /prompt"), Text("submitting"), "the window posted it"
        rows.append((task.submitted_at, 0, task.submission.position, *posted))
    for told in task.signals:
        moved = Text(f"{told.before} → {told.after}" if told.after != told.before else str(told.after))
        rows.append((told.at, 1, told.position, Text(harmless(told.signal)), moved, told.why))
    for finding in replay.findings:
        if finding.prompt_id == task.prompt_id and finding.code != Code.UNRESOLVED:
            code = Text(finding.code, _STYLES[finding.severity])
            rows.append((finding.at, 2, finding.positions[0], code, Text(""), finding.text))
    rows.sort(key=lambda row: row[:3])
    for at, _, position, seen, moved, why in rows:
        line = _cite(replay.origins.place(position), many)
        yield Text(line), Text(f"+{at - rows[0][0]:.3f}"), seen, moved, Text(harmless(why))


def _findings(console: Console, replay: Replay, names: _Names) -> None:
    by_code: dict[Code, list[Finding]] = {}
    for finding in replay.findings:
        by_code.setdefault(finding.code, []).append(finding)
    many = len(replay.trace.files) > 1
    for code in sorted(by_code, key=lambda code: (GRAVITY[CODES[code].severity], replay.line_of(by_code[code][0]))):
        found, row = by_code[code], CODES[code]
        console.print()
        console.print(Text.assemble((f"{row.severity} ", _STYLES[row.severity]), (code, "bold"), f"  {row.meaning}"))
        console.print(Text(f"  {row.advice}", "italic"))
        for finding in found[:_SUBJECTS]:
            lines = ", ".join(_cite(replay.origins.place(position), many) for position in finding.positions)
            more = (
                f" and {finding.count - len(finding.positions):,} more"
                if finding.count > len(finding.positions)
                else ""
            )
            word = "line" if finding.count == 1 else "lines"
            console.print(Text(f"  {word} {lines}{more}: {names.subject(finding)}{harmless(finding.text)}"))
        if len(found) > _SUBJECTS:
            console.print(Text(f"  and {len(found) - _SUBJECTS:,} more of this kind", "dim"))
    if replay.unkept_findings:
        console.print(Text(f"and {replay.unkept_findings:,} more notes that were counted, not kept", "dim"))


class _Names:
    """Ids cut as short as they stay apart: a person compares them by eye."""

    def __init__(self, replay: Replay) -> None:
        self._tasks = _shortest({task.prompt_id for task in replay.tasks if task.prompt_id is not None})
        self._windows = _shortest(set(replay.trace.windows))

    def task(self, prompt_id: str | None) -> str:
        return "(no id)" if prompt_id is None else harmless(prompt_id[: self._tasks], 40)

    def window(self, window: str | None) -> str:
        return "" if window is None else harmless(window[: self._windows], 40)

    def subject(self, finding: Finding) -> str:
        parts = []
        if finding.prompt_id is not None:
            parts.append(f"task {self.task(finding.prompt_id)}")
        if finding.window is not None:
            parts.append(f"window {self.window(finding.window)}")
        return ", ".join(parts) + ": " if parts else ""


def _shortest(ids: set[str]) -> int:
    length = 8
    while length < 40 and len({each[:length] for each in ids}) < len(ids):
        length += 4
    return length


def _cite(place: Place, many: bool) -> str:
    return f"{harmless(place.file, 40)}:{place.line}" if many else str(place.line)


def _host(server: str) -> str:
    return harmless(server.removeprefix("http://").removeprefix("https://"), 40)


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@contextmanager
def progress(file: IO[str]) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on `file` for a long trace, where that is a terminal; None where it is not."""
    if not file.isatty():
        yield None
        return
    columns = (TextColumn("replaying"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=_console(file, None), transient=True)
    row = bar.add_task("replaying", total=None)
    begun = time.monotonic()

    def watch(done: int, size: int) -> None:
        bar.update(row, completed=done, total=size or None)
        if not bar.live.is_started and time.monotonic() - begun > _PATIENCE:
            bar.start()

    try:
        yield watch
    finally:
        bar.stop()
