"""Tests of what no healthy server shows: deaths, restarts, slow readers, odd nodes and odd graphs."""

import asyncio
import uuid
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import FakeComfy
from tests.conformance.protocol import Server
from tests.support.fake_stage import FAILING, FOR_EVER, chain, closed, eventually, play, sleeping, told_of


def test_a_client_that_stops_reading_delays_the_others_until_it_is_cut() -> None:
    """P6."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.write_seconds = 0.3
        _asleep, writer = await asyncio.open_connection(*comfy.url.removeprefix("http://").split(":"), limit=1)
        key = "GET /ws?clientId=asleep HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{key}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        await eventually(lambda: "asleep" in comfy.sockets)
        async with server.socket(max_msg_size=0) as awake:
            big = chain(("FakeBigFrame", {"bytes": 32 * 1024 * 1024}))
            await server.submit(big)  # without an owner, a preview is everybody's (P2)
            await awake.until("status", status={"exec_info": {"queue_remaining": 0}})
        await eventually(lambda: "asleep" not in comfy.sockets)
        writer.close()

    play(story)


def test_a_killed_server_ends_sockets_without_a_word_and_then_refuses() -> None:
    """P8."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            await server.submit(sleeping(), window)
            await comfy.kill()
            assert await closed(window) == 1006
        with pytest.raises(aiohttp.ClientConnectorError):
            await server.get("/queue")
        await comfy.kill()  # once is enough

    play(story)


def test_a_server_that_is_busy_answers_late_and_does_not_refuse() -> None:
    """P8."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.delay = {"POST /prompt": 0.2}
        posting = asyncio.create_task(server.submit(chain()))
        await eventually(lambda: ("POST", "/prompt") in comfy.requests)
        assert await server.queue() == ([], [])
        assert not comfy.posts
        assert await posting in comfy.posts

    play(story)


def test_a_client_that_hung_up_is_served_all_the_same() -> None:
    """P11."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.delay = {"*": 0.1}
        with pytest.raises(TimeoutError):
            await server.post("/prompt", {"prompt": chain()}, timeout=aiohttp.ClientTimeout(total=0.02))
        await eventually(lambda: comfy.runs.total() == 1)

    play(story)


def test_a_node_that_expands_runs_others_in_its_place() -> None:
    """P17."""

    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.run(chain(("FakeExpand", {"count": 3, "steps": 2})), window)
            begun = [(data["node"], data.get("display_node")) for data in window.told("executing", prompt_id)]
            inner = [(f"2.0.0.{n}", "2") for n in (1, 2, 3)]
            assert begun == [("1", "1"), ("2", "2"), *inner, ("3", "3"), (None, None)]
            nodes = window.told("progress_state", prompt_id)[-1]["nodes"]
            assert nodes["2.0.0.1"]["parent_node_id"] == nodes["2.0.0.1"]["real_node_id"] == "2"

    play(story)


def test_async_nodes_run_side_by_side() -> None:
    """P17."""

    async def story(_: FakeComfy, server: Server) -> None:
        graph = chain(("FakeAsync", {"steps": 3, "seconds": 0.01}))
        graph |= {"8": {"class_type": "FakeAsync", "inputs": {"image": ["1", 0], "steps": 3, "seconds": 0.01, "x": 1}}}
        graph |= {"9": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}}
        async with server.socket() as window:
            prompt_id = await server.run(graph, window)
            steps = [data["node"] for data in window.told("progress", prompt_id)]
            assert sorted(steps) == ["2", "2", "2", "8", "8", "8"]
            assert steps != sorted(steps)

    play(story)


@pytest.mark.parametrize("owned", [True, False])
def test_a_blocked_error_is_no_end_and_not_in_the_history(owned: bool) -> None:
    """P19, and of a prompt that nobody owns everybody hears it (P2)."""

    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.submit(chain(("FakeBlock", {"message": "not here"})), window if owned else None)
            record = await server.record(prompt_id)
            error = (await window.until("execution_error", prompt_id=prompt_id)).data
            assert (error["node_id"], error["exception_type"]) == ("3", "ExecutionBlocked")
            assert "timestamp" not in error
            assert record["status"]["status_str"] == "success"
            assert "execution_error" not in dict(record["status"]["messages"])
            assert record["outputs"] == {}

    play(story)


def test_half_a_surrogate_and_NaN_come_as_they_are() -> None:
    """P20."""

    async def story(_: FakeComfy, server: Server) -> None:
        odd = chain(("FakeProgress", {"values": [[0.5, 3], [float("nan"), 7]]}))
        odd["4"] = {"class_type": "FakeText", "inputs": {"text": "half \ud800"}}
        async with server.socket() as window:
            prompt_id = await server.run(odd, window)
            (half,) = (data["output"]["text"] for data in window.told("executed", prompt_id) if data["node"] == "4")
            assert half == ["half \ud800"]
            assert str([(d["value"], d["max"]) for d in window.told("progress", prompt_id)]) == "[(0.5, 3), (nan, 7)]"

    play(story)


def test_an_answer_of_500_may_be_that_of_a_prompt_that_runs() -> None:
    """P11: a tie of number and id makes the heap compare graphs, after it took the item in."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        await server.submit(sleeping(0.2))
        await eventually(lambda: comfy.runs)
        chosen = str(uuid.uuid4())
        answers = [
            await server.post("/prompt", {"prompt": chain(), "prompt_id": chosen, "number": 7}) for _ in range(2)
        ]
        assert [answer.status for answer in answers] == [200, 500]
        await eventually(lambda: comfy.runs[chosen] == comfy.posts[chosen] == 2)

    play(story)


@pytest.mark.parametrize("keep", [True, False])
def test_a_restart_forgets_queue_and_history_unless_kept(keep: bool) -> None:
    """P27."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        done = await server.submit(chain())
        await server.record(done)
        runs, waits = await server.submit(sleeping()), await server.submit(chain())
        await eventually(lambda: comfy.runs[runs])
        url = comfy.url
        await comfy.restart(keep)
        assert comfy.url == url
        assert bool(await server.entry(done)) is keep
        await eventually(lambda: comfy.runs[runs] == (2 if keep else 1))  # what ran begins again
        assert (await server.queue()) == (([runs], [waits]) if keep else ([], []))

    play(story)


def test_the_oldest_entry_goes_where_the_history_is_full() -> None:
    """P27."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.execution.history_limit = 2  # entries before one more is written
        ids = [await server.submit(chain()) for _ in range(5)]
        await server.record(ids[-1])
        assert [*comfy.records] == ids[-3:]
        assert [*(await server.get("/history?max_items=2")).body] == ids[-2:]
        assert [*(await server.get("/history?max_items=1&offset=0")).body] == ids[-3:-2]

    play(story)


def test_a_state_moves_to_another_server() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        done = await server.submit(chain())
        await server.record(done)
        await comfy.kill()
        async with FakeComfy("0.3.50", state=comfy.state) as other, aiohttp.ClientSession() as http:
            assert await Server(other.url, http).entry(done) is not None

    play(story)


def test_a_dead_worker_accepts_prompts_and_runs_nothing() -> None:
    """P34: what ran stands still, and goes on when the knob is turned back."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            stands = await server.submit(chain(("FakeProgress", {"steps": 1000, "seconds": 0.001})), window)
            await window.until("progress")
            comfy.faults.dead_worker = True
            waits = await server.submit(chain(), window)
            await asyncio.sleep(0.05)
            await window.quiet()
            assert await window.quiet() == []
            assert await server.queue() == ([stands], [waits])
            comfy.faults.dead_worker = False
            await window.ended(waits)

    play(story)


def test_a_stranger_runs_before_us_and_is_heard_by_nobody_but_itself() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            theirs = comfy.stranger(seconds=FOR_EVER)
            ours = await server.submit(chain(), window)
            assert await server.queue() == ([theirs], [ours])
            await server.post("/interrupt", {"prompt_id": theirs})
            await window.ended(ours)
            assert window.types(theirs) == []

    play(story)


def test_jobs_tell_every_status_and_are_cancelled_by_id() -> None:
    """P32."""

    async def story(_: FakeComfy, server: Server) -> None:
        done, failed = await server.submit(chain()), await server.submit(chain(FAILING))
        await server.record(failed)
        runs, waits = await server.submit(sleeping()), await server.submit(chain())
        await server.begun(runs)

        async def status(prompt_id: str) -> Any:
            return (await server.get(f"/api/jobs/{prompt_id}")).body["status"]

        ids = [done, failed, runs, waits]
        assert [await status(each) for each in ids] == ["completed", "failed", "in_progress", "pending"]
        assert (await server.get(f"/api/jobs/{failed}")).body["execution_error"]["exception_message"] == "no\n"
        listed = (await server.get("/api/jobs")).body
        assert {job["id"] for job in listed["jobs"]} == {*ids}
        assert len((await server.get("/api/jobs?limit=1")).body["jobs"]) == 1
        for prompt_id in (waits, runs):
            assert (await server.post(f"/api/jobs/{prompt_id}/cancel")).body == {"cancelled": True}
        await server.record(runs)
        assert await status(runs) == "cancelled"
        assert (await server.post(f"/api/jobs/{done}/cancel")).body == {"cancelled": False}
        assert (await server.get(f"/api/jobs/{waits}")).status == 404
        assert (await server.post(f"/api/jobs/{waits}/cancel")).body == {"cancelled": False}

    play(story, "0.33.0")


# what a graph may be wrong in


def lora(rank: object, kind: str) -> dict[str, Any]:
    return {
        "class_type": "LoraSave",
        "inputs": {"filename_prefix": "x", "bias_diff": True, "rank": rank, "lora_type": kind},
    }


def shown(link: list[Any]) -> dict[str, Any]:
    return {"class_type": "PreviewImage", "inputs": {"images": link}}


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ({"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}, "required_input_missing"),
        (shown(["1", 1]), "exception_during_inner_validation"),
        (shown(["7", 0]), "exception_during_inner_validation"),
        (shown(["1", 0, 0]), "bad_linked_input"),
        (shown(["3", 0]), "return_type_mismatch"),
        (lora("x", "standard"), "invalid_input_type"),
        (lora(0, "standard"), "value_smaller_than_min"),
        (lora(9999, "standard"), "value_bigger_than_max"),
        (lora(8, "odd"), "value_not_in_list"),
    ],
)  # fmt: skip
def test_a_bad_output_is_dropped_with_the_reason(node: dict[str, Any], kind: str) -> None:
    """P9."""

    async def story(_: FakeComfy, server: Server) -> None:
        latent = {"class_type": "EmptyLatentImage", "inputs": {"width": 8, "height": 8, "batch_size": 1}}
        graph = {**chain(), "3": latent, "4": node}
        answer = await server.post("/prompt", {"prompt": graph})
        (error,) = answer.body["node_errors"]["4"]["errors"]
        assert (answer.status, error["type"]) == (200, kind)
        assert answer.body["node_errors"]["4"]["dependent_outputs"] == ["4"]
        assert (await server.record(answer.body["prompt_id"]))["prompt"][4] == ["2"]

    play(story)


def test_a_file_that_nobody_uploaded_is_no_input_and_the_same_name_twice_gets_a_number() -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
        graph["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
        refused = await server.post("/prompt", {"prompt": graph})
        assert refused.body["node_errors"]["1"]["errors"][0]["type"] == "custom_validation_failed"
        names = []
        for content in (b"one", b"one", b"two"):
            form = aiohttp.FormData()
            form.add_field("image", content, filename="a.png")
            names.append((await server.post("/upload/image", data=form)).body["name"])
        assert names == ["a.png", "a.png", "a (1).png"]
        await server.record(await server.submit(graph))
        outside = aiohttp.FormData()
        outside.add_field("image", b"x", filename="a.png")
        outside.add_field("subfolder", "../elsewhere")
        assert (await server.post("/upload/image", data=outside)).status == 400

    play(story)


@pytest.mark.parametrize("body", ["[]", "{", '"x"', '{"prompt": []}', '{"prompt": {"1": 1}}', '{"prompt": {"1": {}}}'])
def test_a_body_that_nobody_expected_is_answered_500(body: str) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        headers = {"Content-Type": "application/json"}
        assert (await server._ask("POST", "/prompt", data=body, headers=headers)).status == 500
        assert not comfy.posts

    play(story)


def test_a_circle_that_appears_while_it_runs_fails_and_its_record_says_success() -> None:
    """P40."""

    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.run(chain(("FakeCycle", {})), window)
            (error,) = window.told("execution_error", prompt_id)
            assert error["exception_type"] == "graph.DependencyCycleError"
            status = (await server.record(prompt_id))["status"]
            assert (status["status_str"], status["completed"]) == ("success", True)
            job = (await server.get(f"/api/jobs/{prompt_id}")).body
            assert (job["status"], job["execution_error"]["node_id"]) == ("completed", "2")

    play(story, "0.33.0")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.png", "<b>.png", "x" * 5000, "\u202egnp.exe", ""])
def test_an_output_may_have_any_name_and_view_shows_what_is_inside(name: str) -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            (told,) = await told_of(server, window, "executed", chain(output=("FakeNamed", {"filename": name})))
            (image,) = told["output"]["images"]
            assert image == {"filename": name, "subfolder": "", "type": "output"}
            if len(name) < 100:
                assert (await server.get("/view", params=image)).status == (
                    400 if ".." in name else 404 if "/" in name else 200  # a folder in a name is passed over
                )

    play(story)
