"""Page: a scene as one HTML file, which asks nothing of a network and runs nothing but its own script.

Whatever a trace contains has passed `harmless`, and is escaped here. The policy in the page names the script and the
style by their digests, so that even text that got past this could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from comfy_fsm.core.explain.diagnosis import Diagnosis, explain
from comfy_fsm.core.findings import CODES, GRAVITY
from comfy_fsm.display import Names, harmless, host, plural, span
from comfy_fsm.report.picture.scene import Flag, Scene, chosen
from comfy_fsm.report.player import Replay
from comfy_fsm.report.time_format import TimeFormat

__all__ = ["draw"]

_STATIC = Path(__file__).parent / "static"
_STEPS = 2
"""Next steps that are told of one task."""


def draw(replay: Replay, scene: Scene, *, utc: bool = False) -> str:
    """Return the page."""
    trace = replay.trace
    clock = TimeFormat(trace.first_at, trace.last_at, utc=utc)
    script, style = _static("timeline.js") + _static("selection.js"), _static("picture.css")
    name = ", ".join(harmless(file, 80) for file in trace.names[:3]) + (" …" if len(trace.files) > 3 else "")
    facts = [
        plural(trace.observations, "observation"), plural(len(trace.windows), "window"),
        plural(len(trace.servers), "server"), *([clock.range()] if trace.first_at is not None else []),
        *([span(trace.last_at - trace.first_at)] if trace.first_at is not None and trace.last_at is not None else []),
    ]  # fmt: skip
    parts = {
        "policy": _policy(script, style),
        "style": style,
        "script": script,
        "title": _text(f"{replay.verdict}: {name}"),
        "name": _text(name),
        "verdict": replay.verdict,
        "headline": _text("".join(text for text, _ in replay.headline)),
        "facts": _text(" · ".join(facts)),
        "notes": _notes([*replay.notes], scene.left_out),
        "found": _text(plural(len(replay.findings), "finding")),
        "findings": _findings(scene, len(trace.files)),
        "counted": _text(plural(len(replay.tasks), "task")),
        "tasks": _tasks(replay),
        "made": _text("Made by comfy-fsm. A line in full: comfy-replay show TRACE LINE."),
        "scene": msgspec.json.encode(_compact(scene)).decode().replace("<", "\\u003c").replace("&", "\\u0026"),
    }
    return "".join(
        parts[part] if number % 2 else part
        for number, part in enumerate(_static("picture.html").replace("}}", "{{").split("{{"))
    )


@cache
def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _text(text: object) -> str:
    return html.escape(str(text))


def _compact(scene: Scene) -> Scene:
    """Return the scene with times and lines as differences to those before, which are short."""
    frames = [replace(b, at=b.at - a.at, line=b.line - a.line) for a, b in itertools.pairwise(scene.frames)]
    asked = [replace(b, asked=b.asked - a.asked, line=b.line - a.line) for a, b in itertools.pairwise(scene.exchanges)]
    exchanges = [
        each if told.answered < 0 else replace(each, answered=told.answered - told.asked, last=told.last - told.line)
        for each, told in zip([*scene.exchanges[:1], *asked], scene.exchanges, strict=True)
    ]
    return replace(scene, frames=[*scene.frames[:1], *frames], exchanges=exchanges)


def _policy(script: str, style: str) -> str:
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _notes(notes: list[str], left_out: list[str]) -> str:
    told = [harmless(note) for note in notes]
    if left_out:
        told.append(f"Not drawn: {'; '.join(left_out)}. With --task, --since and --until a part is drawn in full.")
    return "".join(f'<p class="note">{_text(note)}</p>' for note in told)


def _findings(scene: Scene, files: int) -> str:
    """List the findings by their codes, the gravest first; each has a button that shows it on the time line."""
    if not scene.flags:
        return '<p class="soft">Nothing to report.</p>'
    by_code: dict[str, list[tuple[int, Flag]]] = {}
    for number, flag in enumerate(scene.flags):
        by_code.setdefault(scene.texts[flag.code], []).append((number, flag))
    rows = {str(code): row for code, row in CODES.items()}
    told = []
    for code in sorted(by_code, key=lambda code: GRAVITY[rows[code].severity]):
        row = rows[code]
        each = "".join(
            f'<li><button type="button" data-flag="{number}">{_text(_cite(flag, scene, files))}</button>'
            f" {_text(_subject(flag, scene))}{_text(scene.texts[flag.text])}</li>"
            for number, flag in by_code[code]
        )
        told.append(
            f'<li data-word="{row.severity}"><p><b>{code}</b> <span class="word" data-word="{row.severity}">'
            f'{row.severity}</span> {_text(row.meaning)}</p><p class="soft">{_text(row.advice)}</p><ul>{each}</ul></li>'
        )
    return f'<ol class="findings">{"".join(told)}</ol>'


def _cite(flag: Flag, scene: Scene, files: int) -> str:
    line, file = divmod(flag.lines[0], files)
    return f"line {line}" if files == 1 else f"line {line} of {harmless(scene.files[file], 40)}"


def _subject(flag: Flag, scene: Scene) -> str:
    return f"task {scene.tasks[flag.task].task}: " if flag.task >= 0 else ""


def _tasks(replay: Replay) -> str:
    """List the tasks that are shown, the most urgent first, each with what became of it, why, and what to do."""
    shown = chosen(replay)
    if not shown:
        return '<p class="soft">No task was seen.</p>'
    names = Names((task.prompt_id for task in replay.tasks), replay.trace.windows)
    numbers = {(task.server, task.prompt_id): number for number, task in enumerate(shown)}
    diagnoses = {(told.server, told.prompt_id): told for told in explain(replay.board, shown, replay.log)}
    order = sorted(numbers, key=lambda each: replay.urgency_of(shown[numbers[each]]))
    rows = "".join(_row(diagnoses[each], names, numbers[each]) for each in order)
    head = "".join(f'<th scope="col">{title}</th>' for title in ("state", "task", "window", "what became of it"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(told: Diagnosis, names: Names, number: int) -> str:
    steps = "".join(f"<li>{_text(harmless(step.text))}</li>" for step in told.steps[:_STEPS])
    confidence = f" <span class='soft'>({told.confidence})</span>" if told.confidence else ""
    return (
        f'<tr data-task="{number}"><td><span class="word" data-word="{told.state}">{_text(told.state)}</span></td>'
        f'<td><button type="button" data-task="{number}" class="id">{_text(names.task(told.prompt_id))}</button></td>'
        f"<td><span class='id'>{_text(names.window(told.window))}</span><br>"
        f"<span class='soft'>{_text(host(told.server))}</span></td>"
        f"<td>{_text(harmless(told.says.text, 400))}{confidence}{f'<ul>{steps}</ul>' if steps else ''}</td></tr>"
    )
