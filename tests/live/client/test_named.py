"""Tests of server names: host and port name the same server wherever one is named."""

from __future__ import annotations

from pathlib import Path

from comfy_fsm import BlockingClient, Client, Dispatcher
from comfy_fsm.testing import FakeComfy, ThreadedFake
from tests.support.stage import QUICK, graph


async def test_host_and_port_are_a_server_wherever_one_is_named(tmp_path: Path) -> None:
    async with FakeComfy() as comfy, FakeComfy() as other:
        bare = comfy.url.removeprefix("http://")
        servers = [bare, other.url]
        async with Client(servers, log=tmp_path / "a.log", policy=QUICK) as client:
            assert client.servers == [comfy.url, other.url]
            assert await client.upload(b"\x89PNG", "a.png", server=bare)
            task = await client.window().submit(graph(), server=bare)
            assert (await task).server == comfy.url
            followed = await client.window().follow(task.prompt_id, server=bare)
            assert followed.server == comfy.url
            window = client.window()
            assert window.id_at(bare) == window.id_at(comfy.url) != window.id_at(other.url)
            async with Dispatcher(client, capacity={bare: 1}, weights={bare: 2.0}) as dispatcher:
                await dispatcher.drain(bare)
                assert client.board.backlog.drained == {comfy.url: None}
                await dispatcher.undrain(bare)


def test_so_it_is_without_a_loop(fake_comfyui: ThreadedFake) -> None:
    with BlockingClient(fake_comfyui.url.removeprefix("http://"), policy=QUICK) as client:
        assert client.servers == [fake_comfyui.url]
