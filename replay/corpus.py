"""`comfy-replay corpus run|sweep|cover PATH… -o DIR`: many traces, replayed by many processes, told as tables."""

from __future__ import annotations

import gc
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import App, Parameter, validators

from comfy_fsm.errors import MissingExtra
from comfy_fsm.exits import Wrong
from replay.cover import fields, tell
from replay.options import PROGRAM, Format, note
from replay.whatif import effects

if TYPE_CHECKING:
    from replay.corpora.baseline import Comparison
    from replay.corpora.folder import Folder
    from replay.corpora.run import Totals

__all__ = ["corpus", "cover", "run", "sweep"]

_USAGE = f"Usage: {PROGRAM} corpus {{}} [OPTIONS] PATH... --output DIR"

corpus = App(
    name="corpus",
    usage=_USAGE.format("COMMAND"),
    help="Ask the same of many traces, and keep the answers as tables: run, sweep, cover.",
    sort_key=90,
)

_LIBRARIES = ("dask", "distributed", "fsspec", "pyarrow")
_SAME, _DIFFERS, _FAILED = 0, 1, 2
_SHOWN = 20
"""Differences that are printed; all are in a table."""


_Paths = Annotated[str, Parameter(name="PATH")]
_Output = Annotated[str, Parameter(name=["--output", "-o"])]


@Parameter(name="*")
@dataclass(frozen=True)
class _Workers:
    """Workers that replay.

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


@corpus.command(name="run", usage=_USAGE.format("run"))
def run(
    *paths: _Paths,
    output: _Output,
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
    if baseline is not None and os.path.realpath(baseline) == os.path.realpath(output):
        raise Wrong("--baseline is the folder to compare with, and --output the one to write: name two")
    with _Libraries():
        before = None if baseline is None else _baseline(baseline)
        done = _done("run", paths, output, workers)
        _, _, tasks = done.folder.total("traces", "tasks")
        found = None if before is None else _compare(before, done.folder)
    if format == "json":
        _print_json(done, {"tasks": tasks} | ({} if found is None else _differences(found)))
    else:
        _print(done, f" with {_plural(tasks, 'task')}", [] if found is None else _told(found))
    if found is not None and found.traces:
        return _DIFFERS
    return done.status


@corpus.command(name="sweep", usage=_USAGE.format("sweep"))
def sweep(*paths: _Paths, output: _Output, workers: _Workers = _HERE, format: Format = "text") -> int:
    """Try every single fault of each trace, as whatif --sweep does, and write the tables traces and faults as Parquet.

    A run that was broken off is taken up by the same command. It ends with 2 if some traces could not be replayed.

    Parameters
    ----------
    paths
        Folders, globs, manifests (.txt, a path a line) and traces, here or at any address that fsspec knows.
    output
        The folder to write, empty or with the beginning of the same run.
    format
        What is told about it: text, or json (version 1) to process.
    """
    with _Libraries():
        done = _done("sweep", paths, output, workers)
        counted = done.folder.count("faults", ("kind", "effect"))
    if format == "json":
        kinds: dict[str, dict[str, int]] = {}
        for (kind, effect), many in sorted(counted.items(), key=str):
            kinds.setdefault(kind, {})[effect or "nothing"] = many
        _print_json(done, {"faults": kinds})
    else:
        _print(done, f" with {_plural(sum(counted.values()), 'single fault')}", list(effects(counted)))
    return done.status


@corpus.command(name="cover", usage=_USAGE.format("cover"))
def cover(*paths: _Paths, output: _Output, workers: _Workers = _HERE, format: Format = "text") -> int:
    """Write what each trace reaches of the state machine and the findings, as the tables traces and coverage (Parquet).

    What all of them reach is counted as cover does. A run that was broken off is taken up by the same command. It ends
    with 2 if some traces could not be replayed.

    Parameters
    ----------
    paths
        Folders, globs, manifests (.txt, a path a line) and traces, here or at any address that fsspec knows.
    output
        The folder to write, empty or with the beginning of the same run.
    format
        What is told about it: text, or json (version 1) to process.
    """
    from replay.comparison.coverage import Coverage

    with _Libraries():
        done = _done("cover", paths, output, workers)
        coverage = Coverage()
        counted = done.folder.count("coverage", ("state", "signal", "code"))
        coverage.add_counted(done.totals.traces - done.totals.failed, counted)
    if format == "json":
        _print_json(done, fields(coverage))
    else:
        _print(done, "", [])
        tell(coverage)
    return done.status


class _Libraries:
    """Modules that need the extra; without it, that is told in place of the module that is missing."""

    def __enter__(self) -> None:
        gc.enable()  # a run takes hours, and the client of a cluster makes cycles

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _LIBRARIES:
            raise MissingExtra("corpus", "no corpus can be replayed") from None


class _Done(NamedTuple):
    """Result of a run."""

    folder: Folder
    totals: Totals
    seconds: float

    @property
    def status(self) -> int:
        return _FAILED if self.totals.failed else _SAME


def _done(name: str, paths: tuple[str, ...], output: str, workers: _Workers) -> _Done:
    if not paths:
        raise Wrong("name what to replay: folders, globs, manifests or traces; see --help")
    if workers.jobs is not None and workers.dask is not None:
        raise Wrong("--jobs is about this machine, and --dask about others; one is enough")
    from comfy_fsm.report.progress_bar import progress
    from replay.corpora import discovery, executors
    from replay.corpora.folder import Folder
    from replay.corpora.run import run

    began = time.monotonic()
    found = discovery.find(paths)
    if found.passed_over:
        note(f"{_plural(found.passed_over, 'file')} passed over in folders: not named like a trace, a log or a HAR")
    if not found.units:
        raise Wrong(
            f"{', '.join(map(discovery.shown, paths))}: no trace is there; "
            "name one, or a folder, glob or manifest of some"
        )
    folder = Folder(output)
    start = partial(executors.processes, workers.jobs or _processors())
    if workers.dask is not None:
        start = partial(executors.dask, workers.dask)
    with progress(sys.stderr, counting="traces") as watch:
        totals = run(name, found.units, folder, start, watch)
    return _Done(folder, totals, time.monotonic() - began)


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _baseline(path: str) -> Folder:
    from replay.corpora.folder import Folder

    folder = Folder(path)
    if not folder.is_whole:
        raise Wrong(f"--baseline {path}: that run was broken off; finish it first, by the same command")
    if folder.manifest.analysis != "run":
        raise Wrong(
            f"--baseline {path}: it was written by `corpus {folder.manifest.analysis}`, and not by `corpus run`"
        )
    return folder


def _compare(before: Folder, after: Folder) -> Comparison:
    from msgspec.structs import astuple

    from replay.corpora.baseline import DIFFERENCES, compare

    found = compare(before, after)
    after.write("differences", DIFFERENCES, [astuple(each) for each in found.differences])
    return found


def _differences(found: Comparison) -> dict[str, object]:
    return {"differ": found.traces, "differences": len(found.differences) + found.unkept, "new": found.new}


def _print_json(done: _Done, more: dict[str, object]) -> None:
    import msgspec

    totals = msgspec.structs.asdict(done.totals)
    print(msgspec.json.encode({"corpus": 1, **totals, "seconds": round(done.seconds, 3), **more}).decode())


def _print(done: _Done, what: str, lines: list[str]) -> None:
    from comfy_fsm.display import harmless, span

    print(
        f"{_plural(done.totals.traces, 'trace')}{what} in {harmless(str(done.folder.path))}; "
        f"{done.totals.failed:,} could not be replayed ({span(done.seconds)})"
    )
    for line in lines:
        print(harmless(line, 400))


def _plural(count: int, noun: str) -> str:
    from comfy_fsm.display import plural

    return plural(count, noun)


def _told(found: Comparison) -> list[str]:
    many = len(found.differences) + found.unkept
    lines = [
        f"{each.trace}: {each.prompt_id or 'the trace'}: {each.what}: {each.before or 'none'} → {each.after or 'none'}"
        for each in found.differences[:_SHOWN]
    ]
    if many > _SHOWN:
        lines.append(f"… and {many - _SHOWN:,} more, in differences.parquet")
    if found.unkept:
        lines.append(f"{found.unkept:,} of them are not kept there either: the runs have little in common")
    news = f"; {_plural(found.new, 'trace')} not in it" if found.new else ""
    judged = f"{_plural(found.traces, 'trace')} not as in the baseline" if found.traces else "all as in the baseline"
    return [*lines, judged + news]


for _name in ("run", "sweep", "cover"):
    corpus[_name].help_epilogue = f"Example: {PROGRAM} corpus {_name} nights -o answers"
