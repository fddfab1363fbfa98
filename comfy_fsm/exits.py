"""Exit statuses of the commands, and how a command ends: each error has its status and one line on standard error.

The statuses are those of sysexits.h; an end by a signal is 128 and its number, as shells have it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable

from comfy_fsm.errors import (
    BadServerUrl,
    BadWorkflow,
    ClientError,
    InvariantBroken,
    LogError,
    LogUnreachable,
    TraceError,
    UnknownTask,
)

__all__ = [
    "BAD_DATA",
    "BY_SIGNAL",
    "NO_INPUT",
    "OUR_FAULT",
    "STATUSES",
    "UNREACHABLE",
    "USAGE",
    "Unavailable",
    "Wrong",
    "ended",
]

USAGE, BAD_DATA, NO_INPUT, UNREACHABLE, OUR_FAULT = 64, 65, 66, 69, 70
BY_SIGNAL = 128
STATUSES = {
    "0": "All is well: each task completed, or is decided and no finding is an error.",
    "1": "A task did not complete, a file was not saved, or a finding is an error.",
    "2": "Unknown: a search ran out of its budget. Only of a replay.",
    "3": "Incomplete: a task is undecided. Only of a replay and of diagnose; elsewhere this is 1.",
    "64": "Wrong usage.",
    "65": "Not a workflow, not a trace, or not a log.",
    "66": "No such file.",
    "69": "No server answers, a port is in use, or an optional dependency is missing.",
    "70": "A fault of comfy-fsm itself.",
    "130 or 143": "Ended by a signal: Ctrl-C or SIGTERM.",
}
"""Every exit status of every command, once."""


class Wrong(Exception):
    """Wrong usage of the command; the text says how to use it."""


class Unavailable(Exception):
    """Lack of something that the command needs, such as a port or an extra; the text says how to get it."""


def ended(command: Callable[[], int], say: Callable[[str], object], evidence: str) -> int:
    """Run a command and return its exit status; `evidence` is what to send with a report of our own fault."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return command()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BY_SIGNAL + signal.SIGINT
    except KeyboardInterrupt:
        return BY_SIGNAL + signal.SIGINT
    except Exception as error:
        status, text = _judged(error, evidence)
        say(text)
        return status
    finally:
        gc.freeze()  # or the interpreter would visit all that was loaded and folded several times more as it ends


def _judged(error: Exception, evidence: str) -> tuple[int, str]:
    match error:
        case Wrong() | BadServerUrl() | UnknownTask():
            return USAGE, str(error)
        case LogUnreachable():
            return UNREACHABLE, str(error)
        case BadWorkflow() | LogError() | TraceError():
            return BAD_DATA, str(error)
        case ClientError() | Unavailable():
            return UNREACHABLE, str(error)
        case OSError():
            return NO_INPUT, f"{error.filename or 'input'}: {error.strerror or 'cannot be opened as a file'}"
        case MemoryError():
            return OUR_FAULT, f"out of memory; narrow the {evidence}, and please report it"
        case InvariantBroken():
            return OUR_FAULT, f"{error}; please report it, with the {evidence}"
        case _:
            return OUR_FAULT, f"our own fault: {type(error).__name__}: {error}; please report it, with the {evidence}"
