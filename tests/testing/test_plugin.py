"""Tests of the pytest plugin, in a pytest process of its own, on a file like a user's."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.pytest_runs import PLAIN, pytest_on

SYNCHRONOUS = """
import time

def test_a_test_that_blocks_is_served(fake_comfyui, comfy_log):
    graph = {"1": {"class_type": "FakeText", "inputs": {"text": "hello"}}}
    prompt_id = ask(fake_comfyui.url + "/prompt", {"prompt": graph})["prompt_id"]
    while not (found := ask(f"{fake_comfyui.url}/history/{prompt_id}")):
        time.sleep(0.01)
    assert found[prompt_id]["outputs"] == {"1": {"text": ["hello"]}}
    assert fake_comfyui.runs == fake_comfyui.posts == {prompt_id: 1}
    fake_comfyui.restart()
    assert ask(f"{fake_comfyui.url}/history/{prompt_id}") == {}
    assert not comfy_log.exists() and comfy_log.parent.is_dir()
"""

KNOBS = """
import urllib.error

def test_its_knobs_are_turned_from_the_test(fake_comfyui):
    fake_comfyui.faults.html = {"GET /queue": 1}
    try:
        ask(fake_comfyui.url + "/queue")
    except urllib.error.HTTPError as error:
        assert error.code == 502
        error.close()
    assert ask(fake_comfyui.url + "/queue") == {"queue_running": [], "queue_pending": []}
    fake_comfyui.cut()
    fake_comfyui.kill()
"""

VERSION = """
import pytest

@pytest.mark.comfy(version="0.3.57", step_seconds=0.001)
def test_a_mark_says_which_version(fake_comfyui):
    assert ask(fake_comfyui.url + "/system_stats")["system"]["comfyui_version"] == "0.3.57"
"""

ASYNCHRONOUS = """
import asyncio

def test_it_serves_a_loop_of_the_test_too(fake_comfyui):
    async def story():
        return await asyncio.to_thread(ask, fake_comfyui.url + "/queue")
    assert asyncio.run(story())["queue_running"] == []
"""

DRAWN = """
from hypothesis import given, settings
from hypothesis import strategies as st
from comfy_fsm.testing import Faults

@settings(max_examples=5, deadline=None, database=None)
@given(html=st.integers(0, 1))
def test_hypothesis_draws_with_a_fake_of_the_session(fake_comfyui_session, html):
    fake_comfyui_session.reset(Faults(html={"GET /queue": html}))
    assert fake_comfyui_session.requests == []
    try:
        ask(fake_comfyui_session.url + "/queue")
    except OSError as error:
        error.close()
        assert html
    else:
        assert not html

def test_another_test_has_the_same_one(fake_comfyui_session):
    fake_comfyui_session.reset()
    assert ask(fake_comfyui_session.url + "/queue")["queue_running"] == []
"""

MARKED = """
import pytest

@pytest.mark.comfy("0.3.57", faults={"empty_history": 2})
def test_a_mark_says_what_goes_wrong(fake_comfyui):
    assert fake_comfyui.profile.version == "0.3.57"
    assert fake_comfyui.faults.empty_history == 2
"""

WRONG_MARKS = {
    "latency=1": "got an unexpected keyword argument 'latency'; it is comfy(version, *, step_seconds, faults)",
    "'0.3.64', 1": "too many positional arguments; it is comfy(version,",
    "version='nope'": "'nope' is no version of ComfyUI",
    "version=3": "3 is no version of ComfyUI",
    "step_seconds='1'": "step_seconds is '1'",
    "step_seconds=-1": "step_seconds is -1",
    "faults={'emty_history': 1}": "there is no knob 'emty_history' (did you mean 'empty_history'?)",
    "faults={'html': {'GET /history/abc': 1}}": "the route 'GET /history/abc' never matches",
    "faults=['deaf']": 'is no dict, such as {"empty_history": 2}',
}

ALONE = "def test_without_it(): assert True"
WITHOUT_AIOHTTP = "import sys; sys.modules['aiohttp'] = None"


@pytest.mark.parametrize("story", [SYNCHRONOUS, KNOBS, VERSION, ASYNCHRONOUS, MARKED])
def test_a_test_that_takes_the_fixture_has_a_running_server(tmp_path: Path, story: str) -> None:
    code, said = pytest_on(tmp_path, test_theirs=PLAIN + story)
    assert code == 0, said
    assert "1 passed" in said


def test_hypothesis_draws_with_the_fixture_of_the_session(tmp_path: Path) -> None:
    code, said = pytest_on(tmp_path, test_theirs=PLAIN + DRAWN)
    assert code == 0, said
    assert "2 passed" in said


def test_a_wrong_mark_is_told_in_words_and_not_by_a_traceback(tmp_path: Path) -> None:
    marks = "".join(
        f"\n@pytest.mark.comfy({mark})\ndef test_{n}(fake_comfyui): assert False\n"
        for n, mark in enumerate(WRONG_MARKS)
    )
    code, said = pytest_on(tmp_path, test_theirs=f"import pytest\n{marks}")
    assert code == 1
    assert f"{len(WRONG_MARKS)} errors" in said
    assert "Traceback" not in said
    assert [words for words in WRONG_MARKS.values() if words not in said] == []


def test_without_aiohttp_the_fixture_names_the_extra_and_other_tests_run(tmp_path: Path) -> None:
    code, said = pytest_on(tmp_path, conftest=WITHOUT_AIOHTTP, test_alone=ALONE, test_theirs=PLAIN + KNOBS)
    assert code == 1
    assert "1 passed, 1 error" in said
    assert "ThreadedFake needs aiohttp, which is not installed; pip install 'comfy-fsm[testing]'" in said
    assert "Traceback" not in said


def test_the_plugin_loads_nothing_that_a_test_did_not_ask_for() -> None:
    code = "import sys, comfy_fsm.testing.plugin; print({'aiohttp', 'httpx', 'websockets'} & set(sys.modules))"
    fresh = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == "set()"


def test_what_the_package_does_not_have_is_told_as_ever() -> None:
    import comfy_fsm.testing as package

    with pytest.raises(AttributeError, match=r"'comfy_fsm\.testing' has no attribute 'NoSuch'"):
        _ = package.NoSuch
    assert all(hasattr(package, name) for name in package.__all__)
