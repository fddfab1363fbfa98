"""Text report of a Replay, made to be read under stress: verdict, tasks, then findings, the gravest first.

Nothing is parsed as markup: each text is a `Text`, and whatever a trace contains has passed `harmless`.
"""

from __future__ import annotations

import heapq
import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Literal, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from comfy_fsm.core.findings import CODES, GRAVITY, Code, Finding
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import STYLES, Names, harmless, host, plural, span
from comfy_fsm.report import diagnosis_text
from comfy_fsm.report.player import Replay, tag_of
from comfy_fsm.report.sources import Location
from comfy_fsm.report.time_format import TimeFormat

__all__ = [
    "draw",
    "lay_out",
]

_TASKS = 40
"""Rows of the table of tasks; those that need a look come first, and the JSON report has them all."""
_SUBJECTS = 6
"""Places told of one code."""
_UNWRAPPED = 4_000
_FILES = 3
"""Files named in the heading; more are counted."""
_ERROR_LINES = 40
_UNKEPT = " (it came over the socket, and is not in a trace)"


def draw(replay: Replay, file: IO[str], *, color: bool | None, story: bool, utc: bool = False) -> None:
    """Write the report to `file`; `color` None leaves the choice to the terminal and NO_COLOR. Only a terminal wraps
    lines.
    """
    _written(file, color, lambda console: _draw(replay, console, story=story, utc=utc), replay)


def lay_out(
    replay: Replay,
    file: IO[str],
    compose: Callable[[int], Iterable[list[tuple[str, str]]]],
    *,
    color: bool | None,
    utc: bool = False,
) -> None:
    """Write the verdict, and below it lines composed for this width: pieces of text, each with its style."""

    def drawn(console: Console) -> None:
        for part in _heading(replay, _clock(replay, utc)):
            console.print(part)
        for line in compose(console.width):
            _print_line(console, line)

    _written(file, color, drawn, replay)


def _written(file: IO[str], color: bool | None, drawn: Callable[[Console], None], replay: Replay) -> None:
    """Write the report: on a terminal the verdict stands first, and again last where it would scroll away."""
    console = _console(file if file.isatty() else io.StringIO(), color if file.isatty() else False)
    if not file.isatty():
        console.width = _UNWRAPPED
    with console.capture() as captured:
        drawn(console)
    text = captured.get()
    if not file.isatty():
        file.writelines(line.rstrip() + "\n" for line in text.splitlines())
        return
    file.write(text)
    if text.count("\n") >= console.height:
        console.print()
        console.print(_headline(replay))


def _print_line(console: Console, line: list[tuple[str, str]]) -> None:
    console.print(Text.assemble(*((text, STYLES.get(style, style)) for text, style in line)), soft_wrap=True)


def _clock(replay: Replay, utc: bool) -> TimeFormat:
    return TimeFormat(replay.trace.first_at, replay.trace.last_at, utc=utc)


def _console(file: IO[str], color: bool | None) -> Console:
    plain = color is False or bool(os.environ.get("NO_COLOR"))
    system: Literal["auto"] | None = None if plain else "auto"
    return Console(file=file, color_system=system, highlight=False, markup=False, emoji=False)


def _draw(replay: Replay, console: Console, *, story: bool, utc: bool) -> None:
    names, clock = Names((task.prompt_id for task in replay.tasks), replay.trace.windows), _clock(replay, utc)
    for part in _heading(replay, clock):
        console.print(part)
    if story:
        for task in replay.tasks[:_SUBJECTS]:
            _story(console, replay, task, clock)
    elif replay.tasks:
        console.print()
        console.print(_tasks(replay, names, clock, console.width))
        left = len(replay.tasks) - _TASKS
        if left > 0:
            console.print(Text(f"and {left:,} more tasks; --format json lists them all", "dim"))
        for line in diagnosis_text.briefs(replay, console.width, clock):
            _print_line(console, line)
    _findings(console, replay, names)


def _headline(replay: Replay) -> Text:
    return Text.assemble(*((text, STYLES.get(style, style)) for text, style in replay.headline))


def _heading(replay: Replay, clock: TimeFormat) -> Iterator[Text]:
    yield _headline(replay)
    trace = replay.trace
    few = len(trace.files) <= _FILES
    files = ", ".join(harmless(file, 80) for file in trace.files) if few else f"{len(trace.files):,} files"
    yield Text(
        f"{files}: {plural(trace.observations, 'observation')}, "
        f"{plural(len(trace.windows), 'window')}, {plural(len(trace.servers), 'server')}"
    )
    if trace.first_at is not None and trace.last_at is not None:
        yield Text(f"{clock.range()}, {span(trace.last_at - trace.first_at)}")
    if trace.policy:
        told = ", ".join(f"{name} {value:g}" for name, value in trace.policy.items())
        yield Text(f"by the policy of the log: {told} (--default-policy judges by the default)")
    grave = _count(finding.severity for finding in replay.findings)
    if grave:
        yield Text("findings: " + ", ".join(plural(grave[s], s) for s in GRAVITY if s in grave))


class _Column(NamedTuple):
    """Column of the table of tasks. The higher its rank, the sooner it is left out where there is no room."""

    title: str
    cells: list[Text]
    rank: int = 0

    @property
    def width(self) -> int:
        """Return the width that it takes so that no word is broken."""
        if self.title == "findings":
            return max((len(word) for cell in self.cells for word in cell.plain.split()), default=0)
        return max(len(self.title), *(cell.cell_len for cell in self.cells))


def _tasks(replay: Replay, names: Names, clock: TimeFormat, width: int) -> Table:
    shown = heapq.nsmallest(_TASKS, replay.tasks, key=replay.urgency_of)
    columns = [
        _Column("state", [Text(task.state, STYLES.get(task.state, "yellow")) for task in shown]),
        _Column("task", [Text(names.task(task.prompt_id)) for task in shown]),
        _Column("tag", [Text(tag_of(task, 24)) for task in shown], 1),
        _Column("window", [Text(names.window(task.window)) for task in shown], 5),
        _Column("server", [Text(host(task.server)) for task in shown], 2),
        _Column("began", [Text(clock.time(_begun(task))) for task in shown], 3),
        _Column("took", [Text(_took(task)) for task in shown]),
        _Column("how it is known", [Text(_how(task)) for task in shown], 6),
        _Column("known", [Text(task.confidence or "") for task in shown], 4),
        _Column("findings", [Text(", ".join(replay.graver_codes_of(task)), "yellow") for task in shown]),
    ]
    columns = [column for column in columns if column.title in ("state", "task") or any(c.plain for c in column.cells)]
    for title, values in (("window", replay.trace.windows), ("server", replay.trace.servers)):
        if len(values) < 2:
            columns = [column for column in columns if column.title != title]
    while len(columns) > 2 and sum(column.width + 2 for column in columns) - 2 > width and any(c.rank for c in columns):
        columns.remove(max(columns, key=lambda column: column.rank))
    if any(column.title == "how it is known" for column in columns):
        columns = [column for column in columns if column.title != "known"]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, no_wrap=column.title != "findings", overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def _begun(task: Task) -> float | None:
    return task.submitted_at if task.submitted_at is not None else task.started_at


def _how(task: Task) -> str:
    source, by = task.completion_source, task.confirmed_by
    told = source if by in (None, source) else f"{source}, then {by}"
    if not task.settled:
        ended = "ended, outcome unknown" if source else "no end was reported"
        stated = f"reported as {task.outcome}" if task.outcome else ended
        return f"{stated} (not confirmed)" if source else stated
    return f"{told} ({task.confidence})" if told else f"({task.confidence})"


def _took(task: Task) -> str:
    begun = _begun(task)
    return span(task.ended_at - begun) if begun is not None and task.ended_at is not None else ""


def _story(console: Console, replay: Replay, task: Task, clock: TimeFormat) -> None:
    """Write one task line by line, with the reason of each transition."""
    console.print()
    console.print(Text(f"Task {harmless(task.prompt_id)}", "bold"))
    if tag := tag_of(task, 300):
        console.print(Text(f"tag {tag}"))
    console.print(
        Text(f"of window {harmless(task.window)}, bound to {harmless(task.server)}: {task.state}, {_how(task)}")
    )
    if task.error is not None:
        at = f" in node {task.error.node_id} ({task.error.node_type})" if task.error.node_id else ""
        said = f"error: {task.error.type}: {task.error.message}{at}"
        for number, line in enumerate(said.splitlines()[:_ERROR_LINES]):
            console.print(Text("       " * (number > 0) + harmless(line), "red"))
        for fault in task.error.faults[:_SUBJECTS]:
            console.print(Text(f"       {harmless(str(fault))}", "red"))
    console.print()
    for move in _moves(replay, task, clock):
        _print_line(console, move)
    for told in _results(task):
        console.print(Text(harmless(told)))


def _results(task: Task) -> Iterator[str]:
    """Yield what the task produced, and what of it is missing here."""
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


def _moves(replay: Replay, task: Task, clock: TimeFormat) -> Iterator[list[tuple[str, str]]]:
    """Return the POST, the signals and the findings of one task, by time."""
    many = len(replay.trace.files) > 1
    rows: list[tuple[float, int, int, tuple[str, str], str, str]] = []
    if task.submitted_at is not None:
        posted = ("POST /prompt", ""), "submitting", "the window posted it"
        rows.append((task.submitted_at, 0, task.submission.position, *posted))
    for told in task.signals:
        moved = f"{told.before} → {told.after}" if told.after != told.before else str(told.after)
        rows.append((told.at, 1, told.position, (harmless(told.signal, 24), ""), moved, told.why))
    for finding in replay.findings:
        if finding.prompt_id == task.prompt_id and finding.code != Code.UNRESOLVED:
            code = finding.code, STYLES[finding.severity]
            rows.append((finding.at, 2, finding.positions[0], code, "", finding.text))
    rows.sort(key=lambda row: row[:3])
    cites = [_cite(replay.origins.locate(row[2]), many) for row in rows]
    wide, long = max(map(len, ["line", *cites])), max((len(row[3][0]) for row in rows), default=0)
    head = f"{'line':>{wide}}  {'at':{len(clock.time(rows[0][0], fine=True)) if rows else 0}}  {'after':>9}"
    yield [(f"{head}  {'seen':{long}}  state", "bold")]
    for (at, _, _, (seen, style), moved, why), cite in zip(rows, cites, strict=True):
        lead = f"{cite:>{wide}}  {clock.time(at, fine=True)}  {f'+{at - rows[0][0]:.3f}':>9}  "
        yield [(lead, ""), (f"{seen:{long}}", style), (f"  {moved}", "")]
        yield [(" " * (wide + 2) + harmless(why), "dim")]


def _findings(console: Console, replay: Replay, names: Names) -> None:
    by_code: dict[Code, list[Finding]] = {}
    for finding in replay.findings:
        by_code.setdefault(finding.code, []).append(finding)
    many = len(replay.trace.files) > 1
    for code in sorted(by_code, key=lambda code: (GRAVITY[CODES[code].severity], replay.line_of(by_code[code][0]))):
        found, row = by_code[code], CODES[code]
        console.print()
        console.print(Text.assemble((f"{row.severity} ", STYLES[row.severity]), (code, "bold"), f"  {row.meaning}"))
        console.print(Padding(Text(row.advice, "italic"), (0, 0, 0, 2)))
        for finding in found[:_SUBJECTS]:
            lines = ", ".join(_cite(replay.origins.locate(position), many) for position in finding.positions)
            more = (
                f" and {finding.count - len(finding.positions):,} more"
                if finding.count > len(finding.positions)
                else ""
            )
            word = "line" if finding.count == 1 else "lines"
            told = f"{word} {lines}{more}: {_subject(names, finding)}{harmless(finding.text)}"
            console.print(Padding(Text(told), (0, 0, 0, 2)))
        if len(found) > _SUBJECTS:
            console.print(Text(f"  and {len(found) - _SUBJECTS:,} more of this kind", "dim"))
    if replay.unkept_findings:
        console.print(Text(f"and {replay.unkept_findings:,} more notes that were counted, not kept", "dim"))


def _subject(names: Names, finding: Finding) -> str:
    parts = []
    if finding.prompt_id is not None:
        parts.append(f"task {names.task(finding.prompt_id)}")
    if finding.window is not None:
        parts.append(f"window {names.window(finding.window)}")
    return ", ".join(parts) + ": " if parts else ""


def _cite(location: Location, many: bool) -> str:
    return f"{harmless(location.file, 40)}:{location.line}" if many else str(location.line)


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
