"""`comfy-replay min TRACE --finding CODE`: the smallest trace that shows a finding, and a test that fails for it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from comfy_fsm.exits import Wrong
from replay.options import Format, note, source

if TYPE_CHECKING:
    from replay.lines.reading import Lines
    from replay.reduction.goal import Goal
    from replay.reduction.reduction import Reduced

__all__ = ["min_"]

_DONE, _NOT_THERE = 0, 1


@Parameter(name="*")
@dataclass(frozen=True)
class _Kept:
    """Options: what the smaller trace must still show.

    Parameters
    ----------
    finding
        Code of the finding to keep, such as missed-end; of several, the first.
    state
        State of a task to keep, such as lost, in place of a finding.
    task
        Only one about tasks whose prompt id begins so.
    loose
        Keep the code alone, whatever the reason, and whatever else is found.
    """

    finding: Annotated[str | None, Parameter(name="--finding")] = None
    state: Annotated[str | None, Parameter(name="--state")] = None
    task: Annotated[str | None, Parameter(name="--task")] = None
    loose: Annotated[bool, Parameter(name="--loose", negative="", show_default=False)] = False


@Parameter(name="*")
@dataclass(frozen=True)
class _Written:
    """Options: what is written.

    Parameters
    ----------
    output
        The trace file to write; standard output without it.
    test
        The test file to write: it replays the trace, and fails until the cause is mended.
    expect
        What the test asserts: absent (the finding is gone), clean, a verdict such as pass, or a state of the task.
    """

    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None
    test: Annotated[str | None, Parameter(name="--test")] = None
    expect: Annotated[str, Parameter(name="--expect")] = "absent"


_NOTHING, _PRINTED = _Kept(), _Written()


def min_(
    trace: Annotated[str, Parameter(name="TRACE")],
    /,
    *,
    kept: _Kept = _NOTHING,
    written: _Written = _PRINTED,
    budget: Annotated[float, Parameter(name="--budget", validator=validators.Number(gt=0))] = 60.0,
    format: Format = "text",
) -> int:
    """Reduce a trace to the few lines that still show a finding for the same reason, with short names and times.

    Parameters
    ----------
    trace
        The trace, log or capture; - for standard input.
    budget
        Seconds after which the smallest trace found so far is written.
    format
        What is told of it: text to read, or json (version 1) to process.
    """
    path = source(trace)
    _refuse(path, kept, written)
    whole, goal = _goal(path, kept)
    if goal is None:
        note(f"{path} shows no {_wanted(kept)}; nothing is written")
        return _NOT_THERE
    from replay.reduction.reduction import reduce

    found = reduce(whole, goal, budget)
    _write(found, written)
    _tell(whole, found, written, format)
    return _DONE


def _refuse(path: str, kept: _Kept, written: _Written) -> None:
    from comfy_fsm.core.findings import CODES
    from comfy_fsm.core.machine import State
    from replay.reduction.generated_test import EXPECTATIONS, MARK

    if (kept.finding is None) == (kept.state is None):
        raise Wrong("name what to keep: --finding CODE, or --state STATE")
    _known("--finding", kept.finding, list(map(str, CODES)))
    _known("--state", kept.state, list(map(str, State)))
    _known("--expect", written.expect, list(EXPECTATIONS))
    if kept.finding == "damaged":
        raise Wrong("--finding damaged is about the file, not about its lines: there is nothing to reduce")
    if written.test is None and written.expect != "absent":
        raise Wrong("--expect says what a test asserts; name its file by --test")
    if written.test is not None and written.output in (None, "-"):
        raise Wrong("--test replays the smaller trace; name its file by --output")
    files = [os.path.realpath(file) for file in (path, written.output, written.test) if file not in (None, "-")]
    if len(set(files)) < len(files):
        raise Wrong("the trace, --output and --test must be three files")
    if written.test is not None and os.path.exists(written.test):
        with open(written.test, encoding="utf-8", errors="replace") as file:
            if file.readline().rstrip() != MARK:
                raise Wrong(f"--test {written.test} is there, and was not made by this command; name another file")


def _known(option: str, word: str | None, words: list[str]) -> None:
    if word is not None and word not in words:
        near = get_close_matches(word, words, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
        raise Wrong(f"{option} {word!r} is not known; {meant}")


def _wanted(kept: _Kept) -> str:
    what = f"finding {kept.finding}" if kept.finding is not None else f"task that is {kept.state}"
    return what if kept.task is None else f"{what} with a prompt id that begins with {kept.task!r}"


def _goal(path: str, kept: _Kept) -> tuple[Lines, Goal | None]:
    from comfy_fsm.core.findings import Code
    from comfy_fsm.core.machine import State
    from replay.lines.reading import read
    from replay.reduction.goal import finding_goal, fold, state_goal

    whole = read(path)
    for each in whole.notes:
        note(each)
    board = fold(line.observation for line in whole.lines)
    if kept.finding is not None:
        return whole, finding_goal(board, Code(kept.finding), kept.task, loose=kept.loose)
    return whole, state_goal(board, State(kept.state or ""), kept.task)


def _write(found: Reduced, written: _Written) -> None:
    """Write the test first: it is refused if it would pass, and then nothing is written."""
    from replay.reduction.generated_test import Expectation

    output = written.output
    if output is None or output == "-":
        sys.stdout.buffer.write(found.content)
        sys.stdout.buffer.flush()
        return
    if written.test is not None:
        from comfy_fsm.report.player import replay

        expectation = Expectation(written.expect, found.goal)
        if expectation.is_met(replay(found.content.splitlines())):
            raise Wrong(f"--expect {written.expect}: the smaller trace is judged so already; expect what it should be")
        beside = os.path.relpath(os.path.realpath(output), os.path.dirname(os.path.realpath(written.test)))
        with open(written.test, "w", encoding="utf-8") as file:
            file.write(expectation.test(beside))
    with open(output, "wb") as trace:
        trace.write(found.content)


def _tell(whole: Lines, found: Reduced, written: _Written, format: str) -> None:
    import msgspec

    from comfy_fsm.display import harmless, plural

    to_stdout = written.output in (None, "-")
    if format == "json":
        told = {
            "min": 1, "finding": found.goal.code, "prompt_id": found.goal.prompt_id,
            "lines_before": len(whole.lines), "lines_after": len(found.lines), "bytes_before": whole.size,
            "bytes_after": len(found.content), "folds": found.folds, "seconds": round(found.seconds, 3),
            "minimal": not found.given_up, "output": written.output, "test": written.test,
        }  # fmt: skip
        print(msgspec.json.encode(told).decode(), file=sys.stderr if to_stdout else sys.stdout)
        return
    lines = [
        f"{plural(len(whole.lines), 'line')} of {whole.size:,} bytes became {plural(len(found.lines), 'line')} of "
        f"{len(found.content):,} bytes ({plural(found.folds, 'fold')})"
    ]
    if found.given_up:
        lines.append("not minimal: the time was over; --budget gives more")
    if written.test is not None:
        lines.append(f"{harmless(written.test, 200)} fails until the cause is mended: python -m pytest {written.test}")
    for line in lines:
        if to_stdout:
            note(line)
        else:
            print(line)
