"""Tests of deliveries: a client delivers all that a run produced, and a replay of its log gives the same."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfy_fsm.core.effects import Result
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.core.updates import Update
from comfy_fsm.core.wire.results import produced
from comfy_fsm.errors import DownloadFailed
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.execution.nodes import CLASSES
from replay import Replay, replay
from tests.support.shapes import SHAPES
from tests.support.stage import QUICK, codes, graph, outcome, play

VERSIONS = ("2023-10-14", "2024-08-17", "0.3.10", "0.3.64", "0.33.0")
VALUES = {
    "filename_prefix": "sub/a", "text": "a caption", "source": "a value", "model_file": "mesh/m.glb",
    "filename": "n.png",
    "shown": {"gifs": [{"filename": "v.mp4"}], "text": ["x"]}, "rank": 1, "lora_type": "standard", "bias_diff": True,
    "ckpt_name": "fake.safetensors", "steps": 2, "seconds": 0.0, "count": 2,
}  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


def showing(name: str) -> dict[str, Any]:
    """A workflow that ends in a node of this class; its links come from an image, or from what gives such a thing."""
    nodes: dict[str, Any] = {"1": graph(hash(name) % 2**24)["1"]}
    nodes["1"]["inputs"]["batch_size"] = 3
    inputs: dict[str, Any] = {}
    for key, one in CLASSES[name].inputs.items():
        if key in VALUES:
            inputs[key] = VALUES[key]
        elif one.required:
            if one.kind == "LATENT":
                size = {"width": 8, "height": 8, "batch_size": 1}
                nodes["2"] = {"class_type": "EmptyLatentImage", "inputs": size}
            inputs[key] = ["2" if one.kind == "LATENT" else "1", 0]
    return nodes | {"9": {"class_type": name, "inputs": inputs}}


def batch(count: int, color: int = 0) -> dict[str, Any]:
    """So many images, sent over the socket."""
    nodes = {"1": graph(color)["1"], "9": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    nodes["1"]["inputs"]["batch_size"] = count
    return nodes


def carried(result: Result | Any) -> tuple[object, ...]:
    return result.outputs, result.texts, result.left_out, result.missed


async def settled(task: TaskHandle) -> Result:
    await outcome(task)
    result = task.peek()
    assert result is not None
    return result


def same_again(log: Path, delivered: dict[str, Result]) -> Replay:
    """A replay of the log gives what was delivered."""
    replayed = replay(log)
    told = {task.prompt_id: carried(task) for task in replayed.tasks}
    assert {name: told[name] for name in delivered} == {name: carried(result) for name, result in delivered.items()}
    return replayed


# a replay of a log gives the same as was delivered


SILENT = {"FakeNothing", "LoraSave"}
OUTPUT_CLASSES = sorted(name for name, kind in CLASSES.items() if kind.is_output)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_replay_gives_the_same_of_every_workflow_of_the_fake(log: Path, version: str) -> None:
    delivered: dict[str, Result] = {}

    async def story(_: FakeComfy, client: Client) -> None:
        for name in OUTPUT_CLASSES:
            if version.startswith("2023") and name in SILENT:
                continue  # such a server never says how that ended
            task = await client.window().submit(showing(name))
            result = delivered[name] = await settled(task)
            assert result.state == "completed", (name, result.error)
            assert len(await asyncio.gather(*(output.read() for output in task.outputs))) == len(result.outputs), name

    play(story, log, version=version)
    same_again(log, {result.prompt_id or "": result for result in delivered.values()})
    counts = {name: (len(result.outputs), len(result.texts)) for name, result in delivered.items()}
    assert {name for name, found in counts.items() if found == (0, 0)} == SILENT & counts.keys()
    wanted = {"SaveImage": (3, 0), "SaveImageWebsocket": (3, 0), "Preview3D": (1, 0), "PreviewAny": (0, 1)}
    assert wanted.items() <= counts.items()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    shapes=st.lists(st.sampled_from([told for told, *_ in SHAPES if isinstance(told, dict)]), min_size=1, max_size=6)
)
def test_a_replay_gives_the_same_of_whatever_a_node_shows(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[dict[str, Any]]
) -> None:
    log = tmp_path_factory.mktemp("log") / "tasks.log"
    delivered: dict[str, Result] = {}
    nodes = {f"{n}": {"class_type": "FakeShown", "inputs": {"shown": told}} for n, told in enumerate(shapes)}

    async def story(_: FakeComfy, client: Client) -> None:
        result = await settled(await client.window().submit(nodes))
        delivered[result.prompt_id or ""] = result

    play(story, log)
    same_again(log, delivered)
    [result] = delivered.values()
    wanted = produced({f"{n}": told for n, told in enumerate(shapes)}, DEFAULT)
    assert sorted(output.path for output in result.outputs) == sorted(output.path for output in wanted.outputs)
    assert sorted(map(str, result.texts)) == sorted(map(str, wanted.texts))


def test_what_is_beyond_the_policy_is_told_live_and_by_a_replay(log: Path) -> None:
    policy = Policy(**{name: getattr(QUICK, name) for name in QUICK.__struct_fields__} | {"outputs": 2})
    results: list[Result] = []

    async def story(_: FakeComfy, client: Client) -> None:
        for nodes in (showing("SaveImage"), batch(5)):
            results.append(await settled(await client.window().submit(nodes)))

    play(story, log, policy=policy)
    assert [(len(result.outputs), result.left_out) for result in results] == [(2, 1), (2, 3)]


# images that come over the socket


@pytest.mark.parametrize("version", ["2024-08-17", "0.3.10", "0.3.64"])
@pytest.mark.parametrize("slow", [False, True])
def test_each_image_of_a_batch_is_a_result_and_reaches_the_application_once(
    log: Path, tmp_path: Path, version: str, slow: bool
) -> None:
    """With metadata and without; a callback that is slower than the frames is given each of them all the same."""
    told: list[Update] = []
    gate = threading.Event()

    def progress(update: Update) -> None:
        if slow and not told:
            gate.wait(10)
        told.append(update)

    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(batch(12), on_progress=progress)
        seen = [update async for update in task if update.name == "image"]
        gate.set()
        result = await settled(task)
        assert len(result.outputs) == 12
        contents = [await output.read() for output in task.outputs]
        assert all(content.startswith(b"\x89PNG") for content in contents)
        assert [update.image for update in seen] == contents
        assert [update.text for update in seen] == [output.filename for output in result.outputs]
        saved = [await output.save_into(tmp_path / "out") for output in task.outputs]
        assert [path.read_bytes() for path in saved] == contents
        assert not any(path.startswith("/view") for _, path in comfy.requests)
        assert [update.text for update in told if update.name == "image"] == [
            output.filename for output in result.outputs
        ]

    (tmp_path / "out").mkdir()
    play(story, log, version=version)
    [task] = replay(log).tasks
    assert all(output.size and len(output.digest) == 64 for output in task.outputs)


def test_previews_beside_them_stay_previews(log: Path) -> None:
    nodes = batch(2) | {"3": {"class_type": "FakeProgress", "inputs": {"image": ["1", 0], "steps": 4, "preview": True}}}
    nodes["9"]["inputs"]["images"] = ["3", 0]
    told: list[Update] = []

    async def story(_: FakeComfy, client: Client) -> None:
        task = await client.window().submit(nodes, on_progress=told.append)
        assert len((await settled(task)).outputs) == 2

    play(story, log)
    assert {update.name for update in told if update.image} == {"image", "preview"}
    assert sum(update.name == "image" for update in told) == 2


def test_after_a_crash_they_are_named_and_cannot_be_fetched_again(log: Path) -> None:
    async def story(_: FakeComfy, client: Client) -> None:
        task = await client.window().submit(batch(2))
        await settled(task)
        task._images.clear()  # as in a process that has the log alone
        for output in task.outputs:
            with pytest.raises(DownloadFailed, match=r"cannot be fetched again.*size and digest") as caught:
                await output.read()
            assert caught.value.gone

    play(story, log)
    [task] = replay(log).tasks
    assert [output.by_socket for output in task.outputs] == [True, True]


@pytest.mark.parametrize("version", ["0.3.10", "0.3.64"])
def test_images_that_do_not_come_are_missed(log: Path, version: str) -> None:
    results: list[Result] = []

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.drop_types = ["binary 1", "binary 4"]
        results.append(await settled(await client.window().submit(batch(2))))

    assert "images-missed" in codes(play(story, log, version=version))
    assert [(result.state, result.missed) for result in results] == [("completed", ("9",))]
