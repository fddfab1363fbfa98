"""Tests of `diagnose` on a log while it is written and afterwards, as a process and as a method of the client."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy, ThreadedFake
from replay import replay
from tests.support.lines import fill
from tests.support.processes import BAD_DATA, LOG, NO_INPUT, USAGE, command, of_the_future, said
from tests.support.stage import QUICK, graph, outcome, play, with_node
from tests.support.stories import ID, STORIES, Story, begun, hostile

PASS, FAIL, INCOMPLETE = 0, 1, 3


def logged(folder: Path, story: Story) -> Path:
    return fill(folder / LOG, *story.lines)


@pytest.mark.parametrize(
    ("name", "status"),
    [("succeeded", PASS), ("failed, nobody knows where", PASS), ("lost for no reason", FAIL), ("runs", INCOMPLETE)],
)
def test_the_status_is_the_verdict_of_what_is_told(tmp_path: Path, name: str, status: int) -> None:
    story, state, phrase = STORIES[name]
    logged(tmp_path, story)
    for arguments in ((LOG,), (ID[:4], LOG), (ID, LOG)):
        found = command("diagnose", *arguments, cwd=tmp_path)
        assert (found.returncode, found.stderr) == (status, "")
        assert phrase in " ".join(found.stdout.split())
        assert (state.upper() in found.stdout) is (status != PASS or state != "completed" or len(arguments) == 2)


def test_a_log_and_its_trace_are_diagnosed_alike(tmp_path: Path) -> None:
    """By the two commands, on the log and on the export of it."""
    logged(tmp_path, STORIES["lost in an outage"][0])
    (tmp_path / "trace.jsonl").write_text(command("export", LOG, cwd=tmp_path).stdout, encoding="utf-8")
    ours = json.loads(command("diagnose", LOG, "--format", "json", cwd=tmp_path).stdout)
    told = [
        json.loads(command(name, "--diagnose", "--format", "json", module="replay", cwd=tmp_path).stdout)
        for name in (LOG, "trace.jsonl")
    ]
    assert ours == told[0]
    assert f" --log {LOG}" in json.dumps(ours)  # only a log can be named in a command
    assert json.loads(json.dumps(told[1]).replace("trace.jsonl", LOG)) == json.loads(
        json.dumps(ours).replace(f" --log {LOG}", "")
    )


def test_hostile_names_in_a_log_drive_no_terminal(tmp_path: Path) -> None:
    logged(tmp_path, hostile())
    for form in ("text", "json"):
        found = command("diagnose", LOG, "--format", form, cwd=tmp_path)  # which looks at each letter
        assert found.stdout


def test_no_colours_where_none_are_wanted(tmp_path: Path) -> None:
    logged(tmp_path, begun())
    assert "\x1b" not in command("diagnose", "--no-color", LOG, cwd=tmp_path).stdout


def test_a_log_without_tasks_says_so(tmp_path: Path) -> None:
    fill(tmp_path / LOG)
    for lines in ((), (b'{"at":1,"kind":"tick","data":{}}',)):
        fill(tmp_path / LOG, *lines)
        found = command("diagnose", LOG, cwd=tmp_path)
        assert (found.returncode, found.stderr) == (PASS, "")
        assert "no task was seen" in found.stdout or "nothing to judge" in found.stdout


def of_somebody_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE t (x)")


def of_nothing(path: Path) -> None:
    """There is none."""


@pytest.mark.parametrize(
    ("make", "status", "word"),
    [(of_somebody_else, BAD_DATA, "no log"), (of_the_future, BAD_DATA, "newer"), (of_nothing, NO_INPUT, LOG)],
    ids=["somebody else's", "newer", "missing"],
)  # fmt: skip
def test_what_is_no_log_is_refused(tmp_path: Path, make: Callable[[Path], None], status: int, word: str) -> None:
    make(tmp_path / LOG)
    assert word in said(command("diagnose", LOG, cwd=tmp_path), status)


@pytest.mark.parametrize("arguments", [(), ("a", "b", LOG), ("nobody", LOG), (LOG, "--format", "xml")])
def test_wrong_usage_is_said_to_be_that(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    logged(tmp_path, begun())
    said(command("diagnose", *arguments, cwd=tmp_path), USAGE)


def test_a_damaged_log_is_told_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    path = logged(tmp_path, begun())
    with closing(sqlite3.connect(path)) as db:
        db.executescript("UPDATE log SET line = x'7b' WHERE position = 5")
    found = command("diagnose", LOG, cwd=tmp_path)
    assert found.returncode == FAIL
    assert "could not be read" in found.stdout
    assert "error damaged" in found.stdout


def test_the_client_diagnoses_its_live_board(tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=0.2))
        (running,) = client.diagnose(task.prompt_id)
        assert running.prompt_id == task.prompt_id
        assert running.missing
        assert running.steps
        assert await outcome(task) == "completed"
        (done,) = client.diagnose(task.prompt_id[:8])
        assert (done.state, done.confidence, done.steps) == ("completed", "verified", ())
        assert client.diagnose("nobody") == []
        failing = await client.window().submit(with_node("FakeFail", message="made to fail"))
        assert await outcome(failing) == "failed"
        assert [each.state for each in client.diagnose()] == ["failed", "completed"]
        assert "made to fail" in client.diagnose()[0].says.text

    played = play(story, tmp_path / LOG)
    assert [each.state for each in played.diagnose()[0]] == ["failed", "completed"]


async def test_a_log_is_diagnosed_while_it_is_written(tmp_path: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=tmp_path / LOG, policy=QUICK) as client:
        task = await client.window().submit(graph(seconds=1.5))
        found = await asyncio.to_thread(command, "diagnose", task.prompt_id, LOG, cwd=tmp_path)
        await task
        assert found.returncode == INCOMPLETE
        shown = found.stdout
    assert "missing" in shown
    assert "python -m comfy_fsm recover " in shown
    assert replay(tmp_path / LOG).verdict == "pass"


def test_a_program_without_a_loop_is_told_the_same(fake_comfyui: ThreadedFake, tmp_path: Path) -> None:
    with BlockingClient(fake_comfyui.url, log=os.fspath(tmp_path / LOG), policy=QUICK) as client:
        prompt_id = client.run(graph()).prompt_id
        assert [(each.prompt_id, each.state) for each in client.diagnose()] == [(prompt_id, "completed")]
        assert client.diagnose("nobody") == []
