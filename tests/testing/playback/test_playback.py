"""Tests of playback: order, ids, and answers to requests that the trace does not contain."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core.wire import codec
from comfy_fsm.errors import TaskError, TaskRejected
from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy, ThreadedFake, picture
from comfy_fsm.testing.playback.source import read
from comfy_fsm.testing.strategies import TrueRun, observations, true_runs
from tests.conformance.protocol import Server
from tests.conftest import FIXTURES
from tests.support.fake_stage import PATIENCE, closed, eventually, play

RECORDINGS = FIXTURES / "recordings" / "0.3.64"
WINDOW, HOST, PROMPT = "theirs", "http://recorded:8188", "11111111-aaaa-4bbb-8ccc-000000000001"
OWN = "22222222-aaaa-4bbb-8ccc-000000000002"
KEYS = ("prompt_id", "type", "data", "outputs", "status", "filename", "running", "pending", PROMPT)
QUIET = {"queue_running": [], "queue_pending": []}


def line(kind: str, data: object, at: float = 0.0, window: str = WINDOW) -> str:
    return json.dumps({"at": at, "kind": kind, "window": window, "server": HOST, "data": data})


def frame(kind: str, **data: object) -> str:
    return line("ws.message", {"type": kind, "data": {"prompt_id": PROMPT, **data}})


def asked(number: str, method: str, path: str, body: object = None) -> str:
    return line("http.request", {"id": number, "method": method, "path": path, "body": body})


def answered(number: str, status: int, body: object = None) -> str:
    return line("http.response", {"id": number, "status": status, "body": body})


POSTED = asked("post", "POST", "/prompt", {"prompt": {}, "client_id": WINDOW, "prompt_id": PROMPT})
ACCEPTED = answered("post", 200, {"prompt_id": PROMPT, "number": 7, "node_errors": {}})
RECORD = {PROMPT: {"outputs": {"9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}}}
RAN = [
    frame("execution_start"), frame("executing", node="9"),
    frame("executed", node="9", output=RECORD[PROMPT]["outputs"]["9"]), frame("execution_success", timestamp=1),
    frame("executing", node=None),
]  # fmt: skip
TYPES = ["execution_start", "executing", "executed", "execution_success", "executing"]


def history(number: str, status: int, body: object = None) -> list[str]:
    return [asked(number, "GET", f"/history/{PROMPT}"), answered(number, status, body)]


def test_frames_wait_for_the_post_and_the_socket_and_bear_the_ids_of_the_client() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        playback = comfy.play([line("ws.open", {}), POSTED, ACCEPTED, *RAN])
        async with server.socket() as window:
            assert await window.quiet() == []
            assert playback.waits_for == "POST number 1 of a prompt"
            assert await server.submit(picture(), window, prompt_id=OWN) == OWN
            await window.ended(OWN)
            assert window.types(OWN) == TYPES
            assert PROMPT not in json.dumps([each.data for each in window.heard])
        assert playback.finished

    play(story)


def test_a_client_that_posts_first_and_opens_its_socket_later_is_waited_for() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        playback = comfy.play([line("ws.open", {}), POSTED, ACCEPTED, *RAN])
        assert await server.submit(picture(), client_id="mine") == PROMPT, "who chooses no id gets that of the trace"
        assert playback.waits_for == "a socket"
        async with server.socket("mine") as window:
            await window.ended(PROMPT)
            assert window.types(PROMPT) == TYPES

    play(story)


def test_what_is_addressed_to_another_client_id_than_that_of_the_socket_is_not_heard() -> None:
    """P1: the commonest of mistakes is seen."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        playback = comfy.play([line("ws.open", {}), POSTED, ACCEPTED, *RAN])
        async with server.socket("mine") as window:
            await server.submit(picture(), client_id="not mine")
            while not playback.finished:
                assert await window.quiet() == []

    play(story)


def test_the_answers_to_a_question_come_in_their_order_and_the_last_one_again() -> None:
    told = [*history("1", 200, {}), *history("2", 502), *history("3", 200, RECORD)]

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.play([POSTED, ACCEPTED, *told])
        await server.submit(picture(), prompt_id=OWN)
        answers = [await server.get(f"/history/{OWN}") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 502, 200, 200]
        assert answers[0].body == {}
        assert answers[2].body == answers[3].body == {OWN: RECORD[PROMPT]}
        assert (await server.get("/view?filename=a.png&type=output")).body.startswith(b"\x89PNG")

    play(story)


def test_an_answer_waits_for_the_frames_before_it_unless_they_wait_for_the_client() -> None:
    trace = [line("ws.open", {}), POSTED, ACCEPTED, *history("1", 200, {}), *RAN, *history("2", 200, RECORD)]

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.play(trace)
        async with server.socket() as window:
            await server.submit(picture(), window)
            answers = [(await server.get(f"/history/{PROMPT}")).body for _ in range(3)]
            while not answers[-1]:
                answers.append((await server.get(f"/history/{PROMPT}")).body)
            await window.quiet()
            assert window.types(PROMPT) == TYPES, "the record is given when all that came before it was sent"
        await comfy.reset()
        comfy.play(trace)
        await server.submit(picture())
        answers = [(await server.get(f"/history/{PROMPT}")).body for _ in range(2)]
        assert answers == [{}, RECORD], "whoever never opens a socket is answered all the same"

    play(story)


def test_a_request_that_was_not_answered_ends_its_connection() -> None:
    trace = [POSTED, line("http.error", {"id": "post", "error": "ReadTimeout"}), *history("1", 200, RECORD)]

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.play(trace)
        with pytest.raises(aiohttp.ClientError):
            await server.submit(picture(), prompt_id=OWN)
        assert [*(await server.get(f"/history/{OWN}")).body] == [OWN]

    play(story)


@pytest.mark.parametrize(("code", "heard"), [(1006, 1006), (None, 1006), (1000, 1006), (1001, 1001), (1011, 1011)])
def test_a_socket_ends_as_in_the_trace_and_the_rest_waits_for_the_next_one(code: int | None, heard: int) -> None:
    trace = [line("ws.open", {}), POSTED, ACCEPTED, *RAN[:2], line("ws.close", {"code": code}), line("ws.open", {})]

    async def story(comfy: FakeComfy, server: Server) -> None:
        playback = comfy.play([*trace, *RAN[3:], line("ws.close", {"code": 1000})])
        async with server.socket("mine") as window:
            await server.submit(picture(), window)
            assert await closed(window) == heard
            await eventually(lambda: playback.waits_for == "a socket")
        async with server.socket("mine") as window:
            await window.ended(PROMPT)
            assert window.types(PROMPT) == TYPES[3:]
            assert await window.quiet() == [], "the close at the end is left to the client"

    play(story)


def test_a_capture_of_the_socket_alone_is_posted_by_the_client_and_its_history_told_from_the_frames() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.play([line("ws.open", {}), *RAN])
        await server.submit(picture(), prompt_id=OWN)
        assert (await server.get("/queue")).body == QUIET, "unheard, all of it has passed"
        entry = (await server.get(f"/history/{OWN}")).body[OWN]
        assert entry["status"]["status_str"] == "success"
        assert entry["outputs"] == RECORD[PROMPT]["outputs"]
        assert (await server.get("/history")).body == {OWN: entry}

    play(story)


def test_what_was_never_asked_is_answered_as_by_a_server_that_has_not_come_further() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.play([line("ws.open", {}), POSTED, ACCEPTED, RAN[0], POSTED.replace(PROMPT, OWN)])
        async with server.socket() as window:
            await server.submit(picture(), window)
            await window.until("execution_start")
            assert (await server.get(f"/history/{PROMPT}")).body == {}
            assert [item[1] for item in (await server.get("/queue")).body["queue_running"]] == [PROMPT]
        assert (await server.get("/api/jobs")).status == 404, "the jobs of the fake are not those of the trace"

    play(story, "0.33.0")


def test_a_prompt_beyond_those_of_the_trace_is_refused_in_words() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        playback = comfy.play([POSTED, ACCEPTED])
        await server.submit(picture())
        answer = await server.post("/prompt", {"prompt": picture()})
        assert answer.status == 400
        assert "has 1 prompts of this window; this is one more" in answer.body["error"]["message"]
        assert playback.surplus == 1
        await comfy.reset()
        assert (await server.record(await server.submit(picture())))["status"]["completed"], "reset ends the playing"

    play(story)


def written(tmp_path: Path, pack: Callable[[bytes], bytes]) -> Path:
    path = tmp_path / "trace"
    path.write_bytes(pack("\n".join(["# made by hand", "", POSTED, ACCEPTED, *RAN]).encode()))
    return path


def test_a_trace_is_played_from_a_file_packed_or_not_from_memory_and_from_a_thread(tmp_path: Path) -> None:
    for pack in (bytes, gzip.compress, zstandard.compress):
        assert len(read(written(tmp_path, pack))) == 2 + len(RAN)
    with ThreadedFake() as comfy:
        assert comfy.play(written(tmp_path, gzip.compress)).waits_for in ("", "POST number 1 of a prompt")


TWO = [POSTED, ACCEPTED, POSTED.replace(WINDOW, "another").replace(PROMPT, OWN)]


@pytest.mark.parametrize(
    ("lines", "settings", "said"),
    [
        (TWO, {}, "the trace has 2 windows, of which one is played: window=… theirs, another"),
        (TWO, {"window": "nobody"}, "the trace has no window 'nobody'; it has theirs, another"),
        (
            [POSTED, ACCEPTED.replace("recorded", "other")],
            {},
            "the trace has 2 servers, of which one is played: server=…",
        ),
        ([], {}, "has no observation in it"),
        (["{"], {}, "the trace:1 is no line of a trace"),
        ([ACCEPTED.replace("7", "[" * 300 + "]" * 300)], {}, "the trace:1 cannot be played: it is nested deeper"),
        (["[]"], {}, "the trace:1 is no line of a trace: it has no `kind`"),
    ],
)
def test_what_cannot_be_played_is_said(lines: list[str], settings: dict[str, str], said: str) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        with pytest.raises(ValueError, match=said.replace("(", r"\(")):
            comfy.play(lines, **settings)
        assert (await server.get("/queue")).body == QUIET

    play(story)


def windows_of(path: Path) -> list[tuple[str, str]]:
    posts = [each for each in read(path) if each["kind"] == "http.request" and each["data"]["path"] == "/prompt"]
    return [*dict.fromkeys((each["window"], each["server"]) for each in posts)]


@pytest.mark.parametrize("name", ["errors", "missed-failure", "rejected", "socket-drop", "two-windows", "interrupts"])
async def test_our_own_client_comes_to_the_recorded_outcome_of_every_task(name: str) -> None:
    path = RECORDINGS / f"{name}.jsonl.gz"
    expected = json.loads((RECORDINGS / f"{name}.expected.json").read_text("utf-8"))["tasks"]

    async def told(comfy: FakeComfy, window: str, server: str) -> None:
        await comfy.reset()
        playback = comfy.play(path, window=window, server=server)
        async with Client(comfy.url) as client:
            own = client.window()
            states = [_outcome(task) for task in [await _submitted(own) for _ in playback._script.posts]]
            for prompt_id, state in zip(playback._script.prompt_ids, await asyncio.gather(*states), strict=True):
                assert prompt_id is None or state == expected[prompt_id]["state"], playback

    async with asyncio.timeout(PATIENCE):
        async with FakeComfy() as comfy:
            for window, server in windows_of(path):
                await told(comfy, window, server)


async def _submitted(window: Any) -> Any:
    with suppress(TaskRejected):
        return await window.submit(picture())


async def _outcome(task: Any) -> str:
    try:
        return "rejected" if task is None else str((await task).state)
    except TaskError as error:
        return str(error.result.state)


@settings(max_examples=25, database=None)
@given(true_runs(windows=1, servers=1))
def test_a_true_run_that_is_played_has_the_records_that_it_had(run: TrueRun) -> None:
    """Whatever is asked, and how often: the record of a prompt is the one that its server had, or none yet."""

    async def story() -> None:
        async with FakeComfy() as comfy, aiohttp.ClientSession() as http:
            server, playback = Server(comfy.url, http), comfy.play(run.lines)
            for plan in run.plans:
                prompt_id = await server.submit(picture(), client_id="mine")
                assert prompt_id == plan.prompt_id
                answers = [await server.entry(prompt_id) for _ in range(plan.looks + plan.early_queries + 1)]
                for entry in (entry for entry in answers if entry is not None and "status" in entry):
                    names = {name for name, _ in entry["status"]["messages"]}
                    stated = {"success": "completed"}.get(entry["status"]["status_str"], "failed")
                    outcome = "cancelled" if "execution_interrupted" in names else stated
                    assert outcome == run.truth[prompt_id]
            assert playback.surplus == 0

    asyncio.run(asyncio.wait_for(story(), PATIENCE))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2000) | st.floats() | st.sampled_from(("", PROMPT, OWN, WINDOW, "x")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
"""What a trace may hold where something else was meant."""


@st.composite
def spoiled(draw: st.DrawFn) -> list[str]:
    """A trace that could be played, with some of its values replaced by odd ones."""
    made = [line("ws.open", {}), POSTED, ACCEPTED, *RAN, *history("1", 200, RECORD), line("ws.close", {"code": 1006})]
    values = [json.loads(each) for each in made]
    for value in draw(st.lists(st.sampled_from(values), max_size=4)):
        inner, depth = value, draw(st.integers(0, 3))
        while isinstance(inner, dict) and inner:
            key = draw(st.sampled_from(sorted(inner)))
            if depth == 0 or not isinstance(inner[key], dict):
                inner[key] = draw(ODD)
            inner, depth = inner[key], depth - 1
    return [json.dumps(value) for value in values]


@settings(max_examples=60, database=None)
@given(spoiled() | st.lists(observations(), min_size=1, max_size=12).map(lambda found: [*map(codec.encode, found)]))
def test_no_trace_however_odd_breaks_the_fake(lines: list[str | bytes]) -> None:
    """It cannot be played, and that is said; or it is played, and every question is answered, or cut off."""

    async def story() -> None:
        async with FakeComfy() as comfy, aiohttp.ClientSession() as http:  # which raises BrokenFake at its end
            await asyncio.sleep(0)
            try:
                comfy.play(lines)
            except ValueError:
                return
            server = Server(comfy.url, http)
            with suppress(aiohttp.ClientError, AssertionError):
                async with server.socket("mine") as window:
                    for path in ("/prompt", "/queue", "/interrupt"):
                        await _tried(server.post(path, {"prompt": {}, "client_id": "mine", "prompt_id": OWN}))
                    for path in (f"/history/{OWN}", f"/history/{PROMPT}", "/history", "/queue", "/api/jobs", "/view"):
                        await _tried(server.get(path))
                    await window.quiet()

    asyncio.run(asyncio.wait_for(story(), PATIENCE))


async def _tried(asked: Any) -> None:
    with suppress(aiohttp.ClientError, ValueError):
        assert (await asked).status < 600
