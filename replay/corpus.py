"""`comfy-replay corpus run PATH… -o DIR`: many traces, replayed by many processes, told as tables."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators

from comfy_fsm.errors import MissingExtra
from comfy_fsm.exits import Wrong
from replay.options import PROGRAM, Format, note

if TYPE_CHECKING:
    from replay.corpora.comparison import Comparison
    from replay.corpora.folder import Folder
    from replay.corpora.run import Totals

__all__ = ["corpus", "run"]

corpus = App(
    name="corpus",
    usage=f"Usage: {PROGRAM} corpus run [OPTIONS] PATH... --output DIR",
    help="Replay many traces, and keep what is judged of them as tables.",
    sort_key=90,
)

_LIBRARIES = ("dask", "distributed", "fsspec", "pyarrow")
_SAME, _DIFFERS, _FAILED = 0, 1, 2
_SHOWN = 20
"""Differences that are printed; all are in a table."""


@Parameter(name="*")
@dataclass(frozen=True)
class _Workers:
    """Who replays.

    Parameters
    ----------
    jobs
        Processes on this machine; as many as it has processors without it.
    dask
        Address of a Dask scheduler whose workers are used in place of processes on this machine.
    """

    jobs: Annotated[int | None, Parameter(name="--jobs", validator=validators.Number(gte=1))] = None
    dask: Annotated[str | None, Parameter(name="--dask")] = None


_HERE = _Workers()


@corpus.command(name="run", usage=f"Usage: {PROGRAM} corpus run [OPTIONS] PATH... --output DIR")
def run(
    *paths: Annotated[str, Parameter(name="PATH")],
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    workers: _Workers = _HERE,
    baseline: Annotated[str | None, Parameter(name="--baseline")] = None,
    format: Format = "text",
) -> int:
    """Replay all traces, and write the tables traces, tasks and findings as Parquet.

    A run that was broken off is taken up by the same command. It ends with 0 if all is as in the baseline, 1 if some
    traces differ from it, 2 if some could not be replayed.

    Parameters
    ----------
    paths
        Folders, globs, manifests (.txt, a path a line) and traces, here or at any address that fsspec knows.
    output
        The folder to write, empty or with the beginning of the same run.
    baseline
        The folder of an earlier run to compare with.
    format
        What is told about it: text, or json (version 1) to process.
    """
    _refuse(paths, output, workers, baseline)
    began = time.monotonic()
    try:
        totals, found = _run(paths, output, workers, baseline)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _LIBRARIES:
            raise MissingExtra("corpus", "no corpus can be replayed") from None
        raise
    _tell(totals, found, output, time.monotonic() - began, format)
    if found is not None and found.traces:
        return _DIFFERS
    return _FAILED if totals.failed else _SAME


def _refuse(paths: tuple[str, ...], output: str, workers: _Workers, baseline: str | None) -> None:
    if not paths:
        raise Wrong("name what to replay: folders, globs, manifests or traces; see --help")
    if workers.jobs is not None and workers.dask is not None:
        raise Wrong("--jobs is about this machine, and --dask about others; one is enough")
    if baseline is not None and os.path.realpath(baseline) == os.path.realpath(output):
        raise Wrong("--baseline is the folder to compare with, and --output the one to write: name two")


def _run(
    paths: tuple[str, ...], output: str, workers: _Workers, baseline: str | None
) -> tuple[Totals, Comparison | None]:
    from comfy_fsm.display import plural
    from comfy_fsm.report.progress import progress
    from replay.corpora import executors, places
    from replay.corpora.folder import Folder
    from replay.corpora.run import run

    before = None if baseline is None else _baseline(Folder(baseline))
    found = places.find(paths)
    if found.passed_over:
        note(f"{plural(found.passed_over, 'file')} passed over in folders: not named like a trace, a log or a HAR")
    if not found.units:
        raise Wrong(f"{', '.join(paths)}: no trace is there; name one, or a folder, glob or manifest of some")
    folder = Folder(output)
    start = partial(executors.processes, workers.jobs or _processors())
    if workers.dask is not None:
        start = partial(executors.dask, workers.dask)
    with progress(sys.stderr, counting="traces") as watch:
        totals = run(found.units, folder, start, watch)
    return totals, None if before is None else _compare(before, folder)


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _baseline(folder: Folder) -> Folder:
    if not folder.is_whole:
        raise Wrong(f"--baseline {folder.path}: that run was broken off; finish it first, by the same command")
    return folder


def _compare(before: Folder, after: Folder) -> Comparison:
    from msgspec.structs import astuple

    from replay.corpora.comparison import compare

    found = compare(before, after)
    after.keep_differences([astuple(each) for each in found.differences])
    return found


def _tell(totals: Totals, found: Comparison | None, output: str, seconds: float, format: str) -> None:
    import msgspec

    from comfy_fsm.display import harmless, plural, span

    if format == "json":
        told: dict[str, object] = {"corpus": 1, **msgspec.structs.asdict(totals), "seconds": round(seconds, 3)}
        if found is not None:
            told |= {"differ": found.traces, "differences": len(found.differences) + found.unkept, "new": found.new}
        print(msgspec.json.encode(told).decode())
        return
    print(
        f"{plural(totals.traces, 'trace')} with {plural(totals.tasks, 'task')} in {harmless(output)}; "
        f"{totals.failed:,} could not be replayed ({span(seconds)})"
    )
    if found is not None:
        for line in _told(found):
            print(harmless(line, 400))


def _told(found: Comparison) -> list[str]:
    from comfy_fsm.display import plural

    many = len(found.differences) + found.unkept
    lines = [
        f"{each.trace}: {each.prompt_id or 'the trace'}: {each.what}: {each.before or 'none'} → {each.after or 'none'}"
        for each in found.differences[:_SHOWN]
    ]
    if many > _SHOWN:
        lines.append(f"… and {many - _SHOWN:,} more, in differences.parquet")
    if found.unkept:
        lines.append(f"{found.unkept:,} of them are not kept there either: the runs have little in common")
    news = f"; {plural(found.new, 'trace')} not in it" if found.new else ""
    judged = f"{plural(found.traces, 'trace')} not as in the baseline" if found.traces else "all as in the baseline"
    return [*lines, judged + news]
