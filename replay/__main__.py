"""Entry point of `python -m replay TRACE…`: arguments in, exit status out."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is loaded ends this without a traceback

import cyclopts
from cyclopts import App, Parameter

from comfy_fsm import __version__
from comfy_fsm.cli import completion, options
from comfy_fsm.exits import Wrong, ended
from replay import importing, min, show
from replay.options import PROGRAM, STDIN, Format, Utc, note, opened, source

if TYPE_CHECKING:
    from comfy_fsm.report.player import Replay

_ID = re.compile(r"\w[\w-]*")

_BY_DEFAULT = "Judge by the default policy, and not by that of whoever wrote the log."

app = App(
    name=PROGRAM,
    usage=f"Usage: {PROGRAM} [OPTIONS] TRACE...",
    help="Tell, per task, what a trace or log shows to have happened, on what evidence, and what went wrong.",
    help_epilogue=options.STATUS_HINT.format(PROGRAM),
    help_formatter=options.draw_panel,
    version=f"comfy-fsm {__version__}",
    version_flags=["--version"],
    result_action="return_value",
)
app.command(options.print_statuses, name="--help-status")


@app.command(name="--install-completion")
def install_completion(shell: completion.Shell = None) -> int:
    """Install tab completion for bash, zsh or fish; without a name, for the shell in $SHELL."""
    return completion.install(app, "comfy-replay", shell)


for flag in ("--help", "--version", "--help-status", "--install-completion"):
    app[flag].group = "Options"

for subcommand, name, usage in (
    (show.show, "show", "show [OPTIONS] TRACE LINE"),
    (importing.import_, "import", "import CAPTURE --output TRACE"),
    (min.min_, "min", "min [OPTIONS] TRACE --finding CODE|--state STATE"),
):
    app.command(subcommand, name=name, usage=f"Usage: {PROGRAM} {usage}", sort_key=len(list(app)))


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


ALL = Part()


@app.default
def command(
    *traces: Annotated[str, Parameter(name="TRACE")],
    format: Format = "text",
    output: Annotated[str | None, Parameter(name="--output")] = None,
    no_color: Annotated[bool, Parameter(name="--no-color", negative="", show_default=False)] = False,
    diagnose: Annotated[str | None, Parameter(name="--diagnose")] = None,
    part: Part = ALL,
    utc: Utc = False,
    default_policy: Annotated[bool, Parameter("--default-policy", negative="", help=_BY_DEFAULT)] = False,
) -> int:
    """Tell what became of each task.

    Parameters
    ----------
    traces
        Traces (.jsonl, .gz, .zst), logs, HARs, bare frames, or - for standard input; several are merged by time.
    format
        The report: text to read, or json (version 1) to process.
    output
        Write the report to this file instead of standard output.
    no_color
        No colours; the environment variable NO_COLOR does the same.
    diagnose
        Explain all tasks, or those whose prompt id begins with the word after it: what is missing, what to do next.
    part
        What of it is told.
    utc
        Times in UTC, also those of --since and --until, and not local ones.
    """
    named = [source(trace) for trace in traces]
    _refuse(named, output)
    if diagnose and part.task is not None:
        raise Wrong("--diagnose and --task name a task each; one is enough")
    wanted = diagnose or part.task
    found = _narrowed(_replay(named, wanted, part.window, default_policy), part, utc)
    with opened(output) as file:
        write = _write if diagnose is None else _explain
        write(found, file, _Look(format, False if no_color else None, utc), wanted is not None)
    return found.exit_status


def _refuse(named: list[str], output: str | None) -> None:
    if not named:
        raise Wrong("name a trace, a log, or - for standard input; see --help")
    files = [os.path.realpath(trace) for trace in named if trace != "-"]
    if len(set(files)) < len(files) or named.count("-") > 1:
        raise Wrong("the same trace is named twice: each would count as much as the other")
    if output is not None and os.path.realpath(output) in files:
        raise Wrong(f"--output {output} would write the report over the trace; name another file")


def _replay(traces: list[str], task: str | None, window: str | None, default_policy: bool) -> Replay:
    from comfy_fsm.core.policy import DEFAULT
    from comfy_fsm.report.player import replay
    from comfy_fsm.report.progress import progress  # loaded only once there is something to do: --help need not wait

    with progress(sys.stderr) as watch:
        found = replay(*traces, policy=DEFAULT if default_policy else None, task=task, window=window, watch=watch)
    for each in found.notes:
        note(each)
    if task is not None and not found.tasks:
        raise Wrong(f"no task's prompt id begins with {task!r}; leave it out to see them all")
    if window is not None and not found.tasks and not found.findings:
        raise Wrong(f"no window's id begins with {window!r}, or it has no task and no finding")
    return found


def _narrowed(found: Replay, part: Part, utc: bool) -> Replay:
    from comfy_fsm.report.clock import Clock
    from comfy_fsm.report.selection import Selection, narrow

    clock = Clock(found.trace.first_at, found.trace.last_at, utc=utc)

    def moment(option: str, text: str | None) -> float | None:
        try:
            return None if text is None else clock.moment(text)
        except (ValueError, OverflowError):
            raise Wrong(
                f"{option} {text!r} is no time; write 19:18, 2026-11-28T19:18:57, or +8.5 for seconds from the start"
            ) from None

    since, until = moment("--since", part.since), moment("--until", part.until)
    selection = Selection(failed=part.failed, since=since, until=until, word=part.grep or None)
    return narrow(found, selection)


class _Look(NamedTuple):
    """Look of a report: its format, colours and where it is written."""

    format: str
    color: bool | None
    utc: bool


def _write(found: Replay, file: IO[str], look: _Look, story: bool) -> None:
    from comfy_fsm.report import document, text

    if look.format == "json":
        file.write(document.encode(found) + "\n")
    else:
        text.draw(found, file, color=look.color, story=story, utc=look.utc)


def _explain(found: Replay, file: IO[str], look: _Look, full: bool) -> None:
    from comfy_fsm.report import diagnosis, document, text

    if look.format == "json":
        file.write(document.encode_diagnoses(found) + "\n")
    else:
        text.lay_out(
            found, file, lambda width: diagnosis.lines(found, width, whole=full), color=look.color, utc=look.utc
        )


def _with_id(arguments: list[str]) -> list[str]:
    """Join `--diagnose` with the id after it into one argument; a word that could be a trace or an option is none."""
    given: list[str] = []
    for word in arguments:
        if given[-1:] == ["--diagnose"]:
            given[-1] = "--diagnose="
            if _ID.fullmatch(word) and not os.path.exists(word):
                given[-1] += word
                continue
        given.append(word)
    return [*given[:-1], "--diagnose="] if given[-1:] == ["--diagnose"] else given


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; each way to fail has one, and one line on standard error."""
    gc.disable()  # a fold makes no cycles, the process is short, and to look for some costs a tenth of its time
    return ended(lambda: _run(arguments or sys.argv[1:]), note, "trace")


def _run(arguments: list[str]) -> int:
    # a lone hyphen is an option without a name to the command-line library, and standard input to everybody else
    given = [STDIN if argument == "-" else argument for argument in arguments]
    try:
        return int(app(_with_id(given), exit_on_error=False, print_error=False) or 0)
    except cyclopts.CycloptsError as error:
        raise Wrong(str(error)) from None


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
