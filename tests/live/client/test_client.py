"""Tests of the client beyond the failure modes."""

import asyncio
import itertools
from pathlib import Path

import msgspec
import pytest

from comfy_fsm.errors import BadServerUrl, ClientError, UploadFailed
from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, graph, outcome, play


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


def test_an_uploaded_image_can_be_loaded_and_no_byte_of_it_is_in_the_log(log: Path, tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        drawn = await window.submit(graph())
        await drawn
        picture = await drawn.outputs[0].read()
        (tmp_path / "mine.png").write_bytes(picture)
        names = [
            await client.upload(tmp_path / "mine.png"),
            await client.upload(picture + b"another", "mine.png"),
            await client.upload(picture, "mine.png", subfolder="there", overwrite=True),
        ]
        assert len(set(names)) == 3
        assert names[2] == "there/mine.png"
        assert [comfy.state.files.read_input(name) for name in names] == [picture, picture + b"another", picture]
        for name in names:
            loading = graph(1) | {"1": {"class_type": "LoadImage", "inputs": {"image": name}}}
            assert await outcome(await window.submit(loading)) == "completed"
        assert picture[-40:] not in b"".join(record.line or b"" for record in client.runner.log.read())

    play(story, log)


def test_an_upload_that_is_not_taken_is_told(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.html = {"POST /upload": 1}
        with pytest.raises(UploadFailed, match=r"a\.png.*safe"):
            await client.upload(b"picture", "a.png")
        await comfy.kill()
        with pytest.raises(UploadFailed):
            await client.upload(b"picture", "a.png")
        await comfy.start()

    play(story, log)


async def test_an_upload_goes_to_the_server_that_is_named() -> None:
    async with FakeComfy() as one, FakeComfy() as two, Client([one.url, two.url]) as client:
        with pytest.raises(BadServerUrl, match="nothing was sent"):
            await client.upload(b"picture")
        await client.upload(b"picture", server=two.url)
        assert not [path for _, path in one.requests if path.startswith("/upload")]


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host"])
async def test_a_header_that_repeats_the_address_hides_no_address(name: str) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, headers={name: "127.0.0.1"}) as client:
        window = client.window()
        assert await outcome(await window.submit(graph(), server=f"{comfy.url}/")) == "completed"


def test_a_secret_that_every_entry_would_tell_is_refused() -> None:
    with pytest.raises(ClientError, match="a part of the address of server 1") as caught:
        Client("http://127.0.0.1:8188/hidden-word", secrets=["hidden-word"])
    assert "hidden-word" not in str(caught.value)


SERVERS = 20
PATIENT = msgspec.structs.replace(QUICK, post_seconds=30.0)  # twenty servers in one loop may take up a POST late


@pytest.mark.parametrize("reconnects", [200, pytest.param(1_000, marks=pytest.mark.long)])
async def test_every_reconnect_into_the_deaf_socket_trap_is_noticed(log: Path, reconnects: int) -> None:
    """Half of them while a task is in flight, half before the next is submitted (P3)."""

    async def fall(client: Client, server: FakeComfy) -> None:
        window, fresh = client.window(), itertools.count()
        for number in range(reconnects // SERVERS):
            await (await window.submit(graph(next(fresh)), server=server.url))
            before = window.id_at(server.url)
            running = await window.submit(graph(next(fresh), seconds=0.1), server=server.url) if number % 2 else None
            server.faults.deaf = 1
            server.cut(before)
            while server.faults.deaf:
                await asyncio.sleep(0.01)
            if running is not None:
                await running
            while window.id_at(server.url) == before:  # the one that ran may have ended before the socket fell
                await (await window.submit(graph(next(fresh), seconds=0.1), server=server.url))
                await asyncio.sleep(0.1)

    servers = [FakeComfy() for _ in range(SERVERS)]
    for server in servers:
        await server.start()
    async with Client([server.url for server in servers], log=log, policy=PATIENT) as client:
        await asyncio.gather(*(asyncio.create_task(fall(client, server)) for server in servers))
    for server in servers:
        await server.kill()
    replayed = replay(log)
    assert len(replayed.tasks) >= 2 * reconnects
    assert {task.state for task in replayed.tasks} == {"completed"}
