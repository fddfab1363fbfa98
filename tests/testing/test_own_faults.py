"""Tests of the fake's own faults: each class gives what it declares, and a failure of the fake is always reported."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.execution.nodes import CLASSES, Given, NodeClass, NodeFailed
from comfy_fsm.testing.execution.pictures import Files, Picture
from comfy_fsm.testing.execution.worker import BrokenFake
from tests.conformance.protocol import Server
from tests.support.fake_stage import PATIENCE, Graph, chain, play
from tests.support.pytest_runs import PLAIN, pytest_on

DEFAULT: Graph = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["4", 1]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal",
            "denoise": 1, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}  # fmt: skip
"""ComfyUI's default workflow, in API format."""


class Alone:
    """A node at work without a prompt around it."""

    node_id, step_seconds, previews = "1", 0.0, True

    def __init__(self, inputs: dict[str, object]) -> None:
        self.inputs = inputs
        self.files = Files()

    async def pause(self, seconds: float) -> None: ...

    def progress(self, value: float, most: float, picture: bytes | None = None) -> None: ...

    def text(self, words: str) -> None: ...

    def picture(self, picture: bytes) -> None: ...


def given(kind: str | list[str], low: float | None) -> object:
    if isinstance(kind, list):
        return kind[0]
    plain: dict[str, Any] = {"INT": int(low or 0), "FLOAT": low or 0.0, "STRING": "word", "BOOLEAN": True}
    return plain.get(kind, Picture())


@pytest.mark.parametrize("name", CLASSES)
async def test_each_class_gives_what_it_declares(name: str) -> None:
    kind = CLASSES[name]
    stage = Alone({key: given(one.kind, one.low) for key, one in kind.inputs.items()})
    try:
        found = await kind.play(stage)
    except NodeFailed:
        assert name == "FakeFail"
        return
    if found.expansion is None:
        assert len(found.values) == len(kind.gives)
    else:
        last = [*found.expansion.values()][-1]
        assert CLASSES[str(last["class_type"])].gives == kind.gives


def test_the_default_workflow_runs_and_gives_a_picture_of_its_size() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        prompt_id = (await server.post("/prompt", {"prompt": DEFAULT})).body["prompt_id"]
        record = await server.record(prompt_id)
        assert record["status"]["status_str"] == "success"
        assert [*record["outputs"]] == ["9"]
        assert len(record["outputs"]["9"]["images"]) == 1

    play(story)


async def gives_nothing(stage: object) -> Given:
    return Given()


async def stumbles(stage: object) -> Given:
    raise KeyError("what nobody thought of")


@pytest.mark.parametrize("kind", [NodeClass(gives_nothing, ("IMAGE",)), NodeClass(stumbles, ("IMAGE",), is_async=True)])
def test_a_fault_of_the_fake_fails_that_prompt_and_no_other_is_printed_and_raised_in_the_end(
    kind: NodeClass, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CLASSES, "Broken", kind)

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            broken = await server.submit(chain(("Broken", {})), window)
            error = (await window.until("execution_error", prompt_id=broken)).data
            assert "the fake itself failed" in error["exception_message"]
        assert (await server.record(broken))["status"]["status_str"] == "error"
        assert (await server.record(await server.submit(chain())))["status"]["status_str"] == "success"

    with pytest.raises(BrokenFake, match="proves nothing"):
        play(story)
    assert "Traceback" in capsys.readouterr().err


BROKEN: Graph = {
    "1": {"class_type": "Broken", "inputs": {}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
BREAKS = f"""
from comfy_fsm.testing.execution.nodes import CLASSES, Given, NodeClass

async def nothing(stage):
    return Given()

CLASSES["Broken"] = NodeClass(nothing, ("IMAGE",))
GRAPH = {BROKEN}
"""
FIXTURE = """
import time

def test_that_is_content(fake_comfyui):
    prompt_id = ask(fake_comfyui.url + "/prompt", {"prompt": GRAPH})["prompt_id"]
    while not ask(f"{fake_comfyui.url}/history/{prompt_id}"):
        time.sleep(0.01)
"""


def test_a_fault_of_the_fake_fails_the_test_that_used_the_fixture(tmp_path: Path) -> None:
    status, said = pytest_on(tmp_path, test_broken=PLAIN + BREAKS + FIXTURE)
    assert status == 1
    assert "BrokenFake" in said


async def test_a_fault_of_the_fake_is_its_exit_status_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        f"import sys\n{BREAKS}\nfrom comfy_fsm.testing.__main__ import main\nsys.exit(main([]))\n", encoding="utf-8"
    )
    async with asyncio.timeout(PATIENCE):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / "broken.py"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as http:
            server = Server(url, http)
            await server.record((await server.post("/prompt", {"prompt": BROKEN})).body["prompt_id"])
        process.terminate()
        _, said = await process.communicate()
        status, said = process.returncode or 0, said.decode()
    assert status == 70
    assert "Traceback" in said
    assert "the fault is that of comfy_fsm.testing" in said.splitlines()[-1]
