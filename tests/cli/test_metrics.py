"""Tests of `metrics`: the figures of a log, whatever is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy
from tests.support.lines import fill
from tests.support.processes import command, said
from tests.support.scrapes import families
from tests.support.stage import QUICK, graph, outcome


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


async def test_metrics_prints_the_figures_of_a_log(log: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        await outcome(await client.window().submit(graph()))
        url = comfy.url
    found = command("metrics", log, "--server", url + "/", cwd=log.parent)
    assert (found.returncode, found.stderr) == (0, "")
    samples = families(found.stdout)
    assert samples["comfy_fsm_tasks_settled_total[('state', 'completed')]"] == 1
    assert samples[f"comfy_fsm_requests_total[('result', 'unanswered'), ('server', '{url}')]"] == 0
    unnamed = families(command("metrics", log, cwd=log.parent).stdout)
    assert not [name for name in unnamed if url in name]


def test_metrics_of_a_hostile_log_are_no_more_than_ours(log: Path) -> None:
    fill(
        log,
        b"\xff\x00 no JSON",
        b'{"at":1e308,"kind":"ws.open","server":"\\u001b[31m\\" 1\\nevil 2","window":"w"}',
        b'{"at":-5,"kind":"http.request","server":"http://x","data":{"id":"\\u202e","method":"GET","path":"/queue"}}',
    )
    found = command("metrics", log, cwd=log.parent)
    assert (found.returncode, found.stderr) == (0, "")
    assert "evil" not in found.stdout
    assert families(found.stdout)["comfy_fsm_observations_total[('kind', 'ws.undecodable')]"] == 1


def test_metrics_counts_the_damage_of_a_log_and_goes_on(log: Path) -> None:
    fill(log, *(seen_line(second) for second in range(5)))
    with closing(sqlite3.connect(log)) as db, db:
        db.execute("UPDATE log SET line = ? WHERE position = 3", (seen_line(9),))
    samples = families(command("metrics", log, cwd=log.parent).stdout)
    assert samples["comfy_fsm_findings_total[('code', 'damaged')]"] >= 1
    assert samples["comfy_fsm_observations_total[('kind', 'ws.open')]"] == 5


def seen_line(second: int) -> bytes:
    return b'{"at":%d,"kind":"ws.open","server":"http://a","window":"w%d"}' % (second, second)


def test_metrics_refuses_what_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("text")
    assert "no log of this project" in said(command("metrics", "other", cwd=tmp_path), 65)
    said(command("metrics", "absent", cwd=tmp_path), 66)
    said(command("metrics", cwd=tmp_path), 64)
    fill(tmp_path / "empty")
    assert "is no address" in said(command("metrics", "empty", "--server", "ftp://x", cwd=tmp_path), 64)
    assert command("metrics", "empty", cwd=tmp_path).returncode == 0
