"""Options that the subcommands share: standard input by a hyphen, the file to write to, notes, common options."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Annotated, Literal

from cyclopts import Parameter

from comfy_fsm.cli import options
from comfy_fsm.exits import Wrong

__all__ = ["PROGRAM", "STDIN", "Format", "Utc", "note", "opened", "source"]

PROGRAM = options.program("comfy-replay", "replay")
STDIN = "standard input"
"""What stands for a lone hyphen, which to the command-line library is an option without a name."""

Format = Annotated[Literal["text", "json"], Parameter(name="--format")]
Utc = Annotated[bool, Parameter(name="--utc", negative="", show_default=False)]


def source(argument: str) -> str:
    """Return the path that was given, or - for standard input."""
    return "-" if argument == STDIN else argument


@contextmanager
def opened(output: str | None) -> Iterator[IO[str]]:
    """Open the file to write to, or standard output; raises Wrong if it cannot be written."""
    if output is None or output == STDIN:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise Wrong(f"cannot write {output}: {error.strerror}; name a file that can be written") from None


def note(text: str) -> None:
    """Tell something beside the report, on standard error."""
    from comfy_fsm.display import harmless

    print(f"replay: {harmless(text, 600)}", file=sys.stderr)
