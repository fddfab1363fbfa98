"""Scenarios about queries (P26 to P32): history, queue, interrupts, files, and what shows the version."""

import uuid

import aiohttp
import pytest

from tests.conformance.protocol import Server
from tests.conformance.scenario import scenario
from tests.conformance.workflows import workflow

PIXEL = bytes.fromhex(  # a PNG of one grey pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6368000000820081" + "77cd72b60000000049454e44ae426082"
)


@scenario("P26")
async def the_history_has_nothing_of_a_prompt_that_waits_or_runs_or_never_was(server: Server) -> None:
    async with server.socket() as window:
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        for prompt_id in (running, pending, str(uuid.uuid4())):
            assert await server.get(f"/history/{prompt_id}") == (200, {})


@scenario("P26")
async def another_server_has_nothing_of_a_prompt_that_completed(server: Server) -> None:
    if server.other is None:
        pytest.skip("there is no second server")
    async with server.socket() as window:
        prompt_id = await server.run("picture", window)
        assert await server.entry(prompt_id) is not None
        assert await server.other.get(f"/history/{prompt_id}") == (200, {})


@scenario("P27")
async def anyone_may_take_a_prompt_out_of_the_history(server: Server) -> None:
    async with server.socket() as window:
        kept = await server.run("picture", window)
        gone = await server.run("picture", window)
        await server.post("/history", {"delete": [gone]})
        assert await server.entry(gone) is None
        assert await server.entry(kept) is not None
        await server.post("/history", {"clear": True})
        assert await server.get("/history") == (200, {})


@scenario("P28")
async def the_queue_shows_everybody_the_whole_of_every_prompt(server: Server) -> None:
    graph = workflow("picture")
    async with server.socket() as window:
        running = await server.submit("slow", window)
        pending = await server.submit(graph, window)
        await window.until("executing", prompt_id=running)
        body = (await server.get("/queue")).body
        assert set(body) == {"queue_running", "queue_pending"}
        assert [item[1] for item in body["queue_running"]] == [running]
        ((number, prompt_id, prompt, extra_data, outputs),) = body["queue_pending"]
        assert prompt_id == pending
        assert prompt == graph
        assert extra_data["client_id"] == window.client_id
        assert outputs == ["2"]
        assert number > body["queue_running"][0][0]


@scenario("P28", since="0.3.68")
async def an_api_key_is_in_neither_queue_nor_history(server: Server) -> None:
    secret = {"api_key_comfy_org": "none of yours", "auth_token_comfy_org": "nor this"}
    async with server.socket() as window:
        await server.begun(await server.submit("slow", window))
        prompt_id = await server.submit("picture", window, extra_data=secret)
        (waiting,) = (await server.get("/queue")).body["queue_pending"]
        await server.post("/interrupt", {})
        record = await server.record(prompt_id)
        assert not secret.keys() & (waiting[3].keys() | record["prompt"][3].keys())


@scenario("P28", since="0.3.45", until="0.3.68")
async def an_api_key_is_in_the_queue_and_not_in_the_history(server: Server) -> None:
    secret = {"api_key_comfy_org": "none of yours", "auth_token_comfy_org": "nor this"}
    async with server.socket() as window:
        await server.begun(await server.submit("slow", window))
        prompt_id = await server.submit("picture", window, extra_data=secret)
        (waiting,) = (await server.get("/queue")).body["queue_pending"]
        await server.post("/interrupt", {})
        record = await server.record(prompt_id)
        assert secret.items() <= waiting[3].items()
        assert not secret.keys() & record["prompt"][3].keys()


@scenario("P29", "P30")
async def a_deleted_prompt_is_told_by_nothing_but_a_status(server: Server) -> None:
    for order in ("delete", "clear"):
        async with server.socket() as owner, server.socket() as other:
            running = await server.submit("slow", other)
            pending = await server.submit("picture", owner)
            await owner.quiet()
            before = len(owner.heard)
            answer = await server.post("/queue", {"delete": [pending]} if order == "delete" else {"clear": True})
            assert answer.status == 200
            assert await server.queue() == ([running], [])
            assert await server.entry(pending) is None
            await server.post("/interrupt", {})
            await other.ended(running)
            await owner.quiet()
            told = {frame.type for frame in owner.heard[before:] if "prompt_id" not in frame.data}
            assert {name for name in told if not name.startswith("assets.")} == {"status"}
            assert owner.types(pending) == []
            assert await server.entry(pending) is None  # it never reaches the history


@scenario("P31", since="0.3.57")
async def an_interrupt_that_names_a_pending_prompt_does_nothing(server: Server) -> None:
    async with server.socket() as window:
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        answer = await server.post("/interrupt", {"prompt_id": pending})
        assert answer.status == 200
        await window.ended(pending)
        for prompt_id in (running, pending):
            assert "execution_interrupted" not in window.types(prompt_id)
            assert (await server.record(prompt_id))["status"]["status_str"] == "success"


@scenario("P31", since="0.3.57")
async def an_interrupt_that_names_the_running_prompt_hits_it_alone(server: Server) -> None:
    async with server.socket() as window:
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        await server.post("/interrupt", {"prompt_id": running})
        await window.ended(pending)
        assert "execution_interrupted" in window.types(running)
        assert (await server.record(pending))["status"]["status_str"] == "success"


@scenario("P31")
async def an_interrupt_that_names_nobody_hits_whatever_runs(server: Server) -> None:
    async with server.socket() as owner:
        running = await server.submit("slow", owner)
        await owner.until("executing", prompt_id=running)
        await server.post("/interrupt")
        await owner.until("execution_interrupted", prompt_id=running)


@scenario("P32", since="0.3.45")
async def the_features_say_that_own_ids_are_honoured(server: Server) -> None:
    answer = await server.get("/features")
    assert answer.status == 200
    assert answer.body["supports_preview_metadata"] is True


@scenario("P32")
async def jobs_are_listed_or_not_there_at_all(server: Server) -> None:
    answer = await server.get("/api/jobs")
    assert answer.status in (200, 404)
    assert answer.status == 404 or isinstance(answer.body["jobs"], list)


@scenario("P26", "P28", since="2024-06-30")
async def every_route_is_also_under_api(server: Server) -> None:
    for path in ("/queue", "/system_stats", f"/history/{uuid.uuid4()}"):
        plain, prefixed = await server.get(path), await server.get("/api" + path)
        assert plain.status == prefixed.status == 200
        assert set(plain.body) == set(prefixed.body)


@scenario(since="0.3.11")
async def the_system_states_its_version(server: Server) -> None:
    system = (await server.get("/system_stats")).body["system"]
    assert all(part.isdigit() for part in system["comfyui_version"].split("."))


@scenario()
async def a_picture_that_was_told_can_be_viewed(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("picture", window)
        (executed,) = window.told("executed", prompt_id)
        (image,) = executed["output"]["images"]
        found = await server.get("/view", params=image)
        missing = await server.get("/view", params=image | {"filename": "no-such-picture.png"})
        assert found.status == 200
        assert found.body.startswith(b"\x89PNG")
        assert missing.status == 404


@scenario()
async def a_picture_that_was_uploaded_can_be_viewed(server: Server) -> None:
    form = aiohttp.FormData()
    form.add_field("image", PIXEL, filename="conformance.png", content_type="image/png")
    form.add_field("overwrite", "true")
    answer = await server.post("/upload/image", data=form)
    assert answer.status == 200
    assert answer.body.items() >= {"name": "conformance.png", "subfolder": "", "type": "input"}.items()
    found = await server.get("/view", params={"filename": "conformance.png", "type": "input"})
    assert found == (200, PIXEL)
