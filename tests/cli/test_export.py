"""Tests of `export`: what a log holds, as lines that are read again."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy
from tests.support.lines import fill
from tests.support.processes import (
    DONE,
    ESCAPES,
    LOG,
    command,
    write,
)
from tests.support.stage import QUICK, graph

SEEDS = itertools.count(1)  # nothing comes from the server's cache


def test_an_export_is_a_trace_that_is_judged_as_its_log(comfy: FakeComfy, tmp_path: Path) -> None:
    def judged(path: str) -> dict[str, Any]:
        found = command(path, "--format", "json", module="replay", cwd=tmp_path)
        report: dict[str, Any] = json.loads(found.stdout)
        return {name: report[name] for name in ("verdict", "tasks", "findings")}

    comfy.faults.drop_types = {"execution_success", "executing"}  # so that there are findings
    write(tmp_path, "w.json", graph(next(SEEDS)))
    command("run", "w.json", "--server", comfy.url, cwd=tmp_path)
    found = command("export", LOG, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (DONE, "")
    (tmp_path / "trace.jsonl").write_text(found.stdout, encoding="utf-8")
    assert judged("trace.jsonl") == judged(LOG)


def test_what_an_export_prints_drives_no_terminal_and_says_the_same(tmp_path: Path) -> None:
    """`command` has looked at each letter. JSON lets through what is beyond ASCII, U+009B and its like among it."""
    told = {"at": 1, "kind": "tick", "remark": ESCAPES + "\x7f\u2028 é 漢 \U0001f600 \U000e0001"}
    lines = [json.dumps(told, ensure_ascii=ascii_only) for ascii_only in (True, False)]
    fill(tmp_path / LOG, *(line.encode() for line in lines), b'{"at":2,"kind":"\xff\x9b1m"}')
    printed = command("export", LOG, cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line) for line in printed[:2]] == [told, told]
    assert "é 漢 😀" in printed[1]
    assert len(printed) == 3


async def test_a_log_is_replayed_while_it_is_written(comfy: FakeComfy, tmp_path: Path) -> None:
    def judged() -> int:
        return command(LOG, module="replay", cwd=tmp_path).returncode

    async with Client(comfy.url, log=tmp_path / LOG, policy=QUICK) as client:
        task = await client.window().submit(graph(next(SEEDS), seconds=1.5))
        meanwhile = await asyncio.to_thread(judged)
        await task
        assert (meanwhile, await asyncio.to_thread(judged)) == (3, 0)
