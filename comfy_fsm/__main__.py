"""Entry point of `python -m comfy_fsm COMMAND`: arguments in, exit status out."""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is loaded ends this without a traceback

import cyclopts
from cyclopts import App

from comfy_fsm import __version__
from comfy_fsm.cli import completion, diagnose, doctor, export, metrics, options, recover, run, watch
from comfy_fsm.errors import BadServerUrl, BadWorkflow, ClientError, InvariantBroken, LogError, UnknownTask

app = App(
    name=options.PROGRAM,
    usage=f"Usage: {options.PROGRAM} COMMAND",
    help="Run ComfyUI workflows, and know for sure what became of them.",
    help_epilogue=options.STATUS_HINT.format(options.PROGRAM),
    help_formatter=options.draw_panel,
    version=f"comfy-fsm {__version__}",
    version_flags=["--version"],
    result_action="return_value",
)
app.command(options.print_statuses, name="--help-status")


@app.command(name="--install-completion")
def install_completion(shell: completion.Shell = None) -> int:
    """Install tab completion for bash, zsh or fish; without a name, for the shell in $SHELL."""
    return completion.install(app, "comfy-fsm", shell)


for flag in ("--help", "--version", "--help-status", "--install-completion"):
    app[flag].group = "Options"

# In the order of a day: submit and look, then find out, then look after.
for command, usage in (
    (run.run, "run [OPTIONS] --server URL WORKFLOW..."),
    (run.resume, "resume [OPTIONS] --server URL|--known"),
    (watch.watch, "watch [OPTIONS] LOG"),
    (watch.serve, "serve [OPTIONS] LOG"),
    (doctor.doctor, "doctor [OPTIONS] [--server URL|--known]"),
    (diagnose.diagnose, "diagnose [OPTIONS] [ID] LOG"),
    (recover.recover, "recover [OPTIONS] --server URL|--known ID|--all"),
    (recover.consistency, "consistency [OPTIONS] --server URL|--known ID"),
    (recover.history, "history [OPTIONS] --server URL|--known ID"),
    (metrics.metrics, "metrics [OPTIONS] LOG"),
    (metrics.ops, "ops rules|dashboard"),
    (export.tail, "tail LOG"),
    (export.export, "export LOG"),
):
    app.command(command, usage=f"Usage: {options.PROGRAM} {usage}", sort_key=len(list(app)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; each way to fail has one, and one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(app(arguments or sys.argv[1:], exit_on_error=False, print_error=False) or 0)
    except cyclopts.CycloptsError as error:
        return _say(options.USAGE, options.usage_error(error))
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
