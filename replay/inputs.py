"""Inputs of the subcommands: traces, judged, narrowed to a part, and anonymised where that is asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from comfy_fsm.exits import Wrong
from replay.options import Utc, note

if TYPE_CHECKING:
    from comfy_fsm.report.player import Replay
    from comfy_fsm.report.sources import Lines

__all__ = ["ALL", "AS_IT_IS", "Part", "Read", "Reading", "must_not_overwrite", "read"]

_BY_DEFAULT = "Judge by the default policy, and not by that of whoever wrote the log."


@Parameter(name="*")
@dataclass(frozen=True)
class Part:
    """Part of a replay that is told.

    Parameters
    ----------
    task
        Only tasks whose prompt id begins so, told line by line with the reason of each move.
    window
        Only what windows whose id begins so did and found.
    failed
        Only tasks that failed, or were rejected, cancelled, lost or given up.
    since
        Only what was under way at this time or later: 19:18, a date and time, or +8.5 seconds from the first line.
    until
        Only what began by this time.
    grep
        Only what has this word in an id, an address, a tag, an error, an output or a finding.
    """

    task: Annotated[str | None, Parameter(name="--task")] = None
    window: Annotated[str | None, Parameter(name="--window")] = None
    failed: Annotated[bool, Parameter(name="--failed", negative="", show_default=False)] = False
    since: Annotated[str | None, Parameter(name="--since")] = None
    until: Annotated[str | None, Parameter(name="--until")] = None
    grep: Annotated[str | None, Parameter(name="--grep")] = None


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """Options of reading: how a trace is read, and its times are told.

    Parameters
    ----------
    utc
        Times in UTC, also those of --since and --until, and not local ones.
    anonymize
        Replace ids, hosts, file names and texts, each by the same name everywhere; the verdict is the same.
    """

    utc: Utc = False
    default_policy: Annotated[
        bool, Parameter("--default-policy", negative="", show_default=False, help=_BY_DEFAULT)
    ] = False
    anonymize: Annotated[bool, Parameter("--anonymize", negative="", show_default=False)] = False


ALL = Part()
AS_IT_IS = Reading()


class Read(NamedTuple):
    """Replay, and its sources, to be read once more; `since` and `until` in seconds since the epoch."""

    replay: Replay
    sources: list[str | Lines]
    since: float | None
    until: float | None


def must_not_overwrite(named: list[str], *outputs: str | None) -> None:
    """Refuse traces that are not named, are named twice, or would be written over."""
    if not named:
        raise Wrong("name a trace, a log, or - for standard input; see --help")
    files = [os.path.realpath(trace) for trace in named if trace != "-"]
    if len(set(files)) < len(files) or named.count("-") > 1:
        raise Wrong("the same trace is named twice: each would count as much as the other")
    for output in outputs:
        if output is not None and os.path.realpath(output) in files:
            raise Wrong(f"--output {output} would write the report over the trace; name another file")


def read(traces: list[str], part: Part = ALL, reading: Reading = AS_IT_IS, *, again: bool = False) -> Read:
    """Replay these traces and narrow the result; `again`: standard input is kept, so that it can be read once more."""
    sources = _sources(traces, reading.anonymize, again)
    found = _replay(sources, part, reading.default_policy)
    return _narrowed(found, sources, part, reading.utc)


def _sources(traces: list[str], anonymize: bool, again: bool) -> list[str | Lines]:
    from comfy_fsm.report.sources import Lines, lines

    def anonymous(source: str, kept: list[bytes | str] | None) -> Iterator[bytes | str]:
        return map(anonymizer.line, kept if kept is not None else (line for _, line in lines(source)))

    if anonymize:
        from comfy_fsm.anonymity.anonymizer import Anonymizer

        anonymizer = Anonymizer()
    sources: list[str | Lines] = []
    for number, trace in enumerate(traces, 1):
        kept = [line for _, line in lines(trace)] if trace == "-" and (again or anonymize) else None
        if anonymize:
            name = "anonymised" if len(traces) == 1 else f"anonymised {number}"
            sources.append(Lines(name, partial(anonymous, trace, kept)))
        else:
            sources.append(trace if kept is None else Lines("-", partial(iter, kept)))
    return sources


def _replay(sources: list[str | Lines], part: Part, default_policy: bool) -> Replay:
    from comfy_fsm.core.policy import DEFAULT
    from comfy_fsm.report.player import replay
    from comfy_fsm.report.progress_bar import (
        progress,  # loaded only once there is something to do: --help need not wait
    )

    policy = DEFAULT if default_policy else None
    with progress(sys.stderr) as watch:
        found = replay(*sources, policy=policy, task=part.task, window=part.window, watch=watch)
    for each in found.notes:
        note(each)
    if part.task is not None and not found.tasks:
        raise Wrong(f"no task's prompt id begins with {part.task!r}; leave it out to see them all")
    if part.window is not None and not found.tasks and not found.findings:
        raise Wrong(f"no window's id begins with {part.window!r}, or it has no task and no finding")
    return found


def _narrowed(found: Replay, sources: list[str | Lines], part: Part, utc: bool) -> Read:
    from comfy_fsm.report.selection import Selection, narrow
    from comfy_fsm.report.time_format import TimeFormat

    clock = TimeFormat(found.trace.first_at, found.trace.last_at, utc=utc)

    def moment(option: str, text: str | None) -> float | None:
        try:
            return None if text is None else clock.moment(text)
        except (ValueError, OverflowError):
            raise Wrong(
                f"{option} {text!r} is no time; write 19:18, 2026-11-28T19:18:57, or +8.5 for seconds from the start"
            ) from None

    since, until = moment("--since", part.since), moment("--until", part.until)
    selection = Selection(failed=part.failed, since=since, until=until, word=part.grep or None)
    return Read(narrow(found, selection), sources, since, until)
