"""Entry points of the console scripts `comfy-fsm` and `comfy-replay`.

Outside of the packages, which take a tenth of a second to import: Ctrl-C meanwhile must not print a traceback.
"""

from __future__ import annotations

import gc
import importlib
import signal

__all__ = ["comfy_fsm", "replay"]


def comfy_fsm() -> int:
    """Run `python -m comfy_fsm`."""
    return _run("comfy_fsm.__main__")


def replay() -> int:
    """Run `python -m replay`."""
    return _run("replay.__main__")


def _run(module: str) -> int:
    gc.set_threshold(50_000)  # or all that is loaded would be visited dozens of times, though none of it is garbage
    told = signal.getsignal(signal.SIGINT)
    if told is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the process, and prints nothing
    main = importlib.import_module(module).main
    signal.signal(signal.SIGINT, told)
    return int(main())
