"""Entry point of `python -m replay TRACE…`: arguments in, exit status out."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Annotated, Literal, NamedTuple

if __name__ == "__main__":
    gc.disable()  # a fold makes no cycles, the process is short, and to look for some costs a tenth of its time
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is loaded ends this without a traceback

import cyclopts
from cyclopts import Parameter

from comfy_fsm.cli import options
from comfy_fsm.exits import Wrong, ended
from replay import anonymize, corpus, cover, diff, importing, min, picture, show, whatif
from replay.inputs import ALL, AS_IT_IS, Part, Read, Reading, must_not_overwrite, read
from replay.options import PROGRAM, STDIN, note, opened, source

if TYPE_CHECKING:
    from comfy_fsm.report.player import Replay

_ID = re.compile(r"\w[\w-]*")

_EXAMPLES = {
    "show": "show night.jsonl 43 --context 2",
    "import": "import incident.har --output incident.jsonl",
    "picture": "picture night.jsonl -o report.html",
    "anonymize": "anonymize night.jsonl -o shared.jsonl",
    "min": "min night.jsonl --finding missed-end -o small.jsonl --test test_night.py",
    "whatif": "whatif night.jsonl --sweep",
    "diff": "diff night.jsonl --policy absences=1",
    "cover": "cover fixtures",
}

app = options.new_app(
    PROGRAM,
    "comfy-replay",
    "[OPTIONS] TRACE...",
    "Tell, per task, what a trace or log shows to have happened, on what evidence, and what went wrong.",
)

for subcommand, name, usage in (
    (show.show, "show", "show [OPTIONS] TRACE LINE"),
    (importing.import_, "import", "import CAPTURE --output TRACE"),
    (picture.picture, "picture", "picture [OPTIONS] TRACE... --output FILE"),
    (anonymize.anonymize, "anonymize", "anonymize TRACE --output FILE"),
    (min.min_, "min", "min [OPTIONS] TRACE --finding CODE|--state STATE"),
    (whatif.whatif, "whatif", "whatif [OPTIONS] TRACE --sweep|--drop LINE|..."),
    (diff.diff, "diff", "diff [OPTIONS] A [B]"),
    (cover.cover, "cover", "cover [OPTIONS] DIR..."),
):
    app.command(subcommand, name=name, usage=f"Usage: {PROGRAM} {usage}", sort_key=len(list(app)))
    if name in _EXAMPLES:
        app[name].help_epilogue = f"Example: {PROGRAM} {_EXAMPLES[name]}"
app.command(corpus.corpus)


@Parameter(name="*")
@dataclass(frozen=True)
class Beside:
    """Options: what is written beside the report.

    Parameters
    ----------
    html
        Write the page that `picture` draws to this file, too.
    junit
        Write JUnit XML for CI to this file, too: a test case for each task.
    """

    html: Annotated[str | None, Parameter(name="--html")] = None
    junit: Annotated[str | None, Parameter(name="--junit")] = None


NOTHING_BESIDE = Beside()


@app.default
def command(
    *traces: Annotated[str, Parameter(name="TRACE")],
    format: Annotated[Literal["text", "json", "markdown"], Parameter(name="--format")] = "text",
    output: Annotated[str | None, Parameter(name="--output")] = None,
    beside: Beside = NOTHING_BESIDE,
    no_color: Annotated[bool, Parameter(name="--no-color", negative="", show_default=False)] = False,
    diagnose: Annotated[str | None, Parameter(name="--diagnose")] = None,
    part: Part = ALL,
    reading: Reading = AS_IT_IS,
) -> int:
    """Tell what became of each task.

    Parameters
    ----------
    traces
        Traces (.jsonl, .gz, .zst), logs, HARs, bare frames, or - for standard input; several are merged by time.
    format
        The report: text to read, json (version 1) to process, or markdown for an issue on GitHub.
    output
        Write the report to this file instead of standard output.
    beside
        What is written beside it.
    no_color
        No colours; the environment variable NO_COLOR does the same.
    diagnose
        Explain all tasks, or those whose prompt id begins with the word after it: what is missing, what to do next.
    part
        What of it is told.
    """
    named = [source(trace) for trace in traces]
    must_not_overwrite(named, output, beside.html, beside.junit)
    _must_agree(diagnose, part, format)
    wanted = diagnose or part.task
    done = read(named, replace(part, task=wanted), reading, again=beside.html is not None)
    _write_beside(done, beside, reading.utc)
    with opened(output) as file:
        write = _write if diagnose is None else _explain
        write(done.replay, file, _Look(format, False if no_color else None, reading.utc), wanted is not None)
    return done.replay.exit_status


def _must_agree(diagnose: str | None, part: Part, format: str) -> None:
    if diagnose and part.task is not None:
        raise Wrong("--diagnose and --task name a task each; one is enough")
    if diagnose is not None and format == "markdown":
        raise Wrong("--format markdown explains each task anyway; leave --diagnose out")


def _write_beside(done: Read, beside: Beside, utc: bool) -> None:
    if beside.html is not None:
        picture.write_whole(beside.html, picture.draw(done, "html", utc=utc).encode())
    if beside.junit is not None:
        from comfy_fsm.report.formats import junit

        picture.write_whole(beside.junit, junit.encode(done.replay).encode())


class _Look(NamedTuple):
    """Look of a report: its format, colours and where it is written."""

    format: str
    color: bool | None
    utc: bool


def _write(found: Replay, file: IO[str], look: _Look, story: bool) -> None:
    """Write the report; what draws the other formats is not loaded, as it takes longer than a short trace."""
    if look.format == "json":
        from comfy_fsm.report import json_report

        file.writelines(json_report.pieces(found))
        file.write("\n")
    elif look.format == "markdown":
        from comfy_fsm.report.formats import markdown

        file.write(markdown.compose(found, utc=look.utc))
    else:
        from comfy_fsm.report import text

        text.draw(found, file, color=look.color, story=story, utc=look.utc)


def _explain(found: Replay, file: IO[str], look: _Look, full: bool) -> None:
    if look.format == "json":
        from comfy_fsm.report import json_report

        file.write(json_report.encode_diagnoses(found) + "\n")
    else:
        from comfy_fsm.report import diagnosis_text, text

        text.lay_out(
            found, file, lambda width: diagnosis_text.lines(found, width, whole=full), color=look.color, utc=look.utc
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
    gc.disable()  # for the console script, too
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
