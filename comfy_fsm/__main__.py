"""Arguments in, exit status out: `python -m comfy_fsm COMMAND`."""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is loaded ends this without a traceback

import cyclopts
from cyclopts import App

from comfy_fsm.cli import diagnose, export, metrics, options, recover, run, watch
from comfy_fsm.errors import BadServerUrl, BadWorkflow, ClientError, InvariantBroken, LogError, UnknownTask

app = App(
    name="python -m comfy_fsm",
    help="Run ComfyUI workflows, and know for sure what became of them.",
    help_epilogue="Exit status: 0 all completed, or proved · "
    "1 a task did not complete or is undecided, or a file was not saved · "
    "64 wrong usage · 65 no workflow, or no log · 66 no such file · "
    "69 no server answers, or a port or an extra is not to be had · 70 our own fault · "
    "130 or 143 ended by a signal.",
    version_flags=[],
    result_action="return_value",
)

for plain in (
    export.tail, export.export, metrics.metrics, recover.consistency, recover.history, watch.watch,
    watch.serve,
):  # fmt: skip
    app.command(plain)
app.command(run.run, usage="Usage: python -m comfy_fsm run [OPTIONS] --server URL WORKFLOW...")
app.command(run.resume, usage="Usage: python -m comfy_fsm resume [OPTIONS] --server URL")
app.command(recover.recover, usage="Usage: python -m comfy_fsm recover [OPTIONS] --server URL ID|--all")
app.command(diagnose.diagnose, usage=diagnose.USAGE, help_epilogue=diagnose.STATUS)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; every way it can end has its exit status and one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(app(arguments or sys.argv[1:], exit_on_error=False, print_error=False) or 0)
    except cyclopts.CycloptsError as error:
        return _say(options.USAGE, options.worded(error))
    except (options.Wrong, BadServerUrl, UnknownTask) as error:
        return _say(options.USAGE, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return options.ENDED_BY_SIGNAL + signal.SIGINT
    except KeyboardInterrupt:
        return options.ENDED_BY_SIGNAL + signal.SIGINT
    except (BadWorkflow, LogError) as error:
        return _say(options.BAD_DATA, str(error))
    except (ClientError, options.Unavailable) as error:
        return _say(options.UNREACHABLE, str(error))
    except OSError as error:
        return _say(options.NO_INPUT, f"{error.filename or 'input'}: {error.strerror or 'cannot be opened as a file'}")
    except InvariantBroken as error:
        return _say(options.OUR_FAULT, f"{error}; please report it, with the log")
    except Exception as error:
        return _say(
            options.OUR_FAULT, f"our own fault: {type(error).__name__}: {error}; please report it, with the log"
        )


def _say(status: int, text: str) -> int:
    from comfy_fsm.cli.progress import complain

    complain(text)
    return status


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
