"""Entry point of `python -m comfy_fsm COMMAND`: arguments in, exit status out."""

from __future__ import annotations

import gc
import signal
import sys

if __name__ == "__main__":
    gc.set_threshold(50_000)  # or all that is loaded would be visited dozens of times, though none of it is garbage
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is loaded ends this without a traceback

import cyclopts

from comfy_fsm import exits
from comfy_fsm.cli import diagnose, doctor, export, metrics, options, record, recover, run, serve, tail, watch

app = options.new_app(
    options.PROGRAM, "comfy-fsm", "COMMAND", "Run ComfyUI workflows, and know for sure what became of them."
)

# In the order of a day: submit and look, then find out, then look after.
for command, usage in (
    (run.run, "run [OPTIONS] --server URL WORKFLOW..."),
    (run.resume, "resume [OPTIONS] --server URL|--known"),
    (watch.watch, "watch [OPTIONS] LOG"),
    (serve.serve, "serve [OPTIONS] LOG"),
    (record.record, "record [OPTIONS] --server URL"),
    (doctor.doctor, "doctor [OPTIONS] [--server URL|--known]"),
    (diagnose.diagnose, "diagnose [OPTIONS] [ID] LOG"),
    (recover.recover, "recover [OPTIONS] --server URL|--known ID|--all"),
    (recover.consistency, "consistency [OPTIONS] --server URL|--known ID"),
    (recover.history, "history [OPTIONS] --server URL|--known ID"),
    (metrics.metrics, "metrics [OPTIONS] LOG"),
    (metrics.ops, "ops rules|dashboard|database"),
    (tail.tail, "tail LOG"),
    (export.export, "export LOG"),
):
    app.command(command, usage=f"Usage: {options.PROGRAM} {usage}", sort_key=len(list(app)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; each way to fail has one, and one line on standard error."""
    return exits.ended(lambda: _run(arguments or sys.argv[1:]), _say, "log")


def _run(arguments: list[str]) -> int:
    try:
        return int(app(arguments, exit_on_error=False, print_error=False) or 0)
    except cyclopts.CycloptsError as error:
        raise exits.Wrong(options.usage_error(error)) from None


def _say(text: str) -> None:
    from comfy_fsm.cli.stderr import complain

    complain(text)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
