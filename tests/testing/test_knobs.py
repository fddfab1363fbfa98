"""Tests of the fake's knobs: what they refuse, where they are shown; and a fake on a thread, and after a reset."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import FakeComfy, Faults, picture
from comfy_fsm.testing.__main__ import main
from comfy_fsm.testing.faults import FRAMES, ROUTES, knobs, route_of
from comfy_fsm.testing.profiles import profile_of
from tests.conformance.protocol import Server
from tests.conftest import ROOT
from tests.support.fake_stage import play

BY_ROUTE = [knob.name for knob in knobs() if isinstance(knob.default, dict)]


COUNTS = [knob.name for knob in knobs() if type(knob.default) in (int, float)]


REFUSED = {
    "GET /history/abc": "write 'GET /history', which counts for all that begins so",
    "get /queue": "write 'GET /queue'",
    "POST /api/prompt": "write 'POST /prompt'",
    "GET /histroy": r"did you mean 'GET /history'",
    "/queue": "the fake has no route '/queue'",
    "": "it has .*GET /queue",
}


@pytest.mark.parametrize("name", BY_ROUTE)
@pytest.mark.parametrize("route", REFUSED)
def test_a_route_that_never_matches_is_refused_however_it_is_set(name: str, route: str) -> None:
    faults = Faults()
    for attempt in (
        lambda: Faults(**{name: {route: 1}}),
        lambda: setattr(faults, name, {"GET /queue": 1, route: 1}),
        lambda: getattr(faults, name).update({route: 1}),
        lambda: getattr(faults, name).__setitem__(route, 1),
        lambda: getattr(faults, name).setdefault(route, 1),
        lambda: faults.turn({"deaf": 1, name: {route: 1}}),
    ):
        with pytest.raises(ValueError, match=REFUSED[route]):
            attempt()
    assert faults == Faults()


@pytest.mark.parametrize("name", BY_ROUTE)
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_of_the_fake_may_be_named(name: str, route: str) -> None:
    assert getattr(Faults(**{name: {route: 1}}), name) == {route: 1}


def test_the_routes_that_may_be_named_are_those_of_the_fake() -> None:
    async def story(comfy: FakeComfy, _: Server) -> None:
        app: Any = comfy._runner.app
        there = {route_of(each.method, each.resource.canonical) for each in app.router.routes()}
        assert {route for route in there if not route.startswith("HEAD ")} == {*ROUTES} - {"*"}

    play(story, profile_of("latest"))


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/", "//", "/queue", "/api/queue", "/apis/queue", "/api/jobs/x/cancel", "/history/x/y"]
)
def test_every_path_has_a_route(path: str) -> None:
    first = [part for part in path.split("/") if part]
    wanted = first[1:2] if first[:1] == ["api"] else first[:1]
    assert route_of("GET", path) == f"GET /{''.join(wanted)}"


def test_a_type_of_frame_that_is_never_sent_is_refused_however_it_is_set() -> None:
    faults = Faults()
    for attempt in (
        lambda: Faults(drop_types={"execution_sucess"}),
        lambda: setattr(faults, "drop_types", ["execution_sucess"]),
        lambda: faults.drop_types.add("execution_sucess"),
        lambda: faults.drop_types.update({"execution_sucess"}),
        lambda: faults.turn({"drop_types": ["execution_sucess"]}),
    ):
        with pytest.raises(ValueError, match="did you mean 'execution_success'"):
            attempt()
    assert faults == Faults()
    assert Faults(drop_types={*FRAMES}).drop_types == {*FRAMES}


@pytest.mark.parametrize("name", COUNTS)
def test_a_number_below_nothing_and_what_is_no_number_are_refused(name: str) -> None:
    for value in (-1, "1", None, True):
        with pytest.raises(ValueError, match=f"the knob {name} cannot be"):
            setattr(Faults(), name, value)


def test_a_knob_that_is_not_there_is_refused_and_the_one_that_was_meant_is_named() -> None:
    with pytest.raises(AttributeError, match="did you mean 'empty_history'"):
        Faults().emty_history = 1
    with pytest.raises(ValueError, match="did you mean 'empty_history'"):
        Faults().turn({"emty_history": 1})


# where they are shown


def test_the_help_shows_every_knob_with_its_default() -> None:
    words = [sys.executable, "-m", "comfy_fsm.testing", "--help"]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env={"COLUMNS": "400"}).stdout
    for knob in knobs():
        (row,) = re.findall(rf"^│ --{knob.name.replace('_', '-')} (.*)│$", told, re.MULTILINE)
        assert knob.description.replace("`", "") in row
        if not isinstance(knob.default, dict | set) and knob.default is not None:
            assert f"[default: {knob.default}]" in row


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--html", "foo"], "write ROUTE=NUMBER"),
        (["--html", "GET /nope=1"], "the fake has no route 'GET /nope'"),
        (["--drop-types", "nope"], "no frame is of the type 'nope'"),
        (["--deaf", "-1"], "the knob deaf cannot be -1"),
        (["--comfyui", "nope"], "'nope' is no version of ComfyUI"),
        (["--empty-histroy", "1"], "Did you mean --empty-history"),
    ],
)
def test_what_the_command_cannot_mean_is_a_line_and_status_64(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, (printed, complaint) = main(words), capfd.readouterr()
    assert (status, printed, complaint.count("\n")) == (64, "", 1)
    assert said in complaint


def test_a_process_that_refuses_ends_with_the_status() -> None:
    done = subprocess.run([sys.executable, "-m", "comfy_fsm.testing", "--deaf", "-1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (64, "", 1)


RECORDED = ROOT / "fixtures" / "recordings" / "0.3.64"
TWO_WINDOWS = RECORDED / "two-windows.jsonl.gz"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (RECORDED / "none", 66, "none"),
        (RECORDED, 66, "0.3.64"),
        (ROOT / "LICENSE", 64, "is no line of a trace"),
        (TWO_WINDOWS, 64, "the trace has 2 windows"),
    ],
    ids=["missing", "a folder", "no trace", "two windows"],
)
def test_the_command_says_what_it_cannot_play(
    path: Path, status: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--play", str(path)]) == status
    complaint = capfd.readouterr().err
    assert (said in complaint, complaint.count("\n")) == (True, 1)


async def test_the_command_plays_a_trace() -> None:
    async with asyncio.timeout(60):
        words = ["--play", str(TWO_WINDOWS), "--window", "825259"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "comfy_fsm.testing", *words, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as http:
            server = Server(url, http)
            ids = [await server.submit(picture()) for _ in range(3)]
            assert (await server.post("/prompt", {"prompt": picture()})).status == 400
            assert [(await server.record(each))["status"]["completed"] for each in ids] == [True] * 3
        process.terminate()
        assert await process.wait() == 0


async def test_the_command_begins_with_the_faults_that_it_was_given() -> None:
    async with asyncio.timeout(60):
        words = ["--html", "GET /queue=1", "--html", "*=0", "--drop-types", "executing", "--refuse-sockets", "1", "500"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "comfy_fsm.testing", *words, "--mute", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as http:
            faults = (await Server(url, http).get("/fake/state")).body["faults"]
        process.terminate()
        assert await process.wait() == 0
        assert (faults["html"], faults["drop_types"]) == ({"GET /queue": 1, "*": 0}, ["executing"])
        assert (faults["refuse_sockets"], faults["mute"]) == ([1, 500], True)
