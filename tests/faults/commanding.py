"""Scenarios about the command `run`, as a process, always with the default policy."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable

from tests.faults.proxy import Payload
from tests.faults.rig import ROOT, Rig, scenario
from tests.faults.troubles import kind_of

COMPLETES = "it runs, and completes"
SOON = 5.0
"""Seconds within which each of many is told."""


async def _run(
    rig: Rig, count: int, seconds: float, told: Callable[[], None] = lambda: None
) -> tuple[list[tuple[float, str]], float, str]:
    """When each line was printed on standard output, when the process ended, and what it said besides."""
    names = []
    for number in range(count):
        graph = rig.server.graph(rig.truth.tag, seconds * rig.scale)
        path = rig.folder / f"workflow-{number}.json"
        path.write_text(json.dumps(graph), encoding="utf-8")
        names.append(str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "comfy_fsm", "run", *names, "--server", rig.proxy.url, "--log", str(rig.log),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=rig.folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    lines = []
    async for line in process.stdout:
        lines.append((time.monotonic(), line.decode().strip()))
        told()
    status = await process.wait()
    ended = time.monotonic()
    if status:
        rig.wrong.append(f"exit status {status}")
    return lines, ended, (await errors).decode()


def _said(rig: Rig, lines: list[tuple[float, str]], count: int) -> None:
    for number, (when, line) in enumerate(lines):
        rig.told[number] = (when, "completed" if "completed" in line or ".png" in line else line, False)
        rig.delivered.append(str(number))
    if len(lines) < count:
        rig.wrong.append(f"{len(lines)} of {count} verdicts were printed")
    ends = sorted(rig.truth.ended.values())  # a server runs one after the other
    slowest = max((when - end for (when, _), end in zip(lines, ends, strict=False)), default=0.0) / rig.scale
    if slowest > SOON and rig.scale == 1.0:
        rig.wrong.append(f"one was told {slowest:.1f} s after its end")


@scenario("`run` of 12 workflows; nothing goes wrong, and each is told of when it ends", COMPLETES, "completed",
          runs=12, client=False)  # fmt: skip
async def run_tells_each_at_its_end(rig: Rig) -> None:
    lines, _, said = await _run(rig, 12, 6)
    _said(rig, lines, 12)
    rig.note = said
    if lines and lines[0][0] > max(rig.truth.ended.values()):
        rig.wrong.append("nothing was told before all were over")


@scenario("`run` of 200 workflows; nothing goes wrong, and the first is told of long before the last", COMPLETES,
          "completed", runs=200, client=False, heavy=True)  # fmt: skip
async def run_of_200_tells_the_first_early(rig: Rig) -> None:
    over: list[int] = []
    lines, _, said = await _run(rig, 200, 1, lambda: over.append(len(rig.truth.ended)))
    _said(rig, lines, 200)
    rig.note = said
    if not over or over[0] > 100:
        rig.wrong.append(f"{over[0] if over else 'all'} workflows were over when the first was told of")


@scenario("`run`, and the socket is half open from the moment that the end is told", COMPLETES, "completed",
          client=False)  # fmt: skip
async def run_ends_with_a_dead_socket(rig: Rig) -> None:
    async def freeze(wire: object, frame: Payload, _arrived: float) -> list[Payload]:
        if kind_of(frame) == "execution_success":
            asyncio.get_running_loop().call_later(0.05, rig.proxy.freeze)
        return [frame]

    rig.proxy.frame_rules.append(freeze)
    lines, ended, said = await _run(rig, 1, 4)
    _said(rig, lines, 1)
    rig.note = said
    waited = ended - lines[-1][0] if lines else 0.0
    if waited > 2.5 and rig.scale == 1.0:
        rig.wrong.append(f"ended {waited:.1f} s after the result was printed")
