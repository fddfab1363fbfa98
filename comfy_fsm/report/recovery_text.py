"""Result of a recovery as text for 80 columns: the verdict first, then what each server showed, then what to do.

Whatever a server or a log contains has passed `harmless`; there is no colour, so that nothing can imitate it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from comfy_fsm.core.effects import Output, Text
from comfy_fsm.core.recovery.probes import Has, ProbeResult
from comfy_fsm.core.recovery.verdicts import Consistency, Fetched, Recovered, Recovery, RecoveryCase
from comfy_fsm.display import harmless, plural

__all__ = ["consistency", "history", "recovery", "silence"]

_WIDTH = 80
_FILES = 20
"""Output files told of one task."""
_SHOWN: dict[Has, str] = {
    "running": "runs it",
    "pending": "has it waiting in its queue",
    "recorded": "has its record",
    "denied": "has it neither in its queue nor in its history",
    "astray": "answered, but not about it",
    "unreachable": "gave no answer",
}


def recovery(found: Recovery) -> Iterator[str]:
    done = sum(task.case.well for task in found.tasks)
    left = len(found.tasks) - done
    if not found.tasks:
        yield "DECIDED  no task needs it: none is given up, and none is stuck"
        return
    counts = ", ".join(f"{plural(n, 'task')} {word}" for n, word in ((done, "decided"), (left, "undecided")) if n)
    yield f"{'UNDECIDED' if left else 'DECIDED'}  {counts}"
    if not found.acted:
        yield "dry run: nothing was written; with --yes, this is written down"
    for task in found.tasks:
        yield ""
        yield from _task(task)


def _task(task: Recovered) -> Iterator[str]:
    moved = str(task.state) if task.before is task.state else f"{task.before} → {task.state}"
    yield f"{harmless(task.prompt_id, 80)}  {moved}"
    yield from _servers(task.showings, task.bound)
    if task.server != task.bound:
        yield from _wrapped(f"now bound to {harmless(task.server, 200)}")
    yield from _wrapped(task.case.so if task.name != "unnamed" else f"{task.case.so}: {harmless(task.bound, 200)}")
    yield from _results(task.outputs, task.texts)
    yield from _next(task.case)


def consistency(found: Consistency) -> Iterator[str]:
    yield f"{'CONSISTENT' if found.case.well else 'INCONSISTENT'}  {found.case.so}"
    yield f"{harmless(found.prompt_id, 80)}  {found.state}"
    yield f"bound to {harmless(found.server, 200)}, since {found.reason} (position {found.position})"
    yield from _servers(found.showings, found.server)
    yield from _next(found.case)


def history(found: Fetched) -> Iterator[str]:
    showing = found.showing
    outcome = f": {showing.outcome}" if showing.outcome else ""
    yield f"{found.name.upper()}  {found.case.so}{outcome}"
    several = len(found.servers) > 1 and showing.has != "recorded"
    where = f"any of {len(found.servers)} servers" if several else harmless(showing.server, 200)
    yield f"{harmless(found.prompt_id, 80)}  at {where}, {plural(found.attempts, 'attempt')}"
    for missing in showing.missing:
        yield from _wrapped(f"missing: {harmless(missing)}")
    if showing.stale:
        yield from _wrapped(f"stale: {harmless(showing.stale)}")
    if showing.error is not None:
        told = ": ".join(filter(None, (showing.error.type, showing.error.message)))
        yield from _wrapped(f"error: {harmless(told)}")
    if showing.says_nothing:
        yield from _wrapped(harmless(showing.why))
    yield from _results(showing.outputs, showing.texts, showing.left_out)
    yield from _next(found.case)


def silence(showing: ProbeResult) -> str:
    """Return one line of complaint about a server that did not answer."""
    why = f" ({showing.why})" if showing.why else ""
    return f"{showing.server}: no usable answer{why}, so nothing was concluded; check address, port and token"


def _servers(showings: Iterable[ProbeResult], bound: str) -> Iterator[str]:
    shown = list(showings)
    wide = max((len(_place(showing.server)) for showing in shown), default=0)
    for showing in shown:
        mark = "*" if showing.server == bound else " "
        yield from _wrapped(f"{mark} {_place(showing.server):{wide}}  {_what(showing)}", hang=wide + 6)


def _place(server: str) -> str:
    return harmless(server.partition("://")[2] or server, 48)


def _what(showing: ProbeResult) -> str:
    if showing.has == "recorded":
        files = len(showing.outputs) + len(showing.texts)
        outputs = f", {plural(files, 'output')}" if files else ""
        return f"{_SHOWN['recorded']}: {showing.outcome or 'it does not say how it ended'}{outputs}"
    said = _SHOWN[showing.has]
    return f"{said} ({harmless(showing.why, 60)})" if showing.has == "unreachable" and showing.why else said


def _next(case: RecoveryCase) -> list[str]:
    return _wrapped(f"next: {case.next}") if case.next else []


def _results(outputs: Iterable[Output], texts: Iterable[Text], left_out: int = 0) -> Iterator[str]:
    files, words = list(outputs), list(texts)
    for output in files[:_FILES]:
        yield f"  output of node {harmless(output.node, 40)}: {harmless(output.path)}"
    for text in words[:_FILES]:
        yield f"  text of node {harmless(text.node, 40)}: {harmless(text.text)}"
    more = len(files[_FILES:]) + len(words[_FILES:]) + left_out
    if more:
        yield f"  and {more:,} more outputs"


def _wrapped(text: str, hang: int = 4) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent=" " * hang, break_on_hyphens=False)
