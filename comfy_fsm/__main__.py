"""Arguments in, exit status out: `python -m comfy_fsm run|resume|tail|export`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import App, Parameter

from comfy_fsm.errors import BadServerUrl, BadWorkflow, ClientError, InvariantBroken, LogError

if TYPE_CHECKING:
    from comfy_fsm.live.client import Client

USAGE, BAD_DATA, NO_INPUT, UNREACHABLE, OUR_FAULT = 64, 65, 66, 69, 70
ENDED_BY_SIGNAL = 128
MOST = 64 * 1024 * 1024  # bytes of a workflow file; real ones have some hundred thousand
Server = Annotated[list[str], Parameter(name="--server", negative="")]
LogFile = Annotated[str, Parameter(name="--log")]
Folder = Annotated[str, Parameter(name="--output")]
Token = Annotated[str | None, Parameter(name="--token-env")]

app = App(
    name="python -m comfy_fsm",
    help="Run ComfyUI workflows, and know for sure what became of them.",
    help_epilogue="Exit status: 0 all completed · 1 a task did not complete, or a file was not saved · "
    "64 wrong usage · 65 no workflow, or no log · 66 no such file · 69 no server answers · 70 our own fault · "
    "130 or 143 ended by a signal.",
    version_flags=[],
    result_action="return_value",
)


@app.command
def run(
    *workflows: Annotated[str, Parameter(name="WORKFLOW")],
    server: Server,
    log: LogFile = "comfy-fsm.log",
    output: Folder = ".",
    token_env: Token = None,
) -> int:
    """Submit workflows in API format, follow them, and save what they produce.

    Parameters
    ----------
    workflows
        Files with a workflow in API format.
    server
        Address of a server, such as http://127.0.0.1:8188; may be given several times.
    log
        The log in which everything is written down; made if there is none.
    output
        The folder to save files into.
    token_env
        Name of an environment variable that holds a token; it is sent as a bearer token.
    """
    if not workflows:
        raise _Wrong("name a workflow file; --help tells more")
    from comfy_fsm.live import errand
    from comfy_fsm.screen import Bars

    graphs, opening = [(name, _workflow(name)) for name in workflows], _opening(server, log, token_env)
    os.makedirs(output, exist_ok=True)
    with Bars() as screen:
        return errand.submit(graphs, output, opening, screen)


@app.command
def resume(*, server: Server, log: LogFile = "comfy-fsm.log", output: Folder = ".", token_env: Token = None) -> int:
    """Take up what an earlier process left in its log: open tasks, and results that nobody got.

    Parameters
    ----------
    server
        Address of a server; name all that the log knows.
    log
        The log of the earlier process.
    output
        The folder to save files into.
    token_env
        Name of an environment variable that holds a token; it is sent as a bearer token.
    """
    from comfy_fsm.live import errand
    from comfy_fsm.screen import Bars

    _must_exist(log)
    opening = _opening(server, log, token_env)
    os.makedirs(output, exist_ok=True)
    with Bars() as screen:
        return errand.resume(output, opening, screen)


@app.command
def tail(log: Annotated[str, Parameter(name="LOG")]) -> int:
    """Print the entries of a log as lines of a trace, and each new one as it is written; ended by Ctrl-C.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    """
    import time

    _must_exist(log)
    after = 0
    while True:
        after = _print_lines(log, after)
        time.sleep(0.2)


@app.command
def export(log: Annotated[str, Parameter(name="LOG")]) -> int:
    """Print a log as a trace (JSON Lines): `export LOG > trace.jsonl`.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    """
    _must_exist(log)
    _print_lines(log, 0)
    return 0


def _print_lines(log: str, after: int) -> int:
    from comfy_fsm.live import rows

    for record in rows.read(log, after):
        after = record.position
        if record.damage is not None:
            print(_spelled_out(f"# position {record.position}: {record.damage}"))
        if record.line is not None:
            print(_spelled_out(record.line.decode("utf-8", "backslashreplace")))
    sys.stdout.flush()
    return after


def _spelled_out(line: str) -> str:
    """The same JSON, which drives no terminal: JSON allows U+007F to U+009F and the bidirectional ones as they are."""
    if line.isprintable():
        return line
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)


def _workflow(name: str) -> dict[str, Any]:
    """What the file holds, if it can be posted: one that cannot is told before any other is submitted."""
    import msgspec

    from comfy_fsm.live import asks

    with open(name, "rb") as file:
        content = file.read(MOST + 1)
    try:
        workflow: dict[str, Any] = msgspec.json.decode(content[:MOST])
        asks.post(workflow)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadWorkflow(f"{name} is no JSON ({error}), so nothing was submitted; export the workflow again") from None
    except BadWorkflow as error:
        raise BadWorkflow(f"{name}: {error}") from None
    return workflow


def _must_exist(log: str) -> None:
    from comfy_fsm.live import rows

    with open(log, "rb"):
        pass
    if not rows.is_log(log):
        raise LogError(f"{log} is no log of this project; name the file that was given as --log")


def _opening(servers: list[str], log: str, token_env: str | None) -> Callable[[], Client]:
    """How to open the client: in the loop that will run it."""
    from comfy_fsm.live.client import Client

    headers = {}
    if token_env is not None:
        if token_env not in os.environ:
            raise _Wrong(f"the environment has no variable {token_env}; set it to the token")
        if not (os.environ[token_env].isascii() and os.environ[token_env].isprintable()):
            raise _Wrong(f"the variable {token_env} holds what no header may, a line end perhaps; nothing was sent")
        headers["Authorization"] = f"Bearer {os.environ[token_env]}"
    return lambda: Client(servers, log=log, headers=headers)


class _Wrong(Exception):
    """The command was used wrongly; the text says how to use it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; every way it can end has its exit status and one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(app(arguments or sys.argv[1:], exit_on_error=False, print_error=False) or 0)
    except (_Wrong, cyclopts.CycloptsError, BadServerUrl) as error:
        return _say(USAGE, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENDED_BY_SIGNAL + signal.SIGINT
    except KeyboardInterrupt:
        return ENDED_BY_SIGNAL + signal.SIGINT
    except (BadWorkflow, LogError) as error:
        return _say(BAD_DATA, str(error))
    except ClientError as error:
        return _say(UNREACHABLE, str(error))
    except OSError as error:
        return _say(NO_INPUT, f"{error.filename or 'input'}: {error.strerror or 'cannot be opened as a file'}")
    except InvariantBroken as error:
        return _say(OUR_FAULT, f"{error}; please report it, with the log")
    except Exception as error:
        return _say(OUR_FAULT, f"our own fault: {type(error).__name__}: {error}; please report it, with the log")


def _say(status: int, text: str) -> int:
    from comfy_fsm.screen import complain

    complain(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
