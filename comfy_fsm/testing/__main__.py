"""Fake ComfyUI as a process: `python -m comfy_fsm.testing`. Its first line of output is its address."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

from comfy_fsm.testing.execution.worker import BrokenFake
from comfy_fsm.testing.faults import Faults, Knob, knobs
from comfy_fsm.testing.profiles import NEWEST, PROFILES

if TYPE_CHECKING:
    from comfy_fsm.testing.server import FakeComfy

NAME = "python -m comfy_fsm.testing"
WRONG_USAGE, NO_INPUT, UNAVAILABLE, OUR_FAULT = 64, 66, 69, 70
_GROUPS = {
    group: Group(f"Faults: {group}", sort_key=10 + place)
    for place, group in enumerate(dict.fromkeys(knob.group for knob in knobs()))
}


class _Wrong(Exception):
    """Wrong usage of the command; the text says how to use it."""


def _option(knob: Knob) -> tuple[str, Any, Any]:
    """Turn a knob into an option; one with routes is used as `--html 'GET /queue=1'`."""
    several = isinstance(knob.default, dict | set)
    how = Parameter(
        name=f"--{knob.name.replace('_', '-')}", group=_GROUPS[knob.group], help=_help(knob), negative="",
        show_default=not several and knob.default is not None,
    )  # fmt: skip
    kind: Any = list[str] if several else knob.kind
    return knob.name, Annotated[kind, how], field(default_factory=list) if several else field(default=knob.default)


def _help(knob: Knob) -> str:
    if isinstance(knob.default, dict):
        return f"{knob.description} ROUTE=NUMBER, such as 'GET /queue=1' or '*=1'; may be repeated."
    return f"{knob.description} May be repeated." if isinstance(knob.default, set) else knob.description


def _value(name: str, given: Any) -> Any:
    """Convert an option to the value of its knob."""
    if not isinstance(getattr(Faults(), name), dict):
        return given
    found: dict[str, float] = {}
    for pair in given:
        route, equals, number = pair.rpartition("=")
        try:
            found[route] = int(number) if number.isdigit() else float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise _Wrong(f"--{name.replace('_', '-')} {pair!r}: write ROUTE=NUMBER, such as 'GET /queue=1'")
    return found


Knobs: Any = make_dataclass("Knobs", map(_option, knobs()), kw_only=True)
Knobs.__module__ = __name__  # else it passes for a type of Python's own, which has no fields
Port = Annotated[int, Parameter(help="Where to listen on 127.0.0.1; 0 is any port that is free.")]
Version = Annotated[str, Parameter(name="--comfyui", help=f"Which ComfyUI it is: {', '.join(PROFILES)}, or another.")]
Step = Annotated[float, Parameter(help="How long a node takes, in seconds.")]
Trace = Annotated[str | None, Parameter(help="Play this recorded trace or log to the client, as its server.")]
Window = Annotated[str | None, Parameter(help="Whose part of the trace is played, if it has several windows.")]
Server = Annotated[str | None, Parameter(help="Which server of the trace is played, if it has several.")]
Turned = Annotated[Knobs, Parameter(name="*")]

app = App(
    name=NAME,
    help="Run a fake ComfyUI for tests on 127.0.0.1, until Ctrl-C. Its first line is its address.\n\n"
    "The faults below are how it begins. While it runs, POST /fake/faults takes them as JSON, such as "
    '{"empty_history": 2}, and GET /fake/state shows them, and what ran.',
    help_epilogue=f"Exit status: 0 ended · {WRONG_USAGE} wrong usage · {NO_INPUT} no such file · "
    f"{UNAVAILABLE} a port is in use, or an optional dependency is missing · {OUR_FAULT} our own fault.",
    version_flags=[],
    result_action="return_value",
)


@app.default
def serve(
    *,
    port: Port = 0,
    comfyui: Version = NEWEST,
    step_seconds: Step = 0.0,
    play: Trace = None,
    window: Window = None,
    server: Server = None,
    knobs: Turned | None = None,
) -> None:
    """Start it, and serve until a signal."""
    from comfy_fsm.testing import FakeComfy

    given = knobs or Knobs()
    fake = FakeComfy(comfyui, step_seconds=step_seconds, port=port, control=True)
    fake.faults.turn({name: _value(name, getattr(given, name)) for name in Faults.__struct_fields__})
    asyncio.run(_serve(fake, None if play is None else lambda: fake.play(play, window=window, server=server)))


async def _serve(fake: FakeComfy, begin: Callable[[], object] | None) -> None:
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    async with fake:
        if begin is not None:
            begin()
        print(fake.url, flush=True)
        await ended.wait()


def main(words: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; each way to end has its exit status, and each failure a line on standard error."""
    try:
        app(words, exit_on_error=False, print_error=False)
    except BrokenFake as error:
        return _say(OUR_FAULT, str(error))
    except CycloptsError as error:
        return _say(WRONG_USAGE, f"{str(error).rstrip('.')}; `{NAME} --help` shows more")
    except (_Wrong, ValueError) as error:
        return _say(WRONG_USAGE, f"no fake was started: {error}")
    except (FileNotFoundError, IsADirectoryError) as error:
        return _say(NO_INPUT, f"no fake was started: {error.filename}: {error.strerror}")
    except (ModuleNotFoundError, OSError) as error:
        return _say(UNAVAILABLE, f"no fake was started: {error}")
    return 0


def _say(status: int, text: str) -> int:
    print(text, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
