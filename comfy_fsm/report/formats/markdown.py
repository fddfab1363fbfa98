"""Markdown: a replay as text for an issue on GitHub.

Whatever a trace contains is text there, too: it makes no heading, link, image, mention, reference or table of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from comfy_fsm.core.explain.diagnosis import explain
from comfy_fsm.core.findings import CODES, GRAVITY, Code, Finding
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import Names, harmless, host, plural, span
from comfy_fsm.report.player import Replay
from comfy_fsm.report.time_format import TimeFormat

__all__ = ["code", "compose", "plain"]

_TASKS = 30
_PLACES = 5
"""Places told of one code."""
_SIGNS = re.compile(r"[\\`*_\[\]#|~$!&<]|@(?=\w)|:(?=//|[a-z_]\w*:)|www(?=\.)|GH-(?=\d)", re.I)
"""Signs of Markdown; and where a mention, a reference, an address or a sign like :this: is broken up, since GitHub
finds them in any text."""
_APART = "&#8203;"
_ENTITIES = {"&": "&amp;", "<": "&lt;", "#": "\\#" + _APART}


def compose(replay: Replay, *, utc: bool = False) -> str:
    """Return the report."""
    return "\n".join(_lines(replay, TimeFormat(replay.trace.first_at, replay.trace.last_at, utc=utc))) + "\n"


def plain(text: object, longest: int = 300) -> str:
    """Return a text that shows as it is, and does nothing."""
    return _SIGNS.sub(_shown, harmless(text, longest))


def _shown(found: re.Match[str]) -> str:
    sign = found[0]
    if sign in _ENTITIES:
        return _ENTITIES[sign]
    return sign + _APART if sign[0].isalpha() or sign in "@:" else f"\\{sign}"


def code(text: object, longest: int = 80) -> str:
    """Return a text as code."""
    told = harmless(text, longest)
    if not told.strip():
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", told)), default=0))
    gap = " " if told.startswith("`") or told.endswith("`") else ""
    return f"{fence}{gap}{told}{gap}{fence}"


def _code_cell(text: object) -> str:
    """Return a text as code in a table, where a backslash keeps a bar from ending the cell; elsewhere it would show."""
    return code(text).replace("|", "\\|")


def _lines(replay: Replay, clock: TimeFormat) -> Iterator[str]:
    trace = replay.trace
    yield f"### {plain(''.join(text for text, _ in replay.headline).replace('  ', ' – ', 1))}"
    yield ""
    facts = [plural(trace.observations, "observation"), plural(len(trace.windows), "window")]
    facts.append(plural(len(trace.servers), "server"))
    if trace.first_at is not None and trace.last_at is not None:
        facts += [plain(clock.range()), span(trace.last_at - trace.first_at)]
    yield f"{', '.join(code(file) for file in trace.names[:3])}: {', '.join(facts)}"
    for note in replay.notes:
        yield f"\n{plain(note)}"
    if replay.tasks:
        yield ""
        yield from _tasks(replay)
    yield from _findings(replay)


def _tasks(replay: Replay) -> Iterator[str]:
    names = Names((task.prompt_id for task in replay.tasks), replay.trace.windows)
    shown = sorted(replay.tasks, key=replay.urgency_of)[:_TASKS]
    says = {(told.server, told.prompt_id): told.says.text for told in explain(replay.board, shown, replay.log)}
    yield "| task | state | window | server | took | what became of it |"
    yield "|---|---|---|---|---|---|"
    for task in shown:
        cells = (
            _code_cell(names.task(task.prompt_id)), f"**{task.state}**", _code_cell(names.window(task.window)),
            _code_cell(host(task.server)), _took(task), plain(says[task.server, task.prompt_id]),
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    if len(replay.tasks) > _TASKS:
        yield f"\nand {len(replay.tasks) - _TASKS:,} more tasks"


def _took(task: Task) -> str:
    begun = task.submitted_at if task.submitted_at is not None else task.started_at
    return span(task.ended_at - begun) if begun is not None and task.ended_at is not None else ""


def _findings(replay: Replay) -> Iterator[str]:
    names = Names((task.prompt_id for task in replay.tasks), replay.trace.windows)
    by_code: dict[Code, list[Finding]] = {}
    for finding in replay.findings:
        by_code.setdefault(finding.code, []).append(finding)
    for each in sorted(by_code, key=lambda each: (GRAVITY[CODES[each].severity], replay.line_of(by_code[each][0]))):
        found, row = by_code[each], CODES[each]
        yield f"\n**{row.severity}** `{each}` {row.meaning} *{row.advice}*\n"
        for finding in found[:_PLACES]:
            about = f"task {code(names.task(finding.prompt_id))}: " if finding.prompt_id is not None else ""
            yield f"- line {replay.line_of(finding)}: {about}{plain(finding.text)}"
        if len(found) > _PLACES:
            yield f"- and {len(found) - _PLACES:,} more"
