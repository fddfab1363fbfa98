"""Tests of files fetched by their asset ids, where a server keeps them."""

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_fsm.errors import DownloadFailed
from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy, picture
from comfy_fsm.testing.execution.pictures import FileKey
from comfy_fsm.testing.profiles import profile_of
from tests.support.stage import QUICK


async def test_a_file_that_its_name_does_not_find_is_found_as_an_asset(tmp_path: Path) -> None:
    """P53: somebody moved it, and its server keeps assets."""
    profile = replace(profile_of("0.33.0"), assets_are_on=True)
    async with FakeComfy(profile) as comfy, Client(comfy.url, log=tmp_path / "log.sqlite", policy=QUICK) as client:
        task = await client.window().submit(picture(1))
        (output,) = (await task).outputs
        assert output.id in comfy.state.files.assets
        files, old = comfy.state.files, FileKey(output.filename, output.subfolder, output.type)
        new = FileKey("moved.png", "elsewhere", "output")
        files.contents[new] = files.contents.pop(old)
        files.assets[output.id] = new
        assert await task.outputs[0].read() == files.contents[new]


async def test_without_assets_a_file_that_is_gone_is_gone() -> None:
    async with FakeComfy("0.33.0") as comfy, Client(comfy.url, policy=QUICK) as client:
        task = await client.window().submit(picture(1))
        (output,) = (await task).outputs
        assert not output.id
        comfy.state.files.contents.clear()
        with pytest.raises(DownloadFailed):
            await task.outputs[0].read()
